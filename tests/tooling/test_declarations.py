"""What the model reads of a function: names, descriptions, defaults; and what it doesn't see."""

import math
import typing
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, NamedTuple, NotRequired, Required

import jsonschema
import pytest
from pydantic import BaseModel, Field
from typing_extensions import Doc, ReadOnly, TypedDict, Unpack

from agentkit.tooling.context import Context
from agentkit.tooling.schema import InvalidArguments
from agentkit.tooling.tool import Tool


def schema_of(function: Any, **options: Any) -> Any:
    schema = Tool.of(function, **options).declaration["parametersJsonSchema"]
    jsonschema.Draft202012Validator.check_schema(schema)
    return schema


def words_of(function: Any) -> dict[str, Any]:
    return {name: part.get("description") for name, part in schema_of(function)["properties"].items()}


def google(city: str, days: int = 1, *more: str, **rest: int) -> None:
    """Forecast the weather.

    It looks a few days ahead.
    Longer is a guess.

    Args:
        city: The city, e.g. "Paris: France",
            in English.
        days (int): How many.
        *more: More cities.

    Returns:
        The forecast.

    Raises:
        ValueError: Never.
    """


def numpy(city: str, days: int = 1, unit: str = "C") -> None:
    """Forecast the weather.

    Parameters
    ----------
    city, days : str
        Both of them.
    unit : str

    Returns
    -------
    str
        The forecast.
    """


def rest(city: str, days: int = 1) -> None:
    """Forecast the weather.

    :param city: The city.
    :param days: How many.
    :returns: The forecast.
    """


def epydoc(city: str, days: int = 1) -> None:
    """Forecast the weather.

    @param city: The city.
    @param days: How many.
    @return: The forecast.
    """


def test_a_google_docstring_describes_the_tool_and_its_parameters() -> None:
    assert (
        Tool.of(google).description
        == "Forecast the weather.\n\nIt looks a few days ahead.\nLonger is a guess.\n\nReturns: The forecast."
    )
    assert words_of(google) == {
        "city": 'The city, e.g. "Paris: France", in English.',
        "days": "How many.",
        "more": "More cities.",
    }


def noted(a: int, *, d: int = 1) -> None:
    """Do it.

    Args:
        a: First.

    Keyword Args:
        d: Fourth.

    Note:
        Only after login.

    Returns:
        Nothing.

    Warning: once.

    Example:
        >>> noted(1)
    """


def noted_numpy(a: int, *, d: int = 1) -> None:
    """Do it.

    Parameters
    ----------
    a : int
        First.

    Notes
    -----
    Only after login.

    Other Parameters
    ----------------
    d : int
        Fourth.
    """


def noted_rest(a: int, *, d: int = 1) -> None:
    """Do it.

    :param a: First.
    :keyword d: Fourth.
    :returns: nothing

    .. note:: Only after login.
    """


@pytest.mark.parametrize(
    ("function", "description"),
    [
        (
            noted,
            "Do it.\n\nNote:\n    Only after login.\n\nWarning: once.\n\nExample:\n    >>> noted(1)",
        ),
        (noted_numpy, "Do it.\n\nNotes\n-----\nOnly after login."),
        (noted_rest, "Do it.\n\n.. note:: Only after login."),
    ],
)
def test_notes_stay_in_the_description_and_keywords_are_described(function: Any, description: str) -> None:
    assert Tool.of(function).description == description
    assert words_of(function) == {"a": "First.", "d": "Fourth."}


def test_a_numpy_docstring_describes_parameters_named_together() -> None:
    assert Tool.of(numpy).description == "Forecast the weather.\n\nReturns:\n    str\n        The forecast."
    assert words_of(numpy) == {"city": "Both of them.", "days": "Both of them.", "unit": None}


@pytest.mark.parametrize("function", [rest, epydoc])
def test_rest_and_epydoc_docstrings_describe_parameters(function: Any) -> None:
    assert Tool.of(function).description == "Forecast the weather.\n\nReturns: The forecast."
    assert words_of(function) == {"city": "The city.", "days": "How many."}


def test_a_docstring_without_sections_is_the_description() -> None:
    def plain(a: int) -> None:
        """Do it
        in two lines.

        And: more.
        """

    assert Tool.of(plain).description == "Do it\nin two lines.\n\nAnd: more."
    assert words_of(plain) == {"a": None}


def test_field_wins_over_plain_text_and_plain_text_over_the_docstring() -> None:
    def f(
        a: Annotated[int, "text", Field(description="field")],
        b: Annotated[int, "text", "second text"],
        c: Annotated[int, Field(ge=1)],
        d: Annotated[int, Doc("doc")],
        e: int = Field(3, description="field"),
    ) -> None:
        """Do.

        Args:
            a: docstring
            b: docstring
            c: docstring
            d: docstring
            e: docstring
            gone: of no parameter
        """

    assert Tool.of(f).description == "Do.\n\nArgs:\n    gone: of no parameter"
    assert words_of(f) == {"a": "field", "b": "text", "c": "docstring", "d": "doc", "e": "field"}


