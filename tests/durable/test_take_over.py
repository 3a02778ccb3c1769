"""A worker that ends, however it ends: others go on from where it was, and nothing is written twice."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from agentkit.durable import Queue, TaskEnded, TaskStarted
from agentkit.durable.engine import Claimed
from agentkit.durable.workers import Workers
from tests.helpers.queue_worker import Worker, effects_in, let_go, plan
from tests.helpers.until import PATIENCE, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def began(effects: Path, tool: str) -> bool:
    return any(each[:2] == ["begin", tool] for each in effects_in(effects))


@pytest.mark.parametrize("tool", ["read", "write", "unmarked"])
def test_another_worker_goes_on_where_one_was_killed(
    where: str, queue: Queue, effects: Path, tool: str
) -> None:
    with Worker(where, effects) as first, Worker(where, effects) as second:
        task = queue.send("ann", plan("write", (tool, {"hold": True}), "read", say="All done."))
        until(lambda: Counter(each[0] for each in effects_in(effects))["begin"] == 2)
        pid = effects_in(effects)[-1][4]
        (first if first.process.pid == pid else second).kill()
        let_go()
        done = queue.wait(task, PATIENCE)
        told = [event for _, event in queue.watch(task)]
    assert [event.attempt for event in told if isinstance(event, TaskStarted)] == [1, 2]
    assert sum(isinstance(event, TaskEnded) for event in told) == 1
    assert done.deaths == 1
    begins = Counter(each[2] for each in effects_in(effects) if each[0] == "begin" and each[1] != "read")
    assert set(begins.values()) == {1}
    if tool == "read":
        assert done.text == "All done."
        return
    assert done.stop == "unknown_effect"
    with Worker(where, effects):
        again = queue.wait(queue.resolve("ann", done.pending[0].call_id, retry=True), PATIENCE)
    assert again.text == "All done."


def test_what_a_message_was_given_goes_on_with_whoever_takes_it_over(
    where: str, queue: Queue, effects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = tmp_path / "hold"
    monkeypatch.setenv("HOLD", str(hold))
    options = {"instructions": "Be brief.", "tool_choice": ["write"], "config": {"temperature": 0.25}}
    task = queue.send("ann", plan("write", say="Held to."), options=options)
    with ExitStack() as stack:
        for turn in (0, 1):  # killed before there is any reply, and after the first
            hold.write_text(str(turn))
            worker = stack.enter_context(Worker(where, effects))
            until(lambda turn=turn: ["request", turn] in [each[:2] for each in effects_in(effects)])  # type: ignore[misc]
            worker.kill()
        hold.write_text("9")
        stack.enter_context(Worker(where, effects))
        done = queue.wait(task, PATIENCE)
    assert (done.text, done.deaths) == ("Held to.", 2)
    requests = [each[1:-1] for each in effects_in(effects) if each[0] == "request"]
    forced = {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["write"]}}
    told = [{"role": "user", "parts": [{"text": "Be brief."}]}, {"temperature": 0.25}]
    assert [(turn, [said, config]) for turn, said, _, config in requests] == [
        (turn, told) for turn in (0, 0, 1, 1)
    ]
    assert [choice for _, _, choice, _ in requests] == [forced, forced, None, None]
    assert sum(each[:2] == ["end", "write"] for each in effects_in(effects)) == 1


def test_a_message_that_kills_its_workers_is_given_up_and_those_beside_it_are_not(
    where: str, queue: Queue, effects: Path
) -> None:
    deadly = queue.send("ann", plan("deadly"))
    others = [queue.send(f"chat{n}", plan(*[("read", {"seconds": 0.4})] * 4)) for n in range(4)]
    workers = [Worker(where, effects) for _ in range(4)]
    try:
        given_up = queue.wait(deadly, 120)
        assert [queue.wait(task, PATIENCE).text for task in others] == ["Done."] * 4
    finally:
        for worker in workers:
            worker.kill()
    assert (given_up.status, given_up.deaths) == ("failed", 3)
    assert "3 workers ended" in given_up.why
    assert sum(each[1] == "deadly" for each in effects_in(effects)) == 3
    assert [type(event) for _, event in queue.watch(deadly)][-1] is TaskEnded


@pytest.mark.parametrize("drain", ["300", "0.2"])
def test_a_worker_that_is_told_to_end_finishes_or_parks(
    where: str, queue: Queue, effects: Path, drain: str
) -> None:
    task, hold = queue.send("ann", plan("read", say="There.")), effects.with_name("hold")
    hold.write_text("1")
    with Worker(where, effects, DRAIN=drain, HOLD=str(hold)) as first:
        until(lambda: began(effects, "read"))
        first.stop()
        after = queue.send("bob", plan())
        if drain == "300":
            effects.with_name("new").write_text("9")
            effects.with_name("new").replace(hold)
        assert first.process.wait(PATIENCE) == 0
    found = queue.get(task)
    assert found is not None
    assert found.status == ("done" if drain == "300" else "queued")
    assert queue.get(after).status == "queued"  # type: ignore[union-attr]
    with Worker(where, effects):
        done = queue.wait(task, PATIENCE)
        assert queue.wait(after, PATIENCE).text == "Done."
    assert (done.text, done.deaths) == ("There.", 0)
    assert len(queue.agents["planned"].chat("ann", queue.store).get_history()) == 4


def test_a_frozen_worker_whose_tasks_were_taken_writes_nothing_more(
    where: str, queue: Queue, effects: Path
) -> None:
    with Worker(where, effects) as first, Worker(where, effects) as second:
        task = queue.send("ann", plan(("write", {"hold": True}), say="There."))
        until(lambda: began(effects, "write"))
        frozen = first if first.process.pid == effects_in(effects)[0][4] else second
        os.kill(frozen.process.pid, signal.SIGSTOP)
        if not where.startswith("postgres"):  # one machine: it is seen that the process is there
            time.sleep(2)
            assert queue._there(task).status == "running"
            os.kill(frozen.process.pid, signal.SIGCONT)
            let_go()
            assert queue.wait(task, PATIENCE).text == "There."
            return
        cut_off(queue, frozen)
        parked = queue.wait(task, PATIENCE)
        assert parked.stop == "unknown_effect"
        os.kill(frozen.process.pid, signal.SIGCONT)
        let_go()
        resolved = queue.wait(queue.resolve("ann", parked.pending[0].call_id, result="it was"), PATIENCE)
        assert resolved.text == "There."
        after = [queue.wait(queue.send(f"chat{n}", plan("read")), PATIENCE).text for n in range(4)]
        assert after == ["Done."] * 4
        assert [each[0] for each in effects_in(effects) if each[1] == "write"] in (
            ["begin"],
            ["begin", "end"],
        )
    assert sum(isinstance(event, TaskEnded) for _, event in queue.watch(task)) == 1
    assert len(queue.agents["planned"].chat("ann", queue.store).get_history()) == 4


def test_a_worker_that_was_taken_for_dead_takes_nothing_until_it_has_noticed(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim, beat = queue.engine.claim, Workers._beat
    claimed: list[list[Claimed]] = []
    looks = threading.Event()

    def noted(*args: Any, **options: Any) -> list[Claimed]:
        claimed.append(claim(*args, **options))
        return claimed[-1]

    async def held(workers: Workers) -> None:
        if looks.is_set():
            await beat(workers)

    monkeypatch.setattr(queue.engine, "claim", noted)
    monkeypatch.setattr(Workers, "_beat", held)
    with queue.workers():
        queue.engine.run([("DELETE FROM {p}queue_workers", ())])
        task = queue.send("ann", plan("read"))
        before = len(claimed)
        until(lambda: len(claimed) >= before + 2)
        assert not any(claimed)
        looks.set()
        done = queue.wait(task, PATIENCE)
    assert (done.text, done.attempts, done.deaths) == ("Done.", 1, 0)


def cut_off(queue: Queue, worker: Worker) -> None:
    """End the connections that a process has to the server, as a broken network would."""
    import psutil  # type: ignore[import-untyped]

    ports = {each.laddr.port for each in psutil.Process(worker.process.pid).net_connections("tcp")}
    text = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE client_port = ?"
    queue.engine.run([(text, (port,)) for port in sorted(ports)])
