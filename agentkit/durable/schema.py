"""The tables of a queue beside the engine's and the store's, and what the database itself does when a task changes.

A task is a row of the engine's table of workflows. Triggers on that table see to it, whoever changes a row and in
the same transaction, that messages of a chat run one after the other, that the end of a task is told to those who
watch it, and that whoever waits is woken.
"""

from __future__ import annotations

from collections.abc import Sequence

VERSION = 1
"""Of the tables and triggers: part of the triggers' names."""
NEVER = 9_000_000_000_000_000
"""The time until which a task is held back while another of its chat has not ended, in milliseconds."""
SQLITE_NOW = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"
"""The time in milliseconds since 1970; `unixepoch('subsec')` needs a newer SQLite."""
POSTGRES_NOW = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
CHANNEL = "agentkit_queue"
"""Where PostgreSQL tells that something changed."""
QUEUED = "queue"
"""What it tells there when a task may be taken; else the key of a stream."""
CANCELLED = "cancelled"
"""What it tells there when a task was cancelled, which may be running."""
ENDED = "'SUCCESS', 'ERROR', 'CANCELLED', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED'"

TABLES = (
    # In the order of sending; `deaths` counts workers that ended while they ran the task.
    """CREATE TABLE IF NOT EXISTS {p}queue_tasks (
        n {serial}, task {id} NOT NULL UNIQUE, chat {id} NOT NULL, deaths {int} NOT NULL DEFAULT 0){strict}""",
    "CREATE INDEX IF NOT EXISTS {p}queue_tasks_by_chat ON {p}queue_tasks (chat, n)",
    # `owner` is what a store names a living process by: see `Dialect.owner`.
    """CREATE TABLE IF NOT EXISTS {p}queue_workers (
        id {id} PRIMARY KEY, owner TEXT NOT NULL, updated {float} NOT NULL){strict}""",
    # `lost` is the number of the last row that is kept no more; `fence` is what a writer must know to write.
    """CREATE TABLE IF NOT EXISTS {p}event_streams (
        stream {id} PRIMARY KEY, seq {int} NOT NULL, lost {int} NOT NULL, fence TEXT NOT NULL, ended {int} NOT NULL,
        updated {float} NOT NULL){strict}""",
    "CREATE INDEX IF NOT EXISTS {p}event_streams_by_time ON {p}event_streams (updated)",
    # `rows` is a JSON list; `seq` is the number of its last one.
    """CREATE TABLE IF NOT EXISTS {p}event_rows (
        stream {id} NOT NULL REFERENCES {p}event_streams ON DELETE CASCADE, seq {int} NOT NULL, count {int} NOT NULL,
        rows TEXT NOT NULL, PRIMARY KEY (stream, seq)){strict}""",
    """CREATE INDEX IF NOT EXISTS agentkit_tasks_of_chats ON {engine}workflow_status (queue_partition_key)
        WHERE status IN ('ENQUEUED', 'PENDING', 'DELAYED')""",
)

_BUSY = """EXISTS (SELECT 1 FROM {engine}workflow_status o WHERE o.queue_partition_key = new.queue_partition_key
    AND o.status IN ('ENQUEUED', 'PENDING') AND o.workflow_uuid <> new.workflow_uuid)"""
_HOLD = "UPDATE {engine}workflow_status SET status = 'DELAYED', delay_until_epoch_ms = {never}"
_NEXT = """UPDATE {engine}workflow_status SET status = 'ENQUEUED', delay_until_epoch_ms = NULL WHERE workflow_uuid = (
    SELECT w.workflow_uuid FROM {engine}workflow_status w JOIN {store}queue_tasks t ON t.task = w.workflow_uuid
    WHERE w.queue_partition_key = new.queue_partition_key AND w.status = 'DELAYED'
    AND w.delay_until_epoch_ms = {never} ORDER BY w.priority, t.n LIMIT 1)"""
_END = """INSERT INTO {store}event_streams (stream, seq, lost, fence, ended, updated)
    VALUES ('task:' || new.workflow_uuid, {now} + 1, {now}, '', 1, {now} / 1000.0)
    ON CONFLICT (stream) DO UPDATE SET seq = {streams}.seq + 1, ended = 1, updated = excluded.updated"""
_LAST = """INSERT INTO {store}event_rows (stream, seq, count, rows)
    SELECT stream, seq, 1, '[{"type":"task_ended"}]' FROM {store}event_streams
    WHERE stream = 'task:' || new.workflow_uuid"""
_FORGET = (
    "DELETE FROM {store}queue_tasks WHERE task = old.workflow_uuid",
    "DELETE FROM {store}event_streams WHERE stream = 'task:' || old.workflow_uuid",
)

