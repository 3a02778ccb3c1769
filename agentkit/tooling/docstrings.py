"""What a docstring says to a model: the description, and a word on each parameter."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from docstring_parser import Docstring

_KEYWORDS = r"(Keyword Arg(ument)?s|Other Arg(ument)?s)"
_TITLES = (
    rf"({_KEYWORDS}|Arg(ument)?s|(Other )?Param(eter)?s|Attributes?|Returns?|Yields?|Receives?|Raises?|Exceptions|"
    r"Except|Warns)"
)
_GOOGLE = re.compile(rf"{_TITLES}:\s*")
_NUMPY = re.compile(rf"{_TITLES}\s*")
_LINE = re.compile(r"-{3,}\s*")
_FIELD = re.compile(
    r"(:|@)(param|parameter|arg|argument|attribute|key|keyword|type|returns?|rtype|yields?|ytype|raises?|except|"
    r"exception)\b[^:\n]*:"
)


@dataclass(frozen=True, slots=True)
class Doc:
    """A docstring, taken apart."""

    description: str = ""
    """The text without the sections on arguments, results and errors; notes, warnings and examples stay."""
    parameters: dict[str, str] = field(default_factory=dict)


def read_docstring(function: Callable[..., Any]) -> Doc:
    """Read a callable's docstring: Google, NumPy, reST or Epydoc style, or plain text."""
    text = _docstring_of(function)
    if not text:
        return Doc()
    kept: list[str] = []
    parameters: dict[str, str] = {}
    for is_section, block in _blocks(text):
        parsed = _parse(block) if is_section else None
        if parsed is None:
            kept.append(block)
            continue
        for entry in parsed.params:
            words = " ".join((entry.description or "").split())
            for name in entry.arg_name.split(","):  # NumPy: "x, y : int"
                if words:
                    parameters[name.strip().lstrip("*")] = words
    return Doc(re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip(), parameters)


def _parse(block: str) -> Docstring | None:
    """Parse a section; None if it can't be."""
    from docstring_parser import DocstringStyle, ParseError, parse  # no sooner than there is a section

    # In Google style the parser wants a summary first, and doesn't know the titles of keywords.
    text = "Summary.\n\n" + re.sub(rf"\A{_KEYWORDS}:", "Args:", block)
    styles = {":": DocstringStyle.REST, "@": DocstringStyle.EPYDOC}
    other = DocstringStyle.GOOGLE if _GOOGLE.match(block) else DocstringStyle.AUTO
    for style in (styles.get(block[0], other), DocstringStyle.AUTO):  # its own, then any
        with suppress(ParseError):
            return parse(text, style)
    return None


def _blocks(text: str) -> Iterator[tuple[bool, str]]:
    """Split a docstring into the sections that aren't for the description, and what is between them.

    A section ends where the indentation does, or in NumPy style where the next one begins.
    """
    lines = text.splitlines()
    block: list[str] = []
    section = ""
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        now = section
        if line and _LINE.fullmatch(below):
            now = "numpy" if _NUMPY.fullmatch(line) else ""
        elif _GOOGLE.fullmatch(line) or _FIELD.match(line):
            now = f"at {line}"
        elif section != "numpy" and line[:1].strip():
            now = ""
        if now != section:
            yield bool(section), "\n".join(block)
            block, section = [], now
        block.append(line)
    yield bool(section), "\n".join(block)


def _docstring_of(function: Any) -> str:
    while isinstance(function, partial):
        function = function.func  # a partial's own docstring is that of the class
    if isinstance(function, type):
        made_up = (function.__doc__ or "").startswith(f"{function.__name__}(")  # by dataclass or NamedTuple
        init = vars(function).get("__init__")
        return "\n\n".join(filter(None, ["" if made_up else _clean(function), _clean(init)]))
    if inspect.isroutine(function) or hasattr(function, "__wrapped__"):  # functools.cache makes no routine
        return inspect.getdoc(function) or ""
    return _clean(type(function).__call__) or _clean(type(function))


def _clean(thing: Any) -> str:
    return inspect.cleandoc(thing.__doc__ or "") if thing is not None else ""  # None has a docstring too
