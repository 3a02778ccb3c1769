"""File tools: list, read, search, write and edit text files below one directory, and nothing outside of it.

Give them to an agent as `tools=[files("notes")]`. What they do not do, whatever the model asks for:

- **Leave the directory.** Absolute paths, `..`, links and names that some system reads as one of these are
  refused. No symbolic link is followed, not even one that leads to a place within. A file that has a second
  name (a hard link) is refused, because that name may be outside; so are devices, pipes and sockets.
- **Touch hidden files**, those whose names begin with a dot (`.env`, `.git`), unless `hidden=True`.
- **Take forever, or all memory.** Files, pages, lists and searches have limits, and a mark says what is missing.
- **Half a write.** A file has the old content or the new one at every instant; its permissions stay. A killed
  process may leave a file `.agentkit-….tmp` behind. (Access lists and extended attributes are not copied.)

On Linux, macOS and other POSIX systems each name is looked up in a directory that is held open, without following
links: others may rename and link at the same time, and still nothing leads outside. Windows can't do that from
Python: there the full path is resolved and compared before each step, and whoever swaps a directory for a link at
just that instant is not noticed. Don't give these tools a directory there that people you don't trust can write to.

The directory is opened anew for each call, by the path that it had when the tools were made; if another
one has taken its place since, the tools refuse. There is no limit to how many files may be written.

Contents and names of files are the words of strangers: the tools that show them are `untrusted`. Writing tools are
`effect="write"`. For two directories in one agent: `files("notes").prefixed("notes")`.
"""

from __future__ import annotations

import os
import stat
import threading
from contextlib import closing
from typing import Annotated, Any

from pydantic import Field

from agentkit.errors import ConfigurationError, ToolRetry
from agentkit.tooling.registry import ToolRegistry
from agentkit.tooling.tool import Approval
from agentkit.wire.arguments import checked
from agentkit_tools._files import text as texts
from agentkit_tools._files.content import read_bytes, write_bytes
from agentkit_tools._files.directory import Root
from agentkit_tools._files.paths import MAX_PARTS, show
from agentkit_tools._files.search import search
from agentkit_tools._files.tree import Found, Tree, Walk, kind_of

MAX_ENTRIES = 500
"""Entries of a list."""
MAX_LINES = 2_000
"""Lines of a page."""


@checked
def files(
    root: str | os.PathLike[str],
    *,
    write: bool = True,
    approval: Approval = False,
    hidden: bool = False,
    max_bytes: int = 10_000_000,
    search_seconds: float = 5.0,
) -> ToolRegistry:
    """Make the file tools for one directory: `list_files`, `read_file`, `search_files`, `write_file`, `edit_file`.

    Args:
        root: The directory; it must be there. If it is a link, what it leads to now is the directory from now on.
        write: Whether there are tools that write. Without them nothing is ever changed.
        approval: Whether a person must allow a write: what `approval` is for any tool.
        hidden: Whether files and directories whose names begin with a dot can be reached.
        max_bytes: The largest file that is read, searched or written; a search reads ten times as much altogether.
        search_seconds: How long a search goes on; then it gives what it has.

    Raises:
        ConfigurationError: There is no such directory, or a limit isn't above 0.
    """
    if not max_bytes > 0 or not search_seconds > 0:
        raise ConfigurationError(f"files({os.fspath(root)!r}): give limits above 0.")
    try:
        tree = Tree(Root(root), hidden)
    except (OSError, ValueError, RuntimeError) as error:  # the last: links in a circle before Python 3.13
        raise ConfigurationError(
            f"files({os.fspath(root)!r}): there is no directory of that path that can be used. Make it first."
        ) from error
    registry = ToolRegistry("files", effect="read")
    _add_reading(registry, tree, max_bytes, search_seconds)
    if write:
        _add_writing(registry, tree, max_bytes, approval)
    return registry


