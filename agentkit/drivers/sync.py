"""The driver for sync callers: the model in the caller's own thread, tools in threads and on a portal."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from agentkit.core import effects
from agentkit.core.effects import EXPIRED, CallDone, CallModel, Steps
from agentkit.core.state import RunState
from agentkit.drivers import files, threads
from agentkit.drivers.batch import Batch, Clock
from agentkit.errors import ModelError
from agentkit.events import Event
from agentkit.model import Interrupt, here
from agentkit.stores.steps import Step
from agentkit.tooling.invoke import Invocation
from agentkit.wire.files import LocalFile

T = TypeVar("T")
_Done = tuple[int, Any, BaseException | None]


@dataclass(slots=True, eq=False)
class _Here:
    """Something to be done in the caller's thread."""

    job: Callable[[], None]


_Message = Event | _Done | _Here


def _drop(job: Callable[[], None]) -> None:
    """Ignore a job that comes when nobody waits for it any more."""


class _Cancelled(Exception):
    """Somebody ended the run from another thread."""


class SyncDriver:
    """Performs the effects of one run.

    Args:
        run: The run.
        stream: Whether the model is asked for its reply in chunks.
    """

    def __init__(self, run: RunState, *, stream: bool) -> None:
        self._run = run
        self._session = run.session
        self._signals = run.signals
        self._caller = run.signals.caller
        self._caller.post = _drop  # whoever asks before or after this listens is given up
        self._stream = stream
        self._tool_timeout = run.settings.tool_timeout
        self._clock = Clock(None, self._caller)
        self._interrupt = Interrupt()
        self._workers: _Workers | None = None

    def drive(self, steps: Steps) -> Generator[Event, None, None]:
        """Perform the effects; yield the events. Closing it, at any point, closes all that is under way."""
        self._clock = Clock(self._run.meter.limits.seconds, self._caller)
        step: Any = None
        value: Any = None
        error: Exception | None = None
        try:
            while not self._signals.cancelled:
                said, value = value, None
                try:
                    step = steps.send(said) if error is None else steps.throw(error)
                except StopIteration:
                    return
                error = None
                try:
                    kind = type(step)
                    told = kind not in effects.EFFECTS
                    if self._session.unsaved and kind is not effects.Save and (self._stream or not told):
                        self._save()  # nobody hears of what isn't stored
                    if told:
                        yield step
                    elif kind is CallModel:
                        value = yield from self._call_model(step)
                    elif kind is effects.Upload:
                        value = yield from self._upload(step)
                    elif kind is effects.Save:
                        self._save(step.steps, later=step.later)
                    else:
                        value = self._perform(step)
                except _Cancelled:
                    return
                except Exception as raised:  # the loop's to handle, or to end with
                    error = raised
        finally:
            try:
                self._close_workers()
            finally:
                steps.close()
                if value is not None and isinstance(step, effects.AskLimit) and step.undo is not None:
                    step.undo(value)  # the run was cancelled before it had it

    def _perform(self, step: effects.Performed) -> Any:
        match step:
            case effects.StartCalls(invocations):
                self._start(invocations)
                return self._next_news()
            case effects.NextNews():
                return self._next_news()
            case effects.Resolve(function):
                return self._resolve(function)
            case effects.Wait(seconds):
                return self._wait(seconds)
            case effects.Count(request, model):
                return self._count(lambda left: model.count_tokens(request, timeout=left))
            case effects.AskLimit(function=function):
                return function()
            case effects.Extend(seconds):
                return self._clock.extend(seconds)

    def _save(self, steps: Sequence[Step] = (), *, later: bool = False) -> None:
        """Store steps, after those that were put off; or put them off, too."""
        session = self._session
        if session.append is None:
            return
        session.unsaved += steps
        if session.unsaved and not later:
            steps, session.unsaved = session.unsaved, []
            session.append(steps)

    # -- the model

    def _call_model(self, step: CallModel) -> Generator[Event, None, Any]:
        try:
            if self._clock.expired():
                return EXPIRED
            if step.hold is not None and (why := step.hold.take()) is not None:
                step.refused = why
                return None
            step.sent = True
            left = self._clock.left()
            if not self._stream:
                yield from step.feed(self._asked(lambda: step.model.generate(step.request, timeout=left)))
                return None
            with contextlib.closing(step.model.stream(step.request, timeout=left)) as chunks:
                begun = self._asked(lambda: [*islice(chunks, 1)])
                for chunk in chain(begun, chunks):
                    yield from step.feed(chunk)
                    if self._signals.cancelled:
                        raise _Cancelled
                    if self._clock.expired():
                        return EXPIRED
        except ModelError as error:
            if self._signals.cancelled:
                raise _Cancelled from None
            step.failed = error
            return EXPIRED if self._clock.expired() else error
        finally:
            if step.settle is not None:
                with threads.logged("A rate limit failed when it was told what a request took."):
                    step.settle.function()
            if step.hold is not None:
                with threads.logged("A budget failed when it was told what a request cost."):
                    step.hold.settle()
        return None

    def _asked(self, ask: Callable[[], T]) -> T:
        """Ask the model, which notes how what it waits for is ended: to cancel the run does so."""
        self._signals.wake = self._interrupt
        before, here.interrupt = here.interrupt, self._interrupt
        try:
            return ask()
        finally:
            here.interrupt = before

    def _upload(self, step: effects.Upload) -> Generator[Event, None, Any]:
        try:
            file = files.to_send(step.file, step.model)
            if not isinstance(file, LocalFile):
                return file
            step.file = file
            with contextlib.closing(step.model.upload(file, timeout=self._clock.left())) as progress:
                for said in progress:
                    yield from step.feed(said)
                    if self._signals.cancelled:
                        raise _Cancelled
                    if self._clock.expired():
                        return EXPIRED
        except ModelError as error:
            return EXPIRED if self._clock.expired() else error
        return step.result

    def _count(self, count: Callable[[float | None], int]) -> Any:
        try:
            return EXPIRED if self._clock.expired() else self._asked(lambda: count(self._clock.left()))
        except ModelError as error:
            return EXPIRED if self._clock.expired() else error

    # -- waiting

    def _resolve(self, function: Callable[[], Any]) -> Any:
        messages: SimpleQueue[Any] = SimpleQueue()
        workers, wake = _Workers(messages), self._signals.wake
        self._signals.wake = lambda: messages.put(None)
        try:
            workers.in_thread(0, function, "agentkit-function")
            while True:
                left = self._clock.left()
                if self._signals.cancelled:
                    raise _Cancelled
                message = messages.get(timeout=None if left is None else max(left, 0))
                if message is not None and not workers.goes_on(message):
                    break
        except Empty:
            return EXPIRED
        finally:
            self._signals.wake = wake
            workers.close()
        _, result, error = message
        if error is not None:
            raise threads.raisable(error)
        return result

    def _wait(self, seconds: float) -> Any:
        left = self._clock.left()
        if left is not None and left < seconds:
            return EXPIRED
        woken: SimpleQueue[None] = SimpleQueue()
        wake, self._signals.wake = self._signals.wake, lambda: woken.put(None)
        try:
            with contextlib.suppress(Empty):
                woken.get(timeout=0 if self._signals.cancelled else seconds)
        finally:
            self._signals.wake = wake
        if self._signals.cancelled:
            raise _Cancelled
        return None

    # -- calls

    def _start(self, invocations: Sequence[Invocation]) -> None:
        messages: SimpleQueue[_Message | None] = SimpleQueue()
        batch = Batch(invocations, self._tool_timeout, self._caller)
        self._workers = workers = _Workers(messages, batch)
        self._signals.report = messages.put
        self._signals.wake = lambda: messages.put(None)
        self._caller.post = lambda job: messages.put(_Here(job))
        for position, invocation in enumerate(invocations):
            batch.begin(position)
            workers.start(position, invocation)

    def _next_news(self) -> Any:
        """Wait for the next event or end of a call; with the last one, or when the time is up, end the others."""
        workers = self._workers
        assert workers is not None and workers.batch is not None
        batch = workers.batch
        while not self._clock.expired():
            if (done := batch.expire()) is not None:
                workers.cancel(done.position)
                return self._last(done, batch)
            if self._signals.cancelled:  # asked here, as it may have been before anybody could be woken
                raise _Cancelled
            try:
                message = workers.messages.get(timeout=batch.seconds_left(self._clock))
            except Empty:
                continue
            if isinstance(message, _Here):
                message.job()
                continue
            if message is not None and not isinstance(message, tuple):
                return message
            if message is not None and not workers.goes_on(message):
                done = batch.finish(*message)
                if done is not None:
                    return self._last(done, batch)
        self._close_workers()
        return EXPIRED

    def _last(self, done: CallDone, batch: Batch) -> CallDone:
        if not batch.waiting:
            self._close_workers()
        return done

    def _close_workers(self) -> None:
        if self._workers is not None:
            workers, self._workers = self._workers, None
            self._signals.unplug()
            self._caller.post = _drop
            workers.close()


