"""What is measured of every contender. Each function does the same work with whichever it is given.

Times are in milliseconds: `cpu` is of the whole process with all its threads, user and system.
"""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import sys
import time
import tracemalloc
from collections.abc import Callable
from statistics import median
from typing import Any

from tests.benchmarks.contender import Contender, NotAvailable
from tests.benchmarks.work import SLOW, add, many_tools, past, prompt, slow, slow_async

Metrics = dict[str, float]
Answers = list[str]


class Clock:
    """CPU and wall time since it was made, or since the last lap."""

    def __init__(self) -> None:
        self.lap()

    def lap(self) -> tuple[float, float]:
        """Return both and begin anew."""
        cpu, wall = time.process_time(), time.perf_counter()
        gone = (cpu - getattr(self, "_cpu", cpu)) * 1e3, (wall - getattr(self, "_wall", wall)) * 1e3
        self._cpu, self._wall = time.process_time(), time.perf_counter()
        return gone


def tool_turns(contender: Contender, answers: Answers, *, turns: int, repeat: int) -> Metrics:
    """Do runs of so many turns with a call each."""
    ask = contender.runner([add])
    for _ in range(2):
        answers.append(ask(prompt("chain", turns)))
    clock = Clock()
    for _ in range(repeat):
        answers.append(ask(prompt("chain", turns)))
    cpu, wall = clock.lap()
    return {"run_cpu": cpu / repeat, "run_wall": wall / repeat}


def long_chat(
    contender: Contender, answers: Answers, *, turns: int, few: int = 5, store: str | None = None
) -> Metrics:
    """Go through a chat, a call each turn; the first turns of it (after two) and the last ones."""
    ask = contender.chat([add], store)
    samples = []
    for number in range(turns):
        clock = Clock()
        answers.append(ask(prompt("chain", 1, number=number)))
        samples.append(clock.lap())
    first, last = samples[2 : 2 + few], samples[-few:]
    return {
        "first_cpu": median(cpu for cpu, _ in first),
        "last_cpu": median(cpu for cpu, _ in last),
        "last_wall": median(wall for _, wall in last),
        "chat_cpu": sum(cpu for cpu, _ in samples),
    }


def tools(contender: Contender, answers: Answers, *, many: int, repeat: int) -> Metrics:
    """Build an agent with many tools and use it, and one with a single tool."""
    answers.append(contender.runner([add])(prompt("chain", 1)))
    metrics: Metrics = {}
    for n, key in ((1, "one"), (many, "many")):
        functions = many_tools(n)
        clock = Clock()
        ask = contender.runner(functions)
        built, _ = clock.lap()
        answers.append(ask(prompt("chain", 0)))
        first, _ = clock.lap()
        answers.extend(ask(prompt("chain", 4)) for _ in range(repeat))
        later, _ = clock.lap()
        metrics |= {
            f"{key}_build_cpu": built,
            f"{key}_ready_cpu": built + first,
            f"{key}_request_cpu": later / repeat / 5,
        }
    return metrics


def parallel(contender: Contender, answers: Answers, *, calls: int, repeat: int) -> Metrics:
    """Run a turn of many slow calls, and one of a single call: sync tools, then async ones."""
    metrics: Metrics = {}
    for tool, key in ((slow, "sync"), (slow_async, "async")):
        try:
            for n in (1, calls):
                walls = _parallel(contender, answers, tool, n, repeat)
                metrics[f"{key}_{'one' if n == 1 else 'many'}_wall"] = median(walls)
        except NotAvailable:
            continue
    return metrics


def _parallel(
    contender: Contender, answers: Answers, tool: Callable[..., Any], n: int, repeat: int
) -> list[float]:
    walls = []
    if tool is slow:
        ask = contender.runner([tool])
        for _ in range(repeat + 1):
            clock = Clock()
            answers.append(ask(prompt("parallel", n)))
            walls.append(clock.lap()[1])
        return walls[1:]

    async def all_of_them() -> None:
        ask = contender.async_runner([tool])
        for _ in range(repeat + 1):
            clock = Clock()
            answers.append(await ask(prompt("parallel", n)))
            walls.append(clock.lap()[1])

    asyncio.run(all_of_them())
    return walls[1:]


def streaming(
    contender: Contender, answers: Answers, *, chunks: int, repeat: int, gap: float = 0.002
) -> Metrics:
    """Read an answer in many chunks that come one by one; and wait for the first text of short ones."""
    stream = contender.streamer()
    answers.append("".join(stream(prompt("stream", 3))))
    clock = Clock()
    answers.append("".join(stream(prompt("stream", chunks, gap=gap))))
    cpu, _ = clock.lap()
    waits = []
    for _ in range(repeat):
        clock.lap()
        pieces = stream(prompt("stream", 3))
        first = next(pieces)
        waits.append(clock.lap()[1])
        answers.append(first + "".join(pieces))
    return {"chunk_cpu": cpu / chunks, "first_text_wall": median(waits)}


def concurrent(contender: Contender, answers: Answers, *, runs: int, turns: int = 2) -> Metrics:
    """Do many runs at the same time in one event loop, with a model that takes its time."""
    metrics: Metrics = {}

    async def all_of_them() -> None:
        ask = contender.async_runner([add])
        answers.append(await ask(prompt("chain", turns)))
        before, collecting = _peak(), _Collecting()
        clock = Clock()
        asked = [ask(prompt("chain", turns, delay=SLOW)) for _ in range(runs)]
        answers.extend(await asyncio.gather(*asked))
        cpu, wall = clock.lap()
        metrics.update(all_wall=wall, all_cpu=cpu, runs_per_second=runs / wall * 1e3)
        metrics["collecting_cpu"] = collecting.stop()
        metrics.update(peak_mb=_peak(), grown_mb=_peak() - before)

    asyncio.run(all_of_them())
    return metrics


class _Collecting:
    """Measures what the garbage collector takes, which goes through all that the process has imported."""

    def __init__(self) -> None:
        self._spent = self._began = 0.0
        gc.callbacks.append(self._see)

    def _see(self, phase: str, info: dict[str, int]) -> None:
        now = time.perf_counter()
        self._spent += now - self._began if phase == "stop" else 0.0
        self._began = now

    def stop(self) -> float:
        gc.callbacks.remove(self._see)
        return self._spent * 1e3


def history(contender: Contender, answers: Answers, *, turns: int) -> Metrics:
    """Hold a long history, four contents a turn, after one question with it."""
    wire = json.dumps(past(turns))
    contender.hold(past(1))  # what is loaded and cached on first use isn't the history's
    gc.collect()
    tracemalloc.start()
    held = contender.hold(json.loads(wire))
    gc.collect()
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del held
    return {"content_bytes": used / (4 * turns), "wire_bytes": len(wire) / (4 * turns)}


def _peak() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / 2 ** (20 if sys.platform == "darwin" else 10)
