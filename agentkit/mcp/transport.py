"""How a server is reached, and what of its stream is looked at on the way."""

from __future__ import annotations

import logging
import os
import re
import shlex
import shutil
import sys
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from agentkit.errors import ConfigurationError, how_to_install

log = logging.getLogger("agentkit.mcp")

MAX_UNREADABLE = 100
"""Lines of a server that aren't messages, after which the connection is ended."""
_WRAPPERS = ("npx", "uvx", "uv", "bunx", "pipx", "node", "python", "python3", "docker")


def is_url(server: object) -> bool:
    """Return whether a server is given by its address."""
    return isinstance(server, str) and server.startswith(("http://", "https://"))


class Target:
    """A server as it was given: a command, an address, or a server in this process.

    Args:
        server: See `agentkit.mcp.MCP`.
        env: More of the environment, for a command.
        cwd: Where a command runs.
        headers: Sent with each request, to an address.
        auth: An `httpx2.Auth`, such as the SDK's OAuth providers, for an address.
        errlog: Where the standard error of a command goes; nowhere by default.
    """

    def __init__(
        self,
        server: Any,
        *,
        env: Mapping[str, str] | None,
        cwd: str | Path | None,
        headers: Mapping[str, str] | None,
        auth: Any,
        errlog: Any,
    ) -> None:
        if find_spec("mcp") is None:
            raise ConfigurationError(f"MCP servers need the extra mcp: {how_to_install('mcp')}.")
        if auth is not None and not hasattr(auth, "async_auth_flow"):
            raise ConfigurationError(f"MCP(auth=<{type(auth).__name__}>): give an httpx2.Auth.")
        if errlog is not None and not hasattr(errlog, "fileno"):
            raise ConfigurationError(f"MCP(errlog=<{type(errlog).__name__}>): give an open file.")
        mappings: Any = (("headers", headers), ("env", env))
        for name, texts in mappings:
            if wrong := [key for key, value in (texts or {}).items() if not isinstance(value, str)]:
                raise ConfigurationError(f"MCP({name}=...): {wrong[0]!r} must be a text.")
        self._headers, self._auth, self._errlog = headers, auth, errlog
        self.refusal = ""
        """The HTTP status of the last request that an address refused, in words."""
        self.address = server if is_url(server) else None
        self.hint = ""
        """Where to look for more when a command can't be connected to."""
        self.command = self._read_command(server, env, cwd)
        self.server = None if self.address or self.command else server
        if self.command and errlog is None:
            self.hint = "; MCP(errlog=sys.stderr) shows what it says itself"
        for names, fits in (("headers auth", bool(self.address)), ("env cwd errlog", bool(self.command))):
            given = {"headers": headers, "auth": auth, "env": env, "cwd": cwd, "errlog": errlog}
            if not fits and (wrong := [name for name in names.split() if given[name] is not None]):
                raise ConfigurationError(
                    f"MCP({server!r:.80}, {wrong[0]}=...): that applies to another kind of server."
                )

    @staticmethod
    def _read_command(server: Any, env: Mapping[str, str] | None, cwd: str | Path | None) -> Any:
        if is_url(server):
            return None
        if hasattr(server, "command") and hasattr(server, "args"):  # StdioServerParameters
            merged = {**(server.env or {}), **(env or {})}
            return {
                "command": server.command,
                "args": list(server.args),
                "env": merged,
                "cwd": cwd or server.cwd,
            }
        if not isinstance(server, (str, Sequence)):
            if not hasattr(server, "lifespan") and not hasattr(server, "_lowlevel_server"):
                raise ConfigurationError(
                    f"MCP({server!r:.200}): give a command, an http(s) address, StdioServerParameters or a Server."
                )
            return None
        words = shlex.split(server) if isinstance(server, str) else [str(word) for word in server]
        if not words:
            raise ConfigurationError("MCP(''): give a command or an address.")
        return {"command": words[0], "args": words[1:], "env": dict(env or {}), "cwd": cwd}

    @property
    def default_name(self) -> str:
        """What its tools' names begin with where nobody says: a word of the command, or the host."""
        word = "mcp"
        if self.address:
            word = self.address.partition("//")[2].partition("/")[0].rpartition("@")[2].partition(":")[0]
        elif self.command:
            words = [self.command["command"], *self.command["args"]]
            named = [Path(each).name for each in words if not each.startswith("-")]
            word = next((each for each in named if each not in (*_WRAPPERS, "run", "tool")), named[0])
            word = re.sub(r"(\.\w+|@[\w.]+)$", "", word)
        word = re.sub(r"[^A-Za-z0-9]+", "_", word).strip("_")[:32].strip("_") or "mcp"
        return f"_{word}" if word[0].isdigit() else word

    @asynccontextmanager
    async def open(self, gone: Callable[[], None], timeout: float) -> AsyncGenerator[tuple[Any, Any], None]:
        """Open a transport; `gone` is called when the server ends it."""
        self.refusal = ""
        async with AsyncExitStack() as stack:
            made = await self._transport(stack, timeout)
            read, write = await stack.enter_async_context(made)
            yield WatchedStream(read, gone), write

    async def _transport(self, stack: AsyncExitStack, timeout: float) -> Any:
        if self.address:
            import httpx2
            from mcp.client.streamable_http import streamable_http_client

            client = httpx2.AsyncClient(
                headers=dict(self._headers or {}),
                auth=self._auth,
                timeout=httpx2.Timeout(30, read=timeout + 5),  # the request's own time is up first
                event_hooks={"response": [self._note_refusal]},
            )
            return streamable_http_client(self.address, http_client=await stack.enter_async_context(client))
        from mcp import StdioServerParameters, stdio_client

        command, args = _ending_with_us(self.command["command"], self.command["args"], self.command["env"])
        parameters = StdioServerParameters(
            **{**self.command, "command": command, "args": args}, encoding_error_handler="replace"
        )
        errlog = self._errlog
        if errlog is None:
            errlog = open(os.devnull, "w")  # noqa: PTH123, SIM115 - closed by the stack
            stack.callback(errlog.close)
        return stdio_client(parameters, errlog=errlog)

    async def _note_refusal(self, response: Any) -> None:
        if response.status_code >= 400:
            self.refusal = f" (HTTP {response.status_code})"