class _Workers:
    """Sync tools in threads, async tools on the portal; all report to one queue."""

    def __init__(self, messages: SimpleQueue[_Message | None], batch: Batch | None = None) -> None:
        self.messages = messages
        self.batch = batch
        self._cancels: dict[int, Callable[[], None]] = {}
        self._handle: threads.PortalHandle | None = None
        self._closed = False

    def start(self, index: int, invocation: Invocation) -> None:
        tool, function = invocation.tool, invocation.function
        assert tool is not None and function is not None
        if self.batch is not None and (caller := self.batch.asks(index)):
            caller.ask(function, self._done(index))
        elif tool.is_async:
            self.wait_for(index, function)
        else:
            self.in_thread(index, function, tool.name)

    def wait_for(self, index: int, function: Callable[[], Any], awaited: Any = None) -> None:
        if self._handle is None:
            self._handle = threads.portal.enter()
        if self.batch is not None:
            self.batch.note_done(index, done=False)
        self._cancels[index] = self._handle.start(function, self._done(index, awaited))

    def in_thread(self, index: int, function: Callable[[], Any], name: str) -> None:
        threads.pool.run(function, self._done(index), name)

    def _done(self, index: int, awaited: Any = None) -> threads.Done:
        def done(value: Any, error: BaseException | None) -> None:
            threads.discard(awaited)  # cancelled before it began, perhaps
            if self.batch is not None:
                self.batch.note_done(index)
            self.messages.put((index, value, error))
            if self._closed:
                self._discard()

        return done

    def _discard(self) -> None:
        """Close the coroutines that plain functions returned when nobody waited any more."""
        while not self.messages.empty():
            with contextlib.suppress(Empty):  # another thread has taken it
                message = self.messages.get_nowait()
                if isinstance(message, tuple):
                    threads.discard(message[1])

    def goes_on(self, message: _Done) -> bool:
        """Return whether a plain function returned an awaitable, which is awaited now."""
        index, value, error = message
        self._cancels.pop(index, None)
        if error is None and isinstance(value, Awaitable):
            caller = self.batch.asks(index) if self.batch is not None else None
            self.wait_for(index, (lambda: caller.wait(value)) if caller else (lambda: value), value)
            return True
        return False

    def cancel(self, index: int) -> None:
        if index in self._cancels:
            self._cancels[index]()

    def close(self) -> None:
        """Cancel what is under way; wait a little for async tools to clean up, unless one blocks."""
        if self._handle is not None:
            self._leave(self._handle)
        self._closed = True  # only now: what ends drops its message then, which was waited for until here
        self._discard()

    def _leave(self, handle: threads.PortalHandle) -> None:
        for cancel in self._cancels.values():
            cancel()
        until = time.monotonic() + (threads.CLOSING_SECONDS if self._cancels and handle.responds() else 0)
        while self._cancels and (left := until - time.monotonic()) > 0:
            with contextlib.suppress(Empty):
                message = self.messages.get(timeout=left)
                if isinstance(message, tuple):
                    self._cancels.pop(message[0], None)
                    threads.discard(message[1])
        threads.portal.leave(handle)
