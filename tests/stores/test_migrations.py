"""Databases that an earlier agentkit made are opened and brought up to date; `old/` has what they were."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agentkit.limits import Usage
from agentkit.stores import migrations
from agentkit.stores.base import (
    Cut,
    DeferCall,
    FinishCall,
    SaveResult,
    SaveState,
    StoredSummary,
)
from agentkit.stores.schema import VERSION
from agentkit.stores.sqlite import SQLiteStore
from agentkit.stores.store import SessionStore
from agentkit.wire.content import Content, call_part, model_content, response_part, user_content
from tests.helpers.postgres import schema_url
from tests.helpers.postgres_cases import ROOT, run
from tests.helpers.stored_chats import ASK, CALL, LEDGER, NOON, RAIN, added
from tests.stores.conftest import STORES

OLD = Path(__file__).parent / "old"


def old_sqlite(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "chats.db")) as connection:
        connection.executescript((OLD / "sqlite_1.sql").read_text())
        connection.execute("PRAGMA journal_mode = WAL")


def old_sqlite_without_index(folder: Path) -> None:
    text = (OLD / "sqlite_1.sql").read_text()
    begin, end = text.index("CREATE VIEW"), text.index("INSERT INTO sessions")
    with closing(sqlite3.connect(folder / "chats.db")) as connection:
        connection.executescript(text[:begin] + text[end:])


def whole_sqlite(folder: Path) -> None:
    shutil.copy(OLD / "sqlite_2.db", folder / "chats.db")


def old_postgres(folder: Path, name: str = "sql_1_postgresql.sql") -> None:
    run(schema_url(folder), (OLD / name).read_text())


def whole_postgres(folder: Path) -> None:
    old_postgres(folder, "sql_2_postgresql.sql")


FIRST: dict[str, tuple[str, Callable[[Path], None]]] = {
    "sqlite": ("sqlite", old_sqlite),
    "sqlite without FTS5": ("sqlite", old_sqlite_without_index),
    "postgres": ("postgres", old_postgres),
}
WHOLE: dict[str, Callable[[Path], None]] = {"sqlite": whole_sqlite, "postgres": whole_postgres}


@pytest.fixture(params=FIRST)
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Any]:
    kind, make = FIRST[request.param]
    make(tmp_path)
    return lambda: STORES[kind](tmp_path)


@pytest.fixture(params=WHOLE)
def whole(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    WHOLE[request.param](tmp_path)
    kind: str = request.param
    return kind


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
        writer.append([FinishCall(0, RAIN), added({"role": "user", "parts": [RAIN, NOON]}, sender_id="x")])
        writer.append([added(model_content("Rain.")), SaveResult("x", "later"), SaveState({"x": 1})])
        assert store.info("ann").version == version + 7
    with reopen() as store:
        assert store.result("ann", "run-1-0") == "whole rain"
        assert [result.seq for result in store.results("ann")] == [4, 6]
        store.write("ann").append([Cut(2)])
        assert len(contents(store)) == 2 and list(store.results("ann")) == []
        assert store.check() == []
        store.delete("ann")
        assert list(store.search("weather")) == []


ODD = "odd \ud800 \\ \0 é"


def check_whole(store: Any) -> None:
    """Compare a store with what was written into the databases of schema 2."""
    session = store.load("ann")
    info = session.info
    assert (info.title, info.model, info.instructions) == ("Weather \\ é", "m", "Be kind.\n" * 3)
    assert (info.expires, info.parent, info.messages) == (4e9, None, 8)
    assert (info.usage.requests, info.usage.total_tokens) == (5, 173)
    assert contents(store) == [
        user_content("hello, Straße 今日の天気"),
        model_content({"text": "hm", "thought": True}, {"text": "hi", "thoughtSignature": "c2ln"}),
        ASK,
        CALL,
        {"role": "user", "parts": [RAIN, NOON]},
        model_content("Rain."),
        user_content("nul \0 byte"),
        model_content(call_part("a", id="x"), call_part("b", id="y"), call_part("c")),
    ]
    reasons = [message.finish_reason for message in session.messages]
    assert reasons == [None, "STOP", None, None, None, "MAX_TOKENS", None, None]
    usage = session.messages[1].usage
    assert usage.total_tokens == 42 and [used.model for used in usage.by_model] == ["gemini-3.8-flash"]
    one, two, three = session.calls
    assert (one.call_id, one.name, one.effect, one.started) == ("run-0", "a", "read", True)
    assert one.response == response_part({"name": "a", "id": "x"}, {"output": 1})
    assert two.deferred == {"args": {"x": 1}, "why": "later", "state": {"k": 2}, "pending": []}
    assert (two.started, three.started, three.response, three.effect) == (False, True, None, "write")
    assert session.summary == StoredSummary(upto=2, text="greetings \\ again")
    assert session.state == {} and session.messages[0].sender_id is None
    results = {result.id: (result.seq, result.text) for result in store.results("ann")}
    assert results == {"run-0": (4, "whole rain " * 5), "r\\": (7, "odd \0 \\x00 \ud800 🦉")}
    odd = store.info(ODD)
    assert [odd.title, odd.model, odd.instructions, odd.parent] == [ODD, ODD, ODD, "ann"]
    assert [message.created for message in store.load(ODD).messages] == [1.5, 2.5]
    assert store.load(ODD).messages[1].finish_reason == ODD and store.result(ODD, ODD) == ODD
    assert {info.id for info in store.list()} == {"ann", ODD, "s0", "s1", "s2"}
    for words, found in (("STRASSE", [0]), ("天気", [0]), ("rain", [5]), ("byte nul", [6]), ("hm", [])):
        assert [hit.seq for hit in store.search(words)] == found
    assert [(hit.session_id, hit.seq) for hit in store.search("word1")] == [("s1", n) for n in (3, 2, 1, 0)]
    store.write("s0").release()  # its writer's process has ended
    assert store.check() == []


def test_a_database_of_the_schema_before_is_read_whole(whole: str, tmp_path: Path) -> None:
    for _ in range(2):
        with STORES[whole](tmp_path) as store:
            check_whole(store)


class Killed(Exception):
    pass


@pytest.mark.parametrize("after", [0, 1, 2, 3, 5, 8, 13, 21])
def test_a_migration_that_breaks_off_is_gone_on_with(
    whole: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    left, move = after, migrations._move

    def break_off(*given: Any) -> bool:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        return move(*given)

    monkeypatch.setattr(migrations, "BATCH", 2)
    with monkeypatch.context() as killed:
        killed.setattr(migrations, "_move", break_off)
        with pytest.raises(Killed):
            STORES[whole](tmp_path)
    with STORES[whole](tmp_path) as store:
        check_whole(store)


@pytest.mark.slow
def test_a_migration_that_is_killed_at_any_instant_is_gone_on_with(tmp_path: Path) -> None:
    code = f"""
