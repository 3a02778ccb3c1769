"""The open SKILL.md format: https://agentskills.io/specification."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from agentkit.errors import ConfigurationError

FILE = "SKILL.md"
CODE = "tools.py"
MAX_BYTES = 500_000
"""Of a SKILL.md."""
MAX_DESCRIPTION = 1_024
"""Characters of a description that are declared; the format allows no more."""

_KEY = re.compile(r"([A-Za-z][\w-]*)[ \t]*:(?:[ \t]+(.*)|$)")
_PLAIN = {"name", "description", "license", "compatibility", "metadata", "version", "author", "tags"}
"""Fields that are read, or that ask for nothing."""
_BLOCKS = re.compile(r"[|>][+-]?\d?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Skill:
    """A skill as its folder has it."""

    name: str
    description: str
    folder: Path
    trusted: bool
    """Whether it is the developer's own."""
    notes: tuple[str, ...] = ()
    """What in it has no effect here, in words."""
    hidden: bool = False
    """Whether it says that no model may load it by itself."""

    @property
    def has_code(self) -> bool:
        """Whether it brings functions of its own, in a `tools.py`."""
        return (self.folder / CODE).is_file()


def read_skill(folder: Path, *, trusted: bool) -> Skill:
    """Read what the front matter of a skill says.

    Raises:
        ConfigurationError: It has no name or no description, or can't be read.
    """
    text = read_text(folder)
    fields = front_matter(text)
    name, description = fields.get("name") or folder.name, fields.get("description", "")
    if not description:
        raise ConfigurationError(f"{folder / FILE} has no description in its front matter.")
    return Skill(
        name=name[:64],
        description=" ".join(description.split())[:MAX_DESCRIPTION],
        folder=folder,
        trusted=trusted,
        notes=_notes(folder, fields, text),
        hidden=fields.get("disable-model-invocation", "").lower() == "true",
    )


def read_text(folder: Path) -> str:
    """Read the SKILL.md of a folder: a plain file, no link.

    Raises:
        ConfigurationError: It isn't one, is too large, or isn't text.
    """
    path = folder / FILE
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        with os.fdopen(os.open(path, flags), "rb") as file:
            status = os.fstat(file.fileno())
            is_plain = stat.S_ISREG(status.st_mode) and status.st_nlink == 1
            if not is_plain or status.st_size > MAX_BYTES:
                raise ConfigurationError(
                    f"{path} can't be read: it is no plain file of up to {MAX_BYTES:,} bytes."
                )
            return file.read(MAX_BYTES).decode("utf-8-sig").replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} can't be read: {error}") from error


def body_of(text: str) -> str:
    """Return a SKILL.md without its front matter."""
    return _split(text)[1].strip()


def front_matter(text: str) -> dict[str, str]:
    """Read the fields of the front matter that are texts; of YAML that is all that the format needs.

    Plain, quoted and block texts (`|`, `>`) are read, over several lines too; what is nested is passed over.
    """
    fields: dict[str, str] = {}
    lines = _split(text)[0].split("\n")
    while lines:
        match = _KEY.fullmatch(lines.pop(0).rstrip())
        if match is None:
            continue
        below: list[str] = []
        while lines and (not lines[0].strip() or lines[0][0] in " \t"):
            below.append(lines.pop(0).strip())
        fields[match[1]] = _value(match[2] or "", below)
    return fields


def _split(text: str) -> tuple[str, str]:
    match = re.match(r"---[ \t]*\n(.*?)^---[ \t]*(?:\n|$)", text, re.S | re.M)
    return (match[1], text[match.end() :]) if match else ("", text)


def _value(first: str, below: list[str]) -> str:
    first = first.strip()
    if _BLOCKS.fullmatch(first):
        return ("\n" if first[0] == "|" else " ").join(below).strip()
    whole = " ".join(filter(None, [first, *below]))
    if len(whole) > 1 and whole[0] == whole[-1] == '"':
        return re.sub(r"\\(.)", lambda m: {"n": "\n", "t": "\t"}.get(m[1], m[1]), whole[1:-1])
    if len(whole) > 1 and whole[0] == whole[-1] == "'":
        return whole[1:-1].replace("''", "'")
    return re.sub(r"\s#.*$", "", whole)


def _notes(folder: Path, fields: dict[str, str], text: str) -> tuple[str, ...]:
    notes = [f"{name} in its front matter has no effect here." for name in fields if name not in _PLAIN]
    if re.search(r"!`[^`\n]+`", text):
        notes.append("Commands written as !`...` are not run.")
    if re.search(r"\$ARGUMENTS\b", text):
        notes.append("$ARGUMENTS is not filled in.")
    if (folder / "scripts").is_dir():
        notes.append("Its scripts can be read, but not run, unless another tool runs them.")
    return tuple(notes)
