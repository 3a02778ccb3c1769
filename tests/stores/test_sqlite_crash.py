"""What `SQLiteStore` keeps when processes are killed, write at once, or fork."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agentkit.errors import SessionConflict
from agentkit.stores.base import StoredSession
from agentkit.stores.sqlite import SQLiteStore
from agentkit.stores.sqlite_file import PAGE_SIZE
from agentkit.wire.content import user_content
from agentkit.wire.history import check
from tests.helpers.stored_chats import added
from tests.helpers.until import PATIENCE

ROOT = Path(__file__).parents[2]


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "chats.db"


@contextmanager
def child(what: str, *args: object) -> Iterator[subprocess.Popen[str]]:
    """Run a process of `sqlite_child`; it is killed at the end, if it still runs."""
    command = [sys.executable, "-m", "tests.helpers.sqlite_child", what, *map(str, args)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def run(what: str, *args: object) -> Any:
    """Run a process to its end; return what it told."""
    with child(what, *args) as process:
        out, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    return [json.loads(told) for told in out.splitlines()]


def kill_again_and_again(db: Path, rounds: int, seed: int = 7) -> None:
    with SQLiteStore(db) as store:
        store.create("ann")
    chosen, seen = random.Random(seed), 0
    for _ in range(rounds):
        with child("append", db, "ann") as process:
            assert line(process) == "ready"
            time.sleep(chosen.uniform(0, 0.05))
            process.send_signal(signal.SIGKILL)
            assert process.stdout is not None
            told = process.stdout.read().split("\n")
        stored = int(told[-2]) if len(told) > 1 else seen  # the last line may be a part of one
        with SQLiteStore(db) as store:
            assert store.check() == []
            session = store.load("ann")
            seen = session.info.messages
            assert seen in (stored, stored + 2)  # what it was killed in before it could tell may be there
            for seq, message in enumerate(session.messages):
                said = "answer" if seq % 2 else "message"
                assert message.content["parts"] == [{"text": f"{said} {seq - seq % 2}"}]
            results = [(result.seq, result.id) for result in store.results("ann")]
            assert results == [(n + 1, f"result {n}") for n in range(0, seen, 2)]
            store.write("ann").release()  # the killed process has it no longer
    assert seen > rounds


@pytest.mark.slow
def test_a_kill_at_any_instant_loses_no_step_and_tears_none(db: Path) -> None:
    kill_again_and_again(db, 15)


def test_a_kill_while_what_was_stored_is_moved_into_the_file_loses_nothing(db: Path, tmp_path: Path) -> None:
    killed = tmp_path / "killed.db"
    with SQLiteStore(db) as store:
        store.create("ann")
        store._db._connected().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        writer = store.write("ann")
        writer.append([added(user_content(f"{n} " + "x" * 5000)) for n in range(40)])
        for end in ("", "-wal"):
            shutil.copy(f"{db}{end}", f"{killed}{end}")
    # The first page is moved first: it says how long the file will be. Each is in `-wal` after 24 bytes about it.
    wal = Path(f"{killed}-wal").read_bytes()
    frames = [wal[start : start + 24 + PAGE_SIZE] for start in range(32, len(wal), 24 + PAGE_SIZE)]
    first = [frame[24:] for frame in frames if int.from_bytes(frame[:4], "big") == 1][-1]
    with killed.open("r+b") as file:
        file.write(first)
    assert int.from_bytes(first[28:32], "big") * PAGE_SIZE > killed.stat().st_size
    with SQLiteStore(killed) as store:
        assert store.check() == []
        assert store.info("ann").messages == 40


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(4))
def test_many_kills_lose_no_step_and_tear_none(db: Path, seed: int) -> None:
    kill_again_and_again(db, 50, seed)


def turns_of(session: StoredSession) -> list[str]:
    """Check that a session has whole turns only; return who wrote each."""
    check([message.content for message in session.messages])
    assert session.info.messages == len(session.messages)
    assert session.info.usage.total_tokens == len(session.messages) // 2
    writers = []
    for start in range(0, len(session.messages), 4):
        ask, call, answer, said = (
            message.content["parts"][0] for message in session.messages[start : start + 4]
        )
        text = ask["text"]
        assert "functionCall" in call and answer["functionResponse"]["response"] == {"output": text}
        assert said["text"] == text
        writers.append(text)
    return writers


def write_all_at_once(db: Path, seconds: float) -> None:
    names = [f"own{n}" for n in range(10)] + [f"shared{n}" for n in range(3)]
    sessions = {name: "shared" if name.startswith("shared") else name for name in names}
    with SQLiteStore(db) as store:
        for id in set(sessions.values()):
            store.create(id)
    processes = {}
    for name in names:
        manager = child("share", db, sessions[name], name, seconds)
        processes[name] = (manager, manager.__enter__())
    try:
        for _, process in processes.values():
            assert line(process) == "ready"
        for _, process in processes.values():
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        told = {name: json.loads(line(process)) for name, (_, process) in processes.items()}
        assert all(process.wait(PATIENCE) == 0 for _, process in processes.values())
    finally:
        for manager, _ in processes.values():
            manager.__exit__(None, None, None)
    with SQLiteStore(db) as store:
        assert store.check() == []
        shared = turns_of(store.load("shared"))
        for name in names:
            turns, conflicts = told[name]
            expected = [f"{name} {n}" for n in range(turns)]
            if name.startswith("shared"):
                assert [text for text in shared if text.startswith(name)] == expected
            else:
                assert turns_of(store.load(name)) == expected
                assert conflicts == 0 and turns > 0
        assert len(shared) == sum(told[name][0] for name in names if name.startswith("shared")) > 0


@pytest.mark.slow
def test_processes_that_write_at_once_lose_and_tear_nothing(db: Path) -> None:
    write_all_at_once(db, 1.5)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_processes_that_write_at_once_for_long_lose_and_tear_nothing(db: Path) -> None:
    write_all_at_once(db, 20)


def test_a_writer_in_another_process_is_named_and_free_when_that_ends(db: Path) -> None:
    with SQLiteStore(db) as store:
        store.create("ann")
        with child("hold", db, "ann") as process:
            assert line(process) == "ready ann"
            with pytest.raises(SessionConflict, match=rf"another process \(pid {process.pid}\)"):
                store.write("ann")
            process.kill()
            assert process.stdout is not None
            process.stdout.read()  # it has ended, but nobody asked how: the system still keeps its number
            store.write("ann", wait=5).append([added(user_content("mine"))])


def test_a_store_that_was_opened_before_a_fork_works_in_both_processes(db: Path) -> None:
    in_child, in_parent = run("fork", db)
    # No file of the parent's open; its writer isn't the child's, and the child is a process of its own.
    assert in_child == [0, "SessionConflict", True, True]
    assert in_parent == [2, 4, []]


def test_a_fork_that_python_does_not_see_is_refused(db: Path) -> None:
    with child("fork_in_c", db) as process:
        out, _ = process.communicate(timeout=PATIENCE)
    told = out.splitlines()
    assert "fork" in told[0] and told[1] == "ann"
