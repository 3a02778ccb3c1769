"""All that knows DBOS, the engine behind a queue: its tables, its client, and the few of its inner parts that are used.

Its tables are in the store's own database: in PostgreSQL in a schema of their own, in SQLite in the same file. It is
used without its runtime, of which there is one in a process and which the user's own program may need: it keeps,
ends, cancels, delays and lists. Tasks are taken by statements of ours, so that who takes one tells so in the same
transaction; what runs is ours.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from agentkit.durable.schema import CHANNEL, POSTGRES_NOW, SQLITE_NOW, VERSION, statements
from agentkit.errors import ConfigurationError, StoreError, how_to_install
from agentkit.stores.postgres import PostgresStore
from agentkit.stores.rows import Statement
from agentkit.stores.store import SessionStore

if TYPE_CHECKING:
    from dbos import DBOSClient

T = TypeVar("T")
_APPLICATION = "agentkit"
_TASK = "agentkit.task"
_VERSION = "agentkit-1"
"""Of what a task's row holds, not of the code: nothing is replayed, so any code may take any task over."""
_PATIENCE = 60.0
"""Seconds to wait for a database that is away."""
_OPENING = threading.Lock()
_POOL: Any = {"pool_size": 2, "max_overflow": 2}
"""Its connections, beside the store's."""
_FIRST = """SELECT * FROM (SELECT workflow_uuid, priority, created_at FROM {{engine}}workflow_status
    WHERE queue_name IN ({names}) AND status = 'ENQUEUED' {lock}) AS waiting"""
ALONE = "!"
"""Ends the names of the queues of tasks that may have killed workers."""
_ANY = "SELECT 1 FROM {{engine}}workflow_status WHERE status = 'ENQUEUED' AND queue_name IN ({names}) LIMIT 1"
_OLDEST = "ORDER BY priority, created_at LIMIT ?"
_MINE = "status = 'PENDING' AND owner_xid = ?"
# A worker takes what is first in these queues, and the streams of that; it tells so, and reads what it has. One that
# others took for dead takes nothing until it has noticed: they would take that over at once, and count a death.
_TAKE = """WITH me AS MATERIALIZED (SELECT id FROM {{p}}queue_workers WHERE id = ?{alive}), next AS MATERIALIZED (
        SELECT workflow_uuid FROM ({first}) AS found ORDER BY priority, created_at LIMIT ?)
    UPDATE {{engine}}workflow_status SET status = 'PENDING', owner_xid = ?, executor_id = ?, application_version = ?,
    started_at_epoch_ms = {now}, updated_at = {now}, recovery_attempts = coalesce(recovery_attempts, 0) + 1
    WHERE workflow_uuid IN (SELECT workflow_uuid FROM next) AND status = 'ENQUEUED' AND EXISTS (SELECT 1 FROM me)"""
_STREAMS = f"""INSERT INTO {{p}}event_streams (stream, seq, lost, fence, ended, updated)
    SELECT 'task:' || workflow_uuid, {{now}} + 1, {{now}}, owner_xid, 0, {{now}} / 1000.0
    FROM {{engine}}workflow_status WHERE {_MINE} ON CONFLICT (stream) DO UPDATE SET
    seq = {{p}}event_streams.seq + 1, fence = excluded.fence, updated = excluded.updated
    WHERE {{p}}event_streams.ended = 0 AND {{p}}event_streams.fence <> excluded.fence"""
_TELL = f"""INSERT INTO {{p}}event_rows (stream, seq, count, rows)
    SELECT s.stream, s.seq, 1, '[{{"type":"task_started","attempt":' || w.recovery_attempts || '}}]'
    FROM {{engine}}workflow_status w JOIN {{p}}event_streams s ON s.stream = 'task:' || w.workflow_uuid
    WHERE {_MINE} ON CONFLICT DO NOTHING"""
