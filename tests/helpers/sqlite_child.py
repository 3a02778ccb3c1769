"""Processes that use a `SQLiteStore`: `python -m tests.helpers.sqlite_child WHAT DB ...`."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from pathlib import Path

from agentkit.errors import SessionConflict, StoreError
from agentkit.limits import Usage
from agentkit.stores._owner import Owner, _started
from agentkit.stores.base import (
    FinishCall,
    SaveResult,
    StartCalls,
    Step,
    StoredCall,
)
from agentkit.stores.sqlite import SQLiteStore
from agentkit.stores.writer import Writer
from agentkit.wire.content import call_part, model_content, response_part, user_content
from tests.helpers.stored_chats import added


def tell(*what: object) -> None:
    print(*what, flush=True)


def turn(writer: Writer, text: str) -> None:
    """Store a turn of four messages, as a chat does: step by step."""
    call = {"name": "f", "args": {}}
    entry = StoredCall(index=0, call_id=text, name="f", effect="write")
    answer = response_part({"name": "f"}, {"output": text})
    lists: list[list[Step]] = [
        [added(user_content(text))],
        [added(model_content(call_part(**call)), usage=Usage(total_tokens=1), calls=[entry])],  # type: ignore[arg-type]
        [StartCalls([0])],
        [FinishCall(0, answer)],
        [added({"role": "user", "parts": [answer]})],
        [added(model_content(text), usage=Usage(total_tokens=1))],
    ]
    for steps in lists:
        writer.append(steps)


def append(db: str, id: str) -> None:
    """Append forever, telling each time how many messages are stored."""
    store = SQLiteStore(db)
    writer = store.write(id)
    count = writer.info.messages
    tell("ready")
    while True:
        writer.append(
            [
                added(user_content(f"message {count}")),
                SaveResult(f"result {count}", f"{count} whole " * 300),
                added(model_content(f"answer {count}")),
            ]
        )
        count += 2
        tell(count)


def share(db: str, id: str, name: str, seconds: str) -> None:
    """Store turns in a session, when told to, for so long; tell how many, and how often another was writing."""
    store = SQLiteStore(db, busy_timeout=60)
    tell("ready")
    sys.stdin.readline()
    until = time.monotonic() + float(seconds)
    turns = conflicts = 0
    while time.monotonic() < until or (not turns and time.monotonic() < until + 40):  # somebody may starve
        try:
            writer = store.write(id, wait=0.01 * (turns % 2))
        except SessionConflict:
            conflicts += 1
            time.sleep(0.002)
            continue
        turn(writer, f"{name} {turns}")
        writer.release()
        turns += 1
    store.close()
    tell(json.dumps([turns, conflicts]))


def fill(db: str, more: str) -> None:
    """Append until files may grow no more, then a little after they may again."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    store = SQLiteStore(db)
    writer = store.write("ann")
    resource.setrlimit(resource.RLIMIT_FSIZE, (Path(db).stat().st_size + int(more), hard))
    errors: list[str] = []
    stored = writer.info.messages
    while len(errors) < 3:
        try:
            writer.append([added(user_content(f"message {stored} " + "x" * 2000))])
            stored += 1
        except StoreError as error:
            errors.append(str(error))
    seen = store.load("ann").info.messages
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    writer.append([added(user_content(f"message {stored}"))])
    tell(json.dumps({"errors": errors, "stored": stored + 1, "seen": seen, "problems": list(store.check())}))


def as_nobody(db: str) -> None:
    """Try to use a file, as a user to whom permissions apply; tell what happens."""
    json.dumps(sys.stdin.read())  # what is imported late is imported while it may be read
    if os.geteuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
    told = []
    try:
        store = SQLiteStore(db)
        told.append(f"read {store.info('ann').messages}, wrong {[*store.check()]}")
        store.write("ann")
        told.append("wrote")
    except StoreError as error:
        told.append(str(error))
    tell(json.dumps(told))


def hold(db: str, id: str) -> None:
    """Become a session's writer and wait to be ended."""
    store = SQLiteStore(db)
    writer = store.write(id)
    tell("ready", writer.info.id)
    sys.stdin.readline()


def open_files(db: str) -> int:
    """Count what this process has open of the store."""
    return sum(
        str(file.resolve()).startswith(str(Path(db).resolve())) for file in Path("/proc/self/fd").iterdir()
    )


def fork(db: str) -> None:
    """Fork while the store is in use; tell what the child may do, then the parent."""
    store = SQLiteStore(db)
    store.create("ann")
    writer = store.write("ann")
    writer.append([added(user_content("parent"))])
    assert open_files(db)
    parent = Owner.current()
    pid = os.fork()
    if not pid:
        told: list[object] = [open_files(db)]
        try:
            writer.append([added(user_content("child"))])
        except SessionConflict as error:
            told.append(type(error).__name__)
        writer.release()
        try:
            store.write("ann")
        except SessionConflict as error:
            told.append(f"pid {os.getppid()}" in str(error))
        told.append(Owner.current() == Owner(parent.host, os.getpid(), _started(os.getpid())) != parent)
        store.create("eve")
        turn(store.write("eve"), "child")
        store.close()
        tell(json.dumps(told))
        os._exit(0)
    os.waitpid(pid, 0)
    writer.append([added(user_content("parent"))])
    tell(json.dumps([store.info("ann").messages, store.info("eve").messages, list(store.check())]))


def fork_in_c(db: str) -> None:
    """Fork without Python knowing; tell what the child is told."""
    import ctypes

    store = SQLiteStore(db)
    store.create("ann")
    pid = ctypes.CDLL(None).fork()
    if not pid:
        try:
            store.load("ann")
        except StoreError as error:
            tell(error)
        os._exit(0)
    os.waitpid(pid, 0)
    tell(store.info("ann").id)


if __name__ == "__main__":
    {f.__name__: f for f in (append, share, fill, as_nobody, hold, fork, fork_in_c)}[sys.argv[1]](
        *sys.argv[2:]
    )
