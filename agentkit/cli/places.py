"""Where sessions and the prompt's history are kept, if nothing else is said."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from agentkit.cli.exits import UsageFault

if TYPE_CHECKING:
    from agentkit import SQLiteStore


def data_folder() -> Path:
    """Return the person's folder for agentkit's data: `$AGENTKIT_HOME`, else where the system has such things."""
    home = os.environ.get("AGENTKIT_HOME")
    if home:
        return Path(home)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "agentkit"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "agentkit"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "agentkit"


def open_store(db: Path | None, *, must_exist: bool = False) -> SQLiteStore:
    """Open the file of sessions: the one given, else the person's own, whose folder nobody else may read.

    Raises:
        UsageFault: It has to be there, and isn't; or its folder can't be made.
        StoreError: It isn't such a file.
    """
    from agentkit import SQLiteStore

    file = db or data_folder() / "sessions.db"
    if file.is_dir():
        raise UsageFault(f"{file} is a folder: give the path of a file with --db.")
    if must_exist and not file.exists():
        raise UsageFault(f"There are no sessions yet: {file} isn't there. `agentkit chat` makes it.")
    if db is None:
        private_folder(file.parent)
    elif not file.parent.is_dir():
        raise UsageFault(f"--db {db}: there is no folder {file.parent}.")
    return SQLiteStore(file)


def private_folder(folder: Path) -> Path:
    """Make a folder that only the person may read. Raises UsageFault where that can't be."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageFault(f"The folder {folder} can't be made: {error.strerror}. Give --db FILE.") from None
    return folder


_NOTED = 50
"""How many sessions of a target are noted."""


def noted_sessions(label: str) -> list[str]:
    """Return the ids of the sessions that a target was used with, the last first, in whatever store they are."""
    try:
        noted = json.loads((data_folder() / "targets.json").read_text("utf-8"))
        return [each for each in noted[label] if isinstance(each, str)]
    except (OSError, ValueError, LookupError, TypeError):
        return []


def note_session(label: str, session: str) -> None:
    """Note that a target was used with a session; where that can't be noted, `--continue` knows it by its id alone."""
    folder = data_folder()
    with suppress(OSError, UsageFault):
        private_folder(folder)
        file = folder / "targets.json"
        try:
            noted = json.loads(file.read_text("utf-8"))
        except (OSError, ValueError):
            noted = {}
        sessions = dict.fromkeys([session, *noted_sessions(label)])
        kept = {**(noted if isinstance(noted, dict) else {}), label: list(sessions)[:_NOTED]}
        fresh = folder / f"targets.{os.getpid()}.tmp"
        fresh.write_text(json.dumps(kept), "utf-8")
        fresh.replace(file)
