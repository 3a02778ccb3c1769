"""A request's place under the rate limit that agents share. A part of the loop, sans-IO."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Final

from agentkit.core.effects import EXPIRED, Effect, Plan, State, Wait
from agentkit.core.rate_limit import Place
from agentkit.events import Event, RequestDelayed
from agentkit.memory.sizes import estimate
from agentkit.wire.content import Request

_UNLIMITED: Final = Place(seconds=0.0, at=0.0, tokens=0, earliest=0.0)


def take_place(plan: Plan, state: State, request: Request) -> Generator[Event | Effect, Any, Place | None]:
    """Wait for a request's place and return it, to be settled; None if the time of the run is up.

    A place whose request isn't sent, since the run was cancelled or its time was up, is given back.
    """
    limit = plan.rate_limit
    if limit is None:
        return _UNLIMITED
    last = state.sent.usage
    if last and last.prompt_tokens:  # the next prompt has the reply too
        tokens = last.prompt_tokens + last.candidates_tokens
    else:
        tokens = estimate(request["contents"], {})
    while True:
        place = limit.reserve(tokens)
        if place.seconds <= 0:
            return place
        kept = False
        try:
            yield RequestDelayed(place.seconds)
            if (yield Wait(place.seconds)) is EXPIRED:
                state.stop = "seconds"
                return None
            kept = limit.pause() <= 0  # else the server refused somebody meanwhile: everybody waits anew
        finally:
            if not kept:
                limit.give_back(place)
        if kept:
            return place
