"""`agentkit worker`: run the tasks of a queue until the process is told to stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
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
    with (
        _told_to_stop() as stopped,
        open_queue(target) as queue,
        queue.workers(concurrency=concurrency, drain=drain),
    ):
        terminal.say(f"Working for {', '.join(sorted(queue.agents))}; Ctrl-C stops.")
        stopped.wait()
        terminal.say(f"Stopping: running tasks have {drain:g} s to finish.")


@contextmanager
def _told_to_stop() -> Iterator[threading.Event]:
    """Give an event that Ctrl-C and SIGTERM set; afterwards they do what they did before."""
    stopped = threading.Event()
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, lambda *_: stopped.set()) for number in numbers]
    try:
        yield stopped
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
