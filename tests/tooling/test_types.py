"""Every kind of annotation: declared as valid JSON Schema, and its values arrive as the annotated type."""

import collections
import collections.abc
import typing
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, Optional, TypeVar, Union
from uuid import UUID

import jsonschema
import pytest
import typing_extensions
from pydantic import BaseModel, ConfigDict, Field, RootModel, conint

from agentkit.tooling.context import Context
from agentkit.tooling.schema import InvalidArguments
from agentkit.tooling.tool import Tool

T = TypeVar("T")
B = TypeVar("B", bound=int)
C = TypeVar("C", int, str)


class Color(Enum):
    RED = "red"
    BLUE = 2


class Size(StrEnum):
    SMALL = "s"


class Level(IntEnum):
    LOW = 1


class Point(NamedTuple):
    x: int
    y: float = 0.5


class Address(typing.TypedDict, total=False):
    street: typing.Required[str]
    zip: int


class Person(typing.TypedDict):
    name: typing.Annotated[str, "the name"]
    home: typing.NotRequired[Address]


class NewPerson(typing_extensions.TypedDict):
    name: str
    when: date


class Folder(typing_extensions.TypedDict):
    inside: "list[Folder]"


class Shut(typing.TypedDict):
    __pydantic_config__ = ConfigDict(extra="ignore")  # type: ignore[misc]
    n: int


@dataclass
class Line:
    start: Point
    tags: set[str] = field(default_factory=set)


class Node(BaseModel):
    """A tree."""

    title: str
    children: list["Node"] = []


class Box(BaseModel, Generic[T]):
    item: T


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"


class Aliased(BaseModel):
    from_: str = Field(alias="from")


class Sealed(BaseModel):
    model_config = ConfigDict(val_json_bytes="base64")
    data: bytes


class Plain(BaseModel):
    data: bytes


Pet = Annotated[Cat | Dog, Field(discriminator="kind")]
Sku = NewType("Sku", str)
Pairs = RootModel[list[tuple[str, int]]]
Alias = typing_extensions.TypeAliasType("Alias", dict[str, "Alias | int"])  # type: ignore[misc]

