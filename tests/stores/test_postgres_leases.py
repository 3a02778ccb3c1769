"""The writers of a `PostgresStore`: processes that die, fork, crowd, or lose their connection."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from agentkit.errors import ConfigurationError, SessionConflict, SessionExists, SessionNotFound, StoreError
from agentkit.stores.base import SaveSummary
from agentkit.stores.postgres import PostgresStore
from tests.helpers.pgbouncer import pgbouncer
from tests.helpers.postgres import Server, new_server, server
from tests.helpers.postgres_cases import (
    Open,
    as_another_process,
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
from tests.helpers.proxy import Proxy
from tests.helpers.until import PATIENCE

# -- leases


def test_the_lease_of_a_process_that_was_killed_is_free_at_once(open_store: Open, postgres: str) -> None:
    store = open_store(postgres)
    store.create("ann")
    with child("write", postgres) as process:
        assert said(process) == "ready"
        while store.info("ann").messages < 40:
            time.sleep(0.01)
        with pytest.raises(SessionConflict, match="process"):
            store.write("ann")
        process.kill()
        process.wait()
        writer = store.write("ann", wait=PATIENCE)
    found = texts(store)
    assert len(found) >= 40
    assert found == [str(number) for number in range(len(found) // 2) for _ in "ab"]
    writer.append([message("and on")])
    assert texts(store)[-1] == "and on"


def test_a_lease_is_kept_while_nothing_is_written(open_store: Open, postgres: str) -> None:
    store = open_store(setting(postgres, "-cidle_session_timeout=100"))
    writer = made(store)
    time.sleep(0.5)
    as_another_process(store)
    with pytest.raises(SessionConflict, match="another process"):
        open_store(postgres).write("ann")
    writer.append([message("hello")])
    assert texts(store) == ["hello"]


def end_connections(url: str, which: str) -> None:
    run(
        url,
        f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND {which}",
    )


def end_locks(url: str, store: str) -> None:
    """End the connection of the store that holds its locks."""
    locks = "SELECT pid FROM pg_locks WHERE locktype = 'advisory'"
    end_connections(url, f"application_name = '{store}' AND pid IN ({locks})")


def test_a_writer_that_lost_its_lease_can_not_tear_the_turn_of_the_next(
    open_store: Open, postgres: str
) -> None:
    store, other = open_store(f"{postgres}&application_name=first"), open_store(postgres)
    writer = made(store, "first")
    end_locks(postgres, "first")
    as_another_process(other)
    next_writer = other.write("ann", wait=PATIENCE)
    with pytest.raises(SessionConflict):
        writer.append([message("torn")])
    next_writer.append([message("second")])
    writer.release()
    with pytest.raises(SessionConflict):
        store.write("ann")
    assert texts(store) == ["first", "second"]


def test_a_lease_that_was_lost_is_taken_again(open_store: Open, postgres: str) -> None:
    store, other = open_store(f"{postgres}&application_name=again"), open_store(postgres)
    writer = made(store, "first")
    end_locks(postgres, "again")
    store.create("bob")
    store.write("bob").release()
    as_another_process(other)
    with pytest.raises(SessionConflict, match="another process"):
        other.write("ann")
    writer.append([message("second")])
    writer.release()
    other.write("ann").append([message("third")])
    assert texts(store) == ["first", "second", "third"]


def test_connections_that_were_ended_are_made_anew(open_store: Open, postgres: str) -> None:
    store = open_store(f"{postgres}&application_name=ended")
    writer = made(store, "first")
    end_connections(postgres, "application_name = 'ended'")
    writer.append([message("second")])
    assert texts(store) == ["first", "second"]
    writer.release()
    store.write("ann").release()


def test_a_writer_that_nobody_has_any_more_is_none(open_store: Open, postgres: str) -> None:
    store = open_store(postgres)
    made(store, "hello")  # the writer is dropped
    gc.collect()
    store.write("ann").append([message("there")])
    assert texts(store) == ["hello", "there"]


def test_closing_a_store_releases_its_writers(open_store: Open, postgres: str) -> None:
    store = open_store(postgres)
    writer = made(store)
    store.close()
    store.close()
    open_store(postgres).write("ann", wait=PATIENCE).append([message("hello")])
    writer.release()


def test_a_session_made_anew_does_not_wait_for_the_old_ones_writer(open_store: Open, postgres: str) -> None:
    store = open_store(postgres)
    old = made(store, "old")
    store.delete("ann")
    made(store, "new")
    with pytest.raises(SessionConflict):
        old.append([message("old")])
    assert texts(store) == ["new"]


def test_a_session_that_is_deleted_while_it_is_being_taken_is_not_found(
    open_store: Open, postgres: str
) -> None:
    store = open_store(postgres)
    made(store).release()
    with ThreadPoolExecutor(1) as pool, psycopg.connect(postgres) as connection:
        connection.execute("DELETE FROM agentkit_sessions")
        taken = pool.submit(store.write, "ann")
        while not run(postgres, "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
            time.sleep(0.01)
        connection.commit()
        with pytest.raises(SessionNotFound):
            taken.result()


# -- forks


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system can't fork")
def test_a_fork_has_connections_of_its_own_and_no_writer(open_store: Open, postgres: str) -> None:
    store = open_store(postgres)
    store.create("ann")
    store.create("bob")
    with child("fork", postgres) as process:
        forked, seen = said(process)
        try:
            assert seen == "refused, conflict, 2"
            assert texts(store) == ["parent"] * 4
            assert texts(store, "bob") == ["child"] * 2
            with pytest.raises(SessionConflict):
                store.write("ann")
            process.kill()
            process.wait()
            store.write("ann", wait=PATIENCE).append([message("free")])  # though the fork lives on
        finally:
            os.kill(forked, signal.SIGKILL)


# -- lost connections


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A server that the test may stop."""
    made = new_server()
    yield made
    made.remove()


