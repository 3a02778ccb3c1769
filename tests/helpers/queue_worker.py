"""A worker process for the tests of queues: `python -m tests.helpers.queue_worker STORE`.

Its model needs no script, and so goes on in any process: a message says as JSON which tools to call, one a turn.
Each call is written down in the file that EFFECTS names, as it begins and as it ends; one that holds waits in between
for `let_go`. Where HOLD names a file, each
request is, too, and waits if its turn isn't below the number in there.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Generator, Iterator
from pathlib import Path
from typing import Any

from agentkit import Agent, Context, Limits, PostgresStore, SQLiteStore, tool
from agentkit.durable import Queue
from agentkit.model import Model
from agentkit.stores.store import SessionStore
from agentkit.testing.scripted import call, chunks_of, reply
from agentkit.wire.content import Reply, Request
from tests.helpers.until import PATIENCE


def note(what: str, ctx: Context[Any]) -> None:
    """Write down that a call begins or ends; in one piece, whoever else writes."""
    write_down([what, ctx.tool_name, ctx.call_id, ctx.session_id, os.getpid()])


def write_down(what: list[Any]) -> None:
    """Add a line to the file of effects."""
    line = json.dumps(what) + "\n"
    file = os.open(os.environ["EFFECTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line.encode())
    os.close(file)


def let_go() -> None:
    """Let the calls go on that were told to hold."""
    _released().touch()


def _released() -> Path:
    return Path(os.environ["EFFECTS"] + ".released")


async def _do(ctx: Context[Any], seconds: float, hold: bool) -> str:
    note("begin", ctx)
    while hold and not _released().exists():
        await asyncio.sleep(0.02)
    await asyncio.sleep(seconds)
    note("end", ctx)
    return f"done by {ctx.deps or 'nobody'}"


@tool(effect="read")
async def read(ctx: Context[Any], seconds: float = 0.01, hold: bool = False) -> str:
    """Read something."""
    return await _do(ctx, seconds, hold)


@tool(effect="write")
async def write(ctx: Context[Any], seconds: float = 0.01, hold: bool = False) -> str:
    """Write something."""
    return await _do(ctx, seconds, hold)


async def unmarked(ctx: Context[Any], seconds: float = 0.01, hold: bool = False) -> str:
    """Do something of which nobody said what it is."""
    return await _do(ctx, seconds, hold)


@tool(effect="write", approval=True)
async def asked(ctx: Context[Any], seconds: float = 0.01, hold: bool = False) -> str:
    """Write something, if somebody allows it."""
    return await _do(ctx, seconds, hold)


@tool(effect="read")
async def deadly(ctx: Context[Any]) -> str:
    """End the process."""
    note("begin", ctx)
    os._exit(9)


class Planned(Model):
    """Calls what the last message plans, then answers: `{"do": [["read", {}]], "say": "Done.", "slow": 0.0}`."""

    name = "planned"

    def __init__(self) -> None:
        self.requests = 0

    def _next(self, request: Request) -> tuple[Reply, float]:
        self.requests += 1
        contents = [*request["contents"]]
        said = [n for n, each in enumerate(contents) if each["role"] == "user" and "text" in each["parts"][0]]
        plan = json.loads(contents[said[-1]]["parts"][0]["text"])
        turn = sum(each["role"] == "model" for each in contents[said[-1] :])
        steps = plan.get("do", [])
        if turn < len(steps):
            name, args = steps[turn]
            return reply(call(name, **args)), plan.get("slow", 0.0)
        return reply(plan.get("say", "Done.")), plan.get("slow", 0.0)

    def stream(self, request: Request, *, timeout: float | None = None) -> Generator[Reply, None, None]:
        """Give the next reply, word by word."""
        made, pause = self._next(request)
        for chunk in chunks_of(made):
            time.sleep(pause)
            yield chunk

    async def astream(self, request: Request, *, timeout: float | None = None) -> AsyncGenerator[Reply, None]:
        """Give the next reply, word by word."""
        made, pause = self._next(request)
        if "HOLD" in os.environ:
            turn = sum(each["role"] == "model" for each in request["contents"])
            given = [request.get(name) for name in ("systemInstruction", "toolConfig", "generationConfig")]
            write_down(["request", turn, *given, os.getpid()])
            while turn >= int(Path(os.environ["HOLD"]).read_text()):
                await asyncio.sleep(0.02)
        for chunk in chunks_of(made):
            await asyncio.sleep(pause)
            yield chunk


def plan(*steps: Any, say: str = "Done.", slow: float = 0.0) -> str:
    """Write a message that plans calls: names, or names and arguments."""
    do = [[each, {}] if isinstance(each, str) else list(each) for each in steps]
    return json.dumps({"do": do, "say": say, "slow": slow})


def make_agent() -> Agent[Any]:
    """Make the agent of all workers."""
    tools = [read, write, unmarked, asked, deadly]
    return Agent(Planned(), tools=tools, limits=Limits(turns=40, repeats=None))


def open_store(where: str) -> SessionStore:
    """Open a store by its URL or path."""
    return PostgresStore(where) if where.startswith("postgres") else SQLiteStore(where)


def make_deps(user_data: Any) -> Iterator[Any]:
    """Give the tools the user's name."""
    yield user_data


def open_queue(store: SessionStore, **options: Any) -> Queue:
    """Open a queue with the agent of all workers."""
    return Queue({"planned": make_agent()}, store=store, deps=make_deps, **options)


class Worker:
    """A worker in a process of its own."""

    def __init__(self, where: str, effects: Path, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.helpers.queue_worker", where],
            env={**os.environ, "EFFECTS": str(effects), **environment},
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Worker:
        return self.ready()

    def __exit__(self, *_: object) -> None:
        self.kill()

    def ready(self) -> Worker:
        """Wait until it takes tasks."""
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"
        return self

    def kill(self) -> None:
        """End it at once."""
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def drain(self) -> int:
        """Tell it to end; return its exit code."""
        self.stop()
        return self.process.wait(PATIENCE)

    def stop(self) -> None:
        """Tell it to end, and wait until it takes no more tasks."""
        self.process.terminate()
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ending\n"


def effects_in(file: Path) -> list[list[Any]]:
    """Read what was written down: what, tool, call, chat, process."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def main(where: str) -> None:
    """Work until SIGTERM."""
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    drain = float(os.environ.get("DRAIN", "30"))
    with open_store(where) as store, open_queue(store) as queue:
        if "KILL_AT" in os.environ:
            from tests.helpers.queue_kills import end_at_commit

            end_at_commit(queue, int(os.environ["KILL_AT"]))
        deaths = int(os.environ.get("DEATHS", "3"))
        concurrency = int(os.environ.get("CONCURRENCY", "20"))
        with queue.workers(concurrency=concurrency, drain=drain, deaths=deaths) as workers:
            print("ready", flush=True)
            ended.wait()
            workers.stop()
            print("ending", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