CASES: list[tuple[Any, Any, Any]] = [
    (str, "a", "a"),
    (int, 5, 5),
    (float, 1, 1.0),
    (bool, True, True),
    (bytes, "aGk=", b"hi"),
    (bytes, "_-8=", b"\xff\xef"),
    (bytes, "/+8=", b"\xff\xef"),
    (None, None, None),
    (type(None), None, None),
    (list, [1, "a"], [1, "a"]),
    (list[int], [1, 2], [1, 2]),
    (typing.List[int], [1], [1]),  # noqa: UP006
    (list[list[float]], [[1], []], [[1.0], []]),
    (dict, {"a": [1]}, {"a": [1]}),
    (dict[str, int], {"a": 1}, {"a": 1}),
    (dict[int, date], {"1": "2026-01-02"}, {1: date(2026, 1, 2)}),
    (dict[Color, int], {"red": 1}, {Color.RED: 1}),
    (collections.OrderedDict[str, int], {"a": 1}, collections.OrderedDict(a=1)),
    (collections.Counter[str], {"a": 1}, collections.Counter(a=1)),
    (collections.deque[int], [1], collections.deque([1])),
    (collections.defaultdict[str, int], {"a": 1}, collections.defaultdict(int, a=1)),
    (collections.abc.Mapping[str, int], {"a": 1}, {"a": 1}),
    (collections.abc.Sequence[int], [1], [1]),
    (collections.abc.Iterable[int], [1, 2], [1, 2]),
    (collections.abc.Iterable, [1, "2"], [1, "2"]),
    (typing.Iterable, [1], [1]),
    (collections.abc.Collection[date], ["2026-01-02"], [date(2026, 1, 2)]),
    (dict[str, collections.abc.Iterable[int]], {"a": [1]}, {"a": [1]}),
    (typing.Dict[str, typing.Iterable[int]], {"a": [1]}, {"a": [1]}),  # noqa: UP006
    (Annotated[typing.Iterable[int], "numbers"], [1], [1]),
    (typing.Iterable[int] | None, [1], [1]),
    (set, [1], {1}),
    (set[int], [1], {1}),
    (frozenset[str], ["a"], frozenset({"a"})),
    (tuple, [1, "a"], (1, "a")),
    (tuple[()], [], ()),
    (tuple[int, str], [1, "a"], (1, "a")),
    (tuple[int, ...], [1, 2], (1, 2)),
    (list[tuple[float, float]], [[1, 2]], [(1.0, 2.0)]),
    (Literal["a", "b"], "a", "a"),
    (Literal["only"], "only", "only"),
    (Literal[1, "a", None], None, None),
    (Literal[True], True, True),
    (Color, "red", Color.RED),
    (Color, 2, Color.BLUE),
    (Size, "s", Size.SMALL),
    (Level, 1, Level.LOW),
    (Optional[int], None, None),  # noqa: UP045
    (int | None, 3, 3),
    (Union[int, str], "a", "a"),  # noqa: UP007
    (int | str, 3, 3),
    (int | list[int] | None, [1], [1]),
    (Annotated[int, Field(ge=1, le=9)], 9, 9),
    (Annotated[str, Field(pattern="^a+$", max_length=3)], "aa", "aa"),
    (Annotated[list[int], Field(min_length=1)], [1], [1]),
    (Annotated[int, "how many"], 3, 3),
    (conint(gt=0), 3, 3),
    (Node, {"title": "a", "children": [{"title": "b"}]}, Node(title="a", children=[Node(title="b")])),
    (Node | None, None, None),
    (Box[int], {"item": 1}, Box[int](item=1)),
    (dict[str, Box[list[date]]], {"a": {"item": ["2026-01-02"]}}, {"a": Box[list[date]](item=[date(2026, 1, 2)])}),
    (Pet, {"kind": "cat"}, Cat(kind="cat")),
    (list[Pet], [{"kind": "dog"}], [Dog()]),
    (Cat | Dog, {"kind": "dog"}, Dog()),
    (Aliased, {"from": "x"}, Aliased(**{"from": "x"})),
    (Sealed, {"data": "aGk="}, Sealed(data=b"hi")),
    (Plain, {"data": "hi"}, Plain(data=b"hi")),
    (Pairs, [["a", 1]], Pairs([("a", 1)])),
    (Line, {"start": [1], "tags": ["a"]}, Line(Point(1), {"a"})),
    (Point, [1, 2], Point(1, 2.0)),
    (Person, {"name": "Ann", "home": {"street": "High"}}, {"name": "Ann", "home": {"street": "High"}}),
    (list[Person] | None, [{"name": "Ann"}], [{"name": "Ann"}]),
    (NewPerson, {"name": "Ann", "when": "2026-01-02"}, {"name": "Ann", "when": date(2026, 1, 2)}),
    (Shut, {"n": 1, "more": 2}, {"n": 1}),
    (Sku, "TEA-1", "TEA-1"),
    (Alias, {"a": {"b": 1}}, {"a": {"b": 1}}),
    (datetime, "2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
    (date, "2026-01-02", date(2026, 1, 2)),
    (time, "03:04:05", time(3, 4, 5)),
    (timedelta, "PT90S", timedelta(seconds=90)),
    (Decimal, "0.10", Decimal("0.10")),
    (Decimal, 0.1, Decimal("0.1")),
    (UUID, "12345678123456781234567812345678", UUID("12345678123456781234567812345678")),
    (Path, "a/b", Path("a/b")),
    (complex, "1+2j", 1 + 2j),
    (Any, {"a": [None, 1.5]}, {"a": [None, 1.5]}),
    (object, [1], [1]),
    (B, 1, 1),
    (C, "a", "a"),
    (typing_extensions.TypeVar("D", default=int), 3, 3),
]  # fmt: skip

LENIENT: list[tuple[Any, Any, Any]] = [
    (int, 5.0, 5),
    (int, "5", 5),
    (float, "1.5", 1.5),
    (bool, "true", True),
    (list[int], ["1"], [1]),
    (collections.abc.Iterable[int], ["1"], [1]),
    (set[int], [1, 1], {1}),
    (Point, {"x": 1}, Point(1)),
    (timedelta, 90, timedelta(seconds=90)),
    (Sku | int, 5, 5),
]
"""What models write and the schema doesn't allow."""


def tool_of(annotation: Any) -> Tool:
    """A tool with one parameter of a type; it gives back what it got."""

    def take(value: Any) -> Any:
        return value

    take.__annotations__["value"] = annotation
    return Tool.of(take)


def bound(tool: Tool, **args: Any) -> Any:
    return tool.bind(args, Context(deps=None))()


def titles(schema: Any) -> list[str]:
    """The titles of a schema, as opposed to properties and values of that name."""
    if isinstance(schema, list):
        return [title for part in schema for title in titles(part)]
    if not isinstance(schema, dict):
        return []
    own = [schema["title"]] if isinstance(schema.get("title"), str) else []
    return own + [title for key, part in schema.items() if key != "default" for title in titles(part)]


@pytest.mark.parametrize(
    ("annotation", "given", "expected"), CASES + LENIENT, ids=lambda value: str(value)[:60]
)
def test_a_value_arrives_as_the_annotated_type(annotation: Any, given: Any, expected: Any) -> None:
    got = bound(tool_of(annotation), value=given)
    assert got == expected
    assert type(got) is type(expected)


@pytest.mark.parametrize(
    ("annotation", "given"), [case[:2] for case in CASES], ids=lambda value: str(value)[:60]
)
def test_the_declaration_is_json_schema_that_the_value_fits(annotation: Any, given: Any) -> None:
    schema = tool_of(annotation).declaration["parametersJsonSchema"]
    jsonschema.Draft202012Validator.check_schema(schema)
    assert titles(schema) == []
    jsonschema.validate({"value": given}, schema)


@pytest.mark.parametrize(
    ("annotation", "given"),
    [
        (int, 5.5),
        (int, "five"),
        (str, 5),
        (float, "NaN"),
        (float, "Infinity"),
        (Decimal, "NaN"),
        (list[int], "1"),
        (tuple[int, str], [1]),
        (Literal["a"], "b"),
        (Color, "green"),
        (Annotated[int, Field(ge=1)], 0),
        (bytes, "a"),
        (date, "tomorrow"),
        (Pet, {"kind": "fish"}),
        (Person, {"home": {}}),
        (collections.abc.Iterable[int], ["a"]),
        (int, None),
    ],
)
def test_a_value_that_does_not_fit_is_refused(annotation: Any, given: Any) -> None:
    with pytest.raises(InvalidArguments, match=r"^value"):
        bound(tool_of(annotation), value=given)


def schema_of(annotation: Any) -> Any:
    return tool_of(annotation).declaration["parametersJsonSchema"]["properties"]["value"]


def test_bytes_are_declared_the_way_they_are_validated() -> None:
    assert schema_of(bytes) == {"type": "string", "contentEncoding": "base64"}
    models = tool_of(tuple[Sealed, Plain]).declaration["parametersJsonSchema"]["$defs"]
    assert models["Sealed"]["properties"]["data"] == {"type": "string", "contentEncoding": "base64"}
    assert models["Plain"]["properties"]["data"] == {"type": "string"}


def test_constraints_enums_and_defaults_are_kept() -> None:
    assert schema_of(Annotated[int, Field(ge=1, le=9, multiple_of=2)]) == {
        "type": "integer",
        "minimum": 1,
        "maximum": 9,
        "multipleOf": 2,
    }
    assert schema_of(Literal["a", "b"]) == {"type": "string", "enum": ["a", "b"]}
    assert schema_of(tuple[int, str])["prefixItems"] == [{"type": "integer"}, {"type": "string"}]


def test_what_the_api_does_not_know_is_written_as_it_does() -> None:
    assert schema_of(Literal["only"]) == {"type": "string", "enum": ["only"]}
    assert "discriminator" not in schema_of(Pet)
    described = schema_of(Annotated[Node, "the root"])
    assert described == {"anyOf": [{"$ref": "#/$defs/Node"}], "description": "the root"}


def test_a_property_named_title_stays() -> None:
    node = tool_of(Node).declaration["parametersJsonSchema"]["$defs"]["Node"]
    assert node["properties"]["title"] == {"type": "string"}
    assert node["description"] == "A tree."

    def titled(title: str, default: int, properties: str) -> None: ...

    schema = Tool.of(titled).declaration["parametersJsonSchema"]
    assert list(schema["properties"]) == schema["required"] == ["title", "default", "properties"]


def test_types_of_the_same_name_have_definitions_of_their_own() -> None:
    def make(kind: type) -> Any:
        class Same(BaseModel):
            value: kind  # type: ignore[valid-type]

        return Same

    def both(a: Any, b: Any, c: Any) -> list[str]:
        return [type(x.value).__name__ for x in (a, b)]

    both.__annotations__.update(a=make(int), b=make(str), c=Box[dict[str, int]] | None)
    made = Tool.of(both)
    names = made.declaration["parametersJsonSchema"]["$defs"]
    assert len(names) == 3
    assert all(
        set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
        for name in names
    )
    assert bound(made, a={"value": "1"}, b={"value": "1"}, c=None) == ["int", "str"]


def test_a_definition_with_a_name_in_another_script_gets_a_plain_one() -> None:
    class Größe(BaseModel):
        zahl: int

    schema = tool_of(Größe).declaration["parametersJsonSchema"]
    (name,) = schema["$defs"]
    assert name.isascii()
    jsonschema.validate({"value": {"zahl": 1}}, schema)


def test_a_typed_dict_that_contains_itself_works() -> None:
    def walk(folder: Folder) -> int:
        return len(folder["inside"])

    assert bound(Tool.of(walk), folder={"inside": [{"inside": []}]}) == 1


def test_a_literal_of_enum_members_takes_their_values_and_gives_the_members() -> None:
    def f(
        color: Literal[Color.RED, Color.BLUE, "any"],
        more: list[Literal[Color.BLUE] | None],
        by: dict[Literal[Color.RED], int],
    ) -> Any:
        return color, more, by

    made = Tool.of(f)
    properties = made.declaration["parametersJsonSchema"]["properties"]
    assert properties["color"]["enum"] == ["red", 2, "any"]
    args = {"color": "red", "more": [2, None], "by": {"red": 1}}
    assert made.bind(args, Context(deps=None))() == (Color.RED, [Color.BLUE, None], {Color.RED: 1})
    assert made.bind({**args, "color": "any"}, Context(deps=None))()[0] == "any"
    with pytest.raises(InvalidArguments, match="color should be 'red', 2 or 'any'"):
        made.bind({**args, "color": "blue"}, Context(deps=None))


def test_a_default_of_bytes_is_declared_as_it_is_taken() -> None:
    def f(a: bytes = b"\xff\xfe", b: Annotated[list[bytes], Field(default=[b"\xff\xfe"])] = [b"\xff"]) -> Any:  # noqa: B006
        return a, b

    made = Tool.of(f)
    properties = made.declaration["parametersJsonSchema"]["properties"]
    defaults = {name: schema["default"] for name, schema in properties.items()}
    assert defaults == {"a": "//4=", "b": ["/w=="]}
    assert made.bind(defaults, Context(deps=None))() == (b"\xff\xfe", [b"\xff"])
    schema: Any = Tool.of(inner).declaration
    assert "//4=" in str(schema)


class Inner(typing_extensions.TypedDict):
    data: Annotated[bytes, Field(default=b"\xff\xfe")]


def inner(a: Inner) -> None: ...