def test_a_server_that_stops_while_steps_are_stored_loses_and_tears_nothing(
    open_store: Open, own_server: Server
) -> None:
    store = open_store(own_server.url(), timeout=2, reconnect_timeout=0.2)
    writer = made(store)
    stored: list[str] = []
    stopping = threading.Timer(0.3, own_server.stop)
    stopping.start()
    try:
        while True:
            writer.append([message(f"{len(stored)}"), message(f"{len(stored)}")])
            stored += [f"{len(stored)}"] * 2
    except StoreError as error:
        words = str(error)
    stopping.join()
    writer.release()
    own_server.start()
    with_last = [*stored, *[f"{len(stored)}"] * 2]
    assert texts(store) == stored or ("isn't known" in words and texts(store) == with_last)


def test_a_server_that_is_gone_can_be_used_when_it_is_back(open_store: Open, own_server: Server) -> None:
    store = open_store(own_server.url(), timeout=2, reconnect_timeout=0.5)
    writer = made(store, "first")
    own_server.stop()
    assert "can't be reached" in fault(store.list)
    assert "can't be reached" in fault(lambda: writer.append([message("lost")]))
    assert "can't be reached" in fault(lambda: store.write("bob"))
    writer.release()
    own_server.start()
    store.write("ann").append([message("second")])
    assert texts(store) == ["first", "second"]


def test_closing_a_store_does_not_wait_for_a_server_that_is_gone(own_server: Server) -> None:
    store = PostgresStore(own_server.url(), reconnect_timeout=600)
    writer = made(store, "first")
    own_server.stop()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        writer.append([message("second")])


@pytest.mark.slow
def test_a_server_that_is_away_when_the_store_is_opened_is_waited_for(
    open_store: Open, own_server: Server
) -> None:
    own_server.stop()
    starting = threading.Timer(1, own_server.start)
    starting.start()
    made(open_store(own_server.url(), timeout=PATIENCE, reconnect_timeout=PATIENCE), "first")
    starting.join()


