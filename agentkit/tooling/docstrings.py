"""What a docstring says to a model: the description, and a word on each parameter.

The library docstring-parser tells names, types and words apart. It gives up on a whole docstring for one line that it
can't read, and doesn't say where in the text it found what. So the sections are found here, and the lines on
parameters are handed to it in the form that it reads; all others stay where they are.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import reduce
from itertools import takewhile
from textwrap import indent
from typing import Any

from agentkit.tooling.callables import named_function

_ARGUMENTS = r"(?:Keyword |Other )?(?:Arg(?:ument)?|Param(?:eter)?)s?|Attr(?:ibute)?s?|ivar|key|keyword|kwarg"
_RESULT = r"Returns?|Yields?"
_TITLES = rf"{_ARGUMENTS}|{_RESULT}|Raises?|Exceptions|Except|Warns|Receives?"
_FIELDS = rf"{_TITLES}|Exception|[ry]?type"
_RULE = r"\n-{3,}$"
_BEGIN = rf"(?:{_TITLES})[ ]*:$|.+{_RULE}|[:@](?:{_FIELDS})\b[^:\n]*:"
_SECTION = re.compile(
    rf"^(?P<google>{_TITLES})[ ]*:$(?P<below>(?:\n(?:[ \t].*)?$)*)"  # to the end of the indentation
    rf"|^(?P<numpy>{_TITLES}){_RULE}(?P<under>(?:\n(?!{_BEGIN}).*$)*)"  # to the next section
    rf"|^[:@](?P<field>{_FIELDS})\b(?P<about>[^:\n]*):(?P<behind>.*(?:\n(?!{_BEGIN}).+|\n+[ \t].+)*)",
    re.M | re.I,
)
_GOOGLE = re.compile(rf"(?:(?P<arguments>{_ARGUMENTS})|{_TITLES})[ ]*:", re.I)

_MARKS = r"[`*'\"]*"
_NAMES = rf"(?:[-+*•]\s+)?{_MARKS}(?P<names>\w+(?:{_MARKS}\s*,\s*{_MARKS}\w+)*){_MARKS}"
_TYPE = reduce(lambda inner, _: rf"[(\[{{](?:[^()\[\]{{}}]|{inner})*+[)\]}}]", range(5), r"(?!)")
_LONG_TYPE = re.compile(rf"^[ \t]*{_NAMES}[ :]*{_TYPE}", re.M)
_ENTRY = re.compile(
    rf"\s*{_NAMES}(?P<gap>\s*)(?P<type>{_TYPE}|\([^)]*\))?\s*"
    r"(?P<mark>:|[-–—]+(?=\s)|$|(?<=[)\]])[. ])\s*(?P<words>.*)"
)
"""A line that may begin a word on a parameter: its name, a type perhaps, and a colon, a dash or nothing behind it."""


@dataclass(frozen=True, slots=True)
class Doc:
    """A docstring, taken apart."""

    description: str = ""
    """The text, what it says of the result, and words on what isn't a parameter."""
    parameters: dict[str, str] = field(default_factory=dict)


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
    words: dict[str, str] = {}
    known = {*names, *hidden}

    def take(section: re.Match[str]) -> str:
        title = section["google"] or section["numpy"] or section["field"]
        if re.fullmatch(_RESULT, title, re.I):
            return _result(section)
        return _take(section, known, words) if re.fullmatch(_ARGUMENTS, title, re.I) else "\n"

    kept = _SECTION.sub(take, "\n".join(_indented([line.rstrip() for line in text.splitlines()], known)))
    description = re.sub(r"\n{3,}", "\n\n", kept).strip()
    return Doc(description, {name: said for name, said in words.items() if name in names and said})


def _indented(lines: list[str], known: AbstractSet[str]) -> list[str]:
    """Indent what belongs to a section in Google style: a body that isn't indented, a line that slipped."""
    done: list[str] = []
    inside = flat = False
    for index, line in enumerate(lines):
        title, at_margin = _GOOGLE.fullmatch(line), bool(line[:1].strip())
        if title:
            inside, flat = True, _is_flat(lines[index + 1 :], known if title["arguments"] else None)
        elif inside and at_margin and done[-1]:
            inside = flat or _goes_on(lines[index + 1 :], known)
        elif inside and at_margin:
            inside = flat and _is_entry(line, known)
        done.append(f"    {line}" if inside and line and not title and (flat or at_margin) else line)
    return done


def _is_flat(body: list[str], known: AbstractSet[str] | None) -> bool:
    """Return whether a section's body isn't indented; that of one on parameters begins with one of those known."""
    first = next(filter(None, body), "")
    return bool(first[:1].strip()) and (bool(body[0]) if known is None else _is_entry(first, known))