def test_a_tool_without_any_words_is_declared_without_description() -> None:
    def f(a: int) -> None: ...

    assert Tool.of(f).declaration.keys() == {"name", "parametersJsonSchema"}
    assert Tool.of(f, description="Told.").declaration["description"] == "Told."
    assert "description" not in Tool.of(google, description="").declaration


def test_a_tool_without_parameters_is_declared_as_an_object_without_any() -> None:
    def f(ctx: Context[int]) -> int:
        return ctx.deps

    tool = Tool.of(f)
    assert tool.declaration == {
        "name": "f",
        "parametersJsonSchema": {"type": "object", "properties": {}},
    }
    assert tool.bind({}, Context(deps=3))() == 3
    with pytest.raises(InvalidArguments, match="a is not a parameter; the parameters are: none"):
        tool.bind({"a": 1}, Context(deps=3))


class Suit(Enum):
    HEARTS = "h"


@dataclass
class Card:
    suit: Suit
    rank: int = 1


def test_defaults_of_every_json_kind_are_declared() -> None:
    def f(
        a: str = "x",
        b: int = 1,
        c: float = 0.5,
        d: bool = False,
        e: int | None = None,
        f: list[int] = [1],  # noqa: B006
        g: dict[str, int] = {"a": 1},  # noqa: B006
        h: Any = None,
        i: set[str] = {"b", "a"},  # noqa: B006
        j: date = date(2026, 1, 2),
        k: Decimal = Decimal("0.10"),
        l: Suit = Suit.HEARTS,  # noqa: E741
        m: Card = Card(Suit.HEARTS),  # noqa: B008
        n: bytes = b"hi",
        o: tuple[int, str] = (1, "a"),
    ) -> list[Any]:
        return [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o]

    schema = schema_of(f)
    assert "required" not in schema
    assert [part["default"] for part in schema["properties"].values()] == [
        "x", 1, 0.5, False, None, [1], {"a": 1}, None, ["a", "b"], "2026-01-02", "0.10", "h",
        {"suit": "h", "rank": 1}, "aGk=", [1, "a"],
    ]  # fmt: skip
    assert Tool.of(f).bind({}, Context(deps=None))() == f()


def test_a_default_that_json_cannot_hold_works_and_is_not_declared() -> None:
    marker = object()

    class Options(BaseModel):
        limit: float = math.inf
        other: Any = marker

    def f(a: Any = marker, b: float = math.nan, c: int = None, o: Options | None = None) -> Any:  # type: ignore[assignment]  # noqa: RUF013
        return a, b, c

    schema = schema_of(f)
    assert [part.get("default", "-") for part in schema["properties"].values()] == ["-", "-", "-", None]
    assert schema["$defs"]["Options"]["properties"] == {"limit": {"type": "number"}, "other": {}}
    assert Tool.of(f).bind({}, Context(deps=None))() == (marker, f()[1], None)


def test_defaults_given_by_field_are_used() -> None:
    def f(
        a: int = Field(3, ge=1),
        b: Annotated[int, Field(default=4)] = 5,
        c: list[int] = Field(default_factory=lambda: [1]),  # noqa: B008
        *,
        d: Annotated[int, Field(default=6)],
    ) -> Any:
        return a, b, c, d

    tool = Tool.of(f)
    assert "required" not in schema_of(f)
    assert tool.bind({}, Context(deps=None))() == (3, 5, [1], 6)
    with pytest.raises(InvalidArguments):
        tool.bind({"a": 0}, Context(deps=None))


def test_an_alias_given_by_field_is_the_name_that_the_model_uses() -> None:
    def send(from_: Annotated[str, Field(alias="from")], to: str = "all") -> str:
        return f"{from_} {to}"

    assert list(schema_of(send)["properties"]) == ["from", "to"]
    assert Tool.of(send).bind({"from": "me"}, Context(deps=None))() == "me all"


def test_null_for_what_has_a_default_counts_as_left_out_unless_null_fits() -> None:
    def f(a: int, b: int = 2, c: int | None = 3, d: list[int] = [4]) -> Any:  # noqa: B006
        return a, b, c, d

    tool = Tool.of(f)
    assert tool.bind({"a": 1, "b": None, "c": None, "d": None}, Context(deps=None))() == (1, 2, None, [4])
    with pytest.raises(InvalidArguments) as caught:
        tool.bind({"a": None, "b": None, "d": [None]}, Context(deps=None))
    assert [problem.split()[0] for problem in caught.value.problems] == ["a", "d[0]"]


class Filters(TypedDict, total=False):
    """Of a search."""

    since: Required[Annotated[date, "from when"]]
    limit: ReadOnly[Annotated[int, Field(ge=1)]]


def search(words: str, **filters: Unpack[Filters]) -> Any:
    return words, filters


def search_by_typing(words: str, **filters: typing.Unpack[Filters]) -> Any:
    return words, filters


