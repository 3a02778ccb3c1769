"""Where a person types: several lines, history and completion at a terminal; one line a message elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from agentkit.cli import terminal
from agentkit.cli.chat_commands import names

if TYPE_CHECKING:
    from agentkit.cli.display import PlainView, RichView

Reader = Callable[[str], str]
"""Reads one message; what it is given stands at the prompt already. Raises EOFError at the end."""


def make_reader(view: PlainView | RichView, ctrl_c: terminal.CtrlC) -> Reader:
    """Choose how messages are read: prompt_toolkit, to which Ctrl-C is a key, or lines of stdin."""
    from agentkit.cli.display import RichView

    return _terminal_reader() if isinstance(view, RichView) else partial(_read_line, ctrl_c)


def _read_line(ctrl_c: terminal.CtrlC, _: str) -> str:
    if terminal.can_ask():
        print("> ", end="", file=sys.stderr, flush=True)
    with ctrl_c.ends_this():
        line = terminal.read_line()
    if not line:
        raise EOFError
    return line.rstrip("\r\n")


def _terminal_reader() -> Reader:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import Completer, Completion
    from prompt_toolkit.document import Document

    class Commands(Completer):
        """Completes the chat's own commands."""

        def get_completions(self, document: Document, complete_event: Any) -> Iterator[Completion]:
            """Offer those that begin with what is typed."""
            text = document.text
            if text.startswith("/"):
                yield from (Completion(each, -len(text)) for each in names() if each.startswith(text))

    session: PromptSession[str] = PromptSession(
        "> ",
        multiline=True,
        key_bindings=_keys(),
        completer=Commands(),
        complete_while_typing=True,
        history=_history(),
        prompt_continuation="  ",
        enable_open_in_editor=False,
    )
    return lambda draft: session.prompt(default=draft)


def _keys() -> Any:
    """Enter sends, Esc-Enter begins a new line, Ctrl-O shows the last answer whole."""
    from prompt_toolkit.key_binding import KeyBindings

    keys = KeyBindings()

    @keys.add("enter")
    def send(event: Any) -> None:
        event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def break_line(event: Any) -> None:
        event.current_buffer.insert_text("\n")

    @keys.add("c-o")
    def unfold(event: Any) -> None:
        event.current_buffer.text = "/show"
        event.current_buffer.validate_and_handle()

    return keys


def _history() -> Any:
    """Keep what was typed in a file that only the person may read; in memory where that can't be."""
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    from agentkit.cli.exits import UsageFault
    from agentkit.cli.places import data_folder, private_folder

    try:
        file = private_folder(data_folder()) / "history"
        os.close(os.open(file, os.O_CREAT | os.O_APPEND | os.O_RDWR, 0o600))
    except (OSError, UsageFault):
        return InMemoryHistory()
    return FileHistory(str(file))
