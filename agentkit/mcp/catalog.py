"""The tools of a server: listed, declared, and listed anew when the server says that they changed."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

from agentkit.errors import ToolDefinitionError
from agentkit.mcp.calls import Call
from agentkit.mcp.connection import Connection, pages
from agentkit.mcp.content import clip
from agentkit.mcp.declared import MANY, MAX_LISTED, MAX_TOOLS, Policy, description_of, fingerprint
from agentkit.mcp.schemas import fitting_name, fitting_schema
from agentkit.tooling.context import Context
from agentkit.tooling.tool import Tool

log = logging.getLogger("agentkit.mcp")


@dataclass(frozen=True, slots=True, eq=False)
class _Declared:
    """A tool as its server declares it, and what an agent gets of it."""

    tool: Tool
    fingerprint: str


class Catalog:
    """Makes tools of what a server declares. Its methods run on the connection's loop.

    Args:
        connection: To the server.
        prefix: What the names of its tools begin with; may be empty.
        policy: Which tools there are, and how runs treat them.
        on_demand: Whether the model must find them; None: if there are many.
    """

    def __init__(
        self, connection: Connection, prefix: str, policy: Policy, *, on_demand: bool | None
    ) -> None:
        self._connection = connection
        self._prefix = prefix
        self._policy = policy
        self._on_demand = on_demand
        self._declared: dict[str, _Declared] = {}
        """By the server's names."""

    def __len__(self) -> int:
        return len(self._declared)

    async def tools(self) -> tuple[Tool, ...]:
        """Return the tools that there are by now; see `MCP.tools`."""
        await self._refresh()
        return tuple(each.tool for each in self._declared.values())

    def known(self) -> tuple[Tool, ...] | None:
        """Return the tools, unless they have to be listed first."""
        connection = self._connection
        if connection.closed or connection.tools_changed or connection.listing.locked():
            return None
        return tuple(each.tool for each in self._declared.values())

    async def _refresh(self) -> None:
        """List the tools, unless those that are known are those that there are."""
        connection = self._connection
        async with connection.listing:
            if not connection.tools_changed or (self._declared and not connection.live):
                return  # a server that has ended is started anew by a call, not for its list alone
            try:
                client = await connection.client()
                connection.tools_changed = False  # a change from here on is another one
                self._take(await self._list(client))
            except Exception as error:
                connection.tools_changed = True
                if not self._declared:
                    raise
                log.warning(
                    "The tools of the MCP server %r can't be listed again: %s", connection.name, clip(error)
                )

    async def _list(self, client: Any) -> list[Any]:
        if client.server_capabilities.tools is None:
            return []
        listed = await pages(client.list_tools, "tools", MAX_LISTED)
        found = {tool.name: tool for tool in listed if self._policy.has(tool)}
        if len(listed) == MAX_LISTED or len(found) > MAX_TOOLS:
            log.warning(
                "The MCP server %r has too many tools: only %d are used.", self._connection.name, MAX_TOOLS
            )
        return list(found.values())[:MAX_TOOLS]

    def _take(self, tools: list[Any]) -> None:
        on_demand = len(tools) > MANY if self._on_demand is None else self._on_demand
        taken: set[str] = set()
        made: dict[str, _Declared] = {}
        for tool in tools:
            name, mark, known = (
                fitting_name(self._prefix, tool.name, taken),
                fingerprint(tool),
                self._declared.get(tool.name),
            )
            if known and (known.fingerprint, known.tool.name, known.tool.on_demand) == (
                mark,
                name,
                on_demand,
            ):
                made[tool.name] = known
                continue
            try:
                made[tool.name] = self._declare(tool, name, mark, on_demand=on_demand)
            except ToolDefinitionError as error:
                log.warning(
                    "The tool %r of the MCP server %r is left out: %s",
                    tool.name,
                    self._connection.name,
                    clip(error),
                )
        self._declared = made

    def _declare(self, tool: Any, name: str, mark: str, *, on_demand: bool) -> _Declared:
        policy = self._policy
        effect = policy.effect(tool)

        async def call(context: Context[Any], /, **args: Any) -> Any:
            request = Call(self._connection, tool.name, context, is_read=effect == "read")
            return await asyncio.wrap_future(self._connection.submit(request.run, args))

        declaration = {"name": name, "parametersJsonSchema": fitting_schema(tool.input_schema)}
        if description := description_of(tool):
            declaration["description"] = description
        made = Tool.from_declaration(
            declaration,
            call,
            effect=effect,
            approval=policy.needs_approval(tool),
            untrusted=not policy.trusted,
            on_demand=on_demand,
            timeout=self._connection.timeout * 2 + 5,
        )
        return _Declared(made, mark)
