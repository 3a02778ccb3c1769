"""What comes in the middle of a store's work: Ctrl-C, and the garbage collector."""

from __future__ import annotations

import gc
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
import sqlalchemy as sa

from agentkit.errors import StoreError
from agentkit.stores import _sqlite_rows, sqlite
from agentkit.stores.base import AddMessage, StoredMessage
from agentkit.stores.sql import SQLStore
from agentkit.stores.sqlite import SQLiteStore
from agentkit.wire.content import user_content


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "chats.db"


@pytest.fixture
def store(db: Path) -> Iterator[SQLiteStore]:
    with SQLiteStore(db, busy_timeout=0.1) as opened:
        yield opened


def is_held(db: Path) -> bool:
    with closing(sqlite3.connect(db)) as connection:
        return connection.execute("SELECT 1 FROM writers").fetchone() is not None


class Interrupted(sqlite3.Connection):
    """A connection that the user interrupts with Ctrl-C, right after its transaction was stored."""

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        done = super().execute(statement, *values)
        if statement == "COMMIT":
            raise KeyboardInterrupt
        return done


@pytest.mark.parametrize("doing", ["taking", "releasing"])
def test_a_writer_that_is_interrupted_when_it_was_just_stored_is_in_nobodys_way(
    store: SQLiteStore, db: Path, doing: str
) -> None:
    store.create("ann")
    writer = store.write("ann") if doing == "releasing" else None
    connection = store._file._connected()
    with closing(sqlite3.connect(db, isolation_level=None, factory=Interrupted)) as interrupted:
        store._file._connection = interrupted
        with pytest.raises(KeyboardInterrupt) as caught:
            writer.release() if writer else store.write("ann")
        store._file._connection = connection
    assert is_held(db) == (doing == "taking")
    store.write("ann").append([AddMessage(user_content("x"))])
    assert caught.tb is not None  # what it was doing may still be held by its traceback


