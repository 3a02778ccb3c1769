"""`agentkit sessions`: what a file of sessions has, and moving them about."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agentkit import SQLiteStore
from agentkit.chats.transcript import transcript
from agentkit.stores.base import Message
from tests.cli.conftest import Agentkit

AGENT = "agents.py:agent"


@pytest.fixture
def kept(agentkit: Agentkit) -> Agentkit:
    agentkit("chat", AGENT, "--session", "first", stdin="add\nhostile\n")
    agentkit("chat", AGENT, "--session", "second", stdin="Buy green tea\n")
    return agentkit


def test_list_has_a_line_each_the_last_used_first(kept: Agentkit) -> None:
    lines = kept("sessions", "list").out.splitlines()
    assert [line.split()[0] for line in lines] == ["second", "first"]
    assert lines[0].endswith("  Buy green tea")
    infos = [json.loads(line) for line in kept("sessions", "list", "--json").out.splitlines()]
    assert [info["messages"] for info in infos] == [2, 8]
    done = kept("sessions", "list", "-n", "1")
    assert done.out.count("\n") == 1
    assert "There are more" in done.err


def test_a_line_is_cut_for_a_terminal_and_whole_for_another_program(
    kept: Agentkit, monkeypatch: pytest.MonkeyPatch
) -> None:
    title = "Buy green tea, black tea, white tea and three sorts of oolong for the shop in Lyon"
    kept("sessions", "rename", "second", title)
    assert kept("sessions", "list").out.splitlines()[0].endswith("…")
    monkeypatch.delenv("COLUMNS")
    assert kept("sessions", "list").out.splitlines()[0].endswith(title)


def test_show_has_calls_with_what_came_of_them_times_and_usage(kept: Agentkit) -> None:
    shown = kept("sessions", "show", "fir").out  # the beginning of an id will do
    assert "  add(a=1, b=2)\n    = 3.0\n" in shown
    assert "8 requests" not in shown
    assert "4 requests" in shown
    assert "tokens (" in shown
    assert "\x1b" not in shown
    assert json.loads(kept("sessions", "show", "first", "--json").out)["id"] == "first"
    assert kept("sessions", "show", "first", "--markdown").out.startswith("# add")


def test_search_finds_words(kept: Agentkit) -> None:
    assert kept("sessions", "search", "green", "tea").out.splitlines()[0].startswith("second  ")
    assert kept("sessions", "search", "nothing-like-it") == (0, "", "Nothing was found.\n")


def test_what_is_exported_can_be_imported(kept: Agentkit, folder: Path) -> None:
    kept("sessions", "export", "first", "a.json")
    assert kept("sessions", "import", "a.json", "--id", "third").out == "third\n"
    assert kept("sessions", "show", "third").out.count("add(a=1") == 1
    exported = kept("sessions", "export", "first").out
    assert kept("sessions", "import", "-", "--id", "fourth", stdin=exported).code == 0
    assert kept("sessions", "import", "a.json").code == 1  # there is one of that id
    (folder / "b.json").write_text("{}")
    assert kept("sessions", "import", "b.json").code == 1
    kept("sessions", "export", "first", "a.md")
    assert (folder / "a.md").read_text().startswith("# ")
    kept("sessions", "export", "first", "a.html")
    page = (folder / "a.html").read_text()
    assert page.startswith("<!doctype html>") and '"type": "tool_started"' in page
    assert kept("sessions", "export", "first", "--html").out.rstrip() == page.rstrip()


def test_fork_rename_and_rm_change_what_they_name_and_no_more(kept: Agentkit) -> None:
    assert kept("sessions", "fork", "first", "--at", "4", "--id", "part").out == "part\n"
    kept("sessions", "rename", "part", "Part of it")
    assert "Part of it" in kept("sessions", "list").out
    assert kept("sessions", "rm", "fir").code == 2  # a guess deletes nothing
    assert kept("sessions", "rm", "part", "nope").code == 2
    assert kept("sessions", "list").out.count("\n") == 3
    assert kept("sessions", "rm", "part", "first").code == 0
    assert [line.split()[0] for line in kept("sessions", "list").out.splitlines()] == ["second"]


def test_check_says_whether_the_file_is_sound(kept: Agentkit, folder: Path) -> None:
    assert kept("sessions", "check") == (0, "", "The file is sound.\n")
    (folder / "bad.db").write_bytes(b"no database at all" * 100)
    done = kept("sessions", "check", "--db", "bad.db")
    assert done.code == 1
    assert "bad.db" in done.out + done.err


def test_an_id_that_fits_several_or_none_is_wrong_usage(kept: Agentkit) -> None:
    kept("sessions", "fork", "first", "--id", "fifth")
    assert "Several sessions begin with 'fi'" in kept("sessions", "show", "fi").err
    assert "no session 'x'" in kept("sessions", "show", "x").err
    assert kept("sessions", "show", "").code == 2


@pytest.mark.slow
def test_ten_thousand_sessions_are_listed_from_their_end(agentkit: Agentkit, folder: Path) -> None:
    said = Message(content={"role": "user", "parts": [{"text": "hello"}]})
    with SQLiteStore("many.db") as store:
        for number in range(10_000):
            store.create(f"s{number:05}", title="t", messages=[said])
    done = agentkit("sessions", "list", "--db", "many.db")
    assert done.out.splitlines()[0].startswith("s09999")
    assert done.out.count("\n") == 50
    assert agentkit("sessions", "list", "--db", "many.db", "-n", "20000").out.count("\n") == 10_000
    assert agentkit("sessions", "show", "s0500", "--db", "many.db").code == 2
    assert "hello" in agentkit("sessions", "show", "s05000", "--db", "many.db").out


def test_a_transcript_fits_the_width_and_shows_all_when_asked() -> None:
    call = {"functionCall": {"name": "read", "args": {"text": "日本" * 60}}}
    response = {
        "functionResponse": {"name": "read", "response": {"output": "\n".join("line" * 30 for _ in range(9))}}
    }
    messages = [
        Message(content={"role": "user", "parts": [{"text": "Read"}]}, created=1.0),
        Message(content={"role": "model", "parts": [call]}, created=2.0),  # type: ignore[list-item]
        Message(content={"role": "user", "parts": [response]}, created=4.5),  # type: ignore[list-item]
    ]
    short = transcript(messages, width=40, stop="turns", why="25 turns.")
    assert all(len(line.encode("utf-16-le")) <= 80 for line in short.splitlines() if "Stopped" not in line)
    assert "… 5 more lines" in short
    assert "(2.5 s)" in short
    assert "Stopped without an answer: turns. 25 turns." in short
    full = transcript(messages, width=40, full=True)
    assert "more lines" not in full
    assert "日本" * 60 in full


def test_a_transcript_shows_sources_and_calls_that_wait() -> None:
    grounding = {"groundingChunks": [{"web": {"uri": "http://a.example", "title": "A\x1b[2J"}}]}
    messages = [
        Message(
            content={"role": "model", "parts": [{"text": "Yes."}]}, metadata={"groundingMetadata": grounding}
        ),
        Message(content={"role": "model", "parts": [{"functionCall": {"name": "pay", "args": {}}}]}),
    ]
    assert transcript(messages) == "Yes.\n  Source: A\\x1b[2J http://a.example\n\n  pay()\n    waits"
