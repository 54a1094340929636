"""The gate in front of everything the page server shows: a session is needed, got with the token or the password."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from html import escape
from urllib.parse import parse_qs, quote, urlencode

from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from app.server import security
from app.server.notices import respond, wants_page
from app.server.security import Application, Receive, Scope, Send
from app.server.sessions import SESSION_S, Guesses, Sessions, same

log = logging.getLogger(__name__)

MAX_FORM_BYTES = 16 * 1024


@dataclass
class Entrance:
    """What lets a visitor in.

    Attributes:
        sessions: of those who are in.
        token: lets in who knows it, None for no token.
        password: lets in who knows it, with the user name ``kd``; None for no password.
        wrong_passwords: those that were tried, by address.
        wrong_tokens: the same; kept apart, so that nobody is kept from the password by guesses at the token.
    """

    sessions: Sessions
    token: str | None = None
    password: str | None = None
    wrong_passwords: Guesses = field(default_factory=Guesses)
    wrong_tokens: Guesses = field(default_factory=Guesses)

    @classmethod
    def of(
        cls,
        secret: str,
        token: str | None,
        password: str | None,
        ended: Mapping[str, float] | None = None,
        keep: Callable[[dict[str, float]], None] = lambda ended: None,
    ) -> Entrance:
        """An entrance whose sessions end when token or password change; see `Sessions` for the rest."""
        words = f"{token or ''}\n{password or ''}".encode(errors="surrogatepass")
        return cls(Sessions(hmac.new(secret.encode(), words, hashlib.sha256).digest(), ended, keep), token, password)


class Gate:
    """An ASGI application in front of another: who has no session, or comes from a page of others, gets no further.

    Args:
        app: the application behind.
        entrance: what lets in.
    """

    def __init__(self, app: Application, entrance: Entrance) -> None:
        self._app = app
        self._entrance = entrance

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As an ASGI application."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        if scope["type"] == "websocket":
            if security.is_foreign(connection) or not self._is_in(connection):
                await send({"type": "websocket.close", "code": 1008})
            else:
                await self._app(scope, receive, send)
            return
        response = await self._respond(Request(scope, receive))
        await (response or self._app)(scope, receive, send)

    async def _respond(self, request: Request) -> Response | None:
        """The gate's own response; None for a visitor who may pass."""
        if security.is_foreign(request):
            return respond(request, "refused", FOREIGN, 403)
        path = "/" + str(request.scope["path"]).strip("/")
        if path == "/logout":
            return self._leave(request)
        if path == "/login" and request.method == "POST":
            return await self._enter(request)
        if "token" in request.query_params and request.method in ("GET", "HEAD"):
            return self._enter_with_address(request)
        if self._is_in(request):
            return RedirectResponse("/", 303) if path == "/login" else None
        return self._closed(request, target=_target(request) if path != "/login" else "/")

    def _is_in(self, connection: HTTPConnection) -> bool:
        if self._entrance.sessions.is_open(connection.cookies.get(_cookie(connection))):
            return True
        scheme, _, given = connection.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self._knows_token(connection, given.strip())

    def _knows_token(self, connection: HTTPConnection, given: str) -> bool:
        """Whether that is the token. It cannot be guessed, so it opens however many wrong ones came before."""
        if self._entrance.token is not None and same(given, self._entrance.token):
            return True
        address = _address(connection)
        if not self._entrance.wrong_tokens.wait_s(address):  # else the log of them would fill the disk
            self._entrance.wrong_tokens.failed(address)
            _log_failure(address, "token")
        return False

    def _enter_with_address(self, request: Request) -> Response:
        """The address with the token becomes a session, and the same address without it."""
        right = self._knows_token(request, request.query_params["token"])
        if not right and not self._is_in(request):
            return self._closed(request, "This is not the token of this dashboard.", target=_target(request))
        return self._welcome(request, _target(request)) if right else RedirectResponse(_target(request), 303)

    async def _enter(self, request: Request) -> Response:
        """The form of the closed door, with a token or with user name and password."""
        form = await _form(request)
        if form is None:
            return respond(request, "refused", "This is not the form of the log-in page.", 400)
        target = _local(form.get("target", "/"))
        if "token" in form:
            given = re.sub(r"^.*[?&]token=([^&#]*).*$", r"\1", form["token"].strip())  # the whole address, perhaps
            if self._knows_token(request, given):
                return self._welcome(request, target)
            return self._closed(request, "This is not the token of this dashboard.", 403, target)
        user, password = form.get("username", "").strip(), form.get("password", "")
        missing = [name for name, given in (("user name", user), ("password", password)) if not given.strip()]
        if missing:
            return self._closed(request, f"The {' and the '.join(missing)} must not be blank.", 400, target)
        address = _address(request)
        wait_s = self._entrance.wrong_passwords.wait_s(address)
        if wait_s:
            sentence = f"Too many wrong passwords came from your address; try again in {wait_s:.0f} s."
            return self._closed(request, sentence, 429, target, {"Retry-After": f"{wait_s:.0f}"})
        known = self._entrance.password
        # Both are compared, so that the time reveals nothing of either.
        if same(user, security.USER) & same(password, known or "") and known:
            return self._welcome(request, target)
        self._entrance.wrong_passwords.failed(address)
        _log_failure(address, "password")
        return self._closed(request, "User name or password is wrong.", 403, target)

    def _welcome(self, request: Request, target: str) -> Response:
        by_script = request.method == "POST" and not wants_page(request)
        response: Response = JSONResponse({"success": True}) if by_script else RedirectResponse(target, 303)
        response.headers["Cache-Control"] = "no-store"
        response.set_cookie(
            _cookie(request),
            self._entrance.sessions.begin(),
            max_age=int(SESSION_S),
            httponly=True,
            samesite="lax",
            secure=_is_secure(request),
        )
        return response

    def _leave(self, request: Request) -> Response:
        if request.method != "POST":
            sentence = "Logging out is a POST request: a link or an image of another page must not be able to do it."
            return respond(request, "refused", sentence, 405, headers={"Allow": "POST"})
        self._entrance.sessions.end(request.cookies.get(_cookie(request)))
        page = wants_page(request)
        response: Response = RedirectResponse("/login", 303) if page else JSONResponse({"success": True})
        response.delete_cookie(_cookie(request), httponly=True, samesite="lax", secure=_is_secure(request))
        return response

    def _closed(
        self,
        request: Request,
        trouble: str = "",
        status: int = 401,
        target: str = "/",
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """The closed door: what was wrong, what opens it, and the form for that."""
        if self._entrance.password is not None:
            way, fields = "Log in to see this dashboard.", PASSWORD_FIELDS
        else:
            way, fields = TOKEN_WAY, TOKEN_FIELD
        form = FORM.format(target=escape(target, quote=True), fields=fields)
        challenge = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
        return respond(request, "log in", f"{trouble} {way}".strip(), status, form, {**challenge, **(headers or {})})


FOREIGN = "This request comes from a page at another address; the dashboard accepts requests from its own pages only."
TOKEN_WAY = (
    "Open the address with ?token= that `kd ui` printed when it started (`kd ui --list` prints it again), "
    "or paste the token here."
)
FORM = """<form method="post" action="/login">
<input type="hidden" name="target" value="{target}">
{fields}
</form>"""
TOKEN_FIELD = """<input name="token" type="password" aria-label="Token" autocomplete="off" required autofocus>
<button>Open</button>"""
PASSWORD_FIELDS = f"""<input name="username" value="{security.USER}" aria-label="User name" autocomplete="username">
<input name="password" type="password" aria-label="Password" autocomplete="current-password" required autofocus>
<button>Log in</button>"""


async def _form(request: Request) -> dict[str, str] | None:
    """The fields of a small form; None for what is none. Strangers may send it, so it is read up to a limit."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        return None
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM_BYTES:
            return None
    fields = parse_qs(body.decode(errors="replace"), keep_blank_values=True, max_num_fields=None)
    return {name: values[-1] for name, values in fields.items()}


def _cookie(connection: HTTPConnection) -> str:
    """The cookie's name. Browsers keep cookies by host, so the port, as they know it, keeps two dashboards apart."""
    try:
        port = connection.url.port
    except ValueError:
        port = None
    return f"kd-session-{port or (443 if _is_secure(connection) else 80)}"


def _is_secure(connection: HTTPConnection) -> bool:
    return connection.scope.get("scheme") in ("https", "wss")


def _address(connection: HTTPConnection) -> str:
    return connection.client.host if connection.client else ""


def _target(request: Request) -> str:
    """Path and query of a request, its token left out."""
    rest = urlencode([pair for pair in request.query_params.multi_items() if pair[0] != "token"])
    return _local(quote(request.scope["path"]) + (f"?{rest}" if rest else ""))


def _local(target: str) -> str:
    """A path of this server, whatever was requested: "//elsewhere" and "/\\elsewhere" would lead to others."""
    path, _, query = re.sub(r"[\\\x00-\x20\x7f#]", "", target).partition("?")
    return ("/" + path.lstrip("/") if path.startswith("/") else "/") + (f"?{query}" if query else "")


def _log_failure(address: str, what: str) -> None:
    """One line for each wrong try. What was given is not logged: it may be nearly right, or another site's password."""
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    log.warning("kd: %s: a wrong %s from %s", now, what, address or "an unknown address")
