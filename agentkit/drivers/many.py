"""Many runs of one agent: so many at a time, in order or as they are done, and none ended by another's failure."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from agentkit.drivers.threads import CLOSING_SECONDS
from agentkit.errors import ConfigurationError
from agentkit.run import Run, RunStream

if TYPE_CHECKING:
    from agentkit.agent import Agent
    from agentkit.core.options import RunOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """What came of one of many inputs: its run, or what it raised."""

    index: int
    """Which input, from 0."""
    input: Any
    run: Run[Any] | None = None
    error: Exception | None = None
    """What the run raised; a `ModelError` has what there was in its `run`."""


def _check(inputs: Iterable[Any], concurrency: int) -> None:
    if type(concurrency) is not int or concurrency < 1:
        raise ConfigurationError(f"map(concurrency={concurrency!r}): give a whole number above 0.")
    if isinstance(inputs, (str, bytes, Mapping)) or not isinstance(inputs, Iterable):
        raise ConfigurationError(f"map({inputs!r:.100}): give a list, or another iterable, of inputs.")


def _split(options: Mapping[str, Any]) -> tuple[Any, RunOptions]:
    rest: Any = dict(options)
    return rest.pop("output", None), rest


def run_map(
    agent: Agent, inputs: Iterable[Any], *, concurrency: int, ordered: bool, options: Mapping[str, Any]
) -> Iterator[Mapped]:
    """Run inputs in threads; see `Agent.map`."""
    _check(inputs, concurrency)
    return _map(agent, inputs, concurrency, ordered, options)


def _map(
    agent: Agent, inputs: Iterable[Any], concurrency: int, ordered: bool, options: Mapping[str, Any]
) -> Iterator[Mapped]:
    done: SimpleQueue[Mapped] = SimpleQueue()
    under_way: dict[int, tuple[threading.Thread, RunStream[Any]]] = {}
    waiting: dict[int, Mapped] = {}
    source, following, index, more = iter(inputs), 0, 0, True
    broken: Exception | None = None
    output, run_options = _split(options)

    def work(index: int, value: Any, stream: RunStream[Any]) -> None:
        try:
            done.put(Mapped(index=index, input=value, run=stream.drain()))
        except Exception as error:
            done.put(Mapped(index=index, input=value, error=error))
        except BaseException as error:
            done.put(Mapped(index=index, input=value, error=RuntimeError(f"The run ended with {error!r}.")))

    try:
        while True:
            # What is done and not yet asked for counts too: a slow reader must not pile up answers.
            while more and len(under_way) + len(waiting) < concurrency:
                try:
                    value = next(source)
                except StopIteration:
                    more = False
                    break
                except Exception as error:  # raised when what was begun is done
                    more, broken = False, error
                    break
                try:
                    stream = agent._stream(value, run_options, output, stream=False)
                except Exception as error:
                    waiting[index] = Mapped(index=index, input=value, error=error)
                else:
                    context = contextvars.copy_context()
                    thread = threading.Thread(
                        target=context.run,
                        args=(work, index, value, stream),
                        name="agentkit-map",
                        daemon=True,
                    )
                    under_way[index] = (thread, stream)
                    thread.start()
                index += 1
            ready = following if ordered else next(iter(waiting), None)
            if ready is not None and ready in waiting:
                yield waiting.pop(ready)
                following += 1
                continue
            if not under_way:
                break
            mapped = done.get()
            under_way.pop(mapped.index)[0].join()
            waiting[mapped.index] = mapped
        if broken is not None:
            raise broken
    finally:
        for _, stream in under_way.values():
            stream.cancel()
        until = time.monotonic() + CLOSING_SECONDS
        for thread, _ in under_way.values():  # one that a model or a tool holds up ends by itself, later
            thread.join(max(0.0, until - time.monotonic()))


def run_amap(
    agent: Agent, inputs: Iterable[Any], *, concurrency: int, ordered: bool, options: Mapping[str, Any]
) -> AsyncGenerator[Mapped, None]:
    """Run inputs as tasks; see `AsyncAgent.map`."""
    _check(inputs, concurrency)
    return _amap(agent, inputs, concurrency, ordered, options)


async def _amap(
    agent: Agent, inputs: Iterable[Any], concurrency: int, ordered: bool, options: Mapping[str, Any]
) -> AsyncGenerator[Mapped, None]:
    tasks: dict[asyncio.Task[Mapped], int] = {}
    waiting: dict[int, Mapped] = {}
    source, following, index, more = iter(inputs), 0, 0, True
    broken: Exception | None = None

    async def work(index: int, value: Any) -> Mapped:
        try:
            return Mapped(index=index, input=value, run=await agent.aio.run(value, **options))
        except Exception as error:
            return Mapped(index=index, input=value, error=error)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return Mapped(index=index, input=value, error=RuntimeError(f"The run ended with {error!r}."))

    try:
        while True:
            while more and len(tasks) + len(waiting) < concurrency:
                try:
                    value = next(source)
                except StopIteration:
                    more = False
                    break
                except Exception as error:  # raised when what was begun is done
                    more, broken = False, error
                    break
                tasks[asyncio.create_task(work(index, value))] = index
                index += 1
            ready = following if ordered else next(iter(waiting), None)
            if ready is not None and ready in waiting:
                yield waiting.pop(ready)
                following += 1
                continue
            if not tasks:
                break
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                waiting[tasks.pop(task)] = task.result()
        if broken is not None:
            raise broken
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
