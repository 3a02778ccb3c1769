"""`agentkit chat`: a conversation that is kept, at a terminal and over pipes."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path

import pytest
from rich.console import Console

from agentkit import SQLiteStore
from agentkit.chats import plain_text
from agentkit.cli.display import markdown, split_ready
from tests.cli.conftest import Agentkit
from tests.helpers.terminal import Terminal

AGENT = "agents.py:agent"
ASKED = "[l]ater? "


def lines(*said: str) -> str:
    return "".join(f"{line}\n" for line in said)


def test_over_pipes_each_line_is_a_message_and_only_answers_go_to_stdout(agentkit: Agentkit) -> None:
    done = agentkit("chat", AGENT, stdin=lines("hello", "", "add", "//etc", "/exit", "never"))
    assert (done.code, done.out) == (0, lines("You said: hello", "Result: 3.0; cba", "You said: /etc"))
    assert "add(a=1, b=2) = 3.0" in done.err


def test_a_chat_goes_on_where_it_was(agentkit: Agentkit) -> None:
    agentkit("chat", AGENT, stdin=lines("hello"))
    done = agentkit("chat", AGENT, "--continue", stdin=lines("again", "/usage"))
    assert "You said: hello" in done.err  # where it was
    assert "2 requests" in done.err
    agentkit("chat", AGENT, "--session", "named", stdin=lines("one"))
    assert "You said: one" in agentkit("chat", AGENT, "--session", "named", stdin="").err
    listed = agentkit("sessions", "list").out.splitlines()
    assert sorted(line.split()[-1] for line in listed) == ["hello", "one"]


def test_continue_is_the_last_session_of_the_same_target(agentkit: Agentkit) -> None:
    agentkit("chat", AGENT, stdin=lines("hello"))
    Path("other.py").write_text("from agents import agent")
    agentkit("chat", "other.py", stdin=lines("more"))
    assert "You said: hello" in agentkit("chat", AGENT, "--continue", stdin="").err
    agentkit("chat", AGENT, "--session", "agents-2", stdin=lines("later"))
    first = agentkit("sessions", "list").out.splitlines()[-1].split()[0]
    agentkit("sessions", "rename", first, "A title is no use")
    assert "You said: later" in agentkit("chat", AGENT, "--continue", stdin="").err


def test_continue_finds_a_session_whatever_its_id(agentkit: Agentkit) -> None:
    agentkit("chat", AGENT, stdin=lines("first"))
    agentkit("chat", AGENT, "--session", "work", stdin=lines("second"))
    assert "session work" in agentkit("chat", AGENT, "--continue", stdin="").err
    agentkit("chat", AGENT, "--session", "work", stdin=lines("/fork plan", "third"))
    done = agentkit("chat", AGENT, "--continue", stdin="")
    assert ("session plan" in done.err, "You said: third" in done.err) == (True, True)
    agentkit("sessions", "rm", "-y", "plan")
    assert "session work" in agentkit("chat", AGENT, "--continue", stdin="").err
    assert "no session yet" in agentkit("chat", AGENT, "--continue", "--db", "other.db", stdin="").err


@pytest.mark.parametrize("damaged", ["", "[]", '{"agents": 3}', '{"agents": [3, null]}', "\\xff"])
def test_what_is_noted_may_be_damaged(agentkit: Agentkit, damaged: str) -> None:
    agentkit("chat", AGENT, stdin=lines("first"))
    Path("home/targets.json").write_text(damaged)
    assert "You said: first" in agentkit("chat", AGENT, "--continue", stdin="").err
    agentkit("chat", AGENT, "--session", "work", stdin=lines("second"))
    assert "session work" in agentkit("chat", AGENT, "--continue", stdin="").err


def test_undo_retry_and_fork_change_what_was_said(agentkit: Agentkit) -> None:
    done = agentkit(
        "chat", AGENT, "--session", "a", stdin=lines("one", "more", "/undo", "/retry", "/fork b", "three")
    )
    assert done.out == lines("You said: one", "You said: more", "You said: one", "You said: three")
    assert "Taken back: more" in done.err
    assert [len(session(name)) for name in ("a", "b")] == [2, 4]


def session(name: str) -> list[str]:
    with SQLiteStore("home/sessions.db") as store:
        return [str(message.content["parts"]) for message in store.load(name).messages]


def test_help_names_every_command_and_each_says_what_it_did(agentkit: Agentkit, folder: Path) -> None:
    done = agentkit(
        "chat", AGENT, "--session", "a",
        stdin=lines("add", "/help", "/tools", "/show", "/model", "/model other", "/sessions", "/save", "/save a.md"),
    )  # fmt: skip
    for words in (
        *("/help", "/tools", "/usage", "/show", "/undo", "/retry", "/fork", "/sessions", "/save", "/model", "/exit"),
        *("pay: Pay somebody.  (changes something)", '    = cba', "  scripted\n", "  other\n", "Saved as a.json"),
    ):  # fmt: skip
        assert words in done.err, words
    assert (folder / "a.json").exists()
    assert "Result: 3.0; cba" in (folder / "a.md").read_text()


@pytest.mark.parametrize(
    "typed",
    [
        "/nope",
        "/undo x",
        "/save 'x",
        "/save no/such/x.md",
        "/save no/such/x.json",
        "/save agents.py",
        "/retry",
    ],
)
def test_a_command_that_is_wrong_ends_nothing(agentkit: Agentkit, typed: str) -> None:
    done = agentkit("chat", AGENT, stdin=lines(typed, "hello"))
    assert (done.code, done.out) == (0, "You said: hello\n")
    assert len(done.err.splitlines()) >= 2
    assert "Traceback" not in done.err


@pytest.mark.parametrize("question", ["outage", "blocked", "fail"])
def test_what_goes_wrong_is_said_and_the_chat_goes_on(agentkit: Agentkit, question: str) -> None:
    done = agentkit("chat", AGENT, stdin=lines(question, "hello"))
    assert done.code == 0
    assert done.out.endswith("You said: hello\n")
    assert any(words in done.err for words in ("ModelError", "Stopped: refused", "ValueError: it"))
    assert "\x1b" not in done.err


def test_a_call_whose_result_comes_later_waits_over_pipes(agentkit: Agentkit) -> None:
    done = agentkit("chat", AGENT, stdin=lines("boss", "hello", "/undo", "hello"))
    assert done.out == "You said: hello\n"
    assert 'ask_boss(question="May I?") waits' in done.err
    assert "Calls wait for you" in done.err


def test_calls_behind_one_that_waits_are_shown_with_what_they_wait_for(
    agentkit: Agentkit, folder: Path
) -> None:
    (folder / "held.py").write_text(
        "from agentkit import Agent\nfrom agentkit.testing import ScriptedModel, call\nfrom agents import ask_boss\n"
        "def note(text: str) -> str:\n    return 'noted'\n"
        "calls = [call('note', text='a'), call('ask_boss', question='?'), call('note', text='b\\x1b[2J')]\n"
        "agent = Agent(ScriptedModel([calls]), tools=[note, ask_boss])\n"
    )
    held = '  note(text="b\\u001b[2J") waits behind ask_boss\n'
    for words in (("run", "held.py", "x"), ("chat", "held.py", "--session", "s")):
        done = agentkit(*words, stdin="x\n")
        assert (done.code, done.err.count(held)) == (0 if "chat" in words else 4, 1), done
    assert held in agentkit("chat", "held.py", "--session", "s").err  # another process, say


@pytest.mark.slow
def test_several_lines_are_one_message_and_a_paste_is_too(folder: Path) -> None:
    with Terminal(folder, "chat", AGENT) as terminal:
        terminal.wait_for_prompt()
        terminal.type("one\x1b\rtwo\r")
        shown = terminal.wait_for("two\n")
        assert "You said: one" in terminal.wait_for("You said: one")
        terminal.wait_for_prompt()
        terminal.type("\x1b[200~three\nfour\x1b[201~\r")
        terminal.wait_for("You said: three")
        terminal.wait_for_prompt()
        terminal.type("\x04")
        assert terminal.end() == 0
    assert shown


@pytest.mark.slow
def test_markdown_is_shown_as_such_and_html_and_links_as_they_are(folder: Path) -> None:
    for columns in (40, 200):
        with Terminal(folder, "chat", AGENT, columns=columns, env={"NO_COLOR": "1"}) as terminal:
            terminal.wait_for_prompt()
            terminal.type("markdown\r")
            shown = terminal.wait_for("end")
            terminal.wait_for_prompt()
            terminal.type("\x04")
            assert terminal.end() == 0
        assert "print(2)" in shown
        assert "**bold**" not in shown.rpartition("Title")[2]
        assert "日本語 <b>html</b>" in shown
        assert "- one\n" not in shown.rpartition("Title")[2]
        assert re.search(r"first line *\n *second line", shown)
        assert "http://example.com" in shown
        assert "\x1b]8" not in terminal.raw
        assert not re.search(r"\x1b\[[0-9;]*\b(?:3[0-8]|4[0-8]|9[0-7])\b[0-9;]*m", terminal.raw)


@pytest.mark.slow
def test_hostile_text_steers_nothing(folder: Path) -> None:
    with Terminal(folder, "chat", AGENT) as terminal:
        terminal.wait_for_prompt()
        terminal.type("outage\r")
        terminal.wait_for("bad \\x1b[2Jrequest")
        terminal.wait_for_prompt()
        terminal.type("hostile\r")
        terminal.wait_for("Result")
        terminal.wait_for_prompt()
        terminal.type("/show\r")
        terminal.wait_for("\\x1b[2Jred")
        terminal.wait_for_prompt()
        terminal.type("\x04")
        assert terminal.end() == 0
    assert "\x1b]0;pwned" not in terminal.raw
    assert "\x1b[2Jred" not in terminal.raw
    assert "\x1b[2Jtext" not in terminal.raw


def test_calls_inside_of_sub_agents_are_indented(agentkit: Agentkit) -> None:
    said = agentkit("chat", AGENT, stdin=lines("helper")).err
    assert "    add(a=1, b=2) = 3.0" in said
    assert '  helper(request="add") = Result: 3.0; cba' in said


def test_markdown_fits_the_width_and_keeps_lines_html_and_where_links_lead() -> None:
    for width in (40, 200):
        file = io.StringIO()
        text = "# T\n\n**bold** 日本語 <b>x</b>\nsecond [link](http://example.com)\n\n" + "- w " * 99
        Console(file=file, width=width).print(markdown(text))
        said = file.getvalue().splitlines()
        assert max(map(plain_text.columns, said)) <= width
        assert any(line.startswith("bold 日本語 <b>x</b>") for line in said)
        assert any(line.startswith("second link (http://example.com)") for line in said)


@pytest.mark.slow
@pytest.mark.parametrize("question", ["think", "slow", "pay"])
def test_ctrl_c_ends_the_answer_and_not_the_program_however_often(folder: Path, question: str) -> None:
    begun = {"think": "thinking ", "slow": "slow(seconds=300) …", "pay": ASKED}
    with Terminal(folder, "chat", AGENT) as terminal:
        terminal.wait_for_prompt()
        terminal.type("\x03" * 5)
        terminal.wait_for("Ctrl-D or /exit leaves.")
        terminal.wait_for_prompt()
        terminal.type(f"{question}\r")
        terminal.wait_for(begun[question])
        terminal.type("\x03" * 5)
        terminal.wait_for("(stopped)")
        terminal.wait_for_prompt()
        if question == "pay":
            terminal.type("/undo\r")
            terminal.wait_for("Taken back: pay")
            terminal.wait_for_prompt()
            terminal.type("\x15")
        terminal.type("hello\r")
        terminal.wait_for("You said: hello")
        terminal.wait_for_prompt()
        terminal.type("\x04")
        assert terminal.end() == 0
    assert not (folder / "paid.txt").exists()
    assert "Traceback" not in terminal.text


@pytest.mark.slow
def test_an_approval_and_a_result_are_asked_for_in_place(folder: Path) -> None:
    with Terminal(folder, "chat", AGENT) as terminal:
        terminal.wait_for_prompt()
        terminal.type("two\r")
        terminal.wait_for(ASKED)
        assert terminal.raw.rfind("\x1b[?25h") > terminal.raw.rfind(
            "\x1b[?25l"
        )  # nothing moves on the screen
        terminal.type("l\r")
        terminal.wait_for(ASKED)
        terminal.type("l\r")
        terminal.wait_for("Stopped: approval")
        terminal.wait_for_prompt()
        terminal.type("/retry\r")
        terminal.wait_for(ASKED)
        terminal.type("what\r")
        terminal.wait_for(ASKED)
        terminal.type("a\r")
        terminal.wait_for(ASKED)
        terminal.type("e [1]\r")
        assert "Arguments are a JSON object, such as" in terminal.wait_for(ASKED)
        terminal.type("d\r")
        terminal.wait_for("Why?")
        terminal.type("not her\r")
        terminal.wait_for("not her'")
        terminal.wait_for_prompt()
        terminal.type("boss\r")
        terminal.wait_for("for later): ")
        terminal.type('{"may": true}\r')
        terminal.wait_for("Result: {'may': True}")
    assert (folder / "paid.txt").read_text() == "Bob 1.0\n"


@pytest.mark.slow
def test_arguments_are_edited_in_the_persons_editor(folder: Path) -> None:
    editor = folder / "editor.sh"
    editor.write_text('#!/bin/sh\nsed -i s/500.0/5/ "$1"\n')
    editor.chmod(0o755)
    with Terminal(folder, "chat", AGENT, env={"EDITOR": str(editor)}) as terminal:
        terminal.wait_for_prompt()
        terminal.type("pay\r")
        terminal.wait_for(ASKED)
        terminal.type("e\r")
        terminal.wait_for("paid 5.0 to Bob")
    assert (folder / "paid.txt").read_text() == "Bob 5.0\n"


@pytest.mark.slow
def test_what_waited_when_the_program_was_killed_is_asked_about_when_it_comes_back(folder: Path) -> None:
    args = ("chat", AGENT, "--session", "mine")
    with Terminal(folder, *args) as terminal:
        terminal.wait_for_prompt()
        terminal.type("pay\r")
        terminal.wait_for(ASKED)
        terminal.kill()
    with Terminal(folder, *args) as terminal:
        asked = terminal.wait_for(ASKED)
        assert "The last message is not answered yet." in asked
        terminal.type("a\r")
        terminal.wait_for("Result: paid 500.0 to Bob")
        terminal.wait_for_prompt()
        terminal.type("order\r")
        terminal.wait_for("order(n=3) …")
        terminal.kill()
    with Terminal(folder, *args) as terminal:
        terminal.wait_for("nobody knows whether it took effect")
        terminal.wait_for(ASKED)
        terminal.type("d it came\r")
        terminal.wait_for("Result: it came")
    assert (folder / "paid.txt").read_text() == "Bob 500.0\n"
    assert (folder / "ordered.txt").read_text() == "3\n"


@pytest.mark.slow
def test_the_persons_files_are_for_nobody_else(folder: Path) -> None:
    with Terminal(folder, "chat", AGENT) as terminal:
        terminal.wait_for_prompt()
        terminal.type("hello\r")
        terminal.wait_for("You said: hello")
    assert (folder / "home").stat().st_mode & 0o077 == 0
    assert (folder / "home" / "history").stat().st_mode & 0o077 == 0


def test_a_code_block_is_shown_when_it_is_whole() -> None:
    text = "One\n\n```\na\n\nb\n```\n\nTwo\n\nthree"
    shown, rest = "", ""
    for letter in text:
        ready, rest = split_ready(rest + letter)
        assert ready.count("```") in (0, 2)
        shown += ready
    assert (shown, rest) == (text.removesuffix("three"), "three")


@pytest.mark.slow
def test_with_stdout_in_a_pipe_the_prompt_is_plain_and_the_answer_alone_is_piped(folder: Path) -> None:
    read, write = os.pipe()
    with Terminal(folder, "chat", AGENT, stdout=write) as terminal:
        os.close(write)
        terminal.wait_for("> ")
        terminal.type("hello\n")
        terminal.wait_for("> ")
        terminal.type("/exit\n")
        assert terminal.end() == 0
    with os.fdopen(read) as answers:
        assert answers.read() == "You said: hello\n"
