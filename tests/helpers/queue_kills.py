"""Ends a worker's process at a chosen transaction of its own, before or after it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

from agentkit.durable import Queue


def end_at_commit(queue: Queue, number: int) -> None:
    """End this process around its transaction of this number, from 1: before it, or after it if it is negative."""
    lock, seen = threading.Lock(), [0]
    database, engine = queue.engine.db, queue.engine

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            if options.get("write", True) is False:
                return function(*args, **options)
            with lock:
                seen[0] += 1
                chosen = seen[0] == abs(number)
                if chosen and number > 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                found = function(*args, **options)
                if chosen:
                    os.kill(os.getpid(), signal.SIGKILL)
                return found

        return call

    database.run = counted(database.run)
    engine._call = counted(engine._call)  # type: ignore[method-assign]
