"""A tool: a callable, how the model sees it, and how a run treats it."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, Protocol, TypedDict, TypeVar, overload

from typing_extensions import Unpack

from agentkit.errors import ToolDefinitionError
from agentkit.tooling.context import Context
from agentkit.tooling.docstrings import read_docstring
from agentkit.tooling.raw import RawSignature, wire_declaration
from agentkit.tooling.schema import CallSignature
from agentkit.tooling.signature import UnresolvedReference, place_of
from agentkit.wire.content import FunctionDeclaration, JsonObject, dumps

Effect = Literal["read", "write"]
Approval = bool | Callable[[JsonObject, Context[Any]], bool | str | None]
F = TypeVar("F", bound=Callable[..., Any])

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")  # rule 7
_MARK = "__agentkit_tool__"


class ToolOptions(TypedDict, total=False):
    """What may be said of a tool beside its code."""

    name: str
    """The name that the model calls; by default the function's."""
    description: str
    """What the model reads; by default the docstring without its sections."""
    effect: Effect
    """`write`: the tool changes something. Its calls run alone and in order. Default `read`."""
    approval: Approval
    """Whether a person must allow a call first, or a function of the args and the context that says so, or why."""
    timeout: float | None
    """Seconds that a call may take. None, the default: what the agent says."""
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


class Binder(Protocol):
    """The way from a call's args to the arguments of a function."""

    def bind(self, args: JsonObject, context: Context[Any]) -> tuple[list[Any], dict[str, Any]]:
        """Give positional and keyword arguments, or raise InvalidArguments."""
        ...


@dataclass(frozen=True, eq=False, kw_only=True)
class Tool:
    """A callable that a model may call. Make one with `Tool.of` or `Tool.from_declaration`."""

    name: str
    """The name that the model calls."""
    description: str
    """What the model reads of it; may be empty."""
    function: Callable[..., Any] = field(repr=False)
    """What runs. The tool, called, calls it."""
    declaration: FunctionDeclaration = field(repr=False)
    """What goes to the model, wire JSON."""
    binder: Binder = field(repr=False)
    """Validates a call's args."""
    effect: Effect = "read"
    """`write`: calls of it run alone and in order."""
    approval: Approval = False
    """Whether a person must allow a call, or a function of its args and context that tells."""
    timeout: float | None = None
    """Seconds that a call may take; None: the agent's default."""
    retries: int = 2
    """Failures in a row after which the next one is final: the model is told to stop."""
    tags: frozenset[str] = frozenset()
    """Words to select it by."""
    untrusted: bool = False
    """Whether what it returns may be the words of a stranger."""
    sensitive: bool = False
    """Whether its calls need approval once untrusted words are in the history."""
    on_demand: bool = False
    """Whether the model must find it with `find_tools` before it may call it."""
    is_async: bool = False
    """Whether the function gives an awaitable."""

    def __post_init__(self) -> None:
        problem = _problem_of(self)
        if problem:
            raise ToolDefinitionError(f"{place_of(self.function)}: {problem}")

    @classmethod
    def of(cls, source: Callable[..., Any] | Tool, /, **options: Unpack[ToolOptions]) -> Tool:
        """Make a tool of a callable, or a changed copy of a tool.

        Options given here win over those given to `@tool`.

        Raises:
            ToolDefinitionError: It can't be declared: the message names the parameter, the reason and the mend.
        """
        if isinstance(source, Tool):
            return source.replace(**options)
        if not callable(source):
            raise ToolDefinitionError(
                f"{source!r:.200} can't be a tool: it is not callable. Give a function."
            )
        mark = getattr(source, _MARK, _Mark({}))
        if mark.tool is not None and mark.tool.function is source:  # functools.wraps copies the mark
            return mark.tool.replace(**options)
        merged: ToolOptions = {**mark.options, **options}
        _check_options(source, merged)
        doc = read_docstring(source)
        signature = CallSignature(source, doc.parameters)
        name = merged.pop("name", None) or _name_of(source)
        description = merged.pop("description", None)
        description = doc.description if description is None else description
        declaration: FunctionDeclaration = {"name": name}
        if description:
            declaration["description"] = description
        if signature.schema is not None:
            declaration["parametersJsonSchema"] = signature.schema
        return cls(
            name=name,
            description=description,
            function=source,
            declaration=declaration,
            binder=signature,
            is_async=_is_async(source),
            **_as_fields(merged),
        )

    @classmethod
    def from_declaration(
        cls, declaration: Any, handler: Callable[..., Any], /, **options: Unpack[ToolOptions]
    ) -> Tool:
        """Make a tool of a raw function declaration and the callable that handles its calls.

        The declaration is a dict in either casing or a `google.genai.types.FunctionDeclaration`; its schema
        goes to the model unchanged. Of the arguments, only the names are checked (required, unknown); they go
        to the handler as keywords, and a parameter annotated with `Context` gets the context.

        Raises:
            ToolDefinitionError: It is no function declaration, or the handler isn't callable.
        """
        wire = wire_declaration(declaration)
        if not callable(handler):
            raise ToolDefinitionError(f"The handler of {wire['name']!r} is not callable: {handler!r:.200}.")
        _check_options(handler, options)
        made = cls(
            name=wire["name"],
            description=wire.get("description", ""),
            function=handler,
            declaration=wire,
            binder=RawSignature(wire, handler),
            is_async=_is_async(handler),
        )
        return made.replace(**options) if options else made

    def replace(self, **options: Unpack[ToolOptions]) -> Tool:
        """Make a copy with other options."""
        _check_options(self.function, options)
        declaration = self.declaration
        if "name" in options:
            declaration = {**declaration, "name": options["name"]}
        if "description" in options:
            declaration = {**declaration, "description": options["description"]}
        return dataclasses.replace(self, declaration=declaration, **_as_fields(options))

    def bind(self, args: JsonObject, context: Context[Any]) -> Callable[[], Any]:
        """Validate the args of a call and give back the call, ready to be made.

        Calling it runs the function; of an async function it gives the coroutine.

        Raises:
            InvalidArguments: Some don't fit; all of them are listed.
        """
        positional, keywords = self.binder.bind(args, context)
        return functools.partial(self.function, *positional, **keywords)

    @functools.cached_property
    def encoded(self) -> bytes:
        """The declaration as JSON, encoded at the first use."""
        return dumps(self.declaration)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return self.function(*args, **kwargs)


