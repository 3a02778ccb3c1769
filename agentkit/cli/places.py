"""Where sessions and the prompt's history are kept, if nothing else is said."""

from __future__ import annotations

import os
import sys
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
        StoreError: It is no such file.
    """
    from agentkit import SQLiteStore

    file = db or data_folder() / "sessions.db"
    if must_exist and not file.is_file():
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
