from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from agentkit_tools import files as module
from agentkit_tools._files import directory, tree
from agentkit_tools.files import files

from agentkit import Agent, ConfigurationError, ToolRetry
from agentkit.testing import ScriptedModel, call
from tests.helpers.file_box import Box


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def paths(listed: dict[str, Any]) -> list[str]:
    return [entry["path"] for entry in listed["entries"]]


def test_the_tools_say_what_they_do_to_a_run(box: Box) -> None:
    assert {made.name: (made.effect, made.untrusted) for made in box.tools} == {
        "list_files": ("read", True),
        "read_file": ("read", True),
        "search_files": ("read", True),
        "write_file": ("write", False),
        "edit_file": ("write", True),
    }
    assert box.tools.name == "files"
    assert not any(made.approval for made in box.tools)


def test_without_write_there_are_only_tools_that_read(box: Box) -> None:
    assert [made.name for made in files(box.root, write=False)] == ["list_files", "read_file", "search_files"]


def test_approval_is_asked_for_writes_only(box: Box) -> None:
    made = files(box.root, approval=True)
    assert [each.name for each in made if each.approval] == ["write_file", "edit_file"]


def test_every_parameter_is_described_in_few_words(box: Box) -> None:
    for declaration in box.tools.function_declarations:
        assert len(declaration["description"]) < 80
        for schema in declaration["parametersJsonSchema"]["properties"].values():
            assert 10 < len(schema["description"]) < 80


@pytest.mark.parametrize("root", ["missing", "notes/today.txt", "loop", "a\0b"])
def test_a_root_that_is_no_directory_is_an_error_for_the_developer(box: Box, root: str) -> None:
    (box.root / "loop").symlink_to("loop")
    with pytest.raises(
        ConfigurationError, match=r"there is no directory of that path that can be used\. Make it"
    ):
        files(f"{box.root}/{root}")


@pytest.mark.parametrize(
    "options", [{"max_bytes": 0}, {"search_seconds": -1}, {"search_seconds": float("nan")}]
)
def test_a_limit_must_be_above_0(box: Box, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="give limits above 0"):
        files(box.root, **options)


