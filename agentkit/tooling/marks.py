"""What `@tool` leaves on a callable, to be found where it is made a tool."""

from __future__ import annotations

import functools
import types
from dataclasses import dataclass
from typing import Any

from agentkit.errors import ToolDefinitionError
from agentkit.tooling.callables import place_of
from agentkit.tooling.options import ToolOptions

_MARK = "__agentkit_tool__"


@dataclass(slots=True)
class Mark:
    """The options, and the tool if it could be made already."""

    options: ToolOptions
    tool: Any = None
    """A `Tool`."""


def mark_of(function: Any) -> Mark | None:
    """Find the mark of a callable: its own, not that of its class or of a base class."""
    if isinstance(function, type):
        return vars(function).get(_MARK)
    mark: Mark | None = getattr(function, _MARK, None)
    return None if mark is not None and mark is getattr(type(function), _MARK, None) else mark


def marked(function: Any, mark: Mark, *, copied: bool) -> Any:
    """Leave a mark on a callable or, so that it stays as it is, on a copy.

    Of what can't be copied (a class, a callable object, what `functools.cache` makes) there is only one.

    Raises:
        ToolDefinitionError: It can't be marked.
    """
    function = _copy(function) if copied else function
    try:
        setattr(function, _MARK, mark)
    except (AttributeError, TypeError) as error:
        raise ToolDefinitionError(
            f"{place_of(function)}: @tool can't mark it. Use Tool.of(...) or registry.add(...) with these options."
        ) from error
    return function


def restore(function: Any, mark: Mark | None) -> None:
    """Give a callable the mark that it had, if any."""
    if mark is None:
        delattr(function, _MARK)
    else:
        setattr(function, _MARK, mark)


def _copy(function: Any) -> Any:
    if isinstance(function, functools.partial):
        same = type(function)(function.func, *function.args, **function.keywords)
        vars(same).update(vars(function))
        return same
    if not isinstance(function, types.FunctionType):
        return function
    made = types.FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    made.__kwdefaults__ = function.__kwdefaults__
    for name in ("__qualname__", "__module__", "__doc__", "__type_params__"):
        if hasattr(function, name):
            setattr(made, name, getattr(function, name))
    # From Python 3.14 on annotations are made when they are asked for: not now.
    lazy = "__annotate__" if hasattr(function, "__annotate__") else "__annotations__"
    setattr(made, lazy, getattr(function, lazy))
    vars(made).update(vars(function))
    return made


def is_in_class_body(function: Any) -> bool:
    """Return whether a function is being defined in a class, whose object is not there yet."""
    return "." in getattr(function, "__qualname__", "").rpartition("<locals>.")[2]
