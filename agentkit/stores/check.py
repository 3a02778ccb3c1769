"""What may be wrong with the rows of a store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from agentkit.errors import StoreError
from agentkit.stores import _values as values
from agentkit.stores.schema import plain
from agentkit.wire.content import calls_of

Ask = Callable[[str, tuple[Any, ...]], Sequence[Any]]
"""Runs a statement, returns its rows."""
_PAGE = 500


def problems(ask: Ask) -> list[str]:
    """List what is wrong; an empty list is a sound store."""
    return [*_sessions(ask), *_messages(ask), *_ledger(ask), *_results(ask)]


def _sessions(ask: Ask) -> Iterator[str]:
    found = ask(
        "SELECT s.id, s.messages, s.usage, count(m.seq), min(m.seq), max(m.seq) "
        "FROM {p}sessions s LEFT JOIN {p}messages m ON m.session = s.key GROUP BY s.key",
        (),
    )
    for id, messages, usage, count, first, last in found:
        if count != messages:
            yield f"Session {plain(id)!r} has {count} messages; it says {messages}."
        elif count and (first, last) != (0, count - 1):
            yield f"Session {plain(id)!r} has gaps: {count} messages, numbered {first} to {last}."
        yield from _wrong(f"Session {plain(id)!r}, usage", values.decode_usage, usage)


def _messages(ask: Ask) -> Iterator[str]:
    """Go through the messages by pages: there may be more than fit into memory."""
    last = -1
    while found := ask(
        "SELECT m.id, s.id, m.seq, m.role, m.content, m.usage, m.metadata, m.files, m.cleared, m.given "
        "FROM {p}messages m JOIN {p}sessions s ON s.key = m.session WHERE m.id > ? ORDER BY m.id LIMIT ?",
        (last, _PAGE),
    ):
        last = found[-1][0]
        for _, id, seq, role, content, usage, *objects in found:
            where = f"Session {plain(id)!r}, message {seq}"
            wrong = [*_wrong(where, _read_content, content)]
            if not wrong and values.decode_content(content)["role"] != role:
                wrong = [f"{where}: its role isn't that of its content."]
            yield from wrong
            yield from _wrong(f"{where}, usage", values.decode_usage, usage)
            for each in objects:
                yield from _wrong(where, values.decode_object, each)


def _ledger(ask: Ask) -> Iterator[str]:
    """Compare each call that is entered with the last message of its session."""
    found = ask(
        "SELECT s.id, c.number, c.name, c.args, c.response, c.deferred, m.content FROM {p}calls c JOIN {p}sessions s "
        "ON s.key = c.session LEFT JOIN {p}messages m ON m.session = s.key AND m.seq = s.messages - 1",
        (),
    )
    for id, number, name, *objects, content in found:
        where = f"Session {plain(id)!r}, call {number} of the ledger"
        wrong = [each for raw in (*objects, content) for each in _wrong(where, values.decode_object, raw)]
        calls = calls_of(values.decode_content(content)) if content and not wrong else []
        if not wrong and not (0 <= number < len(calls) and calls[number]["name"] == plain(name)):
            wrong = [f"{where}: the last message has no such call."]
        yield from wrong


def _results(ask: Ask) -> Iterator[str]:
    found = ask(
        "SELECT s.id, r.id, r.seq, s.messages FROM {p}results r JOIN {p}sessions s ON s.key = r.session "
        "WHERE r.seq NOT BETWEEN 0 AND s.messages",  # of the next message, if that isn't there yet
        (),
    )
    for id, result, seq, messages in found:
        yield f"Session {plain(id)!r}, result {plain(result)!r}: it belongs to message {seq} of {messages}."


def _read_content(raw: Any) -> None:
    values.encode_content(values.decode_content(raw))


def _wrong(where: str, read: Callable[[Any], object], raw: Any) -> Iterator[str]:
    try:
        read(raw)
    except (StoreError, ValueError) as error:
        yield f"{where}: {error}."
