"""Wrappers, partials and callable objects, with annotations that are text: names, words and parameters are found."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NewType, TypeAlias

import pytest

from agentkit.errors import ToolDefinitionError
from agentkit.tooling.context import Context
from agentkit.tooling.schema import InvalidArguments
from agentkit.tooling.tool import Tool, tool

NO_CONTEXT = Context(deps=None)


class Item:
    """Shadowed in the class."""


class Shop:
    """A shop."""

    Sku = NewType("Sku", str)

    @dataclass
    class Item:
        n: int

    def list(self, item: Item, tags: list[str]) -> Any:
        """List it.

        Args:
            item: The item.
        """
        return item.n, tags

    def __call__(self, item: Item, sku: Sku = "s", *, n: int = 1) -> Any:  # type: ignore[assignment]
        """Sell it.

        Args:
            item: What is sold.
        """
        return item.n, sku, n

    @staticmethod
    def fixed(item: Item, sku: Sku) -> Any:
        """Fix it.

        Args:
            item: What is fixed.
        """
        return item.n, sku

    @classmethod
    def made(cls, item: Item) -> Any:
        """Make it.

        Args:
            item: What is made.
        """
        return item.n

    class Inner:
        Sku: TypeAlias = int

        @staticmethod
        def deep(item: Sku) -> Any:
            """Go deep.

            Args:
                item: How deep.
            """
            return item


class Branch(Shop):
    """A branch; the names are those of the shop."""


def wrapped(function: Callable[..., Any]) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def awrapped(function: Callable[..., Any]) -> Any:
    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


SHOP = Shop()
BOTH = {"item": {"n": 3}, "sku": "x"}
CASES: dict[str, tuple[Any, str, str, dict[str, Any], Any]] = {
    "object": (SHOP, "Shop", "Sell it.", BOTH, (3, "x", 1)),
    "inherited": (Branch(), "Branch", "Sell it.", BOTH, (3, "x", 1)),
    "partial of an object": (functools.partial(SHOP, n=2), "Shop", "Sell it.", BOTH, (3, "x", 2)),
    "wraps an object": (wrapped(SHOP), "Shop", "Sell it.", BOTH, (3, "x", 1)),
    "cache of an object": (functools.lru_cache(SHOP), "Shop", "Sell it.", BOTH, None),
    "wraps a partial": (wrapped(functools.partial(SHOP, n=2)), "Shop", "Sell it.", BOTH, (3, "x", 2)),
    "wraps twice": (wrapped(wrapped(functools.partial(SHOP, n=2))), "Shop", "Sell it.", BOTH, (3, "x", 2)),
    "partial of a wrapper": (functools.partial(wrapped(SHOP), n=4), "Shop", "Sell it.", BOTH, (3, "x", 4)),
    "partials all the way": (
        functools.partial(wrapped(functools.partial(SHOP, n=2)), sku="y"), "Shop", "Sell it.",
        {"item": {"n": 3}}, (3, "y", 2),
    ),
    "static method": (Shop.fixed, "fixed", "Fix it.", BOTH, (3, "x")),
    "static method of a branch": (Branch.fixed, "fixed", "Fix it.", BOTH, (3, "x")),
    "wraps a static method": (wrapped(Shop.fixed), "fixed", "Fix it.", BOTH, (3, "x")),
    "partial of a static method": (functools.partial(SHOP.fixed, sku=Shop.Sku("z")), "fixed", "Fix it.",
                                   {"item": {"n": 3}}, (3, "z")),
    "class method": (Branch.made, "made", "Make it.", {"item": {"n": 3}}, 3),
    "partial of a class method": (functools.partial(Shop.made), "made", "Make it.", {"item": {"n": 3}}, 3),
    "method": (Branch().list, "list", "List it.", {"item": {"n": 3}, "tags": ["a"]}, (3, ["a"])),
    "partial of a method": (functools.partial(SHOP.list, tags=[]), "list", "List it.", {"item": {"n": 3}}, (3, [])),
    "wraps a method": (wrapped(SHOP.list), "list", "List it.", {"item": {"n": 3}, "tags": []}, (3, [])),
    "method of an inner class": (Shop.Inner.deep, "deep", "Go deep.", {"item": "7"}, 7),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_name_words_and_parameters_are_those_of_what_is_wrapped(case: str) -> None:
    function, name, description, args, result = CASES[case]
    made = Tool.of(function)
    assert (made.name, made.description) == (name, description)
    properties = made.declaration["parametersJsonSchema"]["properties"]
    assert "description" in {**properties["item"]}
    assert properties.keys() >= args.keys()
    if result is not None:
        assert made.bind(args, NO_CONTEXT)() == result


def test_what_a_wrapped_partial_has_bound_is_no_parameter() -> None:
    for function in (
        wrapped(functools.partial(SHOP, n=2)),
        functools.lru_cache(functools.partial(SHOP, n=2)),
    ):
        made = Tool.of(function)
        assert list(made.declaration["parametersJsonSchema"]["properties"]) == ["item", "sku"]
        with pytest.raises(InvalidArguments, match="n is not a parameter; the parameters are: item, sku"):
            made.bind({**BOTH, "n": 5}, NO_CONTEXT)


def test_an_async_wrapper_of_a_partial_is_async() -> None:
    made = Tool.of(awrapped(functools.partial(SHOP, n=2)))
    assert (made.name, made.is_async) == ("Shop", True)


def test_a_wrapper_with_a_signature_of_its_own_has_that_one() -> None:
    function = wrapped(functools.partial(SHOP, n=2))
    function.__signature__ = inspect.Signature(
        [inspect.Parameter("n", inspect.Parameter.KEYWORD_ONLY, annotation=int)]
    )
    assert list(Tool.of(function).declaration["parametersJsonSchema"]["properties"]) == ["n"]


def test_a_local_classs_names_are_found_too() -> None:
    class Local:
        Word: TypeAlias = str

        @staticmethod
        def say(word: Word) -> Any:
            return word

    assert Tool.of(Local.say).bind({"word": "x"}, NO_CONTEXT)() == "x"


def test_a_name_given_later_to_a_wrapper_is_its_own() -> None:
    function = wrapped(Shop.fixed)
    function.__name__ = "repair"
    assert Tool.of(function).name == "repair"


# -- @tool, called with options ------------------------------------------------------------------------------------


def plain(a: int) -> int:
    """Do."""
    return a


async def aplain(a: int) -> int:
    """Do."""
    return a


@pytest.mark.parametrize(
    "function",
    [plain, aplain, functools.partial(plain), Shop.fixed],
    ids=["sync", "async", "partial", "static"],
)
def test_options_are_for_what_the_decorator_gives_not_for_the_function_everywhere(function: Any) -> None:
    name = Tool.of(function).name
    made = tool(name="other", effect="write", tags=["x"])(function)
    assert (Tool.of(function).name, Tool.of(function).effect, Tool.of(function).tags) == (
        name,
        None,
        frozenset(),
    )
    assert (Tool.of(made).name, Tool.of(made).effect) == ("other", "write")
    again = tool(name="third")(made)
    assert [Tool.of(each).name for each in (function, made, again)] == [name, "other", "third"]
    assert Tool.of(again).effect == "write"
    assert Tool.of(tool(again)).name == "third"


@pytest.mark.parametrize("option", [{"timeout": "5"}, {"retries": -1}, {"nme": "x"}, {"name": "a b"}])
@pytest.mark.parametrize("make", [lambda: lambda a: a, Shop, lambda: functools.cache(lambda a: a)])
def test_options_that_are_refused_leave_the_callable_as_it_was(make: Any, option: Any) -> None:
    function = make()
    before = dict(vars(function))
    with pytest.raises(ToolDefinitionError):
        tool(**option)(function)
    assert vars(function) == before


def test_what_can_not_be_declared_is_not_marked() -> None:
    def bad(a) -> None: ...  # type: ignore[no-untyped-def]

    with pytest.raises(ToolDefinitionError, match="has no type"):
        tool(bad)
    assert vars(bad) == {}


def test_a_copy_is_the_function_in_all_but_its_identity() -> None:
    outer = 3

    def first(a: int, b: int = 2, *, c: int = 4) -> int:
        """Add."""
        return a + b + c + outer

    first.note = "kept"  # type: ignore[attr-defined]
    made: Any = tool(effect="write")(first)
    assert made is not first
    assert made(1) == first(1) == 10
    assert inspect.signature(made) == inspect.signature(first)
    for name in ("__name__", "__qualname__", "__module__", "__doc__", "__annotations__", "note"):
        assert getattr(made, name) == getattr(first, name)


def test_a_mark_is_not_inherited() -> None:
    @tool(name="base_tool")
    class Base:
        def __init__(self, a: int) -> None: ...

        def __call__(self, b: int) -> int:
            return b

    class Derived(Base): ...

    assert Tool.of(Base).name == "base_tool"
    assert Tool.of(Derived).name == "Derived"
    assert Tool.of(Base(1)).name == "Base"


def test_static_and_class_methods_are_marked_in_the_class_body() -> None:
    class Box:
        @tool(name="one")
        @staticmethod
        def first(a: int) -> int:
            return a

        @tool(name="two")
        @classmethod
        def second(cls, a: int) -> int:
            return a

        @staticmethod
        @tool(name="three")
        def third(a: int) -> int:
            return a

        @tool(name="four")
        def fourth(self, a: int) -> int:
            return a

    made = [Tool.of(each) for each in (Box.first, Box.second, Box.third, Box().fourth)]
    assert [each.name for each in made] == ["one", "two", "three", "four"]
    assert [each.bind({"a": 1}, NO_CONTEXT)() for each in made] == [1, 1, 1, 1]
