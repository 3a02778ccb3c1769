"""A request's place under the rate limit that agents share. A part of the loop, sans-IO."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from agentkit.effects import EXPIRED, Effect, Plan, State, Wait
from agentkit.events import Event, RequestDelayed
from agentkit.memory.sizes import estimate
from agentkit.wire.content import Request


def take_place(plan: Plan, state: State, request: Request) -> Generator[Event | Effect, Any, int | None]:
    """Wait for a request's place; return the tokens it takes, to be settled; None if the time of the run is up.

    A place whose request isn't sent, since the run was cancelled or its time was up, counts no tokens.
    """
    limit = plan.rate_limit
    if limit is None:
        return 0
    last = state.sent.usage
    tokens = last.total_tokens if last and last.total_tokens else estimate(request["contents"], {})
    while True:
        seconds = limit.reserve(tokens)
        if seconds <= 0:
            return tokens
        yield RequestDelayed(seconds)
        waited = False
        try:
            waited = (yield Wait(seconds)) is not EXPIRED
        finally:
            if not waited:
                limit.settle(tokens, 0)
        if not waited:
            state.stop = "seconds"
            return None
        if limit.pause() <= 0:
            return tokens
        limit.settle(tokens, 0)  # the server refused somebody meanwhile: everybody waits anew
