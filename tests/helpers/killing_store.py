"""A store that ends its process at a chosen commit: what it writes is counted."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

from agentkit import SessionNotFound

T = TypeVar("T")
When = Literal["before", "after"]

STORE_COMMITS = ("create", "write", "rename", "expire", "delete", "delete_expired")
"""What a store writes by itself; `write` writes down whose the session is."""
WRITER_COMMITS = ("append", "release")


class Commits:
    """Counts commits, from 1, and ends the process before or after one of them.

    What is stored at that moment is written to a file first: the next process must find exactly that.
    """

    def __init__(self, record: Path, *, at: int = 0, when: When = "before") -> None:
        self._record = record
        self._at = at
        self._when = when
        self._lock = threading.Lock()
        self.seen: list[str] = []
        """What was committed so far, and with what."""

    def around(self, look: Callable[[], Any], name: str, commit: Callable[[], T], given: Any) -> T:
        """Commit, unless the process ends first."""
        with self._lock:
            steps = [type(step).__name__ for step in given] if isinstance(given, (list, tuple)) else []
            self.seen.append(" ".join([name, *steps]))
            chosen = len(self.seen) == self._at
            if chosen and self._when == "before":
                self._end(look)
            try:
                return commit()
            finally:  # also where it failed
                if chosen:
                    self._end(look)

    def _end(self, look: Callable[[], Any]) -> None:
        what = {"commit": self.seen[-1], "stored": look()}
        self._record.write_text(json.dumps(what))
        os.kill(os.getpid(), signal.SIGKILL)


def killing(store: Any, commits: Commits, *ids: str) -> Any:
    """Watch what a store and its writers commit; `ids` are the sessions that are looked at before the process ends."""

    def watch(of: Any, names: tuple[str, ...]) -> Any:
        for name in names:
            setattr(of, name, watched(getattr(of, name), name))
        return of

    def watched(commit: Callable[..., Any], name: str) -> Callable[..., Any]:
        def around(*args: Any, **options: Any) -> Any:
            given = args[0] if args else None
            done = commits.around(lambda: stored(store, *ids), name, lambda: commit(*args, **options), given)
            return watch(done, WRITER_COMMITS) if name == "write" else done

        return around

    return watch(store, STORE_COMMITS)


def stored(store: Any, *ids: str) -> dict[str, Any]:
    """Read all that there is of sessions, as JSON; None for one that isn't there."""
    found: dict[str, Any] = {}
    for each in ids:
        try:
            session = store.load(each)
        except SessionNotFound:
            found[each] = None
            continue
        found[each] = {
            "contents": [message.content for message in session.messages],
            "calls": [
                [call.index, call.call_id, call.name, call.started, call.response, call.deferred]
                for call in session.calls
            ],
            "summary": session.summary and [session.summary.upto, session.summary.text],
            "results": [[result.id, result.seq, result.text] for result in store.results(each)],
            "tokens": session.info.usage.total_tokens,
        }
    return json.loads(json.dumps(found))  # type: ignore[no-any-return]
