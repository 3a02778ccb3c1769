"""What `PostgresStore` does beyond the contract: its URLs, faults, schema and rows; see also test_sql_leases.py."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import subprocess
import sys
import traceback
from typing import Any

import psycopg
import pytest

from agentkit.errors import ConfigurationError, StoreError, StoreVersionError
from agentkit.stores.base import Message, SaveResult, StoredResult
from agentkit.stores.postgres import PostgresStore
from agentkit.wire.content import user_content
from tests.helpers.postgres import PASSWORD, server
from tests.helpers.postgres_cases import (
    ROOT,
    Open,
    child,
    fault,
    made,
    message,
    row_locked,
    run,
    said,
    setting,
    texts,
)
from tests.helpers.stored_chats import added
from tests.helpers.until import stretched, until

# -- setting up


@pytest.mark.parametrize("missing", ["psycopg", "psycopg_pool"])
def test_a_missing_driver_is_named(missing: str) -> None:
    code = f"""
import sys
sys.modules["{missing}"] = None
from agentkit import ConfigurationError, PostgresStore
try:
    PostgresStore("postgresql://localhost/x")
except ConfigurationError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert 'pip install "agentkit-gemini[postgres]"' in done.stdout and missing in done.stdout


def test_importing_the_class_imports_no_driver() -> None:
    code = "import sys; from agentkit import PostgresStore; print('psycopg' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "shop.db",
        "mysql://ann:hunter2@localhost/x",
        "postgresql+asyncpg://ann:hunter2@localhost/x",
        "postgresql+psycopg:/ann:hunter2@localhost/x",
        "postgresql+psycopg://ann:hunter2@localhost:port/x",
        "postgresql+psycopg://ann:1@hunter2@localhost/x",
        "postgresql://ann:hunter2@[::1/x",
        "sqlite:///chats.db",
        "host=localhost password=hunter2",
        7,
        None,
    ],
)
def test_what_is_no_url_of_a_database_is_refused_without_showing_it(url: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        PostgresStore(url)
    shown = "".join(traceback.format_exception(caught.value))
    assert "hunter2" not in shown
    assert "PostgresStore" in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None  # where tools for errors look, too


@pytest.mark.parametrize("scheme", ["postgres", "postgresql+psycopg"])
def test_other_ways_to_write_postgresql_are_understood(open_store: Open, postgres: str, scheme: str) -> None:
    store = open_store(postgres.replace("postgresql", scheme, 1))
    assert store.list() == []


def test_no_repr_shows_a_password(open_store: Open, postgres: str) -> None:
    store = open_store(f"{postgres}&application_name={'hunter2'}")
    shown = repr(store) + repr(vars(store))
    assert "127.0.0.1" in shown
    assert PASSWORD not in shown and "s3cret" not in shown and "hunter2" not in repr(store)


# -- faults


def test_a_server_that_is_not_there_is_told(open_store: Open) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    words = fault(lambda: open_store(server().url(port=port), timeout=2, reconnect_timeout=0.3))
    assert "can't be reached. Is the server running" in words


def test_a_password_that_is_wrong_is_told(open_store: Open) -> None:
    words = fault(lambda: open_store(server().url().replace("%2Fp", "%2Fq")))
    assert "refused the connection" in words and "password" in words


def test_a_database_that_is_not_there_is_told(open_store: Open) -> None:
    assert 'database "nowhere" does not exist' in fault(lambda: open_store(server().url("nowhere")))


def as_user(name: str, url: str, *rights: str) -> str:
    """Make a user with rights to the schema of a URL; the URL for that user."""
    schema = url.rpartition("%3D")[2]
    if not server().execute(f"SELECT 1 FROM pg_roles WHERE rolname = '{name}'"):
        server().execute(f"CREATE ROLE {name} LOGIN PASSWORD '{name}'")
    for right in rights:
        server().execute(f"GRANT {right} SCHEMA {schema} TO {name}")
    start, _, rest = url.partition("postgres:")
    return f"{start}{name}:{name}@{rest.partition('@')[2]}"


@pytest.mark.parametrize(
    ("rights", "expected"), [((), "has no schema"), (("USAGE ON",), "doesn't let this user do it")]
)
def test_a_user_without_the_right_is_told(
    open_store: Open, postgres: str, rights: tuple[str, ...], expected: str
) -> None:
    assert expected in fault(lambda: open_store(as_user("guest", postgres, *rights)))


def test_a_database_that_only_reads_is_told_and_can_be_read(open_store: Open, postgres: str) -> None:
    made(open_store(postgres), "hello").release()
    reader = open_store(setting(postgres, "-cdefault_transaction_read_only=on"))
    assert texts(reader) == ["hello"]
    assert "is read-only" in fault(lambda: reader.rename("ann", "x"))


def test_a_database_of_another_encoding_is_refused(open_store: Open) -> None:
    server().execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    try:
        with pytest.raises(ConfigurationError, match="ENCODING 'UTF8'"):
            open_store(server().url("latin"))
    finally:
        server().execute("DROP DATABASE latin")


@pytest.mark.parametrize(
    ("options", "timeout", "expected"),
    [
        ("", 0.2, "is locked"),
        ("-cstatement_timeout", 10, "took too long"),
        ("-clock_timeout", 10, "is locked"),
    ],
)
def test_a_row_that_is_locked_is_told_in_time(
    open_store: Open, postgres: str, options: str, timeout: float, expected: str
) -> None:
    ids = itertools.count()

    def locked(longer: float) -> None:
        url = setting(postgres, f"{options}={200 * longer:g}") if options else postgres
        store, id = open_store(url, timeout=timeout * longer), f"ann {next(ids)}"
        writer = made(store, "hello", id=id)
        with row_locked(postgres):
            assert expected in fault(lambda: writer.append([message("lost")]))
        writer.append([message("there")])
        assert texts(store, id) == ["hello", "there"]

    stretched(locked)


def test_a_lease_that_could_not_be_noted_is_free(open_store: Open, postgres: str) -> None:
    store, other = open_store(postgres, timeout=0.2), open_store(postgres)
    made(store).release()
    with row_locked(postgres):
        fault(lambda: store.write("ann"))
    other.write("ann").append([message("hello")])


def test_connections_that_are_all_in_use_are_told(open_store: Open, postgres: str) -> None:
    def busy(longer: float) -> None:
        store = open_store(postgres, timeout=0.2 * longer)
        with contextlib.ExitStack() as used:
            for _ in range(15):
                used.enter_context(store._db._connection(0.0))
            assert "all connections of this process were in use" in fault(store.list)
        assert store.list() == []

    stretched(busy)


def test_a_row_that_is_damaged_is_told(open_store: Open, postgres: str) -> None:
    store = open_store(postgres)
    made(store, "hello")
    run(postgres, "UPDATE agentkit_messages SET content = '{'")
    assert "is damaged" in fault(lambda: store.load("ann"))


def test_a_table_that_is_gone_is_told(open_store: Open, postgres: str) -> None:
    store = open_store(postgres)
    run(postgres, "DROP TABLE agentkit_summaries")
    made(store)
    assert "agentkit_summaries" in fault(lambda: store.load("ann"))


def test_errors_do_not_quote_what_was_said(open_store: Open, postgres: str) -> None:
    store = open_store(postgres)
    writer = made(store)
    secret = "what I tell nobody"
    run(postgres, "DROP TABLE agentkit_messages")
    with pytest.raises(StoreError) as caught:
        writer.append([message(secret)])
    assert secret not in "".join(traceback.format_exception(caught.value))


def test_a_step_that_the_database_refuses_at_last_is_not_stored(open_store: Open, postgres: str) -> None:
    store = open_store(postgres)
    writer = made(store, "hello")
    run(
        postgres,
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END'",
    )
    trigger = "CREATE CONSTRAINT TRIGGER t AFTER INSERT ON agentkit_messages DEFERRABLE INITIALLY DEFERRED"
    run(postgres, f"{trigger} FOR EACH ROW EXECUTE FUNCTION no()")
    assert "can't be used: no" in fault(lambda: writer.append([message("lost")]))
    run(postgres, "DROP TRIGGER t ON agentkit_messages")
    writer.append([message("there")])
    assert texts(store) == ["hello", "there"]


# -- the schema


def test_a_newer_schema_is_refused_and_left_as_it_is(open_store: Open, postgres: str) -> None:
    made(open_store(postgres), "hello")
    run(postgres, "INSERT INTO agentkit_schema VALUES (1000, 0)")
    with pytest.raises(StoreVersionError, match=r"newer agentkit \(schema 1000"):
        open_store(postgres)
    assert run(postgres, "SELECT count(*) FROM agentkit_messages") == [(1,)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system can't fork")
def test_processes_that_start_at_once_make_the_tables_once(postgres: str) -> None:
    with child("start", postgres, "6") as process:
        assert said(process) == [0] * 6
    assert run(postgres, "SELECT count(*) FROM agentkit_schema") == [(1,)]


def test_a_user_who_may_not_make_tables_can_use_those_there_are(open_store: Open, postgres: str) -> None:
    made(open_store(postgres), "hello").release()
    rights = "USAGE ON", "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN"
    store = open_store(as_user("clerk", postgres, *rights))
    store.write("ann").append([message("there")])
    assert texts(store) == ["hello", "there"]


# -- rows


@pytest.mark.parametrize(
    "text", ["\0", "\\", "\\x00", "\\\\x00\0", "a\ud800\\ud800", "C:\\x00ab\\u0041", "é\\é"]
)
def test_text_that_the_database_has_not_comes_back_as_it_was(
    open_store: Open, postgres: str, text: str
) -> None:
    store = open_store(postgres)
    message = Message(content=user_content("x"), created=0.0)
    result = StoredResult(id=text, seq=0, text=text)
    settings: Any = {"title": text, "model": text, "instructions": text, "parent": text}
    store.create(text, messages=[message], results=[result], **settings)
    assert store.result(text, text) == text and store.results(text) == [result]
    info = store.info(text)
    assert [info.id, info.title, info.model, info.instructions, info.parent] == [text] * 5


def test_the_index_of_words_is_used(open_store: Open, postgres: str) -> None:
    store = open_store(setting(postgres, "-cenable_seqscan=off"))
    made(store, "the cat sat", "the dog sat").release()
    assert [hit.seq for hit in store.search("cat")] == [0]
    store.close()
    schema = postgres.rpartition("%3D")[2]
    scans = (
        "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'agentkit_messages_by_word'"
        f" AND schemaname = '{schema}' AND idx_scan > 0"
    )
    until(lambda: run(postgres, scans))  # the server's counts come late


def test_a_message_with_too_many_words_for_the_index_is_stored(open_store: Open, postgres: str) -> None:
    store = open_store(postgres)
    made(store, " ".join(f"w{number}" for number in range(200_000)), "x" * 1_000_000, "é" * 100_000)
    assert [hit.seq for hit in store.search("w17 w1")] == [0]
    assert len(texts(store)[1]) == 1_000_000


def wal(store: str) -> int:
    return int(run(store, "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")[0][0])


def test_a_step_costs_the_same_however_long_the_chat_is(open_store: Open, postgres: str) -> None:
    store, content = open_store(postgres), user_content("x" * 500)
    costs = []
    for length in (10, 3000):
        begin = [Message(content=content, created=0.0) for seq in range(length)]
        store.create(f"of {length}", messages=begin)
        writer = store.write(f"of {length}")
        before = wal(postgres)
        for _ in range(20):
            writer.append([added(content)])
        costs.append((wal(postgres) - before) / 20)
    assert costs[1] < 2 * costs[0]


def test_a_step_costs_the_same_with_many_results(open_store: Open, postgres: str) -> None:
    store, content = open_store(postgres), user_content("x" * 500)
    costs = []
    for number in (1, 300):
        id = f"with {number}"
        store.create(id)
        writer = store.write(id)
        for n in range(number):
            writer.append([SaveResult(f"r{n}", f"{n} " * 5000), added(content)])
        before = wal(postgres)
        for _ in range(20):
            writer.append([added(content)])
        costs.append((wal(postgres) - before) / 20)
    assert costs[1] < 2 * costs[0]


def test_only_who_asks_for_results_reads_their_table(
    open_store: Open, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(postgres)
    writer = made(store, "a cat")
    writer.append([SaveResult("r", "whole"), message("a dog")])
    said: list[str] = []
    real = store._db.run

    def note(statements: Any, **given: Any) -> Any:
        said.extend(text for text, _ in statements)
        return real(statements, **given)

    monkeypatch.setattr(store._db, "run", note)
    store.load("ann")
    writer.append([message("a cow"), message("a cat")])
    store.info("ann")
    store.list()
    assert len(store.search("cat")) == 2
    assert said and not any("results" in statement for statement in said)
    assert store.result("ann", "r") == "whole" and "results" in said[-1]


def test_no_error_of_a_store_has_what_holds_the_password_in_its_chain() -> None:
    with pytest.raises(StoreError) as caught:
        PostgresStore("postgresql://ann:hunter2-planted@127.0.0.1:1/x", timeout=1, reconnect_timeout=0)
    seen: BaseException | None = caught.value
    while seen is not None:
        assert not isinstance(seen, psycopg.Error)
        assert "hunter2" not in f"{seen} {seen!r} {vars(seen)}"
        seen = seen.__cause__ or seen.__context__
