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

from agentkit.errors import SessionConflict, StoreError
from agentkit.stores import postgres_database, sqlite_file, sqlite_tables
from agentkit.stores.base import Message
from agentkit.stores.postgres import PostgresStore
from agentkit.stores.sqlite import SQLiteStore
from agentkit.wire.content import user_content
from tests.helpers.stored_chats import added
from tests.stores.conftest import STORES


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "chats.db"


@pytest.fixture
def store(db: Path) -> Iterator[SQLiteStore]:
    with SQLiteStore(db, busy_timeout=0.1) as opened:
        yield opened


def is_held(db: Path) -> bool:
    with closing(sqlite3.connect(db)) as connection:
        return connection.execute("SELECT 1 FROM sessions WHERE owner IS NOT NULL").fetchone() is not None


class Interrupted(sqlite3.Connection):
    """A connection that the user interrupts with Ctrl-C, right after its transaction was stored."""

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        done = super().execute(statement, *values)
        if statement == "COMMIT":
            raise KeyboardInterrupt
        return done


DOING: dict[str, Callable[[SQLiteStore, Any], object]] = {
    "taking": lambda store, _: store.write("ann"),
    "appending": lambda _, writer: writer.append([added(user_content("x"))]),
    "releasing": lambda _, writer: writer.release(),
}


@pytest.mark.parametrize("doing", DOING)
def test_a_writer_that_is_interrupted_when_it_was_just_stored_is_in_nobodys_way(
    store: SQLiteStore, db: Path, doing: str
) -> None:
    store.create("ann")
    writer = None if doing == "taking" else store.write("ann")
    connection = store._db._connected()
    with closing(sqlite3.connect(db, isolation_level=None, factory=Interrupted)) as interrupted:
        interrupted.create_function("gone", 2, sqlite_file._gone)
        store._db._connection = interrupted
        with pytest.raises(KeyboardInterrupt) as caught:
            DOING[doing](store, writer)
        store._db._connection = connection
    if doing == "appending" and writer is not None:
        assert is_held(db) and store.info("ann").messages == 1
        with pytest.raises(SessionConflict):  # it doesn't know what it has stored
            writer.append([added(user_content("y"))])
        writer.release()
    assert is_held(db) == (doing == "taking")
    store.write("ann").append([added(user_content("z"))])
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
        connection.create_function("gone", 2, sqlite_file._gone)
        store._db._disconnect()
        store._db._connection, store._db._durable = connection, None
        store.create("ann")
        writer = store.write("ann")
        for _ in range(2):
            writer.append([added(user_content("x"))])
        writer.release()
        assert connection.levels == [full, normal, full, full, normal]
        for statement in ("synchronous", "BEGIN IMMEDIATE"):
            store.rename("ann", "title")
            connection.stop_at, connection.levels = statement, []
            with pytest.raises(KeyboardInterrupt):
                store.write("ann")
            store.rename("ann", "title")
            assert connection.levels[-1] == full
        store._db._connection = None


def test_an_interrupt_before_a_release_began_leaves_the_session_free(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*leases: object) -> None:
        raise KeyboardInterrupt

    store.create("ann")
    writer = store.write("ann")
    with monkeypatch.context() as interrupted:
        interrupted.setattr(store, "_give_back", interrupt)
        with pytest.raises(KeyboardInterrupt):
            writer.release()
    writer.release()
    store.write("ann").append([added(user_content("x"))])


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
    "append": lambda store, writer: writer.append([added(user_content("late"))]),
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
    real = sqlite_tables.filled

    def collect(text: str) -> str:
        if "INSERT INTO {p}messages" in text:
            gc.collect()
        return real(text)

    store.create("bob")
    bob = store.write("bob")
    late = Late(lambda: LAST[kind](store, bob))
    errors = late.error
    gc.disable()
    try:
        del late
        monkeypatch.setattr(sqlite_file, "filled", collect)
        messages = [Message(content=user_content(str(n)), created=1.0) for n in range(3)]
        store.create("ann", messages=messages)
    finally:
        gc.enable()
    assert len(store.load("ann").messages) == 3
    assert store.check() == [] and [info.id for info in store.list()] == ["ann", "bob"]
    if kind in ("release", "check"):
        assert errors == []
        bob.release()
    else:
        assert "in the middle of a transaction" in str(errors)
        bob.append([added(user_content("in time"))])
        bob.release()
    store.write("bob").release()


def test_a_transaction_that_fails_in_the_middle_leaves_the_next_one_alone(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(text: str) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as interrupted:
        interrupted.setattr(sqlite_file, "filled", interrupt)
        with pytest.raises(KeyboardInterrupt):
            store.create("ann")
    store.create("ann")
    assert store.check() == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgres", "memory"])
def test_a_store_leaves_nothing_in_memory(tmp_path: Path, kind: str) -> None:
    def functions() -> int:
        gc.collect()
        return sum(isinstance(thing, FunctionType) for thing in gc.get_objects())

    STORES[kind](tmp_path).__exit__(None, None, None)
    before = functions()
    for _ in range(20):
        STORES[kind](tmp_path).__exit__(None, None, None)
    assert functions() - before < 20


# -- PostgresStore


@pytest.fixture
def postgres_store(postgres: str) -> Iterator[PostgresStore]:
    with PostgresStore(postgres, timeout=5) as opened:
        yield opened


@pytest.mark.parametrize("doing", ["taking", "releasing"])
def test_a_writer_in_a_database_that_is_interrupted_when_it_was_just_stored_is_in_nobodys_way(
    postgres_store: PostgresStore, postgres: str, monkeypatch: pytest.MonkeyPatch, doing: str
) -> None:
    def interrupt(*args: Any, **given: Any) -> Any:
        real(*args, **given)
        raise KeyboardInterrupt

    postgres_store.create("ann")
    writer = postgres_store.write("ann") if doing == "releasing" else None
    real = postgres_database._send
    with monkeypatch.context() as interrupted:
        interrupted.setattr(postgres_database, "_send", interrupt)
        with pytest.raises(KeyboardInterrupt) as caught:
            writer.release() if writer else postgres_store.write("ann")
    if writer:
        writer.release()
    mine = postgres_store.write("ann")
    mine.append([added(user_content("x"))])
    mine.release()
    with PostgresStore(postgres) as other:
        other.write("ann").append([added(user_content("y"))])
    assert caught.tb is not None  # what it was doing may still be held by its traceback
    assert not postgres_store._dropped


@pytest.mark.parametrize("kind", ["append", "release", "info"])
def test_what_is_used_in_the_middle_of_a_transaction_on_a_database_does_not_wait_for_itself(
    postgres_store: PostgresStore, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    postgres_store.create("ann")
    postgres_store.create("bob")
    writer = postgres_store.write("bob")
    real = postgres_database._send
    errors: list[str] = []

    def use(*args: Any, **given: Any) -> Any:
        try:
            LAST[kind](postgres_store, writer)  # type: ignore[arg-type]
        except StoreError as error:
            errors.append(str(error))
        return real(*args, **given)

    with monkeypatch.context() as used:
        used.setattr(postgres_database, "_send", use)
        postgres_store.rename("ann", "whole")
    assert postgres_store.info("ann").title == "whole"
    assert all("in the middle of a transaction" in error for error in errors)
    assert bool(errors) == (kind != "release")
    writer.release()
    postgres_store.write("bob").append([added(user_content("x"))])
