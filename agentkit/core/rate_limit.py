"""A limit of requests and tokens per minute that any number of agents share."""

from __future__ import annotations

import math
import threading
import time
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable
from dataclasses import dataclass, replace

from agentkit.errors import ConfigurationError
from agentkit.wire.arguments import checked

MINUTE = 60.0
FIRST_PAUSE = 1.0
"""Seconds of the first pause after a 429 that named none; each further one in a row is twice as long."""
LONGEST_PAUSE = 60.0
"""Seconds of the longest of these."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Slot:
    """A request's slot in time, from `RateLimit.reserve`; to be settled or given back, once."""

    seconds: float
    """How long to wait, from the reserving on, before the request is sent."""
    at: float
    """When it begins, by the limit's clock."""
    tokens: int
    """What it counts."""
    earliest: float
    """Where the search for it began."""


@checked
class RateLimit:
    """Requests and tokens per minute, shared by any number of agents, threads and event loops.

    It never sleeps and makes no requests. A sender takes a slot with `reserve`, waits as long as the slot says,
    sends, and calls `settle` with the tokens used. Slots are given in the order of asking, at times that never go
    back, so nobody is overtaken and nobody starves. A sender that doesn't send returns the slot with `give_back`:
    the next one to ask may start as early as if it had never been taken, as long as those who are waiting already
    keep theirs.

    In any 60 seconds, at most `requests_per_minute` slots start, with at most `tokens_per_minute` tokens together. A
    minute's requests may all start at once, followed by a minute without any. Tokens beyond those reserved count as
    soon as `settle` reports them. A request larger than `tokens_per_minute` goes through alone: when nothing else
    was counted for a minute, and with nothing else for a minute after it or until `settle` makes it smaller.

    Args:
        requests_per_minute: Requests in any 60 seconds; None means no limit.
        tokens_per_minute: Tokens in any 60 seconds; None means no limit. Gemini's own limit counts tokens sent
            (https://ai.google.dev/gemini-api/docs/rate-limits). Without either limit, only the pauses after a 429
            are shared.
        clock: Returns seconds that never go back.

    Raises:
        ConfigurationError: A limit isn't a whole number above 0.
    """

    def __init__(
        self,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        for name, limit in (
            ("requests_per_minute", requests_per_minute),
            ("tokens_per_minute", tokens_per_minute),
        ):
            if limit is not None and limit < 1:
                raise ConfigurationError(
                    f"RateLimit({name}={limit!r}): give a whole number above 0, or None."
                )
        self._requests, self._tokens = requests_per_minute, tokens_per_minute
        self._clock = clock
        self._lock = threading.Lock()
        self._slots: list[Slot] = []
        """Those that count, by time: of the last minute and to come."""
        self._earliest = -math.inf
        """Where the search for the next slot begins."""
        self._resume = -math.inf
        """When the last pause ends."""
        self._refusals = 0
        """429s in a row."""

    def __repr__(self) -> str:
        return f"RateLimit(requests_per_minute={self._requests}, tokens_per_minute={self._tokens})"

    def reserve(self, tokens: int) -> Slot:
        """Take a slot for a request of about this many tokens. The slot says how long to wait before sending.

        A pause that begins during the wait isn't included: check `pause` afterwards.

        Raises:
            ConfigurationError: `tokens` isn't a whole number, 0 or more.
        """
        check_tokens(tokens)
        with self._lock:
            now = self._clock()
            del self._slots[: self._count_until(now - MINUTE)]
            at = self._first_room(tokens, max(now, self._resume, self._earliest))
            slot = Slot(seconds=at - now, at=at, tokens=tokens, earliest=self._earliest)
            insort(self._slots, slot, key=_begin)
            self._earliest = at
            return slot

    def _count_until(self, time: float) -> int:
        """Count the slots that begin until then."""
        return bisect_right(self._slots, time, key=_begin)

    def _first_room(self, tokens: int, at: float) -> float:
        """Return the first time from `at` on at which so many tokens fit into every minute around it.

        Where slots within a minute leave no room, a further one keeps away from them: it begins no later than
        a minute before the last of them, or no sooner than a minute after the first.
        """
        most = math.inf if self._requests is None else self._requests
        room = math.inf if self._tokens is None else max(0, self._tokens - tokens)  # the too large goes alone
        slots = self._slots
        first = end = self._count_until(at - MINUTE)
        taken = 0
        for start in range(first, len(slots)):
            while end - start < most and taken <= room:
                if end == len(slots):
                    return at
                taken += slots[end].tokens
                end += 1
            head, tail = slots[start], slots[end - 1]
            if at <= tail.at - MINUTE:
                return at
            if tail.at < head.at + MINUTE:
                at = max(at, head.at + MINUTE)
            taken -= head.tokens
        return at

    def settle(self, slot: Slot, actual: int) -> None:
        """Correct a slot once it is known what the request used; 0 if it failed.

        A request that was sent counts as one, even if it failed. A slot that was settled or given back before is
        unchanged.

        Args:
            slot: The slot from `reserve`.
            actual: Tokens used, according to the reply.

        Raises:
            ConfigurationError: `actual` isn't a whole number, 0 or more.
        """
        check_tokens(actual)
        with self._lock:
            if actual > 0 and self._clock() >= self._resume:
                self._refusals = 0
            if (index := self._index(slot)) is not None:
                self._slots[index] = replace(slot, tokens=actual)

    def give_back(self, slot: Slot) -> None:
        """Free a slot whose request wasn't sent and won't be, as if it had never been taken.

        A slot that was settled or given back before is unchanged.
        """
        with self._lock:
            if (index := self._index(slot)) is not None:
                del self._slots[index]
                self._earliest = min(self._earliest, slot.earliest)

    def _index(self, slot: Slot) -> int | None:
        """Find a slot as it was reserved, if it counts still."""
        first = bisect_left(self._slots, slot.at, key=_begin)
        same_time = range(first, self._count_until(slot.at))
        return next((index for index in same_time if self._slots[index] is slot), None)

    def slow_down(self, seconds: float | None = None) -> None:
        """Make all senders wait, because the server answered 429.

        Without a number, the pause is 1 second, doubled with each 429 in a row, up to a minute. A row ends with a
        request that succeeds, or a minute after the last pause. 429s that arrive during a pause answer earlier
        requests: they don't extend it, unless they name a later end.

        Args:
            seconds: How long, if the server says so (`Retry-After`).
        """
        with self._lock:
            now = self._clock()
            if now >= self._resume:
                self._refusals = 1 if now > self._resume + MINUTE else self._refusals + 1
                if seconds is None:
                    seconds = min(FIRST_PAUSE * 2 ** min(self._refusals - 1, 9), LONGEST_PAUSE)
            self._resume = max(self._resume, now + (seconds or 0.0))

    def pause(self) -> float:
        """Return for how many more seconds nobody may send because of a 429; 0.0 if there is no pause.

        Check it after waiting for a slot. If there is a pause, call `give_back` and `reserve` another slot.
        """
        with self._lock:
            return max(0.0, self._resume - self._clock())


def _begin(slot: Slot) -> float:
    return slot.at


def check_tokens(tokens: int) -> None:
    """Raise ConfigurationError unless it is a count of tokens."""
    if tokens < 0:
        raise ConfigurationError(
            f"RateLimit: {tokens!r} isn't a number of tokens: give a whole number, 0 or more."
        )
