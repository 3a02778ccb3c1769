"""Lines that hold a text: found by plain comparison, so that no text takes long."""

from __future__ import annotations

import fnmatch
import stat
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from agentkit.errors import ToolError, ToolRetry
from agentkit_tools._files.content import check_plain, read_bytes
from agentkit_tools._files.text import decode
from agentkit_tools._files.tree import Found, Tree, Walk

MAX_HITS = 100
MAX_TEXT = 500
"""Characters of what is looked for."""
_BEFORE, _SHOWN = 60, 240
"""Characters of a line that are shown: before the hit, and altogether."""


@dataclass(slots=True)
class Search:
    """One search: what it looks for, how far it may go, what it has found."""

    text: str
    names: str
    """A pattern for the names of files, or nothing."""
    case: bool
    max_bytes: int
    """Of a file."""
    left: int
    """Bytes that it may still read."""
    walk: Walk
    hits: list[dict[str, Any]] = field(default_factory=list)
    skipped: int = 0
    """Files that couldn't be read."""
    stopped: str = ""
    """Why it ended early."""

    def run(self, tree: Tree, parts: Sequence[str]) -> dict[str, Any]:
        """Search a file, or all that is in a directory and below."""
        text = self._fold(self.text)
        with closing(self._files(tree, parts)) as files:
            for found in files:
                self._search_file(found, text)
                if self.stopped:
                    break
        notes = [f"Stopped at {self.stopped}: search in fewer files, or for more of the text."] * bool(
            self.stopped
        )
        if not self.walk.complete and not self.stopped:
            notes.append("Not everything was looked at: name a directory in path, or a pattern in names.")
        if unread := self.skipped + self.walk.closed:
            notes.append(f"Passed over, as no readable text: {unread}.")
        return {**({"note": " ".join(notes)} if notes else {}), "hits": self.hits}

    def _files(self, tree: Tree, parts: Sequence[str]) -> Generator[Found, None, None]:
        if parts:
            with tree.open_parent(parts) as directory:
                status = tree.stat(directory, parts)
                if not stat.S_ISDIR(status.st_mode):
                    check_plain(status, "/".join(parts))
                    yield Found(directory, parts[-1], "/".join(parts), status)
                    return
        with tree.open(parts) as directory:
            for found in tree.walk(directory, parts, self.walk):
                if not stat.S_ISDIR(found.status.st_mode) and self._is_named(found.name):
                    yield found

    def _is_named(self, name: str) -> bool:
        return not self.names or fnmatch.fnmatchcase(name.casefold(), self.names.casefold())

    def _search_file(self, found: Found, text: str) -> None:
        if self.left < found.status.st_size <= self.max_bytes:
            self.stopped = "the limit of bytes to read"
            return
        try:
            content, _ = read_bytes(found.directory, found.name, found.path, limit=self.max_bytes)
            self.left -= len(content)
            whole = decode(content, found.path)
        except (ToolError, ToolRetry, OSError):
            self.skipped += 1
            return
        if text not in self._fold(whole):
            return
        for number, line in enumerate(whole.split("\n"), 1):
            index = self._fold(line).find(text)
            if index < 0:
                continue
            if len(self.hits) == MAX_HITS:
                self.stopped = f"{MAX_HITS} lines"
                return
            self.hits.append({"path": found.path, "line": number, "text": _excerpt(line.rstrip("\r"), index)})

    def _fold(self, text: str) -> str:
        return text if self.case else text.casefold()


def search(
    tree: Tree, parts: Sequence[str], text: str, *, names: str, case: bool, max_bytes: int, seconds: float
) -> dict[str, Any]:
    """Find the lines that hold a text.

    Args:
        tree: Where.
        parts: The file, or the directory with all below it.
        text: A part of a line.
        names: A pattern such as `*.md` for the names of the files, or nothing.
        case: Whether capitals matter.
        max_bytes: Of a file; larger ones are passed over. Ten times as many are read altogether.
        seconds: How long it may take.

    Raises:
        ToolRetry: There is nothing of that path, or the text is no part of a line.
        ToolError: The file or directory can't be read.
    """
    if not text.strip() or len(text) > MAX_TEXT or "\n" in text:
        raise ToolRetry(f"text must be a part of one line, at most {MAX_TEXT} characters.")
    if "/" in names or len(names) > MAX_TEXT:
        raise ToolRetry("names is a pattern for the names of files, such as *.md. Name a directory in path.")
    walk = Walk(until=time.monotonic() + seconds)
    made = Search(text=text, names=names, case=case, max_bytes=max_bytes, left=10 * max_bytes, walk=walk)
    return made.run(tree, parts)


def _excerpt(line: str, index: int) -> str:
    start = max(index - _BEFORE, 0) if len(line) > _SHOWN else 0
    shown = line[start : start + _SHOWN]
    return f"{'…' * bool(start)}{shown}{'…' * (start + _SHOWN < len(line))}"
