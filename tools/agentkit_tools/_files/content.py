"""The bytes of a file: read within a limit, or replaced all at once."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from agentkit.errors import ToolError, ToolRetry
from agentkit_tools._files.directory import Directory, identity_of
from agentkit_tools._files.paths import show
from agentkit_tools._files.tree import kind_of


def check_plain(status: os.stat_result, path: str) -> None:
    """Refuse all but a file that has this one name.

    Raises:
        ToolRetry: It is a directory.
        ToolError: It is a link, a device or the like, or has other names, which may lie anywhere.
    """
    if stat.S_ISDIR(status.st_mode):
        raise ToolRetry(f"{show(path)} is a directory. list_files shows what is in it.")
    if not stat.S_ISREG(status.st_mode):
        raise ToolError(f"{show(path)} is {kind_of(status)}: it can't be used.")
    if status.st_nlink > 1:
        raise ToolError(f"{show(path)} has a second name elsewhere (a hard link), so it can't be used.")


def read_bytes(directory: Directory, name: str, path: str, *, limit: int) -> tuple[bytes, os.stat_result]:
    """Read a whole file, and tell about it.

    Raises:
        ToolRetry: It is a directory, or changed while it was opened.
        ToolError: It is larger than the limit, or no plain file.
    """
    with _opened(directory, name, path, os.O_RDONLY) as (descriptor, status):
        if status.st_size > limit:
            raise _too_large(path, limit)
        content = bytearray()
        # Up to one byte more than allowed: a file may grow, or tell no size.
        while len(content) <= limit and (
            chunk := os.read(descriptor, min(1 << 20, limit + 1 - len(content)))
        ):
            content += chunk
    if len(content) > limit:
        raise _too_large(path, limit)
    return bytes(content), status


def write_bytes(
    directory: Directory, name: str, path: str, content: bytes, *, unchanged: os.stat_result | None = None
) -> bool:
    """Write a whole file, and tell whether there was one before.

    At every instant the name has either the old content or the new one, also if the process is killed (then a
    file `.agentkit-….tmp` may be left). The permissions of an existing file are kept. A link that somebody puts
    in its place meanwhile is replaced and not followed.

    Args:
        directory: Where.
        name: Its name there.
        path: Its path for messages.
        content: Everything that is to be in it.
        unchanged: What was told about it when it was read; it must be so still.

    Raises:
        ToolRetry: It is a directory, or changed since it was read.
        ToolError: It isn't a regular file.
    """
    old = _writable(directory, name, path)
    temporary = f".agentkit-{secrets.token_hex(8)}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    descriptor = directory.open(temporary, flags, 0o666 if old is None else 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if old is not None:
                directory.copy_mode(old, descriptor)
            os.fsync(descriptor)
        if unchanged is not None and _version_of(directory.stat(name)) != _version_of(unchanged):
            raise ToolRetry(f"{show(path)} was changed by somebody else meanwhile. Read it again.")
        directory.rename(temporary, name)
    except BaseException:
        with suppress(OSError):
            directory.unlink(temporary)
        raise
    directory.sync()
    return old is not None


def _writable(directory: Directory, name: str, path: str) -> os.stat_result | None:
    """Tell about the file that is to be replaced, if there is one. Its permissions hold, not only its directory's."""
    try:
        directory.stat(name)
    except FileNotFoundError:
        return None
    with _opened(directory, name, path, os.O_WRONLY) as (_, status):
        return status


@contextmanager
def _opened(directory: Directory, name: str, path: str, flags: int) -> Iterator[tuple[int, os.stat_result]]:
    """Open a plain file, and be sure of what was opened."""
    check_plain(directory.stat(name), path)  # before: to open a device may have effects
    descriptor = directory.open(name, flags)
    try:
        # Of the name, not of what is open: a second name elsewhere may have been taken away from here since.
        status = directory.stat(name)
        check_plain(status, path)
        if identity_of(status) != identity_of(os.fstat(descriptor)):
            raise ToolRetry(f"{show(path)} was changed by somebody else meanwhile. Try again.")
        yield descriptor, status
    finally:
        os.close(descriptor)


def _version_of(status: os.stat_result) -> tuple[int, ...]:
    return *identity_of(status), status.st_size, status.st_mtime_ns


def _too_large(path: str, limit: int) -> ToolError:
    return ToolError(f"{show(path)} is too large: at most {limit:,} bytes.")
