"""Anything callable can be a tool, with `from __future__ import annotations`, as here, and without."""

from __future__ import annotations

import asyncio
import functools
import inspect
import operator
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypedDict, TypeVar, Unpack

import pytest
from pydantic import BaseModel

from agentkit.errors import ToolDefinitionError
from agentkit.tooling.context import Context
from agentkit.tooling.schema import InvalidArguments
from agentkit.tooling.tool import Tool, tool

if TYPE_CHECKING:
    from decimal import Decimal

P = ParamSpec("P")
R = TypeVar("R")


def run(source: Any, args: dict[str, Any] | None = None, deps: Any = None, **options: Any) -> Any:
    """Call a tool the way a run does."""
    return Tool.of(source, **options).bind(args or {}, Context(deps=deps))()


def names_of(source: Any, **options: Any) -> list[str]:
    schema: Any = Tool.of(source, **options).declaration.get("parametersJsonSchema", {"properties": {}})
    return list(schema["properties"])


def add(a: int, b: int = 1) -> int:
    """Add."""
    return a + b


async def aadd(a: int, b: int = 1) -> int:
    """Add, later."""
    return a + b


def logged(function: Callable[P, R]) -> Callable[P, R]:
    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        return function(*args, **kwargs)

    return wrapper


class Counter:
    """Counts."""

    step: int = 10

    class Start(BaseModel):
        at: int

    def __init__(self) -> None:
        self.total = 0

    @tool(effect="write", tags=["count"])
    def up(self, by: int, ctx: Context[int]) -> int:
        """Count up."""
        self.total += by * ctx.deps
        return self.total

    @tool
    async def later(self, by: date) -> date:
        return by

    def begin(self, start: Start) -> int:
        return start.at

    @classmethod
    @tool(name="klass")
    def of_class(cls, n: int) -> int:
        return cls.step * n

    @tool(name="klass2")
    @classmethod
    def of_class_2(cls, n: int) -> int:
        return cls.step * n

    @staticmethod
    @tool(name="static")
    def of_none(n: int) -> int:
        return n

    @tool(name="static2")
    @staticmethod
    def of_none_2(n: int) -> int:
        return n

    def __call__(self, n: int) -> int:
        """Call it.

        Args:
            n: how many
        """
        return n + self.step


class Later:
    """Does it later."""

    async def __call__(self, n: int) -> int:
        return n


def test_a_decorated_function_stays_the_function_that_it_was() -> None:
    def plain(a: int) -> int:
        return a

    assert tool(plain) is plain
    assert Tool.of(tool(effect="write")(plain)).effect == "write"
    assert plain(3) == 3
    assert inspect.signature(plain).parameters.keys() == {"a"}
    assert Tool.of(plain).effect is None


def test_functions_sync_and_async_are_tools() -> None:
    assert run(add, {"a": 1}) == 2
    assert not Tool.of(add).is_async
    assert Tool.of(aadd).is_async
    assert asyncio.run(run(aadd, {"a": 1})) == 2
    assert Tool.of(add)(1, b=2) == 3


def test_bound_methods_are_tools_and_keep_what_the_decorator_said() -> None:
    counter = Counter()
    assert run(counter.up, {"by": "2"}, deps=3) == 6
    assert counter.total == 6
    assert Tool.of(counter.up).effect == "write"
    assert Tool.of(counter.up).tags == {"count"}
    assert Tool.of(counter.up, effect="read").effect == "read"
    assert Tool.of(counter.later).is_async
    assert counter.up(1, Context(deps=1)) == 7


def test_a_method_is_a_tool_whatever_the_repr_of_its_object_does() -> None:
    class Unready:
        def __repr__(self) -> str:
            raise AttributeError("not connected yet")

        def look_up(self, city: str) -> str:
            return city

    made = Tool.of(Unready().look_up, effect="read")
    assert run(made, {"city": "Bern"}) == "Bern"
    assert made.replace() is made
    with pytest.raises(ToolDefinitionError, match="look_up: retries=-1: give a whole number"):
        Tool.of(made, retries=-1)


@pytest.mark.parametrize("name", ["of_class", "of_class_2"])
@pytest.mark.parametrize("owner", [Counter, Counter()])
def test_class_methods_are_tools_whichever_decorator_comes_first(owner: Any, name: str) -> None:
    method = getattr(owner, name)
    assert run(method, {"n": 2}) == 20
    assert Tool.of(method).name in ("klass", "klass2")


@pytest.mark.parametrize("name", ["of_none", "of_none_2"])
@pytest.mark.parametrize("owner", [Counter, Counter()])
def test_static_methods_are_tools_whichever_decorator_comes_first(owner: Any, name: str) -> None:
    method = getattr(owner, name)
    assert run(method, {"n": 2}) == 2
    assert Tool.of(method).name in ("static", "static2")


