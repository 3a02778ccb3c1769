"""Workers: take tasks, run them, take over what others left, and keep house."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from zoneinfo import ZoneInfo

from agentkit.agent import Agent
from agentkit.drivers.threads import off_loop
from agentkit.durable.engine import ALONE, Claimed
from agentkit.durable.running import Running
from agentkit.durable.schema import CANCELLED, QUEUED
from agentkit.durable.signals import key_of
from agentkit.errors import ConfigurationError, StoreError
from agentkit.stores.rows import Statement

if TYPE_CHECKING:
    from agentkit.durable.queue import Queue

_log = logging.getLogger("agentkit.durable")
_BEAT = 0.3
"""Seconds between two looks at who has died, who was cancelled and what is due."""
_GRACE = 5.0
"""Seconds after a loss of the connection in which nobody is declared dead: all come back first."""
_ALONE = 2
"""Deaths after which a task runs with no other such task beside it, so that those beside a deadly one don't count."""
_HOUSEKEEPING = 30.0

# A task whose worker isn't registered any more.
_LEFT = """status = 'PENDING' AND NOT EXISTS (SELECT 1 FROM {p}queue_workers k WHERE k.id = executor_id)"""
_BACK = "status = 'ENQUEUED', owner_xid = NULL, executor_id = NULL, started_at_epoch_ms = NULL"
_DEATHS = "(SELECT deaths FROM {p}queue_tasks t WHERE t.task = workflow_uuid)"


def queue_of(agent: str) -> str:
    """Name the engine's queue of an agent's tasks: workers that don't have the agent leave them to others."""
    return f"agentkit.{agent}"


