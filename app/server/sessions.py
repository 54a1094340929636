"""Sessions of visitors, and how often one may guess: no word of pages or requests here."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import time
from collections.abc import Callable, Mapping

SESSION_S = 7 * 24 * 3600.0
ATTEMPTS, WINDOW_S, ADDRESSES = 10, 60.0, 10_000


class Sessions:
    """Sessions are signed names with an end, so that they outlive a killed server that comes back with its key.

    Args:
        key: signs them; another key ends all.
        ended: those ended before their time, name to the time they would have ended at (seconds since 1970).
        keep: called with all of these whenever one is added.
    """

    def __init__(
        self,
        key: bytes,
        ended: Mapping[str, float] | None = None,
        keep: Callable[[dict[str, float]], None] = lambda ended: None,
    ) -> None:
        self._key = key
        self._ended = dict(ended or {})
        self._keep = keep

    def begin(self) -> str:
        """A new session, as the visitor's cookie holds it."""
        words = f"{secrets.token_urlsafe(18)}.{int(time.time() + SESSION_S)}"
        return f"{words}.{self._sign(words)}"

    def is_open(self, cookie: str | None) -> bool:
        """Whether a cookie names a session of ours that has not ended."""
        found = self._read(cookie)
        return found is not None and found[1] > time.time() and found[0] not in self._ended

    def end(self, cookie: str | None) -> None:
        """Ends that session; nothing for what is none."""
        found = self._read(cookie)
        if found is not None and self.is_open(cookie):
            now = time.time()
            self._ended = {name: end for name, end in self._ended.items() if end > now} | dict([found])
            self._keep(self._ended)

    def _read(self, cookie: str | None) -> tuple[str, float] | None:
        words, _, signature = (cookie or "").rpartition(".")
        if not same(signature, self._sign(words)):
            return None
        name, _, end = words.partition(".")
        return name, float(end)

    def _sign(self, words: str) -> str:
        return hmac.new(self._key, words.encode(errors="replace"), hashlib.sha256).hexdigest()


class Guesses:
    """Counts what went wrong, by address: who guesses waits, and nobody else does.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tries: dict[str, list[float]] = {}

    def wait_s(self, address: str) -> float:
        """Seconds until an address may try again, 0 when it may now."""
        now = self._clock()
        tries = [moment for moment in self._tries.get(_household(address), []) if now - moment < WINDOW_S]
        return WINDOW_S - (now - tries[-ATTEMPTS]) if len(tries) >= ATTEMPTS else 0.0

    def failed(self, address: str) -> None:
        """A try from an address was wrong."""
        now = self._clock()
        place = _household(address)
        tries = [*self._tries.pop(place, []), now][-ATTEMPTS:]
        # The address that failed longest ago comes first: it is the one that is forgotten.
        while self._tries and (len(self._tries) >= ADDRESSES or now - next(iter(self._tries.values()))[-1] > WINDOW_S):
            del self._tries[next(iter(self._tries))]
        self._tries[place] = tries


def same(given: str, right: str) -> bool:
    """Whether two secrets are equal; the time it takes reveals neither where they differ nor how long they are."""
    digests = [hashlib.sha256(word.encode(errors="surrogatepass")).digest() for word in (given, right)]
    return hmac.compare_digest(*digests)


def _household(address: str) -> str:
    """IPv6 gives a household 2**64 addresses: it counts as one."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if found.version == 4:
        return address
    return str(found.ipv4_mapped or ipaddress.ip_network((int(found) >> 64 << 64, 64)))
