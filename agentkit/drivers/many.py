"""Many runs: so many at a time, in order or as they are done, and none ended by another's failure."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Protocol

from agentkit.drivers.threads import CLOSING_SECONDS
from agentkit.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Done:
    """What came of one of many inputs: its run, or what it raised."""

    index: int
    input: Any
    run: Any = None
    error: Exception | None = None


class Running(Protocol):
    """A run that has not begun yet."""

    def drain(self) -> Any:
        """Go on to its end and return it."""
        ...

    def cancel(self) -> None:
        """End it from another thread."""
        ...


class _Queue:
    """The inputs that are to come, and what is done and not yet handed out."""

    def __init__(self, inputs: Iterable[Any] | None, concurrency: int, *, ordered: bool) -> None:
        if type(concurrency) is not int or concurrency < 1:
            raise ConfigurationError(f"map(concurrency={concurrency!r}): give a whole number above 0.")
        self._source: Iterator[Any] | None = None if inputs is None else iter(inputs)
        self._concurrency = concurrency
        self._ordered = ordered
        self._begun = self._following = 0
        self._waiting: dict[int, Done] = {}
        self._broken: Exception | None = None

    def begin(self, under_way: int) -> Iterator[tuple[int, Any]]:
        """Yield the inputs that may begin now. What is done and not asked for counts, so that nothing piles up."""
        begun = 0
        while self._source is not None and self.has_room(under_way + begun):
            try:
                value = next(self._source)
            except StopIteration:
                self._source = None
                return
            except Exception as error:
                self._source = None
                self.broken(error)
                return
            before = len(self._waiting)
            yield self.number(), value
            begun += len(self._waiting) == before  # else it failed at once

    def has_room(self, under_way: int) -> bool:
        """Return whether another input may begin."""
        return under_way + len(self._waiting) < self._concurrency

    def number(self) -> int:
        """Give an input that begins its number."""
        self._begun += 1
        return self._begun - 1

    def broken(self, error: Exception) -> None:
        """Note that no more inputs can be read: raised when what was begun is done."""
        self._broken = error

    def put(self, done: Done) -> None:
        """Take what is done."""
        self._waiting[done.index] = done

    def take(self) -> Done | None:
        """Return what is to be handed out next, if it is there."""
        ready = self._following if self._ordered else next(iter(self._waiting), None)
        if ready is None or ready not in self._waiting:
            return None
        self._following += 1
        return self._waiting.pop(ready)

    def close(self) -> None:
        """Raise what the inputs raised."""
        if self._broken is not None:
            raise self._broken


def in_threads(
    inputs: Iterable[Any], begin: Callable[[Any], Running], *, concurrency: int, ordered: bool
) -> Generator[Done, None, None]:
    """Run inputs in threads; `begin` makes the run of each."""
    _check(inputs, Iterable, "a list, or another iterable, of inputs")
    return _in_threads(_Queue(inputs, concurrency, ordered=ordered), begin)


def _check(inputs: object, kind: Any, wanted: str) -> None:
    if isinstance(inputs, (str, bytes, Mapping)) or not isinstance(inputs, kind):
        raise ConfigurationError(f"map({inputs!r:.100}): give {wanted}.")


def _in_threads(queue: _Queue, begin: Callable[[Any], Running]) -> Generator[Done, None, None]:
    done: SimpleQueue[Done] = SimpleQueue()
    under_way: dict[int, tuple[threading.Thread, Running]] = {}
    try:
        while True:
            for index, value in queue.begin(len(under_way)):
                try:
                    run = begin(value)
                except Exception as error:
                    queue.put(Done(index, value, error=error))
                    continue
                thread = _thread(run, index, value, done)
                under_way[index] = (thread, run)
                thread.start()
            if (next_one := queue.take()) is not None:
                yield next_one
                continue
            if not under_way:
                break
            ended = done.get()
            under_way.pop(ended.index)[0].join()
            queue.put(ended)
        queue.close()
    finally:
        for _, run in under_way.values():
            run.cancel()
        until = time.monotonic() + CLOSING_SECONDS
        for thread, _ in under_way.values():  # one that a model or a tool holds up ends by itself, later
            thread.join(max(0.0, until - time.monotonic()))


def _thread(run: Running, index: int, value: Any, done: SimpleQueue[Done]) -> threading.Thread:
    def work() -> None:
        try:
            done.put(Done(index, value, run=run.drain()))
        except Exception as error:
            done.put(Done(index, value, error=error))
        except BaseException as error:
            done.put(Done(index, value, error=RuntimeError(f"The run ended with {error!r}.")))

    context = contextvars.copy_context()
    return threading.Thread(target=context.run, args=(work,), name="agentkit-map", daemon=True)


def as_tasks(
    inputs: Iterable[Any] | AsyncIterable[Any],
    run: Callable[[Any], Awaitable[Any]],
    *,
    concurrency: int,
    ordered: bool,
) -> AsyncGenerator[Done, None]:
    """Run inputs as tasks of the event loop; `run` runs one."""
    _check(inputs, (Iterable, AsyncIterable), "a list, or another iterable, async too, of inputs")
    if isinstance(inputs, AsyncIterable):
        return _as_tasks(_Queue(None, concurrency, ordered=ordered), run, aiter(inputs))
    return _as_tasks(_Queue(inputs, concurrency, ordered=ordered), run, None)


async def _as_tasks(
    queue: _Queue, run: Callable[[Any], Awaitable[Any]], source: AsyncIterator[Any] | None
) -> AsyncGenerator[Done, None]:
    tasks: set[asyncio.Task[Done]] = set()
    reading: asyncio.Task[Any] | None = None
    try:
        while True:
            for index, value in queue.begin(len(tasks)):
                tasks.add(asyncio.create_task(_work(run, index, value)))
            if source is not None and reading is None and queue.has_room(len(tasks)):
                reading = asyncio.create_task(_read(source, queue))
            if (next_one := queue.take()) is not None:
                yield next_one
                continue
            waiting: set[asyncio.Task[Any]] = tasks if reading is None else {*tasks, reading}
            if not waiting:
                break
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in [task for task in tasks if task.done()]:
                tasks.discard(task)
                queue.put(task.result())
            if reading is not None and reading.done():
                read, reading = reading.result(), None
                source = source if read else None
                tasks.update(asyncio.create_task(_work(run, queue.number(), value)) for value in read)
        queue.close()
    finally:
        left = tasks if reading is None else {*tasks, reading}
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)


async def _read(source: AsyncIterator[Any], queue: _Queue) -> list[Any]:
    """Return the next input, or nothing if there is none."""
    try:
        return [await anext(source)]
    except StopAsyncIteration:
        pass
    except Exception as error:
        queue.broken(error)
    return []


async def _work(run: Callable[[Any], Awaitable[Any]], index: int, value: Any) -> Done:
    try:
        return Done(index, value, run=await run(value))
    except Exception as error:
        return Done(index, value, error=error)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return Done(index, value, error=RuntimeError(f"The run ended with {error!r}."))
