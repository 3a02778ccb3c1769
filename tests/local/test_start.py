"""When the embedded model's process starts, what it is told before it is asked, and that it never stays behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from agentkit_local import engine as engine_module
from agentkit_local.child import next_request
from agentkit_local.model import LocalModel, available

from agentkit import Agent
from agentkit.errors import ModelError
from agentkit.testing import ScriptedModel
from agentkit.tooling.registry import ToolRegistry
from tests.helpers.until import PATIENCE
from tests.local.test_engine import ONE, ask, calls, is_gone, posix, until

pytestmark = [
    pytest.mark.skipif(not available(), reason="the embedded model has no engine for this machine"),
    pytest.mark.timeout(300),
]


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def engine_of(agent: Agent) -> engine_module.Engine:
    model = agent.model
    assert isinstance(model, LocalModel)
    return model._engine


STAND_IN = """
import json, sys
for line in sys.stdin:
    with open(sys.argv[1], "a") as log:
        log.write(line)
    if json.loads(line)["turns"]:
        reply = {"function_calls": [{"name": "add", "arguments": {"a": 1, "b": 2}}], "confidence": 0.99}
        print(json.dumps({"reply": reply, "prefix_tokens": 10, "tokens": 5}), flush=True)
"""


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[dict[str, Any]]]:
    """Put a stand-in for the engine's process, and give what it is told."""
    program, log, weights = tmp_path / "child.py", tmp_path / "log", tmp_path / "weights"
    program.write_text(STAND_IN)
    log.touch()
    monkeypatch.setattr(engine_module, "_PROGRAM", program)
    monkeypatch.setattr("agentkit_local.model._installed", lambda: (log, weights, "1.0"))
    return lambda: [json.loads(line) for line in log.read_text().splitlines()]


def names(request: dict[str, Any]) -> list[str]:
    return [tool["name"] for tool in json.loads(request["tools"])]


# --- when it starts -----------------------------------------------------------------------------------------


def test_the_process_starts_with_the_model_and_ends_with_it_though_nothing_was_asked(
    no_thread_left: None,
) -> None:
    model = LocalModel()
    process = model._engine._line.process
    assert process is not None
    assert process.poll() is None
    model.close()
    assert process.returncode is not None  # waited for: no zombie
    model = LocalModel()
    pid = model._engine.pid
    assert pid is not None
    del model
    assert until(lambda: is_gone(pid))


def test_a_model_may_leave_the_start_to_the_first_request() -> None:
    model = LocalModel(start=False)
    assert model._engine.pid is None
    assert calls(model.generate(ask("Berlin weather", tools=ONE))) == [
        ("current_weather", {"city": "Berlin"})
    ]
    model.close()


def test_an_agent_starts_its_first_model_only() -> None:
    assert engine_of(Agent("local")).pid is not None
    fallback = Agent([ScriptedModel([]), "local"])._runs.models[1]
    assert isinstance(fallback, LocalModel)
    assert fallback._engine.pid is None


def test_a_closed_model_starts_again_for_a_new_agent() -> None:
    model = LocalModel()
    model.close()
    assert engine_of(Agent(model)).pid is not None
    model.close()


def test_one_that_cannot_be_started_early_says_so_at_the_first_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    agent = Agent("local", tools=[add])
    with pytest.raises(ModelError, match="can't be started"):
        agent.model.generate(ask("Berlin weather", tools=ONE))


# --- what it reads ahead ------------------------------------------------------------------------------------


@pytest.mark.parametrize("choice", ["auto", "required", ["add"]])
def test_an_agents_tools_are_read_ahead_as_its_first_request_has_them(
    told: Callable[[], list[dict[str, Any]]], choice: Any
) -> None:
    agent = Agent("local", tools=[add], tool_choice=choice)
    assert until(told)
    assert agent.run("Add the numbers 1 and 2.").text == "3"
    ahead, asked = told()
    assert ahead["turns"] == []
    assert asked["turns"] == ["Add the numbers 1 and 2."]
    assert (ahead["tools"], ahead["system"]) == (asked["tools"], asked["system"])
    assert names(ahead) == ["add"]