_NOTIFY = f"""SELECT pg_notify('{CHANNEL}', left(md5('task:' || workflow_uuid), 16))
    FROM {{engine}}workflow_status WHERE {_MINE}"""
_READ = f"""SELECT w.workflow_uuid, w.recovery_attempts, w.queue_name, coalesce(i.inputs, w.inputs), s.seq
    FROM {{engine}}workflow_status w JOIN {{p}}event_streams s ON s.stream = 'task:' || w.workflow_uuid
    LEFT JOIN {{engine}}workflow_input i ON i.workflow_uuid = w.workflow_uuid
    WHERE {_MINE} ORDER BY w.priority, w.created_at"""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A task that this process is to run."""

    id: str
    fence: str
    """What its end has to show."""
    attempt: int
    given: dict[str, Any]
    seq: int
    """The number of the row that tells of its start, the last of its stream so far."""
    alone: bool
    """Whether it is one that may have killed workers."""


class Engine:
    """The engine in the database of a store.

    Args:
        store: `SQLiteStore` of a file, or `PostgresStore`.

    Raises:
        ConfigurationError: It is another store, or dbos isn't installed.
        StoreError: The database can't be reached or changed.
    """

    def __init__(self, store: SessionStore) -> None:
        if getattr(getattr(store, "_db", None), "memory", True) and not _is_postgres(store):
            raise ConfigurationError(
                f"A queue needs a store that outlives the process, a SQLiteStore of a file or a PostgresStore; "
                f"not {store!r:.80}."
            )
        self.db: Any = store._db
        self.postgres = _is_postgres(store)
        self._schema = ""
        self._made: tuple[int, DBOSClient] | None = None
        self._lock = threading.Lock()
        with _OPENING:
            self._set_up()

    def run(self, texts: Sequence[Statement], *, write: bool = True) -> list[list[Any]]:
        """Run statements on our tables and the engine's, `{engine}workflow_status` say, in one transaction."""
        made = [(text.replace("{engine}", self._schema), values) for text, values in texts]
        rows: list[list[Any]] = self.db.run(made, write=write, again=True)
        return rows

    # -- tasks

    def enqueue(
        self, id: str, queue: str, chat: str, task: dict[str, Any], *, priority: int, delay: float | None
    ) -> None:
        """Add a task, once: one of that id which is there stays as it is."""
        options: Any = {
            "workflow_name": _TASK,
            "workflow_id": id,
            "queue_name": queue,
            "queue_partition_key": chat,
            "priority": priority,
        }
        if delay is not None:
            options["delay_seconds"] = delay
        self._call(lambda client: client.enqueue(options, task))

    def claim(self, queues: Sequence[str], worker: str, most: int, *, alone: bool = True) -> list[Claimed]:
        """Take tasks for a worker that has room for so many: by priority, then age; each is told to have started.

        Args:
            queues: Whose.
            worker: Its id, as it is registered; one that isn't gets none.
            most: How many.
            alone: Whether it may take one that may have killed workers.
        """
        fence = uuid.uuid4().hex
        lock = f"{_OLDEST} FOR UPDATE SKIP LOCKED"
        if not self.postgres:
            lock = f"AND status IN ('ENQUEUED', 'PENDING') {_OLDEST}"  # the words of the index
            names = (*queues, *(f"{name}{ALONE}" for name in queues))
            if not self.run([(_ANY.format(names=_marks(names)), names)], write=False)[0]:
                return []  # who only reads waits for nobody
        first = [_FIRST.format(names="?", lock=lock) for _ in queues]
        values: list[Any] = [value for name in queues for value in (name, most)]
        if alone:
            first.append(_FIRST.format(names=_marks(queues), lock=lock))
            values += [*(f"{name}{ALONE}" for name in queues), 1]
        now = POSTGRES_NOW if self.postgres else SQLITE_NOW
        alive = " FOR KEY SHARE" if self.postgres else ""
        take = _TAKE.format(first=" UNION ALL ".join(first), now=now, alive=alive)
        *_, rows = self.run(
            [
                (take, (worker, *values, most, fence, worker, _VERSION)),
                (_STREAMS.replace("{now}", now), (fence,)),
                (_TELL, (fence,)),
                *([(_NOTIFY, (fence,))] if self.postgres else []),
                (_READ, (fence,)),
            ]
        )
        return [
            Claimed(id, fence, attempt, json.loads(given)["args"][0], seq, queue.endswith(ALONE))
            for id, attempt, queue, given, seq in rows
        ]

    def finish(self, task: Claimed, *, output: Any = None, error: str | None = None) -> bool:
        """Note how a task ended; return whether it was still this process's."""
        status: Any = "SUCCESS" if error is None else "ERROR"
        given = {"output": json.dumps(output)} if error is None else {"error": json.dumps(error)}
        return self._call(
            lambda client: client._sys_db.update_workflow_outcome(
                task.id, status, owner_xid=task.fence, **given
            )
        )

    def cancel(self, ids: Sequence[str]) -> None:
        """End tasks that haven't ended."""
        self._call(lambda client: client.cancel_workflows([*ids]))

    def delete(self, ids: Sequence[str]) -> None:
        """Forget tasks, and what was told of them."""
        self._call(lambda client: client.delete_workflows([*ids]))

    def let_delayed_go(self) -> None:
        """Let the tasks be taken whose delay is over."""
        self._call(lambda client: client._sys_db.transition_delayed_workflows())

    # -- schedules

    def set_schedule(self, name: str, cron: str, timezone: str | None, context: dict[str, Any]) -> None:
        """Keep a schedule; one of that name is replaced."""
        entry: Any = {
            "schedule_name": name,
            "workflow_name": _TASK,
            "schedule": cron,
            "context": context,
            "cron_timezone": timezone,
        }
        self._call(lambda client: client.apply_schedules([entry]))

    def delete_schedule(self, name: str) -> None:
        """Forget a schedule."""
        self._call(lambda client: client.delete_schedule(name))

    def schedules(self) -> list[Any]:
        """List the schedules, as the engine's dicts."""
        return self._call(lambda client: [*client.list_schedules()])

    def note_fired(self, name: str, at: datetime) -> None:
        """Note up to when a schedule has been seen to."""
        self._call(lambda client: client._sys_db.update_last_fired_at(name, at.isoformat()))

    # -- the engine itself

    def close(self) -> None:
        """Let go of its connections."""
        with self._lock:
            if self._made is not None and self._made[0] == os.getpid():
                self._made[1].destroy()
                self._made[1]._sys_db.engine.dispose()
            self._made = None

    def _set_up(self) -> None:
        if self.postgres:
            ((schema,),) = self.db.run([("SELECT current_schema()", ())], write=False)[0]
            own = "agentkit_queue" if schema == "public" else f"{schema}_queue"
            self._schema, tables = f'"{own}".', f'"{schema}".agentkit_'
            lock = [("SELECT pg_advisory_xact_lock(1634953588)", ())]
        else:
            tables, lock = "", []
        self._call(lambda client: client._sys_db.run_migrations())  # of a newer engine, too
        if not self._is_set_up():
            made = statements(self._schema, tables, postgres=self.postgres)
            self.db.run([*lock, *((text, ()) for text in made)], again=True)

    def _is_set_up(self) -> bool:
        trigger = f"agentkit_forgotten_{VERSION}"  # the last that is made
        there = "SELECT 1 FROM sqlite_schema WHERE name = ?"
        if self.postgres:
            trigger = f"{self._schema}{trigger}()"
            there = "SELECT 1 WHERE to_regprocedure(?) IS NOT NULL"
        return bool(self.db.run([(there, (trigger,))], write=False)[0])

    def _call(self, function: Callable[[DBOSClient], T]) -> T:
        """Ask the engine, again and again while the database is away. All that is asked may be asked twice."""
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                return function(self._client())
            except Exception as error:
                passes, told = self._in_words(error)
            if not passes or time.monotonic() >= until:
                raise told  # out here, so that the engine's words aren't its context
            time.sleep(0.2)

    def _in_words(self, error: Exception) -> tuple[bool, Exception]:
        """Say whether an error may pass, and make one of ours of it, which shows no statement, value or password."""
        import sqlalchemy.exc
        from dbos import error as dbos_error

        match error:
            case sqlalchemy.exc.DBAPIError():
                passes = error.connection_invalidated or isinstance(error, sqlalchemy.exc.OperationalError)
                told = f"{self.db.name} can't be used: {type(error.orig).__name__}."
                return passes, StoreError(told)
            case sqlalchemy.exc.SQLAlchemyError():
                passes = isinstance(error, sqlalchemy.exc.TimeoutError)
                return passes, StoreError(f"{self.db.name} can't be used: {type(error).__name__}.")
            case dbos_error.DBOSException():
                return False, ConfigurationError(f"{self.db.name}: {error.message}")
        return self.postgres and _is_operational(error), error

    def _client(self) -> DBOSClient:
        with self._lock:
            if self._made is None or self._made[0] != os.getpid():  # connections don't cross a fork
                self._made = (os.getpid(), self._connect())
            return self._made[1]

    def _connect(self) -> DBOSClient:
        try:
            import sqlalchemy
            from dbos import DBOSClient, Serializer
        except ImportError as error:
            raise ConfigurationError(f"A queue needs dbos ({error}): {how_to_install('durable')}") from error
        quiet = logging.getLogger("dbos")
        if not quiet.handlers:  # else what it logs would go to stderr
            quiet.addHandler(logging.NullHandler())
        if self.postgres:
            import psycopg
            from psycopg.conninfo import make_conninfo

            info = make_conninfo(**self.db._params)
            engine = sqlalchemy.create_engine(
                "postgresql+psycopg://", creator=lambda: psycopg.connect(info), **_POOL
            )
        else:
            engine = sqlalchemy.create_engine(
                f"sqlite:///{self.db.path}", connect_args={"timeout": 30}, **_POOL
            )
            sqlalchemy.event.listen(engine, "connect", _use_immediate)
        client = DBOSClient(
            system_database_engine=engine,
            dbos_system_schema=self._schema.strip('".') or None,
            serializer=_serializer(Serializer),
            application_name=_APPLICATION,
            lazy=True,
            retry_connection_errors=False,
        )
        if not self.postgres:  # its own times are whole seconds in a file, on older versions of Python
            now = sqlalchemy.cast(sqlalchemy.literal_column(SQLITE_NOW), sqlalchemy.BigInteger)
            client._sys_db._now_ms_sql = lambda: now  # type: ignore[method-assign]
        return client


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def _is_postgres(store: Any) -> bool:
    return isinstance(store, PostgresStore)


def _is_operational(error: Exception) -> bool:
    """Return whether PostgreSQL couldn't be reached: what is raised while a connection is made comes as it is."""
    import psycopg

    return isinstance(error, psycopg.OperationalError)


def _use_immediate(connection: Any, _: Any) -> None:
    """Have SQLite's transactions wait for each other at their beginning, as the engine expects."""
    connection.isolation_level = "IMMEDIATE"
    connection.execute("PRAGMA foreign_keys = ON")


def _serializer(base: Any) -> Any:
    class Json(base):  # type: ignore[misc]
        """JSON in ASCII, which every text column can hold; never pickle."""

        def serialize(self, data: Any) -> str:
            return json.dumps(data, separators=(",", ":"))

        def deserialize(self, serialized_data: str) -> Any:
            return json.loads(serialized_data)

        def name(self) -> str:
            return "agentkit"

    return Json()
