"""The examples as commands: on the embedded model without a key, and on Gemini's wire against the loopback server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.gemini_server import GeminiServer, call, calls, fault, text
from tests.helpers.until import PATIENCE

ROOT = Path(__file__).parent.parent
WITH_CTRL_C = (
    "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "runpy.run_module('examples.{}', run_name='__main__', alter_sys=True)"
)
"""Where SIGINT is ignored, as under nohup, a child inherits that."""
NOTE = "answering with the small embedded model"


def run(name: str, *args: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"examples.{name}", *args],
        cwd=ROOT,
        env=os.environ | env,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


@pytest.fixture
def gemini() -> Iterator[GeminiServer]:
    with GeminiServer(key="a-key") as server:
        yield server


def gemini_env(server: GeminiServer) -> dict[str, str]:
    return {"GEMINI_API_KEY": "a-key", "GOOGLE_GEMINI_BASE_URL": server.url}


def test_the_calculator_answers_on_the_embedded_model_and_says_which_model_it_is() -> None:
    done = run("calculator", "What is 12.5% of 340?")
    assert (done.returncode, done.stdout) == (0, "12.5% of 340 = 42.5\n")
    assert done.stderr.count("\n") == 1
    assert NOTE in done.stderr


def test_without_a_question_it_asks_for_one() -> None:
    done = run("calculator", stdin="7 times 6\n")
    assert done.returncode == 0
    assert done.stdout.endswith("= 42\n")
    assert "What shall I calculate?" not in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", ["calculator", "weather", "custom_tools"])
def test_nothing_asked_is_wrong_usage(name: str) -> None:
    done = run(name)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--help" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["calculator", "weather", "custom_tools", "assistant"])
def test_help_says_how_it_is_used(name: str) -> None:
    done = run(name, "--help")
    assert done.returncode == 0
    assert f"python -m examples.{name}" in done.stdout
    assert "--model" in done.stdout
    assert run(name, "--no-such-option").returncode == 2


def test_the_weather_demo_says_in_the_answer_that_it_is_one() -> None:
    done = run("weather", "--demo", "Will it rain in Paris tomorrow?")
    assert done.returncode == 0
    assert "Tomorrow" in done.stdout
    assert "Paris, Île-de-France, France" in done.stdout
    assert "sample data" in done.stdout


def test_the_tea_shop_looks_up_and_orders() -> None:
    done = run("custom_tools", "Order 10 of MINT-1")
    assert done.returncode == 0
    assert "10 x MINT-1" in done.stdout
    assert "Order placed: 10 x MINT-1" in done.stderr


def test_the_same_examples_run_on_gemini_with_a_key(gemini: GeminiServer) -> None:
    gemini.script(
        [calls(call("calculate", {"question": "85 * 20%"})), text("The tip is 17 dollars.", chunks=3)]
    )
    done = run("calculator", "--verbose", "a 20% tip on 85 dollars", **gemini_env(gemini))
    assert (done.returncode, done.stdout) == (0, "The tip is 17 dollars.\n")
    assert NOTE not in done.stderr
    assert "calculate(question='85 * 20%')" in done.stderr
    gemini.script([calls(call("weather", {"city": "Oslo", "when": "tomorrow"})), text("Wear a coat.")])
    done = run(
        "weather", "--demo", "A coat in Oslo?", "--model", "gemini-3.5-flash-lite", **gemini_env(gemini)
    )
    assert (done.returncode, done.stdout) == (0, "Wear a coat.\n")
    assert "gemini-3.5-flash-lite" in gemini.requests[-1].path
    result = gemini.requests[-1].body["contents"][-1]["parts"][0]["functionResponse"]["response"]
    assert "sample data" in result["output"]


def test_a_refusal_and_an_outage_have_exit_code_1_and_no_traceback(gemini: GeminiServer) -> None:
    for broken, words in (
        (fault("blocked", reason="SAFETY"), "refused"),
        (fault(403, message="API key lacks permission", status="PERMISSION_DENIED"), "ModelError"),
    ):
        gemini.script([broken])
        done = run("calculator", "1 + 1", **gemini_env(gemini))
        assert (done.returncode, done.stdout) == (1, "")
        assert words in done.stderr
        assert "Traceback" not in done.stderr
        assert "a-key" not in done.stderr


def test_the_assistant_chats_streams_and_remembers(gemini: GeminiServer) -> None:
    gemini.script([text("Hello Ann.", chunks=3), text("You are Ann.")])
    done = run("assistant", "--demo", stdin="I am Ann.\nWho am I?\n/exit\n", **gemini_env(gemini))
    assert (done.returncode, done.stdout) == (0, "Hello Ann.\nYou are Ann.\n")
    assert len(gemini.requests[1].body["contents"]) == 3
    names = {d["name"] for tool in gemini.requests[0].body["tools"] for d in tool["functionDeclarations"]}
    assert {"calculate", "convert", "current_time", "weather"} <= names


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_stops_the_assistants_answer_but_not_the_program(gemini: GeminiServer) -> None:
    gemini.script([text("one two three four five six seven", chunks=7, delay=60), text("Still here.")])
    child: Any = subprocess.Popen(
        [sys.executable, "-c", WITH_CTRL_C.format("assistant"), "--demo"],
        cwd=ROOT,
        env=os.environ | gemini_env(gemini),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    with child:
        child.stdin.write("count\n")
        assert child.stdout.read(1) == "o"
        child.send_signal(signal.SIGINT)
        gemini.wait(lambda: gemini.disconnects == 1)
        child.stdin.write("are you there?\n/exit\n")
        rest = child.stdout.read()
        errors = child.stderr.read()
        assert child.wait(PATIENCE) == 0
    assert rest.endswith("Still here.\n")
    assert "(stopped)" in errors
    assert "Traceback" not in errors


class Terminal:
    """An example whose stdin and stderr are a terminal."""

    def __init__(self, name: str, *args: str, **env: str) -> None:
        self._ours, theirs = os.openpty()
        self.child = subprocess.Popen(
            [sys.executable, "-c", WITH_CTRL_C.format(name), *args],
            cwd=ROOT,
            env=os.environ | env,
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=theirs,
            text=True,
        )
        os.close(theirs)
        self.seen = ""

    def read_until(self, words: str) -> None:
        while words not in self.seen:
            self.seen += os.read(self._ours, 1000).decode()

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.child.kill()
        self.child.communicate()
        os.close(self._ours)


on_posix = pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals")


@on_posix
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "prompt"),
    [("calculator", "calculate?"), ("weather", "the weather?"), ("custom_tools", "in the shop?")],
)
def test_ctrl_c_at_the_question_ends_an_example_without_a_traceback(name: str, prompt: str) -> None:
    with Terminal(name) as terminal:
        terminal.read_until(prompt)
        terminal.child.send_signal(signal.SIGINT)
        terminal.read_until("Interrupted.")
        assert terminal.child.wait(PATIENCE) == 130
        assert "Traceback" not in terminal.seen


@on_posix
@pytest.mark.slow
def test_a_person_who_waits_for_a_slow_answer_sees_a_sign_of_life(gemini: GeminiServer) -> None:
    gemini.script([text("two", thought="hm", delay=2.0)])
    with Terminal("calculator", "1 + 1", **gemini_env(gemini)) as terminal:
        terminal.read_until("...")
        out, _ = terminal.child.communicate(timeout=PATIENCE)
        terminal.read_until("\r   \r")
        assert (terminal.child.returncode, out) == (0, "two\n")


@on_posix
@pytest.mark.slow
def test_an_answer_that_nobody_reads_is_no_traceback() -> None:
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m examples.calculator '3 x 4' | true"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "lines", "examples"),
    [
        ("calculator", "hello", 3),
        ("weather", "what can you do?", 3),
        ("custom_tools", "thanks", 3),
        ("assistant", "help", 3),
    ],
)
def test_small_talk_is_answered_with_what_can_be_asked(name: str, lines: str, examples: int) -> None:
    done = run(name, stdin=f"{lines}\n")
    assert done.returncode == 0
    assert done.stdout.count("\n- ") == examples


@pytest.mark.slow
def test_the_assistant_reads_units_sums_and_times_on_the_embedded_model() -> None:
    asked = {
        "5 ft 11 in to cm": "= 180.34 centimeters",
        "How many cups in a litre?": "4.22675 cups",
        "5 choose 2": "= 10",
        "12 less than 30": "= 18",
        "what day is it?": "It is ",
        "how many hours ahead is Tokyo of Berlin?": "Tokyo, Japan is ",
        "What is": "I can only tell the time now",
        "What time is sunset in Paris?": "That didn't work: ",
    }
    done = run("assistant", "--demo", stdin="\n".join(asked) + "\n/exit\n")
    answers = done.stdout.splitlines()
    assert len(answers) == len(asked)
    for answer, words in zip(answers, asked.values(), strict=True):
        assert words in answer
