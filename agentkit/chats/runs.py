"""What a run is given by its chat at its start, and what the chat takes from it at its end.

All that a chat knows of a run's state is here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from agentkit.chats.own_session import SessionWriter
from agentkit.core.history import History
from agentkit.core.state import OpenTurn, RunState
from agentkit.core.views import Sent
from agentkit.errors import AgentError, HistoryError, StoreError
from agentkit.limits import Usage
from agentkit.stores.base import (
    AddMessage,
    AddUsage,
    Cut,
    DamagedMessage,
    Message,
    SaveFiles,
    SaveGiven,
    SaveState,
    SessionInfo,
    Step,
    StoredCall,
    StoredSession,
)
from agentkit.wire.content import Content, JsonObject, calls_of, user_content
from agentkit.wire.history import check, check_order, turn_starts

Store = Callable[[Sequence[Step]], None]
_NEAR = 20
"""How many messages are read first, of those at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A session as it was at one instant; replaced as a whole, so that no thread sees a half of it."""

    version: int | None = None
    history: History = field(default_factory=History)
    calls: Sequence[StoredCall] = ()
    state: JsonObject = field(default_factory=dict)
    """The user's own."""
    sent: Sent = field(default_factory=Sent)
    summary: tuple[int, str] | None = None
    usage: Usage = field(default_factory=Usage)
    half: bool = False
    """Whether the last content is a reply that isn't an answer: cut off, or blocked in the midst of it."""

    @classmethod
    def of(cls, session: StoredSession) -> Seen:
        """See a session that was read. Raises DamagedMessage or StoreError if it isn't a history."""
        _check(session)
        return cls._of(session, session.calls, History(map(_made_by, session.messages)))

    @classmethod
    def _of(cls, session: StoredSession, calls: Sequence[StoredCall], history: History) -> Seen:
        last = next((message.usage for message in reversed(history.messages) if message.usage), None)
        return cls(
            version=session.info.version,
            history=history,
            calls=calls,
            state=session.state,
            sent=Sent(usage=last),
            summary=(session.summary.upto, session.summary.text) if session.summary else None,
            usage=session.info.usage,
            half=bool(history.messages) and _is_half(history.messages[-1]),
        )

    def cut(self, start: int, beside: StoredSession) -> Seen:
        """See what a cut leaves of the session; `beside` is what it had beside its messages when there were so many.

        Raises:
            StoreError: Its state is damaged.
        """
        history = self.history.copy()
        history.cut(start)
        return Seen._of(beside, (), history)

    @property
    def contents(self) -> Sequence[Content]:
        """What was said."""
        return self.history.contents

    @property
    def has_open_calls(self) -> bool:
        """Whether the last content has calls that are not answered yet."""
        return bool(self.contents and calls_of(self.contents[-1]))


def see(
    load: Callable[[int], StoredSession], count: int, enough: Callable[[Sequence[Message]], bool] | None
) -> tuple[Seen, bool]:
    """See a session, and say whether it is the whole.

    Args:
        load: Reads it, of its messages those from a number on.
        count: How many it has.
        enough: Whether its last turns are enough; by default the whole is seen.
    """
    for start in (0,) if enough is None else backwards(count):
        session = load(start)
        if start and enough is not None:
            contents = [message.content for message in session.messages]
            starts = turn_starts(contents)
            messages = session.messages[starts[0] :] if starts else ()
            with suppress(DamagedMessage):  # told of the whole, with its number there
                if enough(messages):
                    return Seen.of(replace(session, messages=messages)), False
    return Seen.of(session), True


def backwards(count: int) -> Iterator[int]:
    """Say from where to read, each time further back, whoever looks for something near the end of so many messages."""
    back = _NEAR
    while back < count:
        yield count - back
        back *= 4
    yield 0


def _check(session: StoredSession) -> None:
    id, contents = session.info.id, [message.content for message in session.messages]
    last = contents.pop() if contents and calls_of(contents[-1]) else None
    try:
        check_order(contents)
    except HistoryError as error:
        raise DamagedMessage(f"The session {id!r} is damaged: {error}", seq=error.index) from error
    if last is None:
        return
    from agentkit.stores.records import CallRecord, answers_to

    try:
        check([user_content("?"), last, answers_to(last, [CallRecord.of(call) for call in session.calls])])
    except ValueError as error:
        raise StoreError(f"The ledger of session {id!r} is damaged: {error}.") from error


# -- at its start


def begin(state: RunState, seen: Seen, id: str, given: JsonObject | None = None) -> None:
    """Let a run begin with a message that follows what was said. Raises HistoryError if calls are open."""
    if seen.has_open_calls:
        raise HistoryError(
            f"The chat {id!r} has calls that are not answered yet: they wait for a decision (see "
            "pending), or it broke off while they ran. Finish that first with resume(), or take it back "
            "with undo().",
            index=len(seen.contents) - 1,
            rule=2,
        )
    state.session.given = given
    state.go_on_from(seen.history.copy())
    state.session.state = seen.state
    state.go_on_sending(seen.sent, seen.summary)


def go_on(state: RunState, seen: Seen, id: str, given: JsonObject | None) -> None:
    """Let a run go on where the last one got to. Raises AgentError if there is nothing."""
    contents = seen.contents
    if not contents:
        raise nothing_to_resume(id)
    state.history.become(seen.history.copy())
    state.session.state = seen.state
    if seen.has_open_calls:
        state.waiting.resumed = OpenTurn(seen.history.messages[-1], seen.calls)
    if (
        seen.has_open_calls or seen.half
    ):  # what is half there is asked for again, and stays until there is another
        state.history.cut(len(contents) - 1)
    state.session.known = len(state.history)
    state.session.started_with = at = turn_starts(contents)[-1]
    state.session.given = given
    state.history.messages[at] = replace(state.history.messages[at], given=given)
    state.go_on_sending(seen.sent, seen.summary)


