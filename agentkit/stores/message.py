"""A message: a content of the history, and what is known about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agentkit.limits import Usage
from agentkit.wire.content import Content, JsonObject, authored, copy_content

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A content, and what is known about it: the same value in a run, in a chat's store and in an archive."""

    content: Content
    """Gemini's own JSON, as it was sent or received."""
    created: float | None = None
    """When it was said, in seconds since 1970 (UTC); None where nobody noted it."""
    model: str | None = None
    """The name of the model that made it, where that is known: its thought signatures are for that model alone."""
    endpoint: str | None = None
    """Where that model was asked (`gemini` or `vertex`): signatures are for one endpoint alone, too (rule 13)."""
    usage: Usage | None = None
    """What the reply cost, if it is the model's."""
    finish_reason: str | None = None
    """The server's word for how the reply ended, if it is the model's."""
    metadata: JsonObject | None = None
    """What the candidate said beside its content: sources, citations, safety ratings; in the wire's names. Of responses
    to calls, which of them have no word of a tool (`agentkitOwn`)."""
    sender_id: str | None = None
    """The sender's own id of the message: a session takes each once."""
    files: Sequence[JsonObject] = ()
    """Uploaded files that parts of it refer to: index of the part, path, sha256, URI and expiry of each."""
    cleared: Mapping[str, str] = field(default_factory=dict)
    """Results that are no longer sent: what stands in for each, by its call's id."""
    given: JsonObject | None = None
    """What the run that it begins was given, if it is the user's, as far as that can be written down."""


def copies_of(messages: Iterable[Message]) -> list[Content]:
    """Copy the contents of messages, to be handed out: they may be changed, and still know who made them."""
    return [authored(copy_content(m.content), m.model, m.endpoint, m.metadata) for m in messages]