@pytest.mark.parametrize("search", [search, search_by_typing])
def test_keywords_unpacked_from_a_typed_dict_are_parameters(search: Any) -> None:
    schema = schema_of(search)
    assert schema["required"] == ["words", "since"]
    assert schema["properties"]["since"] == {"type": "string", "format": "date", "description": "from when"}
    tool = Tool.of(search)
    given = {"words": "x", "since": "2026-01-02", "limit": None}
    assert tool.bind(given, Context(deps=None))() == ("x", {"since": date(2026, 1, 2)})
    with pytest.raises(InvalidArguments, match=r"limit should be greater.*more is not a parameter"):
        tool.bind({"words": "x", "since": "2026-01-02", "limit": 0, "more": 1}, Context(deps=None))


def test_typed_star_parameters_take_lists_and_any_other_names() -> None:
    def f(a: int, b: int = 2, /, c: int = 3, *rest: float, d: int, **kw: list[date]) -> Any:
        return a, b, c, rest, d, kw

    schema = schema_of(f)
    assert schema["required"] == ["a", "d"]
    assert schema["properties"]["rest"] == {"type": "array", "items": {"type": "number"}}
    assert schema["additionalProperties"] == {"type": "array", "items": {"type": "string", "format": "date"}}
    tool = Tool.of(f)
    assert tool.bind({"a": 1, "d": 4}, Context(deps=None))() == (1, 2, 3, (), 4, {})
    got = tool.bind({"a": 1, "rest": [1, 2], "d": 4, "e": ["2026-01-02"], "p0": []}, Context(deps=None))()
    assert got == (1, 2, 3, (1.0, 2.0), 4, {"e": [date(2026, 1, 2)], "p0": []})
    with pytest.raises(InvalidArguments, match=r"e\[0\]"):
        tool.bind({"a": 1, "d": 4, "e": ["x"]}, Context(deps=None))


def test_untyped_values_of_star_star_parameters_may_be_anything() -> None:
    def f(**kw: Any) -> Any:
        return kw

    assert schema_of(f)["additionalProperties"] is True
    assert Tool.of(f).bind({"a": [1], "kw": None}, Context(deps=None))() == {"a": [1], "kw": None}


def test_an_unpacked_tuple_of_star_parameters_has_its_length() -> None:
    def f(*pair: Unpack[tuple[int, str]]) -> Any:  # noqa: UP044
        return pair

    def g(*many: *tuple[int, ...]) -> Any:
        return many

    assert schema_of(f)["required"] == ["pair"]
    assert Tool.of(f).bind({"pair": ["1", "a"]}, Context(deps=None))() == (1, "a")
    assert "required" not in schema_of(g)
    assert Tool.of(g).bind({}, Context(deps=None))() == ()


@pytest.mark.parametrize(
    "name", ["self_", "args", "kwargs", "p0", "model_config", "schema", "validate", "cls", "copy"]
)
def test_no_parameter_name_clashes_with_the_machinery(name: str) -> None:
    def f(**kwargs: int) -> Any:
        return kwargs

    assert Tool.of(f).bind({name: "1"}, Context(deps=None))() == {name: 1}

    make: Any = TypedDict
    parameters = make("parameters", {name: NotRequired[int]})

    def g(**given: Any) -> Any:
        return given

    g.__annotations__["given"] = Unpack[parameters]
    assert Tool.of(g).bind({name: "1"}, Context(deps=None))() == {name: 1}


class MyContext(Context[int]):
    pass


def test_a_context_is_hidden_and_given_wherever_it_is_asked_for() -> None:
    def f(
        c1: Context,
        a: int,
        c2: Context[int],
        /,
        c3: Annotated[Context[int], "hidden"],
        c4: Context[int] | None = None,
        *rest: int,
        c5: "Context[dict[str, int]] | None",
        c6: MyContext | None = None,
    ) -> Any:
        return a, rest, {id(c) for c in (c1, c2, c3, c4, c5, c6)}

    assert list(schema_of(f)["properties"]) == ["a", "rest"]
    context = Context(deps=3)
    assert Tool.of(f).bind({"a": 1, "rest": [2]}, context)() == (1, (2,), {id(context)})
    with pytest.raises(InvalidArguments, match="c1 is not a parameter"):
        Tool.of(f).bind({"a": 1, "c1": {}}, context)


class Pair(NamedTuple):
    left: int
    right: str = "r"


class Order(BaseModel):
    """An order."""

    sku: str
    n: Annotated[int, Field(ge=1)] = 1
    notes: list[str] = Field(default_factory=list)


@dataclass
class Room:
    """A room.

    Args:
        name: What it says on the door.
    """

    name: str
    seats: list[int] = field(default_factory=list)


def test_classes_are_tools_that_make_their_instances() -> None:
    context = Context(deps=None)
    assert Tool.of(Pair).bind({"left": "1"}, context)() == Pair(1)
    assert Tool.of(Order).bind({"sku": "a"}, context)() == Order(sku="a")
    assert Tool.of(Order).description == "An order."
    assert Tool.of(Room).bind({"name": "a"}, context)() == Room("a")
    assert words_of(Room) == {"name": "What it says on the door.", "seats": None}
    assert Tool.of(Card).description == ""
