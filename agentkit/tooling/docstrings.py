"""What a docstring says to a model: the description, and a word on each parameter."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import docstring_parser


@dataclass(frozen=True, slots=True)
class Doc:
    """A docstring, taken apart."""

    description: str = ""
    """The text without the sections on arguments, results and errors."""
    parameters: dict[str, str] = field(default_factory=dict)


def read_docstring(function: Callable[..., Any]) -> Doc:
    """Read a callable's docstring: Google, NumPy, reST or Epydoc style, or plain text."""
    text = _docstring_of(function)
    if not text:
        return Doc()
    try:
        parsed = docstring_parser.parse(text)
    except docstring_parser.ParseError:
        return Doc(text)
    gap = "\n\n" if parsed.blank_after_short_description else "\n"
    description = gap.join(filter(None, [parsed.short_description, parsed.long_description]))
    parameters = {}
    for entry in parsed.params:
        words = " ".join((entry.description or "").split())
        for name in entry.arg_name.split(","):  # NumPy: "x, y : int"
            if words:
                parameters[name.strip().lstrip("*")] = words
    return Doc(description.strip(), parameters)


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
