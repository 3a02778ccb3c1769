"""`agentkit worker` and `agentkit tasks`: a queue from the command line, its worker in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentkit import SQLiteStore
from agentkit.durable import Queue
from tests.cli.conftest import Agentkit
from tests.cli.test_serving import answered, program
from tests.helpers.terminal import ROOT
from tests.helpers.until import PATIENCE

QUEUE = """
import os
from agentkit import SQLiteStore
from tests.helpers.queue_worker import make_agent
from agentkit.durable import Queue

os.environ["EFFECTS"] = "effects"
queue = Queue({"planned": make_agent()}, store=SQLiteStore("tasks.db"))
"""


def plan(*steps: str, say: str = "Done.") -> str:
    return json.dumps({"do": [[step, {}] for step in steps], "say": say})


@pytest.fixture
def queue(folder: Path) -> Iterator[Queue]:
    """A queue in the folder, as another process has it."""
    (folder / "my_queue.py").write_text(QUEUE)
    with SQLiteStore(folder / "tasks.db") as store, Queue({}, store=store) as opened:
        yield opened


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_worker_runs_tasks_until_sigterm_and_they_are_watched_and_decided_from_elsewhere(
    folder: Path, queue: Queue, agentkit: Agentkit
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "agentkit.cli.main", "worker", "my_queue.py:queue"],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tools'}"},
    )
    try:
        task = queue.send("ann", plan("asked", say="Allowed."), agent="planned")
        waits = queue.wait(task, 60)
        assert waits.stop == "approval"
        shown = agentkit("tasks", "show", task, "-q", "tasks.db")
        assert f"waits: {waits.pending[0].call_id}: asked {{}}" in shown.out
        decided = agentkit("tasks", "decide", task, "--approve", "-q", "tasks.db").out.strip()
        watched = agentkit("tasks", "watch", decided, "-q", "tasks.db")
        assert (watched.code, watched.out) == (0, "Allowed.\n")
        assert "asked()" in watched.err
        told = agentkit("tasks", "watch", decided, "-q", "tasks.db", "--json").out.splitlines()
        assert json.loads(told[0])["type"] == "task_started"
        assert json.loads(told[-1])["task"]["text"] == "Allowed."
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert "Working for planned" in errors
    assert "Traceback" not in errors


def test_tasks_are_listed_cancelled_and_sent_again(folder: Path, queue: Queue, agentkit: Agentkit) -> None:
    first = queue.send("ann", "Hello", agent="planned", id="m1")
    second = queue.send("bob", "Hello", agent="planned", id="m2")
    listed = agentkit("tasks", "list", "-q", "tasks.db").out.splitlines()
    assert [line.split()[:2] for line in listed] == [[second, "queued"], [first, "queued"]]
    assert "cancelled" in agentkit("tasks", "cancel", first, "-q", "tasks.db").err
    assert agentkit("tasks", "retry", first, "-q", "tasks.db").out == "ann=2/m1\n"
    some = agentkit("tasks", "list", "--chat", "ann", "--status", "queued", "--json", "-q", "tasks.db").out
    assert json.loads(some)["id"] == "ann=2/m1"
    watched = agentkit("tasks", "watch", first, "-q", "tasks.db")
    assert watched.code == 1


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_the_page_of_a_queue_lists_its_tasks(folder: Path, queue: Queue) -> None:
    task = queue.send("ann", "Hello", agent="planned", id="m1")
    with program(folder, "web", "my_queue.py:queue", "--token", "t" * 20) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[1]
        headers = {"authorization": "Bearer " + "t" * 20}
        listed = answered("GET", url.partition("?")[0] + "api/tasks", headers=headers).json()["tasks"]
    assert [(each["id"], each["status"], each["said"]) for each in listed] == [(task, "queued", "Hello")]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("tasks", "show", "nobody/1", "-q", "tasks.db"), "There is no task 'nobody/1'"),
        (("tasks", "list", "--status", "odd", "-q", "tasks.db"), "is not one of 'queued'"),
        (("tasks", "decide", "ann/m1", "-q", "tasks.db"), "Give one of --approve"),
        (("tasks", "decide", "ann/m1", "--approve", "-q", "tasks.db"), "no such call waits"),
        (("tasks", "list", "-q", "tools_file.py:add"), "is a function, not a Queue"),
        (("worker", "my_queue.py:nothing"), "has no 'nothing'"),
        (("run", "my_queue.py:queue", "Hi"), "is a queue"),
        (("tools", "list", "-t", "my_queue.py:queue"), "is a queue"),
        (("web", "my_queue.py:queue", "--db", "other.db"), "in the store of the queue"),
    ],
)
def test_what_is_wrong_is_said(
    folder: Path, queue: Queue, agentkit: Agentkit, words: tuple[str, ...], said: str
) -> None:
    queue.send("ann", "Hello", agent="planned", id="m1")
    done = agentkit(*words)
    assert done.code == 2
    assert said in done.err


def test_a_store_that_is_not_there_is_named_and_not_made(folder: Path, agentkit: Agentkit) -> None:
    done = agentkit("tasks", "list", "-q", "nowhere.db")
    assert (done.code, done.err) == (2, "Error: There is no file nowhere.db.\n")
    assert not (folder / "nowhere.db").exists()
