"""How far a run may go, and what it used."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from agentkit.errors import ConfigurationError

if TYPE_CHECKING:
    from agentkit.wire.content import UsageMetadata


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How far a run may go. Reaching a limit ends the run with `run.stop` naming it; None is no limit."""

    turns: int | None = 25
    """Replies of the model."""
    tool_calls: int | None = None
    """Function calls. The calls of a turn that go beyond are answered, not run."""
    tokens: int | None = None
    """Total tokens of all turns, as the model reports them; seen after each turn."""
    seconds: float | None = None
    """Wall time. What is under way then is cancelled."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
                raise ConfigurationError(f"Limits({field.name}={value!r}): give a number above 0, or None.")


def _count(value: Any) -> int:
    """Read a count of the server's: a whole number, else 0."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens and requests; adds up with `+`. Counts are the server's own (`usageMetadata`)."""

    requests: int = 0
    """Requests that the model answered."""
    prompt_tokens: int = 0
    """Tokens sent, the cached ones included."""
    cached_tokens: int = 0
    """Those of the tokens sent that came from a cache."""
    candidates_tokens: int = 0
    """Tokens of the replies, thoughts not included."""
    thoughts_tokens: int = 0
    """Tokens of the model's thoughts."""
    tool_use_prompt_tokens: int = 0
    """Tokens of the server's own tools."""
    total_tokens: int = 0
    """All tokens, as the server adds them up."""
    estimated: bool = False
    """Whether any of the counts is an estimate (the embedded model makes one where its engine is silent)."""

    @classmethod
    def from_wire(cls, metadata: UsageMetadata | None) -> Usage:
        """Read one reply's `usageMetadata`; None, and missing or null counts, are 0."""
        wire = metadata or {}
        return cls(
            requests=1,
            prompt_tokens=_count(wire.get("promptTokenCount")),
            cached_tokens=_count(wire.get("cachedContentTokenCount")),
            candidates_tokens=_count(wire.get("candidatesTokenCount")),
            thoughts_tokens=_count(wire.get("thoughtsTokenCount")),
            tool_use_prompt_tokens=_count(wire.get("toolUsePromptTokenCount")),
            total_tokens=_count(wire.get("totalTokenCount")),
            estimated=bool(wire.get("agentkitEstimated")),
        )

    def __add__(self, other: Usage) -> Usage:
        if not isinstance(other, Usage):
            return NotImplemented
        sums = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)}
        sums["estimated"] = self.estimated or other.estimated
        return Usage(**sums)
