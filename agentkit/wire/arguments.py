"""What public functions are given, checked at the door by their own annotations.

A wrong value, or a name that isn't there, is a `ConfigurationError` that says what was given, where, and what to
give: not an `AttributeError` from somewhere inside.
"""

from __future__ import annotations

import inspect
import os
import sys
import types
import typing
from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from dataclasses import is_dataclass
from functools import wraps
from importlib import import_module
from typing import Any, Final, Literal, NoReturn, TypeVar, Union, cast, get_args, get_origin

from typing_extensions import is_typeddict

from agentkit.errors import ConfigurationError

F = TypeVar("F", bound=Callable[..., Any])
_Test = Callable[[Any], bool]
_NO_DEFAULT: Final = inspect.Parameter.empty
_ANY: Final[tuple[_Test, str, Any]] = (lambda _: True, "", _NO_DEFAULT)

_BOUND: Final = ("self", "cls")

_HOMES: Final = {
    "AsyncChatManager": "agentkit.chats.async_manager",
    "Chat": "agentkit.chats.chat",
    "AsyncChat": "agentkit.chats.chat",
    "Agent": "agentkit.agent",
    "SessionStore": "agentkit.stores.store",
    "RunOptions": "agentkit.core.options",
    "Queue": "agentkit.durable.queue",
    "genai": "google.genai",
    "types": "google.genai.types",
}
"""What annotations name that is imported for type checking only, and where it is."""

_EXAMPLES: Final = {
    "bool": "True or False",
    "bytes": "bytes",
    "Client": "a genai.Client(...)",
    "float": "a number",
    "Hooks": "Hooks(before_tool=...)",
    "int": "a whole number",
    "Limits": "Limits(turns=12)",
    "Memory": "LastTurns(20), or another memory",
    "Model": "a Model (which inherits from agentkit.Model)",
    "RateLimit": "RateLimit(60)",
    "RetryPolicy": "RetryPolicy(attempts=3)",
    "Run": "a Run",
    "SessionStore": 'SQLiteStore("chats.db"), or another store',
    "str": "a text",
    "timedelta": "a timedelta",
}

_FOREIGN: Final[dict[str, tuple[str, ...]]] = {
    **dict.fromkeys(("system_instruction", "system_prompt", "system", "instruction"), ("instructions=...",)),
    **dict.fromkeys(
        ("max_turns", "max_steps", "max_iterations", "max_llm_calls", "request_limit", "recursion_limit"),
        ("turns=...", "limits=Limits(turns=...)"),
    ),
    **dict.fromkeys(("max_tokens", "total_tokens_limit"), ("tokens=...", "limits=Limits(tokens=...)")),
    "timeout": ("seconds=...", "limits=Limits(seconds=...)"),
    "api_key": (
        "client=genai.Client(api_key=...)",
        "GeminiModel(name, api_key=...) as the model, or the variable GEMINI_API_KEY",
    ),
    **dict.fromkeys(("functions", "function_declarations", "toolsets"), ("tools=[...]",)),
    **dict.fromkeys(("sub_agents", "handoffs"), ("tools=[other.as_tool()]",)),
    **dict.fromkeys(("mcp_servers", "mcp"), ("tools=[MCP(...)]",)),
    "command": ('MCP("uvx mcp-server-time"), the command and its arguments in one text or list',),
    "stream": (".stream(...) of an agent, or .send_message_stream(...) of a chat",),
    **dict.fromkeys(
        ("output_type", "result_type", "output_schema", "response_schema", "response_model", "response_format"),
        ("output=...", "run(..., output=...)"),
    ),
    **dict.fromkeys(("messages", "message_history", "contents"), ("history=[...]", "chat(history=[...])")),
    **dict.fromkeys(("dependencies", "deps_type", "context"), ("deps=...", "run(..., deps=...)")),
    **{name: (f"run(..., {name}=...)",) for name in ("output", "deps")},
    **dict.fromkeys(("retries", "max_retries"), ("retry=RetryPolicy(attempts=...)",)),
    **dict.fromkeys(("session_id", "conversation_id", "thread_id"), ("id=...", "agent.chat(id, store)")),
    **dict.fromkeys(("session", "checkpointer", "session_service"), ("store=...", "agent.chat(id, store)")),
    **dict.fromkeys(
        ("temperature", "top_p", "top_k", "max_output_tokens", "safety_settings", "thinking_config", "model_settings",
         "generation_config", "generate_content_config"),
        ('config={"temperature": 0, ...}', 'Agent(config={"temperature": 0, ...})'),
    ),
    **dict.fromkeys(("callbacks", "before_tool_callback", "before_model_callback"), ("hooks=Hooks(...)",)),
}  # fmt: skip
"""Names that other libraries have, and what there is here: the first whose name the function takes, else the last."""


