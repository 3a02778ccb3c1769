"""A memory that fits a number of tokens."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Final

from agentkit.errors import ConfigurationError
from agentkit.memory._arguments import check_number
from agentkit.memory.base import CountTokens, DoesNotFit, Need, Situation
from agentkit.memory.sizes import Gauge, earliest_start, shared
from agentkit.memory.summary import is_summary
from agentkit.wire.arguments import checked
from agentkit.wire.content import Content
from agentkit.wire.history import turn_starts

_FAR_OVER: Final = 2
"""An estimate of so many times the budget needs no count to say that it doesn't fit."""


@checked
@dataclass(frozen=True, slots=True)
class TokenBudget:
    """Send as many of the last turns as fit, with instructions and tools, into a number of tokens.

    The size is known from the usage of the last reply and the size of what was added since. If those leave a doubt,
    the model is asked to count, which is an extra request but costs nothing. This happens only near the limit: when
    less room is left than the number of bytes added.

    What was sent last is sent again, with everything added since, for as long as it fits. When it no longer does,
    whole turns are left out, oldest first, until about `trim_to` of the budget is used; it then takes many turns
    until the next time. A summary that `Summarize` put in front stays.

    Args:
        tokens: Tokens that may be sent. If the model's window also holds the reply, leave room for it.
        trim_to: The share of the budget that is used after trimming, between 0 and 1.

    Raises:
        ConfigurationError: A number is invalid or out of range.
    """

    tokens: int
    _: KW_ONLY
    trim_to: float = 0.75

    def __post_init__(self) -> None:
        check_number("TokenBudget(tokens)", self.tokens)
        trim_to: object = self.trim_to
        if not isinstance(trim_to, float) or not 0 < trim_to < 1:
            raise ConfigurationError(f"TokenBudget(trim_to={self.trim_to!r}): give a number between 0 and 1.")

    def view(
        self, contents: Sequence[Content], situation: Situation
    ) -> Generator[Need, Any, Sequence[Content]]:
        """Choose the turns; yields `CountTokens` when in doubt.

        Raises:
            DoesNotFit: The current turn is too large, with instructions and tools.
        """
        starts = turn_starts(contents)
        if not starts:
            return contents[:]
        gauge = Gauge(situation)
        head = contents[:1] if is_summary(contents[0]) and len(starts) > 1 else ()
        starts = starts[len(head) :]
        start = _start_of_last(contents, starts, head, situation.last_view)
        scale, target = None, float(self.tokens)
        while True:
            view = [*head, *contents[start:]]
            if gauge.most(view) <= self.tokens:
                return view
            later = [index for index in starts if index > start]
            if not later or gauge.likely(view) <= _FAR_OVER * self.tokens:
                counted = yield CountTokens(view)
                if counted <= self.tokens:
                    return view
                if not later and not head:
                    raise DoesNotFit(
                        f"The current turn has {counted:,} tokens, instructions and tools included, and "
                        f"TokenBudget allows {self.tokens:,}. Send less at once, let tools return less, or allow more."
                    )
                scale = gauge.scale_by(view, counted)
            if not later:
                head = ()  # rather than the current turn
                continue
            target *= self.trim_to  # each time less, whatever the estimates are worth
            room = target / (scale or gauge.scale) - gauge.base.likely
            start = earliest_start(contents, later, room - gauge.size(head).likely)


def _start_of_last(
    contents: Sequence[Content], starts: Sequence[int], head: Sequence[Content], last_view: Sequence[Content]
) -> int:
    """Find where the last view begins in a history; if it doesn't, take all."""
    if head and last_view and last_view[0] == head[0]:
        last_view = last_view[1:]
    first = last_view[0] if last_view else None
    same = [index for index in starts if contents[index] is first] or starts
    return max(same, key=lambda index: shared(contents, last_view, index))
