"""What a docstring says to a model: the description, and a word on each parameter."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Literal

from agentkit.tooling.callables import named_function

_Kind = Literal["text", "arguments", "result", "errors"]

_TITLES: dict[_Kind, str] = {
    "arguments": r"(?:Keyword |Other )?(?:Arg(?:ument)?s|Param(?:eter)?s)|Attributes?",
    "result": r"Returns?|Yields?",
    "errors": r"Raises?|Exceptions|Except|Warns|Receives?",
}
_FIELDS: dict[_Kind, str] = {
    "arguments": "param|parameter|arg|argument|attribute|attr|ivar|key|keyword|kwarg",
    "result": "returns?|yields?",
    "errors": "type|rtype|ytype|raises?|except|exception",
}
_GOOGLE = {kind: re.compile(rf"(?:{titles})\s*:\s*", re.I) for kind, titles in _TITLES.items()}
_NUMPY = {kind: re.compile(rf"(?:{titles})\s*", re.I) for kind, titles in _TITLES.items()}
_FIELD = {
    kind: re.compile(rf"[:@](?:{names})\b(?P<about>[^:\n]*):[ ]*(?P<words>.*)\Z", re.S)
    for kind, names in _FIELDS.items()
}
_RULE = re.compile(r"-{3,}\s*")

_MARKS = r"[`*'\"]*"
_NAME = rf"{_MARKS}(?P<names>\w+(?:{_MARKS}\s*,\s*{_MARKS}\w+)*){_MARKS}"
_BULLET = r"(?:[-*+•]\s+)?"
_ENTRY = re.compile(rf"\s*{_BULLET}{_NAME}\s*(?P<after>[:(\[]|[-–—]+\s|$)")
"""A line that may begin a word on a parameter: its name, and a colon, a dash, a type or nothing behind it."""
_SEPARATOR = re.compile(r"\s*(?::|[-–—]+(?=\s)|(?=\n)|\Z)\s*")


@dataclass(frozen=True, slots=True)
class Doc:
    """A docstring, taken apart."""

    description: str = ""
    """The text, what it says of the result, and words on what is no parameter."""
    parameters: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Block:
    kind: _Kind
    style: str
    lines: list[str]


def read_docstring(function: Callable[..., Any], names: Collection[str], hidden: Collection[str] = ()) -> Doc:
    """Read a callable's docstring: Google, NumPy, reST or Epydoc style, or plain text.

    Args:
        function: The callable.
        names: The parameters that the model sees. What is said of them is for them alone.
        hidden: Parameters that it doesn't see: what is said of them is left out. Any other words stay in the
            description, so that a misspelt name loses nothing.
    """
    return parse(docstring_of(function), names, hidden)


def parse(text: str, names: Collection[str], hidden: Collection[str] = ()) -> Doc:
    """Take a docstring apart; see `read_docstring`."""
    kept: list[str] = []
    words: dict[str, str] = {}
    known = {*names, *hidden}
    for block in _blocks(text.splitlines(), known):
        if block.kind == "arguments":
            kept += _take_arguments(block, known, words)
        elif block.kind == "result":
            kept += _result(block)
        elif block.kind == "text":
            kept += block.lines
    description = re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip()
    return Doc(description, {name: said for name, said in words.items() if name in names and said})


def _blocks(lines: list[str], known: AbstractSet[str]) -> Iterator[_Block]:
    """Split a docstring into its sections and what is between them."""
    block = _Block("text", "", [])
    for index, line in enumerate(lines):
        begun = _begin(line, lines[index + 1] if index + 1 < len(lines) else "")
        if begun is None and _ends(block, lines, index, known):
            begun = _Block("text", "", [])
        if begun is not None:
            yield block
            block = begun
        block.lines.append(line)
    yield block


def _begin(line: str, below: str) -> _Block | None:
    """Return the section that begins with a line, if one does."""
    if line and _RULE.fullmatch(below):
        for kind, title in _NUMPY.items():
            if title.fullmatch(line):
                return _Block(kind, "numpy", [])
        return _Block("text", "numpy", [])
    for kind, title in _GOOGLE.items():
        if title.fullmatch(line):
            return _Block(kind, "google", [])
    for kind, title in _FIELD.items():
        if title.match(line):
            return _Block(kind, "field", [])
    return None


def _ends(block: _Block, lines: list[str], index: int, known: AbstractSet[str]) -> bool:
    """Return whether a line is no longer of the section before it.

    A NumPy section ends where the next one begins. Of the others, a line without indentation is the end, unless
    it is one of a body that isn't indented, or a slip: a line that goes on, with more of the section below it.
    """
    line = lines[index]
    if block.kind == "text" or block.style == "numpy" or not line[:1].strip():
        return False
    if len(block.lines) == 1:  # right below the title
        return block.kind == "arguments" and block.style == "google" and not _is_entry(line, known)
    after_blank = not block.lines[-1].strip()
    if block.style == "field":
        return after_blank
    first = next((below for below in block.lines[1:] if below.strip()), line)
    if first[:1].strip():  # the body has no indentation
        return after_blank and not _is_entry(line, known)
    if after_blank:
        return True
    for below in lines[index + 1 :]:
        if not below.strip() or (_begin(below, "") is not None):
            return True
        if below[:1].isspace() and _is_entry(below, known):
            return False
    return True


def _is_entry(line: str, known: AbstractSet[str]) -> bool:
    match = _ENTRY.match(line)
    return match is not None and bool(match["after"]) and not known.isdisjoint(_names_in(match["names"]))


def _names_in(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


def _take_arguments(block: _Block, known: AbstractSet[str], words: dict[str, str]) -> list[str]:
    """Take the words on parameters out of a section; return the lines of it that are for none."""
    if block.style == "field":
        return _take_field(block, known, words)
    title = block.lines[: 2 if block.style == "numpy" else 1]
    body = block.lines[len(title) :]
    indents = [len(line) - len(line.lstrip()) for line in body if line.strip()]
    base = indents[0] if indents else 0
    left: list[str] = []
    numpy = block.style == "numpy"
    for entry in _entries(body, base, known, numpy=numpy):
        said = _read_entry(entry, numpy=numpy) if _is_start(entry[0], base, known) else None
        if said is None:
            left += entry
            continue
        about, text = said
        for name in about:
            words[name] = f"{words[name]} {text}" if words.get(name) else text
        if not about <= known:
            left += entry
    return [*title, *left, ""] if any(line.strip() for line in left) else [""]


def _entries(body: list[str], base: int, known: AbstractSet[str], *, numpy: bool) -> Iterator[list[str]]:
    """Split the lines of a section: each entry begins with a name, and goes on until the next one does."""
    entry: list[str] = []
    for line in body:
        if entry and (_is_start(line, base, known) or _is_foreign(line, base, numpy=numpy)):
            yield entry
            entry = []
        entry.append(line)
    if entry:
        yield entry


def _is_start(line: str, base: int, known: AbstractSet[str]) -> bool:
    """Return whether a line begins an entry: one of a parameter that there is, at no more than the section's indent."""
    match = _ENTRY.match(line)
    if match is None or len(line) - len(line.lstrip()) > base:
        return False
    return not known.isdisjoint(_names_in(match["names"]))


