"""`agentkit tools`: what the model sees, byte for byte, calls, and the rules of lint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agentkit import Tool
from agentkit.cli.lint import RULES, are_close, lint
from tests.cli.conftest import Agentkit
from tests.helpers.gemini_server import GeminiServer

LINTED = '''
from typing import Annotated, Any
from pydantic import Field
from agentkit import tool

@tool(effect="read")
def fine(city: str) -> str:
    """Say what is fine.

    Args:
        city: Which city.
    """

@tool
def silent(city: Annotated[str, Field(description="Which.")]) -> str: ...

@tool(description="Find it.")
def find_user() -> str: ...

@tool(description="find it.")
def look_up() -> str: ...

@tool(description="Find them.")
def find_users() -> str: ...

@tool(description="Take one.")
def take(what: str) -> str: ...

@tool(description="Take any.")
def anything(what: Annotated[Any, Field(description="Any.")]) -> str: ...

@tool(description="Take a code.")
def coded(code: Annotated[str, Field(description="The code.", pattern="^a")]) -> str: ...

@tool(description="Delete all.")
def delete_all() -> str: ...

@tool(description="Order.", effect="write")
def order() -> str: ...

@tool(description="Pay.", effect="write", approval=True)
def pay() -> str: ...

@tool(description="x" * 3000)
def long() -> str: ...
'''


def test_list_says_what_each_costs(agentkit: Agentkit) -> None:
    done = agentkit("tools", "list", "tools_file.py")
    assert "add             ~63  unmarked  Add two numbers." in done.out
    assert "9 tools" not in done.err
    assert "10 tools, about " in done.err
    assert "untyped" in done.err  # and why it isn't there
    known = [
        json.loads(line) for line in agentkit("tools", "list", "agents.py:agent", "--json").out.splitlines()
    ]
    assert [each["name"] for each in known if each["effect"] == "write"] == ["pay", "order"]


def test_list_marks_estimates_and_has_gemini_count(
    agentkit: Agentkit, monkeypatch: pytest.MonkeyPatch
) -> None:
    with GeminiServer([]) as server:
        monkeypatch.setenv("GEMINI_API_KEY", "test-key-0123456789")
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", server.url)
        counted = agentkit("tools", "list", "tools_file.py", "-m", "gemini-3.8-flash", "--json")
        lines = agentkit("tools", "list", "tools_file.py", "-m", "gemini-3.8-flash")
    assert all(request.path.endswith(":countTokens") for request in server.requests)
    assert len(server.requests) == 2 * 11  # each tool, and a request without any
    known = [json.loads(line) for line in counted.out.splitlines()]
    assert {each["estimated"] for each in known} == {False}
    assert all(each["tokens"] > 0 for each in known)
    assert "~" not in lines.out
    assert "as gemini-3.8-flash counts" in lines.err
    estimated = agentkit("tools", "list", "tools_file.py", "--json").out.splitlines()
    assert {json.loads(line)["estimated"] for line in estimated} == {True}
    assert agentkit("tools", "list", "tools_file.py", "-m", "local").code == 2


@pytest.mark.parametrize(
    "words",
    [
        ("tools_file.py", "add"),
        ("tools_file.py", "-n", "add"),
        ("tools_file.py:add",),
        ("-t", "tools_file.py", "add"),
        ("add", "-t", "tools_file.py"),
        ("tools_file.py", "add", "-t", "calculator"),
    ],
)
def test_one_tool_can_be_shown_however_it_is_named(agentkit: Agentkit, words: tuple[str, ...]) -> None:
    shown = agentkit("tools", "show", *words).out.splitlines()
    assert [json.loads(line)["name"] for line in shown] == ["add"]


def test_a_name_that_there_is_not_is_told_with_those_that_there_are(agentkit: Agentkit) -> None:
    done = agentkit("tools", "show", "tools_file.py", "ad")
    assert (done.code, "There is no tool 'ad'. There are: add," in done.err) == (2, True)


def test_show_is_what_the_model_sees_byte_for_byte(agentkit: Agentkit) -> None:
    from agentkit_tools.calculator import calculator

    shown = agentkit("tools", "show", "-t", "calculator").out
    assert shown.encode() == b"".join(tool.encoded + b"\n" for tool in calculator)
    assert json.loads(agentkit("tools", "show", "-t", "calculator", "--pretty").out) == json.loads(shown)


@pytest.mark.parametrize(
    ("args", "code", "response"),
    [
        (["add", "a=1", "b=2"], 0, '{"output": 3.0}'),
        (["add", '{"a": 1, "b": 2}'], 0, '{"output": 3.0}'),
        (["shout", "text=a=b"], 0, '{"output": "A=B"}'),
        (["hostile"], 0, '{"output": "\\u001b]0;pwned\\u0007\\u001b[2Jred"}'),
        (["add", "a=x", "b=2"], 1, "a should be a valid number"),
        (["fail", "why=no"], 1, "ValueError"),
    ],
)
def test_call_takes_the_path_of_a_models_call(
    agentkit: Agentkit, args: list[str], code: int, response: str
) -> None:
    done = agentkit("tools", "call", "tools_file.py", *args)
    assert done.code == code
    assert response in done.out
    assert set(json.loads(done.out)) == {"output" if code == 0 else "error"}


def test_who_calls_a_tool_by_hand_approves_it(agentkit: Agentkit, folder: Path) -> None:
    assert agentkit("tools", "call", "agents.py:agent", "pay", "to=Bob", "amount=1").code == 0
    assert (folder / "paid.txt").read_text() == "Bob 1.0\n"


FOUND = {
    "no-description": ["silent"],
    "same-description": ["look_up"],
    "close-names": ["find_users"],
    "bare-parameter": ["take"],
    "loose-type": ["anything", "coded"],
    "unmarked-write": ["delete_all"],
    "write-without-approval": ["order"],
    "large-declaration": ["long"],
}


def test_each_rule_finds_what_it_is_for_and_nothing_else(agentkit: Agentkit, folder: Path) -> None:
    (folder / "linted.py").write_text(LINTED)
    done = agentkit("tools", "lint", "linted.py")
    assert done.code == 1
    found: dict[str, list[str]] = {rule: [] for rule in RULES}
    for line in done.out.splitlines():
        place, _, rest = line.partition(": ")
        assert place.startswith("linted.py:")
        found[rest.rpartition("[")[2].rstrip("]")].append(rest.partition(":")[0])
    assert found == FOUND


def test_rules_are_switched_off_in_pyproject(agentkit: Agentkit, folder: Path) -> None:
    (folder / "linted.py").write_text(LINTED)
    (folder / "pyproject.toml").write_text(
        f"[tool.agentkit.lint]\noff = {list(FOUND)[:-1]!r}\nmax-tokens = 900\n"
    )
    assert agentkit("tools", "lint", "linted.py") == (0, "", "12 tools, all well.\n")


@pytest.mark.parametrize("settings", ['off = ["nope"]', "off = 3", "max = 3", "max-tokens = 'x'", "["])
def test_settings_that_are_wrong_are_refused(agentkit: Agentkit, folder: Path, settings: str) -> None:
    (folder / "pyproject.toml").write_text(f"[tool.agentkit.lint]\n{settings}\n")
    done = agentkit("tools", "lint", "tools_file.py")
    assert done.code == 2
    assert "pyproject.toml" in done.err


@pytest.mark.parametrize(
    ("one", "two", "close"),
    [
        ("get_user", "getUser", True),
        ("get_user", "user_get", True),
        ("get_user", "get_users", True),
        ("get_user", "get_uses", True),
        ("get_user", "get_item", False),
        ("add", "all", False),
        ("add", "addx", False),
        ("read_file", "read_files_in", False),
    ],
)
def test_names_that_differ_by_little_are_close(one: str, two: str, close: bool) -> None:
    assert are_close(one, two) is close is are_close(two, one)


def test_the_ready_made_tools_have_nothing_to_fix(agentkit: Agentkit) -> None:
    names = ("calculator", "clock", "units", "weather", "web", "files=.")
    done = agentkit("tools", "lint", *(word for name in names for word in ("-t", name)))
    assert (done.code, done.out) == (0, "")


def test_a_raw_declaration_is_looked_at_too() -> None:
    wire = {"name": "raw", "parameters": {"type": "OBJECT", "properties": {"x": {"type": "STRING"}}}}
    assert {found.rule for found in lint([Tool.from_declaration(wire, print)])} == {
        "no-description",
        "bare-parameter",
    }
