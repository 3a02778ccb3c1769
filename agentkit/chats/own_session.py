"""The session of a chat without a store: kept by the chat itself, as a store would keep it, and nothing blocks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, assert_never

from agentkit.limits import total_of
from agentkit.stores import _values as values
from agentkit.stores.base import (
    AddMessage,
    Cut,
    Message,
    SaveFiles,
    SaveGiven,
    SaveResult,
    SaveState,
    SaveSummary,
    SessionInfo,
    SessionSettings,
    Step,
    StoredCall,
    StoredResult,
    StoredSession,
    StoredSummary,
)
from agentkit.stores.changes import Change, KeptStep
from agentkit.stores.turns import Turn
from agentkit.stores.writer import Writer
from agentkit.wire.content import JsonObject, keep


class OwnSession:
    """One session, with the methods of a `SessionStore` that concern one; its id is the chat's.

    Contents are those of the history themselves: whoever hands them out copies them.
    """

    def __init__(self) -> None:
        self.identity = object()
        self._kept: _Kept | None = None

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
        if self._kept is not None:
            raise values.session_exists(id)
        now, usage = time.time(), total_of(message.usage for message in messages if message.usage)
        info = SessionInfo(id=id, created=now, updated=now, messages=len(messages), usage=usage, **settings)
        self._kept = _Kept(
            info=info,
            messages=[*messages],
            calls={call.index: call for call in calls},
            results={result.id: result for result in results},
            states=[(0, state)] if state else [],
        )
        return info

    def load(self, id: str, *, start: int = 0, end: int | None = None) -> StoredSession:
        """Return the session; see `SessionStore.load`."""
        values.check_start(start)
        kept = self._there(id)
        until = len(kept.messages) if end is None else end
        return StoredSession(
            info=kept.info,
            messages=kept.messages[start:end],
            ledger=[*kept.calls.values()],
            summary=next((summary for summary in reversed(kept.summaries) if summary.upto <= until), None),
            own=next((state for seq, state in reversed(kept.states) if seq <= until), {}),
        )

    def info(self, id: str) -> SessionInfo:
        """Return what is known of the session. Raises SessionNotFound if it wasn't made yet."""
        return self._there(id).info

    def result(self, id: str, result_id: str) -> str | None:
        """Return the text of a result; None if there is none of that id."""
        result = self._there(id).results.get(result_id)
        return None if result is None else result.text

    def results(self, id: str) -> Sequence[StoredResult]:
        """Return all results, ordered by their messages."""
        return sorted(self._there(id).results.values(), key=lambda result: (result.seq, result.id))

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
        if self._kept is None and create is not None:
            self.create(id, **create)
        kept = self._there(id)
        session = None if kept.info.version == seen else self.load(id)
        sent = (n for n, message in enumerate(kept.messages) if message.sender_id == sender_id)
        return OwnWriter(self, session, None if sender_id is None else next(sent, None))

    def wait(self, id: str, seconds: float) -> None:
        """Return at once: no other process has this session."""

    def _there(self, id: str) -> _Kept:
        if self._kept is None:
            raise values.no_session(id)
        return self._kept


class OwnWriter:
    """Its writer; see `Writer`."""

    def __init__(self, own: OwnSession, session: StoredSession | None, sent: int | None) -> None:
        self._own = own
        self.session = session
        self.sent = sent

    @property
    def info(self) -> SessionInfo:
        """The session as of the last append."""
        assert self._own._kept is not None
        return self._own._kept.info

    def append(self, steps: Sequence[Step], *, release: bool = False) -> None:
        """Keep steps, all or none of them; see `Writer.append`."""
        assert self._own._kept is not None
        self._own._kept = _OwnChange(self._own._kept, steps).finish()

    def release(self) -> None:
        """Do nothing: the chat's turn ends, that's all."""


SessionWriter = Writer | OwnWriter


@dataclass(slots=True, kw_only=True)
class _Kept:
    """What is kept of a session. But for the messages, no value is changed in place."""

    info: SessionInfo
    messages: list[Message]
    calls: dict[int, StoredCall]
    results: dict[str, StoredResult]
    summaries: Sequence[StoredSummary] = ()
    states: Sequence[tuple[int, JsonObject]] = ()


class _OwnChange(Change):
    """Steps on their way to what is kept."""

    def __init__(self, kept: _Kept, steps: Sequence[Step]) -> None:
        self._kept = replace(kept)
        self._stay = len(kept.messages)
        """How many of the messages that are kept stay."""
        self._added: list[Message] = []
        self._noted: list[tuple[int, dict[str, Any]]] = []
        """Of messages, by their numbers: fields that are something else now."""
        super().__init__(kept.info, steps)

    def finish(self) -> _Kept:
        """Put what was added to what is kept."""
        kept = self._kept
        kept.messages[self._stay :] = self._added
        for seq, fields in self._noted:
            kept.messages[seq] = replace(kept.messages[seq], **fields)
        kept.info = self.info
        return kept

    def _apply(self, step: KeptStep) -> None:
        kept = self._kept
        match step:
            case AddMessage():
                created = self.updated if step.message.created is None else step.message.created
                content = keep(step.message.content)
                self._added.append(replace(step.message, content=content, created=created))
                kept.calls = {call.index: call for call in step.calls} if step.calls else {}
            case Cut():
                del self._added[max(0, step.seq - self._stay) :]
                self._stay = min(self._stay, step.seq)
                self._noted = [(seq, fields) for seq, fields in self._noted if seq < step.seq]
                kept.results = {key: each for key, each in kept.results.items() if each.seq < step.seq}
                kept.summaries = [each for each in kept.summaries if each.upto <= step.seq]
                kept.states = [(seq, state) for seq, state in kept.states if seq <= step.seq]
                kept.calls = {}
            case SaveResult():
                result = StoredResult(id=step.id, seq=self.count, text=step.text)
                kept.results = {**kept.results, step.id: result}
            case SaveState():
                # A copy, and of what a store would take, too.
                state = values.decode_object(values.encode_object("A state", step.state))
                earlier = [(seq, each) for seq, each in kept.states if seq < self.count]
                kept.states = [*earlier, (self.count, state)]
            case SaveFiles():
                self._noted.append((step.seq, {"files": step.files}))
            case SaveGiven():
                self._noted.append((step.seq, {"given": step.given}))
            case SaveSummary():
                kept.summaries = [*kept.summaries, StoredSummary(upto=step.upto, text=step.text)]
            case _:
                assert_never(step)

    def _set(self, index: int, **fields: Any) -> None:
        call = self._kept.calls.get(index)
        if call is None or call.response is not None:
            raise values.no_open_call(index)
        self._kept.calls = {**self._kept.calls, index: replace(call, **fields)}
