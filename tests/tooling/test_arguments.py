"""Arguments as models write them: what is meant is taken, and what is wrong is said so that the next try fits."""

import json
from dataclasses import dataclass, field
from datetime import date
from typing import Annotated, Any, Literal, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from agentkit import Context, Output
from agentkit.tooling.schema import InvalidArguments
from agentkit.tooling.tool import Tool

NO_CONTEXT = Context(deps=None)


def taking(annotation: Any) -> Tool:
    def take(x: Any, y: Any = None) -> Any:
        return x

    take.__annotations__ |= {"x": annotation, "y": int}
    return Tool.of(take)


def bound(annotation: Any, value: Any) -> Any:
    return taking(annotation).bind({"x": value}, NO_CONTEXT)()


def problems(annotation: Any, value: Any) -> list[str]:
    with pytest.raises(InvalidArguments) as caught:
        bound(annotation, value)
    return caught.value.problems


class Nested(BaseModel):
    n: int = 1
    maybe: int | None = 2
    names: list[str] = ["a"]
    by_key: dict[str, int] = {}
    inner: "Inner | None" = None
    aliased: Annotated[int, Field(validation_alias="from")] = 7


@dataclass
class Inner:
    must: int
    may: int = 3
    lists: list[int] = field(default_factory=list)


class Typed(TypedDict, total=False):
    n: int


class Pair(NamedTuple):
    left: int
    right: int = 4


# -- null ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "value", "made"),
    [
        (Nested, {"n": None}, Nested()),
        (Nested, {"n": None, "maybe": None, "names": None, "by_key": None, "from": None}, Nested(maybe=None)),
        (Inner, {"must": 1, "may": None, "lists": None}, Inner(1)),
        (Typed, {"n": None}, {}),
        (list[Nested], [{"n": None}, {"n": 5}], [Nested(), Nested(n=5)]),
        (dict[str, list[Inner]], {"a": [{"must": 1, "may": None}]}, {"a": [Inner(1)]}),
        (tuple[int, Inner], [1, {"must": 1, "may": None}], (1, Inner(1))),
        (Nested, {"inner": {"must": 1, "may": None}}, Nested(inner=Inner(1))),
        (Inner | Nested, {"n": None, "names": None}, Nested()),
        (Annotated[Nested, Field(description="x")], {"n": None}, Nested()),
    ],
    ids=str,
)
def test_null_for_a_nested_field_with_a_default_is_left_out(kind: Any, value: Any, made: Any) -> None:
    assert bound(kind, value) == made
    assert Output(dict[str, kind]).parse(json.dumps({"k": value})) == {"k": made}


@pytest.mark.parametrize(
    ("kind", "value", "place"),
    [
        (Inner, {"must": None, "may": None}, "x.must"),
        (dict[str, int], {"a": None}, "x.a"),
        (Nested, {"by_key": {"a": None}}, "x.by_key.a"),
        (list[int], [None], "x[0]"),
        (list[Inner], [{"must": 1, "lists": [None]}], "x[0].lists[0]"),
    ],
    ids=str,
)
def test_null_for_anything_else_is_wrong(kind: Any, value: Any, place: str) -> None:
    (problem,) = problems(kind, value)
    assert problem.startswith(f"{place} ")
    assert problem.endswith("(got null)")


# -- JSON as text --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "value", "made"),
    [
        (list[int], "[1, 2]", [1, 2]),
        (list[int], ' \n["1"]', [1]),
        (set[int], "[1, 1]", {1}),
        (frozenset[int], "[1]", frozenset({1})),
        (tuple[int, str], '[1, "a"]', (1, "a")),
        (dict[str, int], '{"a": 1}', {"a": 1}),
        (Nested, '{"n": 3}', Nested(n=3)),
        (Inner, '{"must": 3}', Inner(3)),
        (Typed, '{"n": 3}', {"n": 3}),
        (Pair, "[1, 2]", Pair(1, 2)),
        (list[Nested], ['{"n": 3}'], [Nested(n=3)]),
        (list[Nested], '[{"names": "[\\"b\\"]"}]', [Nested(names=["b"])]),
        (Inner | None, '{"must": 3, "may": null}', Inner(3)),
        (int | list[int], "[1]", [1]),
        (Inner | Nested, '{"n": 3}', Nested(n=3)),
        (dict[str, list[int]], {"a": "[1]"}, {"a": [1]}),
        (list[date], '["2026-01-02"]', [date(2026, 1, 2)]),
    ],
    ids=str,
)
def test_a_list_or_an_object_as_json_text_is_what_it_says(kind: Any, value: Any, made: Any) -> None:
    assert bound(kind, value) == made
    assert Output(dict[str, kind]).parse(json.dumps({"k": value})) == {"k": made}


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (str, "[1]"),
        (str | list[int], "[1]"),
        (Any, '{"a": 1}'),
        (list[str], ["[1]"]),
        (dict[str, str], {"a": "{}"}),
    ],
    ids=str,
)
def test_text_stays_text_where_text_is_asked_for(kind: Any, value: Any) -> None:
    assert bound(kind, value) == value


