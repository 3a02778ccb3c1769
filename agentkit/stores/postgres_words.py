"""What a `PostgresStore` is told and tells: its URL, and what goes wrong, in words."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from agentkit.errors import ConfigurationError

_STATES = {
    "57014": "took too long: the statement was cancelled. Nothing was stored",
    "55P03": "is locked: somebody else has held a row for too long. Nothing was stored; try again",
    "25006": "is read-only: this may be a standby server",
    "53100": "can't grow, the server's disk is full. Nothing was stored, and what was before stays",
    "3F": "has no schema for the tables: is the first one of the search_path there, and may this user use it?",
    "42501": "doesn't let this user do it: it must own the tables agentkit_*, or be allowed to make them",
}
"""What PostgreSQL's error codes mean here (https://www.postgresql.org/docs/current/errcodes-appendix.html)."""
_PASSING = (
    *("starting up", "shutting down", "recovery", "too many", "remaining connection slots"),
    *("cannot connect to server", "server login has been failing"),
)
"""Words of a server, or of PgBouncer in front of it, that refuses connections for a while only."""


def passes(error: psycopg.OperationalError) -> bool:
    """Return whether what keeps a connection from being made may be over after a while."""
    return "FATAL" not in str(error) or any(words in str(error) for words in _PASSING)


def explain(error: psycopg.Error) -> str:
    """Say what an error means."""
    said, state = words_of(error), error.sqlstate or ""
    for prefix, what in _STATES.items():
        if state.startswith(prefix):
            return f"{what} ({said})"
    if state.startswith("23505") and "sender" in str(error.diag.constraint_name):
        return f"has a message of this sender's id in this session already: nothing was stored ({said})"
    if state.startswith(("57", "08")):
        return f"was lost: the server ended the connection. Nothing was stored; try again ({said})"
    if state:
        return f"can't be used: {said}"
    if "FATAL" in said:
        return f"refused the connection: {said}"
    return f"can't be reached. Is the server running, and is the address right? ({said})"


def words_of(error: psycopg.Error) -> str:
    """Give the driver's own words, on one line; PostgreSQL's details are left out, for they quote rows."""
    said = error.diag.message_primary or str(error)
    return " ".join(said.split()).rstrip(".") or type(error).__name__


def read_url(url: object) -> dict[str, Any]:
    """Read a URL; the errors don't show it, for it may hold a password."""
    wrong = ConfigurationError(
        "PostgresStore: this isn't the URL of a PostgreSQL database: give postgresql://user:password@host/database; "
        "in the password, write each of @ : / % as %40 %3A %2F %25."
    )
    scheme, found, rest = url.partition("://") if isinstance(url, str) else ("", "", "")
    if not found or scheme not in ("postgresql", "postgres", "postgresql+psycopg") or rest.count("@") > 1:
        raise wrong
    read: dict[str, Any] | None = None
    with suppress(psycopg.Error, ValueError):  # they quote it, and aren't in the context of our error, so
        read = dict(conninfo_to_dict(f"postgresql://{rest}"))
    if read is None or not all(port.isdigit() for port in str(read.get("port", "0")).split(",")):
        raise wrong
    return read
