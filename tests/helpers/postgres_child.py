"""Processes that use a `PostgresStore`: `python -m tests.helpers.postgres_child WHAT URL ...`."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial

import agentkit.stores.postgres_database  # noqa: F401 - so that not each fork must
from agentkit.errors import SessionConflict, StoreError
from agentkit.stores.base import AddMessage
from agentkit.stores.postgres import PostgresStore
from agentkit.wire.content import model_content, user_content
from tests.helpers.stored_chats import added


def pair(mark: str) -> list[AddMessage]:
    return [added(user_content(mark)), added(model_content(mark))]


def say(value: object) -> None:
    print(json.dumps(value), flush=True)


def start(url: str, count: str) -> None:
    """Open the store in processes that all do so at the same time."""
    at = time.time() + 0.3
    children = [in_child(partial(open_at, url, at)) for _ in range(int(count))]
    say([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])


def open_at(url: str, at: float) -> None:
    time.sleep(max(0.0, at - time.time()))
    with PostgresStore(url) as store:
        store.list()


def write(url: str) -> None:
    """Write a session without end."""
    store = PostgresStore(url)
    writer = store.write("ann")
    say("ready")
    for number in range(1_000_000):
        writer.append(pair(str(number)))


def fork(url: str) -> None:
    """Become the writer, and fork a child that lives on; say what becomes of the store in it."""
    store = PostgresStore(url)
    writer = store.write("ann")
    writer.append(pair("parent"))
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        try:
            writer.append(pair("child"))
            result = "written"
        except SessionConflict:
            result = "refused"
        try:
            store.write("ann")
        except SessionConflict:
            result += ", conflict"
        writer.release()
        other = store.write("bob")
        other.append(pair("child"))
        other.release()
        os.write(writing, f"{result}, {len(store.load('ann').messages)}".encode())
        signal.pause()
    seen = os.read(reading, 1000).decode()
    writer.append(pair("parent"))
    say([child, seen])
    signal.pause()


def crowd(url: str, seconds: str) -> None:
    """Let 3 processes write one session and 10 their own; say how often each could, could not, and failed."""
    jobs = [(f"shared {n}", "shared") for n in range(3)] + [(f"own {n}", f"own {n}") for n in range(10)]
    reading, writing = os.pipe()
    children = [in_child(partial(work, url, name, id, float(seconds), writing)) for name, id in jobs]
    os.close(writing)
    for child in children:
        os.waitpid(child, 0)
    with os.fdopen(reading) as results:
        say([json.loads(line) for line in results])


def in_child(job: Callable[[], None]) -> int:
    if (child := os.fork()) == 0:
        status = 1
        try:
            job()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return child


def work(url: str, name: str, id: str, seconds: float, results: int) -> None:
    done, conflicts, faults = 0, 0, []
    with PostgresStore(url) as store:
        until = time.monotonic() + seconds
        while time.monotonic() < until or (not done and time.monotonic() < until + 40):  # somebody may starve
            try:
                writer = store.write(id, wait=random.choice([0, 0.05]))
                try:
                    before = store.load(id)
                    assert [call.index for call in before.calls] == []
                    writer.append(pair(f"{name}: {done}"))
                finally:
                    writer.release()
                done += 1
            except SessionConflict:
                conflicts += 1
            except (StoreError, AssertionError) as error:
                faults.append(repr(error))
    os.write(results, (json.dumps([name, id, done, conflicts, faults[:3]]) + "\n").encode())


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