def nothing_to_resume(id: str) -> AgentError:
    """Make the error that there is nothing to go on with."""
    return AgentError(f"The chat {id!r} has nothing to resume: nothing was said yet.")


def repeat(state: RunState, seen: Seen, at: int) -> None:
    """Let a run have the answer that the message at an index got, from which the chat has gone on; it does nothing."""
    end = next((start for start in turn_starts(seen.contents) if start > at), len(seen.contents))
    history = seen.history.copy()
    history.cut(end)
    state.history.become(history)
    state.session.state = seen.state
    state.session.known, state.session.started_with = end, at
    state.end.answer()


def connect(state: RunState, store: Store, read_result: Callable[[str], str | None], *, blocks: bool) -> None:
    """Tell a run where to store what happens, and where to read results that were cut."""
    state.session.append, state.session.blocks = store, blocks
    state.tools.read_stored = read_result


class Journal:
    """What stores the steps of a run.

    The first thing it stores takes the place of a reply that wasn't an answer; the first message has the sender's id.

    Args:
        writer: Of the session.
        seen: The session as it is.
        note: What the run's message is given from now on, if that is something else.
        resume: Whether the run goes on with what is there.
        sender_id: Of the first message.
    """

    def __init__(
        self,
        writer: SessionWriter,
        seen: Seen,
        note: SaveGiven | None,
        *,
        resume: bool,
        sender_id: str | None,
    ) -> None:
        self._writer = writer
        self.note = note
        """What is to be stored with the first thing, or when the run has ended; None once it is."""
        self._first: list[Step] = [Cut(len(seen.contents) - 1)] if resume and seen.half else []
        self._sender_id = None if resume else sender_id

    def __call__(self, steps: Sequence[Step]) -> None:
        """Store steps."""
        if steps:
            self._writer.append(self.ready(steps))
            self._first, self._sender_id, self.note = [], None, None

    def ready(self, steps: Sequence[Step]) -> list[Step]:
        """Return steps as they are stored."""
        made = [*steps]
        if self._sender_id is not None and made:
            made[0] = _with_sender(made[0], self._sender_id)
        return [*self._first, *([self.note] if self.note else ()), *made] if made else []


def _with_sender(step: Step, id: str) -> Step:
    return (
        AddMessage(replace(step.message, sender_id=id), step.calls) if isinstance(step, AddMessage) else step
    )


def refuse(id: str) -> Store:
    """Make what stores the steps of a run that must do nothing."""

    def refused(steps: Sequence[Step]) -> None:
        if steps:
            raise AgentError(
                f"The chat {id!r} has moved on from this message: its answer is final, and isn't asked for again."
            )

    return refused


# -- at its end


def settle(
    state: RunState, journal: Journal, info: SessionInfo, before: Seen, *, resume: bool
) -> tuple[bool, list[Step]]:
    """Say whether a send is kept or, if nothing came of it, taken back; and what is still to be stored."""
    steps, stored = journal.ready(state.session.unsaved), info.messages
    owed = None if steps else journal.note
    for step in steps:
        stored = step.seq if isinstance(step, Cut) else stored + isinstance(step, AddMessage)
    messages, started_with = state.history.messages, state.session.started_with
    left_open = state.waiting.left is not None
    said = "model" in [message.content["role"] for message in state.own_messages]
    # Calls that are stored may have run.
    kept = left_open or said or resume or stored > len(messages)
    for seq in state.history.renewed:
        if seq < (stored if kept else started_with):
            steps.append(SaveFiles(seq, messages[seq].files))
    if left_open:
        pass  # the last turn stays as it is stored
    elif kept:
        if stored < len(messages) and state.session.state is not before.state:
            steps.append(SaveState(state.session.state))  # a step that had it with a result may have failed
        steps += [AddMessage(message) for message in messages[stored:]]
        for message in messages[stored:]:
            state.meter.note_stored(message.usage)  # its usage is stored with it
    else:
        state.history.cut(started_with)
        if stored > started_with:
            steps.append(Cut(started_with))
    if owed is not None and (steps or state.end.stop is not None or state.end.answered):
        steps.append(owed)  # else nothing was done
    if (loose := state.meter.loose()) != Usage():
        steps.append(AddUsage(loose))
    return kept, steps


def see_end(state: RunState, info: SessionInfo, before: Seen, *, kept: bool) -> Seen:
    """See the session as a run has left it."""
    contents = state.history.contents
    whole = info.messages == len(contents) and state.waiting.left is None
    return Seen(
        version=info.version if whole else None,  # else it is read anew
        history=state.history.copy(),
        state=state.session.state if kept else before.state,
        sent=state.views.sent if kept else before.sent,
        summary=state.views.summary,
        usage=info.usage,
        half=kept and state.end.stop is not None and bool(contents) and contents[-1]["role"] == "model",
    )


def disconnect(state: RunState) -> None:
    """Let a run store nothing more."""
    state.session.append = None


def _is_half(message: Message) -> bool:
    whole = message.finish_reason in (None, "STOP", "FINISH_REASON_UNSPECIFIED")
    return message.content["role"] == "model" and not calls_of(message.content) and not whole


def _made_by(message: Message) -> Message:
    """Note which model made a message, as far as its usage tells, where an early agentkit didn't store it."""
    if message.model is not None or message.usage is None:
        return message
    models = {used.model for used in message.usage.by_model}
    return replace(message, model=models.pop()) if len(models) == 1 else message
