"""Text for a terminal: what a model, a tool or a stranger wrote can't steer it, and a line fits into its width."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters, but not tab and line feed: escape sequences begin with one
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks that turn the direction of writing around
    "\u2028\u2029\ufeff\ud800-\udfff]"  # lines that aren't, and halves of characters, which can't be encoded
)


def inert(text: str) -> str:
    r"""Replace what would steer a terminal, or hide what is there, by its escape: `\x1b`."""
    return _UNSAFE.sub(lambda found: _escape(found[0]), text.replace("\r\n", "\n"))


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def one_line(text: str) -> str:
    """Make it inert and put it on one line, with single spaces."""
    return inert(" ".join(text.split()))


def clip(text: str, width: int) -> str:
    """Cut a line that is wider than so many columns; the cut is marked."""
    used = 0
    for index, character in enumerate(text):
        used += columns(character)
        if used > width:
            kept = text[:index]
            while kept and columns(kept) > width - 1:
                kept = kept[:-1]
            return f"{kept}…"
    return text


def columns(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    return sum(
        0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1
        for each in text
    )


def written(name: str, args: Any) -> str:
    """Write a call as code, on one line: `forecast(city="Paris", days=3)`."""
    given = args if isinstance(args, dict) else {"": args}
    return one_line(f"{name}({', '.join(f'{key}={value_text(value)}' for key, value in given.items())})")


def value_text(value: Any) -> str:
    """Write a value as JSON, in its own characters."""
    return json.dumps(value, ensure_ascii=False, default=str)


def result_text(response: Any) -> str:
    """Return what a function response says: its output, or its error."""
    if not isinstance(response, dict):
        return value_text(response)
    said = response.get("error", response.get("output", response))
    if isinstance(said, dict) and set(said) == {"message"}:
        said = said["message"]
    return said if isinstance(said, str) else value_text(said)


def seconds_text(seconds: float) -> str:
    """Write a duration: `0.3 s`, `2 min 5 s`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60} s"
