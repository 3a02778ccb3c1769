"""Sessions that belong to users: their ids in the store, and lists of one user's alone."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import quote

from starlette.requests import HTTPConnection

from agentkit import SessionNotFound
from agentkit.serve.log import Row
from agentkit.stores.base import SessionInfo
from agentkit.stores.store import SessionStore

_PAGE = 200
_FOUND = 1_000
"""Sessions in which a search finds something: as many as the page lists."""


@dataclass(frozen=True, slots=True)
class User:
    """Whoever asks.

    In the store, the ids of a user's sessions begin with the name. Without `identify=` there is one user, who has
    no name and all sessions.
    """

    name: str | None = None

    @property
    def prefix(self) -> str:
        """What the ids of the user's sessions begin with."""
        return "" if self.name is None else quote(self.name, safe="") + "/"

    @property
    def list_stream(self) -> str:
        """The stream of the event log that tells that the user's list of sessions has changed."""
        return f"sessions:{self.prefix}"

    def session(self, id: str) -> Session:
        """Name a session of this user. Raises `SessionNotFound` if no session can have that id."""
        if not id.strip() or len(id) > 300:
            raise SessionNotFound("There is no such session.")
        return Session(self, id)

    def new_session(self) -> Session:
        """Name a session that isn't there yet."""
        return Session(self, uuid.uuid4().hex)


Identify = Callable[[HTTPConnection], Awaitable[User]]
"""Finds who asks."""


@dataclass(frozen=True, slots=True)
class Session:
    """A session of a user."""

    user: User
    id: str
    """Its id, as the user knows it."""

    @property
    def stored(self) -> str:
        """Its id in the store."""
        return self.user.prefix + self.id

    @property
    def stream(self) -> str:
        """The stream of the event log that tells what happens in it."""
        return f"session:{self.stored}"


def list_sessions(store: SessionStore, user: User, *, query: str = "", limit: int = 50) -> list[Row]:
    """List a user's sessions, the last used first; with `query`, those where its words were said or in the title."""
    snippets: dict[str, str] = {}
    if query:
        for hit in store.search(query, limit=_FOUND, prefix=user.prefix, distinct=True):
            snippets[hit.session_id] = hit.snippet
    found: list[Row] = []
    after: SessionInfo | None = None
    while len(found) < limit:
        page = store.list(limit=_PAGE if query else limit, after=after, prefix=user.prefix)
        for info in page:
            if not query or info.id in snippets or query.lower() in (info.title or "").lower():
                found.append(_row(info, user, snippets.get(info.id, "")))
        if not page:
            break
        after = page[-1]
    return found[:limit]


def _row(info: SessionInfo, user: User, snippet: str) -> Row:
    return {
        "id": info.id.removeprefix(user.prefix),
        "title": info.title,
        "updated": info.updated,
        "messages": info.messages,
        "snippet": snippet,
    }
