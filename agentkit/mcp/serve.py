"""Serving tools: on standard input and output, or by HTTP on loopback. `python -m agentkit.mcp serve TARGET`."""

from __future__ import annotations

import argparse
import hmac
import importlib
import importlib.util
import os
import secrets
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agentkit.errors import AgentError, ConfigurationError
from agentkit.mcp.server import make_server

TOKEN = "AGENTKIT_MCP_TOKEN"  # noqa: S105 - the variable's name
"""The environment variable with the token that HTTP requests must bear; without it, one is made and shown."""


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


def main(argv: Sequence[str] | None = None) -> int:
    """Run `agentkit mcp ...`; return the exit status."""
    parser = argparse.ArgumentParser(prog="agentkit mcp")
    serve = parser.add_subparsers(required=True).add_parser("serve", help="serve tools or an agent by MCP")
    serve.add_argument(
        "target", help="package.module:name or path/to/file.py:name of an agent, a registry or tools"
    )
    serve.add_argument(
        "--http", action="store_true", help="by HTTP on loopback, not on standard input and output"
    )
    serve.add_argument("--port", type=int, default=0, help="of HTTP; any free one by default")
    serve.add_argument("--ask", action="store_true", help="also serve the agent itself, as the tool ask")
    serve.add_argument(
        "--approvals", choices=["ask", "refuse"], default="ask", help="calls that need approval"
    )
    serve.add_argument("--name", default="agentkit", help="the server's name")
    given = parser.parse_args(argv)
    options = {"ask": given.ask, "approvals": given.approvals, "name": given.name}
    try:
        with _nothing_printed():
            source = load(given.target)
        if given.http:
            serve_http(source, port=given.port, token=os.environ.get(TOKEN), **options)
        else:
            serve_stdio(source, **options)
    except AgentError as error:
        print(f"agentkit mcp: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


@contextmanager
def _nothing_printed() -> Generator[None, None, None]:
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


def load(target: str) -> Any:
    """Import what `module:name` or `file.py:name` names.

    Raises:
        ConfigurationError: There is nothing of that name, or it can't be imported.
    """
    where, _, name = target.rpartition(":")
    if not where or not name:
        raise ConfigurationError(f"{target!r}: give package.module:name or path/to/file.py:name.")
    try:
        found: Any = _module(where)
        for part in name.split("."):
            found = getattr(found, part)
    except AgentError:
        raise
    except Exception as error:
        raise ConfigurationError(f"{target!r} can't be imported: {error!r}") from error
    return found


def _module(where: str) -> Any:
    if not where.endswith(".py"):
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
        return importlib.import_module(where)
    path = Path(where).resolve()
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ConfigurationError(f"There is no file {where!r}.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module