@dataclass(slots=True)
class _Mark:
    """What `@tool` leaves on a function: its options, and the tool if it could be made already."""

    options: ToolOptions
    tool: Tool | None = None


@overload
def tool(function: F, /) -> F: ...


@overload
def tool(**options: Unpack[ToolOptions]) -> Callable[[F], F]: ...


def tool(function: Any = None, /, **options: Unpack[ToolOptions]) -> Any:
    """Say that a function is a tool, and how runs treat it: `@tool` or `@tool(effect="write", ...)`.

    The function stays what it is. What is said here holds where it is given to an agent or a registry, as a
    bound method too.

    Raises:
        ToolDefinitionError: It can't be declared. What can't be judged yet (a method without its object, a
            name that is defined later) is judged when the tool is registered.
    """
    if function is None:
        return functools.partial(tool, **options)
    if isinstance(function, (staticmethod, classmethod)):
        _mark(function.__func__, options)
    else:
        _mark(function, options)
    return function


def _mark(function: Any, options: ToolOptions) -> None:
    if not callable(function):
        raise ToolDefinitionError(
            f"@tool takes a function or options by name, e.g. @tool(name=...), not {function!r}."
        )
    _check_options(function, options)
    mark = _Mark(options)
    try:
        setattr(function, _MARK, mark)
    except AttributeError as error:
        raise ToolDefinitionError(
            f"{place_of(function)}: @tool can't mark it. Use Tool.of(...) or registry.add(...) with these options."
        ) from error
    in_class_body = "." in getattr(function, "__qualname__", "").rpartition("<locals>.")[2]
    if not in_class_body:
        with contextlib.suppress(UnresolvedReference):
            mark.tool = Tool.of(function)


def _check_options(source: Any, options: ToolOptions) -> None:
    unknown = options.keys() - ToolOptions.__annotations__.keys()
    if unknown:
        known = ", ".join(ToolOptions.__annotations__)
        raise ToolDefinitionError(
            f"{place_of(source)}: a tool has no option {min(unknown)!r}; it has: {known}."
        )
    if isinstance(options.get("tags"), str):
        raise ToolDefinitionError(f"{place_of(source)}: tags are several words: tags=[{options['tags']!r}].")


def _as_fields(options: ToolOptions) -> dict[str, Any]:
    fields: dict[str, Any] = dict(options)
    if "tags" in fields:
        fields["tags"] = frozenset(fields["tags"])
    return fields


def _problem_of(made: Any) -> str | None:
    if not isinstance(made.name, str) or not _NAME.fullmatch(made.name):
        return (
            f"{made.name!r} can't be a tool's name. Give name=: a letter or _, then letters, digits and _.:-,"
            " at most 128 characters."
        )
    if not isinstance(made.description, str):
        return f"description={made.description!r}: give a text."
    if made.effect not in ("read", "write"):
        return f'effect={made.effect!r}: give "read" or "write".'
    for flag in ("untrusted", "sensitive", "on_demand"):
        if not isinstance(getattr(made, flag), bool):
            return f"{flag}={getattr(made, flag)!r}: give True or False."
    if not isinstance(made.approval, bool) and not callable(made.approval):
        return f"approval={made.approval!r}: give True, False or a function of the args and the context."
    timeout = made.timeout
    if timeout is not None and not (_is_number(timeout) and 0 < timeout < math.inf):
        return f"timeout={timeout!r}: give seconds above 0, or None for the agent's default."
    if not isinstance(made.retries, int) or isinstance(made.retries, bool) or made.retries < 0:
        return f"retries={made.retries!r}: give a whole number from 0."
    if callable(made.approval) and _is_async(made.approval):
        return "approval is an async function, but nobody awaits it: give a plain one."
    code = _code_of(made.function)
    if any(map(inspect.isasyncgenfunction, code)):
        return "it is an async generator. Collect what it yields and return a list."
    if any(map(inspect.isgeneratorfunction, code)):
        return "it is a generator. Collect what it yields and return a list."
    if isinstance(getattr(made.function, "registry", None), MappingProxyType):
        return (
            "functools.singledispatch chooses by the type of an argument, which only its first function declares."
            " Write a function with a union of types around it."
        )
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _name_of(function: Any) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__name__", None) or type(function).__name__


def _is_async(function: Any) -> bool:
    return any(map(inspect.iscoroutinefunction, _code_of(function)))


def _code_of(function: Any) -> tuple[Any, Any]:
    while isinstance(function, functools.partial):
        function = function.func
    return function, type(function).__call__
