"""The server away, two versions of the code, schedules over a restart, and clocks that jump."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agentkit.durable import Queue, TaskEnded
from agentkit.durable.workers import due_since
from tests.helpers import postgres
from tests.helpers.queue_worker import Worker, effects_in, let_go, make_agent, open_queue, open_store, plan
from tests.helpers.until import PATIENCE, until


@pytest.fixture
def own_server() -> Iterator[postgres.Server]:
    """A server of PostgreSQL that the test may stop."""
    made = postgres.new_server()
    yield made
    made.remove()


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_server_that_crashes_and_comes_back_loses_no_task_and_runs_no_write_twice(
    own_server: postgres.Server, effects: Path
) -> None:
    where = own_server.url()
    with open_store(where) as store, open_queue(store) as queue:
        with Worker(where, effects), Worker(where, effects):
            steps = [("write", {"seconds": 0.3}), ("read", {"seconds": 0.3})] * 3
            tasks = [queue.send(f"chat{n}", plan(*steps)) for n in range(8)]
            until(lambda: len(effects_in(effects)) >= 20)
            own_server.stop()
            time.sleep(1.0)
            own_server.start()
            done = [queue.wait(task, 120) for task in tasks]
        assert [(task.status, task.text, task.deaths) for task in done] == [("done", "Done.", 0)] * 8
        calls = [each[2] for each in effects_in(effects) if each[0] == "begin"]
        assert len(calls) == len(set(calls)) == 48
        assert all(sum(isinstance(e, TaskEnded) for _, e in queue.watch(task)) == 1 for task in tasks)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_newer_code_takes_over_older_tasks_and_older_workers_leave_what_they_do_not_know(
    where: str, queue: Queue, effects: Path
) -> None:
    task = queue.send("ann", plan(("read", {"hold": True}), "write", say="Gone on."))
    with Worker(where, effects) as older:
        until(lambda: effects_in(effects))
        with open_store(where) as store, Queue({}, store=store) as sender:
            other = sender.send("bob", plan(say="By the newer."), agent="added")
        time.sleep(1.0)
        assert queue._there(other).status == "queued"
        older.kill()
    let_go()
    newer = make_agent()
    agents = {"planned": newer, "added": newer}
    with open_store(where) as store, Queue(agents, store=store) as deployed, deployed.workers():
        assert deployed.wait(other, PATIENCE).text == "By the newer."
        assert deployed.wait(task, PATIENCE).text == "Gone on."


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_schedule_fires_once_for_each_time_also_over_a_restart(
    reopen: Callable[[], Queue], effects: Path
) -> None:
    one, two = reopen(), reopen()

    def sent() -> list[datetime]:
        return sorted(datetime.fromisoformat(task.id.partition("@")[2]) for task in two.list(chat="ann"))

    began = datetime.now(UTC)
    one.schedule("tick", "*/2 * * * * *", "ann", plan("read"))
    with one.workers(), two.workers():
        until(lambda: len(sent()) >= 2)
    before, ended = sent(), datetime.now(UTC)
    assert all(began < each <= ended and each.second % 2 == 0 for each in before)
    assert len(set(before)) == len(before)
    time.sleep(5)  # nobody is there: of these times the last is made up for
    again = datetime.now(UTC)
    with two.workers():
        until(lambda: len(sent()) > len(before))
        one.unschedule("tick")
    after = sent()
    assert len(set(after)) == len(after)
    assert len([each for each in after if before[-1] < each <= again]) <= 1
    assert two.schedules() == {}


def test_a_clock_that_jumps_makes_no_time_due_twice_and_makes_up_for_one() -> None:
    noon = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
    schedule = {"schedule": "0 * * * *", "cron_timezone": None, "last_fired_at": noon.isoformat()}
    assert due_since(schedule, noon + timedelta(minutes=59)) is None
    assert due_since(schedule, noon + timedelta(hours=1, seconds=1)) == noon + timedelta(hours=1)
    assert due_since(schedule, noon - timedelta(days=2)) is None  # set back
    assert due_since(schedule, noon + timedelta(days=2, minutes=1)) == noon + timedelta(days=2)
    berlin = {**schedule, "schedule": "0 7 * * *", "cron_timezone": "Europe/Berlin"}
    assert due_since(berlin, noon + timedelta(hours=18, minutes=1)) == noon + timedelta(hours=18)


BESIDE = """
import os, sys
from pathlib import Path
from dbos import DBOS
from tests.helpers.queue_worker import open_queue, open_store, plan

os.environ["EFFECTS"] = os.devnull
DBOS(config={"name": "users-own", "system_database_url": f"sqlite:///{sys.argv[1]}/own.db"})

@DBOS.workflow()
def own(x: int) -> int:
    return x + 1

DBOS.launch()
with open_store(f"{sys.argv[1]}/chats.db") as store, open_queue(store) as queue, queue.workers():
    task = queue.send("ann", plan("read", say="Both."))
    print(own(1), queue.wait(task, 90).text)
DBOS.destroy()
"""
ALONE = """
import os, sys
from tests.helpers.queue_worker import open_queue, open_store, plan

os.environ["EFFECTS"] = os.devnull
with open_store(f"{sys.argv[1]}/chats.db") as store, open_queue(store) as queue, queue.workers():
    print(queue.wait(queue.send("ann", plan("read", say="Alone.")), 90).text)
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_it_lives_beside_an_application_of_the_engine_and_says_nothing_of_its_own(tmp_path: Path) -> None:
    for code, said in ((BESIDE, "2 Both.\n"), (ALONE, "Alone.\n")):
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, said), done.stderr
    assert done.stderr == ""
