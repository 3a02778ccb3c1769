"""What a turn of a chat costs, counted and not timed: the same however long the history is.

The server is the benchmark's, in a process of its own: all that is counted here is the client's.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import json
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from agentkit import Agent, ChatManager, GeminiModel, MemoryStore, SQLiteStore
from agentkit.drivers.threads import pool
from agentkit.gemini import connections
from agentkit.stores import sqlite_file
from tests.benchmarks import harness
from tests.benchmarks.harness import Server
from tests.benchmarks.work import add, past, prompt
from tests.helpers.until import PATIENCE

LENGTHS = (10, 320)
"""Turns of the user, four contents each."""
Send = Callable[[str], Any]


@dataclass
class Work:
    """What was done meanwhile, in all threads."""

    encodes: int = 0
    bytes_encoded: int = 0
    decodes: int = 0
    bytes_decoded: int = 0
    validations: int = 0
    """By pydantic, and conversions by it."""
    statements: int = 0
    commits: int = 0
    requests: int = 0
    calls: int = 0
    """Of Python functions."""


class Counter:
    """Counts work while it is on; made before the threads that it is to see."""

    def __init__(self) -> None:
        self._work: Work | None = None
        self._lock = threading.Lock()

    @contextmanager
    def counting(self) -> Iterator[Work]:
        gc.collect()
        self._work = work = Work()
        sys.setprofile(self.see)
        try:
            yield work
        finally:
            sys.setprofile(None)
            self._work = None

    def count_statement(self, statement: str) -> None:
        if self._work is not None:
            self._work.statements += 1
            self._work.commits += statement == "COMMIT"

    def see(self, frame: FrameType, event: str, arg: Any) -> None:
        work = self._work
        if work is None:
            return
        with self._lock:
            if event == "call":
                work.calls += 1
                if frame.f_code is json.JSONDecoder.decode.__code__:
                    work.decodes += 1
                    work.bytes_decoded += len(frame.f_locals["s"])
            elif event == "return" and frame.f_code is json.JSONEncoder.encode.__code__:
                work.encodes += 1
                work.bytes_encoded += len(arg)
            elif event == "c_call":
                home = type(arg.__self__).__module__ if arg.__self__ is not None else arg.__module__
                if str(home).startswith("pydantic_core") or arg.__name__ == "to_jsonable_python":
                    work.validations += 1


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with harness.serving() as running:
        yield running


@pytest.fixture
def counter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter]:
    pool.close_idle()  # threads from before, which it doesn't see
    monkeypatch.setattr(connections, "KEEPALIVE_SECONDS", PATIENCE)  # connecting anew would count
    counter = Counter()

    def connect(*args: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = sqlite3.connect(*args, **options)
        connection.set_trace_callback(counter.count_statement)
        return connection

    module = type(sqlite3)("sqlite3 that is counted")
    module.__dict__.update(sqlite3.__dict__, connect=connect)
    monkeypatch.setattr(sqlite_file, "sqlite3", module)
    threading.setprofile(counter.see)
    yield counter
    threading.setprofile(None)


@pytest.fixture
def agent(server: Server) -> Iterator[Agent]:
    model = GeminiModel("gemini-bench", api_key="test-key", http_options={"base_url": server.url})
    yield Agent(model, tools=[add], instructions="You are a calculator.")
    model.close()


def _work_of_a_turn(send: Send, server: Server, counter: Counter) -> Work:
    """Count a turn with a call; the turns before it read and encode what the chat began with."""
    for number in (1001, 1002):
        send(prompt("chain", 1, number=number))
    server.log()
    pool.close_idle()  # only threads that begin from here on are looked at
    with counter.counting() as work:
        send(prompt("chain", 1, number=1003))
    work.requests = len(server.log()["requests"])
    return work


def _plain(agent: Agent, history: Any, folder: Path, stack: ExitStack) -> Send:
    return agent.chat(history=history).send_message


def _in_memory(agent: Agent, history: Any, folder: Path, stack: ExitStack) -> Send:
    return agent.chat("one", MemoryStore(), history=history).send_message


def _in_a_file(agent: Agent, history: Any, folder: Path, stack: ExitStack) -> Send:
    store = stack.enter_context(SQLiteStore(folder / f"{len(history)}.db"))
    return agent.chat("one", store, history=history).send_message


def _managed(agent: Agent, history: Any, folder: Path, stack: ExitStack) -> Send:
    store = stack.enter_context(SQLiteStore(folder / f"{len(history)}.db"))
    agent.chat("one", store, history=history).send_message(prompt("chain", 0))
    chats = ChatManager(agent, store)
    return lambda text: chats.send_message("one", text)


@pytest.mark.parametrize("begin", [_plain, _in_memory, _in_a_file, _managed])
def test_a_turn_of_a_chat_costs_the_same_however_long_the_history_is(
    begin: Callable[[Agent, Any, Path, ExitStack], Send],
    agent: Agent,
    server: Server,
    counter: Counter,
    tmp_path: Path,
) -> None:
    with ExitStack() as stack:
        short, *longer = [
            _work_of_a_turn(begin(agent, past(turns), tmp_path, stack), server, counter) for turns in LENGTHS
        ]
    # All that is counted is seen at all, and it is no more than a turn needs.
    assert short.requests == 2
    assert short.validations == 1  # of the call's arguments
    assert 4 <= short.encodes <= 20
    assert 2 <= short.decodes <= 8
    stored = begin in (_in_memory, _in_a_file, _managed)
    assert (10 if stored else 0) <= short.statements <= (50 if stored else 0)
    # The lease; the question; a reply with its calls begun; their responses; the answer with the lease's end.
    assert short.commits == (5 if stored else 0) + (begin is _managed)
    for work, turns in zip(longer, LENGTHS[1:], strict=True):
        assert dataclasses.replace(work, bytes_encoded=0, bytes_decoded=0, calls=0) == dataclasses.replace(
            short, bytes_encoded=0, bytes_decoded=0, calls=0
        )
        # Only what is new is written and read: a few bytes are the digits of larger numbers.
        assert work.bytes_encoded - short.bytes_encoded < 20
        assert work.bytes_decoded - short.bytes_decoded < 20
        # What is left is joining, for each request, the JSON that each content has: no more than a few calls.
        contents = 4 * (turns - LENGTHS[0])
        assert work.calls - short.calls <= 3 * contents * work.requests


def test_a_turn_of_a_run_costs_the_same_however_many_there_were(
    agent: Agent, server: Server, counter: Counter
) -> None:
    agent.run(prompt("chain", 1))
    works = []
    for turns in (5, 10, 20):
        server.log()
        with counter.counting() as work:
            agent.run(prompt("chain", turns))
        work.requests = len(server.log()["requests"])
        works.append(work)
    five, ten, twenty = works
    for name in ("requests", "encodes", "decodes", "validations"):
        for_five = getattr(ten, name) - getattr(five, name)
        assert for_five >= 5
        assert getattr(twenty, name) - getattr(ten, name) == 2 * for_five, name
    for name in ("bytes_encoded", "bytes_decoded"):
        for_five = getattr(ten, name) - getattr(five, name)
        assert 0 <= getattr(twenty, name) - getattr(ten, name) - 2 * for_five < 100, name


def test_an_async_request_costs_the_same_however_many_there_are_at_the_same_time(
    server: Server, counter: Counter
) -> None:
    model = GeminiModel("gemini-bench", api_key="test-key", http_options={"base_url": server.url})
    agent = Agent(model, instructions="You are a calculator.")

    async def calls_of_each(runs: int) -> float:
        for _ in range(2):  # the first time opens the connections
            with counter.counting() as work:
                await asyncio.gather(*[agent.aio.run(prompt("chain", 0, delay=0.1)) for _ in range(runs)])
        return work.calls / runs

    async def few_and_many() -> tuple[float, float]:
        return await calls_of_each(5), await calls_of_each(40)

    few, many = asyncio.run(few_and_many())
    assert 100 < few < 2000
    assert many < 1.1 * few
