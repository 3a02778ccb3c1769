"""The schema says what the validator does, and what can't be declared says why or is left out."""

import io
import json
import logging
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from datetime import date
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import IO, Annotated, Any, Literal, Required

import jsonschema
import pytest
from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, SecretStr, Tag
from pydantic.dataclasses import dataclass as pydantic_dataclass
from typing_extensions import TypedDict, Unpack

from agentkit import ConfigurationError, Context, Output, ToolDefinitionError
from agentkit.tooling.schema import InvalidArguments
from agentkit.tooling.tool import Tool

NO_CONTEXT = Context(deps=None)


def taking(annotation: Any, **options: Any) -> Tool:
    def take(x: Any) -> Any:
        return x

    take.__annotations__["x"] = annotation
    return Tool.of(take, **options)


def given(annotation: Any, value: Any) -> Any:
    return taking(annotation).bind({"x": value}, NO_CONTEXT)()


def schema_of(made: Tool) -> Any:
    schema = made.declaration["parametersJsonSchema"]
    jsonschema.Draft202012Validator.check_schema(schema)
    return schema


# -- words of classes ----------------------------------------------------------------------------------------------


class Base(BaseModel):
    id: int
    """The number."""


class Described(Base):
    """A thing.

    Attributes:
        title: What it is called.
        gone: Of no field.
    """

    title: str
    size: Annotated[int, Field(description="field")] = 1
    """Not this."""
    other: Base | None = None
    """Another
    thing."""
    named: str = Field("x", alias="name")
    """With an alias."""
    plain: int = 1
    "With one quote."


@dataclass
class Room:
    """A room.

    Attributes:
        seats: How many.
    """

    seats: int
    door: str = "left"
    """Where it is."""


@pydantic_dataclass
class Checked:
    a: int
    """The a."""


class Keys(TypedDict, total=False):
    """Keys."""

    a: Required[int]
    """The a."""
    b: str


def descriptions(schema: Any) -> dict[str, Any]:
    return {name: part.get("description") for name, part in schema["properties"].items()}


def test_texts_below_the_fields_of_a_model_and_its_bases_are_their_descriptions() -> None:
    schema = schema_of(taking(list[Described]))["$defs"]["Described"]
    assert descriptions(schema) == {
        "id": "The number.",
        "title": "What it is called.",
        "size": "field",
        "other": "Another thing.",
        "name": "With an alias.",
        "plain": "With one quote.",
    }
    assert schema["description"] == "A thing.\n\nAttributes:\n    gone: Of no field."


def test_dataclasses_and_typed_dicts_are_described_too() -> None:
    defs = schema_of(taking(dict[str, Room | Checked | Keys]))["$defs"]
    assert descriptions(defs["Room"]) == {"seats": "How many.", "door": "Where it is."}
    assert defs["Room"]["description"] == "A room."
    assert descriptions(defs["Checked"]) == {"a": "The a."}
    assert descriptions(defs["Keys"]) == {"a": "The a.", "b": None}


def test_a_class_that_is_a_tool_and_unpacked_keywords_are_described() -> None:
    def search(words: str, **keys: Unpack[Keys]) -> None: ...

    for made in (Tool.of(Described), Tool.of(Room), Tool.of(Checked), Tool.of(search)):
        assert (
            "The a." in json.dumps(schema_of(made))
            or "What it is called." in json.dumps(schema_of(made))
            or ("How many." in json.dumps(schema_of(made)))
        )
    assert descriptions(schema_of(Tool.of(search))) == {"words": None, "a": "The a.", "b": None}
    assert Tool.of(Room).description == "A room."


def test_the_fields_of_an_output_are_described() -> None:
    assert descriptions(Output(Base).schema) == {"id": "The number."}


# -- dataclasses ---------------------------------------------------------------------------------------------------


@dataclass
class Order:
    sku: str
    total: float = field(init=False, default=0.0)
    rate: InitVar[float] = 1.0

    def __post_init__(self, rate: float) -> None:
        self.total = rate * 2


@pydantic_dataclass
class Checkout:
    sku: str
    total: float = field(init=False, default=0.0)


