"""The driver for sync callers: the model in the caller's own thread, tools in threads and on a portal."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from queue import Empty, SimpleQueue
from typing import Any

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

_Done = tuple[int, Any, BaseException | None]
_Message = Event | _Done


class _Cancelled(Exception):
    """Somebody ended the run from another thread."""


def _nothing() -> None:
    """Wake nobody."""


class SyncDriver:
    """Performs the steps of one run."""

    def __init__(
        self, model: Model, *, stream: bool, seconds: float | None, tool_timeout: float | None
    ) -> None:
        self._model = model
        self._stream = stream
        self._seconds = seconds
        self._tool_timeout = tool_timeout
        self._deadline: float | None = None
        self._unsaved: list[Step] = []

    def drive(self, steps: Steps, state: State) -> Generator[Event, None, None]:
        """Perform the steps; yield the events. Closing it, at any point, closes all that is under way."""
        if self._seconds is not None:
            self._deadline = time.monotonic() + self._seconds
        value: Any = None
        error: Exception | None = None
        try:
            while True:
                if state.cancelled:
                    return
                try:
                    step = steps.send(value) if error is None else steps.throw(error)
                except StopIteration:
                    return
                value = error = None
                if self._unsaved and not isinstance(step, Save):
                    self._save(state)
                match step:
                    case CallModel():
                        value = yield from self._call_model(step, state)
                    case RunCalls():
                        try:
                            value = yield from self._run_calls(step, state)
                        except _Cancelled:
                            return
                        except Exception as raised:  # the loop's to handle, or to end with
                            error = raised
                    case Save(steps=happened, later=later):
                        self._save(state, happened, later=later)
                    case Count():
                        value = self._count(step)
                    case Resolve():
                        try:
                            value = self._resolve(step.function, state)
                        except _Cancelled:
                            return
                        except Exception as raised:  # the loop's to handle, or to end with
                            error = raised
                    case Wait():
                        value = self._wait(step.seconds, state)
                    case Extend():
                        self._deadline = time.monotonic() + step.seconds
                    case _:
                        yield step
        except _Cancelled:
            return
        finally:
            steps.close()
            self._save(state)

    def _left(self) -> float | None:
        return None if self._deadline is None else self._deadline - time.monotonic()

    def _save(self, state: State, steps: Sequence[Step] = (), *, later: bool = False) -> None:
        """Store steps, after those that were put off; or put them off, too."""
        if state.journal is None:
            return
        self._unsaved += steps
        if self._unsaved and not later:
            steps, self._unsaved = self._unsaved, []
            state.journal(steps)

    def _save_response(self, step: RunCalls, index: int, state: State, batch: Batch) -> None:
        """Store a response before anybody hears of it; the last one may wait for the message with all of them."""
        if state.kept:
            self._save(state, step.finish(index), later=not batch.waiting and not self._stream)

    def _expired(self) -> bool:
        left = self._left()
        return left is not None and left <= 0

    def _call_model(self, step: CallModel, state: State) -> Generator[Event, None, Any]:
        if self._expired():
            return EXPIRED
        left, model = self._left(), step.model or self._model
        try:
            if not self._stream:
                yield from step.feed(model.generate(step.request, timeout=left))
                return None
            chunks = model.stream(step.request, timeout=left)
            try:
                for chunk in chunks:
                    yield from step.feed(chunk)
                    if state.cancelled:
                        raise _Cancelled
                    if self._expired():
                        return EXPIRED
            finally:
                chunks.close()
        except ModelError as error:
            return EXPIRED if self._expired() else error
        return None

    def _count(self, step: Count) -> Any:
        try:
            return (
                EXPIRED
                if self._expired()
                else (step.model or self._model).count_tokens(step.request, timeout=self._left())
            )
        except ModelError as error:
            return EXPIRED if self._expired() else error

    def _resolve(self, function: Callable[[], Any], state: State) -> Any:
        messages: SimpleQueue[Any] = SimpleQueue()
        workers = _Workers(messages)
        state.wake = lambda: messages.put(None)
        try:
            workers.in_thread(0, function, "agentkit-function")
            while True:
                left = self._left()
                if state.cancelled:
                    raise _Cancelled
                message = messages.get(timeout=None if left is None else max(left, 0))
                if message is not None and not workers.goes_on(message):
                    break
        except Empty:
            return EXPIRED
        finally:
            state.wake = _nothing
            workers.close()
        _, result, error = message
        if error is not None:
            raise error
        return result

    def _amend(self, step: RunCalls, index: int, event: ToolFinished, state: State) -> ToolFinished:
        """Let the hook change what became of a call."""
        invocation, after = step.invocations[index], step.after
        assert after is not None  # noqa: S101 - asked by the caller
        held = after.hold(invocation)
        if held is None:
            return event
        wake = state.wake
        said = self._resolve(lambda: after.ask(invocation, held), state)
        state.wake = wake
        if said is not EXPIRED:
            after.take(invocation, held, said)
        return finished(invocation, event.seconds)

    def _wait(self, seconds: float, state: State) -> Any:
        left = self._left()
        if left is not None and left < seconds:
            return EXPIRED
        woken: SimpleQueue[None] = SimpleQueue()
        state.wake = lambda: woken.put(None)
        try:
            with contextlib.suppress(Empty):
                woken.get(timeout=0 if state.cancelled else seconds)
        finally:
            state.wake = _nothing
        if state.cancelled:
            raise _Cancelled
        return None

    def _run_calls(self, step: RunCalls, state: State) -> Generator[Event, None, Any]:
        invocations = step.invocations
        messages: SimpleQueue[_Message | None] = SimpleQueue()
        batch = Batch(invocations, self._tool_timeout)
        workers = _Workers(messages, batch)
        state.report = messages.put
        state.wake = lambda: messages.put(None)
        try:
            if self._stream:
                yield from map(started, invocations)
            for index, invocation in enumerate(invocations):
                batch.begin(index)
                workers.start(index, invocation)
            while batch.waiting and not self._expired():
                for index, event in batch.expire():
                    workers.cancel(index)
                    self._save_response(step, index, state, batch)
                    yield event
                if not batch.waiting:
                    break
                if state.cancelled:  # asked here, as it may have been before anybody could be woken
                    raise _Cancelled
                try:
                    message = messages.get(timeout=batch.seconds_left(self._deadline))
                except Empty:
                    continue
                if message is None:
                    continue
                if not isinstance(message, tuple):
                    yield message
                elif not workers.goes_on(message):
                    for event in batch.finish(*message):
                        if step.after is not None:
                            event = self._amend(step, message[0], event, state)
                        self._save_response(step, message[0], state, batch)
                        yield event
            return EXPIRED if self._expired() else None
        finally:
            state.report, state.wake = nobody, _nothing
            workers.close()


class _Workers:
    """Sync tools in threads, async tools on the portal; all report to one queue."""

    def __init__(self, messages: SimpleQueue[_Message | None], batch: Batch | None = None) -> None:
        self._messages = messages
        self._batch = batch
        self._cancels: dict[int, Callable[[], None]] = {}
        self._seat: threads.Seat | None = None

    def start(self, index: int, invocation: Invocation) -> None:
        tool, function = invocation.tool, invocation.function
        assert tool is not None and function is not None  # noqa: S101 - the loop sends only what can run
        if tool.is_async:
            self.wait_for(index, function)
        else:
            self.in_thread(index, function, tool.name)

    def wait_for(self, index: int, function: Callable[[], Any]) -> None:
        if self._seat is None:
            self._seat = threads.portal.enter()
        if self._batch is not None:
            self._batch.note_done(index, done=False)
        self._cancels[index] = self._seat.start(function, self._done(index))

    def in_thread(self, index: int, function: Callable[[], Any], name: str) -> None:
        threads.in_thread(function, self._done(index), name)

    def _done(self, index: int) -> threads.Done:
        def done(value: Any, error: BaseException | None) -> None:
            if self._batch is not None:
                self._batch.note_done(index)
            self._messages.put((index, value, error))

        return done

    def goes_on(self, message: _Done) -> bool:
        """Tell whether a plain function returned an awaitable, which is awaited now."""
        index, value, error = message
        self._cancels.pop(index, None)
        if error is None and isinstance(value, Awaitable):
            self.wait_for(index, lambda: value)
            return True
        return False

    def cancel(self, index: int) -> None:
        if index in self._cancels:
            self._cancels[index]()

    def close(self) -> None:
        """Cancel what is under way; wait a little for async tools to clean up, unless one blocks."""
        if self._seat is None:
            return
        for cancel in self._cancels.values():
            cancel()
        until = time.monotonic() + (threads.CLOSING_SECONDS if self._cancels and self._seat.responds() else 0)
        while self._cancels and (left := until - time.monotonic()) > 0:
            with contextlib.suppress(Empty):
                message = self._messages.get(timeout=left)
                if isinstance(message, tuple):
                    self._cancels.pop(message[0], None)
        threads.portal.leave(self._seat)
