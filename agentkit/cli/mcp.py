"""`agentkit mcp serve`: tools and agents as an MCP server."""

from __future__ import annotations

import os
from typing import Annotated, Literal

import typer

from agentkit.cli.exits import UsageFault
from agentkit.cli.run import Target, Tools
from agentkit.mcp.serve import TOKEN, nothing_printed, serve_http, serve_stdio

app = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True)


@app.callback(help="Serve tools to MCP clients.")
def mcp() -> None:
    """Have `serve` below it."""


@app.command(help="Serve tools or an agent over MCP, on stdin and stdout, until the input ends.")
def serve(
    target: Target = None,
    tools: Tools = None,
    http: Annotated[
        bool, typer.Option("--http", help="Use HTTP on loopback instead of stdin and stdout.")
    ] = False,
    port: Annotated[
        int,
        typer.Option("--port", min=0, max=65535, metavar="PORT", help="HTTP port; any free one by default."),
    ] = 0,
    ask: Annotated[
        bool, typer.Option("--ask", help="Also serve the agent itself, as a tool named ask.")
    ] = False,
    approvals: Annotated[
        Literal["ask", "refuse"],
        typer.Option("--approvals", help="How to treat calls that need approval."),
    ] = "ask",
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="The server's name.")] = "agentkit",
) -> None:
    """Serve; nothing but the protocol reaches the output."""
    from agentkit.cli import terminal
    from agentkit.cli.setup import check_named, choose_model
    from agentkit.cli.targets import agent_of, find_target, find_tools

    terminal.log_to_stderr(full=False)
    with nothing_printed():
        check_named(target, tools or ())
        source = find_target(target) if target else []
        if not isinstance(source, list):
            source = agent_of(source, lambda: choose_model(None))
            if tools:
                raise UsageFault(f"-t: {target} is an agent: give it these tools there.")
        elif tools:
            source = [source, *map(find_tools, tools)]
    if http:
        token = os.environ.get(TOKEN)
        serve_http(source, port=port, token=token, ask=ask, approvals=approvals, name=name)
    else:
        serve_stdio(source, ask=ask, approvals=approvals, name=name)