def _ending_with_us(command: str, args: list[str], env: Mapping[str, str]) -> tuple[str, list[str]]:
    """Have the kernel end a command when this process is killed: it may not look at its input's end.

    Raises:
        FileNotFoundError: There is no such command.
    """
    found = shutil.which(command, path=env.get("PATH"))
    if found is None:
        raise FileNotFoundError(f"there is no command {command!r}")
    setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
    return (setpriv, ["--pdeathsig", "KILL", "--", command, *args]) if setpriv else (command, args)


class WatchedStream:
    """Messages of a server; tells when they end, and leaves out tools that would make a whole list unreadable."""

    def __init__(self, read: Any, gone: Callable[[], None]) -> None:
        self._read, self._gone = read, gone
        self._unreadable = 0

    def __getattr__(self, name: str) -> Any:  # aclose, last_context
        return getattr(self._read, name)

    def __aiter__(self) -> WatchedStream:
        return self

    async def __aenter__(self) -> WatchedStream:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._read.aclose()

    async def __anext__(self) -> Any:
        import anyio

        try:
            item = await self._read.__anext__()
        except (StopAsyncIteration, anyio.ClosedResourceError):
            self._gone()
            raise
        if isinstance(item, Exception):
            self._unreadable += 1
            if self._unreadable > MAX_UNREADABLE:
                self._gone()
                raise StopAsyncIteration
        else:
            _leave_out_unreadable(getattr(item.message, "result", None))
        return item


def _leave_out_unreadable(result: Any) -> None:
    """Leave out of a list of tools those that can't be read: the SDK would refuse all of them."""
    tools = result.get("tools") if isinstance(result, dict) else None
    if isinstance(tools, list) and not _is_readable(result):
        result["tools"] = [tool for tool in tools if _is_readable({**result, "tools": [tool]})]
        log.warning(
            "%d tools of an MCP server are left out: they are not declared as the protocol has it.",
            len(tools) - len(result["tools"]),
        )


def _is_readable(result: Any) -> bool:
    from mcp.types.methods import parse_server_result
    from pydantic import ValidationError

    era = "2026-07-28" if "cacheScope" in result else "2025-11-25"
    try:
        parse_server_result("tools/list", era, result)
    except ValidationError:
        return False
    return True
