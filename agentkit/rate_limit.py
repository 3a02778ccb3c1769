"""A limit of requests and tokens per minute that any number of agents share."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from agentkit.errors import ConfigurationError

MINUTE = 60.0
LONGEST_REPLY = 600.0
"""Seconds after which a place that was never settled is forgotten."""
FIRST_PAUSE = 1.0
"""Seconds of the first pause after a 429 that named none; each further one in a row is twice as long."""
LONGEST_PAUSE = 60.0
"""Seconds of the longest of these."""


@dataclass(slots=True, eq=False)
class _Place:
    """A request's place in time."""

    at: float
    tokens: int
    """What it counts: what was reserved, then what it really took."""
    reserved: int
    counted: bool = True
    """Whether it is in the window still."""


class RateLimit:
    """Requests and tokens per minute, shared by any number of agents, threads and event loops.

    It sleeps nowhere and asks nobody: who wants to send takes a place with `reserve`, waits as long as that
    says, sends, and tells with `settle` what it took. Places are given in the order of asking, at times that
    never go back, so nobody is overtaken and nobody starves.

    Within any 60 seconds at most `requests_per_minute` places begin, with at most `tokens_per_minute` tokens
    together, whether the limit is fresh or not: all of a minute's requests may go at once, and then none for a
    minute. What a request took beyond what was reserved counts as soon as `settle` tells it. A request larger
    than `tokens_per_minute` is let through alone: when nothing else was counted for a minute, and nothing else
    for a minute after it or until `settle` makes it smaller.

    Args:
        requests_per_minute: Requests in any 60 seconds; None is no limit.
        tokens_per_minute: Tokens in any 60 seconds; None is no limit. Gemini's own limit is of tokens sent
            (https://ai.google.dev/gemini-api/docs/rate-limits). Without either, only the pauses after a 429
            are shared.
        clock: Seconds that never go back.

    Raises:
        ConfigurationError: A limit is no whole number above 0.
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
            if limit is not None and (type(limit) is not int or limit < 1):
                raise ConfigurationError(
                    f"RateLimit({name}={limit!r}): give a whole number above 0, or None."
                )
        self._requests, self._most = requests_per_minute, tokens_per_minute
        self._clock = clock
        self._lock = threading.Lock()
        self._window: deque[_Place] = deque()
        """Places that may still count, by time; those to come are among them."""
        self._tokens = 0
        """The tokens of those."""
        self._unsettled: deque[_Place] = deque()
        self._last = -float("inf")
        """When the last place begins."""
        self._resume = -float("inf")
        """When the last pause ends."""
        self._refusals = 0
        """429s in a row."""

    def __repr__(self) -> str:
        return f"RateLimit(requests_per_minute={self._requests}, tokens_per_minute={self._most})"

    def reserve(self, tokens: int) -> float:
        """Take a place for a request of about so many tokens; return the seconds to wait before it is sent.

        The place is taken, whether it is used or not. A pause that begins while somebody waits isn't in what
        they were told: after the wait, see `pause`.

        Raises:
            ConfigurationError: `tokens` is no whole number from 0 on.
        """
        _check_tokens(tokens)
        with self._lock:
            now = self._clock()
            at = max(now, self._resume, self._last)
            self._forget(at - MINUTE)
            while self._is_full(tokens):
                at = self._window[0].at + MINUTE
                self._forget(self._window[0].at)
            place = _Place(at, tokens, tokens)
            self._window.append(place)
            self._tokens += tokens
            self._last = at
            while self._unsettled and self._unsettled[0].at < now - LONGEST_REPLY:
                self._unsettled.popleft()
            self._unsettled.append(place)
            return at - now

    def _is_full(self, tokens: int) -> bool:
        if self._requests is not None and len(self._window) >= self._requests:
            return True
        return self._most is not None and self._tokens > 0 and self._tokens + tokens > self._most

    def _forget(self, until: float) -> None:
        """Count no more what began until then."""
        while self._window and self._window[0].at <= until:
            place = self._window.popleft()
            place.counted = False
            self._tokens -= place.tokens

    def settle(self, reserved: int, actual: int) -> None:
        """Correct a place when it is known what the request took; 0 if it failed or was never sent.

        Of several places of the same size, the oldest is meant. A request counts as one, failed or not.

        Args:
            reserved: What `reserve` was told.
            actual: Tokens that the reply says it took.

        Raises:
            ConfigurationError: `actual` is no whole number from 0 on.
        """
        _check_tokens(actual)
        with self._lock:
            if actual > 0 and self._clock() >= self._resume:
                self._refusals = 0
            place = next((place for place in self._unsettled if place.reserved == reserved), None)
            if place is None:
                return
            self._unsettled.remove(place)
            if place.counted:
                self._tokens += actual - place.tokens
                place.tokens = actual

    def slow_down(self, seconds: float | None = None) -> None:
        """Make everybody wait, since the server answered 429.

        Without a number the pause is 1 second, then twice as long with each 429 in a row, up to a minute. A
        row ends with a request that succeeds, or a minute after the last pause. 429s that come during a pause
        are answers to what was sent before: they make it no longer, unless they name a later end.

        Args:
            seconds: How long, as the server asks (`Retry-After`), if it does.
        """
        with self._lock:
            now = self._clock()
            if now >= self._resume:
                self._refusals = 1 if now > self._resume + MINUTE else self._refusals + 1
                if seconds is None:
                    seconds = min(FIRST_PAUSE * 2 ** min(self._refusals - 1, 9), LONGEST_PAUSE)
            self._resume = max(self._resume, now + (seconds or 0.0))

    def pause(self) -> float:
        """Return for how many seconds from now nobody may send, since a 429 came; 0.0 if that is over.

        Who has waited for a place asks this once more before sending. If it isn't over, `settle(reserved, 0)`
        gives the place back and `reserve` takes another one.
        """
        with self._lock:
            return max(0.0, self._resume - self._clock())


def _check_tokens(tokens: object) -> None:
    if type(tokens) is not int or tokens < 0:
        raise ConfigurationError(
            f"RateLimit: {tokens!r} is no count of tokens. Give a whole number from 0 on."
        )