def _is_foreign(line: str, base: int, *, numpy: bool) -> bool:
    """Return whether a line begins an entry of what is no parameter."""
    if len(line) - len(line.lstrip()) != base:
        return False
    match = _ENTRY.match(line)
    if match is None:
        return False
    return (match["after"] in (":", "(", "[") and ":" in line) or (numpy and not match["after"])


def _read_entry(entry: list[str], *, numpy: bool) -> tuple[set[str], str] | None:
    """Read the names and the words of an entry; None where there is no telling them apart."""
    text = "\n".join(entry)
    match = _ENTRY.match(text.partition("\n")[0])
    if match is None:
        return None
    names = _names_in(match["names"])
    rest = text[match.start("after") :]
    if numpy and rest.startswith(":"):
        below = rest[_end_of_type(rest) :]
        is_typed = text[match.start("after") - 1].isspace() or below.startswith("\n ")
        words = " ".join(below.split()) if is_typed else " ".join(rest[1:].split())
        return names, words or _instead_of_type(rest)
    if rest[:1] in ("(", "["):
        rest = rest[_end_of_brackets(rest) :]
    separator = _SEPARATOR.match(rest)
    return (names, " ".join(rest[separator.end() :].split())) if separator else None


def _end_of_brackets(text: str) -> int:
    """Find the end of the bracket that a text begins with; of one that never ends, that of the line."""
    depth = 0
    for index, char in enumerate(text):
        depth += (char in "([{") - (char in ")]}")
        if depth == 0:
            return index + 1
    return len(text.partition("\n")[0])


def _end_of_type(text: str) -> int:
    """Find the end of NumPy's `: type`: that of the line, or of the one on which its last bracket is closed."""
    depth = 0
    for index, char in enumerate(text):
        depth += (char in "([{") - (char in ")]}")
        if char == "\n" and depth <= 0:
            return index
    return len(text.partition("\n")[0]) if depth > 0 else len(text)


def _instead_of_type(rest: str) -> str:
    """Return what stands where NumPy has ` : type`, if it is words instead."""
    said = " ".join(rest.lstrip(" :").split())
    return said if re.match(r"[A-Z]\w* [^\[\]|]*\Z", said) else ""


def _take_field(block: _Block, known: AbstractSet[str], words: dict[str, str]) -> list[str]:
    match = _FIELD["arguments"].match("\n".join(block.lines))
    name = match["about"].split()[-1].strip("*`") if match and match["about"].split() else ""
    if match is None or name not in known:
        return block.lines
    words[name] = " ".join(match["words"].split())
    return []


def _result(block: _Block) -> list[str]:
    """Write what is said of the result in one form; nothing where nothing is said."""
    if block.style == "field":
        match = _FIELD["result"].match("\n".join(block.lines))
        said = inspect.cleandoc(match["words"]) if match else ""
    else:
        body = block.lines[2 if block.style == "numpy" else 1 :]
        said = inspect.cleandoc("\n".join(["", *body]))
    if said.strip().rstrip(".").lower() in ("", "none", "nothing"):
        return [""]
    lines = said.splitlines()
    return (
        ["", f"Returns: {said}", ""]
        if len(lines) == 1
        else ["", "Returns:", *(f"    {x}" for x in lines), ""]
    )


def docstring_of(function: Any) -> str:
    """Return the docstring of what a person wrote, behind partials and wrappers; empty where there is none."""
    function = named_function(function)
    if isinstance(function, type):
        made_up = (function.__doc__ or "").startswith(f"{function.__name__}(")  # by dataclass or NamedTuple
        init = vars(function).get("__init__")
        return "\n\n".join(filter(None, ["" if made_up else _clean(function), _clean(init)]))
    if inspect.isroutine(function) or hasattr(function, "__wrapped__"):  # functools.cache makes no routine
        return inspect.getdoc(function) or ""
    return _clean(type(function).__call__) or _clean(type(function))


def _clean(thing: Any) -> str:
    return inspect.cleandoc(thing.__doc__ or "") if thing is not None else ""  # None has a docstring too