class Levels(sqlite3.Connection):
    """A connection that notes how safe from a power loss each transaction is; once it is interrupted."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.levels: list[int] = []
        self.stop_at = ""

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        done = super().execute(statement, *values)
        if statement == "BEGIN IMMEDIATE":
            self.levels += super().execute("PRAGMA synchronous").fetchone()
        if self.stop_at and self.stop_at in statement:
            self.stop_at = ""
            raise KeyboardInterrupt
        return done


def test_all_is_safe_from_a_power_loss_but_that_a_session_was_taken_or_given_back(
    store: SQLiteStore, db: Path
) -> None:
    full, normal = 2, 1
    with closing(sqlite3.connect(db, isolation_level=None, factory=Levels)) as connection:
        store._file._disconnect()
        store._file._connection, store._file._durable = connection, None
        store.create("ann")
        writer = store.write("ann")
        for _ in range(2):
            writer.append([AddMessage(user_content("x"))])
        writer.release()
        assert connection.levels == [full, normal, full, full, normal]
        for statement in ("synchronous", "BEGIN IMMEDIATE"):
            store.rename("ann", "title")
            connection.stop_at, connection.levels = statement, []
            with pytest.raises(KeyboardInterrupt):
                store.write("ann")
            store.rename("ann", "title")
            assert connection.levels[-1] == full
        store._file._connection = None


def test_an_interrupt_before_a_release_began_leaves_the_session_free(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*leases: object) -> None:
        raise KeyboardInterrupt

    store.create("ann")
    writer = store.write("ann")
    with monkeypatch.context() as interrupted:
        interrupted.setattr(store, "_release", interrupt)
        with pytest.raises(KeyboardInterrupt):
            writer.release()
    writer.release()
    store.write("ann").append([AddMessage(user_content("x"))])


class Late:
    """Something in a cycle that nobody closed: it does `last` when the garbage collector finds it."""

    def __init__(self, last: Callable[[], object]) -> None:
        self.cycle = self
        self.last = last
        self.error: list[BaseException] = []

    def __del__(self) -> None:
        try:
            self.last()
        except StoreError as error:
            self.error.append(error)


LAST: dict[str, Callable[[SQLiteStore, Any], object]] = {
    "append": lambda store, writer: writer.append([AddMessage(user_content("late"))]),
    "release": lambda store, writer: writer.release(),
    "info": lambda store, writer: store.info("bob"),
    "load": lambda store, writer: store.load("bob"),
    "create": lambda store, writer: store.create("eve"),
    "check": lambda store, writer: store.check(),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", LAST)
def test_what_is_collected_in_the_middle_of_a_transaction_leaves_it_whole(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def insert_message(*args: Any) -> None:
        _sqlite_rows.insert_message(*args)
        gc.collect()

    store.create("bob")
    bob = store.write("bob")
    late = Late(lambda: LAST[kind](store, bob))
    errors = late.error
    gc.disable()
    try:
        del late
        monkeypatch.setattr(sqlite, "insert_message", insert_message)
        messages = [StoredMessage(seq=n, content=user_content(str(n)), created=1.0) for n in range(3)]
        store.create("ann", messages=messages)
    finally:
        gc.enable()
    assert [m.seq for m in store.load("ann").messages] == [0, 1, 2]
    assert store.check() == [] and [info.id for info in store.list()] == ["ann", "bob"]
    if kind in ("release", "check"):
        assert errors == []
        bob.release()
    else:
        assert "in the middle of a transaction" in str(errors)
        bob.append([AddMessage(user_content("in time"))])
        bob.release()
    store.write("bob").release()


def test_what_is_released_in_the_middle_of_a_transaction_is_free_after_it(store: SQLiteStore) -> None:
    store.create("ann")
    writer = store.write("ann")
    with store._file.writing():
        writer.release()
    store.write("ann").append([AddMessage(user_content("x"))])


def test_a_transaction_that_fails_in_the_middle_leaves_the_next_one_alone(store: SQLiteStore) -> None:
    with pytest.raises(KeyboardInterrupt), store._file.writing():
        raise KeyboardInterrupt
    store.create("ann")
    assert store.check() == []


@pytest.mark.slow
@pytest.mark.parametrize("open_store", [SQLiteStore, lambda db: SQLStore(f"sqlite:///{db}")])
def test_a_store_leaves_nothing_in_memory(db: Path, open_store: Callable[[Path], Any]) -> None:
    def functions() -> int:
        gc.collect()
        return sum(isinstance(thing, FunctionType) for thing in gc.get_objects())

    open_store(db).close()
    before = functions()
    for _ in range(20):
        open_store(db).close()
    assert functions() - before < 20


# -- SQLStore


@pytest.fixture
def sql_store(url: str) -> Iterator[SQLStore]:
    with SQLStore(url, timeout=5) as opened:
        yield opened


@pytest.mark.parametrize("doing", ["taking", "releasing"])
def test_a_writer_in_a_database_that_is_interrupted_when_it_was_just_stored_is_in_nobodys_way(
    sql_store: SQLStore, url: str, monkeypatch: pytest.MonkeyPatch, doing: str
) -> None:
    def interrupt(*args: Any, **kwargs: Any) -> Any:
        real(*args, **kwargs)
        raise KeyboardInterrupt

    sql_store.create("ann")
    writer = sql_store.write("ann") if doing == "releasing" else None
    at: Any = sql_store._leases if sql_store._database.postgres else sql_store._database
    name = "_call" if sql_store._database.postgres else "_commit"
    real = getattr(at, name)
    with monkeypatch.context() as interrupted:
        interrupted.setattr(at, name, interrupt)
        with pytest.raises(KeyboardInterrupt) as caught:
            writer.release() if writer else sql_store.write("ann")
    mine = sql_store.write("ann")
    mine.append([AddMessage(user_content("x"))])
    mine.release()
    with SQLStore(url) as other:
        other.write("ann").append([AddMessage(user_content("y"))])
    assert caught.tb is not None  # what it was doing may still be held by its traceback
    assert not sql_store._leases.dropped


def test_what_is_used_in_the_middle_of_a_transaction_on_a_database_does_not_wait_for_itself(
    sql_store: SQLStore, url: str
) -> None:
    sql_store.create("ann")
    writer = sql_store.write("ann")
    with sql_store._database.writing() as rows:
        rows.update("ann", title="whole")
        with pytest.raises(StoreError, match="in the middle of a transaction"):
            writer.append([AddMessage(user_content("late"))])
        assert sql_store.info("ann").title is None
        writer.release()
    assert sql_store.info("ann").title == "whole"
    sql_store.write("ann").append([AddMessage(user_content("x"))])


def test_what_is_released_while_another_lease_is_taken_is_free_after_it(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SQLStore(postgres) as store:
        store.create("ann")
        store.create("bob")
        bob = store.write("bob")
        leases: Any = store._leases
        real = leases._call

        def collect(function: sa.Function[Any]) -> bool:
            bob.release()
            return bool(real(function))

        with monkeypatch.context() as collected:
            collected.setattr(leases, "_call", collect)
            store.write("ann").append([AddMessage(user_content("x"))])
        store.write("bob").append([AddMessage(user_content("x"))])
