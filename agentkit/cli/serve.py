"""`agentkit serve`: an agent as a model for clients of the Gemini API."""

from __future__ import annotations

from typing import Annotated

import typer

from agentkit.cli import terminal
from agentkit.cli.run import Config, Instructions, ModelName, Target, Tools
from agentkit.cli.web import Host, Port
from agentkit.serve import serve_gemini

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(help="Serve an assistant as a model for clients of the Gemini API.")
def serve(
    key: Annotated[
        str, typer.Option("--key", envvar="AGENTKIT_KEY", help="The API key that clients must send.")
    ],
    target: Target = None,
    tools: Tools = None,
    model: ModelName = None,
    system: Instructions = None,
    config: Config = None,
    host: Host = "127.0.0.1",
    port: Port = 0,
) -> None:
    """Serve until Ctrl-C; the base URL is printed."""
    from agentkit.cli.setup import set_up

    terminal.log_to_stderr(full=False)
    with terminal.own_stdout() as out:
        agent = set_up(
            target, tools=tools or (), model=model, instructions=system, config=config or ()
        ).to_serve()
        serve_gemini(agent, host, port, key, announce=lambda url: print(url, file=out, flush=True))