@pytest.mark.slow
def test_a_server_that_restarts_is_waited_for_and_no_step_is_stored_twice(
    open_store: Open, own_server: Server
) -> None:
    store = open_store(own_server.url(), timeout=PATIENCE, reconnect_timeout=PATIENCE)
    writer = made(store)

    def restart() -> None:
        for _ in range(3):
            time.sleep(0.3)
            own_server.stop()
            time.sleep(0.5)
            own_server.start()

    restarting = threading.Thread(target=restart)
    restarting.start()
    count = 0
    while restarting.is_alive():
        writer.append([message(f"{count}")])
        count += 1
    restarting.join()
    assert texts(store) == [f"{n}" for n in range(count)]


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """A way to the server that can be cut."""
    with Proxy(server().port) as opened:
        yield opened


@pytest.fixture
def through(postgres: str, proxy: Proxy) -> str:
    """The database by way of the proxy."""
    return postgres.replace(f":{server().port}/", f":{proxy.port}/")


@pytest.fixture
def far(open_store: Open, through: str) -> PostgresStore:
    """A store behind the proxy."""
    return open_store(through, timeout=PATIENCE, reconnect_timeout=PATIENCE)


def test_a_step_whose_connection_breaks_off_while_it_is_on_its_way_is_stored_once(
    far: PostgresStore, proxy: Proxy, postgres: str
) -> None:
    writer = made(far, "first")
    with ThreadPoolExecutor(1) as pool:
        with row_locked(postgres):
            storing = pool.submit(writer.append, [message("second")])
            while not run(postgres, "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
                time.sleep(0.01)
            proxy.break_off()  # the server has it, and does it as soon as it can
            time.sleep(0.2)
        storing.result(PATIENCE)
    writer.append([message("third")])
    assert texts(far) == ["first", "second", "third"]


@pytest.mark.parametrize("cut", ["before", "after"])
def test_a_step_whose_connection_was_cut_is_stored_once(far: PostgresStore, proxy: Proxy, cut: Any) -> None:
    writer = made(far, "first")
    proxy.cut = cut
    writer.append([message("second"), SaveSummary(1, "sum")])
    writer.append([message("third")])
    assert texts(far) == ["first", "second", "third"]
    assert far.info("ann").version == writer.info.version


@pytest.mark.parametrize("cut", ["before", "after"])
def test_a_step_of_which_nothing_is_known_can_be_stored_again_safely(
    open_store: Open, through: str, proxy: Proxy, cut: Any
) -> None:
    far = open_store(through, timeout=2, reconnect_timeout=1)
    writer = made(far, "first")
    proxy.cut, proxy.closed = cut, True
    assert "isn't known whether" in fault(lambda: writer.append([message("second")]))
    proxy.open()
    with contextlib.nullcontext() if cut == "before" else pytest.raises(SessionConflict):
        writer.append([message("second")])
    assert texts(far) == ["first", "second"]


def test_a_step_that_was_lost_may_find_its_session_deleted(
    open_store: Open, postgres: str, far: PostgresStore, proxy: Proxy
) -> None:
    writer, other = made(far, "first"), open_store(postgres)
    proxy.cut = "before"

    def delete() -> None:
        proxy.before_next = lambda: None
        other.delete("ann")

    proxy.before_next = delete
    with pytest.raises(SessionConflict):
        writer.append([message("second")])


def test_a_session_that_was_taken_though_nobody_said_so_is_taken_once(
    far: PostgresStore, proxy: Proxy
) -> None:
    proxy.cut, proxy.mark = "after", b"secondly"
    writer = far.write("ann", create={"instructions": "secondly", "title": "t"})
    writer.append([message("first")])
    assert texts(far) == ["first"] and far.info("ann").instructions == "secondly"


def test_other_changes_are_made_again_or_say_that_nothing_is_known(far: PostgresStore, proxy: Proxy) -> None:
    made(far, "second").release()
    proxy.cut, proxy.mark = "after", b"title"
    far.rename("ann", "title")
    assert far.info("ann").title == "title"
    proxy.cut, proxy.mark = "after", b"ann"
    assert texts(far) == ["second"]  # a read is read again
    proxy.cut = "after"
    assert "isn't known whether" in fault(lambda: far.delete("ann"))
    with pytest.raises(SessionNotFound):
        far.info("ann")


# -- a pooler between


@pytest.fixture
def behind() -> Iterator[str]:
    """The name of a database of its own: through PgBouncer, `options` can't name a schema."""
    server().execute("CREATE DATABASE behind")
    yield "behind"
    server().execute("DROP DATABASE behind WITH (FORCE)")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["transaction", "statement"])
