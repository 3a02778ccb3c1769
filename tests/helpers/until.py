"""Wait for what another thread, task, process or run is about to do; never for a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(condition: Callable[[], object], seconds: float = 40.0) -> None:
    """Wait until a condition holds; fail after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("it didn't come to that")
        time.sleep(0.005)


async def auntil(condition: Callable[[], object], seconds: float = 40.0) -> None:
    """Wait until a condition holds, while the event loop goes on; fail after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("it didn't come to that")
        await asyncio.sleep(0.005)


def given_time(run: Callable[[float], T], came_to_it: Callable[[T], object], seconds: float = 0.1) -> T:
    """Have a run whose time is up after so many seconds; with more, until it came so far before its time was up."""
    while not came_to_it(made := run(seconds)):
        if seconds > 40:
            raise TimeoutError("it didn't come to that")
        seconds *= 4
    return made