@pytest.mark.parametrize("kind", [Order, Checkout, list[Order]], ids=str)
def test_a_field_that_a_dataclass_sets_by_itself_is_no_argument(kind: Any) -> None:
    schema = schema_of(taking(kind))
    assert "total" not in json.dumps(schema)
    assert given(Order, {"sku": "a", "rate": 4}).total == 8
    with pytest.raises(InvalidArguments, match=r"x\.total is not a known field"):
        given(Order, {"sku": "a", "total": 3})
    assert list(schema_of(Tool.of(Order))["properties"]) == ["sku", "rate"]
    assert "total" not in Output(Order).schema["properties"]


# -- tags ----------------------------------------------------------------------------------------------------------


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog", "wolf"] = "dog"


class Aliased(BaseModel):
    kind: Literal["fish"] = Field("fish", alias="type")


class Fowl(BaseModel):
    kind: Literal["bird"] = Field("bird", alias="type")


class Loose(TypedDict, total=False):
    kind: Literal["loose"]


@dataclass
class Plain:
    kind: Literal["plain"] = "plain"


Pet = Annotated[Cat | Dog, Field(discriminator="kind")]


class Owner(BaseModel):
    pets: list[Pet] = []


class Tree(BaseModel):
    kind: Literal["tree"] = "tree"
    kids: list["Node"] = []


class Leaf(BaseModel):
    kind: Literal["leaf"] = "leaf"


Node = Annotated[Tree | Leaf, Field(discriminator="kind")]
Tree.model_rebuild()


@pytest.mark.parametrize(
    ("kind", "wrong", "right"),
    [
        (Pet, {"lives": 9}, {"kind": "cat"}),
        (Pet | None, {"lives": 9}, {"kind": "wolf"}),
        (list[Pet], [{"lives": 9}], [{"kind": "cat", "lives": 1}]),
        (dict[str, Pet], {"a": {}}, {"a": {"kind": "dog"}}),
        (Owner, {"pets": [{}]}, {"pets": [{"kind": "dog"}]}),
        (Annotated[Aliased | Fowl, Field(discriminator="kind")], {}, {"type": "bird"}),
        (Annotated[Cat | Loose | Plain, Field(discriminator="kind")], {}, {"kind": "loose"}),
        (Annotated[Pet | Loose, Field(discriminator="kind")], {"lives": 9}, {"kind": "loose"}),
        (Node, {"kids": []}, {"kind": "tree", "kids": [{"kind": "leaf"}]}),
        (Node, {"kind": "tree", "kids": [{}]}, {"kind": "tree"}),
    ],
    ids=str,
)
def test_the_tag_of_a_union_is_required_as_the_validator_has_it(kind: Any, wrong: Any, right: Any) -> None:
    schema = schema_of(taking(kind))
    assert given(kind, right) is not None
    jsonschema.validate({"x": right}, schema)
    with pytest.raises(InvalidArguments):
        given(kind, wrong)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"x": wrong}, schema)
    output: Output[Any] = Output(dict[str, kind])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"x": wrong}, output.schema)


def test_a_missing_tag_is_named() -> None:
    with pytest.raises(InvalidArguments) as caught:
        given(list[Pet], [{"lives": 9}])
    assert caught.value.problems == ["x[0] needs 'kind', which says what it is (got {\"lives\": 9})"]


def test_a_union_that_a_function_tells_apart_requires_no_tag() -> None:
    def tell(value: Any) -> str:
        return "cat" if "lives" in value else "dog"

    kind = Annotated[Annotated[Cat, Tag("cat")] | Annotated[Dog, Tag("dog")], Discriminator(tell)]
    assert given(kind, {"lives": 3}) == Cat(lives=3)
    jsonschema.validate({"x": {"lives": 3}}, schema_of(taking(kind)))


# -- sets ----------------------------------------------------------------------------------------------------------


class Frozen(BaseModel, frozen=True):
    x: int


@dataclass(frozen=True)
class FrozenPoint:
    x: int


SETS: list[Any] = [
    set[list[int]], set[list], set[dict], frozenset[list[int]], set[set[int]], set[deque[int]], set[Keys],  # type: ignore[type-arg]
    set[Cat], set[Room], set[tuple[list[int], int]], list[set[list[int]]], dict[str, set[dict[str, int]]],
    set[list[int] | dict[str, int]], set[Sequence[int]], set[Mapping[str, int]], set[Tree],
    Annotated[set[list[int]], "x"],
]  # fmt: skip


