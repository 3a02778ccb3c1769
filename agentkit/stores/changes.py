"""Changes of a session: steps that are checked, and what becomes of them in a database.

A writer knows what its session looks like: nobody else can change that while its fence holds. So a list of steps is
checked here, and becomes statements that need no answer; they are sent at once, in one transaction. The first takes
the old fence and puts a new one; each other does something only where that is in place. No step is half done, and
nobody has to look before.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, assert_never

from agentkit.stores import _values as values
from agentkit.stores.base import (
    AddMessage,
    AddUsage,
    Cut,
    DeferCall,
    EditCall,
    FinishCall,
    HoldCall,
    SaveFiles,
    SaveGiven,
    SaveResult,
    SaveState,
    SaveSummary,
    SessionInfo,
    StartCalls,
    Step,
    StoredCall,
)
from agentkit.stores.rows import (
    ALL,
    CALL,
    MESSAGE,
    RESULT,
    STATE,
    Statement,
    call_row,
    files_column,
    message_row,
    object_column,
)
from agentkit.stores.schema import exact

_PUT = """
    UPDATE {p}sessions SET fence = ?, version = version + ?, messages = ?, usage = COALESCE(?, usage),
        updated = ?"""
_IF_MINE = " WHERE key = ? AND fence = ?"
_IF_COUNTED = """
    AND ? = (SELECT COALESCE(max(m.seq), -1) + 1 FROM {p}messages m
             WHERE m.session = key AND m.seq >= 0 AND m.seq < ?)"""
"""Whether the messages are there that the session counts, or that a cut leaves: what is added goes behind them."""
_MINE = " FROM {p}sessions s WHERE s.key = ? AND s.fence = ?"
_MY_ROWS = "session = (SELECT key FROM {p}sessions WHERE key = ? AND fence = ?)"
_MESSAGE = MESSAGE + _MINE
_RESULT = f"{RESULT}{_MINE} ON CONFLICT (session, id) DO UPDATE SET seq = excluded.seq, text = excluded.text"
_STATE = f"{STATE}{_MINE} ON CONFLICT (session, seq) DO UPDATE SET state = excluded.state"
_SUMMARY = f"INSERT INTO {{p}}summaries (session, upto, text) SELECT s.key, ?, ?{_MINE}"
_CALL = CALL + _MINE
_GIVEN = f"UPDATE {{p}}messages SET given = ? WHERE seq = ? AND {_MY_ROWS}"
_FILES = f"UPDATE {{p}}messages SET files = ? WHERE seq = ? AND {_MY_ROWS}"
_NO_CALLS = f"DELETE FROM {{p}}calls WHERE {_MY_ROWS}"
_CUTS = tuple(f"DELETE FROM {{p}}{table} WHERE seq >= ? AND {_MY_ROWS}" for table in ("messages", "results"))
_CUTS_AFTER = tuple(
    f"DELETE FROM {{p}}{table} WHERE {column} > ? AND {_MY_ROWS}"
    for table, column in (("summaries", "upto"), ("states", "seq"))
)

KeptStep = AddMessage | Cut | SaveResult | SaveState | SaveFiles | SaveGiven | SaveSummary
"""Steps that are more than a change of the ledger or of a count."""


class Change(ABC):
    """Steps on their way: what they make of a session stays apart from what is kept until all are known to fit.

    Args:
        info: The session before.
        steps: What is to be done.

    Raises:
        StoreError: A step doesn't fit, or can't be stored.
    """

    def __init__(self, info: SessionInfo, steps: Sequence[Step]) -> None:
        self.count, self.usage, self.updated = info.messages, info.usage, info.updated
        for step in steps:
            match step:
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
                case AddMessage():
                    self.updated = time.time()
                    self._apply(step)
                    self.count += 1
                    if step.message.usage is not None:
                        self.usage += step.message.usage
                case Cut():
                    values.check_position(step, step.seq, self.count)
                    self._apply(step)
                    self.count, self.updated = step.seq, time.time()
                case SaveResult():
                    values.check_result(step)
                    self._apply(step)
                case SaveState():
                    self._apply(step)
                case SaveFiles() | SaveGiven():
                    values.check_position(step, step.seq + 1, self.count)
                    self._apply(step)
                case SaveSummary():
                    values.check_position(step, step.upto, self.count)
                    self._apply(step)
                case AddUsage():
                    self.usage += step.usage
                case _:
                    assert_never(step)
        # If it was renamed meanwhile, it is at a later version: then it is read anew by who comes next.
        self.info = replace(
            info,
            messages=self.count,
            usage=self.usage,
            version=info.version + len(steps),
            updated=self.updated,
        )
        """The session after."""

    @abstractmethod
    def _apply(self, step: KeptStep) -> None:
        """Take a step, behind `count` messages."""

    @abstractmethod
    def _set(self, index: int, **fields: Any) -> None:
        """Change an entry of the ledger. Raises StoreError if that isn't an open call's."""


class StoredChange(Change):
    """Steps on their way into a database.

    Args:
        key: The session's.
        info: The session before.
        calls: The entries of its ledger: whether each is open.
        steps: What is to be done.
    """

    def __init__(self, key: int, info: SessionInfo, calls: Mapping[int, bool], steps: Sequence[Step]) -> None:
        self._key, self._before, self._had_calls = key, info, bool(calls)
        self.calls = {**calls}
        self._body: list[Statement] = []
        """Without the guard, which is the session's key and the new fence."""
        self._cleared = False
        self._stay = ALL
        """From which message on the steps remove what was there."""
        self._new: dict[int, StoredCall] = {}
        self._changed: list[Statement] = []
        super().__init__(info, steps)

    def statements(self, old: str, new: str, *, release: bool) -> list[Statement]:
        """Make the statements that store it, given the fence to show and the one to put."""
        key, before, steps = self._key, self._before, self.info.version - self._before.version
        usage = None if self.usage is before.usage else values.encode_usage(self.usage)
        row: tuple[Any, ...] = (new, steps, self.count, usage, self.updated, key, old)
        put = _PUT + (", owner = NULL" if release else "") + _IF_MINE
        stay = min(before.messages, self._stay)
        if self.count > stay:
            put, row = put + _IF_COUNTED, (*row, stay, self._stay)
        made: list[Statement] = [(f"{put} {{tell}}" if release else put, row)]
        made += [(text, (*given, key, new)) for text, given in self._body]
        if self._cleared and self._had_calls:
            made.append((_NO_CALLS, (key, new)))
        made += [(_CALL, (*call_row(call), key, new)) for call in self._new.values()]
        return made + [(text, (*given, key, new)) for text, given in self._changed]

    def _apply(self, step: KeptStep) -> None:
        add = self._body.append
        match step:
            case AddMessage():
                add((_MESSAGE, message_row(self.count, step.message, self.updated)))
                self._replace_calls(step.calls)
            case Cut():
                low = step.seq or -ALL  # all go, those whose numbers are damaged, too
                self._body += [(text, (low,)) for text in _CUTS]
                self._body += [(text, (step.seq,)) for text in _CUTS_AFTER]
                self._stay = min(self._stay, step.seq)
                self._replace_calls(())
            case SaveResult():
                add((_RESULT, (exact(step.id), self.count, exact(step.text))))
            case SaveState():
                add((_STATE, (self.count, values.encode_object("A state", step.state))))
            case SaveFiles():
                add((_FILES, (files_column(step.files), step.seq)))
            case SaveGiven():
                add((_GIVEN, (object_column("What was given", step.given), step.seq)))
            case SaveSummary():
                add((_SUMMARY, (step.upto, exact(step.text))))
            case _:
                assert_never(step)

    def _replace_calls(self, calls: Sequence[StoredCall]) -> None:
        self.calls = {call.index: call.response is None for call in calls}
        self._new, self._changed, self._cleared = {call.index: call for call in calls}, [], True

    def _set(self, index: int, **fields: Any) -> None:
        if not self.calls.get(index, False):
            raise values.no_open_call(index)
        self.calls[index] = "response" not in fields
        if index in self._new:
            self._new[index] = replace(self._new[index], **fields)
            return
        change = ", ".join(f"{name} = ?" for name in fields)
        encoded = [_encoded(name, value) for name, value in fields.items()]
        self._changed.append(
            (f"UPDATE {{p}}calls SET {change} WHERE number = ? AND {_MY_ROWS}", (*encoded, index))
        )


def _encoded(name: str, value: Any) -> Any:
    """Encode the value of a column of the ledger."""
    if isinstance(value, bool):
        return int(value)
    if name in ("why", "declared"):
        return exact(value)
    return values.encode_object(f"The {name} of a call", value)
