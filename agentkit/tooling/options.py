"""What may be said of a tool beside its code, and what of it makes no sense."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypedDict

from agentkit.errors import ToolDefinitionError
from agentkit.tooling.callables import is_async, place_of
from agentkit.tooling.context import Context
from agentkit.wire.arguments import takes
from agentkit.wire.content import JsonObject

Effect = Literal["read", "write"]
Approval = bool | Callable[[JsonObject, Context[Any]], bool | str | None]

_TOOL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")  # rule 7
_BY_CODE = ("name", "description")
"""What the code says where these are None."""
_FLAGS = ("untrusted", "sensitive", "on_demand", "polls", "interactive", "loads")


class ToolOptions(TypedDict, total=False):
    """What may be said of a tool beside its code."""

    name: str
    """The name that the model calls; by default the function's."""
    description: str
    """What the model reads; by default the docstring without its sections."""
    effect: Effect | None
    """`read`: it changes nothing, so its calls may run side by side, and again. `write`: it changes something. Default
    None: nobody said."""
    approval: Approval
    """Whether a person must allow a call first, or a function of the args and the context that says so, or why."""
    timeout: float | None
    """Seconds that a call may take; `math.inf`: as long as it likes. None, the default: what the agent says."""
    retries: int
    """Failures in a row (bad arguments, `ToolRetry`) after which the next one is final. Default 2."""
    tags: Iterable[str]
    """Words to select tools by."""
    untrusted: bool
    """Whether what it returns may be the words of a stranger: web pages, mails, files. Default False."""
    sensitive: bool
    """Whether its calls need a person's approval once untrusted words are in the history; `write` tools' do anyway."""
    on_demand: bool
    """Whether the model must find it with `find_tools` before it may call it. Default False: it is always declared."""
    polls: bool
    """Whether it is called again and again with the same arguments, as a status is asked for: such calls don't count as
    repeats. Default False."""
    interactive: bool
    """Whether it asks a person at the terminal, as with `input()`: it is called in the thread of the run's caller,
    alone, without a limit of time. Default False."""
    loads: bool
    """Whether its results load tools on demand, as those of `find_tools` do: the tools that they name, as
    `{"tools": ["name", ...]}`, are declared from then on. Default False."""


def check_options(source: Any, options: ToolOptions) -> None:
    """Refuse options that there are not, and values that make no sense.

    Raises:
        ToolDefinitionError: The message names the callable, the option and what to give.
    """
    unknown = options.keys() - ToolOptions.__annotations__.keys()
    if unknown:
        name, known = min(unknown), list(ToolOptions.__annotations__)
        near = [each for each in known if each in name] or difflib.get_close_matches(name, known, 1)
        told = f" Did you mean {near[0]}=?" if near else ""
        raise ToolDefinitionError(
            f"{place_of(source)}: a tool has no option {name!r}.{told} There are: {', '.join(known)}."
        )
    given = {name: value for name, value in options.items() if value is not None or name not in _BY_CODE}
    if problem := problem_of(given):
        raise ToolDefinitionError(f"{place_of(source)}: {problem}")


def problem_of(options: Mapping[str, Any]) -> str | None:
    """Say what is wrong with the values of options, or None."""
    for name, value in options.items():
        if problem := _problem(name, value):
            return problem
    if options.get("interactive") and options.get("timeout") is not None:
        return "interactive=True: a person takes the time that it takes; leave out timeout."
    return None


def _problem(name: str, value: Any) -> str | None:
    if name == "name" and not (isinstance(value, str) and _TOOL_NAME.fullmatch(value)):
        return (
            f"{value!r} can't be a tool's name. Give name=: a letter or _, then letters, digits and _.:-,"
            " at most 128 characters."
        )
    if name == "description" and not isinstance(value, str):
        return f"{name}={value!r}: give a text."
    if name == "effect" and value not in (None, "read", "write"):
        return f'{name}={value!r}: give "read" or "write".'
    if name in _FLAGS and not isinstance(value, bool):
        return f"{name}={value!r}: give True or False."
    if name == "timeout" and value is not None and not (_is_number(value) and value > 0):
        return f"{name}={value!r}: give seconds above 0, math.inf, or None for the agent's default."
    if name == "retries" and not (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return f"{name}={value!r}: give a whole number, 0 or more."
    if name == "tags" and isinstance(value, str):
        return f"tags are several words: tags=[{value!r}]."
    if name == "tags" and (not isinstance(value, Iterable) or isinstance(value, type)):
        return f"{name}={value!r}: give a list of words."
    return _problem_of_approval(value) if name == "approval" else None


def _problem_of_approval(value: Any) -> str | None:
    if not isinstance(value, bool) and not (callable(value) and takes(value, 2)):
        return f"approval={value!r}: give True, False or a function of the args and the context."
    if callable(value) and is_async(value):
        return "approval is an async function, but nobody awaits it: give a plain one."
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
