"""The tasks of a queue, as the page lists them: ended, sent again and decided about from there."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from agentkit import ConfigurationError, SessionConflict, SessionNotFound
from agentkit.serve.api import read_decisions, read_json
from agentkit.serve.decisions import settle
from agentkit.serve.log import Row
from agentkit.serve.queued import QueuedRuns
from agentkit.serve.sessions import Identify, User
from agentkit.wire.content import text_of

if TYPE_CHECKING:
    from agentkit.durable import Task

_SHOWN = 300
"""Characters of what was said, answered or went wrong."""


class Tasks:
    """The endpoints of the list of tasks: each user sees those of the own chats."""

    def __init__(self, runs: QueuedRuns, identify: Identify) -> None:
        self._runs = runs
        self._queue = runs.queue
        self._identify = identify

    def routes(self) -> list[BaseRoute]:
        """List the routes."""
        return [
            Route("/api/tasks", self._list),
            Route("/api/task", self._act, methods=["POST"]),
        ]

    async def _list(self, request: Request) -> Response:
        user = await self._identify(request)
        asked = request.query_params.get("limit", "50")
        limit = min(int(asked), 1_000) if asked.isdigit() else 50
        status: Any = request.query_params.get("status") or None
        found = await self._queue.list(prefix=user.prefix, status=status, limit=limit)
        return JSONResponse({"tasks": _rows(found, user), "now": time.time()})

    async def _act(self, request: Request) -> Response:
        user = await self._identify(request)
        task = await self._queue.get(request.query_params.get("id", ""))
        if task is None or not task.chat.startswith(user.prefix):
            raise SessionNotFound("There is no such task, or it is no longer kept.")
        body = await read_json(request)
        match body.get("do"):
            case "cancel":
                await self._queue.cancel(task.id)
            case "retry":
                await self._queue.retry(task.id)
            case "decide":
                await self._decide(task, body)
            case _:
                raise ConfigurationError("Say what to do: cancel, retry or decide.")
        session = user.session(task.chat.removeprefix(user.prefix))
        if not self._runs.is_live(session):  # else whoever watches it is told what comes
            await self._runs.changed(session)
        return JSONResponse({})

    async def _decide(self, task: Task, body: Row) -> None:
        (last,) = await self._queue.list(chat=task.chat, limit=1)
        if last.id != task.id or not task.pending:
            raise SessionConflict("This task waits for no decision any more: its chat has gone on.")
        resolve = partial(self._queue.resolve, task.chat)
        if decisions := await settle(read_decisions(body), task.pending, resolve):
            await self._queue.decide(task.chat, decisions, task=task.id)


def _rows(tasks: Sequence[Task], user: User) -> list[Row]:
    """Make JSON of tasks, the last sent first; calls wait for a decision in the last one of a chat alone."""
    seen: set[str] = set()
    rows = []
    for task in tasks:
        parts: Any = task.message or ()
        rows.append(
            {
                "id": task.id,
                "session": task.chat.removeprefix(user.prefix),
                "agent": task.agent,
                "status": task.status,
                "stop": task.stop,
                "said": text_of({"role": "user", "parts": list(parts)})[:_SHOWN],
                "came": (task.why or task.text)[:_SHOWN],
                "tries": task.attempts,
                "deaths": task.deaths,
                "created": task.created,
                "started": task.started,
                "ended": task.ended,
                "pending": [] if task.chat in seen else [call.to_wire() for call in task.pending],
            }
        )
        seen.add(task.chat)
    return rows
