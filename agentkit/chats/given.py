"""What a chat's messages are given: kept with each, and found again when it is resumed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agentkit.core.options import going_on, read_options, write_options
from agentkit.errors import StoreError
from agentkit.stores.base import SaveGiven
from agentkit.wire.content import JsonObject


@dataclass(slots=True, eq=False)
class Given:
    """What the last message that this process sent was given, as it was given."""

    options: Mapping[str, Any]
    written: JsonObject | None
    """What of it is kept with the message; None is nothing."""
    first: int
    """Which message it was."""
    end: int
    """How many there were when its run ended: what was said meanwhile was given the same."""
    note: SaveGiven | None = None
    """What is to be stored, if something else was kept with it before."""

    @classmethod
    def now(cls, options: Mapping[str, Any], at: int) -> Given:
        """Note what a message is given that is about to be stored."""
        return cls(options, write_options(options) or None, at, at + 1)

    def is_of(self, at: int, written: JsonObject | None) -> bool:
        """Return whether it is what a message was given."""
        return self.first <= at < self.end and self.written == written

    def again(self, at: int, said: Mapping[str, Any], merged: Mapping[str, Any]) -> Given:
        """Return the same with what is given now over it.

        Args:
            at: Which message it is.
            said: What is given now.
            merged: That, and what the chat has.

        Raises:
            ConfigurationError: Something of it was not written down, and has to be given again.
        """
        given = said
        if "deps" in self.options.get("again", ()) and merged.get("deps") is not None:
            said = {"deps": merged["deps"], **said}  # the chat has them
        return Given.anew(going_on(self.options, said), at, self.written, noted=bool(given))

    @classmethod
    def anew(cls, options: Mapping[str, Any], at: int, written: JsonObject | None, *, noted: bool) -> Given:
        """Note what a message is given from now on, which is kept with it if anything was said of that.

        Args:
            options: What it is given.
            at: Which message it is.
            written: What is kept with it.
            noted: Whether anything was said.
        """
        now = (write_options(options) or None) if noted else written
        return cls(options, now, at, at + 1, None if now == written else SaveGiven(at, now))


def given_of(written: JsonObject | None, at: int, id: str) -> Given:
    """Read what is kept with a message. Raises StoreError if it is damaged."""
    if written is None:
        return Given({}, None, at, at + 1)
    from agentkit.stores.records import GivenRecord, read

    try:
        options = read_options(read(GivenRecord, written))
    except ValueError as error:
        raise StoreError(f"What message {at} of session {id!r} was given is damaged: {error}") from error
    return Given(options, written, at, at + 1)
