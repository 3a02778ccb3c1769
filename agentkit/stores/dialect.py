"""What a database does in its own way: the seam between the store and SQLite or PostgreSQL."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Protocol

from agentkit.errors import StoreError
from agentkit.stores.rows import Statement


class UnknownOutcome(StoreError):
    """The connection was lost when a transaction was to be made durable: it may or may not have been."""


def in_midst(name: str) -> StoreError:
    """Make the error that whoever asks came in the middle of a transaction of their own thread."""
    return StoreError(
        f"{name} can't be used here: what runs now (a signal's handler, or the end of an object that nobody closed) "
        "came in the middle of a transaction of its own thread. Nothing was done."
    )


def closed(name: str) -> StoreError:
    """Make the error that a store is closed."""
    return StoreError(f"The store {name} is closed.")


class Dialect(Protocol):
    """What differs between databases."""

    @property
    def name(self) -> str:
        """What errors call the database: no password."""
        ...

    @property
    def identity(self) -> Hashable:
        """See `SessionStore.identity`."""
        ...

    def run(
        self,
        statements: Sequence[Statement],
        *,
        write: bool = True,
        durable: bool = True,
        again: bool = False,
        patient: bool = True,
    ) -> list[list[Any]]:
        """Run statements in one transaction, in one go; return the rows of each.

        Of one that gives none, there is an empty row for each that it changed.

        Args:
            statements: Text and values of each.
            write: Whether they may change anything.
            durable: Whether a power loss may not take them away, once this returns.
            again: Whether they may be sent twice, where it isn't known what became of the first time.
            patient: Whether a server that is away is waited for.

        Raises:
            UnknownOutcome: It isn't known whether it was done.
            StoreError: Nothing was done.
        """
        ...

    def owner(self) -> str:
        """Name who takes a lease, for others to see whether that is still there."""
        ...

    def holder(self, owner: str) -> str:
        """Say in words who has a lease."""
        ...

    def wait(self, id: str, seconds: float) -> None:
        """See `SessionStore.wait`."""
        ...

    def query(self, words: Sequence[str]) -> str:
        """Make a query for all of these words."""
        ...

    def hits(self, among: str) -> str:
        """Select, as SQL, the ids of the messages that a query finds, among those that `among` selects if not empty."""
        ...

    def check(self) -> Sequence[str]:
        """List what is wrong with the database itself."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...
