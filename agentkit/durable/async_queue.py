"""A queue for async callers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from agentkit.drivers.threads import off_loop
from agentkit.durable.signals import LOOK_AGAIN, told_in_loop
from agentkit.durable.task import Task, TaskEnded, TaskEvent
from agentkit.tooling.decisions import Decision
from agentkit.wire.arguments import checked
from agentkit.wire.convert import UserInput

if TYPE_CHECKING:
    from agentkit.durable.queue import Queue


@checked
class AsyncQueue:
    """A queue for async callers; see `Queue`, whose methods these are. The database never blocks the event loop."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    async def send(self, chat: str, message: UserInput, **options: Any) -> str:
        """Send a message to a chat; see `Queue.send`."""
        return await off_loop(lambda: self._queue.send(chat, message, **options))

    async def decide(self, chat: str, decisions: Mapping[str, Decision], **options: Any) -> str:
        """Say what becomes of calls that wait; see `Queue.decide`."""
        return await off_loop(lambda: self._queue.decide(chat, decisions, **options))

    async def resolve(self, chat: str, call_id: str, **options: Any) -> str:
        """Say what became of a call; see `Queue.resolve`."""
        return await off_loop(lambda: self._queue.resolve(chat, call_id, **options))

    async def retry(self, task: str) -> str:
        """Send a task again; see `Queue.retry`."""
        return await off_loop(lambda: self._queue.retry(task))

    async def get(self, task: str) -> Task | None:
        """Return a task as it is now; see `Queue.get`."""
        return await off_loop(lambda: self._queue.get(task))

    async def list(self, **options: Any) -> Sequence[Task]:
        """List tasks; see `Queue.list`."""
        return await off_loop(lambda: self._queue.list(**options))

    async def watch(self, task: str, *, after: int | None = None) -> AsyncIterator[tuple[int, TaskEvent]]:
        """Follow a task; see `Queue.watch`."""
        queue = self._queue
        with told_in_loop(queue.signals, [queue._key(task)]) as told:
            while True:
                told.clear()
                for cursor, event in await off_loop(partial(queue._news, task, after)):
                    after = cursor
                    yield cursor, event
                    if isinstance(event, TaskEnded):
                        return
                await _told(told)

    async def wait(self, task: str, timeout: float | None = None) -> Task:
        """Wait until a task has ended; see `Queue.wait`."""
        async with asyncio.timeout(timeout):
            with told_in_loop(self._queue.signals, [self._queue._key(task)]) as told:
                while True:
                    told.clear()
                    found = await off_loop(lambda: self._queue._there(task))
                    if found.is_over:
                        return found
                    await _told(told)

    async def cancel(self, task: str) -> None:
        """End a task; see `Queue.cancel`."""
        await off_loop(lambda: self._queue.cancel(task))

    async def schedule(self, name: str, cron: str, chat: str, message: UserInput, **options: Any) -> None:
        """Send a message again and again; see `Queue.schedule`."""
        await off_loop(lambda: self._queue.schedule(name, cron, chat, message, **options))

    async def unschedule(self, name: str) -> None:
        """Forget a schedule; see `Queue.unschedule`."""
        await off_loop(lambda: self._queue.unschedule(name))

    async def schedules(self) -> Mapping[str, str]:
        """Return the schedules' times by their names; see `Queue.schedules`."""
        return await off_loop(self._queue.schedules)


async def _told(told: asyncio.Event) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(LOOK_AGAIN):
            await told.wait()
