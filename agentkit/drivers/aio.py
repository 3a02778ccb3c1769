"""The driver for async callers: the model and async tools as tasks, sync tools in threads."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, TypeVar, cast

from agentkit.core import effects
from agentkit.core.budget import Hold
from agentkit.core.effects import EXPIRED, CallDone, CallModel, Steps
from agentkit.core.rate_limit import RateLimit
from agentkit.core.state import RunState
from agentkit.drivers import files, threads
from agentkit.drivers.batch import Batch, Clock
from agentkit.errors import ModelError
from agentkit.events import Event
from agentkit.stores.steps import Step
from agentkit.tooling.invoke import Invocation
from agentkit.wire.files import LocalFile, UploadedFile

T = TypeVar("T")
_Done = tuple[int, Any, BaseException | None]
_Message = Event | _Done | None
"""None where it is time to look what has become of the run."""


class _Cancelled(Exception):
    """Somebody ended the run from another task or thread."""


class AsyncDriver:
    """Performs the effects of one run; see `SyncDriver` for its arguments."""

    def __init__(self, run: RunState, *, stream: bool) -> None:
        self._run = run
        self._session = run.session
        self._signals = run.signals
        self._caller = run.signals.caller
        self._stream = stream
        self._tool_timeout = run.settings.tool_timeout
        self._clock = Clock(None, self._caller)
        self._value: Any = None
        self._workers: _Workers | None = None

    async def drive(self, steps: Steps) -> AsyncGenerator[Event, None]:
        """Perform the effects; yield the events. Closing or cancelling it closes all that is under way."""
        self._clock = Clock(self._run.meter.limits.seconds, self._caller)
        step: Any = None
        error: Exception | None = None
        try:
            while not self._signals.cancelled:
                said, self._value = self._value, None
                try:
                    step = steps.send(said) if error is None else steps.throw(error)
                except StopIteration:
                    return
                error = None
                try:
                    kind = type(step)
                    told = kind not in effects.EFFECTS
                    if self._session.unsaved and kind is not effects.Save and (self._stream or not told):
                        await self._save()  # nobody hears of what isn't stored
                    if told:
                        yield step
                    elif kind is CallModel and not self._stream:
                        for event in await self._call_model(step):
                            yield event
                    elif kind is CallModel:
                        async with aclosing(self._stream_model(step)) as events:
                            async for event in events:
                                yield event
                    elif kind is effects.Upload:
                        async with aclosing(self._upload(step)) as events:
                            async for event in events:
                                yield event
                    elif kind is effects.Save:
                        await self._save(step.steps, later=step.later)
                    else:
                        self._value = await self._perform(step)
                except _Cancelled:
                    return
                except Exception as raised:  # the loop's to handle, or to end with
                    error = raised
        finally:
            try:
                await self._close_workers()
            finally:  # a second cancellation may come while tools clean up
                steps.close()
                unheard = self._value
                if unheard is not None and isinstance(step, effects.AskLimit) and (undo := step.undo):
                    await _ask_limit(effects.AskLimit(step.limit, lambda: undo(unheard)))

    async def _perform(self, step: effects.Performed) -> Any:
        match step:
            case effects.StartCalls(invocations):
                self._start(invocations)
                return await self._next_news()
            case effects.NextNews():
                return await self._next_news()
            case effects.Resolve(function):
                return await self._in_time(threads.call(function, "agentkit-function"))
            case effects.Wait(seconds):
                return await self._wait(seconds)
            case effects.Count(request, model):
                return await self._count(model.acount_tokens(request, timeout=self._clock.left()))
            case effects.AskLimit():
                return await _ask_limit(step)
            case effects.Extend(seconds):
                return self._clock.extend(seconds)

    async def _save(self, steps: Sequence[Step] = (), *, later: bool = False) -> None:
        """Store steps, after those that were put off, in a thread where that may block. Or put them off, too."""
        session = self._session
        if (append := session.append) is None:
            return
        session.unsaved += steps
        if session.unsaved and not later:
            steps, session.unsaved = session.unsaved, []
            if session.blocks:
                await threads.off_loop(lambda: append(steps))
            else:
                append(steps)

    # -- the model

    async def _call_model(self, step: CallModel) -> Sequence[Event]:
        left = self._clock.left()
        try:
            if not await self._may_send(step):
                return ()
            reply = await self._ask(step.model.agenerate(step.request, timeout=left), step)
            return () if reply is None else [*step.feed(reply)]
        except ModelError as error:  # it is no reply
            self._fail(error, step)
            return ()
        finally:
            await _settle(step)

    async def _stream_model(self, step: CallModel) -> AsyncGenerator[Event, None]:
        left = self._clock.left()
        try:
            if not await self._may_send(step):
                return
            async with aclosing(step.model.astream(step.request, timeout=left)) as chunks:
                # No scope may be open across a yield: its end would be raised in the caller's code.
                while (chunk := await self._ask(anext(chunks, None), step)) is not None:
                    for event in step.feed(chunk):
                        yield event
                    if self._signals.cancelled:
                        raise _Cancelled
        except ModelError as error:  # it is no chunk of one
            self._fail(error, step)
        finally:
            await _settle(step)

    async def _may_send(self, step: CallModel) -> bool:
        """Return whether there is time for a request, and the budget has room for it."""
        if self._clock.expired():
            self._value = EXPIRED
        elif step.hold is not None and (why := await _held(step.hold, step.hold.take)) is not None:
            step.refused = why
        else:
            step.sent = True
        return step.sent

    async def _upload(self, step: effects.Upload) -> AsyncGenerator[Event, None]:
        file = await threads.call(lambda: files.to_send(step.file, step.model), "agentkit-files")
        if not isinstance(file, LocalFile):
            self._value = file
            return
        step.file = file
        async with aclosing(step.model.aupload(file, timeout=self._clock.left())) as progress:
            while (said := await self._ask(anext(progress, None))) is not None:
                for event in step.feed(cast("int | UploadedFile", said)):
                    yield event
                if self._signals.cancelled:
                    raise _Cancelled
        if self._value is None:
            self._value = step.result

    async def _ask(self, doing: Awaitable[T | None], step: CallModel | None = None) -> T | None:
        """Await what a model does; None where it fails or the time is up, and the step comes to that."""
        try:
            said: T | None = await self._in_time(doing)
        except ModelError as error:
            self._fail(error, step)
            return None
        if said is not EXPIRED:
            return said
        self._value = EXPIRED
        return None

    def _fail(self, error: ModelError, step: CallModel | None) -> None:
        if step is not None:
            step.failed = error
        self._value = EXPIRED if self._clock.expired() else error

    async def _count(self, counting: Awaitable[int]) -> Any:
        tokens = await self._ask(counting)
        return self._value if tokens is None else tokens

    async def _in_time(self, doing: Awaitable[Any]) -> Any:
        """Await something; EXPIRED when the time of the run is up."""
        scope, wake = asyncio.timeout(self._clock.left()), self._signals.wake
        loop = asyncio.get_running_loop()
        self._signals.wake = lambda: _wake(loop, scope)
        try:
            async with scope:
                if self._signals.cancelled:  # before anybody could be woken
                    scope.reschedule(loop.time())
                return await doing
        except TimeoutError:
            if not scope.expired():
                raise
            if self._signals.cancelled:
                raise _Cancelled from None
            return EXPIRED
        finally:
            self._signals.wake = wake

    async def _wait(self, seconds: float) -> Any:
        left = self._clock.left()
        if left is not None and left < seconds:
            return EXPIRED
        return await self._in_time(asyncio.sleep(seconds))

    # -- calls

    def _start(self, invocations: Sequence[Invocation]) -> None:
        batch = Batch(invocations, self._tool_timeout, self._caller)
        self._workers = workers = _Workers(asyncio.Queue(), batch)
        self._signals.report = workers.put
        self._signals.wake = lambda: workers.put(None)
        for position, invocation in enumerate(invocations):
            batch.begin(position)
            workers.start(position, invocation)

    async def _next_news(self) -> Any:
        """Wait for the next event or end of a call; with the last one, or when the time is up, end the others."""
        workers = self._workers
        assert workers is not None
        batch = workers.batch
        while not self._clock.expired():
            if (done := batch.expire()) is not None:
                workers.cancel(done.position)
                return await self._last(done, batch)
            if self._signals.cancelled:  # before anybody could be woken
                raise _Cancelled
            message = await workers.next(batch.seconds_left(self._clock))
            if message is None:
                continue
            if not isinstance(message, tuple):
                return message
            if not workers.goes_on(message) and (done := batch.finish(*message)) is not None:
                return await self._last(done, batch)
        await self._close_workers()
        return EXPIRED

    async def _last(self, done: CallDone, batch: Batch) -> CallDone:
        if not batch.waiting:
            await self._close_workers()
        return done

    async def _close_workers(self) -> None:
        if self._workers is not None:
            workers, self._workers = self._workers, None
            self._signals.unplug()
            await workers.close()


async def _ask_limit(step: effects.AskLimit) -> Any:
    """Ask a rate limit; one of the user's own may block, and is asked in a thread."""
    if type(step.limit) is RateLimit:
        return step.function()
    said: list[Any] = []
    try:
        await threads.off_loop(lambda: said.append(step.function()))
    except asyncio.CancelledError:
        if said and (undo := step.undo) is not None:
            await threads.off_loop(lambda: undo(said[0]))
        raise
    return said[0]


