"""What a memory is: a function from the history to the part of it that is sent."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from agentkit.limits import Usage
from agentkit.model import Model
from agentkit.wire.content import Content, JsonObject


@dataclass(frozen=True, slots=True)
class CountTokens:
    """Asked of the model: how many tokens a request with these contents has, all else included. Sent back: int."""

    contents: Sequence[Content]


@dataclass(frozen=True, slots=True)
class MakeSummary:
    """Asked of a model: a summary of contents, whole turns. Sent back: its text, which is kept in the store.

    `upto` is the index in the history before which it stands for everything.
    """

    request: JsonObject
    """The request that gets it: contents, system instruction and settings, no tools."""
    upto: int
    model: str | Model | None = None
    """The model to ask; None is the one of the chat."""


Need = CountTokens | MakeSummary


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What a memory may know beside the history."""

    base: JsonObject
    """The rest of the request, which counts too: system instruction, tools, settings."""
    last_view: Sequence[Content] = ()
    """What was sent last, the very same objects as in the history where they are unchanged; or nothing yet."""
    last_usage: Usage | None = None
    """What the reply to that cost: `prompt_tokens` are those of `last_view` and the base together."""
    summary: tuple[int, str] | None = None
    """The newest summary that is kept: the index up to which it goes, and its text."""


class DoesNotFit(Exception):
    """Raised by a memory: the current turn alone is larger than what may be sent. The message says by how much."""


class Memory(Protocol):
    """Chooses what is sent of a history. It never changes the history or a content of it.

    The view is made of whole turns (rule 4), in their order; it always has the current turn (the last one),
    unchanged, with its signatures (rule 3), and passes `wire.history.check` whenever the history does. The
    same history and situation give the same view, and from turn to turn a view extends the one before it
    where that is possible: that is what makes prompt caches hit.
    """

    def view(
        self, contents: Sequence[Content], situation: Situation
    ) -> Generator[Need, Any, Sequence[Content]]:
        """Choose; yields what it needs to know, and is sent that.

        Raises:
            DoesNotFit: The current turn alone is too large.
        """
        ...
