"""The end of a run: why it stopped, set here alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from agentkit.limits import LANDING, Stop
from agentkit.wire.content import JsonObject

_WHY: Final[dict[Stop, str]] = {
    "seconds": "The time of the run was up.",
    "repeats": "The model made the very same calls again and again, and got the very same responses.",
    "max_tokens": "The reply was cut off at the limit of its tokens.",
    "refused": "The prompt or the reply was blocked.",
    "malformed": "The model made no usable reply, also when it was asked again.",
    "empty": "The model's reply was empty, also when it was asked again.",
    "output": "The model gave no output of the type that was asked for.",
    "other": "The reply ended for a reason that agentkit doesn't know.",
    "cancelled": "The run was cancelled.",
    "unknown_effect": "Calls were under way when their process ended; nobody knows whether they took effect.",
    "too_large": "The current turn alone is larger than what the memory may send.",
}


@dataclass(slots=True, eq=False)
class RunEnd:
    """Whether and how a run has ended, and how its last reply did; its methods alone set `stop`, `why` and `limit`."""

    stop: Stop | None = None
    """Why the run ended without an answer."""
    why: str = ""
    """That in words."""
    limit: Stop | None = None
    """The limit that was reached, also if the run came to an answer all the same."""
    finish_reason: str | None = None
    metadata: JsonObject | None = None
    """What the last reply said beside its content, if it isn't in the history: it was blocked, say."""
    partial: str = ""
    """Text of a reply that was broken off; it is not in the history."""
    errors: list[Exception] = field(default_factory=list)
    """What tools raised, timeouts and used up retries, in order."""
    answered: bool = False
    over: bool = False
    """Whether the loop has ended."""

    def end(self, stop: Stop, why: str = "", *, said: str = "") -> None:
        """End the run without an answer.

        Args:
            stop: How.
            why: The reason in words, unless the usual ones for this stop will do.
            said: What the server said about it.
        """
        self.stop, self.why = stop, f"{why or _WHY.get(stop, '')} {said}".strip()
        if stop in LANDING:
            self.limit = stop

    def answer(self) -> None:
        """Note that the model has answered; a limit that was reached meanwhile stands in `limit`."""
        self.answered, self.stop = True, None
        if self.limit is None:
            self.why = ""

    def note_limit(self, stop: Stop, why: str) -> None:
        """Note a limit that was reached, though the run has its answer."""
        self.limit, self.why = stop, why

    def note(self, also: str) -> None:
        """Add to why the run ended, in words, what else there is to say of it."""
        self.why = f"{self.why} {also}".strip()

    def reopen(self) -> None:
        """Let the run go on: after an answer, since there is more to say, or after a limit, for its last turn."""
        self.answered, self.stop, self.why, self.partial = False, None, "", ""
        self.metadata = None
