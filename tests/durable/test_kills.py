"""Workers killed at random instants and at every one of their transactions, on both databases.

Each message is answered, or parked since nobody knows what a call did; none is lost, no write runs twice, and
whoever watches is told one end.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agentkit.durable import Queue, Task, TaskEnded
from tests.helpers.queue_worker import Worker, effects_in, plan

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
KILLS = int(os.environ.get("QUEUE_KILLS", "12"))
"""How many of each kind; more finds more."""


@contextmanager
def crew(where: str, effects: Path, size: int) -> Iterator[list[Worker]]:
    """Keep so many workers alive, whoever kills them; they are in the list, which the block may take from."""
    workers = [Worker(where, effects, DEATHS="99") for _ in range(size)]
    for worker in workers:
        worker.ready()
    ended = threading.Event()

    def replace() -> None:
        while not ended.wait(0.05):
            for n, worker in enumerate(workers):
                if worker.process.poll() is not None:
                    worker.kill()
                    workers[n] = Worker(where, effects, DEATHS="99")

    keeper = threading.Thread(target=replace)
    keeper.start()
    try:
        yield workers
    finally:
        ended.set()
        keeper.join()
        for worker in workers:
            worker.kill()


def settle(queue: Queue, task: str, effects: Path) -> tuple[Task, int]:
    """Wait for a task; of calls that nobody knows of, say what became of them, as a person would who looks."""
    parked = 0
    done = queue.wait(task, 240)
    while done.stop == "unknown_effect":
        parked += 1
        call = done.pending[0].call_id
        ran = any(each[0] == "end" and each[2] == call for each in effects_in(effects))
        said: dict[str, Any] = {"result": "it was done"} if ran else {"retry": True}
        done = queue.wait(queue.resolve(done.chat, call, **said), 240)
    return done, parked


def check(queue: Queue, effects: Path, tasks: list[str], steps: int) -> int:
    """Check all promises for these tasks; return how many calls a person was asked about."""
    asked = 0
    for task in tasks:
        done, parked = settle(queue, task, effects)
        asked += parked
        assert (done.status, done.text) == ("done", "Done."), (task, done)
        history = queue.agents["planned"].chat(done.chat, queue.store).get_history()
        assert len(history) == 2 + 2 * steps
        assert sum(isinstance(event, TaskEnded) for _, event in queue.watch(task)) == 1
    ends = Counter(each[2] for each in effects_in(effects) if each[0] == "end" and each[1] != "read")
    assert [call for call, times in ends.items() if times > 1] == []
    return asked


@pytest.mark.parametrize("size", [2, 4])
def test_killed_at_random_instants_nothing_is_lost_and_no_write_runs_twice(
    where: str, queue: Queue, effects: Path, size: int
) -> None:
    steps = ["read", "write", "unmarked", "read", "write"]
    chance = random.Random(size)
    with crew(where, effects, size) as workers:
        tasks: list[str] = []
        for _ in range(KILLS):
            number = len(tasks)
            tasks += [
                queue.send(
                    f"chat{number + n}", plan(*[(step, {"seconds": 0.05}) for step in steps], slow=0.02)
                )
                for n in range(3)
            ]
            time.sleep(chance.uniform(0.2, 1.5))
            alive = [each for each in workers if each.process.poll() is None]
            if alive:
                chance.choice(alive).process.kill()
        check(queue, effects, tasks, len(steps))
        deaths = sum(task.deaths for task in queue.list(limit=1000))
    assert deaths > 0


def test_killed_at_each_of_its_transactions_nothing_is_lost_and_no_write_runs_twice(
    where: str, queue: Queue, effects: Path
) -> None:
    tasks = []
    steps = ["read", "write", "unmarked"]
    numbers = [sign * number for number in range(1, KILLS + 1) for sign in (1, -1)]
    for number in numbers:
        tasks.append(queue.send(f"chat{number}", plan(*steps)))
        worker = Worker(where, effects, KILL_AT=str(number), CONCURRENCY="1", DEATHS="99")
        deadline = time.monotonic() + 60
        while worker.process.poll() is None and time.monotonic() < deadline:
            if queue._there(tasks[-1]).is_over:
                break
            time.sleep(0.02)
        worker.kill()
    with Worker(where, effects, DEATHS="99"):
        check(queue, effects, tasks, len(steps))
