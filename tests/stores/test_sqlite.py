"""What is SQLite's own in `SQLiteStore`: its file, its limits, and what may be wrong with them."""

from __future__ import annotations

import json
import os
import platform
import random
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agentkit.errors import ConfigurationError, SessionConflict, StoreError, StoreVersionError
from agentkit.limits import Usage
from agentkit.stores import _owner, migrations, schema
from agentkit.stores.base import (
    Cut,
    DamagedMessage,
    DeferCall,
    Message,
    SaveResult,
    SaveSummary,
    StoredCall,
)
from agentkit.stores.schema import VERSION
from agentkit.stores.sqlite import SQLiteStore
from agentkit.stores.sqlite_tables import Tables
from agentkit.stores.turns import TURNS
from agentkit.wire.content import call_part, model_content, user_content
from tests.helpers.stored_chats import added
from tests.helpers.until import PATIENCE
from tests.stores.test_sqlite_crash import child, run


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "chats.db"


@pytest.fixture
def store(db: Path) -> Iterator[SQLiteStore]:
    with SQLiteStore(db, busy_timeout=0.1) as opened:
        yield opened


@pytest.fixture
def filled(db: Path) -> Path:
    """A file with a session of four messages, the last one with an open call."""
    entry = StoredCall(index=0, call_id="x", name="f", effect="write", started=True)
    with SQLiteStore(db) as store:
        store.create("ann", instructions="Be kind.")
        writer = store.write("ann")
        writer.append([added(user_content(text)) for text in ("red", "green", "blue")])
        writer.append([added(model_content("hm", call_part("f")), usage=Usage(requests=1), calls=[entry])])
        writer.append(
            [
                SaveSummary(2, "colours"),
                SaveResult("r", "whole"),
                DeferCall(0, {"why": "until noon", "state": None, "pending": []}),
            ]
        )
    return db


def sql(db: Path, *statements: str) -> list[tuple[Any, ...]]:
    """Run SQL on a file behind the store's back; return what the last statement finds."""
    with closing(sqlite3.connect(db)) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        for statement in statements:
            rows = connection.execute(statement).fetchall()
        connection.commit()
        return rows


def everything(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# -- the path


def test_no_path_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=":memory:"):
        SQLiteStore("")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no folder .*/not/here: make it"):
        SQLiteStore(tmp_path / "not" / "here" / "chats.db")
    assert everything(tmp_path) == {}


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is a folder"):
        SQLiteStore(tmp_path)


