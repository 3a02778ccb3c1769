"""What lies below a root: found by a model's path, or by walking; errors in plain words."""

from __future__ import annotations

import difflib
import errno
import os
import stat
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

from agentkit.errors import ToolError, ToolRetry
from agentkit_tools._files.directory import Directory, Root
from agentkit_tools._files.paths import MAX_PARTS, read_path, show, usable

MAX_SCANNED = 20_000
"""Entries of directories that one call looks at."""
_COMPARED = 300
"""Names among which those close to an unknown one are looked for."""

_WORDS = {
    **dict.fromkeys((errno.EACCES, errno.EPERM), "permission is denied"),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "the disk is full"),
    **dict.fromkeys((errno.ELOOP, errno.ENOTDIR), "there is a link in its place, and links aren't followed"),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "too many files are open; try again later"),
    **dict.fromkeys((errno.ETXTBSY, errno.EBUSY), "it is in use"),
    errno.EFBIG: "it would be too large",
    errno.EROFS: "the disk is read-only",
    errno.ENAMETOOLONG: "a name is too long",
    errno.ENOENT: "it isn't there any more",
}


@dataclass(frozen=True, slots=True)
class Found:
    """Something that has a name in an open directory."""

    directory: Directory
    name: str
    path: str
    """From the root."""
    status: os.stat_result


@dataclass(slots=True)
class Walk:
    """How far a walk may go, and what it has passed over."""

    depth: int = MAX_PARTS
    """Directories within one another that it enters, the first one counted."""
    until: float = float("inf")
    """When it ends, on the monotonic clock."""
    left: int = field(default_factory=lambda: MAX_SCANNED)
    """Entries that it may still look at."""
    complete: bool = True
    """Whether it has seen everything that it was to see."""
    unnamed: int = 0
    """Entries left out: hidden, or with names that `read_path` refuses."""
    closed: int = 0
    """Directories that couldn't be read."""


@dataclass(frozen=True, slots=True)
class Tree:
    """Everything below a root that the tools may reach."""

    root: Root
    hidden: bool
    """Whether names may begin with a dot."""

    def parts(self, path: str) -> tuple[str, ...]:
        """Take a path apart, as `read_path` does."""
        return read_path(path, hidden=self.hidden)

    @contextmanager
    def open(self, parts: Sequence[str], *, make: bool = False) -> Iterator[Directory]:
        """Open a directory, name by name; what fails within the block is told in plain words, too.

        Args:
            parts: Its names from the root down.
            make: Whether to make the directories that are missing.

        Raises:
            ToolRetry: There is no such directory.
            ToolError: It can't be opened.
        """
        with ExitStack() as opened:
            with _plainly("The directory of these files"):
                current = opened.enter_context(self.root.open())
            opened.enter_context(_plainly(show(parts) if parts else "The directory"))
            for index, name in enumerate(parts):
                here = parts[: index + 1]
                if make:
                    with suppress(FileExistsError):
                        current.mkdir(name)
                status = self.stat(current, here)
                if not stat.S_ISDIR(status.st_mode):
                    if not stat.S_ISREG(status.st_mode):
                        raise ToolError(f"{show(here)} is {kind_of(status)}: it can't be used.")
                    raise ToolRetry(f"{show(here)} is a file, not a directory.")
                current = opened.enter_context(current.enter(name))
            yield current

    @contextmanager
    def open_parent(self, parts: Sequence[str], *, make: bool = False) -> Iterator[Directory]:
        """Open the directory of a file, as `open` does; what fails within the block is told of the file."""
        with self.open(parts[:-1], make=make) as directory, _plainly(show(parts)):
            yield directory

    def stat(self, directory: Directory, parts: Sequence[str]) -> os.stat_result:
        """Tell about what the last of the names is; the directory is that of the others.

        Raises:
            ToolRetry: There is none; names that are close to it are listed.
        """
        try:
            return directory.stat(parts[-1])
        except FileNotFoundError:
            raise ToolRetry(f"There is no {show(parts)}. {self._instead(directory, parts)}") from None

    def walk(self, directory: Directory, parts: Sequence[str], walk: Walk) -> Generator[Found, None, None]:
        """Go through all that is in a directory and below, each directory before what is in it."""
        yield from self._walk(directory, "".join(f"{name}/" for name in parts), walk, walk.depth)

    def _walk(
        self, directory: Directory, prefix: str, walk: Walk, depth: int
    ) -> Generator[Found, None, None]:
        names = directory.names(walk.left + 1)
        if len(names) > walk.left:
            walk.complete = False
            del names[walk.left :]
        walk.left -= len(names)
        chosen = usable(names, hidden=self.hidden)
        walk.unnamed += len(names) - len(chosen)
        for name in chosen:
            if time.monotonic() > walk.until:
                walk.complete = False
                return
            try:
                found = Found(directory, name, prefix + name, directory.stat(name))
            except OSError:  # it has gone meanwhile
                continue
            yield found
            if stat.S_ISDIR(found.status.st_mode) and depth > 1:
                try:
                    with directory.enter(name) as child:
                        yield from self._walk(child, f"{found.path}/", walk, depth - 1)
                except OSError:
                    walk.closed += 1

    def _instead(self, directory: Directory, parts: Sequence[str]) -> str:
        *above, name = parts
        where = f"In {show(above)}" if above else "Here"
        names = usable(directory.names(MAX_SCANNED), hidden=self.hidden)
        close = difflib.get_close_matches(name, names[:_COMPARED], n=3, cutoff=0.5)
        close = [each for each in names if each.casefold() == name.casefold()] or close
        if close:
            return f"Did you mean {' or '.join(show([*above, each]) for each in close)}?"
        if not names:
            return f"{where} is nothing."
        more = f" and {len(names) - 10} more" if len(names) > 10 else ""
        return f"{where} are: {', '.join(map(show, names[:10]))}{more}."


def kind_of(status: os.stat_result) -> str:
    """Say what something is that is neither a file nor a directory."""
    return "a link, and links aren't followed" if stat.S_ISLNK(status.st_mode) else "not a regular file"


@contextmanager
def _plainly(what: str) -> Iterator[None]:
    """Tell a failure of the system in plain words, without its paths and numbers."""
    try:
        yield
    except OSError as error:
        word = _WORDS.get(error.errno or 0, "the system refused it")
        raise ToolError(f"{what} can't be used: {word}.") from error
