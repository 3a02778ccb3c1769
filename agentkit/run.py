"""What comes of a run, and the stream of what happens while it goes on."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Generic, Self

from typing_extensions import TypeVar

from agentkit.core.effects import OpenTurn, Plan, State
from agentkit.core.repair import Stop
from agentkit.errors import AgentError, ConfigurationError, ModelError, RunStopped
from agentkit.events import Event, RunFinished, TextDelta
from agentkit.limits import Usage
from agentkit.model import Model
from agentkit.stores.steps import StoredCall
from agentkit.tooling.decisions import Decision, PendingCall
from agentkit.wire.content import Content, JsonObject, calls_of, copy_contents, keep, model_of, text_of
from agentkit.wire.convert import UserInput, user_input
from agentkit.wire.history import check


@dataclass(frozen=True, slots=True)
class Resume:
    """That a run goes on, and what was said of the calls that wait."""

    decisions: Mapping[str, Decision] = field(default_factory=dict)
    run: Run[Any] | None = None
    """Which run; None is the last one of a chat."""


Out = TypeVar("Out", default=Any)
"""What a run's output is: None unless `run(output=...)` asks for a type."""

_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(Generic[Out]):
    """What came of a run: an answer, or why there is none and what there is so far."""

    run_id: str
    """Unique to the run; `agent.resume` keeps it, each message and resume of a chat has its own."""
    text: str
    """The answer. Without one, what text there is of the last reply, also if that was broken off."""
    output: Out
    """The value of the type that `run(output=...)` asked for; None without one, and where the run stopped."""
    stop: Stop | None
    """Why the run ended without an answer, or None."""
    limit: Stop | None
    """The limit that was reached, if one was; with `Limits(on_limit="answer")` there may be an answer all the same."""
    finish_reason: str | None
    """The server's word for how the last reply ended, e.g. `STOP`."""
    model: str
    """The name of the model that gave the last reply: another than the first where that failed."""
    usage: Usage
    """Tokens of all turns, of the repeated ones too, and what tools spent."""
    turn_usages: tuple[Usage, ...]
    """Tokens of each turn."""
    errors: tuple[Exception, ...] = field(repr=False)
    """What tools raised, timeouts and used up retries, in order; not in the repr, for it may hold secrets."""
    pending: tuple[PendingCall, ...]
    """Calls that somebody has to say something about (`stop` is `approval`, `deferred` or `unknown_effect`)."""
    session_id: str | None = None
    """The chat's id, if the run belongs to one."""
    results: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The whole of results that were cut for the model, by the id that their mark names."""
    _contents: tuple[Content, ...] = field(repr=False)
    _started_with: int = field(repr=False)
    _opened: OpenTurn | None = field(default=None, repr=False)

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

    def to_json(self) -> str:
        """Write the run down, so that `agent.resume` can go on with it in any process.

        Of `errors` only the kinds are written, for their texts may hold secrets; `output` isn't.
        """
        from agentkit.stores._values import encode_usage

        opened = self._opened
        text = json.dumps(
            {
                "agentkitRun": _FORMAT,
                "runId": self.run_id,
                "sessionId": self.session_id,
                "text": self.text,
                "stop": self.stop,
                "limit": self.limit,
                "finishReason": self.finish_reason,
                "model": self.model,
                "usage": encode_usage(self.usage),
                "turnUsages": [encode_usage(usage) for usage in self.turn_usages],
                "errors": [
                    error.kind if isinstance(error, _Noted) else type(error).__name__ for error in self.errors
                ],
                "pending": [call.to_wire() for call in self.pending],
                "results": dict(self.results),
                "contents": self._contents,
                "startedWith": self._started_with,
                "models": [model_of(content) for content in self._contents],
                "opened": opened
                and {"content": opened.content, "calls": [dataclasses.asdict(call) for call in opened.calls]},
            },
            ensure_ascii=False,
            allow_nan=False,
        )
        return text.encode("utf-8", "backslashreplace").decode()  # a lone surrogate is an escape of JSON's

    @classmethod
    def from_json(cls, text: str | bytes) -> Run[Any]:
        """Read what `to_json` wrote.

        Raises:
            ConfigurationError: It is no run, or damaged, or of a newer agentkit.
        """
        try:
            wire = json.loads(text)
            if wire["agentkitRun"] > _FORMAT:
                raise ConfigurationError("This run was written by a newer agentkit: it can't be read here.")
            return _run_in(wire)
        except (TypeError, ValueError, LookupError, AttributeError, RecursionError) as error:
            if isinstance(error, ConfigurationError):
                raise
            raise ConfigurationError(f"This is no run that Run.to_json() wrote: {error!r:.200}.") from error


class _Noted(AgentError):
    """An error of which only the kind was written down."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"{kind} (its text was not kept)")
        self.kind = kind


