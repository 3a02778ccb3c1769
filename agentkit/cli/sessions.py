"""`agentkit sessions`: what a file of sessions has."""

from __future__ import annotations

import dataclasses
import json
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agentkit.chats.plain_text import clip, one_line
from agentkit.cli import terminal
from agentkit.cli.approvals import read_answer
from agentkit.cli.chat import Database
from agentkit.cli.exits import ANSWERED, FAILED, Leave, UsageFault
from agentkit.cli.places import open_store

if TYPE_CHECKING:
    from agentkit import ChatManager, SQLiteStore
    from agentkit.stores.base import SessionInfo

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="List, show, search, export, import and check chats.",
)

Id = Annotated[
    str, typer.Argument(metavar="ID", help="The session's id, or the start of it.", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def line_of(info: SessionInfo, width: int) -> str:
    """Write a session on one line: id, when it was used, messages, title."""
    try:
        when = f"{datetime.fromtimestamp(info.updated):%Y-%m-%d %H:%M}"
    except (OSError, OverflowError, ValueError):
        when = "?"
    return clip(
        f"{one_line(info.id):<24}  {when:<16}  {info.messages:>4}  {one_line(info.title or '')}", width
    )


def opened(db: Path | None) -> SQLiteStore:
    """Open the sessions, which have to be there."""
    return open_store(db, must_exist=True)


def manager_of(store: SQLiteStore) -> ChatManager:
    """Return what forks, exports and imports. Its agent is never asked anything."""
    from agentkit import Agent, ChatManager

    return ChatManager(Agent("nobody"), store)


def full_id(store: SQLiteStore, id: str) -> str:
    """Return the id that was given, or the only one that begins so.

    Raises:
        UsageFault: None does, or several do.
    """
    from agentkit import SessionNotFound

    try:
        return store.info(id).id
    except SessionNotFound:
        found = [info.id for info in store.list(limit=6, prefix=id)] if id else []
    if len(found) == 1:
        return found[0]
    if found:
        more = " ..." if len(found) > 5 else ""
        raise UsageFault(f"Several sessions begin with {id!r}: {', '.join(found[:5])}{more}")
    raise UsageFault(f"There is no session {id!r}. `agentkit sessions list` shows them.")


@app.command("list", help="List sessions, most recently used first.")
def list_sessions(
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, metavar="N", help="The most to show.")] = 50,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Print one line each."""
    with opened(db) as store:
        found = store.list(limit=limit)
        for info in found:
            terminal.put(info_json(info) if as_json else line_of(info, terminal.line_width()))
        if len(found) == limit and store.list(limit=1, after=found[-1]):
            terminal.say(f"There are more: -n {limit * 10} shows them.")


def info_json(info: SessionInfo) -> str:
    """Write what is known of a session as a line of JSON."""
    return json.dumps(dataclasses.asdict(info))


@app.command(help="Show a conversation with its calls, times, usage and cost.")
def show(
    session: Id,
    db: Database = None,
    as_json: AsJson = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Show arguments and results in full.")
    ] = False,
) -> None:
    """Print one session."""
    from agentkit.chats.transcript import transcript

    if as_json and as_markdown:
        raise UsageFault("--json and --markdown: give one of them.")
    with opened(db) as store:
        found = full_id(store, session)
        if as_json or as_markdown:
            terminal.put(manager_of(store).export_session(found, "json" if as_json else "markdown"))
            return
        stored, width = store.load(found), terminal.width()
        terminal.put(f"{line_of(stored.info, width)}\n")
        terminal.put(
            transcript(stored.messages, usage=stored.info.usage, width=width, full=verbose, times=True)
        )


@app.command(help="Find messages that contain all these words.")
def search(
    words: Annotated[list[str], typer.Argument(metavar="WORD", show_default=False)],
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, metavar="N", help="The most to show.")] = 20,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Print one line each."""
    with opened(db) as store:
        hits = store.search(" ".join(words), limit=limit)
        for hit in hits:
            line = f"{one_line(hit.session_id)}  {hit.role}: {one_line(hit.snippet)}"
            terminal.put(
                json.dumps(dataclasses.asdict(hit)) if as_json else clip(line, terminal.line_width())
            )
    if not hits:
        terminal.say("Nothing was found.")


@app.command(help="Write a session to a file or to stdout, as JSON, Markdown or HTML.")
def export(
    session: Id,
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            help="Markdown if it ends in .md, HTML if in .html, else JSON.",
            show_default=False,
        ),
    ] = None,
    as_html: Annotated[
        bool, typer.Option("--html", help="Write a web page with calls and trace that needs no server.")
    ] = False,
    db: Database = None,
) -> None:
    """Export one session."""
    suffix = "" if file is None else file.suffix
    with opened(db) as store:
        id = full_id(store, session)
        if as_html or suffix == ".html":
            text = page_of(store, id)
        else:
            text = manager_of(store).export_session(id, "markdown" if suffix == ".md" else "json")
    if file is None:
        terminal.put(text)
        return
    try:
        file.write_text(text, "utf-8")
    except OSError as error:
        raise UsageFault(f"{file}: {error.strerror}.") from None


