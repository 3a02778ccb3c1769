"""The four ways of running an agent: sync and async, streamed or not; what comes of each run is checked."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from agentkit import Agent, Run
from agentkit.events import Event
from agentkit.stores.store import SessionStore
from agentkit.testing import check_history
from agentkit.tooling.decisions import Decision, PendingCall

Decisions = Mapping[str, Decision]


def checked(run: Run) -> Run:
    """Check what holds of every run: a valid history, and that it can be written down and read back as it is."""
    check_history(run.contents)
    again = Run.from_json(run.to_json())
    assert again.to_json() == run.to_json()
    assert again.contents == run.contents
    assert again.pending == run.pending
    if run.stop in ("approval", "deferred", "unknown_effect"):
        assert run.pending
        ids = [call.call_id for call in run.pending]
        assert len(set(ids)) == len(ids)
    return run


@dataclass
class Way:
    """One of the ways."""

    is_async: bool = False
    streamed: bool = False
    events: list[Event] = field(default_factory=list)
    """Of the last streamed run."""

    def run(self, agent: Agent, *args: Any, **options: Any) -> Run:
        """Run an agent."""
        self.events = []
        if not self.is_async:
            if not self.streamed:
                return checked(agent.run(*args, **options))
            with agent.stream(*args, **options) as stream:
                self.events.extend(stream)
            return checked(stream.run)

        async def go() -> Run:
            if not self.streamed:
                return await agent.aio.run(*args, **options)
            async with agent.aio.stream(*args, **options) as stream:
                self.events.extend([event async for event in stream])
            return stream.run

        return checked(asyncio.run(go()))

    def resume(
        self, agent: Agent, run: Run | str | bytes, decisions: Decisions | None = None, **options: Any
    ) -> Run:
        """Go on with a run."""
        self.events = []
        if not self.is_async:
            if not self.streamed:
                return checked(agent.resume(run, decisions, **options))
            with agent.resume_stream(run, decisions, **options) as stream:
                self.events.extend(stream)
            return checked(stream.run)

        async def go() -> Run:
            if not self.streamed:
                return await agent.aio.resume(run, decisions, **options)
            async with agent.aio.resume_stream(run, decisions, **options) as stream:
                self.events.extend([event async for event in stream])
            return stream.run

        return checked(asyncio.run(go()))

    def chat(self, agent: Agent, store: SessionStore, id: str = "ann", **options: Any) -> WayChat:
        """Open a chat, anew for each thing that is done with it: as other processes would."""
        return WayChat(self, agent, store, id, options)


@dataclass
class WayChat:
    """A chat in one of the ways."""

    way: Way
    agent: Agent
    store: SessionStore
    id: str
    options: dict[str, Any]

    def send(self, message: Any, **options: Any) -> Run:
        """Send a message."""
        if not self.way.is_async:
            chat = self.agent.chat(self.id, self.store, **self.options)
            if not self.way.streamed:
                return checked(chat.send_message(message, **options))
            with chat.send_message_stream(message, **options) as stream:
                return checked(stream.drain())

        async def go() -> Run:
            chat = self.agent.aio.chat(self.id, self.store, **self.options)
            if not self.way.streamed:
                return await chat.send_message(message, **options)
            async with chat.send_message_stream(message, **options) as stream:
                return await stream.drain()

        return checked(asyncio.run(go()))

    def resume(self, decisions: Decisions | None = None, **options: Any) -> Run:
        """Go on with the chat."""
        if not self.way.is_async:
            chat = self.agent.chat(self.id, self.store, **self.options)
            if not self.way.streamed:
                return checked(chat.resume(decisions, **options))
            with chat.resume_stream(decisions, **options) as stream:
                return checked(stream.drain())

        async def go() -> Run:
            chat = self.agent.aio.chat(self.id, self.store, **self.options)
            if not self.way.streamed:
                return await chat.resume(decisions, **options)
            async with chat.resume_stream(decisions, **options) as stream:
                return await stream.drain()

        return checked(asyncio.run(go()))

    @property
    def pending(self) -> list[PendingCall]:
        """The calls that wait."""
        if not self.way.is_async:
            return self.agent.chat(self.id, self.store).pending
        return asyncio.run(self.agent.aio.chat(self.id, self.store).get_pending())


WAYS = {
    "run": Way(),
    "stream": Way(streamed=True),
    "arun": Way(is_async=True),
    "astream": Way(is_async=True, streamed=True),
}


@pytest.fixture(params=list(WAYS))
def way(request: pytest.FixtureRequest, no_thread_left: None) -> Way:
    """Each of the four ways."""
    way: Way = WAYS[request.param]
    return way


@pytest.fixture(params=["run", "arun"])
def either(request: pytest.FixtureRequest, no_thread_left: None) -> Way:
    """Sync and async alone, where what is tested is not how a run is streamed."""
    way: Way = WAYS[request.param]
    return way
