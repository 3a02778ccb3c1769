"""What a run is given by its chat at its start, and what the chat takes from it at its end.

All that a chat knows of a run's state is here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from agentkit.core.effects import Sent, State
from agentkit.core.survey import Survey
from agentkit.errors import AgentError
from agentkit.limits import Usage
from agentkit.stores.base import (
    AddMessage,
    AddUsage,
    Cut,
    Message,
    SessionInfo,
    SessionWriter,
    Step,
    StoredCall,
    StoredSession,
)
from agentkit.wire.content import Content, Joined, JsonObject, calls_of, keep
from agentkit.wire.history import turn_starts

Journal = Callable[[Sequence[Step]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A session as it was at one instant; replaced as a whole, so that no thread sees a half of it."""

    version: int | None = None
    contents: Sequence[Content] = ()
    calls: Sequence[StoredCall] = ()
    state: JsonObject = field(default_factory=dict)
    """The user's own."""
    sent: Sent = field(default_factory=Sent)
    summary: tuple[int, str] | None = None
    usage: Usage = field(default_factory=Usage)
    survey: Survey = field(default_factory=Survey)
    joined: Joined = field(default_factory=Joined)
    half: bool = False
    """Whether the last content is a reply that was no answer: cut off, or blocked in the midst of it."""

    @classmethod
    def of(cls, session: StoredSession) -> Seen:
        """See a session that was read."""
        last = next((message.usage for message in reversed(session.messages) if message.usage), None)
        return cls(
            version=session.info.version,
            contents=tuple(_made_by(message) for message in session.messages),
            calls=session.calls,
            state=session.state,
            sent=Sent(usage=last),
            summary=(session.summary.upto, session.summary.text) if session.summary else None,
            usage=session.info.usage,
            half=bool(session.messages) and _is_half(session.messages[-1]),
        )

    @property
    def has_open_calls(self) -> bool:
        """Whether the last content has calls that are not answered yet."""
        return bool(self.contents and calls_of(self.contents[-1]))


# -- at its start


def begin(state: State, seen: Seen, id: str) -> None:
    """Let a run begin with a message that follows what was said. Raises AgentError if it can't."""
    if seen.has_open_calls:
        raise AgentError(
            f"The chat {id!r} has calls that are not answered yet: they wait for a decision (see "
            "pending), or it broke off while they ran. Finish that first with resume(), or take it back "
            "with undo()."
        )
    state.go_on_from(seen.contents)
    _know(state, seen)


def go_on(state: State, seen: Seen, id: str) -> None:
    """Let a run go on where the last one got to. Raises AgentError if there is nothing."""
    contents = seen.contents
    if not contents:
        raise nothing_to_resume(id)
    state.contents[:] = contents
    if seen.has_open_calls:
        state.resumed, state.ledger = state.contents.pop(), seen.calls
    elif seen.half:
        state.contents.pop()  # it is asked for again, and stays until there is another
    state.known = len(state.contents)
    state.started_with = turn_starts(contents)[-1]
    _know(state, seen)


def nothing_to_resume(id: str) -> AgentError:
    """Make the error that there is nothing to go on with."""
    return AgentError(f"The chat {id!r} has nothing to resume: nothing was said yet.")


def repeat(state: State, seen: Seen, at: int) -> None:
    """Let a run have the answer that the message at an index got, from which the chat has gone on; it does nothing."""
    end = next((start for start in turn_starts(seen.contents) if start > at), len(seen.contents))
    state.contents[:] = seen.contents[:end]
    state.known, state.started_with, state.answered = end, at, True


def _know(state: State, seen: Seen) -> None:
    state.sent, state.summary, state.survey = seen.sent, seen.summary, seen.survey.copy()
    state.joined = seen.joined


def connect(
    state: State, journal: Journal, read_result: Callable[[str], str | None], *, blocks: bool
) -> None:
    """Tell a run where to store what happens, and where to read results that were cut."""
    state.journal, state.journal_blocks, state.read_result = journal, blocks, read_result


def journal_of(writer: SessionWriter, seen: Seen, *, resume: bool, sender_id: str | None) -> Journal:
    """Make what stores the steps of a run.

    The first thing it stores takes the place of a reply that was no answer; the first message has the sender's id.
    """
    first = [Cut(len(seen.contents) - 1)] if resume and seen.half else []
    id = None if resume else sender_id

    def journal(steps: Sequence[Step]) -> None:
        nonlocal id
        if id is not None:
            steps = [_with_sender(step, id) if n == 0 else step for n, step in enumerate(steps)]
        if steps:
            writer.append([*first, *steps])
            first.clear()
            id = None

    return journal


def _with_sender(step: Step, id: str) -> Step:
    return (
        AddMessage(replace(step.message, sender_id=id), step.calls) if isinstance(step, AddMessage) else step
    )


def refuse(id: str) -> Journal:
    """Make a journal for a run that must do nothing."""

    def journal(steps: Sequence[Step]) -> None:
        if steps:
            raise AgentError(
                f"The chat {id!r} has gone on from this message: its answer stands, and isn't asked for again."
            )

    return journal


# -- at its end


def settle(state: State, info: SessionInfo, *, resume: bool) -> tuple[bool, list[Step]]:
    """Say whether a send is kept or, if nothing came of it, taken back; and what is still to be stored."""
    stored = info.messages
    said = any(content["role"] == "model" for content in state.contents[state.started_with :])
    # Calls that are stored may have run.
    kept = state.open or said or resume or stored > len(state.contents)
    steps: list[Step] = []
    if state.open:
        pass  # the last turn stays as it is stored
    elif kept:
        steps += [AddMessage(Message(content=content)) for content in state.contents[stored:]]
    else:
        del state.contents[state.started_with :]
        if stored > state.started_with:
            steps.append(Cut(state.started_with))
    if (loose := state.loose_usage()) != Usage():
        steps.append(AddUsage(loose))
    return kept, steps


def see_end(state: State, info: SessionInfo, before: Seen, *, kept: bool) -> Seen:
    """See the session as a run has left it."""
    whole = info.messages == len(state.contents) and not state.open
    return Seen(
        version=info.version if whole else None,  # else it is read anew
        contents=tuple(state.contents),
        state=before.state,
        sent=state.sent if kept else before.sent,
        summary=state.summary,
        usage=info.usage,
        survey=state.survey if kept and whole else Survey(),
        joined=state.joined,
        half=state.stop is not None and bool(state.contents) and state.contents[-1]["role"] == "model",
    )


def disconnect(state: State) -> None:
    """Let a run store nothing more."""
    state.journal = None


def _is_half(message: Message) -> bool:
    whole = message.finish_reason in (None, "STOP", "FINISH_REASON_UNSPECIFIED")
    return message.content["role"] == "model" and not calls_of(message.content) and not whole


def _made_by(message: Message) -> Content:
    """Note which model made a content, as far as is known: its signatures are for that one only."""
    models = {used.model for used in message.usage.by_model} if message.usage else set()
    return keep(message.content, model=message.model or (models.pop() if len(models) == 1 else None))
