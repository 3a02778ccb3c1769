"""Text as it is in a file: UTF-8, with its line ends and its byte order mark kept. Every step is linear."""

from __future__ import annotations

import codecs
import re
from typing import Any

from agentkit.errors import ToolError, ToolRetry
from agentkit_tools._files.paths import show

PAGE_CHARS = 40_000
"""Characters of a page; one that is longer ends earlier."""
_LISTED = 5


def decode(content: bytes, path: str) -> str:
    """Read bytes as text; line ends stay, a byte order mark is left out.

    Raises:
        ToolError: They are something else.
    """
    try:
        if b"\0" not in content:
            return content.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError:
        pass
    raise ToolError(f"{show(path)} isn't text in UTF-8, so it can't be shown or changed here.")


def encode(text: str) -> bytes:
    """Turn a model's text into bytes.

    Raises:
        ToolRetry: It has characters that no text file has.
    """
    try:
        if "\0" not in text:
            return text.encode()
    except UnicodeEncodeError:
        pass
    raise ToolRetry("The text has characters that can't be in a text file. Leave them out.")


def page(text: str, path: str, first: int, count: int) -> dict[str, Any]:
    """Cut a page of lines out of a text, with a mark that says how to read on. Line ends are unified.

    Raises:
        ToolRetry: The text has fewer lines.
    """
    lines = _unify(text).split("\n")
    if not lines[-1]:
        lines.pop()
    if first > max(len(lines), 1):
        raise ToolRetry(f"{show(path)} has only {len(lines)} lines: offset={first} is beyond its end.")
    shown: list[str] = []
    room = PAGE_CHARS
    for line in lines[first - 1 : first - 1 + count]:
        if len(line) >= room:
            break
        shown.append(line)
        room -= len(line) + 1
    last = first - 1 + len(shown)
    notes = []
    if not shown and lines:
        shown, last = [lines[first - 1][:PAGE_CHARS]], first
        notes.append(f"Line {first} is cut: it has {len(lines[first - 1]):,} characters.")
    if last < len(lines):
        notes.append(f"There is more: read on with offset={last + 1}.")
    made: dict[str, Any] = {"lines": f"{first} to {last} of {len(lines)}" if lines else "none"}
    if notes:
        made["note"] = " ".join(notes)
    return {**made, "text": "\n".join(shown)}


def replace_once(content: bytes, path: str, old: str, new: str) -> tuple[bytes, int]:
    """Replace the one place where a text has `old`; give the bytes, and the number of the line where it was.

    A line end in `old` fits any. `new` gets the line ends that most lines have; all else stays.

    Raises:
        ToolRetry: It isn't there, is there more than once, or is nothing.
        ToolError: The content isn't text.
    """
    text = decode(content, path)
    plain, old, new = _unify(text), _unify(old), _unify(new)
    if not old:
        raise ToolRetry("old is empty: give the text to replace, as it is in the file.")
    if old == new:
        raise ToolRetry("old and new are the same: nothing would change.")
    start = plain.find(old)
    if start < 0:
        spaced = " ".join(old.split()) in " ".join(plain.split())
        hint = " It is there with other spaces or line breaks." if spaced else ""
        raise ToolRetry(f"{show(path)} has no such text.{hint} Read the file and copy the text exactly.")
    if plain.find(old, start + 1) >= 0:
        raise ToolRetry(
            f"{show(path)} has that text more than once, {_places(plain, old)}. "
            "Add to old what stands before or after the one that you mean."
        )
    if 2 * text.count("\r\n") > text.count("\n"):
        new = new.replace("\n", "\r\n")
    begin, end = _index_in(text, start), _index_in(text, start + len(old))
    mark = codecs.BOM_UTF8 if content.startswith(codecs.BOM_UTF8) else b""
    return mark + encode(text[:begin] + new + text[end:]), plain.count("\n", 0, start) + 1


def _unify(text: str) -> str:
    return text.replace("\r\n", "\n")


def _index_in(text: str, index: int) -> int:
    """Give the index in a text of an index in the same text with unified line ends."""
    for met, line_end in enumerate(re.finditer("\r\n", text)):
        if line_end.start() - met >= index:
            return index + met
    return index + text.count("\r\n")


def _places(plain: str, old: str) -> str:
    lines: list[int] = []
    start, line, counted = plain.find(old), 1, 0
    while start >= 0 and len(lines) <= _LISTED:
        line += plain.count("\n", counted, start)
        lines.append(line)
        counted = start
        line_end = plain.find("\n", start)
        start = plain.find(old, line_end + 1) if line_end >= 0 else -1
    more = " and others" if len(lines) > _LISTED else ""
    return f"in line {', '.join(map(str, lines[:_LISTED]))}{more}"
