"""Signatures of others: those of google-genai's own tests, and in the style of function-calling benchmarks."""

import typing
from enum import Enum
from typing import Annotated, Any, Literal, Optional, Union

import jsonschema
import pytest
from google.genai import types
from pydantic import BaseModel, Field

from agentkit.errors import ToolDefinitionError
from agentkit.tooling.context import Context
from agentkit.tooling.invoke import Serialised, prepare
from agentkit.tooling.tool import Tool


def called(function: Any, args: dict[str, Any]) -> Any:
    """Check the args against the declaration, then make the call."""
    tool = Tool.of(function)
    schema = tool.declaration["parametersJsonSchema"]
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(args, schema)
    types.FunctionDeclaration.model_validate(tool.declaration)
    return tool.bind(args, Context(deps=None))()


class Simple(BaseModel):
    key1: int
    key2: float


class Complex(BaseModel):
    one: Simple
    many: list[Simple]
    named: dict[str, Simple]


class Other(BaseModel):
    key3: str


SIMPLE = {"key1": 1, "key2": 1.5}


def primitives(x: int, y: float, z: str, w: bool) -> Any:
    return x, y, z, w


def compounds(x: list[int], y: dict[str, float]) -> Any:
    return x, y


def nested(x: Complex) -> Any:
    return x.one.key1, x.many[0].key2, x.named["a"].key1


def models_in_union(x: list[Union[int, Simple]]) -> Any:  # noqa: UP007
    return [type(item).__name__ for item in x]


def either(x: Union[Simple, Other]) -> Any:  # noqa: UP007
    return type(x).__name__


def optional(a: Optional[list[Union[int, float]]] = None) -> Any:  # noqa: UP007, UP045
    return a


def defaults(a: str, b: int = 1, c: list = []) -> Any:  # type: ignore[type-arg]  # noqa: B006
    return a, b, c


def literals(a: Literal["1", "2", 3], b: Literal["x"] = "x") -> Any:
    return a, b


def unusual(
    a: typing.OrderedDict[str, int],
    b: typing.MutableMapping[str, int],
    c: typing.MutableSequence[int],
    d: typing.MutableSet[int],
    e: typing.Counter[str],
    f: typing.Iterable[int],
    g: typing.DefaultDict[str, int],  # noqa: UP006
    h: typing.Collection[int],
    i: typing.Tuple[int, int],  # noqa: UP006
) -> Any:
    return [type(x).__name__ for x in (a, b, c, d, e, f, g, h, i)]


def refused(a: int | bytes, b: int | set[int], c: frozenset[str], d: None = None) -> Any:
    """The SDK refuses each of these types."""
    return a, b, c, d


@pytest.mark.parametrize(
    ("function", "args", "expected"),
    [
        (primitives, {"x": 1, "y": 1, "z": "1", "w": True}, (1, 1.0, "1", True)),
        (compounds, {"x": [1], "y": {"a": 1}}, ([1], {"a": 1.0})),
        (nested, {"x": {"one": SIMPLE, "many": [SIMPLE], "named": {"a": SIMPLE}}}, (1, 1.5, 1)),
        (models_in_union, {"x": [1, SIMPLE]}, ["int", "Simple"]),
        (either, {"x": {"key3": "a"}}, "Other"),
        (optional, {}, None),
        (optional, {"a": [1, 1.5]}, [1, 1.5]),
        (defaults, {"a": "x"}, ("x", 1, [])),
        (literals, {"a": 3}, (3, "x")),
        (
            unusual,
            {
                "a": {"a": 1}, "b": {"a": 1}, "c": [1], "d": [1], "e": {"a": 1},
                "f": [1], "g": {"a": 1}, "h": [1], "i": [1, 2],
            },
            ["OrderedDict", "dict", "list", "set", "Counter", "list", "defaultdict", "list", "tuple"],
        ),
        (refused, {"a": 1, "b": [1], "c": ["a"], "d": None}, (1, {1}, frozenset("a"), None)),
    ],
)  # fmt: skip
def test_signatures_of_the_sdks_own_tests_work(function: Any, args: dict[str, Any], expected: Any) -> None:
    assert called(function, args) == expected


