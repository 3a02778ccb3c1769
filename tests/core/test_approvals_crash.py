"""Killed around the stop for an approval, and around the resume, a chat neither forgets nor does a thing twice."""

from __future__ import annotations

import itertools
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from agentkit.testing import check_history
from agentkit.wire.content import Content, calls_of, responses_of
from tests.helpers.approval_child import CALLS, make_agent, open_store, settle
from tests.helpers.postgres import schema_url

ROOT = Path(__file__).parents[2]


def kill_once(where: str, log: Path, *, after: int, seconds: float) -> None:
    """Run the child, and kill it so many seconds after so many of its lines."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.helpers.approval_child", where, str(log)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        for _ in range(after):
            assert child.stdout.readline(), "the child ended by itself"
        time.sleep(seconds)
        child.send_signal(signal.SIGKILL)


def lines_of(log: Path) -> dict[str, Counter[str]]:
    """Count what the log has: the calls by what was done with them."""
    lines: dict[str, Counter[str]] = {"said": Counter()}
    for line in log.read_text().splitlines() if log.exists() else ():
        what, call_id = line.split()
        lines.setdefault(what, Counter())[call_id] += 1
    return lines


def was_hit(log: Path) -> bool:
    """Return whether a kill hit a decision on its way: it was said again."""
    return any(times > 1 for times in lines_of(log)["said"].values())


def killed(where: str, log: Path, *, rounds: int, until: Callable[[Path], bool] = lambda log: True) -> None:
    """Kill and go on so often, and as often as it takes until something has happened."""
    chosen = random.Random(11)
    seen: list[Content] = []
    for done in itertools.count():
        if done >= rounds and until(log):
            break
        assert done < 20 * rounds, "it didn't come to that"
        kill_once(where, log, after=chosen.randint(1, 6), seconds=chosen.uniform(0, 0.05))
        with open_store(where) as store:
            chat = make_agent(log).chat("ann", store, wait=10)
            before = [message.content for message in chat.get_messages()]
            finished = {
                entry.call_id: entry.response
                for entry in store.load("ann").calls
                if entry.response is not None
            }
            calls = {entry.call_id: entry.index for entry in store.load("ann").calls}
            assert before[: len(seen)] == seen
            run = settle(chat, log)
            assert run.text == f"done: {len(CALLS)}"
            seen = chat.get_history()
            check_history(seen)
            assert seen[: len(before)] == before
            answers = responses_of(seen[-2])
            for call_id, response in finished.items():  # nothing that was finished is lost
                assert response == {"functionResponse": answers[calls[call_id]]}
            assert chat.pending == []
            outputs = [each["response"].get("output") for each in answers]
            assert None not in outputs
    ran = lines_of(log)
    turns = sum(bool(calls_of(content)) for content in seen)
    assert len(ran["change"]) == len(ran["mail"]) == turns
    assert set(ran["change"].values()) | set(ran["mail"].values()) == {1}
    own = {call_id for call_id in ran["order"] if call_id in ran["said"]}
    assert own == set(ran["order"])  # nothing ran that nobody said anything of
    for name in ("order", "pay"):
        for call_id, times in ran[name].items():
            assert times <= ran["said"][call_id]


@pytest.mark.timeout(300)
def test_a_chat_killed_while_it_waits_and_goes_on(tmp_path: Path) -> None:
    killed(str(tmp_path / "chats.db"), tmp_path / "log.txt", rounds=2)


@pytest.mark.timeout(300)
def test_a_chat_in_postgresql_killed_while_it_waits_and_goes_on(tmp_path: Path) -> None:
    killed(schema_url(tmp_path), tmp_path / "log.txt", rounds=1)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_chat_killed_often_while_it_waits_and_goes_on(tmp_path: Path, kind: str) -> None:
    where = schema_url(tmp_path) if kind == "postgres" else str(tmp_path / "chats.db")
    killed(where, tmp_path / "log.txt", rounds=40, until=was_hit)