def _run_in(wire: JsonObject) -> Run[Any]:
    models = wire["models"]
    contents = tuple(
        keep(content, model=model) for content, model in zip(wire["contents"], models, strict=True)
    )
    check(contents)
    opened = wire["opened"]
    if opened is not None:
        content = keep(opened["content"], model=models[-2])
        calls = [StoredCall(**call) for call in opened["calls"]]
        if [call.name for call in calls] != [call["name"] for call in calls_of(content)]:
            raise ConfigurationError("This run is damaged: its open calls are not those of its last turn.")
        opened = OpenTurn(content, calls)
    return Run(
        run_id=wire["runId"],
        session_id=wire["sessionId"],
        text=wire["text"],
        output=None,
        stop=wire["stop"],
        limit=wire["limit"],
        finish_reason=wire["finishReason"],
        model=wire["model"],
        usage=_usage_in(wire["usage"]),
        turn_usages=tuple(_usage_in(usage) for usage in wire["turnUsages"]),
        errors=tuple(_Noted(kind) for kind in wire["errors"]),
        pending=tuple(PendingCall.from_wire(call) for call in wire["pending"]),
        results=wire["results"],
        _contents=contents,
        _started_with=wire["startedWith"],
        _opened=opened,
    )


def _usage_in(raw: str) -> Usage:
    from agentkit.stores._values import decode_usage

    usage = decode_usage(raw)
    if usage is None:
        raise ConfigurationError("This run is damaged: a usage is missing.")
    return usage


def make_run(run_id: str, state: State, *, session_id: str | None, models: Sequence[Model]) -> Run[Any]:
    """Take down what a run has so far."""
    new = state.contents[state.started_with :]
    last = new[-1] if new else None
    return Run(
        run_id=run_id,
        session_id=session_id,
        text=state.partial or (text_of(last) if last and last["role"] == "model" else ""),
        output=state.output,
        stop=state.stop,
        limit=state.limit,
        finish_reason=state.finish_reason,
        model=models[state.standing_in].name,
        usage=state.usage_of_all(),
        turn_usages=(*state.earlier, *state.usages),
        errors=tuple(state.errors),
        pending=tuple(state.pending),
        results=dict(state.results),
        _contents=tuple(state.contents),
        _started_with=state.started_with,
        _opened=state.opened,
    )


def resumed_state(run: Run[Any]) -> State:
    """Make the state from which a run goes on."""
    contents, opened = list(run._contents), run._opened
    if opened is not None:
        del contents[-2:]  # the calls, and what stands in for their responses
    elif run.stop is not None and contents[-1]["role"] == "model":
        del contents[-1]  # a reply that was no answer: it is asked for again
    return State(
        contents=contents,
        started_with=run._started_with,
        known=len(contents),
        earlier=run.turn_usages,
        earlier_usage=run.usage,
        resumed=opened.content if opened else None,
        ledger=opened.calls if opened else (),
        results=dict(run.results),
    )


class _Ending(Generic[Out]):
    """What sync and async streams share: when the run is over, and what came of it."""

    def __init__(self, plan: Plan, state: State) -> None:
        self._plan = plan
        self._state = state
        self._run: Run[Out] | None = None

    def send(self, message: UserInput) -> None:
        """Say something while the run goes on: it is added before the next turn of the model.

        A message that comes while the model gives its answer gets one of its own. May be called from any thread.

        Raises:
            AgentError: The run is over.
            ConfigurationError: The message can't be sent.
        """
        contents = user_input(message)
        check(contents)
        if not self._state.inbox.put(contents):
            raise AgentError("The run is over: it takes no more messages. Start another with its contents.")

    def usage_now(self) -> Usage:
        """Tell what was used so far, since the run began or was resumed."""
        return self._state.usage()

    @property
    def unsent(self) -> list[Content]:
        """What was said with `send` and the run ended before it was added."""
        return copy_contents(self._state.inbox.left)

    @property
    def run(self) -> Run[Out]:
        """What came of the run, once it is over or closed.

        Raises:
            AgentError: It still goes on.
        """
        if self._run is None:
            raise AgentError("The run still goes on: read its events to the end, or close the stream, first.")
        return self._run

    def _end(self) -> Run[Out]:
        if self._run is None:
            if not self._state.done:  # closed before it began
                self._state.stop = "cancelled"
                self._state.inbox.close()
            context = self._plan.context
            self._run = make_run(
                context.run_id, self._state, session_id=context.session_id, models=self._plan.models
            )
        return self._run

    def _fail(self, error: BaseException) -> None:
        if self._state.stop is None and not self._state.answered:
            self._state.stop = "error"
        run = self._end()
        if isinstance(error, ModelError):
            error.run = run


class RunStream(_Ending[Out]):
    """The events of a run as they happen; iterate over it, best in a `with` block.

    Leaving the block, `close()` or an exception ends the run at once, and so does dropping the stream: its
    connection is closed and its tools are cancelled. `run` has what came of it, with `stop="cancelled"`; the
    reply that was under way is in `run.text`, not in `run.contents`.
    """

    def __init__(self, events: Generator[Event, None, None], plan: Plan, state: State) -> None:
        super().__init__(plan, state)
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

    def drain(self) -> Run[Out]:
        """Go through what is left of the events; return what came of the run."""
        for _ in self:
            pass
        return self.run

    def cancel(self) -> None:
        """End the run from another thread, which goes on reading it here: it gets a run with `stop="cancelled"`.

        It takes effect at once while tools run or the run waits, else at the next piece of the model's reply.
        In the thread that reads the events, `close` is the way, or leaving the block.
        """
        self._state.cancelled = True
        self._state.wake()

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


class AsyncRunStream(_Ending[Out]):
    """The events of a run as they happen, async; iterate over it in an `async with` block.

    It ends as `RunStream` does; a cancelled task ends it too.
    """

    def __init__(self, events: AsyncGenerator[Event, None], plan: Plan, state: State) -> None:
        super().__init__(plan, state)
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

    async def drain(self) -> Run[Out]:
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
