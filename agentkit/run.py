"""What comes of a run, and the stream of what happens while it goes on."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from agentkit.effects import PendingCall, State
from agentkit.errors import AgentError, ModelError, RunStopped
from agentkit.events import Event, RunFinished, TextDelta
from agentkit.limits import Usage
from agentkit.repair import Stop
from agentkit.wire.content import Content, copy_contents, text_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What came of a run: an answer, or why there is none and what there is so far."""

    run_id: str
    """Unique to the run."""
    text: str
    """The answer. Without one, what text there is of the last reply, also if that was broken off."""
    stop: Stop | None
    """Why the run ended without an answer, or None."""
    finish_reason: str | None
    """The server's word for how the last reply ended, e.g. `STOP`."""
    usage: Usage
    """Tokens of all turns, of the repeated ones too, and what tools spent."""
    turn_usages: tuple[Usage, ...]
    """Tokens of each turn."""
    errors: tuple[Exception, ...]
    """What tools raised, timeouts and used up retries, in order."""
    pending: tuple[PendingCall, ...]
    """Calls that a person has to say something about (`stop` is `approval` or `unknown_effect`)."""
    _contents: tuple[Content, ...] = field(repr=False)
    _started_with: int = field(repr=False)

    @property
    def turns(self) -> int:
        """How many replies the model made."""
        return len(self.turn_usages)

    @property
    def contents(self) -> list[Content]:
        """The whole history, valid whatever happened: a copy, to be given to `history=` or `json.dumps`."""
        return copy_contents(self._contents)

    @property
    def new_contents(self) -> list[Content]:
        """What this run added, from the user's input on: a copy."""
        return copy_contents(self._contents[self._started_with :])

    def raise_for_stop(self) -> Self:
        """Return the run if it ended with an answer.

        Raises:
            RunStopped: It didn't; the message says why.
        """
        if self.stop is None:
            return self
        reason = f" (finish reason {self.finish_reason})" if self.finish_reason else ""
        raise RunStopped(f"The run stopped without an answer: {self.stop}{reason}.", run=self)


def make_run(run_id: str, state: State) -> Run:
    """Take down what a run has so far."""
    new = state.contents[state.started_with :]
    last = new[-1] if new else None
    return Run(
        run_id=run_id,
        text=state.partial or (text_of(last) if last and last["role"] == "model" else ""),
        stop=state.stop,
        finish_reason=state.finish_reason,
        usage=state.usage(),
        turn_usages=tuple(state.usages),
        errors=tuple(state.errors),
        pending=tuple(state.pending),
        _contents=tuple(state.contents),
        _started_with=state.started_with,
    )


class _Ending:
    """What sync and async streams share: when the run is over, and what came of it."""

    def __init__(self, run_id: str, state: State) -> None:
        self._run_id = run_id
        self._state = state
        self._run: Run | None = None

    @property
    def run(self) -> Run:
        """What came of the run, once it is over or closed.

        Raises:
            AgentError: It still goes on.
        """
        if self._run is None:
            raise AgentError("The run still goes on: read its events to the end, or close the stream, first.")
        return self._run

    def _end(self) -> Run:
        if self._run is None:
            if not self._state.done:  # closed before it began
                self._state.stop = "cancelled"
            self._run = make_run(self._run_id, self._state)
        return self._run

    def _fail(self, error: BaseException) -> None:
        run = self._end()
        if isinstance(error, ModelError):
            error.run = run


class RunStream(_Ending):
    """The events of a run as they happen; iterate over it, best in a `with` block.

    Leaving the block, `close()` or an exception ends the run at once, and so does dropping the stream: its
    connection is closed and its tools are cancelled. `run` has what came of it, with `stop="cancelled"`; the
    reply that was under way is in `run.text`, not in `run.contents`.
    """

    def __init__(self, events: Generator[Event, None, None], run_id: str, state: State) -> None:
        super().__init__(run_id, state)
        self._events = events

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        try:
            return next(self._events)
        except StopIteration:
            if self._run is not None:
                raise
            return RunFinished(self._end())
        except BaseException as error:
            self._fail(error)
            raise

    def texts(self) -> Iterator[str]:
        """Go through the pieces of text alone."""
        for event in self:
            if isinstance(event, TextDelta):
                yield event.text

    def drain(self) -> Run:
        """Go through what is left of the events; return what came of the run."""
        for _ in self:
            pass
        return self.run

    def close(self) -> None:
        """End the run, wherever it is."""
        self._events.close()
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


class AsyncRunStream(_Ending):
    """The events of a run as they happen, async; iterate over it in an `async with` block.

    It ends as `RunStream` does; a cancelled task ends it too.
    """

    def __init__(self, events: AsyncGenerator[Event, None], run_id: str, state: State) -> None:
        super().__init__(run_id, state)
        self._events = events

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        try:
            return await anext(self._events)
        except StopAsyncIteration:
            if self._run is not None:
                raise
            return RunFinished(self._end())
        except BaseException as error:
            self._fail(error)
            raise

    async def texts(self) -> AsyncIterator[str]:
        """Go through the pieces of text alone."""
        async for event in self:
            if isinstance(event, TextDelta):
                yield event.text

    async def drain(self) -> Run:
        """Go through what is left of the events; return what came of the run."""
        async for _ in self:
            pass
        return self.run

    async def aclose(self) -> None:
        """End the run, wherever it is."""
        await self._events.aclose()
        self._end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()
