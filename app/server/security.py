"""Who may connect: what `kd ui` needs to know before it listens, and what holds for every request and response."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.trustedhost import TrustedHostMiddleware

from kdengine.errors import BadInput, Problem

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

USER = "kd"
TOKEN = re.compile(r"[A-Za-z0-9._~-]{16,}")
LOOPBACK_NAMES = ["127.0.0.1", "localhost", "[::1]"]

HEADERS = {
    "X-Frame-Options": "SAMEORIGIN",
    "Content-Security-Policy": "frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""What every response carries: no framing, no guessing of types, no address sent elsewhere, no use by other pages."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def password_for(host: str) -> str | None:
    """The password a visitor needs, from ``KD_PASSWORD``; None on loopback without one.

    Raises:
        BadInput: the address can be reached from outside and there is no password, or one that is none.
    """
    password = os.environ.get("KD_PASSWORD") or None
    if password is None and not is_loopback(host):
        raise BadInput(
            Problem("--host", f"{host} can be reached from other machines; set KD_PASSWORD, or use 127.0.0.1")
        )
    if password is not None and not password.strip():
        raise BadInput(Problem("KD_PASSWORD", "the password is blank; give it at least 8 characters, or unset it"))
    if password is not None and len(password) < 8:
        raise BadInput(Problem("KD_PASSWORD", "the password must have at least 8 characters"))
    return password


def given_token() -> str | None:
    """The token that ``KD_TOKEN`` sets, None when it sets none.

    Raises:
        BadInput: it is too short to be a secret, or would not survive in an address.
    """
    token = os.environ.get("KD_TOKEN") or None
    if token is not None and not TOKEN.fullmatch(token):
        raise BadInput(Problem("KD_TOKEN", "the token must have at least 16 letters, digits, '.', '_', '~' or '-'"))
    return token


def proxies_of(words: str | None) -> list[str]:
    """The addresses and networks (``10.0.0.0/8``) of ``--proxy``, else of ``KD_PROXY``, separated by commas.

    Raises:
        BadInput: one of them is no address. "*" is none: whoever asks would say who they are.
    """
    text = os.environ.get("KD_PROXY", "") if words is None else words
    named = [word.strip() for word in text.split(",") if word.strip()]
    wrong = [word for word in named if _network(word) is None]
    if wrong:
        field = "KD_PROXY" if words is None else "--proxy"
        raise BadInput([Problem(field, f"{word!r} is no IP address or network, such as 127.0.0.1") for word in wrong])
    return named


def is_foreign(connection: HTTPConnection) -> bool:
    """Whether the request is from a page of another origin, a page on another port of this machine among them.

    Browsers say so themselves: ``Origin`` with all that changes something, ``Sec-Fetch-Site`` with every request to
    https or loopback. A link that a person follows from another page is welcome: that page cannot read the response.
    """
    headers = connection.headers
    host = headers.get("host", "").lower()
    if any(_netloc(origin) != host for origin in headers.getlist("origin")):
        return True
    if headers.get("sec-fetch-site", "none") in ("same-origin", "none"):
        return False
    followed = (headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")) == ("navigate", "document")
    return not (followed and connection.scope.get("method") in ("GET", "HEAD"))


class Outermost:
    """What comes before all else: foreign host names are refused (DNS rebinding), and only a named proxy is believed.

    The headers in which a proxy describes its visitor are removed from all other requests, so that nothing further in
    (Gradio reads them) believes them; behind the proxy scheme, client and host are those of the visitor.

    Args:
        app: the application.
        host: the address that is listened on.
        proxies: addresses and networks whose word is believed.
    """

    def __init__(self, app: Application, host: str, proxies: Sequence[str] = ()) -> None:
        from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

        async def proxied(scope: Scope, receive: Receive, send: Send) -> None:
            await app(_as_proxied(scope), receive, send)

        async def direct(scope: Scope, receive: Receive, send: Send) -> None:
            await app(_without_proxy_headers(scope), receive, send)

        self._networks = [network for network in map(_network, proxies) if network is not None]
        self._proxied: Any = ProxyHeadersMiddleware(proxied, trusted_hosts=list(proxies))  # type: ignore[arg-type]
        self._direct: Any = TrustedHostMiddleware(direct, LOOPBACK_NAMES if is_loopback(host) else ["*"])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As an ASGI application."""
        if scope["type"] not in ("http", "websocket"):
            await self._direct(scope, receive, send)
        elif self._believes(scope):
            await self._proxied(scope, receive, _with_headers(send))
        else:
            await self._direct(scope, receive, _with_headers(send))

    def _believes(self, scope: Scope) -> bool:
        peer = _network((scope.get("client") or ("",))[0])
        return peer is not None and any(
            peer.version == network.version and peer.subnet_of(network)  # type: ignore[arg-type]
            for network in self._networks
        )


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _netloc(origin: str) -> str:
    """Host and port as the header ``Host`` says them. The scheme is left out: a TLS proxy need not be named."""
    scheme, _, place = origin.lower().partition("://")
    return place.removesuffix({"http": ":80", "https": ":443"}.get(scheme, ""))


def _as_proxied(scope: Scope) -> Scope:
    """The request as the proxy's visitor made it."""
    proxied_host = Headers(scope=scope).get("x-forwarded-host", "").split(",")[0].strip()
    scope = _without_proxy_headers(scope)
    if proxied_host:
        scope["headers"] = [(name, value) for name, value in scope["headers"] if name != b"host"]
        scope["headers"].append((b"host", proxied_host.encode("latin-1")))
    return scope


def _without_proxy_headers(scope: Scope) -> Scope:
    """The request without what a proxy would say of it."""
    if "headers" not in scope:
        return scope
    return {**scope, "headers": [(name, value) for name, value in scope["headers"] if not _is_word_of_proxy(name)]}


def _is_word_of_proxy(name: bytes) -> bool:
    return name.startswith(b"x-forwarded-") or name in (b"forwarded", b"x-real-ip", b"x-gradio-server")


def _with_headers(send: Send) -> Send:
    """Adds what protects the page; takes away what would let other origins read (Gradio trusts every local port)."""

    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=list(message.get("headers", ())))
            for name in [name for name in headers if name.startswith("access-control-")]:
                del headers[name]
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            message = {**message, "headers": headers.raw}
        await send(message)

    return sending
