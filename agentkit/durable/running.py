"""One task while it runs here: its chat is opened, what happens is told, and its end is noted."""

from __future__ import annotations

import asyncio
import inspect
import logging
import random
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, cast

from agentkit.chats.chat import AsyncChat
from agentkit.drivers.threads import off_loop
from agentkit.durable.engine import Claimed
from agentkit.durable.log import Row
from agentkit.durable.task import decision_from_wire
from agentkit.errors import (
    AgentError,
    ModelError,
    SessionConflict,
    SessionExists,
    SessionNotFound,
    StoreError,
    StoreVersionError,
)
from agentkit.events import RunFinished, to_wire
from agentkit.run import AsyncRunStream, Run
from agentkit.stores.base import Step
from agentkit.stores.store import SessionStore
from agentkit.stores.writer import Writer

if TYPE_CHECKING:
    from agentkit.durable.queue import Queue

MakeDeps = Callable[[Any], Any]
"""Gives what tools get as `ctx.deps`, from a task's user data; a generator function yields it, and then closes it."""
_WAIT = 60.0
"""Seconds to wait for another writer of the chat."""


class Cut(SessionStore):
    """A store as one run has it. Once it is cut off, nothing more of that run is stored, as after a kill."""

    def __init__(self, store: SessionStore) -> None:
        super().__init__(store._db)
        self._held, self._dropped = store._held, store._dropped
        self.is_off = False

    def write(self, id: str, **options: Any) -> Writer:
        """Become the writer of a session, until it is cut off."""
        self.refuse(id)
        return cast(Writer, _CutWriter(self, super().write(id, **options)))

    def refuse(self, id: str) -> None:
        """Raise SessionConflict if it is cut off."""
        if self.is_off:
            raise SessionConflict(f"The chat {id!r} is no longer this worker's; nothing was stored.")


class _CutWriter:
    def __init__(self, cut: Cut, writer: Writer) -> None:
        self._cut = cut
        self._writer = writer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)

    def append(self, steps: list[Step], *, release: bool = False) -> None:
        self._cut.refuse(self._writer.info.id)
        self._writer.append(steps, release=release)


class Running:
    """A task that this process runs.

    Args:
        claimed: What is to be done.
        queue: Whose it is.
        patience: Seconds for which outages of the model or the store are waited for.
    """

    def __init__(self, claimed: Claimed, queue: Queue, patience: float) -> None:
        self.claimed = claimed
        self.why: Literal["cancelled", "lost", "parked"] | None = None
        """Why it was ended from outside."""
        self._queue, self._patience = queue, patience
        self._agent = queue.agents[claimed.given["agent"]]
        self._cut = Cut(queue.store)
        self._stream = f"task:{claimed.id}"
        self._told: Future[int] | None = None
        self._said = claimed.attempt > 1
        """Whether somebody may have heard what was decided: here before an outage, or a worker that has ended."""
        queue.log.take(self._stream, claimed.fence, claimed.seq)
        self.task = asyncio.create_task(self._run(), name=f"agentkit {claimed.id}")

    def end(self, why: Literal["cancelled", "lost", "parked"]) -> None:
        """End it: cancelled by somebody, which its chat is told; or gone to another worker, or to be, as if killed."""
        if self.why is None and not self.task.done():
            self.why = why
            self._cut.is_off = why != "cancelled"
            self.task.cancel()

    async def _run(self) -> None:
        output, error = None, None
        try:
            output = _output(await self._until_it_is_there())
        except asyncio.CancelledError:
            error = "The run was cancelled on the worker."
        except AgentError as failed:
            error = f"{type(failed).__name__}: {failed}"[:2000]
        except Exception as failed:
            if self.why is None:
                logging.getLogger("agentkit.durable").exception("A task failed.")
            error = f"{type(failed).__name__} ended the run."
        if self.why is None:  # else it has ended, or is another worker's, or about to be
            await self._finish(output, error)

    async def _finish(self, output: Any, error: str | None) -> None:
        """Note the end, when all that was told before is stored."""
        if self._told is not None:
            with suppress(StoreError):
                await asyncio.wrap_future(self._told)
        while True:
            with suppress(StoreError):
                await off_loop(lambda: self._queue.engine.finish(self.claimed, output=output, error=error))
                return
            await asyncio.sleep(1)

    async def _until_it_is_there(self) -> Run[Any]:
        """Run, again where it is from after an outage."""
        until, pause = time.monotonic() + self._patience, 0.5
        while True:
            try:
                return await self._once()
            except AgentError as error:
                if self.why is not None or not _passes(error) or time.monotonic() > until:
                    raise
            await asyncio.sleep(pause * random.uniform(0.5, 1))
            pause = min(2 * pause, 15.0)

    async def _once(self) -> Run[Any]:
        given = self.claimed.given
        async with _made(self._queue.deps, given.get("user_data")) as deps:
            chat = self._agent.aio.chat(
                given["chat"], self._cut, memory=self._queue.memory, deps=deps, wait=_WAIT
            )
            stream = await self._open(chat)
            async with stream as events:
                async for event in events:
                    if not isinstance(event, RunFinished):
                        self._tell(to_wire(event))
            return stream.run

    async def _open(self, chat: AsyncChat) -> AsyncRunStream[Any]:
        given = self.claimed.given
        options: Any = {**(given.get("options") or {})}
        if self._queue.output is not None:
            options["output"] = self._queue.output
        if (seconds := options.pop("seconds", None)) is not None:
            own = self._agent.limits
            options["limits"] = replace(own, seconds=min(seconds, own.seconds or seconds))
        if "message" in given:
            return chat.send_message_stream(given["message"], id=given["message_id"], **options)
        said = {call_id: decision_from_wire(wire) for call_id, wire in given.get("decisions", {}).items()}
        if not self._said:
            for call_id, resolved in given.get("resolved", {}).items():
                await chat.resolve(call_id, **resolved)
            self._said = True
        else:  # some was said already: what nobody knows of isn't said again, lest a call runs twice
            waiting = {call.call_id for call in await chat.get_pending() if call.kind != "unknown_effect"}
            said = {call_id: decision for call_id, decision in said.items() if call_id in waiting}
        return chat.resume_stream(said, **options)

    def _tell(self, row: Row) -> None:
        self._told = self._queue.log.tell(self._stream, [row], fence=self.claimed.fence)


def _passes(error: AgentError) -> bool:
    """Return whether the same may work later."""
    if isinstance(error, ModelError):
        return error.retryable
    return isinstance(error, StoreError) and not isinstance(
        error, (SessionNotFound, SessionExists, StoreVersionError)
    )


def _output(run: Run[Any]) -> dict[str, Any]:
    return {
        "text": run.text,
        "stop": run.stop,
        "why": run.why,
        "pending": [call.to_wire() for call in run.pending],
    }


@asynccontextmanager
async def _made(make: MakeDeps | None, user_data: Any) -> AsyncIterator[Any]:
    """Make what tools get, and close it."""
    if make is None:
        yield None
    elif inspect.isasyncgenfunction(make):
        opened = asynccontextmanager(make)(user_data)
        deps = await opened.__aenter__()
        try:
            yield deps
        finally:  # however the run ended: what is behind the `yield` closes
            await opened.__aexit__(None, None, None)
    elif inspect.isgeneratorfunction(make):
        manager = contextmanager(make)(user_data)
        deps = await off_loop(manager.__enter__)
        try:
            yield deps
        finally:
            await off_loop(lambda: manager.__exit__(None, None, None))
    else:
        deps = await off_loop(lambda: make(user_data))
        yield await deps if inspect.isawaitable(deps) else deps