def numbered(count: int) -> list[Any]:
    registry = ToolRegistry("numbered")
    for number in range(count):
        registry.tool(name=f"add_{number}")(add)
    return list(registry)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"tools": numbered(6)},  # the request decides which are shown
        {"tools": [add], "tool_choice": "none"},
        {"tools": [add], "choose_tools": lambda context: ["add"]},
    ],
)
def test_tools_that_the_first_request_may_not_have_are_not_read_ahead(
    told: Callable[[], list[dict[str, Any]]], settings: dict[str, Any]
) -> None:
    agent = Agent("local", **settings)
    assert engine_of(agent).pid is not None
    engine_of(agent).submit({"turns": ["hello"]}).result(PATIENCE)
    assert [request["turns"] for request in told()] == [["hello"]]


def test_only_the_first_tools_are_read_ahead(told: Callable[[], list[dict[str, Any]]]) -> None:
    model = LocalModel()
    Agent(model, tools=[add])
    assert until(told)
    Agent(model, tools=numbered(2))
    assert Agent(model, tools=[add]).run("Add the numbers 1 and 2.").text == "3"
    assert [names(request) for request in told()] == [["add"], ["add"]]
    model.close()


def test_a_request_takes_the_place_of_tools_that_are_not_read_yet() -> None:
    lines: SimpleQueue[bytes] = SimpleQueue()
    for turns in ([], [], ["first"], [], ["second"], []):
        lines.put(json.dumps({"turns": turns}).encode())
    assert [next_request(lines)["turns"] for _ in range(3)] == [["first"], ["second"], []]


@pytest.mark.slow
def test_the_real_engine_answers_after_it_has_read_ahead_and_after_tools_that_it_refuses() -> None:
    for tools in (None, "no JSON"):
        model = LocalModel()
        if tools is None:
            model.prepare_for(ask(tools=ONE))
        else:
            model._engine.read({"system": "", "tools": tools})
        time.sleep(0.5)  # so that it has begun
        assert calls(model.generate(ask("Berlin weather", tools=ONE))) == [
            ("current_weather", {"city": "Berlin"})
        ]
        model.close()


@posix
def test_a_process_that_dies_while_it_reads_ahead_is_replaced(
    told: Callable[[], list[dict[str, Any]]],
) -> None:
    agent = Agent("local", tools=[add])
    assert until(told)
    process = engine_of(agent)._line.process
    assert process is not None
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert agent.run("Add the numbers 1 and 2.").text == "3"
    assert process.returncode == -signal.SIGKILL


# --- the process --------------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("end", ["pass", "os._exit(0)", "os.kill(os.getpid(), 9)", "raise SystemExit(3)"])
def test_a_model_that_is_never_asked_leaves_no_process_however_the_program_ends(end: str) -> None:
    program = f"""
        import os
        from agentkit import Agent
        def add(a: int, b: int) -> int: return a + b
        agent = Agent("local", tools=[add])
        print(agent.model._engine.pid, flush=True)
        {end}
    """
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stderr == ""
    assert until(lambda: is_gone(int(done.stdout)))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_of_a_process_with_an_engine_that_loads_starts_its_own_when_it_asks() -> None:
    program = """
        import os, sys, warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads is what is tested
        from agentkit import Agent
        def add(a: int, b: int) -> int:
            "Add two numbers."
            return a + b
        agent = Agent("local", tools=[add])
        pid = agent.model._engine.pid
        child = os.fork()
        if child == 0:
            assert agent.model._engine.pid is None
            print(agent.run("Add the numbers 1 and 2.").text, flush=True)
            assert agent.model._engine.pid not in (None, pid)
            sys.exit(0)
        assert os.waitpid(child, 0)[1] == 0
        print(agent.run("Add the numbers 3 and 4.").text)
        assert agent.model._engine.pid == pid
    """
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("3\n7\n", "")


def test_agents_without_the_embedded_model_start_no_process() -> None:
    program = """
        import subprocess, sys
        def refuse(*args, **kwargs): raise AssertionError("a process was started")
        subprocess.Popen.__init__ = refuse
        import agentkit
        from agentkit import Agent, LocalModel
        Agent("gemini-3.8-flash")
        Agent(["gemini-3.8-flash", "local"])
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    assert subprocess.run(command, capture_output=True, text=True, timeout=120).stderr == ""
