"""The runs that go on: one at a time for a session, each told to the event log, whoever watches or doesn't."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Literal, cast

from starlette.routing import BaseRoute

from agentkit import Agent, AgentError, SessionConflict, SessionNotFound
from agentkit.chats.chat import AsyncChat
from agentkit.run import AsyncRunStream
from agentkit.serve.decisions import Said, settle
from agentkit.serve.live import Ended, Listener, Live, RunSettings, TooManyRuns, end_row, run_of, tells_more
from agentkit.serve.log import EventLog, Row
from agentkit.serve.rows import Teller, usage_row
from agentkit.serve.sessions import Identify, Session, User
from agentkit.serve.stored import broken_off, stored_rows, user_row, waiting
from agentkit.stores.store import SessionStore

_BEAT = 0.05
"""Seconds between what is told of a run: text is merged in the meantime."""


class Runs:
    """Begins runs, tells them to the log, stops them.

    Args:
        agent: Answers.
        store: Where sessions are kept.
        log: Where is told what happens.
        settings: See `create_app`.
        keep: Of how many sessions the last run's rows stay in the log after it ended.
    """

    def __init__(
        self, agent: Agent, store: SessionStore, log: EventLog, settings: RunSettings, *, keep: int = 200
    ) -> None:
        self.agent = agent
        self.store = store
        self.log = log
        self.settings = settings
        self._keep = keep
        self._live: dict[str, Live] = {}
        self._past: OrderedDict[str, Live] = OrderedDict()
        self._beginning: set[str] = set()
        self._finishing: dict[str, asyncio.Task[Any]] = {}
        """Runs of which the last rows are still on their way to the log."""
        self._closed = False

    @property
    def has_tasks(self) -> bool:
        """Whether a queue runs them, whose tasks can be listed."""
        return False

    def routes(self, identify: Identify) -> list[BaseRoute]:
        """List the endpoints that only this way of running has."""
        return []

    def is_live(self, session: Session) -> bool:
        """Return whether a run of a session goes on."""
        return session.stored in self._live

    async def active(self) -> set[str]:
        """Name the sessions whose runs go on, as the store names them."""
        return set(self._live)

    async def attach(self, session: Session, listener: Listener) -> bool:
        """Tell a listener of a run from its beginning on, also if it was begun elsewhere; return whether one goes on.

        Nobody else can begin one here.
        """
        return False

    async def begin(
        self,
        session: Session,
        message: Any = None,
        *,
        said: Mapping[str, Said] | None = None,
        sender_id: str | None = None,
        listener: Listener | None = None,
    ) -> None:
        """Begin a run: that answers a message or, without one, goes on with what was said of waiting calls.

        Raises:
            SessionConflict: A run of the session goes on.
            TooManyRuns: There are as many as there may be, or the server stops.
            SessionNotFound: Nothing was said in the session yet, and there is no message.
        """
        key = session.stored
        if key in self._live or key in self._beginning:
            raise SessionConflict("This session is answering already; wait for it, or stop it.")
        if self._closed or len(self._live) + len(self._beginning) >= self.settings.concurrency:
            raise TooManyRuns("Too many runs go on; try again a little later.")
        self._beginning.add(key)
        try:
            await self._finished(key)
            live = await self._prepare(session, message, listener)
        except BaseException:
            self._live.pop(key, None)
            raise
        finally:
            self._beginning.discard(key)
        live.task = asyncio.create_task(self._drive(live, message, said or {}, sender_id))
        await self.tell_list(session.user)

    async def _finished(self, key: str) -> None:
        """Wait until all is told of the last run of a session: its rows don't belong among those of the next."""
        while (task := self._finishing.get(key)) is not None:
            await asyncio.wait([task])

    async def _prepare(self, session: Session, message: Any, listener: Listener | None) -> Live:
        try:
            info = await asyncio.to_thread(self.store.info, session.stored)
        except SessionNotFound:
            if message is None:
                raise
            info = await asyncio.to_thread(self.store.create, session.stored)
        past = self._past.pop(session.stored, None)
        keep = message is None and past is not None and past.version == info.version
        if past is not None and keep:  # it goes on with the run whose rows are still there
            base, cursor = past.base, past.cursor
        else:
            await self.log.drop(session.stream)
            base, cursor = info.messages, await self.log.last(session.stream)
        teller = Teller(f"r{await self.log.last(session.stream)}", self.agent.limits.prices)
        if message is not None and info.title is None:
            text = next((part for part in message if isinstance(part, str)), "") or "Files"
            await asyncio.to_thread(self.store.rename, session.stored, " ".join(text.split())[:80])
        if message is not None:
            teller.add("user", **user_row([p if isinstance(p, dict) else {"text": p} for p in message]))
        teller.add("begin")
        live = Live(session, teller, base, cursor, listener)
        self._live[session.stored] = live  # who looks before its rows are there needs its cursor
        await self.log.append(session.stream, teller.take())
        return live

    async def _drive(self, live: Live, message: Any, said: Mapping[str, Said], sender_id: str | None) -> None:
        pump, key = asyncio.create_task(self._pump(live)), live.session.stored
        try:
            ended = await self._hear(live, message, said, sender_id)
            live.ended.set()
            live.dirty.set()
            await pump
            self._finishing[key] = cast("asyncio.Task[Any]", asyncio.current_task())
            await self._finish(live, message, ended)
        finally:
            pump.cancel()
            self._live.pop(key, None)
            self._finishing.pop(key, None)

    async def _hear(self, live: Live, message: Any, said: Mapping[str, Said], sender_id: str | None) -> Ended:
        """Go through the events of a run; return what came of it, whatever ended it."""
        ended = Ended(None)
        try:
            stream = await self._open(live.session, message, said, sender_id)
            try:
                async with stream as events:
                    async for event in events:
                        live.hear(event)
            finally:
                ended = Ended(run_of(stream))
        except asyncio.CancelledError:
            if task := asyncio.current_task():
                task.uncancel()
            return ended if ended.run is not None else Ended(None, "Stopped.", "cancelled")
        except AgentError as error:
            return Ended(error.run or ended.run, str(error)[:2000], type(error).__name__)
        except Exception as error:
            logging.getLogger("agentkit.serve").exception("A run failed.")
            return Ended(ended.run, f"{type(error).__name__} ended the run.", type(error).__name__)
        return ended

    async def _open(
        self, session: Session, message: Any, said: Mapping[str, Said], sender_id: str | None
    ) -> AsyncRunStream[Any]:
        chat, options = await self._chat(session)
        options["limits"] = self.settings.limits(self.agent)
        if message is not None:
            return chat.send_message_stream(message, output=self.settings.output, id=sender_id, **options)
        decisions = await settle(said, await chat.get_pending(), chat.resolve)
        return chat.resume_stream(decisions, output=self.settings.output, **options)

    async def _chat(self, session: Session) -> tuple[AsyncChat, Any]:
        """Open the session's chat; give the options that the session has of its own."""
        settings = self.settings
        deps = None if settings.deps is None else settings.deps(session.user.name)
        chat = self.agent.aio.chat(session.stored, self.store, memory=settings.memory, deps=deps)
        info = await asyncio.to_thread(self.store.info, session.stored)
        own = {"model": info.model, "instructions": info.instructions}
        return chat, {name: value for name, value in own.items() if value is not None}

    async def _pump(self, live: Live) -> None:
        """Bring the rows of a run to the log, one batch a beat; a costly one less often."""
        while not live.ended.is_set():
            await live.dirty.wait()
            live.dirty.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(_BEAT, 20 * live.teller.cost)):
                    await live.ended.wait()
            if rows := live.teller.take():
                await self.log.append(live.session.stream, rows)

    async def _finish(self, live: Live, message: Any, ended: Ended) -> None:
        key, session = live.session.stored, live.session
        messages, total = live.base, None
        try:
            info = await asyncio.to_thread(self.store.info, key)
            live.version, messages = info.version, info.messages
            total = usage_row(info.usage, self.agent.limits.prices)
            waits = await self._waiting(session, ended)
        except AgentError:  # it was deleted, or the store is gone
            waits = None
        if message is not None and messages == live.base and waits is None:
            live.unsent = message
        live.teller.add("end", **end_row(self.agent, ended), kept=live.unsent is None, total=total)
        if waits is not None:
            live.teller.add("pending", calls=waits["calls"], held=waits["held"])
        self._live.pop(key, None)
        self._past[key] = live
        await self.log.append(session.stream, live.teller.take())
        if tells_more(ended.run):
            await self.changed(session)
        while len(self._past) > self._keep:
            _, oldest = self._past.popitem(last=False)
            await self.log.drop(oldest.session.stream)
        await self.tell_list(session.user)
        live.hear(ended)

    async def _waiting(self, session: Session, ended: Ended) -> Row | None:
        if ended.run is not None and not ended.failure and not ended.run.pending:
            return None
        stored = await asyncio.to_thread(self.store.load, session.stored)
        return waiting(stored)  # as before, if a decision didn't fit, say

    async def retry(self, session: Session) -> None:
        """Go on with a run that stopped; or send its message again, if nothing of it was kept."""
        past = self._past.get(session.stored)
        await self.begin(session, past.unsent if past else None)

    async def stop(self, session: Session) -> bool:
        """End the run of a session, and its tools; return whether one went on."""
        live = self._live.get(session.stored)
        if live is None or live.task is None:
            return False
        live.task.cancel()
        await asyncio.wait([live.task], timeout=10)
        return True

    async def leave(self, session: Session) -> None:
        """End the run of a session whose only listener has gone."""
        await self.stop(session)

    async def close(self) -> None:
        """End all runs as cancelled, and begin no more. What they had done by then is stored."""
        self._closed = True
        await asyncio.gather(*(self.stop(live.session) for live in list(self._live.values())))

    def reopen(self) -> None:
        """Allow runs again: a server that was stopped may be started once more."""
        self._closed = False

    async def ready(self) -> None:
        """Raise an `AgentError` if runs can't begin now: the server stops, or the store can't be read."""
        if self._closed:
            raise TooManyRuns("The server stops.")
        await asyncio.to_thread(self.store.list, limit=1)

    async def changed(self, session: Session, kind: Literal["reload", "deleted"] = "reload") -> None:
        """Tell who watches a session that it isn't what it was, or is no more."""
        self._past.pop(session.stored, None)
        await self.log.drop(session.stream)
        await self.log.append(session.stream, [{"type": kind}])
        await self.tell_list(session.user)

    async def tell_list(self, user: User) -> None:
        """Tell who watches a user's list that it has changed."""
        await self.log.append(user.list_stream, [{"type": "sessions", "key": "sessions"}])

    async def snapshot(self, session: Session) -> Row:
        """Tell what is stored as rows, and the cursor from which the log goes on."""
        key, known, stored, cursor = session.stored, None, None, 0
        # Anew where one began or ended meanwhile. The cursor comes first: of a run that begins then, all is told.
        while stored is None or known != (self._live.get(key), self._past.get(key)):
            known = live, past = self._live.get(key), self._past.get(key)
            cursor = await self.log.last(session.stream)
            stored = await asyncio.to_thread(self.store.load, key)
        told = live or past
        if told is not None and live is None and told.version != stored.info.version:
            told = None  # somebody else has written since
        if told is not None and await self.log.read(session.stream, told.cursor) is None:
            told = None
        upto = len(stored.messages)
        if told is not None:
            upto, cursor = told.base, told.cursor
        elif live is not None:
            cursor = await self.log.last(session.stream)
        rows = await asyncio.to_thread(stored_rows, stored, upto, self.agent.limits.prices)
        if told is None and (row := waiting(stored) or broken_off(stored)) is not None:
            rows.append(row)
        return {
            "id": session.id,
            "title": stored.info.title,
            "rows": rows,
            "cursor": cursor,
            "live": live is not None,
            "usage": usage_row(stored.info.usage, self.agent.limits.prices),
        }
