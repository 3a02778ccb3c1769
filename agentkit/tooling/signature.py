"""What Python knows of a callable: its parameters with their types resolved, whatever kind of callable it is."""

from __future__ import annotations

import builtins
import contextlib
import inspect
import logging
import sys
import types
import typing
from collections import ChainMap
from collections.abc import Callable, Mapping
from dataclasses import InitVar, dataclass
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from agentkit.errors import ToolDefinitionError
from agentkit.tooling.callables import bound_keywords, chain_of, place_of, plain_function
from agentkit.tooling.context import Context

Kind = inspect._ParameterKind
_STARS = (Kind.VAR_POSITIONAL, Kind.VAR_KEYWORD)

_log = logging.getLogger("agentkit")


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


@dataclass(frozen=True, slots=True)
class Signature:
    """What is known of a callable's parameters."""

    parameters: list[Parameter]
    """Those that a caller may give: what a partial has bound is left out."""
    every: set[str]
    """The names of all parameters of what a person wrote, bound ones too."""
    bound: frozenset[str]
    """The names of those that partials have bound."""
    names: dict[str, Any]
    """The local names that the types may use."""


def read_signature(function: Callable[..., Any]) -> Signature:
    """Read the parameters of a callable, with their types resolved.

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
        if p.kind in _STARS and p.annotation is p.empty and not scope.of_lambda:
            _log.warning(
                "%s: %s has no type, so the model isn't told of it. Annotate it where it should be; a decorator's"
                " wrapper uses functools.wraps.",
                place,
                p,
            )
        elif p.name not in bound:
            annotation = scope.resolve(place, p)
            parameters.append(Parameter(p.name, p.kind, annotation, p.default, is_context(annotation)))
    every = set(signature.parameters)
    if (inner := plain_function(function)) is not function:
        with contextlib.suppress(ValueError, TypeError, NameError):
            every |= inspect.signature(inner).parameters.keys()
    return Signature(parameters, every, bound, scope.names)


def context_parameters(function: Callable[..., Any]) -> tuple[int, list[str]]:
    """Find the parameters of `function` that take a `Context`: how many by position alone, and the names of others.

    Anything else about it doesn't matter.
    """
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError, NameError):
        return 0, []
    scope = _Scope(function)
    found = [p for p in signature.parameters.values() if is_context(scope.try_resolve(p.annotation))]
    by_position = [p for p in found if p.kind is Kind.POSITIONAL_ONLY]
    return len(by_position), [p.name for p in found if p.kind is not Kind.POSITIONAL_ONLY]


def is_context(annotation: Any) -> bool:
    """Return whether an annotation is `Context`, alone, parametrised, Annotated or optional."""
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
        self.of_lambda = getattr(self._inner, "__name__", "") == "<lambda>"
        """Whether nothing can be annotated."""
        self._globals = _globals_of(self._inner)
        around = _enclosing_locals(self._inner)
        self.names = {**around, **_closure_of(self._inner)}
        self.names |= _types_of_class(_owner_of(function, self._inner, ChainMap(around, self._globals)))
        self.names |= {p.__name__: p for p in getattr(self._inner, "__type_params__", ())}
        self._all = ChainMap(self.names, self._globals, vars(builtins))

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
                f"{place}: the annotation of parameter {parameter.name!r}, {annotation!r}, isn't a type: {error}"
                " Annotate it with a type."
            ) from error

    def try_resolve(self, annotation: Any) -> Any:
        """Evaluate an annotation, or give back None."""
        try:
            return self._evaluate(annotation)
        except Exception:
            return None

    def _evaluate(self, annotation: Any) -> Any:
        named = self._all.get(annotation) if isinstance(annotation, str) else annotation
        if type(named) is type:  # as most are
            return named
        # get_type_hints is the one public way to resolve what is nested as well (`list["Node"]`).
        holder: Any = types.SimpleNamespace(__annotations__={"it": annotation})
        found = typing.get_type_hints(holder, self._globals, self.names, include_extras=True)["it"]
        return found.type if isinstance(found, InitVar) else found

    def _unannotated(self, place: str, parameter: inspect.Parameter) -> Any:
        if self.of_lambda:
            return Any
        name = parameter.name
        if name in ("self", "cls"):
            mend = "Give the bound method, obj.method, instead of the function in the class."
        else:
            mend = f"Annotate it, e.g. `{name}: str`."
        raise ToolDefinitionError(f"{place}: parameter {name!r} has no type. {mend}")


def _globals_of(function: Any) -> dict[str, Any]:
    if isinstance(function, types.FunctionType):
        return function.__globals__
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    return vars(module) if module else {}


def _owner_of(function: Any, inner: Any, names: Mapping[str, Any]) -> Any:
    """Find the class in whose body a function was written: that of a method's object, or the one its path names."""
    if isinstance(inner, type):
        return inner
    for each in chain_of(function):
        if inspect.ismethod(each):
            return each.__self__ if isinstance(each.__self__, type) else type(each.__self__)
    if not inspect.isroutine(each) and not isinstance(each, type):
        return type(each)
    path = getattr(inner, "__qualname__", "").rpartition("<locals>.")[2].split(".")[:-1]
    owner = names.get(path[0]) if path else None
    for name in path[1:]:
        owner = getattr(owner, name, None)
    return owner


def _types_of_class(owner: Any) -> dict[str, Any]:
    """Collect the types in the body of a class and its bases: annotations in there may name them."""
    if not isinstance(owner, type):
        return {}
    scopes = [vars(each) for each in reversed(owner.__mro__) if each is not object]
    return {
        name: value
        for scope in scopes
        for name, value in scope.items()
        if not name.startswith("__") and (isinstance(value, (type, TypeVar)) or _is_alias(value))
    }


def _is_alias(value: Any) -> bool:
    return get_origin(value) is not None or hasattr(value, "__value__") or hasattr(value, "__supertype__")


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
