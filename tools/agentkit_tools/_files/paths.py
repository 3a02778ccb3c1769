"""A path as a model writes it, taken apart into names. No I/O here, and nothing is unescaped or expanded."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable

from agentkit.errors import ToolError, ToolRetry

MAX_PATH = 1_000
"""Characters of a path."""
MAX_PARTS = 32
"""Names in a path: how deep a file may lie below the root."""
MAX_NAME = 255
"""Bytes of a name: what common file systems take."""

WINDOWS = os.name == "nt"

_FORBIDDEN = {
    "Cc": "a control character",
    "Cf": "an invisible character",
    "Cs": "half a character",
    "Co": "a character of private use",
    "Zl": "a line separator",
    "Zp": "a paragraph separator",
}
_ELSEWHERE = re.compile(r"~|[A-Za-z]:")
"""What a shell or Windows would take for another place: somebody would meet a directory of that name there."""
_FILLERS = "\u115f\u1160"
"""Letters without a shape, which some file systems pass over when they compare names."""
_WINDOWS_CHARACTERS = re.compile(r'[<>:"|?*]')
_WINDOWS_DEVICE = re.compile(
    r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³])[ .]*(?:\..*)?", re.I | re.S
)
_WINDOWS_SHORT_NAME = re.compile(r"[^.]*~\d+(?:\.[^.]*)?")


def read_path(path: str, *, hidden: bool, windows: bool = WINDOWS) -> tuple[str, ...]:
    """Take a path apart: the names from the root down; none of them for the root itself.

    Args:
        path: What the model wrote.
        hidden: Whether names may begin with a dot.
        windows: Whether the rules of Windows hold as well.

    Raises:
        ToolRetry: It isn't a relative path of plain names.
        ToolError: It names something hidden, and that is off limits.
    """
    if len(path) > MAX_PATH:
        raise ToolRetry(f"The path is too long: at most {MAX_PATH} characters.")
    if path in ("", ".", "./"):
        return ()
    if path.startswith("/") or _ELSEWHERE.fullmatch(path.split("/")[0]):
        raise ToolRetry(
            f"{show(path)} leads elsewhere. Give a path like notes/today.txt, with nothing in front."
        )
    names = path.removeprefix("./").removesuffix("/").split("/")
    if len(names) > MAX_PARTS:
        raise ToolRetry(f"The path is too deep: at most {MAX_PARTS} names.")
    for name in names:
        if is_hidden(name) and not hidden:
            raise ToolError(f"{show(path)} can't be used: names that begin with a dot are off limits here.")
        if problem := problem_of(name, windows=windows):
            raise ToolRetry(f"{show(path)} can't be used as a path: {problem}.")
    return tuple(names)


def usable(names: Iterable[str], *, hidden: bool, windows: bool = WINDOWS) -> list[str]:
    """Choose the names that `read_path` takes, sorted."""
    return sorted(
        name for name in names if (hidden or not is_hidden(name)) and not problem_of(name, windows=windows)
    )


def is_hidden(name: str) -> bool:
    """Whether a name begins with a dot, and is more than dots."""
    return name.startswith(".") and bool(name.strip("."))


def problem_of(name: str, *, windows: bool = WINDOWS) -> str | None:
    """Say why a name can't be one name of a path, or None.

    Names are taken as they are, in any normal form. Those are refused that a file system which compares names
    in a normal form (ZFS, HFS+, ext4 with casefold) could take for a separator, for dots or for a hidden name.
    """
    if not name:
        return "it has an empty part"
    for character in name:
        if said := _FORBIDDEN.get(unicodedata.category(character)):
            return f"it has {said} (U+{ord(character):04X})"
    folded = unicodedata.normalize("NFKC", name)
    if not folded.strip("."):
        return 'it may only go down by names, without "." and ".."'
    if _ELSEWHERE.fullmatch(name):
        return f"{name} can't be a name"
    if "/" in folded or "\\" in folded:
        return "names are separated by a plain /"
    looks_hidden = folded.startswith(".") and not name.startswith(".")
    if looks_hidden or folded[0] in _FILLERS or unicodedata.category(folded[0]).startswith("M"):
        return f"a name can't begin with U+{ord(name[0]):04X}"
    try:
        if len(os.fsencode(name)) > MAX_NAME:
            return f"a name has at most {MAX_NAME} bytes"
    except UnicodeEncodeError:
        return "this computer can't write its characters"
    return _windows_problem_of(name) if windows else None


def _windows_problem_of(name: str) -> str | None:
    if _WINDOWS_CHARACTERS.search(name):
        return 'Windows allows no < > : " | ? * in a name'
    if name.endswith((".", " ")):
        return "a name on Windows can't end with a dot or a space"
    if _WINDOWS_DEVICE.fullmatch(name):
        return "it names a device of Windows"
    if _WINDOWS_SHORT_NAME.fullmatch(name):
        return "it looks like a short name of Windows; give the long one"
    return None


def show(path: str | Iterable[str]) -> str:
    """Quote a path for a message, shortened, with what can't be seen written out."""
    text = path if isinstance(path, str) else "/".join(path)
    return repr(text if len(text) <= 120 else f"{text[:117]}...")
