"""Who may look: loopback by default, a password for anything else, no foreign host names, no framing."""

from __future__ import annotations

import hmac
import ipaddress
import os
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response

from kdengine.errors import BadInput, Problem

if TYPE_CHECKING:
    from fastapi import FastAPI

USER = "kd"
ATTEMPTS, WINDOW_S = 10, 60.0

HEADERS = {
    "X-Frame-Options": "SAMEORIGIN",
    "Content-Security-Policy": "frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
"""What every answer carries: no framing, no guessing of types, no address told elsewhere."""

Next = Callable[[Request], Awaitable[Response]]


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def password_for(host: str) -> str | None:
    """The password a visitor needs, from ``KD_PASSWORD``; None on loopback without one.

    Raises:
        BadInput: the address can be reached from outside and there is no password, or one too short to be one.
    """
    password = os.environ.get("KD_PASSWORD") or None
    if password is None and not is_loopback(host):
        raise BadInput(
            Problem("--host", f"{host} can be reached from other machines; set KD_PASSWORD, or use 127.0.0.1")
        )
    if password is not None and len(password) < 8:
        raise BadInput(Problem("KD_PASSWORD", "the password must have at least 8 characters"))
    return password


def checker(password: str) -> Callable[[str, str], bool]:
    """Says whether user and password are right; constant time, and slow to guess at."""
    tries: list[float] = []

    def check(user: str, given: str) -> bool:
        now = time.monotonic()
        tries[:] = [moment for moment in tries if now - moment < WINDOW_S]
        if len(tries) >= ATTEMPTS:
            return False
        right = hmac.compare_digest(user.encode(), USER.encode()) and hmac.compare_digest(
            given.encode(), password.encode()
        )
        if not right:
            tries.append(now)
        return right

    return check


def protect(app: FastAPI, host: str) -> None:
    """Refuses foreign host names (DNS rebinding) on loopback, and adds the headers that protect the page."""
    if is_loopback(host):
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "[::1]"])

    @app.middleware("http")
    async def headers(request: Request, call_next: Next) -> Response:
        response = await call_next(request)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response