@pytest.mark.parametrize("kind", SETS, ids=str)
def test_a_set_of_what_no_set_can_hold_is_refused(kind: Any) -> None:
    with pytest.raises(ToolDefinitionError, match=r"parameter 'x'.*can't be in a set.*use a list"):
        taking(kind)
    with pytest.raises(ConfigurationError, match="can't be in a set"):
        Output(kind)


@pytest.mark.parametrize(
    ("kind", "value", "made"),
    [
        (set[int], [1, 1], {1}),
        (set[tuple[int, ...]], [[1], [2]], {(1,), (2,)}),
        (set[frozenset[int]], [[1]], {frozenset({1})}),
        (set[Frozen], [{"x": 1}], {Frozen(x=1)}),
        (frozenset[FrozenPoint], [{"x": 1}], frozenset({FrozenPoint(1)})),
        (set[int | list[int]], [1], {1}),
        (set[Annotated[list[int], AfterValidator(tuple)]], [[1]], {(1,)}),
        (set[Any], ["a"], {"a"}),
        (set, ["a"], {"a"}),
        (set[Pet | int], [1], {1}),
    ],
    ids=str,
)
def test_a_set_of_what_some_set_can_hold_is_taken(kind: Any, value: Any, made: Any) -> None:
    assert given(kind, value) == made


# -- names and patterns --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["über", "a-b", "a.b", "a b", "1a", "", "a" * 65, "日本", "$x"])
def test_a_parameter_name_that_gemini_does_not_take_is_refused(name: str) -> None:
    with pytest.raises(
        ToolDefinitionError, match=r"parameter .* has a name that Gemini doesn't take.*Field\(alias="
    ):
        taking(Annotated[int, Field(alias=name or " ")])
    with pytest.raises(ToolDefinitionError, match=r"has a name that Gemini doesn't take.*Rename it"):
        Tool.from_declaration(
            {"name": "f", "parameters": {"type": "OBJECT", "properties": {name: {"type": "STRING"}}}}, print
        )
    with pytest.raises(ToolDefinitionError, match="has a name that Gemini doesn't take"):
        Tool.from_declaration({"name": "f", "inputSchema": {"properties": {name: {}}}}, print)


@pytest.mark.parametrize("name", ["a", "_", "A_1", "a" * 64])
def test_a_parameter_name_that_gemini_takes_is_taken(name: str) -> None:
    assert list(schema_of(taking(Annotated[int, Field(alias=name)]))["properties"]) == [name]


def test_a_parameter_in_letters_that_gemini_does_not_take_may_have_an_alias() -> None:
    def f(größe: int) -> int:
        return größe

    def g(größe: Annotated[int, Field(alias="groesse")]) -> int:
        return größe

    with pytest.raises(ToolDefinitionError, match="parameter 'größe' has a name"):
        Tool.of(f)
    assert Tool.of(g).bind({"groesse": 3}, NO_CONTEXT)() == 3


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [("(?=x)a", "look-around, .* is not supported"), ("(?<!x)a", "look-around"), ("(", "unclosed group")],
)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda kind: kind,
        lambda kind: list[kind],  # type: ignore[valid-type]
        lambda kind: kind | None,
    ],
)
def test_a_pattern_that_can_not_be_checked_is_refused_with_the_reason(
    wrap: Any, pattern: str, reason: str
) -> None:
    kind = wrap(Annotated[str, Field(pattern=pattern)])
    with pytest.raises(
        ToolDefinitionError, match=rf"parameter 'x'.*pattern can't be used: .*{reason}.*in the function"
    ):
        taking(kind)
    with pytest.raises(ConfigurationError, match=reason):
        Output(kind)


def test_a_model_may_use_pythons_own_patterns() -> None:
    class Code(BaseModel):
        model_config = ConfigDict(regex_engine="python-re")
        code: str = Field(pattern="^(?!x)a")

    assert given(Code, {"code": "a"}).code == "a"


# -- what is left out ----------------------------------------------------------------------------------------------


class Client:
    """What only a program has."""


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.name == "agentkit"]


def test_keywords_without_a_type_are_left_out_with_a_line_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def search(query: str, *rest, n: int = 1, **options) -> Any:  # type: ignore[no-untyped-def]
        """Search.

        Args:
            query: The words.
            **options: Passed on.
        """
        return query, rest, n, options

    made = Tool.of(search)
    assert list(schema_of(made)["properties"]) == ["query", "n"]
    assert schema_of(made)["additionalProperties"] is False
    assert made.bind({"query": "a"}, NO_CONTEXT)() == ("a", (), 1, {})
    with pytest.raises(InvalidArguments, match="limit is not a parameter"):
        made.bind({"query": "a", "limit": 3}, NO_CONTEXT)
    first, second = logged(caplog)
    assert "search: *rest has no type" in first
    assert "search: **options has no type" in second


