"""Messages to chats, queued for workers: any process sends, watches, decides and cancels; workers run them."""

from __future__ import annotations

import builtins
import hashlib
import json
import time
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

from agentkit.agent import Agent
from agentkit.chats.pending import pending_in
from agentkit.durable.async_queue import AsyncQueue
from agentkit.durable.engine import Engine
from agentkit.durable.log import DurableEventLog, Row
from agentkit.durable.running import MakeDeps
from agentkit.durable.schema import NEVER
from agentkit.durable.signals import LOOK_AGAIN, Signals, key_of, told_here
from agentkit.durable.task import (
    STATUSES,
    EventsLost,
    Status,
    Task,
    TaskEnded,
    TaskEvent,
    TaskStarted,
    as_json,
    check_id,
    decision_to_wire,
    read_task,
)
from agentkit.durable.workers import Workers, by_name, check_times, queue_of
from agentkit.errors import ConfigurationError, DecisionError, SessionNotFound
from agentkit.events import from_wire
from agentkit.memory.base import Memory
from agentkit.output import Output, OutputType
from agentkit.stores.rows import begins
from agentkit.stores.store import SessionStore
from agentkit.tooling.decisions import Decision, PendingCall
from agentkit.wire.arguments import checked
from agentkit.wire.convert import UserInput, user_input

T = TypeVar("T")
DAY = 86_400.0
_LONGEST = 36_500 * DAY
"""Seconds of a delay: what is later can't be told from what is held back."""
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_UNSAID: Any = object()
_TASKS = """SELECT t.task, t.chat, t.deaths, w.status, w.priority, w.recovery_attempts, w.created_at,
    w.started_at_epoch_ms, w.completed_at, coalesce(i.inputs, w.inputs), o.output, o.error, t.n
    FROM {p}queue_tasks t JOIN {engine}workflow_status w ON w.workflow_uuid = t.task
    LEFT JOIN {engine}workflow_input i ON i.workflow_uuid = t.task
    LEFT JOIN {engine}workflow_output o ON o.workflow_uuid = t.task"""
_OPTIONS = {"model", "instructions", "config", "tool_choice", "seconds"}


