"""What a target names."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Agentkit


@pytest.mark.parametrize(
    "target",
    ["agents.py:agent", "agents:agent", "agents.py:maker", "agents.py:bare", "{folder}/agents.py:agent"],
)
def test_an_agent_or_a_function_that_makes_one(agentkit: Agentkit, folder: Path, target: str) -> None:
    done = agentkit("run", target.format(folder=folder), "hello")
    assert (done.code, done.out) == (0, "You said: hello\n")


def names(agentkit: Agentkit, *args: str) -> list[str]:
    return [line.split()[0] for line in agentkit("tools", "list", *args).out.splitlines()]


def test_of_a_plain_file_the_public_functions_with_annotations(agentkit: Agentkit) -> None:
    found = names(agentkit, "tools_file.py")
    assert found[:2] == ["add", "reverse"]
    assert len(found) == 10
    assert "untyped" not in found


def test_what_a_file_imports_and_its_main_are_no_tools(agentkit: Agentkit, folder: Path) -> None:
    (folder / "plain.py").write_text(
        "from tools_file import add\ndef own(x: int) -> int: ...\ndef main(argv: list[str]) -> int: ...\n"
    )
    assert names(agentkit, "plain.py") == ["own"]


def test_marked_functions_alone_if_any_is_marked(agentkit: Agentkit, folder: Path) -> None:
    (folder / "marked.py").write_text(
        "from agentkit import tool\n@tool\ndef one(x: int) -> int: ...\ndef two(x: int) -> int: ...\n"
    )
    assert names(agentkit, "marked.py") == ["one"]


def test_registries_functions_and_lists_by_name(agentkit: Agentkit, folder: Path) -> None:
    (folder / "several.py").write_text(
        "from agentkit import ToolRegistry\ndef a(x: int) -> int: ...\ndef b(x: int) -> int: ...\n"
        "kit = ToolRegistry('kit')\nkit.add(a)\nboth = [a, b]\n"
    )
    assert names(agentkit, "several.py") == ["a"]
    assert names(agentkit, "several.py:kit") == ["a"]
    assert names(agentkit, "several.py:b") == ["b"]
    assert names(agentkit, "several.py:both") == ["a", "b"]
    assert names(agentkit, "several:both", "-t", "tools_file.py:add", "-t", "calculator") == [
        "a",
        "b",
        "add",
        "calculate",
    ]


def test_ready_made_tools_and_an_agent_as_a_tool(agentkit: Agentkit) -> None:
    assert names(agentkit, "-t", "files=.", "-t", "agents.py:agent")[-1] == "scripted"


def test_a_file_named_like_a_module_of_python_is_no_danger(agentkit: Agentkit, folder: Path) -> None:
    (folder / "json.py").write_text("def own(x: int) -> int:\n    '''Own.'''\n    return x\n")
    assert names(agentkit, "json.py") == ["own"]
    assert agentkit("tools", "call", "json.py", "own", "x=3").out == '{"output": 3}\n'


def test_a_file_beside_the_target_does_not_stand_in_for_a_module_of_python(
    agentkit: Agentkit, folder: Path
) -> None:
    (folder / "colorsys.py").write_text("raise RuntimeError('the wrong one')\n")
    (folder / "uses.py").write_text("import colorsys\nimport tools_file\ndef own(x: int) -> int: ...\n")
    assert names(agentkit, "uses.py") == ["own"]


def test_tools_added_to_an_agent_come_behind_its_own(agentkit: Agentkit) -> None:
    assert names(agentkit, "agents.py:maker", "-t", "tools_file.py:shout") == ["add", "shout"]
    assert agentkit("run", "agents.py:maker", "hello", "-t", "tools_file.py:shout").code == 0
