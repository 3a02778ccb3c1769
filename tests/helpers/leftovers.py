"""What a run may leave behind: nothing. Threads, open files, children and tasks are counted before and after."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from agentkit.drivers.threads import pool, portal
from tests.helpers.until import PATIENCE

T = TypeVar("T")

_SELF = Path("/proc/self")


def _open_files() -> int:
    return len(list((_SELF / "fd").iterdir())) if _SELF.exists() else 0


def _children() -> set[str]:
    found: set[str] = set()
    for task in list((_SELF / "task").iterdir()) if _SELF.exists() else []:
        with suppress(OSError):  # the thread has ended
            found.update((task / "children").read_text().split())
    return found


@contextmanager
def nothing_left(seconds: float = PATIENCE) -> Iterator[None]:
    """Fail if a thread, an open file (a socket is one) or a child outlives the block by so many seconds."""
    portal.leave(portal.enter())  # its event loop stays, for good
    threads, files, children = set(threading.enumerate()), _open_files(), _children()
    yield
    end = time.monotonic() + seconds
    while True:
        left = {
            "threads": set(threading.enumerate()) - threads,
            "files": max(0, _open_files() - files),
            "children": _children() - children,
        }
        if not any(left.values()):
            return
        assert time.monotonic() < end, left
        gc.collect()
        pool.close_idle()
        time.sleep(0.01)


async def other_tasks() -> set[asyncio.Task[Any]]:
    """Return the other tasks of this loop, once those that are about to end have had turns to do so.

    Closers of dropped generators are such tasks, and the tries of a connection that
    were cancelled without waiting for them.
    """
    for _ in range(10):
        await asyncio.sleep(0)
    return asyncio.all_tasks() - {asyncio.current_task()}


def finish(main: Callable[[], Awaitable[T]]) -> T:
    """Run an async function on a loop of its own; fail if it leaves a task, also when it raises."""
    left: list[asyncio.Task[Any]] = []

    async def watched() -> T:
        try:
            return await main()
        finally:
            left.extend(await other_tasks())

    try:
        return asyncio.run(watched())
    finally:
        assert not left, left