def test_a_method_may_use_names_of_its_class_in_annotations() -> None:
    assert run(Counter().begin, {"start": {"at": 3}}) == 3


def test_callable_objects_are_tools_named_by_their_class() -> None:
    made = Tool.of(Counter())
    assert (made.name, made.description, made.is_async) == ("Counter", "Call it.", False)
    assert run(Counter(), {"n": 1}) == 11
    assert (Tool.of(Later()).description, Tool.of(Later()).is_async) == ("Does it later.", True)
    assert Tool.of(functools.partial(Later())).is_async


def test_what_a_partial_has_bound_is_hidden_and_stays_bound() -> None:
    assert names_of(functools.partial(add, 5)) == ["b"]
    assert run(functools.partial(add, 5), {"b": 2}) == 7
    assert names_of(functools.partial(add, a=5)) == ["b"]
    assert run(functools.partial(add, a=5)) == 6
    assert names_of(functools.partial(add, b=7)) == ["a"]
    assert run(functools.partial(add, b=7), {"a": 1}) == 8
    assert run(functools.partial(Counter().up, 2), deps=3) == 6
    made = Tool.of(functools.partial(functools.partial(aadd, 1), b=2))
    assert (made.name, made.description, made.is_async) == ("aadd", "Add, later.", True)


def test_no_call_replaces_what_a_partial_has_bound() -> None:
    def fetch(path: str, **headers: str) -> Any:
        return path, headers

    signed = functools.partial(fetch, token="ours")
    raw = Tool.from_declaration({"name": "fetch"}, signed)
    for made in (Tool.of(signed), raw):
        args = {"path": "/", "accept": "text"}
        assert made.bind(args, Context(deps=None))() == ("/", {"token": "ours", "accept": "text"})
        with pytest.raises(InvalidArguments, match="token is not a parameter"):
            made.bind({**args, "token": "theirs"}, Context(deps=None))


