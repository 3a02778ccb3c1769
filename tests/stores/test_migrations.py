"""Databases that an earlier agentkit made are opened and brought up to date; `old/` has what they were."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from agentkit.limits import Usage
from agentkit.stores import _sql_schema, _sqlite_schema
from agentkit.stores.base import (
    AddMessage,
    Cut,
    DeferCall,
    FinishCall,
    SaveResult,
    SessionStore,
    StoredSummary,
)
from agentkit.stores.sql import SQLStore
from agentkit.stores.sqlite import SQLiteStore
from agentkit.wire.content import Content, model_content, user_content
from tests.helpers.postgres import schema_url
from tests.helpers.sql import run
from tests.helpers.stored_chats import ASK, CALL, LEDGER, NOON, RAIN
from tests.stores.conftest import STORES

OLD = Path(__file__).parent / "old"
Make = Callable[[Path], None]


def old_sqlite(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "chats.db")) as connection:
        connection.executescript((OLD / "sqlite_1.sql").read_text())
        connection.execute("PRAGMA journal_mode = WAL")


def old_sqlite_without_index(folder: Path) -> None:
    text = (OLD / "sqlite_1.sql").read_text()
    begin, end = text.index("CREATE VIEW"), text.index("INSERT INTO sessions")
    with closing(sqlite3.connect(folder / "chats.db")) as connection:
        connection.executescript(text[:begin] + text[end:])


def old_sql(url: str) -> None:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        for statement in (OLD / f"sql_1_{engine.dialect.name}.sql").read_text().split(";\n"):
            if statement.strip():
                connection.exec_driver_sql(statement)


DATABASES: dict[str, tuple[str, Make]] = {
    "sqlite": ("sqlite", old_sqlite),
    "sqlite without FTS5": ("sqlite", old_sqlite_without_index),
    "postgres": ("postgres", lambda folder: old_sql(schema_url(folder))),
    "sql-sqlite": ("sql-sqlite", lambda folder: old_sql(f"sqlite:///{folder / 'sql.db'}")),
}


@pytest.fixture(params=DATABASES)
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Any]:
    kind, make = DATABASES[request.param]
    make(tmp_path)
    return lambda: STORES[kind](tmp_path)


def contents(store: SessionStore) -> list[Content]:
    return [message.content for message in store.load("ann").messages]


def test_a_database_of_schema_1_is_read_whole(reopen: Callable[[], Any]) -> None:
    with reopen() as store:
        session = store.load("ann")
        assert contents(store) == [user_content("hello"), model_content("hi"), ASK, CALL]
        assert [message.finish_reason for message in session.messages] == [None, "STOP", None, None]
        started = [replace(call, started=True) for call in LEDGER]
        assert list(session.calls) == [started[0], replace(started[1], response=NOON)]
        assert session.summary == StoredSummary(upto=2, text="greetings")
        info = session.info
        assert (info.title, info.model, info.instructions) == ("Weather", "m", "Be kind.")
        assert (info.usage, info.messages) == (Usage(requests=2, total_tokens=16), 4)
        assert [hit.seq for hit in store.search("weather")] == [2]
        assert list(store.results("ann")) == [] and store.result("ann", "run-1-0") is None


def test_a_database_of_schema_1_takes_what_is_new(reopen: Callable[[], Any]) -> None:
    with reopen() as store:
        version = store.info("ann").version
        writer = store.write("ann")
        writer.append([DeferCall(0, {"until": "noon"}), SaveResult("run-1-0", "whole rain")])
        writer.append([FinishCall(0, RAIN), AddMessage({"role": "user", "parts": [RAIN, NOON]})])
        writer.append([AddMessage(model_content("Rain.")), SaveResult("x", "later")])
        assert store.info("ann").version == version + 6
    with reopen() as store:
        assert store.result("ann", "run-1-0") == "whole rain"
        assert [result.seq for result in store.results("ann")] == [4, 6]
        store.write("ann").append([Cut(4)])
        assert len(contents(store)) == 4 and list(store.results("ann")) == []
        if isinstance(store, SQLiteStore):
            assert store.check() == []
        store.delete("ann")
        assert list(store.search("weather")) == []


def test_an_old_database_that_many_open_at_once_is_migrated_once(reopen: Callable[[], Any]) -> None:
    def open_it(_: int) -> list[Content]:
        with reopen() as store:
            return contents(store)

    with ThreadPoolExecutor(6) as threads:
        assert all(len(found) == 4 for found in threads.map(open_it, range(6)))


def columns(db: Path) -> dict[str, Any]:
    with closing(sqlite3.connect(db)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema ORDER BY name")]
        return {name: connection.execute(f"PRAGMA table_info('{name}')").fetchall() for name in names}


def test_a_migrated_file_is_like_a_new_one(tmp_path: Path) -> None:
    old_sqlite(tmp_path)
    for name in ("chats.db", "new.db"):
        SQLiteStore(tmp_path / name).close()
    assert columns(tmp_path / "chats.db") == columns(tmp_path / "new.db")
    with closing(sqlite3.connect(tmp_path / "chats.db")) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(_sqlite_schema.MIGRATIONS),)


def test_a_migrated_database_counts_its_migrations(url: str) -> None:
    old_sql(url)
    SQLStore(url).close()
    numbers = [(number + 1,) for number in range(len(_sql_schema.MIGRATIONS))]
    assert run(url, "SELECT version FROM agentkit_schema ORDER BY version") == numbers
