"""What comes of a run, and the stream of what happens while it goes on."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Mapping, Sequence
from contextlib import aclosing, closing, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, cast

from typing_extensions import TypeVar

from agentkit.core.beside import BesideText, Call, calls_in
from agentkit.core.resuming import Parked, Resume, Sending
from agentkit.core.state import OpenTurn, RunState
from agentkit.drivers.many import Done
from agentkit.errors import AgentError, ConfigurationError, RunStopped
from agentkit.events import Event, OpenCalls, RunFinished, TextDelta
from agentkit.limits import Stop, Usage
from agentkit.stores.message import Message, copies_of
from agentkit.tooling.decisions import Decision, PendingCall
from agentkit.wire.arguments import checked
from agentkit.wire.content import Content, JsonObject, copy_content, text_in
from agentkit.wire.convert import UserInput, user_input
from agentkit.wire.history import check

if TYPE_CHECKING:
    from agentkit.stores.store import SessionStore

Out = TypeVar("Out", default=Any)
"""What a run's output is: None unless `run(output=...)` asks for a type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(BesideText, Generic[Out]):
    """A finished run: its answer, or why there is none, and everything up to that point."""

    run_id: str
    """Unique to the run. `agent.resume` keeps it; each message and each resume of a chat has a new one."""
    text: str
    """The answer: the text of the final turn alone. If there is no answer, the text of the last reply so far, even if
    it made calls or was cut off. `said` has the text of all turns."""
    output: Out | None
    """The value of the type given as `run(output=...)`; None without one, or if the run stopped."""
    stop: Stop | None
    """Why the run ended without an answer, or None."""
    why: str
    """The reason in words: what was reached, refused or said. Also set if a limit was reached and there is an answer
    all the same, and to say what a cost limit doesn't count."""
    limit: Stop | None
    """The limit that was reached, if any; with `Limits(on_limit="answer")` there may still be an answer."""
    finish_reason: str | None
    """The server's finish reason of the last reply, such as `STOP`."""
    model: str
    """The name of the model that gave the last reply; a fallback, if the first model failed."""
    usage: Usage
    """Tokens of all turns, including repeated ones, and what tools used."""
    turn_usages: tuple[Usage, ...]
    """Tokens of each turn."""
    errors: tuple[Exception, ...] = field(repr=False)
    """Exceptions of tools, timeouts and exhausted retries, in order, those of sub-agents too. Not in the repr, because
    they may hold secrets. After a resume, those since then."""
    pending: tuple[PendingCall, ...]
    """Calls that need a decision (`stop` is `approval`, `deferred` or `unknown_effect`)."""
    session_id: str | None = None
    """The chat's id, if the run belongs to one."""
    results: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The complete texts of results that were cut for the model, by the id in their mark."""
    _parked: Parked = field(repr=False, compare=False)

    @property
    def cost(self) -> float | None:
        """The run's cost in US dollars, by the prices of its limits; None if it isn't known.

        For a run that was read from JSON, by its own prices, or `agentkit.traits.PRICES`.
        """
        return self.usage.cost(self._parked.prices)

    @property
    def cost_is_complete(self) -> bool:
        """Whether `cost` is known and includes everything: no request with an unknown cost was given up."""
        return self.usage.why_incomplete(self._parked.prices) is None

    @property
    def said(self) -> str:
        """All text of the model, in order, as from `stream().texts()`.

        Includes text between calls, text of replies that were asked for again, and text from before a resume.
        """
        return self._parked.said

    @property
    def metadata(self) -> JsonObject:
        """The metadata of the last reply, under the API's names, even if the reply isn't in the history."""
        last = self.replies[-1].metadata if self.replies else None
        return self._parked.metadata or last or {}

    def __str__(self) -> str:
        """Return the run as text for people: what was asked, called and answered, what it used, and why it stopped.

        It is as wide as the terminal, or 80 columns.
        """
        from shutil import get_terminal_size  # here, as it loads all kinds of archives

        from agentkit.chats.transcript import transcript

        width = max(20, get_terminal_size().columns)
        return transcript(self.new_messages, usage=self.usage, stop=self.stop, why=self.why, width=width)

    def __repr__(self) -> str:
        output = "" if self.output is None else f"output={self.output!r:.60}, "
        used = f"turns={self.turns}, tokens={self.usage.total_tokens}"
        return f"Run({self.text[:60]!r}, {output}stop={self.stop!r}, {used}, run_id={self.run_id!r})"

    @property
    def calls(self) -> tuple[Call, ...]:
        """The model's calls in this run, in order, each with its result or error; not to be changed."""
        return tuple(calls_in(self.new_messages))

    @property
    def turns(self) -> int:
        """How many replies the model made."""
        return len(self.turn_usages)

    @property
    def messages(self) -> tuple[Message, ...]:
        """The whole history, with what is known about each content; not to be changed."""
        return self._parked.messages

    @property
    def contents(self) -> list[Content]:
        """A copy of the whole history, always valid, for `history=` or `json.dumps`."""
        return copies_of(self._parked.messages)

    @property
    def new_contents(self) -> list[Content]:
        """A copy of what this run added, from the user's input on."""
        return copies_of(self.new_messages)

    @property
    def new_messages(self) -> Sequence[Message]:
        """What this run added, from the user's input on, with what is known about each content; not to be changed."""
        return self._parked.messages[self._parked.started_with :]

    def expect(self) -> Out:
        """Return the output of a run that was given `output=`.

        Raises:
            RunStopped: There is no output; the message says why.
        """
        return cast(Out, self.raise_for_stop().output)

    def raise_for_stop(self) -> Self:
        """Return the run if it ended with an answer.

        Raises:
            RunStopped: It didn't; the message says why.
        """
        if self.stop is None:
            return self
        reason = f" (finish reason {self.finish_reason})" if self.finish_reason else ""
        raise RunStopped(
            f"The run stopped without an answer: {self.stop}{reason}. {self.why}".strip(), run=self
        )

    def to_json(self) -> str:
        """Return the run as JSON, so that `agent.resume` can continue it in any process.

        Of `errors`, only the kinds are written, because their texts may hold secrets. `output` isn't written. The
        run's settings are included as far as they can be; `deps`, an output type and functions must be given again.
        Nothing keeps the same JSON from being resumed twice: that is up to you.
        """
        from agentkit.core.options import write_options
        from agentkit.stores import records

        left, waiting = self._parked, None
        if left.opened is not None:
            waiting = records.WaitingRecord(
                calls=[records.CallRecord.of(call) for call in left.opened.calls],
                pending=[records.PendingRecord.model_validate(call.to_wire()) for call in self.pending],
            )
        record = records.RunRecord(
            agentkit_run=records.FORMAT,
            run_id=self.run_id,
            session_id=self.session_id,
            given=records.GivenRecord.model_validate(write_options(left.given)),
            messages=[records.MessageRecord.of(message) for message in left.messages],
            started_with=left.started_with,
            results=dict(self.results),
            waiting=waiting,
            ended=records.EndRecord.of(self, left.metadata),
            used=records.UsedRecord.of(self),
        )
        return records.as_text(record.wire())

    @classmethod
    @checked
    def from_json(cls, text: str | bytes) -> Run[Any]:
        """Read what `to_json` returned.

        Raises:
            ConfigurationError: It isn't a run, is damaged, or was written by a newer agentkit.
        """
        from agentkit.core.options import read_options
        from agentkit.stores import records

        record = records.read_run(text)
        messages = [message.message() for message in record.messages]
        ended, used, waiting = record.ended, record.used, record.waiting
        given = read_options(record.given)
        opened = OpenTurn(messages[-2], [call.call() for call in waiting.calls]) if waiting else None
        return Run(
            run_id=record.run_id,
            text=ended.text,
            output=None,
            stop=ended.stop,
            why=ended.why,
            limit=ended.limit,
            finish_reason=ended.finish_reason,
            model=used.model,
            usage=used.usage.usage(),
            turn_usages=tuple([usage.usage() for usage in used.turns]),
            errors=tuple([records.NotedError(kind) for kind in ended.errors]),
            pending=tuple([call.pending() for call in waiting.pending]) if waiting else (),
            session_id=record.session_id,
            results=record.results,
            _parked=Parked(
                messages,
                record.started_with,
                opened,
                given,
                ended.said,
                prices=given["limits"].prices if "limits" in given else None,
                metadata=ended.metadata,
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped(Generic[Out]):
    """What came of one of many inputs: its run, or what it raised."""

    index: int
    """Which input, from 0."""
    input: Any
    run: Run[Out] | None = None
    error: Exception | None = None
    """What the run raised; an `AgentError` has what there was in its `run`."""


def make_run(state: RunState, said: str = "", shared: Parked | None = None) -> Run[Any]:
    """Take down what a run has so far."""
    end, meter, output = state.end, state.meter, state.output
    session = state.session
    return Run(
        run_id=state.context.run_id,
        session_id=state.context.session_id,
        text=end.partial or _last_text(state),
        output=output.value if output is not None and end.answered else None,
        stop=end.stop,
        why=end.why,
        limit=end.limit,
        finish_reason=end.finish_reason,
        model=state.requests.model.name,
        usage=meter.total(),
        turn_usages=(*meter.earlier, *meter.turns),
        errors=tuple(end.errors),
        pending=tuple(state.waiting.pending),
        results=dict(state.tools.results),
        _parked=Parked(
            state.history.messages,
            session.started_with,
            state.waiting.left,
            state.setup.given,
            said,
            shared=shared,
            prices=meter.prices,
            metadata=end.metadata,
        ),
    )


def _last_text(state: RunState) -> str:
    """Return the text of the last reply, as far as that is in the history: one that was blocked, say, isn't."""
    own, turns = state.own_messages, state.meter.turns
    last = next((message for message in reversed(own) if message.content["role"] == "model"), None)
    if last is None or not (last is own[-1] or not turns or last.usage is turns[-1]):
        return ""
    return text_in(last.content["parts"])


def resume_of(
    run: Run[Any] | str | bytes,
    decisions: Mapping[str, Decision] | None,
    store: SessionStore | None,
    sending: Sending,
) -> dict[str, Any]:
    """Find what a run is to be resumed from: itself, or the chat in a store that it belongs to."""
    said = {} if decisions is None else decisions
    if not isinstance(run, Run):
        run = Run.from_json(run)
    if run.session_id is None:
        if store is not None:
            raise ConfigurationError("resume(store=...): this run belongs to no chat. Leave out the store.")
        return {"resume": Resume(said, run)}
    if store is None:
        raise ConfigurationError(
            f"This run belongs to the chat {run.session_id!r}: resume it with chat.resume(decisions), or"
            " give store=, where the chat is kept."
        )
    from agentkit.chats.conversation import Conversation

    chat = Conversation(run.session_id, store, must_exist=True)
    return {"resume": Resume(said, None, run._parked.given), "conversation": chat, "sending": sending}


def mapped(done: Generator[Done, None, None]) -> Iterator[Mapped[Any]]:
    """Make what `Agent.map` gives of what was done."""
    with closing(done):
        for each in done:
            yield Mapped(index=each.index, input=each.input, run=each.run, error=each.error)


async def amapped(done: AsyncGenerator[Done, None]) -> AsyncGenerator[Mapped[Any], None]:
    """Make what `AsyncAgent.map` gives of what was done."""
    async with aclosing(done):
        async for each in done:
            yield Mapped(index=each.index, input=each.input, run=each.run, error=each.error)


class _Stream(Generic[Out]):
    """What sync and async streams share: when the run is over, and what came of it."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._state.context.run_id!r}, {'over' if self._run else 'going on'})"

    def __init__(self, events: Any, state: RunState, resumed: Parked | None) -> None:
        self._events = events
        self._state = state
        self._observers = state.settings.observers
        self._open = OpenCalls()
        self._ahead: deque[Event] = deque()
        """What is told next, before more is asked of the run."""
        self._resumed = resumed
        self._said = [] if resumed is None else [resumed.said]
        self._shared: Parked | None = None
        self._run: Run[Out] | None = None

    @checked
    def send(self, message: UserInput) -> None:
        """Send a message while the run goes on: it is added before the model's next turn.

        A message that comes while the model gives its answer gets one of its own. May be called from any thread.

        Raises:
            AgentError: The run is over.
            ConfigurationError: The message can't be sent.
        """
        contents = user_input(message, inline_bytes=self._state.requests.model.traits.inline_bytes)
        check(contents)
        if not self._state.inbox.put(contents):
            raise AgentError("The run is over: it takes no more messages. Start another with its contents.")

    def usage_now(self) -> Usage:
        """Return the usage so far, since the run began or was resumed."""
        return self._state.meter.usage()

    @property
    def unsent(self) -> list[Content]:
        """Messages given to `send` that the run ended before adding."""
        return [copy_content(content) for content in self._state.inbox.left]

    @property
    def run(self) -> Run[Out]:
        """The finished run, once it is over or closed.

        Raises:
            AgentError: The run is still going on.
        """
        if self._run is None:
            raise AgentError("The run still goes on: read its events to the end, or close the stream, first.")
        return self._run

    def _tell(self, event: Event) -> Event:
        """Let the observers hear of an event; one that fails ends nothing."""
        if isinstance(event, TextDelta):
            self._said.append(event.text)
        context = self._state.context
        for observer in self._observers:
            try:
                observer(event, context)
            except (KeyboardInterrupt, SystemExit):  # the others hear of the end
                self._observers = [each for each in self._observers if each is not observer]
                raise
            except BaseException:
                logging.getLogger("agentkit.run").exception("An observer failed.")
        if isinstance(event, RunFinished):
            self._observers = ()
        return event

    def _end(self) -> Run[Out]:
        """Take down what came of the run; told next are the ends of calls that were cut off, then that of the run."""
        if self._run is None:
            state = self._state
            if not state.end.over:  # closed before it began
                if state.end.stop is None:
                    state.end.end("cancelled")
                state.inbox.close()
            if not state.meter.turns and not state.waiting.began and state.end.stop is not None:
                self._give_back()  # nothing was done
            self._run = make_run(state, "".join(self._said), self._shared)
            self._ahead += (*self._open.end(), RunFinished(self._run))
        return self._run

    def _break_off(self) -> None:
        """End what was not read to its end; the observers hear of it all the same."""
        self._end()
        while self._ahead:
            self._tell(self._ahead.popleft())

    def _give_back(self) -> None:
        if self._resumed is not None:
            self._resumed.give_back()
            self._shared, self._resumed = self._resumed, None

    def _fail(self, error: BaseException) -> None:
        end = self._state.end
        if end.stop is None and not end.answered:
            said = f": {error}" if isinstance(error, AgentError) else ""  # others may hold secrets
            end.end("error", f"{type(error).__name__} ended the run{said}")
        with suppress(AttributeError, TypeError):  # most exceptions take it, not only agentkit's
            error.run = self._end()  # type: ignore[attr-defined]
        self._break_off()


class RunStream(_Stream[Out]):
    """The events of a run as they happen; iterate over it, best in a `with` block.

    Leaving the block, `close()` or an exception ends the run at once, and so does dropping the stream: its
    connection is closed and its tools are cancelled. `run` has what came of it, with `stop="cancelled"`; the
    reply that was under way is in `run.text`, not in `run.contents`.
    """

    _events: Generator[Event, None, None]

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        try:
            if not self._ahead:
                self._ahead += self._open.in_order(next(self._events))
            return self._tell(self._ahead.popleft())
        except StopIteration:
            if self._run is not None:
                raise
            self._end()
            return self._tell(self._ahead.popleft())
        except BaseException as error:
            self._events.close()  # where an observer ended it
            self._fail(error)
            raise

    def texts(self) -> Iterator[str]:
        """Iterate over the pieces of text alone."""
        for event in self:
            if isinstance(event, TextDelta):
                yield event.text

    def drain(self) -> Run[Out]:
        """Read the remaining events and return the finished run."""
        for _ in self:
            pass
        assert self._run is not None
        return self._run

    def cancel(self) -> None:
        """End the run from another thread, which goes on reading it here: it gets a run with `stop="cancelled"`.

        It takes effect at once while tools run, or the run waits for Gemini or anything else; with another model, at
        the next piece of its reply, and during an upload, of the file.
        In the thread that reads the events, `close` is the way, or leaving the block.
        """
        self._state.signals.cancel()

    def close(self) -> None:
        """End the run, wherever it is."""
        try:
            self._events.close()
        except BaseException as error:  # a store that fails at the end of a send
            self._fail(error)
            raise
        self._break_off()

    def __del__(self) -> None:
        """End what was dropped, so that the observers hear of its end."""
        if getattr(self, "_observers", ()):
            self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


class AsyncRunStream(_Stream[Out]):
    """The events of a run as they happen, async; iterate over it in an `async with` block.

    It ends as `RunStream` does; a cancelled task ends it too.
    """

    _events: AsyncGenerator[Event, None]

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    def __await__(self) -> Generator[None, None, Self]:
        """Return itself: `async for event in await chat.send_message_stream(...)`, as in google-genai."""
        yield from ()
        return self

    async def __anext__(self) -> Event:
        try:
            if not self._ahead:
                self._ahead += self._open.in_order(await anext(self._events))
            return self._tell(self._ahead.popleft())
        except StopAsyncIteration:
            if self._run is not None:
                raise
            self._end()
            return self._tell(self._ahead.popleft())
        except BaseException as error:
            await self._events.aclose()  # where an observer ended it
            self._fail(error)
            raise

    async def texts(self) -> AsyncIterator[str]:
        """Iterate over the pieces of text alone."""
        async for event in self:
            if isinstance(event, TextDelta):
                yield event.text

    async def drain(self) -> Run[Out]:
        """Read the remaining events and return the finished run."""
        async for _ in self:
            pass
        assert self._run is not None
        return self._run

    def cancel(self) -> None:
        """End the run from another task or thread; who reads it gets a run with `stop="cancelled"`."""
        self._state.signals.cancel()

    async def aclose(self) -> None:
        """End the run, wherever it is."""
        try:
            await self._events.aclose()
        except BaseException as error:  # a store that fails at the end of a send
            self._fail(error)
            raise
        self._break_off()

    def __del__(self) -> None:
        """Let the observers hear of the end of what was dropped; its event loop ends the rest."""
        if getattr(self, "_observers", ()):
            self._break_off()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()
