"""Properties that hold for whatever types are put together, and whatever a model writes."""

import contextlib
import functools
import inspect
import json
import math
import string
import types
import typing
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple, Optional, Required, Union, cast
from uuid import UUID

import jsonschema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from agentkit.errors import ToolDefinitionError
from agentkit.tooling.context import Context
from agentkit.tooling.invoke import prepare, succeed
from agentkit.tooling.registry import collect
from agentkit.tooling.results import cut, to_json
from agentkit.tooling.schema import InvalidArguments
from agentkit.tooling.tool import Tool, tool

NO_CONTEXT = Context(deps=None)
List, Dict, Tuple, Set, FrozenSet = [cast(Any, kind) for kind in (list, dict, tuple, set, frozenset)]
Maybe = cast(Any, Optional)
OldList, OldDict = [cast(Any, getattr(typing, name)) for name in ("List", "Dict")]


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Point(NamedTuple):
    x: int
    label: str


class Item(BaseModel):
    sku: str
    price: Decimal
    due: date | None = None


TEXT = st.text(st.characters(codec="utf-8"), max_size=9)
LEAVES: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXT,
    int: st.integers(-(2**60), 2**60),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    bytes: st.binary(max_size=9),
    date: st.dates(),
    datetime: st.datetimes(),
    timedelta: st.timedeltas(timedelta(days=-999), timedelta(days=999)),
    Decimal: st.decimals(allow_nan=False, allow_infinity=False, places=3),
    UUID: st.uuids(),
    Color: st.sampled_from(Color),
    Literal["a", 7]: st.sampled_from(["a", 7]),
    Point: st.builds(Point, st.integers(0, 9), TEXT),
    Item: st.builds(Item, sku=TEXT, price=st.just(Decimal("1.10")), due=st.none() | st.dates()),
}
NAMES = st.text(string.ascii_letters, max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
HASHABLE = [kind for kind in LEAVES if kind is not Item]


def typed_values(depth: int = 2) -> st.SearchStrategy[tuple[Any, Any]]:
    """Pairs of a type, put together of others, and a value of it."""

    def leaf(kinds: Any) -> st.SearchStrategy[tuple[Any, st.SearchStrategy[Any]]]:
        return st.sampled_from([(kind, LEAVES[kind]) for kind in kinds])

    def compose(inner: Any) -> Any:
        return st.one_of(
            inner.map(lambda t: (List[t[0]], st.lists(t[1], max_size=3))),
            inner.map(lambda t: (Dict[str, t[0]], st.dictionaries(TEXT, t[1], max_size=3))),
            inner.map(lambda t: (Tuple[t[0], ...], st.lists(t[1], max_size=3).map(tuple))),
            st.tuples(inner, inner).map(lambda t: (Tuple[t[0][0], t[1][0]], st.tuples(t[0][1], t[1][1]))),
            inner.map(lambda t: (Maybe[t[0]], st.none() | t[1])),
            leaf(HASHABLE).map(lambda t: (Set[t[0]], st.sets(t[1], max_size=3))),
            leaf(HASHABLE).map(lambda t: (FrozenSet[t[0]], st.frozensets(t[1], max_size=3))),
        )

    types = st.recursive(leaf(LEAVES), compose, max_leaves=4)
    return types.flatmap(lambda t: t[1].map(lambda value: (t[0], value)))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(typed_values())
def test_a_value_goes_out_as_a_result_and_comes_back_as_an_argument(typed: tuple[Any, Any]) -> None:
    annotation, value = typed

    def take(value: Any) -> Any:
        return value

    take.__annotations__["value"] = annotation
    tool = Tool.of(take)
    wire = json.loads(json.dumps({"value": to_json(value)}))
    schema = tool.declaration["parametersJsonSchema"]
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(wire, schema)
    got = tool.bind(wire, NO_CONTEXT)()
    assert got == value
    assert type(got) is type(value)


def plain_types() -> st.SearchStrategy[Any]:
    """Types of which the schema is written without pydantic, and some that are nearly such."""
    values = st.none() | st.booleans() | st.integers() | st.text(max_size=4)
    literals = st.lists(values, min_size=1, max_size=3).map(lambda some: cast(Any, Literal)[tuple(some)])
    kinds = st.sampled_from([str, int, float, bool, type(None), Any, list, dict, OldList, OldDict])
    rare = st.sampled_from([date, Color, Item, Dict[int, str], Literal[Color.RED], set, tuple])
    return st.recursive(
        kinds | kinds | kinds | literals | rare,
        lambda inner: st.one_of(
            inner.map(lambda t: List[t]),
            inner.map(lambda t: OldList[t]),
            inner.map(lambda t: Dict[str, t]),
            inner.map(lambda t: OldDict[str, t]),
            inner.map(lambda t: Maybe[t]),
            st.lists(inner, min_size=1, max_size=3).map(lambda some: cast(Any, Union)[tuple(some)]),
        ),
        max_leaves=5,
    )


def taking(parameters: list[inspect.Parameter], description: str) -> Tool:
    """Make a tool that gives back what it is called with."""

    def take(*args: Any, **kwargs: Any) -> Any:
        return args, kwargs

    take.__doc__ = "Take.\n\nArgs:\n" + "\n".join(f"    {each.name}: {description}" for each in parameters)
    take.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return Tool.of(take)


def called(tool: Tool, args: Any) -> Any:
    """Call a tool; give what it gives, or the problems with the arguments."""
    try:
        return repr(tool.bind(args, NO_CONTEXT)())
    except InvalidArguments as error:
        return error.problems


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_plain_type_is_declared_and_validated_as_pydantic_would(data: st.DataObject) -> None:
    defaults = st.sampled_from(
        [inspect.Parameter.empty, None, 1, 0.5, math.nan, "ü", [1], {}, (), object(), ...]
    )
    description = data.draw(st.sampled_from(["", "The value, é.", "Line.\n        More: so."]))
    plain, general = [], []
    for name in data.draw(st.lists(st.sampled_from(["a", "b", "_c", "Z"]), unique=True, max_size=3)):
        kind, default = data.draw(plain_types()), data.draw(defaults)
        take = partial(inspect.Parameter, name, inspect.Parameter.KEYWORD_ONLY, default=default)
        plain.append(take(annotation=kind))
        general.append(take(annotation=Annotated[kind, object()]))  # says nothing, but isn't plain
    fast, slow = taking(plain, description), taking(general, description)
    assert json.dumps(fast.declaration) == json.dumps(slow.declaration)
    args = data.draw(st.dictionaries(st.sampled_from(["a", "b", "_c", "Z", "über"]), JSON, max_size=4))
    assert called(fast, args) == called(slow, args)


class Node(BaseModel):
    name: str
    next: Union["Node", None] = None


def everything(
    a: int,
    b: list[Item],
    c: dict[str, Point] | None = None,
    *rest: float,
    d: Literal["x"] | Color = "x",
    **more: list[Node],
) -> str:
    """Take all."""
    return "done"


ARGS = st.dictionaries(st.sampled_from(["a", "b", "c", "d", "rest", "e", ""]), JSON, max_size=5)
TOOLS = collect(everything)


@settings(deadline=None)
@given(st.one_of(ARGS, JSON), st.sampled_from(["everything", "evrything", ""]))
def test_whatever_a_model_writes_there_is_a_call_to_make_or_a_response(args: Any, name: str) -> None:
    invocation = prepare({"id": "7", "name": name, "args": args}, TOOLS, NO_CONTEXT)
    assert (invocation.function is None) != (invocation.outcome is None)
    outcome = invocation.outcome or succeed(invocation, invocation.function and invocation.function())
    response = outcome.part["functionResponse"]
    assert (response["id"], response["name"]) == ("7", name)
    assert len(response["response"]) == 1
    json.dumps(response, allow_nan=False)


@settings(deadline=None)
@given(st.text(max_size=400) | st.lists(st.text(max_size=20), max_size=30), st.integers(80, 200))
def test_a_cut_result_is_never_longer_than_the_limit(value: Any, limit: int) -> None:
    assert len(json.dumps(cut(value, limit)[0], ensure_ascii=False)) <= limit


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    good: bool | None = None


@dataclass
class Order:
    sku: str
    n: int = 1
    total: float = field(init=False, default=0.0)


class Keys(TypedDict, total=False):
    a: Required[int]
    b: list[str]


SHAPES: list[Any] = [
    Node,
    Order,
    Keys,
    Annotated[Cat | Dog, Field(discriminator="kind")],
    int,
    str,
    Color,
]


def shapes() -> st.SearchStrategy[Any]:
    """Types with fields, and what is made of them."""
    return st.recursive(
        st.sampled_from(SHAPES),
        lambda inner: st.one_of(
            inner.map(lambda t: List[t]),
            inner.map(lambda t: Dict[str, t]),
            inner.map(lambda t: Maybe[t]),
            st.tuples(inner, inner).map(lambda t: Tuple[t[0], t[1]]),
            st.tuples(inner, inner).map(lambda t: cast(Any, Union)[t]),
        ),
        max_leaves=3,
    )


def values_of(schema: Any, root: Any) -> st.SearchStrategy[Any]:
    """JSON that a schema is for, more or less: also without what it requires, and with null in any place."""
    if "$ref" in schema:
        return st.deferred(lambda: values_of(root["$defs"][schema["$ref"].rpartition("/")[2]], root))
    if "enum" in schema:
        return st.sampled_from([*schema["enum"], "other"])
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return st.one_of([values_of(each, root) for each in options])
    kind = schema.get("type")
    if kind == "object":
        fields = {
            name: st.none() | values_of(part, root) for name, part in schema.get("properties", {}).items()
        }
        more = schema.get("additionalProperties")
        if isinstance(more, dict):
            return st.dictionaries(NAMES, values_of(more, root), max_size=2)
        return st.fixed_dictionaries({}, optional={**fields, "total": st.just(1)})
    if kind == "array":
        parts = [values_of(part, root) for part in schema.get("prefixItems", ())]
        return (
            st.tuples(*parts).map(list)
            if parts
            else st.lists(values_of(schema.get("items", {}), root), max_size=2)
        )
    return {
        "integer": st.integers(0, 9),
        "number": st.just(1.5),
        "boolean": st.booleans(),
        "null": st.none(),
    }.get(kind, st.sampled_from(["", "1.10", "2026-01-02"]))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(st.data())
def test_what_the_schema_allows_the_validator_takes(data: st.DataObject) -> None:
    def take(value: Any) -> Any:
        return value

    take.__annotations__["value"] = data.draw(shapes())
    made = Tool.of(take)
    schema = made.declaration["parametersJsonSchema"]
    args = {"value": data.draw(values_of(schema["properties"]["value"], schema))}
    allowed = jsonschema.Draft202012Validator(schema).is_valid(args)
    before = json.dumps(args)
    got = called(made, args)
    assert json.dumps(args) == before
    if allowed:
        assert isinstance(got, str)


def decorated(function: Any, layers: list[str]) -> Any:
    """Wrap a function in partials, wrappers and caches, each around the one before."""
    for layer in layers:
        if layer == "partial":
            function = partial(function)
        elif layer == "bound":
            function = partial(function, c=7)
        elif layer == "cache":
            function = functools.lru_cache(function)
        elif layer == "object":
            function = Calling(function) if isinstance(function, types.FunctionType) else function
        elif layer == "tool":
            with contextlib.suppress(ToolDefinitionError):  # what can't be marked
                function = tool(tags=["x"])(function)
        else:
            function = wrapper_of(function)
    return function


def wrapper_of(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


class Calling:
    """Calls."""

    def __init__(self, function: Any) -> None:
        functools.update_wrapper(self, function)
        self.function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)


@settings(deadline=None)
@given(st.lists(st.sampled_from(["partial", "bound", "cache", "wraps", "object", "tool"]), max_size=5))
def test_whatever_a_function_is_wrapped_in_its_name_words_and_parameters_are_its_own(
    layers: list[str],
) -> None:
    def target(a: int, b: str = "b", *, c: int = 3) -> Any:
        """Do it.

        Args:
            a: The a.
            c: The c.
        """
        return a, b, c

    made = Tool.of(decorated(target, layers))
    c = 7 if "bound" in layers else 3
    assert (made.name, made.description) == ("target", "Do it.")
    properties = made.declaration["parametersJsonSchema"]["properties"]
    assert list(properties) == (["a", "b"] if "bound" in layers else ["a", "b", "c"])
    assert properties["a"]["description"] == "The a."
    assert made.bind({"a": "1"}, NO_CONTEXT)() == (1, "b", c)
    assert Tool.of(target).tags == frozenset()