def page_of(store: SQLiteStore, id: str) -> str:
    """Show a session as a page. Raises `UsageFault` if the extra that makes pages isn't installed."""
    from agentkit.errors import how_to_install

    try:
        from agentkit.serve.export import session_html
    except ModuleNotFoundError:
        raise UsageFault(f'A page needs the extra "serve": {how_to_install("serve")}') from None
    return session_html(store.load(id))


@app.command("import", help='Create a session from an exported file; "-" is stdin.')
def import_session(
    file: Annotated[Path, typer.Argument(metavar="FILE", show_default=False)],
    new_id: Annotated[
        str | None,
        typer.Option("--id", metavar="ID", help="The new session's id; by default the exported one."),
    ] = None,
    db: Database = None,
) -> None:
    """Import one session."""
    try:
        data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise UsageFault(f"{file}: {error.strerror}.") from None
    with open_store(db) as store:
        terminal.put(manager_of(store).import_session(data, id=new_id).id)


@app.command(help="Create a session that starts with the messages of another.")
def fork(
    session: Id,
    at: Annotated[
        int | None,
        typer.Option("--at", min=1, metavar="N", help="How many messages to copy; all by default."),
    ] = None,
    new_id: Annotated[str | None, typer.Option("--id", metavar="ID", help="The new session's id.")] = None,
    db: Database = None,
) -> None:
    """Print the new id."""
    with opened(db) as store:
        terminal.put(manager_of(store).fork(full_id(store, session), at=at, new_id=new_id).id)


@app.command(help="Give a session a title.")
def rename(
    session: Id,
    title: Annotated[str, typer.Argument(metavar="TITLE", show_default=False)],
    db: Database = None,
) -> None:
    """Rename one session."""
    with opened(db) as store:
        store.rename(full_id(store, session), title or None)


@app.command(help="Delete sessions.")
def rm(
    ids: Annotated[list[str], typer.Argument(metavar="ID", help="Complete ids.", show_default=False)],
    db: Database = None,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Don't ask.")] = False,
) -> None:
    """Delete, after asking at a terminal. An id has to be whole here: nothing is deleted by a guess."""
    from agentkit import SessionNotFound

    with opened(db) as store:
        try:
            infos = [store.info(each) for each in dict.fromkeys(ids)]
        except SessionNotFound as error:
            raise UsageFault(f"{error} Nothing was deleted.") from None
        for info in infos:
            if yes or not terminal.can_ask() or asked(f"Delete {line_of(info, 60)}? [y/N] "):
                store.delete(info.id)


def asked(question: str) -> bool:
    """Return whether the person says yes."""
    try:
        return read_answer(question).strip().lower() in ("y", "yes")
    except EOFError:
        return False


@app.command(help="Check that the file is sound. Exits with 1 if it isn't.")
def check(db: Database = None) -> None:
    """Print what is wrong, a line each."""
    with opened(db) as store:
        problems = store.check()
    for problem in problems:
        terminal.put(problem)
    if not problems:
        terminal.say("The file is sound.")
    raise Leave(FAILED if problems else ANSWERED)
