"""Runs that are watched, sync and async, for tests that act on what a run tells."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from agentkit import Agent, Run
from agentkit.events import Event
from agentkit.run import AsyncRunStream, RunStream
from agentkit.wire.content import Content, responses_of, text_of

Watch = Callable[[Any, Event], None]
"""Told of each event, and given the stream that it comes from."""


def stream_sync(agent: Agent, *args: Any, watch: Watch | None = None, **options: Any) -> Run[Any]:
    """Run and watch, sync."""
    with agent.stream(*args, **options) as events:
        for event in events:
            if watch is not None:
                watch(events, event)
    return events.run


def stream_async(agent: Agent, *args: Any, watch: Watch | None = None, **options: Any) -> Run[Any]:
    """Run and watch in an event loop of its own."""

    async def go() -> Run[Any]:
        async with agent.aio.stream(*args, **options) as events:
            async for event in events:
                if watch is not None:
                    watch(events, event)
        return events.run

    return asyncio.run(go())


WATCHED: list[Callable[..., Run[Any]]] = [stream_sync, stream_async]

AnyStream = RunStream[Any] | AsyncRunStream[Any]


def drain(stream: AnyStream) -> Run[Any]:
    """Read a stream to its end, whichever kind it is."""
    if isinstance(stream, RunStream):
        return stream.drain()
    return asyncio.run(stream.drain())


def said(contents: list[Content]) -> list[str]:
    """List the texts of the user's contents that answer no calls."""
    return [text_of(c) for c in contents if c["role"] == "user" and not responses_of(c)]
