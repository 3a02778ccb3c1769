"""A change of a session: steps that become statements, guarded by the fence.

A writer knows what its session looks like (`Mirror`): nobody else can change that while its fence holds. So a list
of steps is checked here, and becomes statements that need no answer; they are sent at once, in one transaction. The
first takes the old fence and puts a new one; each other does something only where that is in place. No step is half
done, and nobody has to look before.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
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
)
from agentkit.stores.schema import exact

_PUT = """
    UPDATE {p}sessions SET fence = ?, version = version + ?, messages = ?, usage = COALESCE(?, usage),
        updated = COALESCE(?, updated)"""
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
_NO_CALLS = f"DELETE FROM {{p}}calls WHERE {_MY_ROWS}"
_FILES = f"UPDATE {{p}}messages SET files = ? WHERE seq = ? AND {_MY_ROWS}"
_CUTS = tuple(f"DELETE FROM {{p}}{table} WHERE seq >= ? AND {_MY_ROWS}" for table in ("messages", "results"))
_CUTS_AFTER = tuple(
    f"DELETE FROM {{p}}{table} WHERE {column} > ? AND {_MY_ROWS}"
    for table, column in (("summaries", "upto"), ("states", "seq"))
)


class Mirror:
    """A session as its writer knows it."""

    def __init__(self, key: int, info: SessionInfo, calls: dict[int, bool]) -> None:
        self.key = key
        self.count, self.usage = info.messages, info.usage
        self.calls = calls
        """The entries of the ledger: whether each is open."""
        self._info = info
        self._version, self._updated = info.version, info.updated

    @property
    def id(self) -> str:
        """The session's."""
        return self._info.id

    @property
    def info(self) -> SessionInfo:
        """What is known of the session by now."""
        if self._info.version != self._version:
            self._info = replace(
                self._info,
                messages=self.count,
                usage=self.usage,
                version=self._version,
                updated=self._updated,
            )
        return self._info

    def take_over(self, change: Change) -> None:
        """Note that a change was stored."""
        self.count, self.usage, self.calls = change.count, change.usage, change.calls
        # If the session was renamed meanwhile, it is at a later version: then it is read anew by who comes next.
        self._version += change.steps
        self._updated = change.updated or self._updated


class Change:
    """Steps on their way into the database."""

    def __init__(self, mirror: Mirror, steps: Sequence[Step]) -> None:
        self._was = mirror
        self.steps = len(steps)
        self.count, self.usage = mirror.count, mirror.usage
        self.calls = mirror.calls.copy()
        self.updated: float | None = None
        self._body: list[Statement] = []
        """Without the guard, which is the session's key and the new fence."""
        self._cleared = False
        self._cut = ALL
        """From which message on the steps remove what was there."""
        self._new: dict[int, StoredCall] = {}
        self._changed: list[Statement] = []
        for step in steps:
            self._apply(step)

    def statements(self, old: str, new: str, *, release: bool) -> list[Statement]:
        """Make the statements that store it, given the fence to show and the one to put."""
        key = self._was.key
        usage = None if self.usage is self._was.usage else values.encode_usage(self.usage)
        row: tuple[Any, ...] = (new, self.steps, self.count, usage, self.updated, key, old)
        put = _PUT + (", owner = NULL" if release else "") + _IF_MINE
        stay = min(self._was.count, self._cut)
        if self.count > stay:
            put, row = put + _IF_COUNTED, (*row, stay, self._cut)
        made: list[Statement] = [(f"{put} {{tell}}" if release else put, row)]
        made += [(text, (*given, key, new)) for text, given in self._body]
        if self._cleared and self._was.calls:
            made.append((_NO_CALLS, (key, new)))
        made += [(_CALL, (*call_row(call), key, new)) for call in self._new.values()]
        return made + [(text, (*given, key, new)) for text, given in self._changed]

    def _apply(self, step: Step) -> None:
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
                self.calls[step.index] = False
            case DeferCall():
                self._set(step.index, started=False, deferred=step.state)
            case SaveResult():
                values.check_result(step)
                self._body.append((_RESULT, (exact(step.id), self.count, exact(step.text))))
            case SaveState():
                self._body.append((_STATE, (self.count, values.encode_object("A state", step.state))))
            case SaveFiles():
                values.check_position(step, step.seq + 1, self.count)
                self._body.append((_FILES, (files_column(step.files), step.seq)))
            case SaveGiven():
                values.check_position(step, step.seq + 1, self.count)
                given = step.given and values.encode_object("What was given", step.given)
                self._body.append((_GIVEN, (given, step.seq)))
            case Cut():
                values.check_position(step, step.seq, self.count)
                low = step.seq or -ALL  # all go, those whose numbers are damaged, too
                self._body += [(text, (low,)) for text in _CUTS]
                self._body += [(text, (step.seq,)) for text in _CUTS_AFTER]
                self._cut = min(self._cut, step.seq)
                self._clear_calls()
                self.count, self.updated = step.seq, time.time()
            case AddUsage():
                self.usage += step.usage
            case SaveSummary():
                values.check_position(step, step.upto, self.count)
                self._body.append((_SUMMARY, (step.upto, exact(step.text))))
            case _:
                assert_never(step)

    def _add(self, step: AddMessage) -> None:
        message, self.updated = step.message, time.time()
        self._body.append((_MESSAGE, message_row(self.count, message, self.updated)))
        self.count += 1
        if message.usage is not None:
            self.usage += message.usage
        self._clear_calls()
        for call in step.calls:
            self._new[call.index], self.calls[call.index] = call, call.response is None

    def _clear_calls(self) -> None:
        self.calls, self._new, self._changed, self._cleared = {}, {}, [], True

    def _set(self, index: int, **columns: Any) -> None:
        if not self.calls.get(index, False):
            raise values.no_open_call(index)
        if index in self._new:
            self._new[index] = replace(self._new[index], **columns)
            return
        change = ", ".join(f"{name} = ?" for name in columns)
        encoded = [_encoded(name, value) for name, value in columns.items()]
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