async def _settle(step: CallModel) -> None:
    """Tell the rate limit and the budget that a request is over."""
    if step.settle is not None:
        with threads.logged("A rate limit failed when it was told what a request took."):
            await _ask_limit(step.settle)
    if step.hold is not None:
        with threads.logged("A budget failed when it was told what a request cost."):
            await _held(step.hold, step.hold.settle)


async def _held(hold: Hold, function: Callable[[], T]) -> T:
    """Take of a budget, or settle; in a thread where that may block."""
    return await threads.off_loop(function) if hold.blocks else function()


def _wake(loop: asyncio.AbstractEventLoop, scope: asyncio.Timeout) -> None:
    """Let the time of a scope be up, from any thread."""

    def expire() -> None:
        with contextlib.suppress(RuntimeError):  # it is left already
            scope.reschedule(loop.time())

    with contextlib.suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(expire)


class _Workers:
    """Sync tools in threads, async tools as tasks; all report to one queue."""

    def __init__(self, messages: asyncio.Queue[_Message], batch: Batch) -> None:
        self.messages = messages
        self.batch = batch
        self._loop = asyncio.get_running_loop()
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def put(self, message: _Message) -> None:
        """Report from any thread; what comes after the event loop has ended is dropped."""
        if asyncio._get_running_loop() is self._loop:  # at once, for a tool may be done before the loop turns
            self.messages.put_nowait(message)
            return
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self.messages.put_nowait, message)

    async def next(self, seconds: float | None) -> _Message:
        """Return what is reported next; None if that takes longer than so many seconds."""
        if seconds is None:
            return await self.messages.get()
        timer = self._loop.call_later(seconds, self.messages.put_nowait, None)
        try:
            return await self.messages.get()
        finally:
            timer.cancel()

    def start(self, index: int, invocation: Invocation) -> None:
        tool, function = invocation.tool, invocation.function
        assert tool is not None and function is not None
        if caller := self.batch.asks(index):
            caller.ask(function, lambda *result: self._done(index, *result))
        elif tool.is_async:
            self.wait_for(index, function)
        else:
            threads.pool.run(function, lambda *result: self._done(index, *result), tool.name)

    def _done(self, index: int, value: Any, error: BaseException | None) -> None:
        self.batch.note_done(index)
        self.put((index, value, error))

    def wait_for(self, index: int, function: Callable[[], Any]) -> None:
        async def work() -> None:
            try:
                value, error = await threads.settle(function)
            except BaseException as ended:  # cancelled, or it awaited what ended by a GeneratorExit
                value, error = None, ended
            self.batch.note_done(index)
            self.messages.put_nowait((index, value, error))

        self.batch.note_done(index, done=False)
        self._tasks[index] = asyncio.create_task(work())

    def goes_on(self, message: _Done) -> bool:
        """Return whether a plain function returned an awaitable, which is awaited now."""
        index, value, error = message
        if error is None and isinstance(value, Awaitable):
            caller = self.batch.asks(index)
            self.wait_for(index, (lambda: caller.wait(value)) if caller else (lambda: value))
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
