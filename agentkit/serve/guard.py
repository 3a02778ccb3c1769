"""What stands before every request: which host, from where, who, and how large.

Pure ASGI, so that it holds for WebSockets too.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, JSONResponse

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

PAGE_CSP: Final = (
    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types agentkit"
)
FRAME_CSP: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'; "
    "sandbox allow-popups allow-popups-to-escape-sandbox"
)
_SAFE: Final = {
    b"content-security-policy": PAGE_CSP.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"permissions-policy": b"camera=(), microphone=(), geolocation=()",
    b"cache-control": b"no-store",
}
STATUS: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    413: "INVALID_ARGUMENT",
    415: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""Google's names of HTTP statuses."""
OPEN: Final = ("/healthz", "/readyz")
"""Paths that need no token: they tell nothing of the agent."""


def path_in(scope: Scope) -> str:
    """Return the path of a request inside the application, wherever it is mounted."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path.removeprefix(root) if root and path.startswith(root) else path


class SafeHeaders:
    """Add headers to each response that doesn't bring its own."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""

        async def safely(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                there = {name.lower() for name, _ in message["headers"]}
                added = [(name, value) for name, value in _SAFE.items() if name not in there]
                message["headers"] = [*message["headers"], *added]
            await send(message)

        await self._app(scope, receive, safely if scope["type"] == "http" else send)


class KnownHosts:
    """Refuse requests for another host: a name of the attacker's that leads here has our origin else."""

    def __init__(self, app: App, *, hosts: tuple[str, ...]) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] in ("http", "websocket") and "*" not in self._hosts:
            host = Headers(scope=scope).get("host", "").lower()
            name = host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]
            if name not in self._hosts:
                await refuse(
                    scope,
                    receive,
                    send,
                    400,
                    "This host is not served here: name it with create_app(hosts=).",
                )
                return
        await self._app(scope, receive, send)


class SameOrigin:
    """Refuse what another origin sends: every WebSocket, and every request that could change something.

    A browser tells with these where they come from; clients that aren't browsers don't, and have no cookie.
    Bodies are JSON only: no form of another page makes that.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        risky = scope["type"] == "websocket" or (
            scope["type"] == "http" and scope["method"] not in ("GET", "HEAD")
        )
        if risky:
            headers = Headers(scope=scope)
            origin, site = headers.get("origin"), headers.get("sec-fetch-site")
            own = {f"{scheme}://{headers.get('host', '')}" for scheme in ("http", "https")}
            if (origin is not None and origin not in own) or site in ("cross-site", "same-site"):
                await refuse(scope, receive, send, 403, "This request comes from another page.")
                return
            kind = headers.get("content-type", "").partition(";")[0].strip().lower()
            if scope["type"] == "http" and scope["method"] != "DELETE" and kind != "application/json":
                await refuse(
                    scope, receive, send, 415, "Send JSON, and say so: content-type: application/json."
                )
                return
        await self._app(scope, receive, send)


class TokenGate:
    """Let in who has the cookie and the page's key, or the token as bearer; `/?token=` is traded for the former.

    Cookies are shared by all ports of a host, and so a server of another user on another port is sent ours: hence
    the key, which the page keeps in the storage of its own origin, and a name with the port in it.
    """

    def __init__(self, app: App, *, token: str, hint: str = "") -> None:
        self._app = app
        self._token = token
        self._hint = hint or "Open the address that the program printed: it has the token in it."
        self._cookie = hmac.new(token.encode(), b"agentkit cookie", "sha256").hexdigest()
        self._key = hmac.new(token.encode(), b"agentkit page", "sha256").hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] not in ("http", "websocket") or path_in(scope) in OPEN:
            await self._app(scope, receive, send)
            return
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if scope["type"] == "http" and path_in(scope) == "/" and given and self._is(given, self._token):
            await self._welcome(scope, receive, send)
        elif self._may_enter(scope):
            await self._app(scope, receive, send)
        else:
            await refuse(scope, receive, send, 401, self._hint)

    def _may_enter(self, scope: Scope) -> bool:
        headers = Headers(scope=scope)
        bearer = headers.get("authorization", "").removeprefix("Bearer ") or headers.get("x-goog-api-key", "")
        if bearer:
            return self._is(bearer, self._token)
        if not self._is(_cookie(headers, _name(scope)), self._cookie):
            return False
        if not path_in(scope).startswith("/api/"):
            return scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
        protocol = headers.get("sec-websocket-protocol", "").rpartition(",")[2].strip()
        return self._is(headers.get("x-agentkit-key") or protocol, self._key)

    async def _welcome(self, scope: Scope, receive: Receive, send: Send) -> None:
        # 200 and a refresh, not 303: after a click on another site's page, a Strict cookie isn't sent along a redirect.
        root = scope.get("root_path", "")
        response = HTMLResponse(
            f'<!doctype html><html lang="en"><meta http-equiv="refresh" content="0;url={root}/#key={self._key}">'
            '<link rel="icon" href="data:,"><title>agentkit</title></html>'
        )
        response.set_cookie(_name(scope), self._cookie, httponly=True, samesite="strict", path=f"{root}/")
        await response(scope, receive, send)

    @staticmethod
    def _is(given: str, wanted: str) -> bool:
        return hmac.compare_digest(given.encode(), wanted.encode())


def _name(scope: Scope) -> str:
    return f"agentkit_{(scope.get('server') or ('', 0))[1] or 0}"


def _cookie(headers: Headers, name: str) -> str:
    try:
        kept = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return kept.value if kept else ""


class BodyLimit:
    """Refuse bodies over a size in bytes, told or not."""

    def __init__(self, app: App, *, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        message = f"The request is too large: at most {self._limit:,} bytes."
        told = Headers(scope=scope).get("content-length", "0")
        if told.isdigit() and int(told) > self._limit:
            await refuse(scope, receive, send, 413, message)
            return
        seen, begun = 0, False

        async def counted() -> MutableMapping[str, Any]:
            nonlocal seen
            received = await receive()
            seen += len(received.get("body", b""))
            if seen > self._limit:
                raise _TooLarge
            return received

        async def noted(sent: MutableMapping[str, Any]) -> None:
            nonlocal begun
            begun = True
            await send(sent)

        try:
            await self._app(scope, counted, noted)
        except _TooLarge:
            if not begun:
                await refuse(scope, receive, send, 413, message)


class _TooLarge(Exception):
    pass


async def refuse(scope: Scope, receive: Receive, send: Send, status: int, message: str) -> None:
    """Answer a request with an error, in the form that the client reads."""
    if scope["type"] == "websocket":
        await receive()  # websocket.connect
        await send(
            {"type": "websocket.close", "code": 4000 + status}
        )  # before accept: the server answers 403
        return
    await error_response(path_in(scope), status, message)(scope, receive, send)


def error_response(path: str, status: int, message: str) -> JSONResponse:
    """Make an error's response: Gemini's clients read Google's form only."""
    if path.startswith("/v1"):
        return gemini_error(status, message)
    return JSONResponse({"error": message}, status)


def gemini_error(status: int, message: str) -> JSONResponse:
    """Make an error's response in Google's form."""
    body = {"code": status, "message": message, "status": STATUS.get(status, "INTERNAL")}
    return JSONResponse({"error": body}, status)
