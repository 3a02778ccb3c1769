"""Runs that workers make: sent to a queue, and followed from any server, also one that comes in the midst of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from starlette.routing import BaseRoute

from agentkit import Agent, AgentError, Run, SessionConflict, Usage
from agentkit.chats.chat import AsyncChat
from agentkit.core.resuming import Parked
from agentkit.events import ModelRetry, OpenCalls, TextDelta, ThoughtDelta, ToolStarted, TurnFinished
from agentkit.limits import Stop
from agentkit.serve.decisions import Said, settle
from agentkit.serve.live import Ended, Listener, Live, RunSettings
from agentkit.serve.log import EventLog, Row
from agentkit.serve.rows import Teller
from agentkit.serve.runs import Runs
from agentkit.serve.sessions import Identify, Session
from agentkit.serve.stored import user_row

if TYPE_CHECKING:
    from agentkit.durable import Queue, Task


class QueuedRuns(Runs):
    """The runs of a queue: see `Runs`. What they tell is read from the queue's events, whichever server began them.

    Args:
        agent: Answers; the workers of the queue have it by its name.
        queue: Runs it.
        log: Where is told what happens, on this server.
        settings: See `create_app`.
    """

    def __init__(self, agent: Agent, queue: Queue, log: EventLog, settings: RunSettings) -> None:
        super().__init__(agent, queue.store, log, settings)
        self.queue = queue.aio
        self._attached: set[asyncio.Task[None]] = set()
        self._agents = queue.agents
        self._name = next((name for name, each in queue.agents.items() if each is agent), agent.name)

    @property
    def has_tasks(self) -> bool:
        """Whether a queue runs them: it does."""
        return True

    def routes(self, identify: Identify) -> list[BaseRoute]:
        """List those of the tasks."""
        from agentkit.serve.tasks import Tasks

        return Tasks(self, identify).routes()

    async def active(self) -> set[str]:
        """Name the sessions that are being answered, wherever."""
        tasks = await self.queue.list(status=["queued", "running"], limit=1_000)
        return {task.chat for task in tasks} | await super().active()

    async def begin(
        self,
        session: Session,
        message: Any = None,
        *,
        said: Mapping[str, Said] | None = None,
        sender_id: str | None = None,
        listener: Listener | None = None,
    ) -> None:
        """Send a message or decisions to the queue, and follow what comes of them; see `Runs.begin`."""
        if await self.adopt(session):
            raise SessionConflict("This session is answering already; wait for it, or stop it.")
        await super().begin(session, message, said=said, sender_id=sender_id, listener=listener)

    async def adopt(self, session: Session) -> bool:
        """Follow a task of a session that this server doesn't follow yet; return whether one goes on."""
        key = session.stored
        live = self._live.get(key)
        if live is None and key not in self._beginning:
            tasks = await self.queue.list(chat=key, status=["queued", "running"], limit=1_000)
            if not tasks:
                return False
            live = self._live.get(key)
            if live is None and key not in self._beginning:  # nobody was faster
                await self._begin_to_follow(session, tasks[-1])
        return True

    async def attach(self, session: Session, listener: Listener) -> bool:
        """Tell a listener of the task of a session from its beginning on; see `Runs.attach`."""
        tasks = await self.queue.list(chat=session.stored, status=["queued", "running"], limit=1_000)
        if not tasks:
            return False
        live = Live(session, Teller("a"), 0, 0, listener, queued=tasks[-1].id)

        async def tell() -> None:
            live.hear(await self._hear(live, None, {}, None))

        live.task = asyncio.create_task(tell())
        self._attached.add(live.task)
        live.task.add_done_callback(self._attached.discard)
        return True

    async def _begin_to_follow(self, session: Session, task: Task) -> None:
        self._beginning.add(session.stored)
        try:
            await self._finished(session.stored)
            stored = await asyncio.to_thread(self.store.load, session.stored)
            sent = [n for n, each in enumerate(stored.messages) if each.sender_id == task.message_id]
            if task.message_id is None:  # it goes on: what there was before the decision is told as stored
                base = sum((each.created or 0) < task.created for each in stored.messages)
            else:
                base = sent[0] if sent else len(stored.messages)
            await self.log.drop(session.stream)
            cursor = await self.log.last(session.stream)
            teller = Teller(f"r{cursor}", self.agent.limits.prices)
            if task.message is not None:
                teller.add("user", **user_row(task.message))
            teller.add("begin")
            live = Live(session, teller, base, cursor, queued=task.id)
            self._live[session.stored] = live  # who looks before its rows are there needs its cursor
            await self.log.append(session.stream, teller.take())
        except AgentError:  # it was deleted, or isn't made yet
            live = Live(session, Teller("r0"), 0, 0, queued=task.id)
            self._live[session.stored] = live
        finally:
            self._beginning.discard(session.stored)
        live.task = asyncio.create_task(self._drive(live, None, {}, None))

    async def _drive(self, live: Live, message: Any, said: Mapping[str, Said], sender_id: str | None) -> None:
        await super()._drive(live, message, said, sender_id)
        if await self.queue.list(chat=live.session.stored, status=["queued", "running"], limit=1):
            await self.changed(
                live.session
            )  # the next one of the chat: whoever watches asks anew, and sees it

    async def snapshot(self, session: Session) -> Row:
        """Tell what is stored, and what goes on, wherever it was begun; see `Runs.snapshot`."""
        await self.adopt(session)
        return await super().snapshot(session)

    async def stop(self, session: Session) -> bool:
        """End the task of a session, wherever it runs; return whether one went on."""
        if not await self.adopt(session):
            return False
        live = self._live.get(session.stored)
        if live is not None and live.queued is not None and live.task is not None:
            await self.queue.cancel(live.queued)
            await asyncio.wait([live.task], timeout=10)
        return True

    async def leave(self, session: Session) -> None:
        """Do nothing: the run goes on, whoever watches."""

    async def close(self) -> None:
        """Follow no more; what runs goes on elsewhere."""
        self._closed = True
        for live in list(self._live.values()):
            if live.task is not None:
                live.task.cancel()
                await asyncio.wait([live.task], timeout=5)
            live.hear(Ended(None, "The server stops; the run goes on.", "server_stops"))
        for task in [*self._attached]:
            task.cancel()

    async def _hear(self, live: Live, message: Any, said: Mapping[str, Said], sender_id: str | None) -> Ended:
        """Follow a task to its end; return what came of it."""
        try:
            if live.queued is None:
                live.queued = await self._send(live.session, message, said, sender_id)
            return await self._follow(live, live.queued)
        except AgentError as error:
            return Ended(None, str(error)[:2000], type(error).__name__)
        except Exception as error:
            logging.getLogger("agentkit.serve").exception("A task could not be followed.")
            return Ended(None, f"{type(error).__name__} ended it.", type(error).__name__)

    async def _send(
        self, session: Session, message: Any, said: Mapping[str, Said], sender_id: str | None
    ) -> str:
        info = await asyncio.to_thread(self.store.info, session.stored)
        own = {"model": info.model, "instructions": info.instructions, "seconds": self.settings.seconds}
        options = {name: value for name, value in own.items() if value is not None}
        given: Any = {"user_data": session.user.name, "options": options}
        if message is not None:
            return await self.queue.send(session.stored, message, agent=self._name, id=sender_id, **given)
        last = await self.queue.list(chat=session.stored, limit=1)  # whose calls they are
        name = last[0].agent if last else self._name
        chat: AsyncChat = self._agents.get(name, self.agent).aio.chat(session.stored, self.store)
        decisions = await settle(said, await chat.get_pending(), chat.resolve)
        return await self.queue.decide(session.stored, decisions, agent=name, **given)

    async def _follow(self, live: Live, task: str) -> Ended:
        from agentkit.durable import EventsLost, TaskEnded, TaskStarted

        usage, calls, partial = Usage(), OpenCalls(), ""
        async for _, event in self.queue.watch(task):
            match event:
                case TaskStarted(attempt) if attempt > 1:  # what wasn't whole is told anew
                    for cut in calls.end():
                        live.hear(cut)
                    live.hear(ModelRetry(attempt, 0.0, "Another worker goes on.", discarded=partial))
                    partial = ""
                case TaskStarted() | EventsLost():
                    pass
                case TaskEnded(task=ended):
                    return await self._came_of(live, ended, usage)
                case _:
                    for each in calls.in_order(event):
                        live.hear(each)
                    if isinstance(event, (TextDelta, ThoughtDelta)):
                        partial += event.text
                    elif isinstance(event, (TurnFinished, ToolStarted)):
                        partial = ""
                    if isinstance(event, TurnFinished):
                        usage += event.usage
        raise AssertionError  # it ends with its end

    async def _came_of(self, live: Live, task: Task, usage: Usage) -> Ended:
        if task.status == "failed":
            return Ended(None, task.why, "failed")
        stored = await asyncio.to_thread(self.store.load, live.session.stored)
        cancelled = task.status == "cancelled"
        run: Run[Any] = Run(
            run_id=task.id,
            text=task.text,
            output=None,
            stop="cancelled" if cancelled else cast("Stop | None", task.stop),
            why="It was stopped." if cancelled else task.why,
            limit=None,
            finish_reason=None,
            model="",
            usage=usage,
            turn_usages=(),
            errors=(),
            pending=task.pending,
            session_id=live.session.stored,
            _parked=Parked(stored.messages, min(live.base, len(stored.messages))),
        )
        return Ended(run)