def test_a_default_that_does_not_fit_its_type_is_the_functions_own_affair() -> None:
    def f(a: str, b: int = "1", c: dict[str, int] = "a") -> Any:  # type: ignore[assignment]
        return a, b, c

    assert called(f, {"a": "x"}) == ("x", "1", "a")


@pytest.mark.parametrize(
    "annotation", [typing.Iterator[int], typing.Container[int], typing.ChainMap[str, int]]
)
def test_types_that_the_sdk_refuses_for_good_reason_are_refused(annotation: Any) -> None:
    def f(a: Any) -> None: ...

    f.__annotations__["a"] = annotation
    with pytest.raises(ToolDefinitionError, match="parameter 'a'"):
        Tool.of(f)


def calculate_triangle_area(base: int, height: int, unit: str = "units") -> float:
    """Calculate the area of a triangle given its base and height.

    Args:
        base (int): The base of the triangle.
        height (int): The height of the triangle.
        unit (str, optional): The unit of measure. Defaults to 'units'.
    """
    return base * height / 2


def hotel_book(
    location: dict[str, str], dates: tuple[str, str], guests: dict[str, int], budget: list[float]
) -> Any:
    return location, dates, guests, budget


def sort_records(
    records: list[dict[str, float | str | None]], by: list[tuple[str, bool]], limit: Any = None
) -> Any:
    return records, by, limit


class Mode(str, Enum):  # noqa: UP042 - benchmarks still write it so
    DRIVE = "driving"
    WALK = "walking"


class Waypoint(BaseModel):
    coordinates: tuple[float, float]
    stay: Annotated[int, Field(ge=0, description="Minutes")] = 0


def route(
    stops: list[Waypoint], mode: Mode = Mode.DRIVE, options: dict[str, dict[str, list[int]]] | None = None
) -> Any:
    return [stop.coordinates for stop in stops], mode, options


@pytest.mark.parametrize(
    ("function", "args", "expected"),
    [
        (calculate_triangle_area, {"base": 10, "height": 5}, 25.0),
        (
            hotel_book,
            {
                "location": {"city": "Rome"},
                "dates": ["a", "b"],
                "guests": {"adults": 2},
                "budget": [100, 200.5],
            },
            ({"city": "Rome"}, ("a", "b"), {"adults": 2}, [100.0, 200.5]),
        ),
        (
            sort_records,
            {"records": [{"a": 1.5, "b": "x", "c": None}], "by": [["a", True]], "limit": {"n": [3]}},
            ([{"a": 1.5, "b": "x", "c": None}], [("a", True)], {"n": [3]}),
        ),
        (
            route,
            {"stops": [{"coordinates": [1, 2.5]}], "mode": "walking", "options": {"a": {"b": [1]}}},
            ([(1.0, 2.5)], Mode.WALK, {"a": {"b": [1]}}),
        ),
    ],
)
def test_signatures_of_benchmarks_work(function: Any, args: dict[str, Any], expected: Any) -> None:
    assert called(function, args) == expected


def test_a_dotted_name_of_a_benchmark_is_a_name() -> None:
    tool = Tool.of(calculate_triangle_area, name="geometry.area_triangle")
    invocation = prepare(
        {"name": "geometry.area_triangle", "args": {"base": 10.0, "height": "5"}},
        {tool.name: tool},
        Context(deps=None),
    )
    assert invocation.function is not None
    assert invocation.function() == Serialised(25.0, [])
    assert tool.declaration["parametersJsonSchema"]["properties"]["unit"] == {
        "type": "string",
        "description": "The unit of measure. Defaults to 'units'.",
        "default": "units",
    }
