r"""The tables, once for both databases: `{...}` is what their dialects say differently.

A time is in seconds since 1970, a truth 0 or 1, a text as `exact` writes it. What a row is about a message is its
number, `seq`, from 0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from agentkit.errors import StoreVersionError

VERSION = 4
"""Of the schema: the number of the last migration."""

TABLES = (
    "CREATE TABLE {p}meta (store TEXT NOT NULL){strict}",
    # `owner` names who holds the lease; `fence` is what the holder must show to write, new each time; `waited`
    # says that another process waits, and wants to be told.
    """
    CREATE TABLE {p}sessions (
        key {serial}, id {id} NOT NULL UNIQUE, created {float} NOT NULL, updated {float} NOT NULL,
        version {int} NOT NULL, messages {int} NOT NULL, usage TEXT NOT NULL, title TEXT, model TEXT,
        expires {float}, parent TEXT, fence TEXT NOT NULL, owner TEXT, waited {int} NOT NULL DEFAULT 0){strict}
    """,
    "CREATE INDEX {p}sessions_by_time ON {p}sessions (updated, id)",
    "CREATE INDEX {p}sessions_by_end ON {p}sessions (expires) WHERE expires IS NOT NULL",
    # Apart from the session's row, which is written at each step: they may be long.
    """
    CREATE TABLE {p}instructions (
        session {int} PRIMARY KEY REFERENCES {p}sessions ON DELETE CASCADE, text TEXT NOT NULL){strict}
    """,
    # `content` is wire JSON: as text, which comes back as it was. `words` is what a search finds.
    """
    CREATE TABLE {p}messages (
        id {serial}, session {int} NOT NULL REFERENCES {p}sessions ON DELETE CASCADE, seq {int} NOT NULL,
        created {float}, role TEXT NOT NULL, content TEXT NOT NULL, usage TEXT, finish_reason TEXT, model TEXT,
        endpoint TEXT, metadata TEXT, sender_id {id}, files TEXT, cleared TEXT, words {words} NOT NULL,
        given TEXT, UNIQUE (session, seq)){strict}
    """,
    "CREATE UNIQUE INDEX {p}messages_by_sender ON {p}messages (session, sender_id) WHERE sender_id IS NOT NULL",
    # The ledger: the calls of a session's last message.
    """
    CREATE TABLE {p}calls (
        session {int} NOT NULL REFERENCES {p}sessions ON DELETE CASCADE, number {int} NOT NULL, call_id TEXT NOT NULL,
        name TEXT NOT NULL, effect TEXT, args TEXT, started {int} NOT NULL, response TEXT, deferred TEXT,
        why TEXT, declared TEXT,
        PRIMARY KEY (session, number)){strict}
    """,
    """
    CREATE TABLE {p}summaries (
        id {serial}, session {int} NOT NULL REFERENCES {p}sessions ON DELETE CASCADE, upto {int} NOT NULL,
        text TEXT NOT NULL){strict}
    """,
    "CREATE INDEX {p}summaries_by_session ON {p}summaries (session)",
    # Texts of some MB may be in there: whatever doesn't ask for them reads the indexes only.
    """
    CREATE TABLE {p}results (
        session {int} NOT NULL REFERENCES {p}sessions ON DELETE CASCADE, id {id} NOT NULL, seq {int} NOT NULL,
        text TEXT NOT NULL, PRIMARY KEY (session, id)){strict}
    """,
    "CREATE INDEX {p}results_by_message ON {p}results (session, seq, id)",
    # The user's own JSON as it was when there were `seq` messages.
    """
    CREATE TABLE {p}states (
        session {int} NOT NULL REFERENCES {p}sessions ON DELETE CASCADE, seq {int} NOT NULL, state TEXT NOT NULL,
        PRIMARY KEY (session, seq)){strict}
    """,
)


def fill(text: str, parts: Mapping[str, str]) -> str:
    """Put parts in the places of their names in braces."""
    for name, part in parts.items():
        text = text.replace(f"{{{name}}}", part)
    return text


def check_version(name: str, version: int) -> int:
    """Return the version that a database has noted. Raises StoreVersionError if it is a newer one."""
    if version > VERSION:
        raise StoreVersionError(
            f"{name} was written by a newer agentkit (schema {version}; this one knows {VERSION}); it was left as it "
            "is. Upgrade agentkit."
        )
    return version


_ESCAPED = re.compile(r"\\(?:(\\)|x(00)|u([0-9a-f]{4}))")


def exact(text: str | None) -> str | None:
    r"""Write any str so that a TEXT of either database holds it: NUL and lone surrogates escaped, `\` doubled."""
    if text is None:
        return None
    escaped = text.replace("\\", "\\\\").replace("\0", "\\x00")
    try:
        escaped.encode()
    except UnicodeEncodeError:
        return escaped.encode("utf-8", "backslashreplace").decode()
    return escaped


def plain(text: str | bytes) -> str:
    """Undo `exact`. Raises UnicodeDecodeError for bytes, which stand for a text that couldn't be read."""
    if isinstance(text, bytes):
        return text.decode()
    if "\\" not in text:
        return text
    return _ESCAPED.sub(lambda found: found[1] or chr(int(found[2] or found[3], 16)), text)


def maybe(text: str | bytes | None) -> str | None:
    """Undo `exact`, where there may be no text."""
    return None if text is None else plain(text)
