"""The session of a chat without a store: kept by the chat itself, as a store would keep it, and nothing blocks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, assert_never

from agentkit.limits import Usage
from agentkit.stores import _values as values
from agentkit.stores.base import (
    AddMessage,
    AddUsage,
    Cut,
    DeferCall,
    EditCall,
    FinishCall,
    HoldCall,
    Message,
    SaveFiles,
    SaveGiven,
    SaveResult,
    SaveState,
    SaveSummary,
    SessionInfo,
    SessionSettings,
    StartCalls,
    Step,
    StoredCall,
    StoredResult,
    StoredSession,
    StoredSummary,
)
from agentkit.stores.turns import Turn
from agentkit.wire.content import JsonObject, keep


class OwnSession:
    """One session, with the methods of a `SessionStore` that concern one; its id is the chat's.

    Contents are those of the history themselves: whoever hands them out copies them.
    """

    def __init__(self) -> None:
        self.identity = object()
        self._info: SessionInfo | None = None
        self._kept = _Kept()

    def create(
        self,
        id: str,
        *,
        messages: Sequence[Message] = (),
        results: Sequence[StoredResult] = (),
        state: JsonObject | None = None,
        calls: Sequence[StoredCall] = (),
        **settings: Any,
    ) -> SessionInfo:
        """Make the session; see `SessionStore.create`."""
        if self._info is not None:
            raise values.session_exists(id)
        now, usage = time.time(), values.sum_usage(message.usage for message in messages)
        self._kept = _Kept(messages, {result.id: result for result in results}, [(0, state)] if state else [])
        self._kept.calls = {call.index: call for call in calls}
        self._info = SessionInfo(
            id=id, created=now, updated=now, messages=len(messages), usage=usage, **settings
        )
        return self._info

    def load(self, id: str, *, start: int = 0, end: int | None = None) -> StoredSession:
        """Return the session; see `SessionStore.load`."""
        values.check_start(start)
        kept, until = self._kept, len(self._kept.messages) if end is None else end
        return StoredSession(
            info=self.info(id),
            messages=kept.messages[start:end],
            ledger=[*kept.calls.values()],
            summary=next((summary for summary in reversed(kept.summaries) if summary.upto <= until), None),
            own=next((state for seq, state in reversed(kept.states) if seq <= until), {}),
        )

    def info(self, id: str) -> SessionInfo:
        """Return what is known of the session. Raises SessionNotFound if it wasn't made yet."""
        if self._info is None:
            raise values.no_session(id)
        return self._info

    def result(self, id: str, result_id: str) -> str | None:
        """Return the text of a result; None if there is none of that id."""
        result = self._kept.results.get(result_id)
        return None if result is None else result.text

    def results(self, id: str) -> Sequence[StoredResult]:
        """Return all results, ordered by their messages."""
        return sorted(self._kept.results.values(), key=lambda result: (result.seq, result.id))

    def write(
        self,
        id: str,
        *,
        wait: float = 0.0,
        create: SessionSettings | None = None,
        seen: int | None = None,
        sender_id: str | None = None,
        turn: Turn | None = None,
    ) -> OwnWriter:
        """Return the writer; see `SessionStore.write`. The chat sees to it that there is one at a time."""
        if self._info is None and create is not None:
            self.create(id, **create)
        session = None if self.info(id).version == seen else self.load(id)
        sent = (n for n, message in enumerate(self._kept.messages) if message.sender_id == sender_id)
        return OwnWriter(self, session, None if sender_id is None else next(sent, None))

    def wait(self, id: str, seconds: float) -> None:
        """Return at once: no other process has this session."""


class OwnWriter:
    """Its writer; see `SessionWriter`."""

    def __init__(self, own: OwnSession, session: StoredSession | None, sent: int | None) -> None:
        self._own = own
        self.session = session
        self.sent = sent

    @property
    def info(self) -> SessionInfo:
        """The session as of the last append."""
        assert self._own._info is not None
        return self._own._info

    def append(self, steps: Sequence[Step], *, release: bool = False) -> None:
        """Keep steps, all or none of them; see `SessionWriter.append`."""
        assert self._own._info is not None
        change = _Change(self._own._kept, self._own._info)
        for step in steps:
            change.apply(step)
        self._own._kept, self._own._info = change.finish(len(steps))

    def release(self) -> None:
        """Do nothing: the chat's turn ends, that's all."""