_SQLITE = (
    (
        "CREATE TRIGGER IF NOT EXISTS agentkit_added_{version} AFTER INSERT ON workflow_status BEGIN "
        "INSERT OR IGNORE INTO queue_tasks (task, chat) VALUES (new.workflow_uuid, new.queue_partition_key); "
        "UPDATE workflow_status SET created_at = {now} WHERE workflow_uuid = new.workflow_uuid; "  # it has seconds only
        f"{_HOLD} WHERE workflow_uuid = new.workflow_uuid AND new.status = 'ENQUEUED' AND {_BUSY}; END"
    ),
    (
        "CREATE TRIGGER IF NOT EXISTS agentkit_ready_{version} AFTER UPDATE OF status ON workflow_status "
        "WHEN new.status = 'ENQUEUED' AND old.status NOT IN ('ENQUEUED', 'PENDING') BEGIN "
        f"{_HOLD} WHERE workflow_uuid = new.workflow_uuid AND {_BUSY}; END"
    ),
    (
        "CREATE TRIGGER IF NOT EXISTS agentkit_ended_{version} AFTER UPDATE OF status ON workflow_status "
        f"WHEN new.status IN ({ENDED}) AND old.status NOT IN ({ENDED}) BEGIN {_END}; {_LAST}; "
        f"{_NEXT} AND old.status IN ('ENQUEUED', 'PENDING'); END"
    ),
    (
        "CREATE TRIGGER IF NOT EXISTS agentkit_forgotten_{version} AFTER DELETE ON workflow_status BEGIN "
        f"{'; '.join(_FORGET)}; END"
    ),
)

# Who changes what of a chat waits for each other: none sees a chat free that another is about to take.
_LOCK = "PERFORM pg_advisory_xact_lock(hashtextextended(new.queue_partition_key, 1634953588))"
_POSTGRES = (
    f"""CREATE OR REPLACE FUNCTION {{engine}}agentkit_changed_{{version}}() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE was text := CASE WHEN TG_OP = 'INSERT' THEN 'DELAYED' ELSE old.status END;
BEGIN
    IF TG_OP = 'INSERT' THEN
        {_LOCK};
        INSERT INTO {{store}}queue_tasks (task, chat) VALUES (new.workflow_uuid, new.queue_partition_key)
            ON CONFLICT DO NOTHING;
    END IF;
    IF new.status = 'ENQUEUED' AND was <> 'ENQUEUED' THEN
        IF was <> 'PENDING' THEN
            {_LOCK};
            IF {_BUSY} THEN
                {_HOLD} WHERE workflow_uuid = new.workflow_uuid;
                RETURN NULL;
            END IF;
        END IF;
        PERFORM pg_notify('{CHANNEL}', '{QUEUED}');
    ELSIF new.status IN ({ENDED}) AND was NOT IN ({ENDED}) THEN
        {_LOCK};
        {_END};
        {_LAST};
        IF was IN ('ENQUEUED', 'PENDING') THEN
            {_NEXT};
        END IF;
        IF new.status = 'CANCELLED' AND was = 'PENDING' THEN
            PERFORM pg_notify('{CHANNEL}', '{CANCELLED}');
        END IF;
        PERFORM pg_notify('{CHANNEL}', left(md5('task:' || new.workflow_uuid), 16));
    END IF;
    RETURN NULL;
END $$""",
    f"""CREATE OR REPLACE FUNCTION {{engine}}agentkit_forgotten_{{version}}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    {"; ".join(_FORGET)};
    RETURN NULL;
END $$""",
    (
        "CREATE OR REPLACE TRIGGER agentkit_changed AFTER INSERT OR UPDATE OF status ON {engine}workflow_status "
        "FOR EACH ROW EXECUTE FUNCTION {engine}agentkit_changed_{version}()"
    ),
    (
        "CREATE OR REPLACE TRIGGER agentkit_forgotten AFTER DELETE ON {engine}workflow_status "
        "FOR EACH ROW EXECUTE FUNCTION {engine}agentkit_forgotten_{version}()"
    ),
)


def statements(engine: str, store: str, *, postgres: bool) -> Sequence[str]:
    """Make the statements that make all of it, if it isn't there.

    Args:
        engine: What comes before the names of the engine's tables: a schema and a dot, or nothing.
        store: What comes before the names of these tables.
        postgres: Whether it is for PostgreSQL; else for SQLite.
    """
    values = {
        "engine": engine,
        "store": store,
        "streams": f"{store.rpartition('.')[2]}event_streams",
        "never": str(NEVER),
        "version": str(VERSION),
        "now": POSTGRES_NOW if postgres else SQLITE_NOW,
    }
    made = [*TABLES, *(_POSTGRES if postgres else _SQLITE)]
    for name, value in values.items():
        made = [text.replace(f"{{{name}}}", value) for text in made]
    return made
