"""The four ways of running an agent, for tests that are to hold in each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from agentkit import Agent, Run
from agentkit.core.repair import RetryPolicy
from agentkit.testing import check_history
from agentkit.wire.content import responses_of

Runner = Callable[..., Run]
NO_WAIT = RetryPolicy(attempts=3, base=0, cap=0)


def _sync_run(agent: Agent, *args: Any, **options: Any) -> Run:
    return agent.run(*args, **options)


def _sync_stream(agent: Agent, *args: Any, **options: Any) -> Run:
    with agent.stream(*args, **options) as events:
        return events.drain()


def _async_run(agent: Agent, *args: Any, **options: Any) -> Run:
    return asyncio.run(agent.aio.run(*args, **options))


def _async_stream(agent: Agent, *args: Any, **options: Any) -> Run:
    async def go() -> Run:
        async with agent.aio.stream(*args, **options) as events:
            return await events.drain()

    return asyncio.run(go())


@pytest.fixture(
    params=[_sync_run, _sync_stream, _async_run, _async_stream], ids=lambda f: f.__name__.strip("_")
)
def go(request: pytest.FixtureRequest, no_thread_left: None) -> Runner:
    """Run an agent in each of the four ways; every history that comes of it is checked."""

    def run(*args: Any, **options: Any) -> Run:
        made: Run = request.param(*args, **options)
        check_history(made.contents)
        return made

    return run


def responses(run: Run) -> list[Any]:
    return [r["response"] for content in run.contents for r in responses_of(content)]