@pytest.mark.parametrize("value", ["", "a, b", "[1", "[NaN]", "3", '"a"', "[" * 100_000])
def test_text_that_is_no_list_is_wrong_as_before(value: str) -> None:
    (problem,) = problems(list[float], value)
    assert problem.startswith("x should be a valid array (got")


def test_what_is_wrong_inside_of_json_text_is_named_in_its_place() -> None:
    assert problems(list[Inner], '[{"must": "many"}]') == [
        'x[0].must should be a valid integer, unable to parse string as an integer (got "many")'
    ]


# -- alternatives --------------------------------------------------------------------------------------------------


class Card(BaseModel):
    number: str
    cvc: str


class Iban(BaseModel):
    iban: str


@dataclass
class Cash:
    coins: int


NONE = "fits none of its alternatives:"
INTEGER = "should be a valid integer, unable to parse string as an integer"


@pytest.mark.parametrize(
    ("kind", "value", "wanted"),
    [
        (Card | Iban, {}, ["x is incomplete: give either number, cvc or iban"]),
        (Card | Iban, {"number": "1"}, ["x is incomplete: give either cvc or iban"]),
        (Card | Iban | None, {}, ["x is incomplete: give either number, cvc or iban"]),
        (list[Card | Iban], [{"iban": "x"}, {}], ["x[1] is incomplete: give either number, cvc or iban"]),
        (dict[str, Card | Iban], {"a": {}}, ["x.a is incomplete: give either number, cvc or iban"]),
        (Card | Iban | int, {}, ["x is incomplete: give either number, cvc or iban"]),
        (Card | Iban | Cash, {}, ["x is incomplete: give either number, cvc or iban or coins"]),
        (
            Card | Iban, {"iban": 5},
            [f"x {NONE} either number is required, cvc is required; or iban should be a valid string (got 5)"],
        ),
        (
            Iban | Cash, {"coin": 5},
            [f"x {NONE} either iban is required; or coins is required, coin is not a known field"],
        ),
        (Card | None, {}, ["x.number is required", "x.cvc is required"]),
        (Card | int, {}, ["x.number is required", "x.cvc is required"]),
        (
            Card | int, "x",
            [f'x should be an object (got "x") or {INTEGER} (got "x")'],
        ),
        (int | list[int], ["a"], [f'x[0] {INTEGER} (got "a")']),
        (Literal["a"] | list[int], 3, ["x should be 'a' (got 3) or should be a valid array (got 3)"]),
    ],
    ids=str,
)  # fmt: skip
def test_a_union_is_explained_by_its_alternatives(kind: Any, value: Any, wanted: list[str]) -> None:
    assert problems(kind, value) == wanted


def test_what_is_wrong_beside_a_union_has_its_own_line() -> None:
    made = taking(Card | Iban)
    with pytest.raises(InvalidArguments) as caught:
        made.bind({"x": {}, "y": "a", "z": 1}, NO_CONTEXT)
    assert [problem.split()[0] for problem in caught.value.problems] == ["x", "y", "z"]


# -- output --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["[1, 2]", "3", '{"value": [1]}', "null"])
def test_a_value_without_its_wrapping_object_is_told_of_it(text: str) -> None:
    with pytest.raises(InvalidArguments) as caught:
        Output(list[int]).parse(text)
    assert caught.value.problems == [f'give an object with the value in it: {{"result": ...}} (got {text})']


def test_what_is_in_the_wrapping_object_is_told_by_its_place() -> None:
    with pytest.raises(InvalidArguments, match=r"result\[0\] should be a valid integer"):
        Output(list[int]).parse('{"result": ["a"]}')
    assert Output(list[int]).parse('{"result": "[1]"}') == [1]


# -- whatever is written -------------------------------------------------------------------------------------------

KINDS: dict[str, Any] = {
    "model": Nested, "dataclass": Inner, "list": list[Inner], "dict": dict[str, Nested], "union": Card | Nested | int,
    "tuple": tuple[int, Nested],
}  # fmt: skip
VALUES = st.recursive(
    st.none() | st.integers(0, 9) | st.sampled_from(["", "a", "[", "[1]", '{"n": null}', "{}"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["n", "maybe", "names", "must", "may", "inner", "from"]), inner, max_size=4
        )
    ),
    max_leaves=10,
)


@settings(deadline=None)
@given(st.sampled_from(sorted(KINDS)), VALUES)
def test_whatever_is_written_it_is_taken_or_said_to_be_wrong_and_never_changed(kind: str, value: Any) -> None:
    made = taking(KINDS[kind])
    before = json.dumps(value)
    try:
        made.bind({"x": value}, NO_CONTEXT)()
    except InvalidArguments as error:
        assert error.problems
        assert all(error.problems)
    assert json.dumps(value) == before


@settings(deadline=None)
@given(st.sampled_from(sorted(KINDS)), VALUES)
def test_json_as_text_means_the_same_as_the_json(kind: str, value: Any) -> None:
    def outcome(given: Any) -> Any:
        try:
            return made.bind({"x": given}, NO_CONTEXT)()
        except InvalidArguments:
            return None

    made = taking(KINDS[kind])
    if isinstance(value, (list, dict)):
        assert outcome(json.dumps(value)) == outcome(value)
