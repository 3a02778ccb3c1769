"""An open directory, and what can be done in it by one name: no link is ever followed.

`DescriptorDirectory` is the safe one: the system looks each name up in a directory that is held open, so that
nothing which others rename or link meanwhile leads outside. `PathDirectory` is for systems without that
(Windows): it looks at the full path before each step, and somebody who swaps a directory for a link between
that look and the step is not noticed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from abc import ABC, abstractmethod
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self

# Python opens everything with O_CLOEXEC itself (PEP 446).
_DIRECTORY = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)
_FILE = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
"""O_NONBLOCK: the opening of a FIFO would wait for its other end."""

BY_DESCRIPTOR = hasattr(os, "O_NOFOLLOW") and os.supports_dir_fd >= {
    *(os.open, os.stat, os.mkdir, os.rename, os.unlink)
}
"""Whether this system looks names up in an open directory."""


class Directory(ABC):
    """A directory below the root. Close it; it is a context manager."""

    @abstractmethod
    def enter(self, name: str) -> Directory:
        """Open a directory in this one."""

    @abstractmethod
    def names(self, limit: int) -> list[str]:
        """List what is in it, in no order: at most `limit` names."""

    @abstractmethod
    def stat(self, name: str) -> os.stat_result:
        """Tell about what has this name: of a link, about the link."""

    @abstractmethod
    def open(self, name: str, flags: int, mode: int = 0o666) -> int:
        """Open a file; give its descriptor."""

    @abstractmethod
    def mkdir(self, name: str) -> None:
        """Make a directory."""

    @abstractmethod
    def rename(self, name: str, new: str) -> None:
        """Give a file another name, in place of what had that before."""

    @abstractmethod
    def unlink(self, name: str) -> None:
        """Remove a file."""

    @abstractmethod
    def copy_mode(self, status: os.stat_result, descriptor: int) -> None:
        """Give an open file the permissions of another, and its owner if that is allowed."""

    @abstractmethod
    def sync(self) -> None:
        """Have the names that were changed written to the disk, where the system can."""

    @abstractmethod
    def close(self) -> None:
        """Let go of it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class DescriptorDirectory(Directory):
    """A directory held open by its descriptor."""

    def __init__(self, path: str | Path, parent: int | None = None) -> None:
        self._fd = os.open(path, _DIRECTORY, dir_fd=parent)

    def enter(self, name: str) -> Directory:
        return DescriptorDirectory(name, self._fd)

    def names(self, limit: int) -> list[str]:
        with os.scandir(self._fd) as entries:
            return [entry.name for entry in islice(entries, limit)]

    def stat(self, name: str) -> os.stat_result:
        return os.stat(name, dir_fd=self._fd, follow_symlinks=False)

    def open(self, name: str, flags: int, mode: int = 0o666) -> int:
        return os.open(name, flags | _FILE, mode, dir_fd=self._fd)

    def mkdir(self, name: str) -> None:
        os.mkdir(name, dir_fd=self._fd)

    def rename(self, name: str, new: str) -> None:
        os.rename(name, new, src_dir_fd=self._fd, dst_dir_fd=self._fd)

    def unlink(self, name: str) -> None:
        os.unlink(name, dir_fd=self._fd)

    def copy_mode(self, status: os.stat_result, descriptor: int) -> None:
        with contextlib.suppress(PermissionError):
            os.fchown(descriptor, status.st_uid, status.st_gid)
        os.fchmod(descriptor, status.st_mode & 0o777)

    def sync(self) -> None:
        with contextlib.suppress(OSError):  # some file systems can't; the file itself is safe
            os.fsync(self._fd)

    def close(self) -> None:
        os.close(self._fd)


class PathDirectory(Directory):
    """A directory by its full path, which is compared with where it really leads before each step."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)

    def enter(self, name: str) -> Directory:
        return PathDirectory(self._at(name))

    def names(self, limit: int) -> list[str]:
        with os.scandir(self._at(".")) as entries:
            return [entry.name for entry in islice(entries, limit)]

    def stat(self, name: str) -> os.stat_result:
        return self._at(name).lstat()

    def open(self, name: str, flags: int, mode: int = 0o666) -> int:
        path = self._at(name)
        _check_path(path)
        return os.open(path, flags | _FILE, mode)

    def mkdir(self, name: str) -> None:
        self._at(name).mkdir()

    def rename(self, name: str, new: str) -> None:
        self._at(name).replace(self._at(new))

    def unlink(self, name: str) -> None:
        self._at(name).unlink()

    def copy_mode(self, status: os.stat_result, descriptor: int) -> None:
        """Do nothing: a file of Windows that can be written to has no mode to keep."""

    def sync(self) -> None:
        """Do nothing: there is no such thing for a path."""

    def close(self) -> None:
        """Do nothing: nothing is held open."""

    def _at(self, name: str) -> Path:
        _check_path(self._path)
        return self._path / name


def _check_path(path: Path) -> None:
    if os.path.normcase(os.path.realpath(path)) != os.path.normcase(path):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


class Root:
    """The directory that nothing gets out of.

    Its path is resolved once, and each call opens it again by that path, so that nothing is held open that
    somebody would have to close. What is found there must be the directory of the first time: one that was
    moved, replaced or made anew since is refused.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path).resolve(strict=True)
        self._kind = DescriptorDirectory if BY_DESCRIPTOR else PathDirectory
        status = self._path.stat()
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
        self._identity = identity_of(status)

    def open(self) -> Directory:
        """Open it.

        Raises:
            FileNotFoundError: It isn't there any more.
        """
        directory = self._kind(self._path)
        try:
            if identity_of(directory.stat(".")) != self._identity:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        except OSError:
            directory.close()
            raise
        return directory


def identity_of(status: os.stat_result) -> tuple[int, int]:
    """Tell one file from all others of this computer."""
    return status.st_dev, status.st_ino
