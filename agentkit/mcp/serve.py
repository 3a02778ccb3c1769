"""Serving tools: on standard input and output, or by HTTP on loopback; `agentkit mcp serve` does."""

from __future__ import annotations

import hmac
import os
import secrets
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from agentkit.errors import ConfigurationError
from agentkit.mcp.server import make_server
from agentkit.wire.arguments import checked

TOKEN = "AGENTKIT_MCP_TOKEN"  # noqa: S105 - the variable's name
"""The environment variable with the token that HTTP requests must bear; without it, one is made and shown."""


@checked
def serve_stdio(source: Any, **options: Any) -> None:
    """Serve on standard input and output until the input ends. Nothing but the protocol reaches the output.

    Args:
        source: An agent or tools, see `agentkit.mcp.server.make_server`.
        options: As there.
    """
    import anyio
    from mcp import stdio_server

    server = make_server(source, **options)

    async def run() -> None:
        async with stdio_server() as (read, write):
            sys.stdout = (
                sys.stderr
            )  # what is printed waits in a buffer, and would reach the output at the end
            await server.run(read, write, server.create_initialization_options())

    anyio.run(run)


@checked
def http_app(source: Any, *, token: str | None = None, **options: Any) -> tuple[Callable[..., Any], str]:
    """Make an ASGI app for loopback, with the endpoint `/mcp`, and return it with the token that requests must bear.

    Any program on the machine, and any page in a browser on it, can reach loopback: requests without
    `Authorization: Bearer TOKEN` are answered with 401, those for another host or from another origin are refused.

    Args:
        source: An agent or tools, see `agentkit.mcp.server.make_server`.
        token: At least 16 characters; by default a new one.
        options: As there.
    """
    token = token or secrets.token_urlsafe(24)
    if len(token) < 16:
        raise ConfigurationError("http_app(token=...): give at least 16 characters.")
    inner = make_server(source, **options).streamable_http_app(host="127.0.0.1")
    wanted = f"Bearer {token}".encode()

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        given = dict(scope.get("headers") or ()).get(b"authorization", b"")
        if scope["type"] != "lifespan" and not hmac.compare_digest(given, wanted):
            await send(
                {"type": "http.response.start", "status": 401, "headers": [(b"www-authenticate", b"Bearer")]}
            )
            await send({"type": "http.response.body", "body": b""})
            return
        await inner(scope, receive, send)

    return guarded, token


@checked
def serve_http(source: Any, *, port: int = 0, token: str | None = None, **options: Any) -> None:
    """Serve by streamable HTTP on 127.0.0.1 until interrupted; the address and a new token are shown on stderr."""
    import uvicorn

    app, made = http_app(source, token=token, **options)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning", ws="none"))
    socket = server.config.bind_socket()
    socket.listen()  # who reads the address may connect at once
    address = f"http://127.0.0.1:{socket.getsockname()[1]}/mcp"
    shown = "" if token else f", with the header Authorization: Bearer {made}"
    print(f"Serving on {address}{shown}", file=sys.stderr, flush=True)
    server.run(sockets=[socket])


@contextmanager
def nothing_printed() -> Generator[None, None, None]:
    """Send what is written to the standard output to stderr, by children of the process too."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
        sys.stdout.flush()
    finally:
        os.dup2(kept, 1)
        os.close(kept)
