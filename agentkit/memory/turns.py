"""A memory of the last turns."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

from agentkit.errors import ConfigurationError
from agentkit.memory._arguments import check_number
from agentkit.memory.base import Need, Situation
from agentkit.wire.arguments import checked
from agentkit.wire.content import Content
from agentkit.wire.history import turn_starts


@checked
@dataclass(frozen=True, slots=True)
class LastTurns:
    """Send the last turns: at most `n`, including the current one.

    Older turns are left out `step` at a time, so that most requests extend the one before. If the history has more
    than `n` turns, between `n - step + 1` and `n` are sent, and the first of them stays the same for `step` turns.
    With `step=1`, exactly the last `n` are sent, and each turn begins with another content.

    Args:
        n: The most turns to send.
        step: Turns left out at a time, at most `n`; by default a quarter of `n`, rounded up.

    Raises:
        ConfigurationError: A number is invalid or out of range.
    """

    n: int
    _: KW_ONLY
    step: int | None = None

    def __post_init__(self) -> None:
        check_number("LastTurns(n)", self.n)
        if self.step is not None:
            check_number("LastTurns(step)", self.step)
            if self.step > self.n:
                raise ConfigurationError(
                    f"LastTurns({self.n}, step={self.step}): no more than n turns can be left out at a time."
                )

    def view(
        self,
        contents: Sequence[Content],
        situation: Situation,
    ) -> Generator[Need, Any, Sequence[Content]]:
        """Choose the last turns. The model isn't asked."""
        yield from ()
        starts = turn_starts(contents)
        step = self.step or -(-self.n // 4)
        steps = max(0, -(-(len(starts) - self.n) // step))
        return contents[starts[steps * step] :] if steps else contents[:]
