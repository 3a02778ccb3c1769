"""What Python knows of a callable: its parameters with their types resolved, whatever kind of callable it is."""

from __future__ import annotations

import functools
import inspect
import sys
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin

from agentkit.errors import ToolDefinitionError
from agentkit.tooling.context import Context

Kind = inspect._ParameterKind


class UnresolvedReference(ToolDefinitionError):
    """An annotation names what isn't defined, or not yet."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter with its annotation resolved."""

    name: str
    kind: Kind
    annotation: Any
    default: Any
    """`inspect.Parameter.empty` where there is none."""
    is_context: bool
    """Whether the parameter takes the run's `Context`, which the model doesn't see."""


def place_of(function: Any) -> str:
    """Name a callable as `module:qualname`, for errors."""
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


def read_signature(function: Callable[..., Any]) -> tuple[list[Parameter], dict[str, Any]]:
    """List the parameters that a caller of `function` may give, and the local names that its types may use.

    What a partial has bound is left out.

    Raises:
        UnresolvedReference: An annotation can't be resolved (yet).
        ToolDefinitionError: Python can't tell the signature, or a parameter isn't annotated.
    """
    place = place_of(function)
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError) as error:
        raise ToolDefinitionError(
            f"{place}: Python can't tell its signature ({error}). Write a small annotated function around it."
        ) from error
    except NameError as error:  # Python 3.14 resolves annotations when they are asked for
        raise UnresolvedReference(f"{place}: an annotation can't be resolved: {error}.") from error
    bound = bound_keywords(function)
    scope = _Scope(function)
    parameters = []
    for p in signature.parameters.values():
        if p.name not in bound:
            annotation = scope.resolve(place, p)
            parameters.append(Parameter(p.name, p.kind, annotation, p.default, is_context(annotation)))
    return parameters, scope.names


def bound_keywords(function: Callable[..., Any]) -> frozenset[str]:
    """Name the keywords that a partial has bound: no caller may change them."""
    return frozenset(function.keywords) if isinstance(function, functools.partial) else frozenset()


def context_parameters(function: Callable[..., Any]) -> list[str]:
    """Name the parameters of `function` that take a `Context`; anything else about it doesn't matter."""
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError, NameError):
        return []
    scope = _Scope(function)
    return [p.name for p in signature.parameters.values() if is_context(scope.try_resolve(p.annotation))]


def is_context(annotation: Any) -> bool:
    """Tell whether an annotation is `Context`, alone, parametrised, Annotated or optional."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return is_context(get_args(annotation)[0])
    if origin is Union or origin is types.UnionType:
        members = [arg for arg in get_args(annotation) if arg is not type(None)]
        return len(members) == 1 and is_context(members[0])
    target = origin or annotation
    if hasattr(target, "__value__"):  # `type X = ...`
        return is_context(target.__value__)
    return isinstance(target, type) and issubclass(target, Context)


class _Scope:
    """Where the names in a function's annotations are looked up; `names` are the local ones."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._inner = plain_function(function)
        self._globals = _globals_of(self._inner)
        self.names = {**_enclosing_locals(self._inner), **_closure_of(self._inner)}
        self.names.update({p.__name__: p for p in getattr(self._inner, "__type_params__", ())})
        owner = getattr(function, "__self__", None)
        self._owner: Mapping[str, Any] = vars(owner if isinstance(owner, type) else type(owner))

    def resolve(self, place: str, parameter: inspect.Parameter) -> Any:
        """Evaluate a parameter's annotation, at any depth."""
        annotation = parameter.annotation
        if annotation is inspect.Parameter.empty:
            return self._unannotated(place, parameter)
        try:
            return self._evaluate(annotation)
        except NameError as error:
            raise UnresolvedReference(
                f"{place}: the type of parameter {parameter.name!r}, {annotation!r}, can't be resolved: {error}."
                " Import or define the name where the tool is defined, before the tool is registered"
                " (not only under TYPE_CHECKING)."
            ) from error
        except Exception as error:
            raise ToolDefinitionError(
                f"{place}: the annotation of parameter {parameter.name!r}, {annotation!r}, is no type: {error}"
                " Annotate it with a type."
            ) from error

    def try_resolve(self, annotation: Any) -> Any:
        """Evaluate an annotation, or give back None."""
        try:
            return self._evaluate(annotation)
        except Exception:
            return None

    def _evaluate(self, annotation: Any) -> Any:
        # get_type_hints is the one public way to resolve what is nested as well (`list["Node"]`).
        holder: Any = types.SimpleNamespace(__annotations__={"it": annotation})
        try:
            return typing.get_type_hints(holder, self._globals, self.names, include_extras=True)["it"]
        except NameError:
            names = {**self._owner, **self.names}
            return typing.get_type_hints(holder, self._globals, names, include_extras=True)["it"]

    def _unannotated(self, place: str, parameter: inspect.Parameter) -> Any:
        if getattr(self._inner, "__name__", "") == "<lambda>":
            return Any  # a lambda can't be annotated
        name = parameter.name
        if name in ("self", "cls"):
            mend = "Give the bound method, obj.method, instead of the function in the class."
        elif parameter.kind in (Kind.VAR_POSITIONAL, Kind.VAR_KEYWORD):
            stars = "*" if parameter.kind is Kind.VAR_POSITIONAL else "**"
            mend = f"Annotate it, e.g. `{stars}{name}: str`; if it is a decorator's wrapper, use functools.wraps."
        else:
            mend = f"Annotate it, e.g. `{name}: str`."
        raise ToolDefinitionError(f"{place}: parameter {name!r} has no type. {mend}")


def _globals_of(function: Any) -> dict[str, Any]:
    if isinstance(function, types.FunctionType):
        return function.__globals__
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    return vars(module) if module else {}


def _closure_of(function: Any) -> dict[str, Any]:
    code, cells = getattr(function, "__code__", None), getattr(function, "__closure__", None)
    names = {}
    for name, cell in zip(code.co_freevars if code else (), cells or (), strict=False):
        try:
            names[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    return names


def _enclosing_locals(function: Any) -> dict[str, Any]:
    """Collect the names of the functions around a local one, as far as these are still running.

    With `from __future__ import annotations` a local class that only annotations name is in no closure.
    """
    path = getattr(function, "__qualname__", "").split(".<locals>.")[:-1]
    around = [".<locals>.".join(path[: depth + 1]) for depth in range(len(path))]
    names: dict[str, Any] = {}
    frame = sys._getframe() if around else None
    while frame is not None:
        if frame.f_code.co_qualname in around and frame.f_globals is _globals_of(function):
            names = {**frame.f_locals, **names}  # inner frames come first and win
        frame = frame.f_back
    return names
