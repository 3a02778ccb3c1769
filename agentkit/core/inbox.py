"""What the user says while a run goes on."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from agentkit.wire.content import Content


class Inbox:
    """Messages on their way to the model; anybody may put some in, from any thread, until it is closed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.contents: list[Content] = []
        """What waits; changed by the methods alone."""
        self._closed = False

    def put(self, contents: Sequence[Content]) -> bool:
        """Add messages; False if the run takes no more."""
        with self._lock:
            if not self._closed:
                self.contents += contents
            return not self._closed

    def take(self) -> Iterator[Content]:
        """Take out what is there by now, one by one: what isn't asked for stays."""
        for _ in self.left:
            with self._lock:
                content = self.contents.pop(0)
            yield content

    def put_back(self, content: Content) -> None:
        """Let a message be the next again that is taken, or left."""
        with self._lock:
            self.contents.insert(0, content)

    def close(self, *, if_empty: bool = False) -> bool:
        """Take no more; with `if_empty` only where nothing waits. Return whether it is closed."""
        with self._lock:
            self._closed = self._closed or not (if_empty and self.contents)
            return self._closed

    @property
    def left(self) -> list[Content]:
        """What was not taken."""
        with self._lock:
            return list(self.contents)
