"""`agentkit worker`: run the tasks of a queue until the process is told to stop."""

from __future__ import annotations

import signal
import threading
from typing import Annotated

import typer

from agentkit.cli import terminal
from agentkit.cli.targets import open_queue
from agentkit.cli.tasks import Target

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(
    help="Run the tasks of a queue until Ctrl-C or SIGTERM; then finish what is running, or leave it to other workers."
)
def worker(
    target: Target,
    concurrency: Annotated[
        int, typer.Option("--concurrency", min=1, help="How many tasks to run at a time.")
    ] = 50,
    drain: Annotated[
        float,
        typer.Option("--drain", min=0, metavar="SECONDS", help="How long running tasks may take to finish."),
    ] = 30.0,
) -> None:
    """Work until told to stop."""
    terminal.log_to_stderr(full=False)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    with open_queue(target) as queue, queue.workers(concurrency=concurrency, drain=drain):
        terminal.say(f"Working for {', '.join(sorted(queue.agents))}; Ctrl-C stops.")
        stopped.wait()
        terminal.say(f"Stopping: running tasks have {drain:g} s to finish.")