def test_a_wrapper_is_called_but_declared_as_what_it_wraps() -> None:
    calls = []

    def counted(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            calls.append(kwargs)
            return function(*args, **kwargs)

        return wrapper

    assert names_of(counted(logged(add))) == ["a", "b"]
    assert run(counted(logged(add)), {"a": 1}) == 2
    assert calls == [{"a": 1}]


def test_a_wrapper_around_a_decorated_function_keeps_its_options_and_is_what_runs() -> None:
    @logged
    @tool(name="inner", retries=5)
    def function(a: int) -> int:
        return a

    made = Tool.of(function)
    assert (made.name, made.retries) == ("inner", 5)
    assert made.function is function


def test_wrappers_of_functools_that_are_no_functions_are_tools() -> None:
    cached = functools.cache(add)
    made = Tool.of(cached)
    assert (made.name, made.description, names_of(cached)) == ("add", "Add.", ["a", "b"])
    assert run(cached, {"a": 1}) == 2
    assert cached.cache_info().misses == 1
    assert tool(cached) is cached


def test_an_async_function_wrapped_by_a_plain_one_gives_its_coroutine() -> None:
    made = Tool.of(logged(aadd))
    assert not made.is_async
    assert asyncio.run(made.bind({"a": 1}, Context(deps=None))()) == 2


def test_a_lambda_is_a_tool_that_takes_anything_once_it_has_a_name() -> None:
    assert run(lambda: 3, name="three") == 3
    assert run(lambda x, y=2: (x, y), {"x": [1]}, name="pair") == ([1], 2)
    with pytest.raises(ToolDefinitionError, match=r"<lambda>' can't be a tool's name. Give name="):
        Tool.of(lambda: 3)


def test_a_builtin_needs_an_annotated_function_around_it() -> None:
    with pytest.raises(ToolDefinitionError, match=r"_operator:add: parameter 'a' has no type"):
        Tool.of(operator.add)
    with pytest.raises(ToolDefinitionError, match="Python can't tell its signature"):
        Tool.of(dict)


def test_positional_only_parameters_are_given_by_position() -> None:
    def f(a: int, b: int = 2, /, *, c: int = 3) -> tuple[int, int, int]:
        return a, b, c

    assert run(f, {"a": "1", "c": 5}) == (1, 2, 5)


def test_local_types_are_found_though_annotations_are_text() -> None:
    class Address(BaseModel):
        city: str

    @dataclass
    class Person:
        home: Address
        friends: list[Person]

    class Shape(TypedDict):
        size: Size

    class Size(NamedTuple):
        width: int

    def visit(person: Person, shape: Shape, *rest: Address, **more: Address) -> Any:
        return person.home.city, person.friends[0].home, shape["size"].width, rest, more

    def build() -> Tool:
        return Tool.of(visit)

    person = {"home": {"city": "Rome"}, "friends": [{"home": {"city": "Bonn"}, "friends": []}]}
    args = {"person": person, "shape": {"size": [3]}, "rest": [{"city": "a"}], "x": {"city": "b"}}
    assert build().bind(args, Context(deps=None))() == (
        "Rome", Address(city="Bonn"), 3, (Address(city="a"),), {"x": Address(city="b")},
    )  # fmt: skip


def test_local_types_are_found_through_the_closure_when_the_function_around_is_over() -> None:
    def factory() -> Any:
        class Item(BaseModel):
            n: int

        def take(item: Item) -> Any:
            return type(item) is Item

        @tool
        def marked(item: Item) -> Any:
            return item.n

        return take, marked

    take, marked = factory()
    assert run(take, {"item": {"n": 1}}) is True
    assert run(marked, {"item": {"n": 1}}) == 1
    assert Tool.of(marked, name="other").name == "other"


def test_the_innermost_of_several_local_types_of_a_name_is_meant() -> None:
    class Item(BaseModel):
        outer: int

    def inside() -> Any:
        class Item(BaseModel):
            inner: int

        def take(item: Item) -> Any:
            return item.inner

        return run(take, {"item": {"inner": 3}})

    assert inside() == 3
    assert Item(outer=1).outer == 1


def test_a_closure_that_is_not_filled_yet_does_no_harm() -> None:
    def take(n: int) -> Any:
        return later + n

    assert names_of(take) == ["n"]
    later = 1
    assert run(take, {"n": 1}) == 2


def test_a_forward_reference_waits_for_the_registration() -> None:
    @tool(retries=7)
    def early(item: Soon) -> Any:
        return item.n

    with pytest.raises(ToolDefinitionError, match="'Soon', can't be resolved"):
        Tool.of(early)

    class Soon(BaseModel):
        n: int

    assert run(early, {"item": {"n": 4}}) == 4
    assert Tool.of(early).retries == 7


def test_a_reference_inside_a_type_waits_for_the_registration_too() -> None:
    class Holder(BaseModel):
        item: Missing

    @dataclass
    class Other:
        item: Missing

    class Shape(TypedDict):
        item: Missing

    def f(holder: Holder) -> None: ...
    def g(other: Other) -> None: ...
    def h(shape: Shape) -> None: ...

    def i(**parts: Unpack[Shape]) -> None: ...

    for function, name in ((f, "holder"), (g, "other"), (h, "shape"), (i, "parts")):
        assert tool(function) is function
        with pytest.raises(ToolDefinitionError, match=f"parameter '{name}' has .*resolved: .*Missing"):
            Tool.of(function)

    class Missing(BaseModel):
        n: int

    assert run(g, {"other": {"item": {"n": 1}}}) is None


def test_a_signature_that_fails_for_a_name_waits_for_the_registration() -> None:
    class Later:
        __name__ = "later"

        @property
        def __signature__(self) -> inspect.Signature:  # as Python 3.14 does with annotations
            raise NameError("name 'Soon' is not defined")

        def __call__(self) -> None: ...

    later = Later()
    assert tool(later) is later
    with pytest.raises(ToolDefinitionError, match=r"an annotation can't be resolved: name 'Soon'"):
        Tool.of(later)


def test_a_name_only_known_to_the_type_checker_is_an_error_that_says_so() -> None:
    def f(price: Decimal) -> None: ...

    with pytest.raises(
        ToolDefinitionError, match=r"'price', 'Decimal', can't be resolved.*not only under TYPE_CHECKING"
    ):
        Tool.of(f)


def test_singledispatch_is_refused_for_no_call_could_choose() -> None:
    with pytest.raises(ToolDefinitionError, match="singledispatch chooses by"):
        Tool.of(functools.singledispatch(add))


def test_a_generator_is_refused() -> None:
    def count(n: int) -> Iterator[int]:
        yield n

    for source in (count, functools.partial(count, 1)):
        with pytest.raises(ToolDefinitionError, match=r"is a generator.*return a list"):
            Tool.of(source)


def test_an_async_generator_is_refused() -> None:
    async def f() -> Any:
        yield 1

    with pytest.raises(ToolDefinitionError, match="async generator"):
        Tool.of(f)


def test_a_decorator_with_its_own_signature_is_declared_as_it_says() -> None:
    def injected(function: Callable[..., Awaitable[int]]) -> Callable[..., Awaitable[int]]:
        async def wrapper(n: int) -> int:
            return await function(n, 1)

        return wrapper

    made = Tool.of(injected(aadd), name="aadd1")
    assert made.is_async
    assert asyncio.run(made.bind({"n": 1}, Context(deps=None))()) == 2
