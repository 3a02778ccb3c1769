"""What a server has beside tools: resources and prompts. These run on the connection's loop."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import Any

from agentkit.mcp.connection import Connection, pages
from agentkit.mcp.content import Prompt, Resource, prompt_contents, resource_values
from agentkit.mcp.declared import MAX_TOOLS
from agentkit.tooling.results import Media
from agentkit.wire.content import Content

_METHOD_NOT_FOUND = -32601


async def resources(connection: Connection) -> list[Resource]:
    """List what a server lets clients read; see `MCP.resources`."""
    client = await connection.client()
    made = [
        Resource(
            uri=str(each.uri),
            name=each.name,
            description=each.description or "",
            mime_type=each.mime_type,
        )
        for each in await pages(client.list_resources, "resources", MAX_TOOLS)
    ]
    return made + [
        Resource(
            uri=each.uri_template,
            name=each.name,
            description=each.description or "",
            mime_type=each.mime_type,
            is_template=True,
        )
        for each in await _or_none(pages(client.list_resource_templates, "resource_templates", MAX_TOOLS))
    ]


async def read(connection: Connection, uri: str) -> list[str | Media]:
    """Read a resource; see `MCP.read`."""
    client = await connection.client()
    return resource_values((await client.read_resource(uri)).contents)


async def prompts(connection: Connection) -> list[Prompt]:
    """List the prompts of a server; see `MCP.prompts`."""
    client = await connection.client()
    return [
        Prompt(
            name=each.name,
            description=each.description or "",
            arguments=tuple(argument.name for argument in each.arguments or ()),
            required=tuple(argument.name for argument in each.arguments or () if argument.required),
        )
        for each in await pages(client.list_prompts, "prompts", MAX_TOOLS)
    ]


async def prompt(connection: Connection, name: str, arguments: Mapping[str, str]) -> list[Content]:
    """Return the contents of a prompt; see `MCP.prompt`."""
    client = await connection.client()
    return prompt_contents((await client.get_prompt(name, dict(arguments))).messages)


async def _or_none(listing: Coroutine[Any, Any, list[Any]]) -> list[Any]:
    """Await a list that servers need not know of."""
    from mcp import MCPError

    try:
        return await listing
    except MCPError as error:
        if error.code == _METHOD_NOT_FOUND:
            return []
        raise
