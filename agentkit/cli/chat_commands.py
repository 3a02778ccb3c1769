"""What a person may say to the chat itself: `/help`, `/undo`, ..."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from agentkit.chats.plain_text import one_line
from agentkit.chats.transcript import transcript, usage_text
from agentkit.cli import terminal
from agentkit.cli.exits import UsageFault
from agentkit.wire.content import responses_of, text_of

if TYPE_CHECKING:
    from agentkit.cli.chat import Talk
    from agentkit.stores.message import Message


def show_help(talk: Talk) -> None:
    """Show these commands."""
    lines = [f"  {usage:<16} {(function.__doc__ or '').rstrip('.')}" for usage, function in COMMANDS.values()]
    lines += ["  Esc-Enter begins a new line; a paste is one message; // begins a message with a /."]
    talk.view.note("\n".join(lines))


def show_tools(talk: Talk) -> None:
    """Show the tools."""
    from agentkit.tooling.registry import toolbox_of

    for tool in toolbox_of(talk.options.get("tools") or talk.setup.agent.toolbox).load().values():
        kind = "  (changes something)" if tool.effect == "write" else ""
        talk.view.note(f"  {tool.name}: {one_line(tool.description)[:100]}{kind}")


def show_usage(talk: Talk) -> None:
    """Show what the chat has used, and how full it is."""
    full = talk.chat.token_usage
    talk.view.note(
        f"  {usage_text(talk.chat.usage)}\n  {full.current:,} tokens go along with the next message"
    )


def show_last(talk: Talk) -> None:
    """Show the last answer with its calls and results whole."""
    talk.view.note(
        last_turn(talk.chat.get_messages(), terminal.width(), full=True) or "  Nothing was said yet."
    )


def undo(talk: Talk) -> None:
    """Take back the last message and its answer."""
    removed = talk.chat.undo()
    said = text_of(removed[0]) if removed else ""
    talk.view.note(f"  Taken back: {one_line(said)[:100]}" if removed else "  Nothing was said yet.")
    talk.draft = said


def retry(talk: Talk) -> None:
    """Answer the last message anew, or go on with it if it is not answered yet."""
    if talk.is_open():
        talk.go_on()
        return
    removed = talk.chat.undo()
    if not removed:
        raise UsageFault("Nothing was said yet.")
    talk.send(removed[0])


def fork(talk: Talk, id: str | None = None) -> None:
    """Go on in a copy of this session."""
    import secrets

    before = talk.chat.id
    talk.chat = talk.chat.fork(id=id or f"{talk.setup.label}-{secrets.token_hex(4)}")
    talk.view.note(f"  Session {talk.chat.id}; {before} stays as it is.")


def show_sessions(talk: Talk) -> None:
    """List the sessions used last."""
    from agentkit.cli.sessions import line_of

    for info in talk.store.list(limit=10):
        talk.view.note(f"  {line_of(info, terminal.width() - 2)}")


def save(talk: Talk, file: str | None = None) -> None:
    """Write the session to a file: JSON, or Markdown if its name ends with .md."""
    path = Path(file or f"{talk.chat.id}.json")
    if file is not None and path.exists():
        raise UsageFault(f"There is a {path} already: give another name.")
    if path.suffix == ".md":
        from agentkit import ChatManager

        text = ChatManager(talk.setup.agent, talk.store).export_session(talk.chat.id, "markdown")
        try:
            path.write_text(text, "utf-8")
        except OSError as error:
            raise UsageFault(f"{path}: {error.strerror}.") from None
    else:
        talk.chat.save(path)
    talk.view.note(f"  Saved as {path}")


def choose(talk: Talk, name: str | None = None) -> None:
    """Show the model, or choose another."""
    from agentkit.cli.exits import EmbeddedModelMissing
    from agentkit.cli.setup import choose_model

    if name is not None:
        try:
            talk.options["model"] = choose_model(name)
        except EmbeddedModelMissing as error:
            raise UsageFault(str(error)) from None
    talk.view.note(f"  {talk.model}")


def leave(talk: Talk) -> None:
    """Leave; `agentkit chat --continue` comes back."""
    talk.left = True


COMMANDS: dict[str, tuple[str, Callable[..., None]]] = {
    "help": ("/help", show_help),
    "tools": ("/tools", show_tools),
    "usage": ("/usage", show_usage),
    "show": ("/show", show_last),
    "undo": ("/undo", undo),
    "retry": ("/retry", retry),
    "fork": ("/fork [ID]", fork),
    "sessions": ("/sessions", show_sessions),
    "save": ("/save [FILE]", save),
    "model": ("/model [NAME]", choose),
    "exit": ("/exit", leave),
}


def obey(talk: Talk, text: str) -> None:
    """Do what a line that begins with a slash says.

    Raises:
        UsageFault: There is no such command, or it takes no such words.
    """
    try:
        name, *given = shlex.split(text[1:]) or ["help"]
    except ValueError as error:
        raise UsageFault(f"{text}: {error}.") from None
    if name in ("quit", "q"):
        name = "exit"
    if name not in COMMANDS:
        raise UsageFault(f"There is no /{name}. /help shows what there is; // begins a message with a /.")
    usage, function = COMMANDS[name]
    if len(given) > usage.count("["):
        raise UsageFault(f"Write {usage}.")
    function(talk, *given)


def last_turn(messages: Sequence[Message], width: int, *, full: bool = False) -> str:
    """Write down the last message of the user and all that followed."""
    start = 0
    for index, message in enumerate(messages):
        if message.content["role"] == "user" and not responses_of(message.content):
            start = index
    return transcript(list(messages[start:]), width=width, full=full)


def names() -> list[str]:
    """Return the commands as they are typed, for completion."""
    return [f"/{name}" for name in COMMANDS]
