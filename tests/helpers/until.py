"""Wait for what another thread, task, process or run is about to do; never for a time."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 90.0
"""Seconds that only a hang takes: a machine may stand still for half a minute. Less than a test may take."""


def until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait until a condition holds; fail after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("it didn't come to that")
        time.sleep(0.005)


async def auntil(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
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


def stretched(work: Callable[[float], object]) -> None:
    """Do work whose times are so many times as long; if it fails, again with times that are longer yet.

    For times that compete with one another, where no condition can be waited for: a machine that stands still for a
    moment decides who is first. What is wrong fails however long they are.
    """
    import pytest  # here, since children of tests load this module too

    for longer in (1.0, 6.0):
        with contextlib.suppress(Exception, pytest.fail.Exception):
            work(longer)
            return
    work(30.0)
