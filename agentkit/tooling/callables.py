"""What is inside of a callable: what a person wrote, and what gives it its name."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Iterator
from typing import Any


def place_of(function: Any) -> str:
    """Name a callable as `module:qualname`, or as the object that it is a method of wants it, for errors."""
    if (own := getattr(getattr(function, "__self__", None), "__agentkit_place__", None)) is not None:
        return str(own)
    inner = plain_function(function)
    name = getattr(inner, "__qualname__", None) or type(inner).__qualname__
    module = getattr(inner, "__module__", None) or type(inner).__module__
    return f"{module}:{name}"


def plain_function(function: Any) -> Any:
    """Find what a person wrote: behind partials, methods, callable objects and `functools.wraps`."""
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif isinstance(function, (types.MethodType, staticmethod, classmethod)):
            function = function.__func__
        elif hasattr(function, "__wrapped__") and not isinstance(function, type):
            function = function.__wrapped__
        elif isinstance(function, type) or inspect.isroutine(function) or not callable(function):
            return function
        else:
            function = type(function).__call__


def chain_of(function: Any) -> Iterator[Any]:
    """Go from a callable to what is inside: through partials, and wrappers that say what they wrap.

    A wrapper that has a signature of its own is the end: what it wraps is its own affair.
    """
    while True:
        yield function
        if isinstance(function, functools.partial):
            function = function.func
        elif hasattr(function, "__wrapped__") and not hasattr(function, "__signature__"):
            function = function.__wrapped__
        else:
            return


def named_function(function: Any) -> Any:
    """Find what gives a callable its name and its words: behind partials, and wrappers of what has no name.

    `functools.wraps` copies the name and the docstring of a function; a partial and a callable object have none.
    """
    named = function
    for inner in chain_of(function):
        if isinstance(named, functools.partial) or not hasattr(inner, "__name__"):
            named = inner
    return named


def bound_keywords(function: Callable[..., Any]) -> frozenset[str]:
    """Name the keywords that partials have bound, wrapped ones too: no caller may change them."""
    partials = (each for each in chain_of(function) if isinstance(each, functools.partial))
    return frozenset(name for each in partials for name in each.keywords)


def is_async(function: Any) -> bool:
    """Return whether a callable gives something to await."""
    return any(map(inspect.iscoroutinefunction, code_of(function)))


def code_of(function: Any) -> tuple[Any, Any]:
    """Return what may be the code of a callable: itself, and its class's `__call__`."""
    while isinstance(function, functools.partial):
        function = function.func
    return function, type(function).__call__
