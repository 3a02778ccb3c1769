"""Serving on this machine: what the commands `agentkit web` and `agentkit serve` do."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any

import uvicorn
from starlette.applications import Starlette

from agentkit import Agent, ConfigurationError
from agentkit.serve.app import create_app
from agentkit.serve.gemini import create_gemini_app
from agentkit.stores.store import SessionStore
from agentkit.wire.arguments import checked

_GRACE = 5
"""Seconds that open connections have to end when the server stops."""


class Server(uvicorn.Server):
    """A server that ends its runs before it waits for its connections: those who watch are told."""

    def __init__(self, app: Starlette, listener: socket.socket) -> None:
        self._listener = listener
        self._runs = getattr(app.state, "runs", None)
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            ws_max_size=65_536,
            timeout_graceful_shutdown=_GRACE,
        )
        super().__init__(config)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the runs, then all else."""
        if self._runs is not None:
            await self._runs.close()
        await super().shutdown(sockets)

    def serve_here(self) -> None:
        """Serve until the process is told to stop."""
        with suppress(KeyboardInterrupt):  # said again once all has ended
            self.run(sockets=[self._listener])


def listen(host: str, port: int) -> socket.socket:
    """Take a port; 0 is a free one.

    Raises:
        ConfigurationError: It is taken, or the host isn't one of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen()  # who reads the address may connect at once
    except (OSError, OverflowError) as error:
        made.close()
        why = error.strerror if isinstance(error, OSError) else "a port is a number from 0 to 65535"
        raise ConfigurationError(f"{host}:{port} can't be listened on: {why}.") from error
    return made


def address(listener: socket.socket) -> str:
    """Give the address of a port, as a URL without a path."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


@checked
def serve_page(
    agent: Agent,
    host: str = "127.0.0.1",
    port: int = 0,
    token: str | None = None,
    store: SessionStore | None = None,
    *,
    announce: Callable[[str], Any] = print,
    **settings: Any,
) -> None:
    """Serve the page until the process is told to stop.

    Args:
        agent: Answers.
        host: Where to listen; loopback unless others are to get in.
        port: Which port; 0 is a free one.
        token: What lets in; a new one by default.
        store: Where sessions are kept; by default in memory.
        announce: Is told the address to open, with the token in it.
        settings: More of `create_app`'s.

    Raises:
        ConfigurationError: The port is taken.
    """
    settings["hosts"] = (*settings.get("hosts", ()), *_names(host))
    app = create_app(agent, store, token=token, **settings)
    with closing(listen(host, port)) as listener:
        announce(f"{address(listener)}/?token={app.state.token}")
        Server(app, listener).serve_here()


@checked
def serve_gemini(
    agent: Agent,
    host: str = "127.0.0.1",
    port: int = 0,
    key: str = "",
    *,
    announce: Callable[[str], Any] = print,
    **settings: Any,
) -> None:
    """Serve an agent to clients of the Gemini API until the process is told to stop.

    Args:
        agent: Answers.
        host: Where to listen; loopback unless others are to get in.
        port: Which port; 0 is a free one.
        key: What clients have to show as their API key.
        announce: Is told the base URL that clients need.
        settings: More of `create_gemini_app`'s.

    Raises:
        ConfigurationError: The port is taken, or there is no key.
    """
    app = create_gemini_app(agent, key=key, **settings)
    with closing(listen(host, port)) as listener:
        announce(address(listener))
        Server(app, listener).serve_here()


def _names(host: str) -> tuple[str, ...]:
    """Give the names under which a host that was listened on is asked for; every one, if it is all addresses."""
    if host in ("0.0.0.0", "::", ""):  # noqa: S104 - compared, not listened on
        return ("*",)
    return (f"[{host}]" if ":" in host else host,)
