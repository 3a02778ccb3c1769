"""What the examples share: the command line, the choice of the model, and how an answer is shown."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

from agentkit import Agent, AgentError, GeminiModel, Run
from agentkit.errors import MissingCredentials
from agentkit.events import ModelRetry, TextDelta, ToolFinished, ToolStarted
from agentkit.run import RunStream

USAGE_ERROR, STOPPED, INTERRUPTED = 2, 1, 130
PATIENCE = 1.0
"""Seconds without a word after which a person at a terminal is told that the program is at work."""


def arguments(description: str, *, example: str) -> argparse.ArgumentParser:
    """Make the command line that all examples have."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {example}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="With GEMINI_API_KEY set, it runs on Gemini; without a key, on the embedded model.",
    )
    parser.add_argument("--model", help='a Gemini model name, or "local" for the embedded model')
    parser.add_argument("--verbose", action="store_true", help="show the tools' calls on stderr")
    return parser


def run_main(main: Callable[[], int]) -> None:
    """Run a command line and exit: with one line, and no traceback, where it can't go on or is interrupted."""
    try:
        code = main()
    except KeyboardInterrupt:
        say("\nInterrupted.")
        code = INTERRUPTED
    except AgentError as error:
        say(f"{type(error).__name__}: {error}")
        code = STOPPED
    except BrokenPipeError:  # nobody reads on, as in `... | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = STOPPED
    sys.exit(code)


def say(text: str) -> None:
    """Write to stderr: stdout is for answers only."""
    if sys.stderr is not None:
        print(text, file=sys.stderr, flush=True)


class SignOfLife:
    """Shows dots on a terminal while nothing has come for a second; `close` takes them away."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._state = "waiting"
        self._timer = threading.Timer(PATIENCE, self._show)
        self._timer.daemon = True
        if sys.stderr is not None and sys.stderr.isatty():
            self._timer.start()

    def _show(self) -> None:
        with self._lock:
            if self._state == "waiting":
                self._state = "shown"
                print("...", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Take the dots away, if there are any, and show none from now on."""
        self._timer.cancel()
        with self._lock:
            if self._state == "shown":
                print("\r   \r", end="", file=sys.stderr, flush=True)
            self._state = "ended"


def choose_model(name: str | None) -> str | None:
    """Choose the model: the one asked for, else Gemini where there is a key, else the embedded one."""
    if name or os.environ.get("AGENTKIT_MODEL"):
        return name
    try:
        GeminiModel().check_credentials()
    except MissingCredentials:
        say("No Gemini key is set (GEMINI_API_KEY): answering with the small embedded model.")
        return "local"
    return None


def ask_for(question: Sequence[str], prompt: str) -> str:
    """Take the question from the command line, or ask for it."""
    text = " ".join(question).strip()
    if not text and sys.stdin is not None:
        if sys.stdin.isatty():
            print(prompt, end=" ", file=sys.stderr, flush=True)
        text = sys.stdin.readline().strip()
    if not text:
        say('Nothing was asked. Give a question in quotes, or see "--help".')
        raise SystemExit(USAGE_ERROR)
    return text


def show(events: RunStream, *, verbose: bool = False) -> Run:
    """Print the answer as it arrives; whatever else there is to say goes to stderr."""
    at_line_start, waiting = True, SignOfLife()
    with events, contextlib.closing(waiting):
        for event in events:
            if isinstance(event, (TextDelta, ModelRetry)) or verbose:
                waiting.close()
            match event:
                case TextDelta():
                    print(event.text, end="", flush=True)
                    at_line_start = event.text.endswith("\n")
                case ToolStarted() if verbose:
                    say(f"  -> {event.name}({', '.join(f'{k}={v!r}' for k, v in event.args.items())})")
                case ToolFinished() if verbose:
                    say(f"  <- {event.name}: {event.response['response']} ({event.seconds:.2f} s)")
                case ModelRetry():
                    say(f"  asking again in {event.delay:.1f} s: {event.reason}")
    if not at_line_start:
        print(flush=True)
    run = events.run
    if run.stop:
        say(f"Stopped without an answer: {run.stop} ({run.finish_reason}).")
    return run


def answer(agent: Agent, question: str, *, deps: Any = None, verbose: bool = False) -> int:
    """Answer one question; return the exit code: 0, or 1 when there is no answer, or 130 after Ctrl-C."""
    try:
        run = show(agent.stream(question, deps=deps), verbose=verbose)
    except AgentError as error:
        say(f"{type(error).__name__}: {error}")
        return STOPPED
    except KeyboardInterrupt:
        say("\nInterrupted.")
        return INTERRUPTED
    return STOPPED if run.stop else 0
