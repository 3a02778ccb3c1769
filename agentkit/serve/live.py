"""A run that goes on in a server: what is known of it, and what is told when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from agentkit import Agent, AgentError, Limits, Run
from agentkit.events import Event, RunFinished
from agentkit.run import AsyncRunStream
from agentkit.serve.log import Row
from agentkit.serve.rows import Teller, usage_row
from agentkit.serve.sessions import Session


class TooManyRuns(AgentError):
    """As many runs go on as the server allows."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What came of a run."""

    run: Run[Any] | None
    failure: str = ""
    """Why there is no run, or no whole one, in words; empty if it ended by itself."""
    code: str = ""
    """The kind of error, if one ended it."""


Listener = Callable[[Event | Ended], None]


@dataclass(eq=False)
class Live:
    """A run that goes on, or the last one of a session, whose rows are still in the log."""

    session: Session
    teller: Teller
    base: int
    """How many stored messages there were before it."""
    cursor: int
    """Where its rows begin in the log."""
    listener: Listener | None = None
    task: asyncio.Task[None] | None = None
    dirty: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    version: int | None = None
    """Of the session, when it had ended."""
    unsent: Any = None
    """The message, if nothing of the run was kept."""
    queued: str | None = None
    """The task of a queue that runs it, if one does."""

    def hear(self, event: Event | Ended) -> None:
        """Tell what happened to the log and to the listener."""
        if not isinstance(event, (Ended, RunFinished)):
            self.teller.tell(event)
            self.dirty.set()
        if self.listener is not None:
            self.listener(event)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """How runs are made, and how many there may be."""

    memory: Any = None
    deps: Callable[[str | None], Any] | None = None
    output: Any = None
    concurrency: int = 200
    seconds: float | None = 600.0

    def limits(self, agent: Agent) -> Limits:
        """Give the agent's limits, with the server's limit of time where it is the lower."""
        own = agent.limits.seconds
        seconds = min((each for each in (own, self.seconds) if each is not None), default=None)
        return replace(agent.limits, seconds=seconds)


def run_of(stream: AsyncRunStream[Any]) -> Run[Any] | None:
    """Return what came of a stream, or None if it never began."""
    try:
        return stream.run
    except AgentError:
        return None


def end_row(agent: Agent, ended: Ended) -> Row:
    """Tell that a run ended, why, and which calls had run by then."""
    run = ended.run
    if run is None:
        return {"stop": "error", "why": ended.failure, "done": []}
    effects = {tool.name: tool.effect for tool in agent.tools}
    done = [response["name"] for content in run.new_contents for response in _answered(content)]
    return {
        "stop": run.stop,
        "why": ended.failure or run.why,
        "usage": usage_row(run.usage, agent.limits.prices),
        "done": [{"name": name, "effect": effects.get(name)} for name in done],
    }


def _answered(content: Any) -> list[Any]:
    responses = [part["functionResponse"] for part in content["parts"] if "functionResponse" in part]
    return [response for response in responses if "error" not in response["response"]]


def tells_more(run: Run[Any] | None) -> bool:
    """Return whether the store has what rows can't bring: search suggestions, which have an address of their own."""
    return run is not None and run.stop is None and bool(run.search_suggestions)