class _Kept:
    """What is kept of a session."""

    def __init__(
        self,
        messages: Sequence[Message] = (),
        results: dict[str, StoredResult] | None = None,
        states: Sequence[tuple[int, JsonObject]] = (),
    ) -> None:
        self.messages = [*messages]
        self.calls: dict[int, StoredCall] = {}
        self.results = results or {}
        self.summaries: list[StoredSummary] = []
        self.states = [*states]


class _Change:
    """Steps on their way: what they add is beside what is kept until all are known to fit."""

    def __init__(self, kept: _Kept, info: SessionInfo) -> None:
        self._kept, self._info = kept, info
        self._stay = len(kept.messages)
        """How many of the messages that are kept stay."""
        self._added: list[Message] = []
        # Never changed in place: what is kept stays until all steps are known to fit.
        self._calls, self._results = kept.calls, kept.results
        self._summaries, self._states = kept.summaries, kept.states
        self._noted: list[tuple[int, dict[str, Any]]] = []
        """Of messages, by their numbers: fields that are something else now."""
        self._usage: Usage = info.usage
        self._updated = info.updated

    @property
    def _count(self) -> int:
        return self._stay + len(self._added)

    def apply(self, step: Step) -> None:
        """Take a step. Raises StoreError if it doesn't fit."""
        match step:
            case AddMessage():
                self._add(step)
            case StartCalls():
                for index in step.indexes:
                    self._set(index, started=step.started)
            case HoldCall():
                self._set(step.index, why=step.why, declared=step.declared)
            case EditCall():
                self._set(step.index, args=step.args)
            case FinishCall():
                self._set(step.index, response=step.response)
            case DeferCall():
                self._set(step.index, started=False, deferred=step.state)
            case SaveResult():
                values.check_result(step)
                result = StoredResult(id=step.id, seq=self._count, text=step.text)
                self._results = {**self._results, step.id: result}
            case SaveState():
                earlier = [(seq, state) for seq, state in self._states if seq < self._count]
                # A copy, and of what a store would take, too.
                state = values.decode_object(values.encode_object("A state", step.state)) or {}
                self._states = [*earlier, (self._count, state)]
            case SaveFiles():
                values.check_position(step, step.seq + 1, self._count)
                self._noted.append((step.seq, {"files": step.files}))
            case SaveGiven():
                values.check_position(step, step.seq + 1, self._count)
                self._noted.append((step.seq, {"given": step.given}))
            case Cut():
                self._cut(step)
            case AddUsage():
                self._usage += step.usage
            case SaveSummary():
                values.check_position(step, step.upto, self._count)
                self._summaries = [*self._summaries, StoredSummary(upto=step.upto, text=step.text)]
            case _:
                assert_never(step)

    def finish(self, steps: int) -> tuple[_Kept, SessionInfo]:
        """Put what was added to what is kept."""
        kept = self._kept
        kept.messages[self._stay :] = self._added
        for seq, fields in self._noted:
            if seq < len(kept.messages):
                kept.messages[seq] = replace(kept.messages[seq], **fields)
        kept.calls, kept.results = self._calls, self._results
        kept.summaries, kept.states = self._summaries, self._states
        return kept, replace(
            self._info,
            messages=len(kept.messages),
            usage=self._usage,
            version=self._info.version + steps,
            updated=self._updated,
        )

    def _add(self, step: AddMessage) -> None:
        message, self._updated = step.message, time.time()
        created = self._updated if message.created is None else message.created
        self._added.append(replace(message, content=keep(message.content), created=created))
        if message.usage is not None:
            self._usage += message.usage
        self._calls = {call.index: call for call in step.calls} if step.calls else {}

    def _cut(self, step: Cut) -> None:
        seq = step.seq
        values.check_position(step, seq, self._count)
        del self._added[max(0, seq - self._stay) :]
        self._stay = min(self._stay, seq)
        self._results = {key: result for key, result in self._results.items() if result.seq < seq}
        self._summaries = [summary for summary in self._summaries if summary.upto <= seq]
        self._states = [(at, state) for at, state in self._states if at <= seq]
        self._calls, self._updated = {}, time.time()

    def _set(self, index: int, **columns: Any) -> None:
        call = self._calls.get(index)
        if call is None or call.response is not None:
            raise values.no_open_call(index)
        self._calls = {**self._calls, index: replace(call, **columns)}
