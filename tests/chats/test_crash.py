"""Killed at any instant, a chat loses no finished step and runs no write twice."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from agentkit import Agent, SQLiteStore
from agentkit.chats.chat import Chat
from agentkit.testing import check_history
from agentkit.wire.content import calls_of, responses_of
from tests.helpers.chat_child import make_agent

ROOT = Path(__file__).parents[2]


def kill_once(db: Path, log: Path, seconds: float) -> int:
    """Run the child, kill it so many seconds after its first answer, and return how many messages it knew stored."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.helpers.chat_child", str(db), str(log)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        first = child.stdout.readline()
        time.sleep(seconds)
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read().splitlines()
    whole = [line for line in (first.strip(), *rest) if line.startswith("stored ")]
    return int(whole[-1].split()[1])


def resume(chat: Chat, log: Path) -> tuple[str, int]:
    """Resume until there is an answer, looking into the log for what became of writes; return it and how many."""
    unknown = 0
    for _ in range(10):
        run = chat.resume()
        check_history(run.contents)
        if run.stop is None:
            return run.text, unknown
        assert run.stop == "unknown_effect"
        for call in run.pending:
            unknown += 1
            assert call.name == "change"
            done = f"{chat.id}/{call.call_id}\n" in log.read_text()
            if done:
                chat.resolve(call.call_id, result="changed")
            else:
                chat.resolve(call.call_id, retry=True)
    raise AssertionError("resume() never ends")


def killed(rounds: int, tmp_path: Path) -> int:
    """Kill and resume so often; return how many writes were under way at a kill."""
    db, log = tmp_path / "chats.db", tmp_path / "log.txt"
    seen = 0
    unknown = 0
    chosen = random.Random(7)
    for _ in range(rounds):
        stored = kill_once(db, log, chosen.uniform(0, 0.06))
        with SQLiteStore(db) as store:
            assert store.check() == []
            agent: Agent = make_agent(log)
            chat = agent.chat("ann", store)
            before = chat._conversation.messages()
            assert len(before) >= stored >= seen
            text, asked = resume(chat, log)
            unknown += asked
            assert text == "done: 5"
            history = chat.get_history()
            check_history(history)
            assert history[: len(before)] == [message.content for message in before]
            seen = len(history)
            assert chat.resume().text == text
            assert len(chat.get_history()) == seen
            writes = sum(call["name"] == "change" for content in history for call in calls_of(content))
            answers = sum(len(responses_of(content)) for content in history)
            lines = Counter(log.read_text().splitlines())
            assert sum(lines.values()) == writes
            assert answers == writes // 3 * 5
            assert set(lines.values()) <= {1}
    return unknown


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_chat_killed_at_random_instants_resumes_with_nothing_lost_and_no_write_run_twice(
    tmp_path: Path,
) -> None:
    killed(6, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_chat_killed_fifty_times(tmp_path: Path) -> None:
    assert killed(50, tmp_path) > 0  # else no kill hit a write, and nothing was tested