@checked
class Queue:
    """Chats of agents, in a store, run by workers: in this process, or in many on many machines.

    Whoever sends needs no agents, and no worker in its process. With a `SQLiteStore`, all are on one machine; with
    a `PostgresStore`, anywhere. Async counterparts of the methods are under `aio`.

    The messages of a chat run one after the other; between chats, the lower priority goes first, then the older
    message. A message is sent to its chat once, however often its task is taken: what a worker that ended had done
    is in the chat's history, and the next one goes on from there. See `Chat.resume` for what becomes of calls that
    were under way.

    Args:
        agents: One, or several by name; none in a process that has no workers.
        store: Where the chats and the tasks are.
        deps: Makes what tools get as `ctx.deps`, on the worker, from the `user_data` of a task: a function, or a
            generator function that yields it once and then closes it; either may be async.
        memory: What part of a history is sent; see `Agent.chat`.
        output: The type of answers; see `Agent.run`.
        keep: Seconds for which tasks that have ended are kept, with what was told of them. Chats stay.

    Raises:
        ConfigurationError: The store can't hold a queue, or the extra `durable` isn't installed.
        StoreError: The database can't be reached, or not be changed.
    """

    def __init__(
        self,
        agents: Agent[Any] | Mapping[str, Agent[Any]],
        *,
        store: SessionStore,
        deps: MakeDeps | None = None,
        memory: Memory | Iterable[Memory] | None = None,
        output: OutputType[Any] = None,
        keep: float = 7 * DAY,
    ) -> None:
        self.agents = {check_id("An agent's name", name): agent for name, agent in by_name(agents).items()}
        if not keep >= 0:
            raise ConfigurationError(f"Queue(keep={keep!r}): give a number of seconds, 0 or more.")
        self.store, self.keep = store, keep
        self.deps, self.memory = deps, memory
        self.output = output if output is None or isinstance(output, Output) else Output[Any](output)
        self.engine = Engine(store)
        self.signals = Signals(self.engine.db)
        self.log = DurableEventLog(self.engine.db, self.signals)

    @cached_property
    def aio(self) -> AsyncQueue:
        """The same methods for async callers."""
        return AsyncQueue(self)

    # -- sending

    def send(
        self,
        chat: str,
        message: UserInput,
        *,
        agent: str | None = None,
        id: str | None = None,
        user_data: Any = None,
        options: Mapping[str, Any] | None = None,
        priority: int = 10,
        delay: float | None = None,
    ) -> str:
        """Send a message to a chat, which is made if it isn't there; return the task's id.

        Args:
            chat: The chat's id.
            message: What is said.
            agent: Who answers; the only one by default.
            id: Of the message, made where that is made: the same chat and id are the same task, however often and
                from wherever they are sent.
            user_data: JSON that `deps` gets on the worker.
            options: Of the run, as far as they are JSON: `model`, `instructions`, `config`, `tool_choice`, and
                `seconds`, how long it may take where the agent's limits don't say less.
            priority: The lower goes first.
            delay: Seconds before which it isn't taken.

        Raises:
            ConfigurationError: There is no such agent, or something can't be written down.
        """
        message_id = uuid.uuid4().hex if id is None else check_id("A message's id", id)
        contents = as_json("A message", user_input(message))
        task = {"message": contents, "message_id": message_id}
        return self._enqueue(message_id, chat, task, self._agent(agent), user_data, options, priority, delay)

    def decide(
        self,
        chat: str,
        decisions: Mapping[str, Decision],
        *,
        task: str | None = None,
        agent: str | None = None,
        user_data: Any = _UNSAID,
        options: Mapping[str, Any] | None = None,
        priority: int = 5,
    ) -> str:
        """Say what becomes of calls that wait, and let the chat go on; return the id of the task that does it.

        The same decisions about the same task's calls are one task. Without decisions, the chat goes on where its
        last run stopped, as `Chat.resume` does.

        Args:
            chat: The chat's id.
            decisions: By `call_id`, for calls of `task.pending`.
            task: The id of the task whose `pending` was shown; by default the chat's last that has one of the calls.
                A call whose tool was declared anew since then waits again, in the new task.
            agent: Who goes on; by default the agent of that task, or of the chat's last.
            user_data: For `deps`; by default that task's, or the chat's last one's.
            options: Of the run; by default that task's, or the chat's last one's.
            priority: The lower goes first.

        Raises:
            ConfigurationError: Something isn't a decision, or is about a call that doesn't wait: where a task of the
                chat is still to end, which may come to it, the new task fails instead.
        """
        wire = {
            check_id("A call's id", call): decision_to_wire(each) for call, each in sorted(decisions.items())
        }
        about = self._asking(chat, wire, task) if wire else task
        id = f"decide-{_hashed(chat, about, wire)}" if wire else f"resume-{uuid.uuid4().hex}"
        return self._go_on(id, chat, {"decisions": wire}, about, agent, user_data, options, priority)

    def resolve(
        self,
        chat: str,
        call_id: str,
        *,
        result: Any = _UNSAID,
        retry: bool = False,
        agent: str | None = None,
        priority: int = 5,
    ) -> str:
        """Say what became of a call of which nobody knows whether it took effect, and let the chat go on.

        Return the id of the task that does it. Should its worker end meanwhile, nothing is said again in your name.

        Args:
            chat: The chat's id.
            call_id: The call's, of `task.pending`, where its kind is `unknown_effect`.
            result: What the tool returned, or would have.
            retry: True if it took no effect, so that it may run.
            agent: Who goes on; by default the agent of the task that has the call, or of the chat's last.
            priority: The lower goes first.

        Raises:
            ConfigurationError: It isn't said which of the two it is, or no such call waits; see `decide`.
        """
        if (result is _UNSAID) is not retry:
            raise ConfigurationError("resolve(): give either result=..., or retry=True if it took no effect.")
        said = {"retry": True} if retry else as_json("A result", {"result": result})
        task = {"resolved": {check_id("A call's id", call_id): said}}
        about = self._asking(chat, [call_id])
        return self._go_on(f"resolve-{uuid.uuid4().hex}", chat, task, about, agent, _UNSAID, None, priority)

    def retry(self, task: str) -> str:
        """Send a task again that failed or was cancelled; return the new task's id, the same each time.

        Its message keeps its own id: what the chat has of it is not said twice.

        Raises:
            ConfigurationError: There is no such task, or it has not failed.
        """
        found = self._rows_of(task)
        old = read_task(found[0][:-1]) if found else None
        if old is None or old.status not in ("failed", "cancelled"):
            raise ConfigurationError(
                f"retry({task!r}): " + (f"it is {old.status}." if old else "there is no such task.")
            )
        where, _, id = task.partition("/")
        base, _, number = where.rpartition("=")
        again = f"{base}={int(number) + 1}/{id}" if base else f"{where}=2/{id}"  # no chat is quoted so
        given = json.loads(found[0][9])["args"][0]
        self.engine.enqueue(again, queue_of(old.agent), old.chat, given, priority=found[0][4], delay=None)
        return again

    def _go_on(
        self,
        id: str,
        chat: str,
        task: Row,
        about: str | None,
        agent: str | None,
        user_data: Any,
        options: Mapping[str, Any] | None,
        priority: int,
    ) -> str:
        last = self._given_to(chat, about)
        agent = self._agent(last.get("agent") if agent is None else agent)
        user_data = last.get("user_data") if user_data is _UNSAID else user_data
        options = last.get("options") if options is None else options
        return self._enqueue(id, chat, task, agent, user_data, options, priority, None)

    def _asking(self, chat: str, calls: Collection[str], task: str | None = None) -> str | None:
        """Return the task that waits for these calls, the chat's last one unless it is named.

        Raises:
            DecisionError: One of them waits neither there nor in the chat, which is at rest.
        """
        found = (self.get(task),) if task is not None else self.list(chat=chat, status="done", limit=100)
        asking = [t for t in found if t and t.chat == chat and any(p.call_id in calls for p in t.pending)]
        left = set(calls).difference(p.call_id for t in asking[:1] for p in t.pending)
        if left and not self.list(chat=chat, status=("queued", "running"), limit=1):
            left.difference_update(call.call_id for call in self._waiting(chat))
            if left:
                raise DecisionError(f"The chat {chat!r} has no pending call with the id {min(left)!r}.")
        return task or (asking[0].id if asking else None)

    def _waiting(self, chat: str) -> builtins.list[PendingCall]:
        """Return the calls that wait in a chat, whoever sent what it has."""
        with suppress(SessionNotFound):
            last = self.store.load(chat, start=max(0, self.store.info(chat).messages - 1))
            if last.messages and last.calls:
                return pending_in(last.messages[-1].content, last.calls)
        return []

    def _given_to(self, chat: str, task: str | None) -> Row:
        """Return what a task of a chat was given; if it has no such task any more, its last."""
        text = f"{_TASKS} WHERE t.chat = ? ORDER BY t.task = ? DESC, t.n DESC LIMIT 1"
        (found,) = self.engine.run([(text, (chat, task or ""))], write=False)
        return json.loads(found[0][9])["args"][0] if found else {}

    def _agent(self, name: str | None) -> str:
        if name is None and len(self.agents) == 1:
            return next(iter(self.agents))
        if name is None:
            raise ConfigurationError(f"Name an agent: agent=...; this queue has {sorted(self.agents)}.")
        if self.agents and name not in self.agents:
            raise ConfigurationError(f"There is no agent {name!r}; this queue has {sorted(self.agents)}.")
        return check_id("An agent's name", name)

    def _enqueue(
        self,
        id: str,
        chat: str,
        task: Row,
        agent: str,
        user_data: Any,
        options: Mapping[str, Any] | None,
        priority: int,
        delay: float | None,
    ) -> str:
        if delay is not None and not 0 <= delay <= _LONGEST:
            raise ConfigurationError(f"delay={delay!r}: give seconds from 0 to {_LONGEST:.0f}.")
        if type(priority) is not int or not 0 <= priority <= 1_000_000:
            raise ConfigurationError(f"priority={priority!r}: give a whole number from 0 to 1000000.")
        if odd := set(options or {}) - _OPTIONS:
            raise ConfigurationError(f"options={sorted(odd)}: a task takes {', '.join(sorted(_OPTIONS))}.")
        seconds = (options or {}).get("seconds")
        if seconds is not None and (type(seconds) not in (int, float) or not seconds > 0):
            raise ConfigurationError(f"options={{'seconds': {seconds!r:.80}}}: give a number above 0.")
        given = {
            **task,
            "chat": check_id("A chat's id", chat),
            "agent": agent,
            "user_data": as_json("user_data", user_data),
            "options": as_json("options", dict(options or {})),
        }
        name = f"{quote(chat, safe='@:+ ')}/{id}"
        self.engine.enqueue(name, queue_of(agent), chat, given, priority=priority, delay=delay)
        return name

    # -- looking

    def get(self, task: str) -> Task | None:
        """Return a task as it is now; None if there is none, or it is no longer kept."""
        found = self._rows_of(task)
        return read_task(found[0][:-1]) if found else None

    def _rows_of(self, task: str) -> builtins.list[Any]:
        if not task.isprintable():  # no task is named so, and no database takes any text
            return []
        return self.engine.run([(f"{_TASKS} WHERE t.task = ?", (task,))], write=False)[0]

    def list(
        self,
        *,
        chat: str | None = None,
        prefix: str = "",
        status: Status | Sequence[Status] | None = None,
        limit: int = 50,
        before: str | None = None,
    ) -> Sequence[Task]:
        """List tasks, the last sent first.

        Args:
            chat: Of this chat alone.
            prefix: Of chats whose ids begin with this.
            status: Of this status, or one of these.
            limit: How many.
            before: Those sent before this task: the last one of the page before.

        Raises:
            ConfigurationError: There is no such status.
        """
        wanted = (status,) if isinstance(status, str) else status
        if odd := set(wanted or ()) - set(STATUSES.values()):
            raise ConfigurationError(
                f"status={sorted(map(str, odd))}: one of {', '.join(dict.fromkeys(STATUSES.values()))}."
            )
        if not all(each.isprintable() for each in (chat or "", prefix, before or "")):
            return []  # no chat or task is named so, and no database takes any text
        words = [word for word, each in STATUSES.items() if wanted is None or each in wanted]
        where, given = [f"w.status IN ({', '.join('?' * len(words))})"], [*words]
        if chat is not None:
            where, given = [*where, "t.chat = ?"], [*given, chat]
        own, values = begins(prefix, "t.chat")
        where, given = [*where, *own], [*given, *values]
        if before is not None:
            where, given = [*where, "t.n < (SELECT n FROM {p}queue_tasks WHERE task = ?)"], [*given, before]
        text = f"{_TASKS} WHERE {' AND '.join(where)} ORDER BY t.n DESC LIMIT ?"
        (found,) = self.engine.run([(text, (*given, max(0, limit)))], write=False)
        return [read_task(row[:-1]) for row in found]

    def watch(self, task: str, *, after: int | None = None) -> Iterator[tuple[int, TaskEvent]]:
        """Follow a task: each event with its cursor, from after a cursor on; the last one is its `TaskEnded`.

        Whoever comes late, or again, gets all that is kept: the pieces of a text that came within 50 ms are one.

        Raises:
            ConfigurationError: There is no such task.
        """
        with told_here(self.signals, [self._key(task)]) as told:
            while True:
                told.clear()
                for cursor, event in self._news(task, after):
                    after = cursor
                    yield cursor, event
                    if isinstance(event, TaskEnded):
                        return
                told.wait(LOOK_AGAIN)

    def wait(self, task: str, timeout: float | None = None) -> Task:
        """Wait until a task has ended; return it.

        Raises:
            TimeoutError: It hasn't within `timeout` seconds.
            ConfigurationError: There is no such task.
        """
        until = None if timeout is None else time.monotonic() + timeout
        with told_here(self.signals, [self._key(task)]) as told:
            while True:
                told.clear()
                found = self._there(task)
                if found.is_over:
                    return found
                if until is not None and time.monotonic() >= until:
                    raise TimeoutError(f"The task {task!r} is still {found.status}.")
                told.wait(
                    LOOK_AGAIN if until is None else max(0.0, min(LOOK_AGAIN, until - time.monotonic()))
                )

    def cancel(self, task: str) -> None:
        """End a task, wherever it is; one that has ended stays as it is.

        What its run has done by then stays in the chat, with calls that were not finished answered as cancelled.

        Raises:
            ConfigurationError: There is no such task.
        """
        self._there(task)
        self.engine.cancel([task])
        self.signals.tell([self._key(task)])

    def _key(self, task: str) -> str:
        """Name what tells of a task. Raises ConfigurationError if none can be called so."""
        return key_of(f"task:{task}") if task.isprintable() else key_of(f"task:{self._there(task).id}")

    def _there(self, task: str) -> Task:
        if (found := self.get(task)) is None:
            raise ConfigurationError(f"There is no task {task!r}: it was never sent, or is no longer kept.")
        return found

    def _news(self, task: str, after: int | None) -> builtins.list[tuple[int, TaskEvent]]:
        """Read what was told of a task since a cursor."""
        rows = self.log.look(f"task:{task}", after)
        out: builtins.list[tuple[int, TaskEvent]] = []
        if rows is None:
            out.append((after or 0, EventsLost()))
            rows = self.log.look(f"task:{task}", None) or []
        if not rows and self._there(task).is_over and not self.log.look(f"task:{task}", after):
            return [*out, (after or 0, TaskEnded(self._there(task)))]  # seen to its end before
        return out + [(row["seq"], self._event(task, row)) for row in rows]

    def _event(self, task: str, row: Row) -> TaskEvent:
        match row:
            case {"type": "task_started"}:
                return TaskStarted(row["attempt"])
            case {"type": "task_ended"}:
                return TaskEnded(self._there(task))
        return from_wire(row)

    # -- schedules

    def schedule(
        self,
        name: str,
        cron: str,
        chat: str,
        message: UserInput,
        *,
        agent: str | None = None,
        user_data: Any = None,
        timezone: str | None = None,
    ) -> None:
        """Send a message again and again, once for each time; a schedule of that name is replaced.

        Of the times at which no worker ran, the last one is made up for.

        Args:
            name: The schedule's.
            cron: When: minute, hour, day of the month, month, day of the week; with six fields, seconds come first.
            chat: The chat's id.
            message: What is said.
            agent: Who answers; the only one by default.
            user_data: JSON that `deps` gets on the worker.
            timezone: Of the times, by its IANA name; UTC by default.

        Raises:
            ConfigurationError: The times can't be read, or there is no such agent.
        """
        check_times(cron)
        check_id("A schedule's name, and a time,", f"{name}@{_now():{_TIME}}")
        context = {
            "chat": check_id("A chat's id", chat),
            "message": as_json("A message", user_input(message)),
            "agent": self._agent(agent),
            "user_data": as_json("user_data", user_data),
            "since": _now().isoformat(),
        }
        self.engine.set_schedule(name, cron, timezone, context)

    def unschedule(self, name: str) -> None:
        """Forget a schedule; what it has sent stays."""
        self.engine.delete_schedule(name)

    def schedules(self) -> Mapping[str, str]:
        """Return the schedules' times by their names."""
        return {each["schedule_name"]: each["schedule"] for each in self.engine.schedules()}

    def has_schedules(self) -> bool:
        """Return whether there is any."""
        return bool(
            self.engine.run([("SELECT 1 FROM {engine}workflow_schedules LIMIT 1", ())], write=False)[0]
        )

    def fire(self, name: str, context: Row, due: datetime) -> None:
        """Send a schedule's message for a time."""
        id = f"{name}@{due.astimezone(UTC):{_TIME}}"
        task = {"message": context["message"], "message_id": id}
        self._enqueue(id, context["chat"], task, context["agent"], context["user_data"], None, 10, None)

    # -- workers and the end

    def workers(
        self, *, concurrency: int = 50, drain: float = 30.0, deaths: int = 3, patience: float = 300.0
    ) -> Workers:
        """Run tasks in this process while the `with` block lasts; see `Workers`."""
        return Workers(self, concurrency=concurrency, drain=drain, deaths=deaths, patience=patience)

    def tidy(self) -> None:
        """Forget what has been over for longer than `keep`. Workers do it now and then."""
        before = time.time() - self.keep
        text = "SELECT workflow_uuid FROM {engine}workflow_status WHERE completed_at < ? LIMIT 500"
        while found := self.engine.run([(text, (int(before * 1000),))], write=False)[0]:
            self.engine.delete([id for (id,) in found])
        free = f"""UPDATE {{engine}}workflow_status SET status = 'ENQUEUED', delay_until_epoch_ms = NULL
            WHERE workflow_uuid IN (SELECT t.task FROM {{p}}queue_tasks t WHERE t.n IN (
                SELECT min(t.n) FROM {{p}}queue_tasks t JOIN {{engine}}workflow_status w ON w.workflow_uuid = t.task
                WHERE w.status = 'DELAYED' AND w.delay_until_epoch_ms = {NEVER} AND NOT EXISTS (
                    SELECT 1 FROM {{engine}}workflow_status o WHERE o.queue_partition_key = t.chat
                    AND o.status IN ('ENQUEUED', 'PENDING')) GROUP BY t.chat))"""
        self.engine.run([(free, ())])  # a database that was changed by hand, say
        self.log.trim()
        self.log.forget_before(before)

    def close(self) -> None:
        """Let go of connections; the store stays open."""
        self.log.close()
        self.signals.close()
        self.engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


def _hashed(*what: Any) -> str:
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:32]


def _now() -> datetime:
    return datetime.now(UTC)
