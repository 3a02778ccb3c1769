"""Wait for what another thread, task or process is about to do; never for a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


def until(condition: Callable[[], object], seconds: float = 40.0) -> None:
    """Wait until a condition holds; fail after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it didn't come to that"
        time.sleep(0.005)


async def auntil(condition: Callable[[], object], seconds: float = 40.0) -> None:
    """Wait until a condition holds, while the event loop goes on; fail after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it didn't come to that"
        await asyncio.sleep(0.005)