def _goes_on(below: list[str], known: AbstractSet[str]) -> bool:
    """Return whether there is more of a section right below a line that isn't indented."""
    paragraph = takewhile(lambda line: line and not _GOOGLE.fullmatch(line), below)
    return any(line[:1].isspace() and _is_entry(line, known) for line in paragraph)


def _is_entry(line: str, known: AbstractSet[str]) -> bool:
    match = _ENTRY.match(line)
    return match is not None and bool(match["mark"]) and not known.isdisjoint(_names_in(match))


def _names_in(match: re.Match[str]) -> set[str]:
    return set(re.findall(r"\w+", match["names"]))


def _take(section: re.Match[str], known: AbstractSet[str], words: dict[str, str]) -> str:
    """Take the words on parameters out of a section; return what of it is for none."""
    if section["field"]:
        about: str = section["about"]
        *of_type, name = about.replace("*", "").replace("`", "").split() or [""]
        if name not in known:
            return section[0]
        _read(f":param {''.join(of_type)} {name}:{indent(section['behind'], '    ')}", "REST", words)
        return ""
    numpy = bool(section["numpy"])
    body = section["under" if numpy else "below"]
    entries, left = _sort_out(body.removeprefix("\n"), known, numpy=numpy)
    if entries and numpy:
        _read("\n".join(["Parameters", "----------", *entries]), "NUMPYDOC", words)
    elif entries:
        _read("\n".join(["Args:", *entries]), "GOOGLE", words)
    return "\n".join([section[0].removesuffix(body), *left, "", ""]) if any(left) else "\n"


def _sort_out(body: str, known: AbstractSet[str], *, numpy: bool) -> tuple[list[str], list[str]]:
    """Write what is said of parameters in the form that the library reads; return that, and the other lines.

    A parameter's entry begins with its name, at no more than the section's indentation, and goes on until the next
    one does. One that is for other names too is for both.
    """
    # The library wants a type on one line.
    lines = _LONG_TYPE.sub(lambda match: re.sub(r"\s*\n\s*", " ", match[0]), body).splitlines()
    base = _indent_of(next(filter(None, lines), ""))
    entries: list[str] = []
    left: list[str] = []
    is_known, is_other = False, True  # whom the entry is for
    for line, below in zip(lines, [*lines[1:], ""], strict=False):
        match, depth = _ENTRY.fullmatch(line), _indent_of(line)
        named = _names_in(match) if match and depth <= base else set()
        if match and named & known:
            is_known, is_other = True, not named <= known
            entries.append(_entry(match, numpy=numpy, is_last=_indent_of(below) <= depth))
        elif match and depth == base and (match["mark"] == ":" or (numpy and not match["mark"])):
            is_known, is_other = False, True
        elif is_known:
            entries.append(f"        {line.strip()}")
        left += [line] if is_other else []
    return entries, left


def _entry(match: re.Match[str], *, numpy: bool, is_last: bool) -> str:
    """Write the first line of an entry as the library wants it in the section's style."""
    names = re.sub(r"[^\w,]", "", match["names"])
    if not numpy:
        of_type = f" ({match['type'][1:-1].replace(':', ' ')})" if match["type"] else ""
        return f"    {names}{of_type}: {match['words']}"
    may_be_typed = match["gap"] or not (is_last or _instead_of_type(match["words"]))
    is_typed = may_be_typed and match["mark"] == ":" and not match["type"]
    return f"{names} : {match['words']}" if is_typed else f"{names}\n    {match['words']}"


def _read(text: str, style: str, words: dict[str, str]) -> None:
    """Read a section that is about nothing but parameters."""
    from docstring_parser import DocstringStyle, parse  # no sooner than there is such a section

    # Behind an empty line: below a first one that has text, it would take the indentation away.
    for param in parse(f"\n{text}", DocstringStyle[style]).params:
        said = " ".join((param.description or _instead_of_type(param.type_name or "")).split())
        for name in re.findall(r"\w+", param.arg_name):
            words[name] = f"{words[name]} {said}" if words.get(name) else said


def _indent_of(line: str) -> int:
    return len(line) - len(line.lstrip())


def _instead_of_type(said: str) -> str:
    """Return what stands where NumPy has ` : type`, if it is words instead."""
    return said if re.match(r"[A-Z]\w* [^\[\]|]*\Z", said) else ""


def _result(section: re.Match[str]) -> str:
    """Write what is said of the result in one form; nothing where nothing is said."""
    said = inspect.cleandoc(section["behind"] or section["below"] or section["under"] or "")
    if said.rstrip(".").lower() in ("", "none", "nothing"):
        return "\n"
    said = "\n" + indent(said, "    ") if "\n" in said else f" {said}"
    return f"\nReturns:{said}\n\n"


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