def test_a_function_of_nothing_but_more_is_one_without_parameters(caplog: pytest.LogCaptureFixture) -> None:
    def keywords(**options) -> Any:  # type: ignore[no-untyped-def]
        return options

    def positional(*rest) -> Any:  # type: ignore[no-untyped-def]
        return rest

    def both(*rest, **options) -> Any:  # type: ignore[no-untyped-def]
        return rest, options

    def of_clients(*rest: Client, **options: Client) -> Any:
        return rest, options

    for function, value in ((keywords, {}), (positional, ()), (both, ((), {})), (of_clients, ((), {}))):
        caplog.clear()
        made = Tool.of(function)
        assert schema_of(made) == {"type": "object", "properties": {}}
        assert made.bind({}, NO_CONTEXT)() == value
        with pytest.raises(InvalidArguments, match="limit is not a parameter"):
            made.bind({"limit": 3}, NO_CONTEXT)
        assert len(logged(caplog)) == (2 if value == ((), {}) else 1)


@pytest.mark.parametrize(
    "kind", [Client, list[Client], IO[str], Client | None, type[int], Any | Client], ids=str
)
def test_an_optional_parameter_that_can_not_be_declared_is_left_out(
    kind: Any, caplog: pytest.LogCaptureFixture
) -> None:
    default = Client()

    def search(query: Path, client: Any = default, /, other: Any = default, *more: Any, n: int = 1) -> Any:
        return str(query), client, other, more, n

    search.__annotations__ |= {"client": kind, "other": kind, "more": kind}
    made = Tool.of(search)
    assert list(schema_of(made)["properties"]) == ["query", "n"]
    assert made.bind({"query": "a", "n": 2}, NO_CONTEXT)() == ("a", default, default, (), 2)
    lines = logged(caplog)
    assert len(lines) == 3
    assert all("so the model isn't told of it" in line for line in lines)
    assert "parameter 'client' has the type" in lines[0]
    assert logging.getLevelName(caplog.records[0].levelno) == "WARNING"


def test_a_required_parameter_that_can_not_be_declared_is_refused_as_before() -> None:
    with pytest.raises(ToolDefinitionError, match=r"parameter 'x' has the type .*Client"):
        taking(Client)


HIDDEN = SecretStr("hunter2")


class Login(BaseModel):
    user: str = "ann"
    key: SecretStr = HIDDEN


@dataclass
class Access:
    login: Login = field(default_factory=Login)
    key: SecretStr = HIDDEN


@pytest.mark.parametrize(
    ("type", "default"),
    [
        (Mapping[str, str], os.environ),
        (Any, os.environ),
        (Any, {"deep": [os.environ]}),
        (SecretStr, SecretStr("hunter2")),
        (str, SecretStr("hunter2")),
        (list[SecretStr], [SecretStr("hunter2")]),
        (Login, Login()),
        (Access, Access()),
        (Any, iter(["read"])),
        (Any, io.StringIO("a line")),
        (Any, object()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_default_that_is_no_data_or_holds_a_secret_is_not_declared(type: Any, default: Any) -> None:
    def look(at: Any = default) -> Any:
        return at

    look.__annotations__["at"] = type
    made = Tool.of(look)
    declared = schema_of(made)
    assert "default" not in declared["properties"]["at"]
    assert "***" not in str(declared)
    assert made.bind({}, NO_CONTEXT)() is default
    if isinstance(default, Iterator):
        assert list(default)  # nobody has read it


class Form(Enum):
    WHOLE = "whole"


def test_a_default_that_is_data_is_declared() -> None:
    def look(
        path: Path = Path("a"),
        day: date = date(2026, 1, 2),
        form: Form = Form.WHOLE,
        prices: Mapping[str, int] = MappingProxyType({"tea": 3}),
        sizes: frozenset[int] = frozenset({1}),
    ) -> None: ...

    properties = schema_of(Tool.of(look))["properties"]
    assert [each["default"] for each in properties.values()] == [
        "a",
        "2026-01-02",
        "whole",
        {"tea": 3},
        [1],
    ]