def _add_reading(registry: ToolRegistry, tree: Tree, max_bytes: int, search_seconds: float) -> None:
    @registry.tool(effect="read", untrusted=True)
    def list_files(path: str = "", depth: Annotated[int, Field(ge=1)] = 1) -> dict[str, Any]:
        """List the files and directories in a directory.

        Args:
            path: Directory, such as notes/2024; empty for all.
            depth: 1 for this directory alone, 2 with those in it, and so on.
        """
        parts = tree.parts(path)
        walk = Walk(depth=min(depth, MAX_PARTS))
        entries: list[dict[str, Any]] = []
        with tree.open(parts) as directory, closing(tree.walk(directory, parts, walk)) as found:
            for each in found:
                if len(entries) == MAX_ENTRIES:
                    walk.complete = False
                    break
                entries.append(_entry(each))
        notes = [] if walk.complete else ["There is more: list a directory in it, or a smaller depth."]
        if walk.unnamed:
            notes.append(f"Left out, as hidden or with a name that can't be used: {walk.unnamed}.")
        if walk.closed:
            notes.append(f"Directories that can't be read: {walk.closed}.")
        return {**({"note": " ".join(notes)} if notes else {}), "entries": entries}

    @registry.tool(effect="read", untrusted=True)
    def read_file(
        path: str,
        offset: Annotated[int, Field(ge=1)] = 1,
        limit: Annotated[int, Field(ge=1)] = 500,
    ) -> dict[str, Any]:
        """Read a text file. A long one comes in pages.

        Args:
            path: File, such as notes/today.txt.
            offset: Line to begin with; 1 is the first.
            limit: How many lines.
        """
        parts = _file_parts(tree, path)
        with tree.open_parent(parts) as directory:
            tree.stat(directory, parts)
            content, _ = read_bytes(directory, parts[-1], path, limit=max_bytes)
        return texts.page(texts.decode(content, path), path, offset, min(limit, MAX_LINES))

    @registry.tool(effect="read", untrusted=True)
    def search_files(text: str, path: str = "", names: str = "", case: bool = False) -> dict[str, Any]:
        """Find the lines of text files that have a certain text in them.

        Args:
            text: Plain text to look for, a part of a line.
            path: Directory or file to search; empty for all.
            names: Only files with such names, such as *.md; empty for all.
            case: Whether capital letters must be the same.
        """
        return search(
            tree, tree.parts(path), text, names=names, case=case, max_bytes=max_bytes, seconds=search_seconds
        )


def _add_writing(registry: ToolRegistry, tree: Tree, max_bytes: int, approval: Approval) -> None:
    # Runs of one agent at the same time: an edit mustn't lose another's.
    writing = threading.Lock()

    @registry.tool(effect="write", approval=approval)
    def write_file(path: str, content: str) -> str:
        """Write a text file: a new one, or in place of all that is in it.

        Args:
            path: File, such as notes/today.txt. Missing directories are made.
            content: The whole text of the file.
        """
        parts = _file_parts(tree, path)
        data = texts.encode(content)
        _check_size(len(data), max_bytes)
        with writing, tree.open_parent(parts, make=True) as directory:
            replaced = write_bytes(directory, parts[-1], path, data)
        return f"{'Replaced' if replaced else 'Made'} {show(path)}: {len(data):,} bytes."

    # Its errors name files that are there: a stranger's words as well.
    @registry.tool(effect="write", approval=approval, untrusted=True)
    def edit_file(path: str, old: str, new: str) -> str:
        """Replace a text that is in a file once by another.

        Args:
            path: File, such as notes/today.txt.
            old: The text to replace, exactly as in the file; long enough to be there only once.
            new: The text to put there; empty to delete.
        """
        parts = _file_parts(tree, path)
        with writing, tree.open_parent(parts) as directory:
            tree.stat(directory, parts)
            content, status = read_bytes(directory, parts[-1], path, limit=max_bytes)
            edited, line = texts.replace_once(content, path, old, new)
            _check_size(len(edited), max_bytes)
            write_bytes(directory, parts[-1], path, edited, unchanged=status)
        return f"Changed {show(path)} at line {line}."


def _file_parts(tree: Tree, path: str) -> tuple[str, ...]:
    if parts := tree.parts(path):
        return parts
    raise ToolRetry("Name a file. list_files shows what is there.")


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise ToolRetry(f"The file would have {size:,} bytes: at most {limit:,} are allowed.")


def _entry(found: Found) -> dict[str, Any]:
    mode = found.status.st_mode
    if stat.S_ISDIR(mode):
        return {"path": f"{found.path}/"}
    if stat.S_ISREG(mode):
        return {"path": found.path, "bytes": found.status.st_size}
    return {"path": found.path, "note": kind_of(found.status)}