def test_a_relative_root_stays_where_it_was_when_the_tools_were_made(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(box.root)
    box.tools = files("notes")
    monkeypatch.chdir("/")
    assert paths(box.call("list_files")) == ["today.txt"]


def test_a_list_shows_one_directory_or_as_many_levels_as_asked_for(box: Box) -> None:
    box.put("notes/old/2023.txt", b"1")
    box.put("notes/old/far/2022.txt", b"")
    assert box.call("list_files") == {"entries": [{"path": "notes/"}]}
    assert paths(box.call("list_files", depth=2)) == ["notes/", "notes/old/", "notes/today.txt"]
    assert box.call("list_files", path="notes/old/", depth=99) == {
        "entries": [
            {"path": "notes/old/2023.txt", "bytes": 1},
            {"path": "notes/old/far/"},
            {"path": "notes/old/far/2022.txt", "bytes": 0},
        ]
    }


def test_a_list_has_a_limit_and_says_so(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ENTRIES", 3)
    for number in range(3):
        box.put(f"many/{number}", b"")
    assert "note" not in box.call("list_files", path="many")
    box.put("many/3", b"")
    listed = box.call("list_files", path="many")
    assert paths(listed) == ["many/0", "many/1", "many/2"]
    assert listed["note"] == "There is more: list a directory in it, or a smaller depth."


def test_a_directory_is_not_looked_at_beyond_the_limit(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "MAX_SCANNED", 5)
    for number in range(4):
        box.put(f"a/{number}", b"milk")
        box.put(f"b/{number}", b"milk")
    listed = box.call("list_files", depth=2)
    assert (
        paths(listed) == ["a/", *(f"a/{n}" for n in sorted(map(str, range(4))))][:3]
        or len(listed["entries"]) <= 5
    )
    assert listed["note"].startswith("There is more")
    found = box.call("search_files", text="milk")
    assert found["note"] == "Not everything was looked at: name a directory in path, or a pattern in names."


def test_a_list_of_many_files_takes_little_time(box: Box) -> None:
    for number in range(1_000):
        (box.root / f"{number:05}").touch()
    started = time.process_time()
    listed = box.call("list_files")
    assert len(listed["entries"]) == 500 and listed["entries"][0]["path"] == "00000"
    assert time.process_time() - started < 1


def test_a_file_that_goes_away_on_the_way_is_passed_over(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    box.put("a.txt", b"milk")
    names = directory.DescriptorDirectory.names
    monkeypatch.setattr(
        directory.DescriptorDirectory, "names", lambda self, limit: [*names(self, limit), "gone.txt"]
    )
    assert paths(box.call("list_files")) == ["a.txt", "notes/"]
    assert len(box.call("search_files", text="milk")["hits"]) == 2


def test_nothing_is_left_open(box: Box) -> None:
    descriptors = Path("/proc/self/fd")
    if not descriptors.exists():
        pytest.skip("this system doesn't list open files")
    box.put("a/b/c/d.txt", b"milk\n" * 200)
    before = len(list(descriptors.iterdir()))
    for _ in range(3):
        box.call("list_files", depth=9)
        box.call("search_files", text="milk")  # stops early
        box.call("read_file", path="a/b/c/d.txt")
        box.call("write_file", path="a/b/c/e.txt", content="milk")
        box.call("edit_file", path="a/b/c/e.txt", old="milk", new="bread")
        for path in ("a/b/x", "a/b", "a/b/c/d.txt/x"):
            with pytest.raises(ToolRetry):
                box.call("read_file", path=path)
    assert len(list(descriptors.iterdir())) == before


def test_an_agent_works_with_files(box: Box) -> None:
    model = ScriptedModel(
        [
            call("write_file", path="plans/trip.md", content="# Trip\n- tickets\n"),
            call("edit_file", path="plans/trip.md", old="tickets", new="tickets (bought)"),
            call("read_file", path="../outside/secret.txt"),
            [
                call("read_file", path="plans/trip.md"),
                call("search_files", text="bought"),
                call("list_files", depth=2),
            ],
            "All done.",
        ]
    )
    run = Agent(model, tools=[files(box.root)]).run("Plan my trip.")
    assert run.text == "All done."
    responses = [
        part["functionResponse"]["response"]
        for content in run.contents
        for part in content["parts"]
        if "functionResponse" in part
    ]
    assert responses == [
        {"output": "Made 'plans/trip.md': 17 bytes."},
        {"output": "Changed 'plans/trip.md' at line 2."},
        {
            "error": "'../outside/secret.txt' can't be used as a path: "
            'it may only go down by names, without "." and "..".'
        },
        {"output": {"lines": "1 to 2 of 2", "text": "# Trip\n- tickets (bought)"}},
        {"output": {"hits": [{"path": "plans/trip.md", "line": 2, "text": "- tickets (bought)"}]}},
        {
            "output": {
                "entries": [
                    {"path": "notes/"},
                    {"path": "notes/today.txt", "bytes": 18},
                    {"path": "plans/"},
                    {"path": "plans/trip.md", "bytes": 26},
                ]
            }
        },
    ]
    model.assert_complete()


def test_two_directories_go_into_one_agent_with_prefixes(box: Box) -> None:
    model = ScriptedModel([call("work_read_file", path="today.txt"), "Fine."])
    tools = [files(box.root / "notes").prefixed("work"), files(box.outside, write=False).prefixed("home")]
    run = Agent(model, tools=tools).run("What is there to do?")
    assert run.text == "Fine."
    names = [declaration["name"] for declaration in model.requests[0]["tools"][0]["functionDeclarations"]]
    assert len(names) == 8 and "home_list_files" in names