class Workers:
    """Runs tasks in a thread of this process, many at a time, while the block lasts.

    Leaving it takes no more tasks, and gives those that run `drain` seconds to finish; what is left then goes to
    other workers, or waits for the next one, and goes on as after a crash.

    Args:
        queue: Whose tasks.
        concurrency: How many at a time.
        drain: How long to wait at the end, in seconds.
        deaths: Workers that a task may kill before it is given up.
        patience: Seconds for which a task waits for a model or a store that is away, before it fails.
    """

    def __init__(self, queue: Queue, *, concurrency: int, drain: float, deaths: int, patience: float) -> None:
        for name, value in (("concurrency", concurrency), ("deaths", deaths)):
            if type(value) is not int or value < 1:
                raise ConfigurationError(f"workers({name}={value!r}): give a whole number above 0.")
        if not queue.agents:
            raise ConfigurationError("workers(): the queue has no agents; give them to Queue({name: agent}).")
        self.id = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._queue = queue
        self._engine = queue.engine
        self._concurrency, self._drain = concurrency, drain
        self._deaths, self._patience = deaths, patience
        self._running: dict[str, Running] = {}
        self._names = [queue_of(name) for name in queue.agents]
        self._thread = threading.Thread(target=self._work, name="agentkit-workers", daemon=True)
        self._ready = threading.Event()
        self._failed: BaseException | None = None
        self._odd_schedules: set[str] = set()
        self._stop = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        if self._failed is not None:
            self._thread.join()
            raise self._failed
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.stop()
        self._thread.join()

    def stop(self) -> None:
        """Begin to drain; may be called from a signal's handler, and more than once."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)

    def _work(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:
            self._failed = error
            if self._ready.is_set():
                _log.exception("The workers ended.")
        finally:
            self._ready.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._wake, self._look = asyncio.Event(), asyncio.Event()
        self._claiming = False
        self._suspects: set[str] = set()
        self._quiet_until = 0.0
        self._connection: Any = None
        self._next_housekeeping = time.monotonic() + _HOUSEKEEPING / 2
        await off_loop(self._register)
        loops = [asyncio.create_task(each()) for each in (self._claim_all, self._beat_all)]
        signals = self._queue.signals
        told = {QUEUED: self._wake, CANCELLED: self._look}
        with (
            signals.waiting([QUEUED], lambda: self._soon(told[QUEUED])),
            signals.waiting([CANCELLED], lambda: self._soon(told[CANCELLED])),
        ):
            self._ready.set()
            await self._stop.wait()
            loops[0].cancel()
            await self._drained()
            loops[1].cancel()
        await asyncio.gather(*loops, return_exceptions=True)

    def _soon(self, event: asyncio.Event) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(event.set)

    async def _drained(self) -> None:
        """Let what runs finish, or park it for others."""
        running = [*self._running.values()]
        if running:
            await asyncio.wait([each.task for each in running], timeout=self._drain)
        left = [each for each in running if not each.task.done()]
        for each in left:
            each.end("parked")
        if left:
            await asyncio.wait([each.task for each in left], timeout=5)
        back = f"UPDATE {{engine}}workflow_status SET {_BACK} WHERE status = 'PENDING' AND executor_id = ?"
        gone = "DELETE FROM {p}queue_workers WHERE id = ?"
        try:
            await off_loop(lambda: self._engine.run([(back, (self.id,)), (gone, (self.id,))]))
        except StoreError:
            _log.warning("The database is unavailable: other workers take over what is left.")

    # -- taking tasks

    async def _claim_all(self) -> None:
        while True:
            self._wake.clear()
            try:
                await self._claim()
            except StoreError as error:
                _log.warning("No tasks can be taken: %s", error)
                await asyncio.sleep(1)
            try:
                async with asyncio.timeout(1.0):
                    await self._wake.wait()
            except TimeoutError:
                pass
            await asyncio.sleep(0.005)  # what is sent together is taken together

    async def _claim(self) -> None:
        """Take as many tasks as there is room for."""
        room = self._concurrency - len(self._running)
        if room < 1:
            return
        alone = not any(each.claimed.alone for each in self._running.values())
        self._claiming = True
        try:
            claimed = await off_loop(lambda: self._engine.claim(self._names, self.id, room, alone=alone))
            for each in claimed:
                self._begin(each)
        finally:
            self._claiming = False
        self._queue.signals.tell(key_of(f"task:{each.id}") for each in claimed)

    def _begin(self, claimed: Claimed) -> None:
        running = Running(claimed, self._queue, self._patience)
        self._running[claimed.fence + claimed.id] = running

        def done(_: object) -> None:
            del self._running[claimed.fence + claimed.id]
            self._queue.log.leave(f"task:{claimed.id}", claimed.fence)
            self._wake.set()

        running.task.add_done_callback(done)

    # -- looking after tasks

    async def _beat_all(self) -> None:
        while True:
            self._look.clear()
            try:
                await self._beat()
            except StoreError as error:
                _log.warning("The database is unavailable: %s", error)
            except Exception:
                _log.exception("A look at the queue failed.")
            try:
                async with asyncio.timeout(_BEAT):
                    await self._look.wait()
                    await asyncio.sleep(0.05)
            except TimeoutError:
                pass

    async def _beat(self) -> None:
        held = set(self._running)
        claiming = self._claiming
        registered, gone, delayed, mine = await off_loop(self._read)
        if not registered:  # others took this worker for dead, and have its tasks
            for each in [*self._running.values()]:
                each.end("lost")
            self.id = f"{self.id.rpartition(':')[0]}:{secrets.token_hex(4)}"
            await off_loop(self._register)
            self._wake.set()
            return
        found = {fence + id for id, fence in mine}
        for key in held - found:
            if (running := self._running.get(key)) is not None:
                await self._see_why(running)
        orphans = found - set(self._running) if not claiming and not self._claiming else set()
        if lost := orphans & self._suspects:  # taken, but that wasn't heard
            await off_loop(lambda: self._give_back(lost, mine))
        self._suspects = orphans
        if gone:
            await off_loop(self._take_over)
        if delayed:
            await off_loop(self._engine.let_delayed_go)
        await off_loop(self._fire)
        if time.monotonic() >= self._next_housekeeping:
            self._next_housekeeping = time.monotonic() + _HOUSEKEEPING
            await off_loop(self._queue.tidy)

    def _register(self) -> None:
        text = "INSERT INTO {p}queue_workers (id, owner, updated) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
        self._owner = self._engine.db.owner()
        self._noted = time.monotonic()
        self._engine.run([(text, (self.id, self._owner, time.time()))])

    def _read(self) -> tuple[list[Any], list[Any], list[Any], list[Any]]:
        """Look: whether this worker counts as alive, which others don't, what is due, and what is this worker's."""
        database = self._engine.db
        owner, connection = database.owner(), getattr(database, "_lease", None)
        if connection is not self._connection:
            if self._connection is not None or self._server_is_new():
                self._quiet_until = time.monotonic() + _GRACE
            self._connection = connection
        if (self._engine.postgres and owner != self._owner) or time.monotonic() - self._noted > 60:
            text = "UPDATE {p}queue_workers SET owner = ?, updated = ? WHERE id = ?"
            self._engine.run([(text, (owner, time.time(), self.id))])
            self._owner, self._noted = owner, time.monotonic()
        mine = """SELECT workflow_uuid, owner_xid FROM {engine}workflow_status
            WHERE status = 'PENDING' AND executor_id = ?"""
        due = "SELECT 1 FROM {engine}workflow_status WHERE status = 'DELAYED' AND delay_until_epoch_ms <= ? LIMIT 1"
        registered, gone, left, delayed, own = self._engine.run(
            [
                ("SELECT 1 FROM {p}queue_workers WHERE id = ?", (self.id,)),
                ("SELECT s.id FROM {p}queue_workers s WHERE s.id <> ? AND {gone}", (self.id,)),
                (f"SELECT 1 FROM {{engine}}workflow_status WHERE {_LEFT} LIMIT 1", ()),
                (due, (int(time.time() * 1000),)),
                (mine, (self.id,)),
            ],
            write=False,
        )
        quiet = self._engine.postgres and time.monotonic() < self._quiet_until
        return registered, [] if quiet else [*gone, *left], delayed, own

    def _server_is_new(self) -> bool:
        """Return whether PostgreSQL was just started, so that others may be about to come back."""
        text = "SELECT clock_timestamp() - pg_postmaster_start_time() < interval '5 seconds'"
        return bool(self._engine.postgres and self._engine.run([(text, ())], write=False)[0][0][0])

    async def _see_why(self, running: Running) -> None:
        """End a run whose task isn't this worker's any more."""
        task = await off_loop(lambda: self._queue.get(running.claimed.id))
        running.end("cancelled" if task is not None and task.status == "cancelled" else "lost")

    def _take_over(self) -> None:
        """Take the tasks of workers that have ended, count the death, and give up those that killed too many."""
        over = f"{_LEFT} AND {_DEATHS} >= ?"
        now = int(time.time() * 1000)
        texts: list[Statement] = [
            ("DELETE FROM {p}queue_workers AS s WHERE s.id <> ? AND {gone}", (self.id,)),
            (
                (
                    "UPDATE {p}queue_tasks SET deaths = deaths + 1 WHERE task IN "
                    f"(SELECT workflow_uuid FROM {{engine}}workflow_status WHERE {_LEFT})"
                ),
                (),
            ),
            (
                (
                    "UPDATE {engine}workflow_status SET status = 'MAX_RECOVERY_ATTEMPTS_EXCEEDED', owner_xid = NULL, "
                    f"queue_name = NULL, updated_at = ?, completed_at = ? WHERE {over}"
                ),
                (now, now, self._deaths),
            ),
            (
                (
                    f"UPDATE {{engine}}workflow_status SET {_BACK}, queue_name = CASE WHEN {_DEATHS} >= {_ALONE} "
                    f"AND queue_name NOT LIKE '%{ALONE}' THEN queue_name || '{ALONE}' ELSE queue_name END WHERE {_LEFT}"
                ),
                (),
            ),
        ]
        self._engine.run(texts)

    def _give_back(self, lost: set[str], mine: list[Any]) -> None:
        text = f"""UPDATE {{engine}}workflow_status SET {_BACK}, recovery_attempts = recovery_attempts - 1
            WHERE status = 'PENDING' AND workflow_uuid = ? AND owner_xid = ?"""
        self._engine.run([(text, (id, fence)) for id, fence in mine if fence + id in lost])

    # -- schedules

    def _fire(self) -> None:
        """Send what schedules say is due; what was missed while no worker ran, once."""
        if time.monotonic() < getattr(self, "_next_firing", 0.0):
            return
        self._next_firing = time.monotonic() + 0.5
        if not self._queue.has_schedules():
            return
        for schedule in self._engine.schedules():
            try:
                if (due := due_since(schedule)) is not None:
                    self._queue.fire(schedule["schedule_name"], schedule["context"], due)
                    self._engine.note_fired(schedule["schedule_name"], due)
            except StoreError:
                raise
            except Exception:  # its zone isn't known here, say: the others go on
                if (name := schedule["schedule_name"]) not in self._odd_schedules:
                    self._odd_schedules.add(name)
                    _log.exception("The schedule %r can't be followed.", name)


def due_since(schedule: Mapping[str, Any], now: datetime | None = None) -> datetime | None:
    """Return the last time at which a schedule was due, if nothing was sent for it yet."""
    from croniter import CroniterBadDateError, croniter

    zone = schedule.get("cron_timezone")
    here = (now or datetime.now(UTC)).astimezone(ZoneInfo(zone) if zone else UTC)
    last = datetime.fromisoformat(schedule.get("last_fired_at") or schedule["context"]["since"])
    try:
        due: datetime = croniter(schedule["schedule"], here, second_at_beginning=True).get_prev(datetime)
    except CroniterBadDateError:  # there was no such time yet
        return None
    return due if due > last else None


def check_times(cron: str) -> None:
    """Raise ConfigurationError unless these are times of which one is still to come."""
    from croniter import croniter

    try:
        croniter(cron, datetime.now(UTC), second_at_beginning=True).get_next()
    except ValueError as error:
        raise ConfigurationError(
            f"cron={cron!r:.80}: give times in cron's form, one of which is still to come, such as '0 7 * * *' for"
            f" seven o'clock each day ({error})"
        ) from error


def by_name(agents: Agent[Any] | Mapping[str, Agent[Any]]) -> dict[str, Agent[Any]]:
    """Name agents."""
    return {agents.name: agents} if isinstance(agents, Agent) else dict(agents)