def checked(target: F) -> F:
    """Check what a function is given; of a class, what it is made with and what its public methods are given.

    A dataclass that looks at its values itself, in `__post_init__`, speaks first.
    """
    if not isinstance(target, type):
        return _door(target, target.__qualname__.removesuffix(".__init__"))
    only_init = is_dataclass(target)
    for name, value in list(vars(target).items()):
        function = value.__func__ if isinstance(value, classmethod) else value
        if isinstance(function, types.FunctionType) and (
            name == "__init__" or not (name.startswith("_") or only_init)
        ):
            shown = target.__name__ if name == "__init__" else f"{target.__name__}.{name}"
            door = _door(function, shown, looks_itself=hasattr(target, "__post_init__"))
            setattr(target, name, door if function is value else classmethod(door))
    return cast(F, target)


def takes(function: Callable[..., Any], count: int) -> bool:
    """Return whether a function can be called with so many arguments, as far as it says what it takes."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some builtins
        return True
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


def reader(function: F) -> F:
    """Make one error of whatever goes wrong in a class method that reads what `to_wire` made."""

    @wraps(function)
    def read(cls: type, wire: Any) -> Any:
        try:
            return function(cls, wire)
        except ConfigurationError:
            raise
        except (TypeError, ValueError, LookupError, AttributeError, RecursionError) as error:
            raise ConfigurationError(
                f"This isn't a {cls.__name__}: {wire!r:.200} ({error!r:.100})."
            ) from error

    return cast(F, read)


def refuse_copy(what: object, instead: str) -> NoReturn:
    """Say what to do instead of copying or pickling something that is bound to this process."""
    raise ConfigurationError(f"{type(what).__name__} can't be copied or pickled: {instead}")


def _door(function: F, shown: str, *, looks_itself: bool = False) -> F:
    parameters = list(inspect.signature(function).parameters.values())
    method = bool(parameters) and parameters[0].name in _BOUND
    if len(parameters) == method:
        return function
    check = _Check(function, shown)
    door: Any

    if inspect.iscoroutinefunction(function):

        @wraps(function)
        async def door(*args: Any, **kwargs: Any) -> Any:
            check.names(kwargs)
            check.values(args, kwargs)
            return await function(*args, **kwargs)
    elif looks_itself:

        @wraps(function)
        def door(*args: Any, **kwargs: Any) -> Any:
            check.names(kwargs)
            result = function(*args, **kwargs)
            check.values(args, kwargs)
            return result
    else:

        @wraps(function)
        def door(*args: Any, **kwargs: Any) -> Any:
            check.names(kwargs)
            check.values(args, kwargs)
            return function(*args, **kwargs)

    return cast(F, door)


class _Check:
    """The check of one function, made when it is first called: annotations are resolved then."""

    def __init__(self, function: Callable[..., Any], shown: str) -> None:
        self._function = function
        self._shown = shown
        self._tests: dict[str, tuple[_Test, str, Any]] = {}
        """By parameter: whether a value can be taken, what to give, and the default, which always can."""
        self._order: list[str] | None = None
        self._others: tuple[_Test, str, Any] | None = None
        """For values under any other name, if there may be some."""
        self._more: tuple[str, _Test, str] | None = None
        """The same of further values, which have a name together."""

    def names(self, kwargs: dict[str, Any]) -> None:
        """Refuse a name that isn't there."""
        if self._order is None:
            self._make()
        for name in kwargs:
            if name not in self._tests and self._others is None:
                raise ConfigurationError(self._no_such(name))

    def values(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Refuse a value that can't be taken."""
        order = self._order or ()
        for name, value in (*zip(order, args, strict=False), *kwargs.items()):
            test, give, default = self._tests.get(name) or self._others or _ANY
            if value is not default and not test(value):
                raise ConfigurationError(f"{self._shown}({name}={_shown(value)}): give {give}.")
        if self._more is not None and len(args) > len(order):
            name, test, give = self._more
            for value in args[len(order) :]:
                if not test(value):
                    raise ConfigurationError(f"{self._shown}({name}={_shown(value)}): give {give}.")

    def _make(self) -> None:
        names = _Names(self._function)
        order = []
        for parameter in inspect.signature(self._function).parameters.values():
            kind = Any if parameter.name in _BOUND else names.resolve(parameter.annotation)
            checks = _test_of(kind), _words(kind), parameter.default
            if parameter.kind is parameter.VAR_KEYWORD:
                options = get_args(kind)[0] if get_args(kind) else kind
                options = get_origin(options) or options
                if is_typeddict(options):
                    self._add_options(options)
                else:
                    self._others = checks
            elif parameter.kind is parameter.VAR_POSITIONAL:
                self._more = parameter.name, *checks[:2]
            else:
                self._tests[parameter.name] = checks
                if parameter.kind is not parameter.KEYWORD_ONLY:
                    order.append(parameter.name)
        self._order = order

    def _add_options(self, options: Any) -> None:
        names = _Names(options)
        for name, annotation in options.__annotations__.items():
            kind = names.resolve(annotation)
            self._tests[name] = (_test_of(kind), _words(kind), _NO_DEFAULT)

    def _no_such(self, name: str) -> str:
        import difflib  # here, as it is seldom needed

        known = [each for each in self._tests if each not in _BOUND]
        told = ""
        if name in _FOREIGN:
            fitting = (each for each in _FOREIGN[name] if each.partition("=")[0] in known)
            told = f" Did you mean {next(fitting, _FOREIGN[name][-1])}?"
        elif near := difflib.get_close_matches(name, known, 1):
            told = f" Did you mean {near[0]}=?"
        return f"{self._shown} has no {name}=.{told} There are: {', '.join(known)}."


class _Names(dict[str, Any]):
    """The names that annotations of a function or a class use, those imported for type checking only included."""

    def __init__(self, owner: Any) -> None:
        super().__init__(vars(sys.modules[owner.__module__]))

    def resolve(self, annotation: Any) -> Any:
        """Return the type that an annotation names; Any where it can't be known."""
        if annotation is _NO_DEFAULT:
            return Any
        text = annotation.__forward_arg__ if isinstance(annotation, typing.ForwardRef) else annotation
        if not isinstance(text, str):
            return text
        for name, home in _HOMES.items():
            if name not in self and name in text:
                self[name] = _Later() if home.startswith("google.") else getattr(import_module(home), name)
        holder = types.SimpleNamespace(__annotations__={"it": text})
        try:
            return typing.get_type_hints(holder, self, self)["it"]
        except (NameError, AttributeError, TypeError):
            return Any


class _Later:
    """Stands for google.genai in annotations: looking at a value imports nothing."""

    def __getattr__(self, name: str) -> type:
        return _OfGenai(name, (), {})


class _OfGenai(type):
    def __instancecheck__(cls, value: object) -> bool:
        bases = type(value).__mro__
        return any(base.__name__ == cls.__name__ and "google.genai" in base.__module__ for base in bases)


_PLAIN: Final = (str, bytes, int, float, list, tuple, dict, set)


def _test_of(kind: Any) -> _Test:
    """Return a test of whether a value is of a type, as far as can be seen without going into it."""
    origin = get_origin(kind) or kind
    if origin in (Any, object, type):  # what can be a type, pydantic says
        return lambda _: True
    if origin is Literal:
        return lambda value: any(value is each or value == each for each in get_args(kind))
    if origin in (Union, types.UnionType) and get_args(kind):
        tests = [_test_of(each) for each in get_args(kind)]
        return lambda value: any(test(value) for test in tests)
    if origin is typing.Annotated:
        return _test_of(get_args(kind)[0])
    if origin is Callable:
        gets = _parameters_of(kind)
        count = None if gets is None else len(gets)
        return lambda value: (
            callable(value) and not isinstance(value, type) and (count is None or takes(value, count))
        )
    if origin is float:
        return lambda value: isinstance(value, (int, float)) and not isinstance(value, bool)
    if origin is int:
        return lambda value: isinstance(value, int) and not isinstance(value, bool)
    if origin in (Iterable, Sequence, AsyncIterable):
        return lambda value: isinstance(value, origin) and not isinstance(value, (str, bytes, Mapping))
    if is_typeddict(origin):
        return lambda value: isinstance(value, Mapping)
    if getattr(origin, "_is_protocol", False):
        members = [name for name in dir(origin) if not name.startswith("_")]
        return lambda value: not isinstance(value, type) and all(hasattr(value, name) for name in members)
    if isinstance(origin, type):
        return lambda value: isinstance(value, origin)
    return lambda _: True


def _parameters_of(kind: Any) -> list[Any] | None:
    """Return the types of what a function gets, or None where its annotation leaves that open."""
    given = get_args(kind)
    return given[0] if given and isinstance(given[0], list) else None


def _words(kind: Any) -> str:
    """Say what is to be given for a type."""
    origin = get_origin(kind) or kind
    if origin is Literal:
        return " or ".join(repr(each) for each in get_args(kind))
    if origin in (Union, types.UnionType) and get_args(kind):
        words = list(dict.fromkeys(_words(each) for each in get_args(kind)))
        return f"{', '.join(words[:-1])} or {words[-1]}" if words[1:] else words[0]
    if origin is types.NoneType or origin is None:
        return "None"
    if origin in (Iterable, Sequence, AsyncIterable, list, tuple):
        return "a list"
    if origin in (Mapping, dict) or is_typeddict(origin):
        return "a dict"
    if origin is Callable:
        gets = _parameters_of(kind)
        if gets is None:
            return "a function"
        kinds = [get_origin(each) or each for each in gets]
        names = [
            "value" if each in (Any, Union, types.UnionType) else getattr(each, "__name__", "")
            for each in kinds
        ]
        return f"a function that takes ({', '.join(names)})"
    if origin is type:
        return "a type"
    if origin is os.PathLike:
        return "a Path"
    name = getattr(origin, "__name__", str(origin))
    return _EXAMPLES.get(name, f"{name}(...)" if isinstance(origin, type) else "something else")


def _shown(value: object) -> str:
    """Show a wrong value shortly; of an object only its class, for its repr may say anything."""
    if isinstance(value, (*_PLAIN, type(None), type)):
        return f"{value!r:.60}"
    return f"<{type(value).__name__}>"