@pytest.mark.parametrize("round_robin", [0, 1])
def test_pgbouncer_that_changes_connections_between_transactions_is_refused_before_anything_is_done(
    open_store: Open, behind: str, mode: str, round_robin: int
) -> None:
    with pgbouncer(server(), mode, server_round_robin=round_robin) as port:
        url = server().url(behind, port=port)
        with contextlib.ExitStack() as used:  # so that the pool has several connections
            for _ in range(4):
                used.enter_context(psycopg.connect(url, autocommit=True)).execute(b"SELECT pg_sleep(0)")
            with pytest.raises(ConfigurationError, match="pool in session mode"):
                open_store(url)
        assert server().execute("SELECT 1 FROM pg_tables WHERE tablename LIKE 'agentkit%'", behind) == []
        assert server().execute("SELECT 1 FROM pg_locks WHERE locktype = 'advisory'", behind) == []


@pytest.mark.slow
def test_pgbouncer_in_session_mode_works_as_the_server_does(open_store: Open, behind: str) -> None:
    with pgbouncer(server(), "session") as port:
        store, other = open_store(server().url(behind, port=port)), open_store(server().url(behind))
        writer = made(store, "first")
        as_another_process(other)
        with pytest.raises(SessionConflict, match="another process"):
            other.write("ann")
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda n: made(store, *"abc", id=f"{n}").release(), range(24)))
        writer.append([message("second")], release=True)
        other.write("ann").append([message("third")])
        assert texts(store) == ["first", "second", "third"]
        assert {len(texts(store, f"{n}")) for n in range(24)} == {3}


@pytest.mark.slow
def test_a_server_behind_pgbouncer_that_is_away_is_waited_for(open_store: Open, own_server: Server) -> None:
    with pgbouncer(own_server, "session") as port:
        store = open_store(own_server.url(port=port), timeout=PATIENCE, reconnect_timeout=PATIENCE)
        writer = made(store, "first")
        own_server.stop()
        starting = threading.Timer(1, own_server.start)
        starting.start()
        writer.append([message("second")])
        starting.join()
        assert texts(store) == ["first", "second"]


def test_what_only_passes_connections_on_is_used(far: PostgresStore) -> None:
    made(far, "first").append([message("second")])
    assert texts(far) == ["first", "second"]


# -- many at once


def check_crowd(url: str, seconds: str) -> None:
    with PostgresStore(url) as store:
        for id in ["shared", *(f"own {n}" for n in range(10))]:
            store.create(id)
        with child("crowd", url, seconds) as process:
            results = said(process)
        assert [faults for *_, faults in results] == [[]] * 13
        said_in: dict[str, list[str]] = {}
        for name, id, done, _, _ in results:
            assert done > 0, name
            said_in.setdefault(id, []).extend(f"{name}: {number}" for number in range(done))
        for id, expected in said_in.items():
            found = texts(store, id)
            assert found[::2] == found[1::2]  # nothing torn
            assert sorted(found[::2]) == sorted(expected)  # nothing lost
        assert sum(conflicts for _, id, _, conflicts, _ in results if id == "shared") > 0
        assert not any(conflicts for _, id, _, conflicts, _ in results if id != "shared")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system can't fork")
def test_many_processes_lose_and_tear_nothing(postgres: str) -> None:
    check_crowd(postgres, "2")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system can't fork")
def test_many_processes_lose_and_tear_nothing_for_long(postgres: str) -> None:
    check_crowd(postgres, "10")


def test_an_id_is_taken_once_even_at_the_same_moment(open_store: Open, postgres: str) -> None:
    stores = [open_store(postgres) for _ in range(4)]

    def create(store: PostgresStore) -> bool:
        try:
            store.create("ann")
        except SessionExists:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(create, stores)) == 1
