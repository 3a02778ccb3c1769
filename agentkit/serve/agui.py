"""The endpoint for clients of AG-UI 1.0 (https://docs.ag-ui.com): a run, told as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from ag_ui.core import (
    BaseEvent,
    Interrupt,
    MessagesSnapshotEvent,
    RunAgentInput,
    RunErrorEvent,
    RunFinishedEvent,
    RunStartedEvent,
)
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from agentkit import AgentError, PendingCall, Run, SessionNotFound
from agentkit.events import Event
from agentkit.serve.agui_events import Mapper, token_usages
from agentkit.serve.agui_history import SCHEMA, News, decision_of, history, news_in
from agentkit.serve.live import Ended
from agentkit.serve.runs import Runs
from agentkit.serve.sessions import Identify, Session
from agentkit.stores.base import StoredSession

_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}


class AgUi:
    """Answers clients of AG-UI; a thread is a session."""

    def __init__(self, runs: Runs, identify: Identify) -> None:
        self._runs = runs
        self._identify = identify

    async def answer(self, request: Request) -> Response:
        """Begin a run and stream what happens; when the client goes, the run ends."""
        user = await self._identify(request)
        try:
            given = RunAgentInput.model_validate_json(await request.body())
        except ValidationError as error:
            return JSONResponse({"error": f"The body isn't an AG-UI RunAgentInput: {error}"[:1000]}, 422)
        session = user.session(given.thread_id)
        return StreamingResponse(
            self._stream(session, given), media_type="text/event-stream", headers=_HEADERS
        )

    async def _stream(self, session: Session, given: RunAgentInput) -> AsyncIterator[str]:
        yield _line(RunStartedEvent(thread_id=given.thread_id, run_id=given.run_id, protocol_version="1.0"))
        try:
            async for event in self._events(session, given):
                yield _line(event)
        except AgentError as error:
            yield _line(RunErrorEvent(message=str(error)[:1000], code=type(error).__name__))

    async def _events(self, session: Session, given: RunAgentInput) -> AsyncIterator[BaseEvent]:
        stored = await self._load(session)
        pending = (
            await self._runs.agent.aio.chat(session.stored, self._runs.store).get_pending() if stored else []
        )
        before = history(stored)
        news = None if given.resume else news_in(given, before)
        told: asyncio.Queue[Event | Ended] = asyncio.Queue()
        if news is None and not given.resume:
            if not await self._runs.attach(session, told.put_nowait):
                yield MessagesSnapshotEvent(messages=before)
                yield _finished(given, None, pending)
                return
            users = [n for n, message in enumerate(before) if message.role == "user"]
            before = before[: users[-1] + 1] if users else []  # the rest is told again
        else:
            await self._begin(session, given, news, told)
        known = [call.call_id for call in pending] if given.resume else []
        mapper = Mapper(given.run_id, known, [*before, *news.messages] if news else before)
        ended = False
        try:
            while not ended:
                event = await told.get()
                ended = isinstance(event, Ended)
                for made in _last(mapper, given, event) if isinstance(event, Ended) else mapper.tell(event):
                    yield made
        finally:
            if not ended:  # the client has gone
                await asyncio.shield(self._runs.leave(session))

    async def _load(self, session: Session) -> StoredSession | None:
        try:
            return await asyncio.to_thread(self._runs.store.load, session.stored)
        except SessionNotFound:
            return None

    async def _begin(
        self, session: Session, given: RunAgentInput, news: News | None, told: asyncio.Queue[Event | Ended]
    ) -> None:
        if news is not None:
            await self._runs.begin(
                session, news.parts, sender_id=str(news.messages[-1].id), listener=told.put_nowait
            )
        else:
            said = {entry.interrupt_id: decision_of(entry) for entry in given.resume or ()}
            await self._runs.begin(session, said=said, listener=told.put_nowait)


def _line(event: BaseEvent) -> str:
    return f"data: {event.model_dump_json(by_alias=True, exclude_none=True)}\n\n"


def _last(mapper: Mapper, given: RunAgentInput, ended: Ended) -> list[BaseEvent]:
    run = ended.run
    pending = list(run.pending) if run is not None else []
    out = [event for call in pending for event in mapper.call(call.call_id, call.name, call.args)]
    out += mapper.end()
    usage = token_usages(run.usage) if run is not None else None
    stopped = (run is not None and run.stop == "cancelled") or ended.code == "cancelled"
    if not stopped and (run is None or ended.failure):
        return [*out, RunErrorEvent(message=ended.failure, code=ended.code or "error", usage=usage)]
    if run is not None and not stopped and run.stop is not None and not pending:
        why = run.why or f"The run stopped: {run.stop}."
        return [*out, RunErrorEvent(message=why, code=run.stop, usage=usage)]
    return [*out, _finished(given, run, pending, cancelled=stopped)]


def _finished(
    given: RunAgentInput, run: Run[Any] | None, pending: list[PendingCall], *, cancelled: bool = False
) -> RunFinishedEvent:
    outcome: Any = {"type": "cancelled" if cancelled else "success"}
    if pending:
        asked = [
            Interrupt(
                id=call.call_id,
                reason=f"agentkit:{call.kind}",
                message=call.why or f"{call.name} waits.",
                tool_call_id=call.call_id,
                response_schema=SCHEMA,
            )
            for call in pending
        ]
        outcome = {"type": "interrupt", "interrupts": asked}
    return RunFinishedEvent(
        thread_id=given.thread_id,
        run_id=given.run_id,
        outcome=outcome,
        result=(run.text or None) if run else None,
        usage=token_usages(run.usage) if run else None,
    )
