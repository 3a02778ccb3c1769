"""The driver for async callers: the model and async tools as tasks, sync tools in threads."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

from agentkit.core.calls import finished, started
from agentkit.core.effects import (
    EXPIRED,
    CallModel,
    Count,
    Extend,
    Resolve,
    RunCalls,
    Save,
    State,
    Steps,
    Wait,
    nobody,
)
from agentkit.drivers import threads
from agentkit.drivers.batch import Batch
from agentkit.errors import ModelError
from agentkit.events import Event, ToolFinished
from agentkit.model import Model
from agentkit.stores.steps import Step
from agentkit.tooling.invoke import Invocation

T = TypeVar("T")
_Done = tuple[int, Any, BaseException | None]
_Message = Event | _Done


class AsyncDriver:
    """Performs the steps of one run."""

    def __init__(
        self, model: Model, *, stream: bool, seconds: float | None, tool_timeout: float | None
    ) -> None:
        self._model = model
        self._stream = stream
        self._seconds = seconds
        self._tool_timeout = tool_timeout
        self._deadline: float | None = None
        self._value: Any = None
        self._unsaved: list[Step] = []

    async def drive(self, steps: Steps, state: State) -> AsyncGenerator[Event, None]:
        """Perform the steps; yield the events. Closing or cancelling it closes all that is under way."""
        if self._seconds is not None:
            self._deadline = time.monotonic() + self._seconds
        error: Exception | None = None
        try:
            while True:
                try:
                    step = steps.send(self._value) if error is None else steps.throw(error)
                except StopIteration:
                    return
                self._value = error = None
                if self._unsaved and not isinstance(step, Save):
                    await self._save(state)
                match step:
                    case CallModel() if self._expired():
                        self._value = EXPIRED
                    case CallModel() if self._stream:
                        async with aclosing(self._stream_reply(step)) as events:
                            async for event in events:
                                yield event
                    case CallModel():
                        model = step.model or self._model
                        reply = await self._ask(model.agenerate(step.request, timeout=self._left()))
                        if reply is not None:
                            for event in step.feed(reply):
                                yield event
                    case RunCalls():
                        try:
                            async with aclosing(self._run_calls(step, state)) as events:
                                async for event in events:
                                    yield event
                        except Exception as raised:  # the loop's to handle, or to end with
                            error = raised
                    case Save(steps=happened, later=later):
                        await self._save(state, happened, later=later)
                    case Count():
                        model = step.model or self._model
                        tokens = await self._ask(model.acount_tokens(step.request, timeout=self._left()))
                        if tokens is not None:
                            self._value = tokens
                    case Resolve():
                        try:
                            self._value = await self._resolve(step.function)
                        except Exception as raised:  # the loop's to handle, or to end with
                            error = raised
                    case Wait():
                        self._value = await self._wait(step.seconds)
                    case Extend():
                        self._deadline = time.monotonic() + step.seconds
                    case _:
                        yield step
        finally:
            steps.close()
            await self._save(state)

    async def _save(self, state: State, steps: Sequence[Step] = (), *, later: bool = False) -> None:
        """Store steps, after those that were put off, in a thread where that may block. Or put them off, too."""
        if (journal := state.journal) is None:
            return
        self._unsaved += steps
        if self._unsaved and not later:
            steps, self._unsaved = self._unsaved, []
            if state.journal_blocks:
                await threads.off_loop(lambda: journal(steps))
            else:
                journal(steps)

    async def _save_response(self, step: RunCalls, index: int, state: State, batch: Batch) -> None:
        """Store a response before anybody hears of it; the last one may wait for the message with all of them."""
        if state.kept:
            await self._save(state, step.finish(index), later=not batch.waiting and not self._stream)

    def _left(self) -> float | None:
        return None if self._deadline is None else self._deadline - time.monotonic()

    def _expired(self) -> bool:
        left = self._left()
        return left is not None and left <= 0

    async def _stream_reply(self, step: CallModel) -> AsyncGenerator[Event, None]:
        model = step.model or self._model
        async with aclosing(model.astream(step.request, timeout=self._left())) as chunks:
            # No scope may be open across a yield: its end would be raised in the caller's code.
            while (chunk := await self._ask(anext(chunks, None))) is not None:
                for event in step.feed(chunk):
                    yield event

    async def _ask(self, doing: Awaitable[T | None]) -> T | None:
        """Await what a model does; None where it fails or the time is up, and the step comes to that."""
        try:
            said: T | None = await self._in_time(doing)
        except ModelError as error:
            self._value = EXPIRED if self._expired() else error
            return None
        if said is not EXPIRED:
            return said
        self._value = EXPIRED
        return None

    async def _in_time(self, doing: Awaitable[Any]) -> Any:
        """Await something; EXPIRED when the time of the run is up."""
        if self._deadline is None:
            return await doing
        scope = asyncio.timeout(self._left())
        try:
            async with scope:
                return await doing
        except TimeoutError:
            if not scope.expired():
                raise
            return EXPIRED

    async def _resolve(self, function: Callable[[], Any]) -> Any:
        return await self._in_time(threads.call(function, "agentkit-function"))

    async def _amend(self, step: RunCalls, index: int, event: ToolFinished) -> ToolFinished:
        """Let the hook change what became of a call."""
        invocation, after = step.invocations[index], step.after
        assert after is not None  # noqa: S101 - asked by the caller
        held = after.hold(invocation)
        if held is None:
            return event
        said = await self._resolve(lambda: after.ask(invocation, held))
        if said is not EXPIRED:
            after.take(invocation, held, said)
        return finished(invocation, event.seconds)

    async def _wait(self, seconds: float) -> Any:
        left = self._left()
        if left is not None and left < seconds:
            return EXPIRED
        await asyncio.sleep(seconds)
        return None

    async def _run_calls(self, step: RunCalls, state: State) -> AsyncGenerator[Event, None]:
        invocations = step.invocations
        messages: asyncio.Queue[_Message] = asyncio.Queue()
        batch = Batch(invocations, self._tool_timeout)
        workers = _Workers(messages, batch)
        state.report = workers.put
        try:
            for invocation in invocations if self._stream else ():
                yield started(invocation)
            for index, invocation in enumerate(invocations):
                batch.begin(index)
                workers.start(index, invocation)
            while batch.waiting and not self._expired():
                for index, event in batch.expire():
                    workers.cancel(index)
                    await self._save_response(step, index, state, batch)
                    yield event
                if not batch.waiting:
                    break
                try:
                    async with asyncio.timeout(batch.seconds_left(self._deadline)):
                        message = await messages.get()
                except TimeoutError:
                    continue
                if not isinstance(message, tuple):
                    yield message
                elif not workers.goes_on(message):
                    for event in batch.finish(*message):
                        if step.after is not None:
                            event = await self._amend(step, message[0], event)
                        await self._save_response(step, message[0], state, batch)
                        yield event
            self._value = EXPIRED if self._expired() else None
        finally:
            state.report = nobody
            await workers.close()


class _Workers:
    """Sync tools in threads, async tools as tasks; all report to one queue."""

    def __init__(self, messages: asyncio.Queue[_Message], batch: Batch) -> None:
        self._messages = messages
        self._batch = batch
        self._loop = asyncio.get_running_loop()
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def put(self, message: _Message) -> None:
        """Report from any thread; what comes after the event loop has ended is dropped."""
        try:
            here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here = False
        if here:  # at once, for a tool may be done before the loop turns
            self._messages.put_nowait(message)
            return
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._messages.put_nowait, message)

    def start(self, index: int, invocation: Invocation) -> None:
        tool, function = invocation.tool, invocation.function
        assert tool is not None and function is not None  # noqa: S101 - the loop sends only what can run
        if tool.is_async:
            self.wait_for(index, function)
        else:
            threads.in_thread(function, lambda *result: self._done(index, *result), tool.name)

    def _done(self, index: int, value: Any, error: BaseException | None) -> None:
        self._batch.note_done(index)
        self.put((index, value, error))

    def wait_for(self, index: int, function: Callable[[], Any]) -> None:
        async def work() -> None:
            try:
                value, error = await threads.settle(function)
            except asyncio.CancelledError as cancelled:
                value, error = None, cancelled
            self._batch.note_done(index)
            self._messages.put_nowait((index, value, error))

        self._batch.note_done(index, done=False)
        self._tasks[index] = asyncio.create_task(work())

    def goes_on(self, message: _Done) -> bool:
        """Tell whether a plain function returned an awaitable, which is awaited now."""
        index, value, error = message
        if error is None and isinstance(value, Awaitable):
            self.wait_for(index, lambda: value)
            return True
        return False

    def cancel(self, index: int) -> None:
        if index in self._tasks:
            self._tasks[index].cancel()

    async def close(self) -> None:
        """Cancel what is under way; wait a little for async tools to clean up."""
        left = [task for task in self._tasks.values() if not task.done()]
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=threads.CLOSING_SECONDS)