from agentkit.stores import migrations
migrations.BATCH = 1
print("ready", flush=True)
from agentkit.stores.sqlite import SQLiteStore
SQLiteStore({str(tmp_path / "chats.db")!r})
"""
    whole_sqlite(tmp_path)
    for _ in range(12):
        with subprocess.Popen(
            [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, env=os.environ
        ) as child:
            assert child.stdout
            child.stdout.readline()
            time.sleep(0.004)
            child.send_signal(signal.SIGKILL)
    with SQLiteStore(tmp_path / "chats.db") as store:
        check_whole(store)


def test_an_old_database_that_many_open_at_once_is_migrated_once(
    whole: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_it(_: int) -> list[Content]:
        with STORES[whole](tmp_path) as store:
            return contents(store)

    monkeypatch.setattr(migrations, "BATCH", 3)
    with ThreadPoolExecutor(6) as threads:
        assert all(len(found) == 8 for found in threads.map(open_it, range(6)))
    with STORES[whole](tmp_path) as store:
        check_whole(store)


def test_what_is_damaged_in_an_old_file_stays_so_and_the_rest_is_moved(tmp_path: Path) -> None:
    whole_sqlite(tmp_path)
    with closing(sqlite3.connect(tmp_path / "chats.db")) as connection:
        connection.execute("UPDATE messages SET content = '{' WHERE seq = 1 AND session = 1")
        connection.execute("UPDATE sessions SET usage = CAST(x'ff' AS TEXT) WHERE id = 's1'")
        connection.commit()
    with SQLiteStore(tmp_path / "chats.db") as store:
        damaged, usage = store.check()
        assert "message 1 of session 'ann' can't be read" in damaged and "Session 's1', usage" in usage
        assert len(store.load("ann", start=2).messages) == 6
        assert len(store.load("s1").messages) == 4


def columns(db: Path) -> dict[str, Any]:
    with closing(sqlite3.connect(db)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema ORDER BY name")]
        return {name: connection.execute(f"PRAGMA table_info('{name}')").fetchall() for name in names}


@pytest.mark.parametrize("make", [old_sqlite, old_sqlite_without_index, whole_sqlite])
def test_a_migrated_file_is_like_a_new_one(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path)
    for name in ("chats.db", "new.db"):
        SQLiteStore(tmp_path / name).close()
    assert columns(tmp_path / "chats.db") == columns(tmp_path / "new.db")
    with closing(sqlite3.connect(tmp_path / "chats.db")) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (VERSION,)


def test_a_migrated_database_is_like_a_new_one(tmp_path: Path) -> None:
    tables = """SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns
        WHERE table_schema = current_schema() ORDER BY table_name, column_name"""
    found = []
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        if name == "old":
            whole_postgres(tmp_path / name)
        STORES["postgres"](tmp_path / name).__exit__(None, None, None)
        found.append(run(schema_url(tmp_path / name), tables))
    assert found[0] == found[1]


LATER = ("calls DROP COLUMN why", "calls DROP COLUMN declared", "messages DROP COLUMN given")


def third_sqlite(folder: Path) -> None:
    """Make a file of schema 3, with all that a session has."""
    whole_sqlite(folder)
    SQLiteStore(folder / "chats.db").close()
    with closing(sqlite3.connect(folder / "chats.db")) as connection:
        for change in LATER:
            connection.execute(f"ALTER TABLE {change}")
        connection.execute("PRAGMA user_version = 3")


def test_a_file_of_schema_3_gets_what_is_known_of_calls_and_messages(tmp_path: Path) -> None:
    third_sqlite(tmp_path)
    with SQLiteStore(tmp_path / "chats.db") as store:
        check_whole(store)
        assert store.check() == []
    SQLiteStore(tmp_path / "new.db").close()
    assert columns(tmp_path / "chats.db") == columns(tmp_path / "new.db")


def test_a_database_of_schema_3_gets_it_too(tmp_path: Path) -> None:
    whole_postgres(tmp_path)
    STORES["postgres"](tmp_path).__exit__(None, None, None)
    for change in LATER:
        run(schema_url(tmp_path), f"ALTER TABLE agentkit_{change}")
    run(schema_url(tmp_path), f"UPDATE agentkit_schema SET version = 3 WHERE version = {VERSION}")
    with STORES["postgres"](tmp_path) as store:
        check_whole(store)
