"""`agentkit mcp`: tools and agents as an MCP server."""

from __future__ import annotations

import typer

from agentkit.cli.exits import Leave
from agentkit.mcp.serve import main

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(
    help="Serve tools to MCP clients.",
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def mcp(context: typer.Context) -> None:
    """Hand the rest of the line to the server."""
    raise Leave(main(context.args))
