"""`agentkit web`: an agent's page, served on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from agentkit.cli import terminal
from agentkit.cli.chat import Database
from agentkit.cli.exits import UsageFault
from agentkit.cli.run import Config, Instructions, ModelName, Target, Tools
from agentkit.serve import serve_page

app = typer.Typer(rich_markup_mode=None, add_completion=False)

Host = Annotated[str, typer.Option("--host", metavar="HOST", help="Address to listen on.")]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 picks a free one.")]


@app.command(help="Serve a web page to chat with an assistant, see its calls and decide about them.")
def web(
    target: Target = None,
    tools: Tools = None,
    model: ModelName = None,
    system: Instructions = None,
    config: Config = None,
    db: Database = None,
    host: Host = "127.0.0.1",
    port: Port = 0,
    token: Annotated[
        str | None,
        typer.Option(
            "--token", envvar="AGENTKIT_TOKEN", help="Token that grants access; a new one by default."
        ),
    ] = None,
    browse: Annotated[bool, typer.Option("--open", help="Also open the page in a browser.")] = False,
) -> None:
    """Serve until Ctrl-C; the address to open is printed."""
    import webbrowser

    from agentkit.cli.places import open_store
    from agentkit.cli.setup import set_up

    terminal.log_to_stderr(full=False)
    with terminal.own_stdout() as out:
        given = set_up(
            target, tools=tools or (), model=model, instructions=system, config=config or (), queues=True
        )
        agent, queue = given.to_serve(), given.queue

        def announce(url: str) -> None:
            print(f"Open {url}", file=out, flush=True)
            if browse:
                webbrowser.open(url)

        if queue is None:
            with open_store(db) as store:
                serve_page(agent, host, port, token, store, announce=announce)
            return
        if db is not None:
            raise UsageFault(f"--db {db}: sessions are in the store of the queue {target}.")
        terminal.say(f"Workers run the messages: agentkit worker {target}")
        with queue:
            serve_page(agent, host, port, token, queue=queue, announce=announce)
