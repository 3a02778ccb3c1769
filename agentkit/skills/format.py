"""The open SKILL.md format: https://agentskills.io/specification."""

from __future__ import annotations

import errno
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

_KEY = re.compile(r"([\"']?)([A-Za-z][\w-]*)\1[ \t]*:(?:[ \t]+(.*)|$)")
_PLAIN = {"name", "description", "license", "compatibility", "metadata", "version", "author", "tags"}
"""Fields that are read, or that ask for nothing."""
_BLOCKS = re.compile(r"[|>][+-]?\d?")
_ESCAPE = r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U(000[0-9a-fA-F]{5})|(.))"
_QUOTED = re.compile(r"""("(?:\\.|[^"\\])*"|'(?:''|[^'])*')(?:\s+\#.*)?""", re.S)


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
    name, description = (" ".join(fields.get(key, "").split()) for key in ("name", "description"))
    if not description:
        lacks = "no description in its front matter"
        if not _split(text)[0]:
            lacks = (
                "no front matter: it begins with a line ---, then name and description, then another line ---"
            )
        raise ConfigurationError(f"{folder / FILE} has {lacks}.")
    return Skill(
        name=(name or folder.name)[:64],
        description=description[:MAX_DESCRIPTION],
        folder=folder,
        trusted=trusted,
        notes=_notes(folder, fields, text),
        hidden=fields.get("disable-model-invocation", "").lower() == "true",
    )


def read_text(folder: Path) -> str:
    """Read the SKILL.md of a folder: a plain file, no symbolic link.

    It may have other names: installers such as uv link the files of a package to their cache.

    Raises:
        ConfigurationError: It isn't one, is too large, or isn't text.
    """
    path = folder / FILE
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        with os.fdopen(os.open(path, flags), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
                raise ConfigurationError(
                    f"{path} can't be read: it must be a regular file of at most {MAX_BYTES:,} bytes."
                )
            return file.read(MAX_BYTES).decode("utf-8-sig").replace("\r\n", "\n")
    except OSError as error:
        why = "it is a link" if error.errno == errno.ELOOP else error.strerror
        raise ConfigurationError(f"{path} can't be read: {why}.") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{path} can't be read: it isn't UTF-8 text ({error.reason}). Save it as UTF-8."
        ) from error


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
        fields[match[2]] = _value(match[3] or "", below)
    return fields


def _split(text: str) -> tuple[str, str]:
    match = re.match(r"---[ \t]*\n(.*?)^---[ \t]*(?:\n|$)", text, re.S | re.M)
    return (match[1], text[match.end() :]) if match else ("", text)


def _value(first: str, below: list[str]) -> str:
    first = first.strip()
    if _BLOCKS.fullmatch(first):
        return ("\n" if first[0] == "|" else " ").join(below).strip()
    whole = " ".join(filter(None, [first, *below]))
    if match := _QUOTED.fullmatch(whole):
        inside = match[1][1:-1]
        return inside.replace("''", "'") if match[1][0] == "'" else re.sub(_ESCAPE, _unescaped, inside)
    plain = re.sub(r"(^|\s)#.*$", "", whole)
    return "" if plain in ("~", "null") else plain


def _unescaped(match: re.Match[str]) -> str:
    code = match[1] or match[2] or match[3]
    return chr(int(code, 16)) if code else {"n": "\n", "t": "\t"}.get(match[4], match[4])


def _notes(folder: Path, fields: dict[str, str], text: str) -> tuple[str, ...]:
    notes = [f"{name} in its front matter has no effect here." for name in fields if name not in _PLAIN]
    if re.search(r"!`[^`\n]+`", text):
        notes.append("Commands written as !`...` are not run.")
    if re.search(r"\$ARGUMENTS\b", text):
        notes.append("$ARGUMENTS is not filled in.")
    if (folder / "scripts").is_dir():
        notes.append("Its scripts can be read, but not run, unless another tool runs them.")
    return tuple(notes)
