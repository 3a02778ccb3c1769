"""What may be wrong with the rows of a store: what its own readers refuse, or pass over for what else was said."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from agentkit.errors import AgentError
from agentkit.stores import _values as values
from agentkit.stores import rows
from agentkit.stores.archive import written
from agentkit.stores.base import DamagedMessage, Message, SessionInfo, StoredSession
from agentkit.stores.records import CallRecord
from agentkit.stores.rows import Statement
from agentkit.stores.schema import exact, maybe, plain
from agentkit.wire.content import calls_of
from agentkit.wire.history import starts_turn

Run = Callable[[Sequence[Statement]], Sequence[Any]]
"""Runs statements in one transaction that reads; returns the rows of each."""
_PAGE = 500
_LEAST, _HIGH = -(2**63), 2**62
_SESSIONS = """
    SELECT s.key, s.id, s.usage, s.version, s.title, s.model, s.parent,
        (SELECT i.text FROM {p}instructions i WHERE i.session = s.key)
    FROM {p}sessions s WHERE s.key > ? ORDER BY s.key LIMIT ?"""
_ROLES = "SELECT role, usage FROM {p}messages WHERE session = ? AND seq >= ? AND seq < ? ORDER BY seq"
_COUNT = "SELECT count(*), min(seq), max(seq) FROM {p}messages WHERE session = ?"
_STATES = "SELECT seq, state FROM {p}states WHERE session = ? ORDER BY seq"
_SUMMARIES = "SELECT upto, text FROM {p}summaries WHERE session = ? ORDER BY id"
_RESULTS = "SELECT id, seq FROM {p}results WHERE session = ? ORDER BY seq, id"
_RESULT = "SELECT text FROM {p}results WHERE session = ? AND id = ?"


def problems(name: str, run: Run) -> Iterator[str]:
    """Go through what is wrong; nothing is a sound store. `name` is the database's."""
    last = _LEAST
    while found := run([(_SESSIONS, (last, _PAGE))])[0]:
        last = found[-1][0]
        for key, id, usage, version, *texts in found:
            who = f"Session {rows.shown(id)!r}"
            yield from _wrong(f"{who}, usage", values.decode_usage, usage)
            for what, text in zip(("title", "model", "parent", "instructions"), texts, strict=True):
                yield from _wrong(f"{who}, {what}", maybe, text)
            if not 0 <= version < _HIGH:
                yield f"{who}: its version is {version}."
            if wrong := [*_wrong(f"{who}, id", _read_id, id)]:
                yield from wrong
            else:
                yield from _session(name, run, key, plain(id))


def _session(name: str, run: Run, key: int, id: str) -> Iterator[str]:
    """Read a session as `load` does, by pages: there may be more messages than fit into memory."""
    who, at, version, wrong = f"Session {id!r}", 0, None, False
    first, said = 0, list[Message]()
    while True:
        found, *read, count, roles = run(
            [
                *rows.load(id, at, at + _PAGE),
                (_COUNT, (key,)),
                (_ROLES, (key, at, at + _PAGE)),
            ]
        )
        info = rows.info_of(found[0]) if found else None
        if info is None or version not in (None, info.version):
            return  # deleted or written meanwhile, by somebody who has read it
        if version is None:
            yield from _counted(who, info, *count[0])
            yield from _besides(who, run, key, info.messages)
        version = info.version
        try:
            session = rows.session_of(name, info, *read, start=at, end=at + _PAGE)
        except DamagedMessage as error:
            yield str(error)
            last = count[0][2]
            wrong, at = True, error.end if last and last >= error.end else max(error.end, info.messages)
            continue
        for (role, usage), message in zip(roles, session.messages, strict=True):
            if role != message.content["role"]:
                yield f"{who}, message {at}: its role isn't that of its content."
            yield from _wrong(f"{who}, message {at}, usage", values.decode_usage, usage)
            at += 1
            if len(said) >= _PAGE and starts_turn(message.content):
                yield from () if wrong else _history(who, info, first, said)
                first, said = first + len(said), []
            said.append(message)
        if at >= info.messages and not session.messages:
            yield from _end(who, session, first, said, wrong=wrong)
            return


def _counted(who: str, info: SessionInfo, count: int, first: int | None, last: int | None) -> Iterator[str]:
    if count != info.messages:
        yield f"{who} has {count} messages; it says {info.messages}."
    elif count and (first, last) != (0, count - 1):
        yield f"{who} has gaps: {count} messages, numbered {first} to {last}."


def _besides(who: str, run: Run, key: int, messages: int) -> Iterator[str]:
    """Look at what belongs to messages: states, summaries, results."""
    states, summaries, results = run([(text, (key,)) for text in (_STATES, _SUMMARIES, _RESULTS)])
    read: list[tuple[str, int, Callable[[Any], object], Any]]
    read = [(f"state {seq}", seq, values.decode_object, state) for seq, state in states]
    read += [(f"summary up to {upto}", upto, plain, text) for upto, text in summaries]
    for id, seq in results:
        kept = run([(_RESULT, (key, id))])[0] if isinstance(id, str) else [(id,)]
        read += [(f"result {rows.shown(id)!r}", seq, plain, text) for (text,) in kept]
        yield from _wrong(f"{who}, result", lambda raw: values.check_short("its id", plain(raw)), id)
    for what, seq, reader, raw in read:
        yield from _wrong(f"{who}, {what}", reader, raw)
        if not 0 <= seq <= messages:  # of the next message, if that isn't there yet
            yield f"{who}, {what}: it belongs to message {seq} of {messages}."


def _end(
    who: str, session: StoredSession, first: int, said: Sequence[Message], *, wrong: bool
) -> Iterator[str]:
    """Look at the end of a session, which its ledger and its state are of."""
    found = [*_wrong("", lambda _: session.calls, None), *_wrong("", lambda _: session.state, None)]
    yield from found
    if found or wrong:
        return
    calls = session.calls
    for call in calls:
        yield from _wrong(f"{who}, call {call.index} of the ledger", CallRecord.of, call)
    yield from _history(who, session.info, first, said, calls)
    if calls and not (said and calls_of(said[-1].content)):
        yield f"{who}: its ledger has calls, and its last message has none."


def _history(
    who: str, info: SessionInfo, first: int, said: Sequence[Message], calls: Any = ()
) -> Iterator[str]:
    """Read messages as an archive of them is read: whole turns, and the calls that the last one leaves open."""
    where = f"{who}, from message {first} on," if first else who
    yield from _wrong("", lambda _: written(where, info, said, calls=calls), None)


def _read_id(raw: str | bytes) -> None:
    values.check_id(plain(raw))
    if exact(plain(raw)) != raw:
        raise ValueError("nobody would write it so")


def _wrong(where: str, read: Callable[[Any], object], raw: Any) -> Iterator[str]:
    try:
        read(raw)
    except (AgentError, ValueError) as error:
        yield f"{where}: {error}." if where else str(error)