def test_a_path_may_have_anything_in_it_and_the_process_may_move(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a b?mode=memory#%41.db", "file:x.db", "é漢🦉.db", "-"):
        monkeypatch.chdir(tmp_path)
        with SQLiteStore(name) as store:
            monkeypatch.chdir("/")
            store.create("ann")
            assert repr(store) == f"SQLiteStore({str(tmp_path / name)!r})"
            with SQLiteStore(tmp_path / name) as again:
                assert again.info("ann").id == "ann"
        assert (tmp_path / name).stat().st_size > 0


def test_a_closed_store_leaves_one_file(filled: Path) -> None:
    assert [path.name for path in filled.parent.iterdir()] == [filled.name]


def test_a_store_that_nobody_has_any_more_closes_its_file(db: Path) -> None:
    store = SQLiteStore(db)
    store.create("ann")
    assert (db.parent / "chats.db-wal").exists()
    del store
    assert not (db.parent / "chats.db-wal").exists()


def test_a_new_file_may_be_opened_by_many_at_once(db: Path) -> None:
    def open_it(n: int) -> str:
        with SQLiteStore(db) as store:
            return store.create(f"s{n}").id

    with ThreadPoolExecutor(12) as threads:
        assert len(set(threads.map(open_it, range(12)))) == 12
    with SQLiteStore(db) as store:
        assert len(store.list()) == 12 and store.check() == []


def test_an_empty_file_becomes_a_store(db: Path) -> None:
    db.touch()
    with SQLiteStore(db) as store:
        store.create("ann")
    assert sql(db, "PRAGMA journal_mode") == [("wal",)]


# -- files that aren't ours, or newer, or older

STRANGERS: dict[str, Callable[[Path], object]] = {
    "text": lambda path: path.write_text("once upon a time " * 100),
    "one byte": lambda path: path.write_bytes(b"S"),
    "zeros": lambda path: path.write_bytes(bytes(8192)),
    "a beginning": lambda path: path.write_bytes(b"SQLite format 3\0"),
    "a table": lambda path: sql(path, "CREATE TABLE t (x)", "INSERT INTO t VALUES (1)"),
    "a WAL file": lambda path: sql(path, "PRAGMA journal_mode = WAL", "CREATE TABLE t (x)"),
    "an application": lambda path: sql(path, "PRAGMA application_id = 7"),
    "a version": lambda path: sql(path, "PRAGMA user_version = 1"),
}


@pytest.mark.parametrize("kind", STRANGERS)
def test_a_file_of_another_program_is_left_as_it_is(db: Path, kind: str) -> None:
    STRANGERS[kind](db)
    before = everything(db.parent)
    with pytest.raises(StoreError, match=r"chats\.db is (not|an) .*left as it is") as caught:
        SQLiteStore(db)
    assert not isinstance(caught.value, StoreVersionError)
    assert everything(db.parent) == before


def test_a_file_of_a_newer_agentkit_is_left_as_it_is(filled: Path) -> None:
    sql(filled, "PRAGMA user_version = 99")
    before = everything(filled.parent)
    with pytest.raises(StoreVersionError, match=r"chats\.db was written by a newer agentkit \(schema 99"):
        SQLiteStore(filled)
    assert everything(filled.parent) == before


def test_a_newer_schema_is_seen_that_is_only_in_the_log_yet(filled: Path) -> None:
    with closing(sqlite3.connect(filled)) as newer:
        newer.execute("PRAGMA user_version = 99")
        with pytest.raises(StoreVersionError):
            SQLiteStore(filled)


def test_an_older_file_is_brought_up_to_date(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def add_a_column(database: migrations.Database) -> None:
        database.execute("ALTER TABLE sessions ADD COLUMN colour TEXT")

    with monkeypatch.context() as newer:
        newer.setattr(migrations, "MIGRATIONS", [*migrations.MIGRATIONS, add_a_column])
        for module in (migrations, schema):
            newer.setattr(module, "VERSION", VERSION + 1)
        with SQLiteStore(filled) as store:
            assert store.load("ann").info.messages == 4 and store.check() == []
    assert sql(filled, "SELECT id, colour FROM sessions") == [("ann", None)]
    with pytest.raises(StoreVersionError):
        SQLiteStore(filled)


def test_a_migration_that_fails_changes_nothing(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(database: migrations.Database) -> None:
        database.execute("DROP TABLE summaries")
        database.execute("DROP TABLE nothing")

    with monkeypatch.context() as newer:
        newer.setattr(migrations, "MIGRATIONS", [*migrations.MIGRATIONS, fail])
        for module in (migrations, schema):
            newer.setattr(module, "VERSION", VERSION + 1)
        with pytest.raises(StoreError, match="nothing"):
            SQLiteStore(filled)
    with SQLiteStore(filled) as store:
        summary = store.load("ann").summary
        assert summary and summary.text == "colours"


def test_an_sqlite_that_is_too_old_is_named(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 36, 0))
    with pytest.raises(StoreError, match=r"3\.37"):
        SQLiteStore(db)


# -- damage


def test_whatever_is_damaged_is_a_store_error(filled: Path, tmp_path: Path) -> None:
    with SQLiteStore(filled) as store:
        store.create(
            "eve",
            messages=[Message(content=user_content(f"word{n} " * 9), created=1.0) for n in range(60)],
        )
    whole, chosen = filled.read_bytes(), random.Random(3)
    found = 0
    for n in range(60):
        raw = bytearray(whole)
        start = chosen.randrange(100, len(raw))
        for place in range(start, min(start + chosen.choice((1, 8, 2000)), len(raw))):
            raw[place] = chosen.randrange(256)
        damaged = tmp_path / f"damaged{n}.db"
        damaged.write_bytes(raw)
        try:
            with SQLiteStore(damaged) as store:
                found += store.check() != []
                for use in (
                    lambda: store.load("ann"),
                    lambda: store.load("eve"),
                    lambda: store.search("word1"),
                    lambda: store.list(),
                    lambda: store.write("eve").append([Cut(30), added(user_content("new"))]),
                    lambda: store.delete("eve"),
                ):
                    try:
                        use()
                    except StoreError as error:
                        assert "there is no session" in str(error).lower() or str(damaged) in str(error)
                        found += 1
        except StoreError:
            found += 1
    assert found > 30


def test_a_file_that_is_just_growing_is_not_taken_for_a_damaged_one(filled: Path) -> None:
    whole = filled.read_bytes()
    filled.write_bytes(whole[:-2048])
    with pytest.raises(StoreError, match=r"chats\.db is damaged"):
        SQLiteStore(filled)

    def grow() -> None:
        with filled.open("ab") as file:
            file.write(whole[-2048:])

    grown = threading.Timer(0.05, grow)
    grown.start()
    with SQLiteStore(filled) as store:
        assert store.load("ann").info.messages == 4 and store.check() == []
    grown.join()


def test_a_file_is_looked_at_again_however_long_the_first_look_took(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = filled.read_bytes()
    filled.write_bytes(whole[:-2048])
    noted = Tables.noted_version

    def slow(self: Tables) -> Any:
        try:
            return noted(self)
        except sqlite3.DatabaseError:  # meanwhile the machine stands still, and the file is whole
            time.sleep(0.5)
            filled.write_bytes(whole)
            raise

    monkeypatch.setattr(Tables, "noted_version", slow)
    with SQLiteStore(filled) as store:
        assert store.info("ann").messages


PROBLEMS = {
    "UPDATE sessions SET messages = 5": "has 4 messages; it says 5",
    "DELETE FROM messages WHERE seq = 3": "has 3 messages; it says 4",
    "UPDATE messages SET seq = 9 WHERE seq = 3": "has gaps: 4 messages, numbered 0 to 9",
    "UPDATE sessions SET usage = '{'": "'ann', usage: it isn't JSON",
    'UPDATE messages SET usage = \'{"requests": "many"}\' WHERE seq = 3': "message 3, usage: a count",
    "UPDATE messages SET content = 'oops' WHERE seq = 1": "message 1 of session 'ann' can't be read (it isn't JSON",
    "UPDATE messages SET content = '[1]' WHERE seq = 1": "can't be read (it isn't a JSON object",
    'UPDATE messages SET content = \'{"role": "user"}\' WHERE seq = 1': "can't be read (contents[1]",
    "UPDATE messages SET role = 'model' WHERE seq = 1": "message 1: its role",
    "UPDATE messages SET metadata = '7' WHERE seq = 1": "message 1 of session 'ann' can't be read (its metadata: ",
    "UPDATE messages SET words = 'no' WHERE seq = 1": "index of words",
    "UPDATE calls SET args = '{'": "the ledger of session 'ann' can't be read, call 0: it isn't JSON",
    "UPDATE calls SET number = 1": "'ann' is damaged: its open calls are not those of its last turn",
    "UPDATE calls SET name = 'g'": "'ann' is damaged: its open calls are not those of its last turn",
    "UPDATE calls SET effect = 'x'": "call 0 of the ledger: effect: ",
    "UPDATE calls SET response = 'x'": "the ledger of session 'ann' can't be read, call 0: it isn't JSON",
    "UPDATE calls SET deferred = '[]'": "the ledger of session 'ann' can't be read, call 0: it isn't a JSON object",
    "DELETE FROM calls": "'ann' is damaged: ",
    "UPDATE results SET seq = 5": "'ann', result 'r': it belongs to message 5 of 4",
    "UPDATE results SET seq = -1": "'ann', result 'r': it belongs to message -1 of 4",
    "UPDATE results SET session = 9": "results: row 1 belongs to no session",
    "DELETE FROM sessions": "belongs to no session",
    "DROP INDEX sessions_by_time": None,
}


@pytest.mark.parametrize("change", PROBLEMS)
def test_the_check_says_what_is_wrong(filled: Path, change: str) -> None:
    with SQLiteStore(filled) as store:
        assert store.check() == []
        sql(filled, change)
        problems = store.check()
    expected = PROBLEMS[change]
    if expected is None:
        assert problems == []  # slow, not wrong
    else:
        assert any(expected in problem for problem in problems), problems


def test_a_damaged_message_is_an_error_that_names_the_file(filled: Path) -> None:
    sql(filled, 'UPDATE messages SET content = \'{"text": "a secret"\' WHERE seq = 1')
    with SQLiteStore(filled) as store:
        with pytest.raises(StoreError, match=r"chats\.db is damaged: message 1 of session 'ann'") as caught:
            store.load("ann")
        assert "secret" not in str(caught.value)
        assert store.info("ann").messages == 4
        sql(filled, "UPDATE messages SET content = CAST(x'ff' AS TEXT) WHERE seq = 1")
        with pytest.raises(DamagedMessage, match=r"chats\.db is damaged: message 1") as caught:
            store.load("ann")
        assert caught.value.seq == 1
        (problem,) = store.check()
        assert "message 1" in problem


def test_a_damaged_result_is_an_error_for_whoever_asks_for_it(filled: Path) -> None:
    sql(filled, "UPDATE results SET text = CAST(x'ff' AS TEXT)")
    with SQLiteStore(filled) as store:
        for ask in (lambda: store.result("ann", "r"), lambda: store.results("ann")):
            with pytest.raises(StoreError, match=r"chats\.db is damaged: a row"):
                ask()
        assert store.load("ann").info.messages == 4  # others don't read it


# -- a file that is not what it was


def deleted(db: Path) -> None:
    db.unlink()


def moved(db: Path) -> None:
    db.rename(db.with_name("elsewhere.db"))


def replaced(db: Path) -> None:
    moved(db)
    shutil.copy(db.with_name("elsewhere.db"), db)


def folder_moved(db: Path) -> None:
    db.parent.rename(db.parent.with_name("elsewhere"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (deleted, "is gone"),
        (moved, "is gone"),
        (folder_moved, "is gone"),
        (replaced, "is another file now"),
    ],
)
def test_a_file_that_is_not_what_it_was_is_told_at_the_next_write(
    tmp_path: Path, change: Callable[[Path], None], words: str
) -> None:
    db = tmp_path / "folder" / "chats.db"
    db.parent.mkdir()
    with SQLiteStore(db) as store:
        store.create("ann")
        writer = store.write("ann")
        change(db)
        for attempt in (
            lambda: writer.append([added(user_content("lost"))]),
            lambda: store.create("bob"),
            lambda: store.write("eve", create={}),
            lambda: store.delete("ann"),
        ):
            with pytest.raises(StoreError, match=words):
                attempt()
        writer.release()


def test_a_file_that_came_back_is_written_again(db: Path) -> None:
    with SQLiteStore(db) as store:
        store.create("ann")
        moved(db)
        with pytest.raises(StoreError, match="is gone"):
            store.create("bob")
        db.with_name("elsewhere.db").rename(db)
        store.create("bob")
        assert len(store.list()) == 2


# -- much of it


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_session_may_have_a_hundred_thousand_messages(db: Path) -> None:
    with SQLiteStore(db) as store:
        store.create("ann", messages=[Message(content=user_content(f"message {n}")) for n in range(100_000)])
        writer = store.write("ann", seen=store.info("ann").version)
        assert writer.session is None
        writer.append([added(user_content("one more"))])
        writer.append([Cut(50_000)])
        assert len(store.load("ann").messages) == 50_000
        assert [hit.seq for hit in store.search("message 777")] == [777]
        assert len(store.load("ann", start=49_990).messages) == 10


# -- what the system refuses


def test_a_locked_file_is_an_error_and_works_when_it_is_free(store: SQLiteStore, db: Path) -> None:
    store.create("ann")
    writer = store.write("ann")
    with closing(sqlite3.connect(db)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match=r"chats\.db is locked.*0\.1 s \(busy_timeout\)"):
            writer.append([added(user_content("x"))])
        assert store.load("ann").info.messages == 0
        writer.release()  # can't now
        (problem,) = store.check()
        assert "locked" in problem
    again = store.write("ann")  # the release is made up for
    again.append([added(user_content("x"))])
    assert store.load("ann").info.messages == 1


def test_a_new_file_that_is_locked_is_an_error(db: Path) -> None:
    with closing(sqlite3.connect(db, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match="locked"):
            SQLiteStore(db, busy_timeout=0.1)
    with SQLiteStore(db) as store:
        assert store.check() == []


def test_a_file_that_others_read_is_waited_for_to_set_up_its_log(filled: Path) -> None:
    sql(filled, "PRAGMA journal_mode = DELETE")
    with closing(sqlite3.connect(filled, isolation_level=None, check_same_thread=False)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM sessions").fetchall()
        with pytest.raises(StoreError, match="locked"):
            SQLiteStore(filled, busy_timeout=0.1)
        threading.Timer(0.1, reader.rollback).start()
        with SQLiteStore(filled, busy_timeout=PATIENCE) as store:
            assert store.load("ann").info.messages == 4
    assert sql(filled, "PRAGMA journal_mode") == [("wal",)]


def test_a_full_disk_is_an_error_and_takes_nothing_away(db: Path) -> None:
    with SQLiteStore(db) as store:
        store.create("ann")
    (told,) = run("fill", db, 200_000)
    assert told["problems"] == []
    assert told["seen"] == told["stored"] - 1 > 10
    assert all(str(db) in error and "full" in error for error in told["errors"])
    with SQLiteStore(db) as store:
        assert store.check() == []
        texts = [m.content["parts"][0]["text"].rstrip(" x") for m in store.load("ann").messages]
        assert texts == [f"message {n}" for n in range(told["stored"])]


def test_a_file_that_can_grow_no_more_is_an_error_and_works_when_it_can(store: SQLiteStore) -> None:
    store.create("ann")
    writer = store.write("ann")
    store._db._connected().execute("PRAGMA max_page_count = 1")  # of this connection: as many as there are
    with pytest.raises(StoreError, match=r"chats\.db can't grow, the disk is full"):
        writer.append([added(user_content("x" * 100_000))])
    assert store.load("ann").info.messages == 0
    store._db._connected().execute("PRAGMA max_page_count = 1000000")
    writer.append([added(user_content("x" * 100_000))])
    assert store.check() == []


def test_a_log_that_cannot_be_opened_is_an_error(filled: Path) -> None:
    blocked = filled.with_name("chats.db-wal")
    blocked.mkdir()
    with pytest.raises(StoreError, match=r"chats\.db can't be opened: this user"):
        SQLiteStore(filled)
    blocked.rmdir()
    with SQLiteStore(filled) as store:
        assert store.info("ann").messages == 4


def test_a_path_that_is_too_long_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="can't be opened: File name too long"):
        SQLiteStore(tmp_path / ("x" * 300))


@pytest.mark.parametrize("what", ["file", "folder", "both"])
def test_a_file_that_may_not_be_written_is_an_error(what: str) -> None:
    folder = Path(tempfile.mkdtemp())  # others get in there
    try:
        db = folder / "chats.db"
        with SQLiteStore(db) as store:
            store.create("ann")
        folder.chmod(0o777 if what == "file" else 0o555)
        db.chmod(0o666 if what == "folder" else 0o444)
        with child("as_nobody", db) as process:
            out, _ = process.communicate(input="", timeout=PATIENCE)
        told = json.loads(out)
        assert told[:-1] == (["read 0, wrong []"] if what == "file" else [])
        assert str(db) in told[-1] and ("read-only" in told[-1] or "can't be opened" in told[-1])
        folder.chmod(0o755)
        db.chmod(0o644)
        with SQLiteStore(db) as store:
            assert store.info("ann").messages == 0 and store.check() == []
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


# -- writers


def test_a_writer_that_nobody_has_any_more_is_none(store: SQLiteStore) -> None:
    store.create("ann")
    store.write("ann")
    writer = store.write("ann")
    with pytest.raises(SessionConflict):
        store.write("ann")
    writer.append([added(user_content("x"))])


def test_closing_a_store_releases_its_writers(store: SQLiteStore, db: Path) -> None:
    with SQLiteStore(db) as other:
        other.create("ann")
        writer = other.write("ann")
    store.write("ann")
    writer.release()
    with pytest.raises(StoreError, match="released"):
        writer.append([added(user_content("late"))])


LEASES = {
    "the number of a process, used again": ({3: "1"}, True),
    "an ended process": ({2: 2147483647}, True),
    "a process of another user": ({2: 1, 3: "x"}, True),
    "another container, just now": ({1: "elsewhere"}, False),
    "another container, long ago": ({1: "elsewhere", 0: -700}, True),
    "another container, by a clock that was put back since": ({1: "elsewhere", 0: 700}, True),
    "another container, by a clock that was put back a little": ({1: "elsewhere", 0: 70}, False),
    "a process whose start isn't known": ({3: ""}, False),
    "a process whose start isn't known, long ago": ({3: "", 0: -700}, True),
    "itself": ({0: -700}, False),
}


def change_owner(db: Path, change: Any) -> None:
    """Change who has the lease of the only session: when it was taken, host, pid, start of the process."""
    ((owner,),) = sql(db, "SELECT owner FROM sessions")
    values = json.loads(owner)
    for index, value in change.items():
        values[index] = values[index] + value if index == 0 else value
    sql(db, f"UPDATE sessions SET owner = '{json.dumps(values)}'")


@pytest.mark.parametrize("case", LEASES)
def test_the_lease_of_a_process_that_is_gone_is_free(store: SQLiteStore, db: Path, case: str) -> None:
    change, free = LEASES[case]
    store.create("ann")
    first = store.write("ann")
    change_owner(db, change)
    sql(db, "UPDATE sessions SET updated = updated - 700")
    with SQLiteStore(db) as other:
        TURNS.evict((other.identity, "ann"))  # as if this were another process
        if not free:
            with pytest.raises(SessionConflict):
                other.write("ann")
            first.append([added(user_content("still mine"))])
            return
        second = other.write("ann")
        with pytest.raises(SessionConflict):
            first.append([added(user_content("late"))])
        first.release()
        second.append([added(user_content("mine"))])
        assert [m.content for m in store.load("ann").messages] == [user_content("mine")]


@pytest.mark.parametrize("taken", [-700, 700])
def test_a_lease_from_elsewhere_lasts_while_messages_come(store: SQLiteStore, db: Path, taken: int) -> None:
    store.create("ann")
    writer = store.write("ann")
    change_owner(db, {1: "elsewhere", 0: taken})
    writer.append([added(user_content("x"))])
    TURNS.evict((store.identity, "ann"))
    with pytest.raises(SessionConflict):
        store.write("ann")


def test_where_the_system_tells_little_a_lease_lasts_a_while(
    store: SQLiteStore, db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_owner, "_PROC", tmp_path / "no such folder")
    monkeypatch.setattr(_owner, "_current", _owner._current.__wrapped__)  # not what was found before
    store.create("ann")
    writer = store.write("ann")
    ((owner,),) = sql(db, "SELECT owner FROM sessions")
    _, host, _, started = json.loads(owner)
    assert (host, started) == (platform.node(), "")
    TURNS.evict((store.identity, "ann"))
    with pytest.raises(SessionConflict):
        store.write("ann")
    change_owner(db, {0: -700})
    sql(db, "UPDATE sessions SET updated = updated - 700")
    store.write("ann")
    with pytest.raises(SessionConflict):
        writer.append([])


def test_a_process_of_another_user_is_there(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    store.create("ann")
    writer = store.write("ann")
    with pytest.raises(SessionConflict):
        store.write("ann")
    writer.release()
    store.write("ann").release()


# -- the index


def test_the_index_follows_whatever_removes_messages(store: SQLiteStore) -> None:
    for n in range(3):
        store.create(f"s{n}", expires=float(n))
        store.write(f"s{n}").append([added(user_content(f"cat {m}")) for m in range(5)])
    store.write("s2").append([Cut(1)])
    assert len(store.search("cat")) == 11
    store.delete("s1")
    assert store.delete_expired(0.5) == 1
    assert [(hit.session_id, hit.seq) for hit in store.search("cat")] == [("s2", 0)]
    assert store.check() == []


# -- what it costs


def bytes_per_step(store: SQLiteStore, db: Path, steps: int) -> float:
    """Measure what appending writes: a reader that looks at the past keeps the log growing."""
    writer = store.write("ann")
    with closing(sqlite3.connect(db, isolation_level=None)) as reader:
        reader.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sessions").fetchone()
        log = db.with_name(db.name + "-wal")
        before = log.stat().st_size
        for n in range(steps):
            writer.append([added(user_content(f"message {n} " + "word " * 20), usage=Usage(total_tokens=n))])
        written = log.stat().st_size - before
    writer.release()
    return written / steps


def test_a_step_writes_as_much_in_a_long_chat_as_in_a_short_one(db: Path) -> None:
    with SQLiteStore(db) as store:
        store.create("ann", instructions="kind " * 5000)
        early = bytes_per_step(store, db, 64)
        writer = store.write("ann")
        writer.append([added(user_content(f"between {n} " + "word " * 20)) for n in range(2000)])
        writer.release()
        late = bytes_per_step(store, db, 64)
    assert 1000 < late < 1.5 * early < 40_000


def test_a_step_writes_as_much_in_a_chat_with_many_results(db: Path) -> None:
    with SQLiteStore(db) as store:
        store.create("ann")
        early = bytes_per_step(store, db, 64)
        writer = store.write("ann")
        for n in range(300):
            writer.append([SaveResult(f"r{n}", "long " * 4000), added(user_content("x"))])
        writer.release()
        late = bytes_per_step(store, db, 64)
    assert 1000 < late < 1.5 * early < 40_000


def test_only_who_asks_for_results_reads_their_table(filled: Path) -> None:
    said: list[str] = []
    with SQLiteStore(filled) as store:
        store._db._connected().set_trace_callback(said.append)
        writer = store.write("ann")
        store.load("ann")
        writer.append([added(user_content("next")), added(model_content("one"))])
        writer.release()
        store.list()
        store.search("next")
        assert said and not any("results" in statement for statement in said)
        store.results("ann")
        assert "results" in said[-2]


def test_a_cut_finds_the_results_of_its_messages_by_their_index(store: SQLiteStore, db: Path) -> None:
    (plan,) = sql(db, "EXPLAIN QUERY PLAN DELETE FROM results WHERE session = 1 AND seq >= 2")
    assert "USING INDEX results_by_message (session=? AND seq>?)" in plan[-1]


def test_taking_and_releasing_a_session_leaves_nothing_behind(store: SQLiteStore, db: Path) -> None:
    store.create("ann")
    before = sql(db, "PRAGMA page_count")
    version = store.info("ann").version
    for _ in range(50):
        store.write("ann").release()
    assert sql(db, "PRAGMA page_count") == before
    assert sql(db, "SELECT owner FROM sessions") == [(None,)]
    assert store.info("ann").version == version


def test_a_page_of_many_sessions_reads_only_its_own(store: SQLiteStore, db: Path) -> None:
    plan = sql(
        db,
        "EXPLAIN QUERY PLAN SELECT * FROM sessions s WHERE (s.updated, s.id) < (5.0, 'x') "
        "ORDER BY s.updated DESC, s.id DESC LIMIT 50",
    )
    assert len(plan) == 1 and "USING INDEX sessions_by_time" in plan[0][-1]
