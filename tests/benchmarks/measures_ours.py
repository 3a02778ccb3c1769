"""What is measured of agentkit alone: its stores, what it keeps in memory, and the embedded model."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import cycle, pairwise
from pathlib import Path
from queue import SimpleQueue
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from agentkit_local.model import available

from agentkit import Agent, ChatManager, GeminiModel, LocalModel, MemoryStore, Model, SQLiteStore
from agentkit.drivers import threads
from agentkit.model import Traits
from agentkit.stores.base import AddMessage, Message
from agentkit.stores.store import SessionStore
from agentkit.wire.content import keep
from tests.benchmarks.contender import NotAvailable
from tests.benchmarks.harness import IN_MEMORY
from tests.benchmarks.measures import Answers, Clock, Metrics
from tests.benchmarks.work import INSTRUCTIONS, MODEL, add, many_tools, past, prompt


def own_append(contender: Any, answers: Answers, *, messages: int) -> Metrics:
    """Append messages to a session in SQLite one by one, on the disk and in a file in memory; open it again."""
    metrics: Metrics = {}
    with TemporaryDirectory() as folder:
        metrics |= {f"disk_{key}": value for key, value in _append(Path(folder), messages).items()}
        metrics["disk_fsync_wall"] = _fsync(Path(folder))
    if IN_MEMORY:
        with TemporaryDirectory(dir=IN_MEMORY) as folder:
            metrics |= {f"memory_{key}": value for key, value in _append(Path(folder), messages).items()}
    return metrics


def _append(folder: Path, messages: int) -> Metrics:
    walls, written = [], [_written()]
    contents: Any = past(messages // 4)
    with SQLiteStore(folder / "chats.db") as store:
        store.create("one")
        writer = store.write("one")
        for number, content in enumerate(contents, 1):
            began = time.perf_counter()
            writer.append([AddMessage(Message(content=keep(content)))])
            walls.append((time.perf_counter() - began) * 1e3)
            if number % (messages // 4) == 0:
                written.append(_written())
        writer.release()
    metrics = {"append_wall": median(walls), "append_last_wall": median(walls[-messages // 4 :])}
    quarters = [after - before for before, after in pairwise(written)]
    if quarters and quarters[1]:
        metrics["bytes_growth"] = quarters[-1] / quarters[1]
        metrics["bytes_per_message"] = sum(quarters) / messages
    opened = []
    for _ in range(5):
        clock = Clock()
        with SQLiteStore(folder / "chats.db") as store:
            found = len(store.load("one").messages)
        opened.append(clock.lap()[1])
        assert found == messages // 4 * 4
    return metrics | {"open_wall": median(opened)}


def _written() -> int:
    """Tell how many bytes this process has written so far; 0 where the system doesn't say."""
    try:
        lines = Path("/proc/self/io").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) for line in lines if line.startswith("wchar"))


def _fsync(folder: Path) -> float:
    """Tell what the disk takes to keep 8 KiB: no store that is durable can be faster."""
    walls = []
    with (folder / "probe").open("wb", buffering=0) as file:
        for _ in range(100):
            clock = Clock()
            file.write(b"x" * 8192)
            os.fdatasync(file.fileno()) if hasattr(os, "fdatasync") else os.fsync(file.fileno())
            walls.append(clock.lap()[1])
    return median(walls)


def _folder() -> TemporaryDirectory[str]:
    return TemporaryDirectory(dir=IN_MEMORY)


def own_list(contender: Any, answers: Answers, *, sessions: int, page: int = 50) -> Metrics:
    """List many sessions, page after page."""
    walls = []
    with _folder() as folder:
        path = Path(folder) / "chats.db"
        with SQLiteStore(path) as store:
            for number in range(sessions):
                store.create(f"session-{number}", title=f"Chat {number}")
            chats, last, found = ChatManager(Agent(MODEL), store), None, 0
            while True:
                clock = Clock()
                infos = chats.list(limit=page, after=last)
                walls.append(clock.lap()[1])
                if not infos:
                    break
                found, last = found + len(infos), infos[-1]
    assert found == sessions
    return {"page_wall": median(walls), "slowest_page_wall": max(walls)}


# -- a turn's parts --------------------------------------------------------------------------------------------------


def own_parts(contender: Any, answers: Answers, *, turns: int, repeat: int) -> Metrics:
    """Do runs over HTTP, then with the same replies from the process, then only hand calls to threads."""
    asked = prompt("chain", turns)
    model = _Recording(GeminiModel(MODEL))
    whole = _cpu_of_runs(model, asked, repeat, answers)
    model.replay()
    inside = _cpu_of_runs(model, asked, repeat, answers)
    clock = Clock()
    for _ in range(repeat * turns):
        done: SimpleQueue[Any] = SimpleQueue()
        threads.pool.run(int, lambda *result, done=done: done.put(result), "nothing")
        done.get()
    handover = clock.lap()[0] / repeat
    return {
        "whole_cpu": whole,
        "http_cpu": whole - inside,
        "handover_cpu": handover,
        "rest_cpu": inside - handover,
    }


def _cpu_of_runs(model: Any, asked: str, repeat: int, answers: Answers) -> float:
    agent = Agent(model, tools=[add], instructions=INSTRUCTIONS)
    for _ in range(2):
        answers.append(agent.run(asked).text)
    clock = Clock()
    for _ in range(repeat):
        answers.append(agent.run(asked).text)
    return clock.lap()[0] / repeat


