"""Counts the work of a turn in a process of its own: `python -m tests.helpers.count_work URL FOLDER WAY STORE`.

In a fresh process no thread is older than the count, and nothing else runs. All that is counted is written as JSON,
for each length of the history and each repetition.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import agentkit
from agentkit import Agent, GeminiModel, SQLiteStore
from agentkit.drivers import threads
from tests.benchmarks.work import add, past, prompt

LENGTHS = (10, 2000)
"""Contents that there are before the turn that is counted."""
_OURS = str(Path(agentkit.__file__).parent)
_ENCODE, _DECODE = json.JSONEncoder.encode.__code__, json.JSONDecoder.decode.__code__


class Work:
    """Counts in all threads that begin after it was made."""

    def __init__(self) -> None:
        self._on = False
        self._lock = threading.Lock()
        self._ours: dict[CodeType, bool] = {}
        self.counts: dict[str, int] = {}
        threading.setprofile(self._see)
        for module in (sqlite3, sqlite3.dbapi2):
            module.connect = self._connecting(module.connect)  # type: ignore[attr-defined]

    @contextmanager
    def counting(self) -> Iterator[dict[str, int]]:
        """Count while the block runs."""
        names = ("calls", "encodes", "bytes_encoded", "decodes", "bytes_decoded", "statements", "commits")
        self.counts = counts = dict.fromkeys(names, 0)
        gc.collect()
        gc.disable()
        self._on = True
        sys.setprofile(self._see)
        try:
            yield counts
        finally:
            sys.setprofile(None)
            self._on = False
            gc.enable()

    def _see(self, frame: FrameType, event: str, arg: Any) -> None:
        if not self._on or event not in ("call", "return"):
            return
        code = frame.f_code
        with self._lock:
            if event == "return":
                if code is _ENCODE and isinstance(arg, str):
                    self.counts["encodes"] += 1
                    self.counts["bytes_encoded"] += len(arg)
            elif code is _DECODE:
                self.counts["decodes"] += 1
                self.counts["bytes_decoded"] += len(frame.f_locals["s"])
            elif self._is_ours(code):
                self.counts["calls"] += 1

    def _is_ours(self, code: CodeType) -> bool:
        if code not in self._ours:
            self._ours[code] = code.co_filename.startswith(_OURS)
        return self._ours[code]

    def _connecting(self, connect: Callable[..., Any]) -> Callable[..., Any]:
        def connecting(*args: Any, **options: Any) -> Any:
            connection = connect(*args, **options)
            connection.set_trace_callback(self._see_statement)
            return connection

        return connecting

    def _see_statement(self, statement: str) -> None:
        if self._on and not statement.startswith("--"):  # those that a search index makes of its own accord
            with self._lock:
                self.counts["statements"] += 1
                self.counts["commits"] += statement.strip().upper().startswith("COMMIT")


def counted(work: Work, agent: Agent, history: Any, store: Any, id: str, *, is_async: bool) -> dict[str, int]:
    """Count a turn with one call; the two turns before it read and encode what the chat began with."""
    texts = [prompt("chain", 1, number=number) for number in (1001, 1002, 1003)]
    if not is_async:
        chat = agent.chat(id, store, history=history)
        for text in texts[:2]:
            chat.send_message(text)
        with work.counting() as counts:
            chat.send_message(texts[2])
        return counts

    async def main() -> dict[str, int]:
        chat = agent.aio.chat(id, store, history=history)
        for text in texts[:2]:
            await chat.send_message(text)
        with work.counting() as counts:
            await chat.send_message(texts[2])
        return counts

    return asyncio.run(main())


def main(url: str, folder: str, way: str, kind: str, repetitions: str) -> None:
    """Count each length so often."""
    threads.IDLE_SECONDS = (
        60.0  # on a busy machine, a thread must not end between two turns: another one would begin
    )
    work = Work()
    whole = past(LENGTHS[-1] // 4)
    found: dict[int, list[dict[str, int]]] = {length: [] for length in LENGTHS}
    with ExitStack() as stack:
        store = stack.enter_context(SQLiteStore(Path(folder) / "chats.db")) if kind == "sqlite" else None
        for number in range(int(repetitions)):
            for length in LENGTHS:
                model = GeminiModel("gemini-bench", api_key="test-key", http_options={"base_url": url})
                agent = Agent(model, tools=[add], instructions="You are a calculator.")
                began = [*whole[: (length - 8) // 4 * 4], *(whole[-4::3] if length % 4 else ())]
                assert len(began) == length - 8
                id = f"{length}-{number}"
                found[length].append(counted(work, agent, began, store, id, is_async=way == "async"))
                model.close()
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
