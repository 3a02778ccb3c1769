"""A server's tools, resources and prompts for an agent."""

from __future__ import annotations

import asyncio
import re
import weakref
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from agentkit.errors import AgentError, ConfigurationError, ToolError
from agentkit.mcp import reading
from agentkit.mcp.catalog import Catalog
from agentkit.mcp.config import servers_in
from agentkit.mcp.connection import Connection, plainly
from agentkit.mcp.content import Prompt, Resource
from agentkit.mcp.declared import Policy, patterns_in
from agentkit.mcp.transport import Target
from agentkit.tooling.results import Media
from agentkit.tooling.sources import ToolSource
from agentkit.tooling.tool import Tool
from agentkit.wire.arguments import checked
from agentkit.wire.content import Content

T = TypeVar("T")


@checked
class MCP(ToolSource):
    """An MCP server: give it to an agent as it is, `Agent(tools=[MCP("uvx mcp-server-time")])`.

    One connection serves all agents, threads and event loops that have the object. It is made on first use: when a run
    begins, or `tools()` is called. It is ended by `close()`, that of an agent that has it too, at the end of a `with`
    block, when nothing refers to the object any more, or with the process. What calls of its tools bring in is a
    stranger's words (`Limits(after_untrusted=...)`), unless it is `trusted`.

    Args:
        server: A command (one text, or a list of words; no shell reads it), an address (streamable HTTP), the SDK's
            `StdioServerParameters`, or a `Server` of the SDK in this process.
        name: What its tools' names begin with: `name_tool`. By default a word of the command, or the host; `""` is
            nothing.
        trusted: Believe what it says of its tools (`readOnlyHint`), and take its results for the words of a friend.
        allow: Names or patterns (`"read_*"`) of the server's tools that the agent gets; all by default.
        deny: Those that it doesn't get.
        approval: Those whose calls need a person's approval, beside those that say that they destroy something. True
            is all, False is none.
        on_demand: Whether the model must find its tools with `find_tools` first; by default if it has over 100.
        env: Environment variables of a command. Beside these it gets HOME, LOGNAME, PATH, SHELL, TERM and USER only.
        cwd: The directory that a command runs in.
        headers: Sent with each request, to an address.
        auth: An `httpx2.Auth` for an address, such as the SDK's `OAuthClientProvider`.
        timeout: Seconds that a request may take.
        connect_timeout: Seconds that connecting may take.
        errlog: Where the standard error of a command goes, `sys.stderr` say; nowhere by default.

    Raises:
        ConfigurationError: Something in it can't work, or the extra `mcp` isn't installed.
    """

    def __init__(
        self,
        server: Any,
        *,
        name: str | None = None,
        trusted: bool = False,
        allow: str | Iterable[str] | None = None,
        deny: str | Iterable[str] = (),
        approval: bool | str | Iterable[str] | None = None,
        on_demand: bool | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        headers: Mapping[str, str] | None = None,
        auth: Any = None,
        timeout: float = 60.0,
        connect_timeout: float = 30.0,
        errlog: Any = None,
    ) -> None:
        target = Target(server, env=env, cwd=cwd, headers=headers, auth=auth, errlog=errlog)
        self.name = target.default_name if name is None else name
        if self.name and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,31}", self.name):
            raise ConfigurationError(
                f"MCP(name={name!r}): give up to 32 letters, digits and _, the first no digit."
            )
        if not (timeout > 0 and connect_timeout > 0):
            raise ConfigurationError("MCP(timeout=..., connect_timeout=...): give seconds above 0.")
        self.untrusted = not trusted
        policy = Policy(
            allow=patterns_in(allow, "allow"),
            deny=patterns_in(deny, "deny") or (),
            approval=approval if isinstance(approval, bool) else patterns_in(approval, "approval"),
            trusted=trusted,
        )
        self._connection = Connection(
            target, self.name or target.default_name, timeout=timeout, connect_timeout=connect_timeout
        )
        self._catalog = Catalog(self._connection, self.name, policy, on_demand=on_demand)
        # the tools refer to the catalog: while an agent has one, the connection stays; at exit it is closed too
        self._finalizer = weakref.finalize(self._catalog, self._connection.close)

    @classmethod
    def from_config(cls, path: str | Path, **options: Any) -> list[MCP]:
        """Make the servers that another program's JSON file lists under `mcpServers`, by their names there.

        `${NAME}` and `${NAME:-default}` in it are environment variables. Servers that are `disabled` are left out.

        Args:
            path: Of the file.
            options: As of `MCP`, for all of them.

        Raises:
            ConfigurationError: It can't be read, or names a variable that isn't set.
        """
        return [cls(server, **{**found, **options}) for server, found in servers_in(Path(path))]

    @property
    def aio(self) -> AsyncMCP:
        """The same server for async callers: `await mcp.aio.tools()`."""
        return AsyncMCP(self)

    def __enter__(self) -> MCP:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection, and the server if it was started here; calls are refused from then on."""
        self._finalizer()

    def __repr__(self) -> str:
        return f"MCP(name={self.name!r}, {len(self._catalog)} tools)"

    def tools(self) -> tuple[Tool, ...]:
        """Return the server's tools, as it has them now: they are listed anew after it has said that they changed.

        One that is as it was is the same object. When they can't be listed again, they are those that were.

        Raises:
            AgentError: The server can't be reached, and its tools aren't known yet.
        """
        known = self.known()
        return self._wait(self._catalog.tools) if known is None else known

    def known(self) -> tuple[Tool, ...] | None:
        """Return the tools, unless they have to be listed first."""
        return self._catalog.known()

    def resources(self) -> list[Resource]:
        """List what the server lets clients read, templates at the end.

        Raises:
            AgentError: The server can't be reached, or has no resources.
        """
        return self._wait(reading.resources, self._connection)

    def read(self, uri: str) -> list[str | Media]:
        """Read a resource: texts, and `Media` of the rest.

        Raises:
            AgentError: The server can't be reached, or refuses.
        """
        return self._wait(reading.read, self._connection, uri)

    def prompts(self) -> list[Prompt]:
        """List the prompts that the server has ready.

        Raises:
            AgentError: The server can't be reached, or has no prompts.
        """
        return self._wait(reading.prompts, self._connection)

    def prompt(self, name: str, /, **arguments: str) -> list[Content]:
        """Return the contents of a prompt, to be given to `run()` or as a history.

        Raises:
            AgentError: The server can't be reached, or refuses.
        """
        return self._wait(reading.prompt, self._connection, name, arguments)

    def _wait(self, function: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
        try:
            made: Future[T] = self._connection.submit(plainly, self._connection.name, function, *args)
            return made.result()
        except ToolError as error:
            raise AgentError(str(error)) from error


@checked
class AsyncMCP:
    """A server for async callers; the names are those of `MCP`."""

    def __init__(self, server: MCP) -> None:
        self._server = server

    async def tools(self) -> tuple[Tool, ...]:
        """Return the server's tools; see `MCP.tools`."""
        return await self._wait(self._server._catalog.tools)

    async def resources(self) -> list[Resource]:
        """List what the server lets clients read; see `MCP.resources`."""
        return await self._wait(reading.resources, self._server._connection)

    async def read(self, uri: str) -> list[str | Media]:
        """Read a resource; see `MCP.read`."""
        return await self._wait(reading.read, self._server._connection, uri)

    async def prompts(self) -> list[Prompt]:
        """List the prompts; see `MCP.prompts`."""
        return await self._wait(reading.prompts, self._server._connection)

    async def prompt(self, name: str, /, **arguments: str) -> list[Content]:
        """Return the contents of a prompt; see `MCP.prompt`."""
        return await self._wait(reading.prompt, self._server._connection, name, arguments)

    async def _wait(self, function: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
        connection = self._server._connection
        try:
            made: Future[T] = connection.submit(plainly, connection.name, function, *args)
            return await asyncio.wrap_future(made)
        except ToolError as error:
            raise AgentError(str(error)) from error

    async def close(self) -> None:
        """End the connection; see `MCP.close`."""
        await asyncio.to_thread(self._server.close)