class _Recording(Model):
    """A model that passes requests on and, once told so, gives the replies of the first run again."""

    def __init__(self, model: GeminiModel) -> None:
        self._model = model
        self._replies: list[Any] = []
        self._again: Iterator[Any] | None = None

    @property
    def name(self) -> str:
        return self._model.name

    @property
    def traits(self) -> Traits:
        return self._model.traits

    def stream(self, request: Any, *, timeout: float | None = None) -> Any:
        return self._model.stream(request, timeout=timeout)

    def replay(self) -> None:
        texts = [reply["candidates"][0]["content"]["parts"] for reply in self._replies]
        first = next(index for index, parts in enumerate(texts) if "text" in parts[0])
        self._again = cycle(self._replies[: first + 1])

    def generate(self, request: Any, *, timeout: float | None = None) -> Any:
        if self._again is not None:
            return next(self._again)
        self._replies.append(self._model.generate(request, timeout=timeout))
        return self._replies[-1]


# -- memory ----------------------------------------------------------------------------------------------------------


def own_idle(contender: Any, answers: Answers, *, chats: int) -> Metrics:
    """Have many chats with one answered message each, and let them be."""
    agent = Agent(MODEL, tools=[add], instructions=INSTRUCTIONS)
    agent.run(prompt("chain", 1))
    metrics = {"chat_object_bytes": _held(chats, lambda: _chat_objects(agent, chats))}
    metrics["memory_store_bytes"] = _held(chats, lambda: _managed(agent, chats, MemoryStore()))
    with _folder() as folder, SQLiteStore(Path(folder) / "chats.db") as store:
        metrics["sqlite_bytes"] = _held(chats, lambda: _managed(agent, chats, store))
    return metrics


def _chat_objects(agent: Agent, count: int) -> Any:
    chats = [agent.chat() for _ in range(count)]
    for chat in chats:
        chat.send_message(prompt("chain", 1))
    return chats


def _managed(agent: Agent, count: int, store: SessionStore) -> Any:
    manager = ChatManager(agent, store)
    for number in range(count):
        manager.create(f"chat-{number}")
        manager.send_message(f"chat-{number}", prompt("chain", 1))
    return manager


def _held(count: int, make: Callable[[], Any]) -> float:
    """Tell the bytes that each of the things made keeps."""
    gc.collect()
    tracemalloc.start()
    held = make()
    gc.collect()
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del held
    return used / count


def own_soak(contender: Any, answers: Answers, *, turns: int) -> Metrics:
    """Run, stream, run async and chat, over and over; what is held must stay the same."""
    agent = Agent(MODEL, tools=[add], instructions=INSTRUCTIONS)
    with _folder() as folder, SQLiteStore(Path(folder) / "chats.db") as store, asyncio.Runner() as runner:
        manager = ChatManager(agent, store)

        async def run_async() -> None:
            await agent.aio.run(prompt("chain", 1))

        def round_of_four(number: int) -> None:
            agent.run(prompt("chain", 1, number=number))
            with agent.stream(prompt("stream", 3)) as events:
                for _ in events:
                    pass
            runner.run(run_async())
            manager.create(f"chat-{number}")
            manager.send_message(f"chat-{number}", prompt("chain", 1))
            manager.delete_session(f"chat-{number}")

        rounds = max(4, turns // 4)
        tracemalloc.start()
        held = []
        for number in range(rounds):
            round_of_four(number)
            if number in (rounds // 2, rounds - 1):
                gc.collect()
                held.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
    grown = (held[1] - held[0]) / (4 * (rounds - 1 - rounds // 2))
    return {"growth_bytes_per_turn": grown, "held_mb": held[1] / 2**20, "turns": 4.0 * rounds}


# -- the embedded model ----------------------------------------------------------------------------------------------


_COMMAND = """
from agentkit import Agent
from tests.benchmarks.work import many_tools
print(Agent("local", tools=many_tools(5)).run("Add the numbers 3 and 4.").text)
"""


def own_local(contender: Any, answers: Answers, *, tools: int = 5) -> Metrics:
    """Ask the embedded model twice and once more in another run, then by two commands, one after the other."""
    if not available():
        raise NotAvailable("the extra `local` isn't installed")
    model = LocalModel()
    clock = Clock()
    agent = Agent(model, tools=many_tools(tools))
    metrics = {"build_wall": clock.lap()[1], "early_children": float(len(_children()))}
    seen = set()
    chat = agent.chat()
    for key in ("first", "second"):
        clock.lap()
        answers.append(chat.send_message("Add the numbers 3 and 4.").text)
        metrics[f"{key}_wall"] = clock.lap()[1]
        seen |= _children()
    metrics["reloads"] = float(len(seen) - 1)
    model.close()
    for key in ("first", "second"):
        clock.lap()
        subprocess.run([sys.executable, "-c", _COMMAND], check=True, capture_output=True)
        metrics[f"{key}_command_wall"] = clock.lap()[1]
    return metrics


def _children() -> set[str]:
    """Tell the processes that this one has started and that still run."""
    lists = Path("/proc/self/task").glob("*/children")
    return {pid for each in lists for pid in each.read_text().split()}
