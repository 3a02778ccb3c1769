"""Structured output: one behaviour, whether the model writes JSON of its own or calls a tool for it."""

from __future__ import annotations

import asyncio
import enum
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypedDict, TypeVar, assert_type, cast

import pytest
from agentkit_local.model import available
from pydantic import BaseModel, ConfigDict, Field, RootModel, field_validator

from agentkit import (
    Agent,
    Approve,
    ConfigurationError,
    Context,
    Deny,
    GeminiModel,
    Hooks,
    Limits,
    LocalModel,
    ModelError,
    Output,
    Run,
    SQLiteStore,
    Tool,
    ToolError,
    ToolRetry,
    tool,
)
from agentkit.async_agent import AsyncAgent
from agentkit.events import ModelRetry, OutputDelta, RunFinished, TurnFinished
from agentkit.model import Traits
from agentkit.testing import ScriptedModel, call, check_history, fault, reply
from agentkit.wire.content import model_content, text_of, user_content
from tests.helpers.gemini_server import GeminiServer
from tests.helpers.gemini_server import call as server_call
from tests.helpers.gemini_server import calls as server_calls
from tests.helpers.runners import Runner, responses
from tests.helpers.until import PATIENCE

Item = TypeVar("Item")
MODES: list[Any] = ["native", "tool"]
SEARCH: Any = {"tools": [{"google_search": {}}]}
both = pytest.mark.parametrize("mode", MODES)


class Invoice(BaseModel):
    """An invoice, as the books have it."""

    number: str
    total: float


class Line(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=False)
    sku: str = Field(alias="articleNumber", min_length=3)
    n: int = Field(ge=1, le=99, description="How many.")


class Order(BaseModel):
    customer: str
    lines: list[Line]
    due: date | None = None


class Tree(BaseModel):
    name: str
    children: list[Tree] = []


class Page(BaseModel, Generic[Item]):
    items: list[Item]
    more: bool


@dataclass
class Point:
    x: int
    y: int = 0


class Person(TypedDict):
    """A person."""

    name: str
    age: int


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Numbers(RootModel[list[int]]):
    pass


def given(mode: str, value: Any) -> Any:
    """Script a value as the model gives it in this mode, as an object."""
    return call("final_result", **value) if mode == "tool" else json.dumps(value)


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


KINDS: list[tuple[Any, Any, Any]] = [
    (Invoice, {"number": "A-1", "total": 3}, Invoice(number="A-1", total=3.0)),
    (
        Order,
        {"customer": "Ann", "lines": [{"articleNumber": "TEA-1", "n": 2}], "due": "2026-11-27"},
        Order(customer="Ann", lines=[Line(articleNumber="TEA-1", n=2)], due=date(2026, 11, 27)),
    ),
    (Tree, {"name": "a", "children": [{"name": "b"}]}, Tree(name="a", children=[Tree(name="b")])),
    (Page[int], {"items": [1, 2], "more": False}, Page[int](items=[1, 2], more=False)),
    (
        Page[Tree],
        {"items": [{"name": "a"}], "more": True},
        Page[Tree](items=[Tree(name="a")], more=True),
    ),
    (Point, {"x": 1}, Point(1)),
    (Person, {"name": "Ann", "age": 3}, {"name": "Ann", "age": 3}),
    (dict[str, int], {"a": 1}, {"a": 1}),
    (dict[str, Point], {}, {}),
    (Numbers, {"result": [1, 2]}, Numbers([1, 2])),
    (list[int], {"result": [1, 2]}, [1, 2]),
    (list[Point], {"result": [{"x": 1, "y": 2}]}, [Point(1, 2)]),
    (Iterable[int], {"result": [1]}, [1]),
    (set[int], {"result": [1, 1]}, {1}),
    (tuple[int, str], {"result": [1, "a"]}, (1, "a")),
    (int | str, {"result": "3"}, "3"),
    (Invoice | Point, {"result": {"x": 3}}, Point(3)),
    (Literal["a", "b"], {"result": "b"}, "b"),
    (Literal[Colour.RED], {"result": "red"}, Colour.RED),
    (Colour, {"result": "blue"}, Colour.BLUE),
    (int, {"result": 7}, 7),
    (int, {"result": 10**40}, 10**40),
    (str, {"result": "x"}, "x"),
    (str, {"result": "Grüße 🎉 \u2028"}, "Grüße 🎉 \u2028"),
    (bool, {"result": False}, False),
    (float, {"result": 1}, 1.0),
    (Decimal, {"result": "1.10"}, Decimal("1.10")),
    (datetime, {"result": "2026-11-27T10:00:00"}, datetime(2026, 11, 27, 10)),
    (Annotated[int, Field(ge=3)], {"result": 3}, 3),
    (Annotated[list[int], Field(min_length=1)], {"result": [3]}, [3]),
    (int | None, {"result": None}, None),
    (Any, {"result": [1, {"a": None}]}, [1, {"a": None}]),
]


@pytest.mark.parametrize(("kind", "value", "expected"), KINDS, ids=lambda v: str(v)[:40])
@both
def test_any_type_that_pydantic_validates_comes_back_as_a_value(
    mode: Any, kind: Any, value: Any, expected: Any
) -> None:
    model = ScriptedModel([given(mode, value)])
    run = Agent(model).run("go", output=Output[Any](kind, mode=mode))
    assert run.output == expected
    assert type(run.output) is type(expected)
    assert run.stop is None
    assert json.loads(run.text) == value
    check_history(run.contents)
    assert run.contents[-1] == model_content(run.text)
    (request,) = model.requests
    if mode == "native":
        assert request["generationConfig"]["responseMimeType"] == "application/json"
        schema = request["generationConfig"]["responseJsonSchema"]
        assert "tools" not in request
    else:
        (declaration,) = request["tools"][0]["functionDeclarations"]
        schema = declaration["parametersJsonSchema"]
        assert request["toolConfig"]["functionCallingConfig"] == {
            "mode": "ANY",
            "allowedFunctionNames": ["final_result"],
        }
    assert schema["type"] == "object"
    assert "$ref" not in schema


@both
def test_an_output_is_the_same_in_each_way_of_running(go: Runner, mode: Any) -> None:
    script = [call("add", a=1, b=2), given(mode, {"number": "A", "total": 3})]
    run = go(Agent(ScriptedModel(script), tools=[add]), "go", output=Output(Invoice, mode=mode))
    assert run.output == Invoice(number="A", total=3)
    assert json.loads(run.text) == {"number": "A", "total": 3}
    assert (run.stop, run.limit, run.errors, run.turns) == (None, None, (), 2)
    assert run.contents[-1] == model_content(run.text)
    assert responses(run)[0] == {"output": 3}


def test_without_a_mode_a_model_that_does_not_say_is_taken_to_write_json() -> None:
    model = ScriptedModel(['{"x": 1}'])
    assert Agent(model, tools=[add]).run("go", output=Point).output == Point(1)
    assert "responseJsonSchema" in model.requests[0]["generationConfig"]


def test_a_run_without_an_output_has_none() -> None:
    run = Agent(ScriptedModel(["hi"])).run("go")
    assert run.output is None


# -- what the model is told of it -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "description", "expected"),
    [
        (Invoice, None, "An invoice, as the books have it."),
        (Person, None, "A person."),
        (Invoice, "The bill.", "The bill."),
        (list[int], "The sums.", "The sums."),
        *(
            (kind, None, "The final result: call it once, when you have all of it.")
            for kind in (Point, Tree, Page[int], Colour, datetime, int, dict[str, int], list[Invoice])
        ),
    ],
    ids=str,
)
def test_the_model_reads_what_the_value_is_and_nothing_of_pydantics(
    kind: Any, description: str | None, expected: str
) -> None:
    model = ScriptedModel(["x"] * 9)
    Agent(model).run("go", output=Output[Any](kind, mode="tool", description=description, retries=0))
    declaration = model.requests[0]["tools"][0]["functionDeclarations"][0]
    assert declaration["description"] == expected
    Agent(model).run("go", output=Output[Any](kind, mode="native", description=description, retries=0))
    schema = model.requests[1]["generationConfig"]["responseJsonSchema"]
    assert schema == declaration["parametersJsonSchema"]
    assert schema.get("description") == (expected if not expected.startswith("The final") else None)


def test_the_settings_of_the_agent_stay_in_the_request() -> None:
    model = ScriptedModel(['{"x": 1}'])
    Agent(model, config={"temperature": 0, "tools": [{"google_search": {}}]}).run("go", output=Point)
    assert model.requests[0]["generationConfig"]["temperature"] == 0
    assert model.requests[0]["tools"] == [{"googleSearch": {}}]


@pytest.mark.parametrize(
    "kind",
    [
        Callable[[], int],
        type[int],
        ScriptedModel,
        Literal[b"x"],
        dict[tuple[int, int], int],
        TypeVar("Loose"),
        list["Nowhere"],  # type: ignore[name-defined]  # noqa: F821
        3,
        "Invoice",
    ],
    ids=range(9),
)
def test_a_type_without_a_schema_is_refused_in_plain_words(kind: Any) -> None:
    model = ScriptedModel([])
    with pytest.raises(ConfigurationError, match="there is no JSON schema for it") as caught:
        Agent(model).run("go", output=kind)
    assert "\n" not in str(caught.value)
    assert model.requests == []


@pytest.mark.parametrize(
    "bad", [{"mode": "json"}, {"retries": -1}, {"retries": 1.5}, {"retries": True}, {"retries": "2"}]
)
def test_settings_that_make_no_sense_are_refused(bad: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"Output\\({next(iter(bad))}="):
        Output(int, **bad)


def test_a_name_that_another_tool_has_is_refused() -> None:
    agent = Agent(ScriptedModel([call("give", result=1)]), tools=[add])
    for name in ("add", "find_tools", "read_result", "no name"):
        with pytest.raises(ConfigurationError, match=name):
            agent.run("go", output=Output(int, mode="tool", name=name))
    run = agent.run("go", output=Output(int, mode="tool", name="give"))
    assert run.output == 1
    assert run.contents[1]["parts"][0]["functionCall"]["name"] == "give"


def test_a_tool_of_the_users_may_have_the_name_where_it_is_not_needed() -> None:
    @tool
    def final_result(n: int) -> int:
        """Give a number."""
        return n

    model = ScriptedModel([call("final_result", n=1), '{"result": 2}'])
    assert Agent(model, tools=[final_result]).run("go", output=Output(int, mode="native")).output == 2
    with pytest.raises(ConfigurationError, match=r"Output\(name=\.\.\.\)"):
        Agent(model, tools=[final_result]).run("go", output=Output(int, mode="tool"))


def test_an_output_may_be_asked_for_again_and_again() -> None:
    agent = Agent(ScriptedModel(['{"result": 1}', '{"result": "1"}', '{"x": 1}', '{"result": 1}']))
    assert agent.run("go", output=Output[Any](int | str)).output == 1
    assert agent.run("go", output=Output[Any](str | int)).output == "1"
    assert agent.run("go", output=Point).output == Point(1)
    unhashable: Any = Annotated[int, []]
    assert agent.run("go", output=unhashable).output == 1


# -- values that don't fit --------------------------------------------------------------------------------------------


@both
def test_every_error_is_quoted_to_the_model(go: Runner, mode: Any) -> None:
    bad = {"customer": 3, "lines": [{"articleNumber": "T", "n": 0}, {"n": 1, "colour": "red"}], "due": "x"}
    good = {"customer": "Ann", "lines": []}
    model = ScriptedModel([given(mode, bad), given(mode, good)])
    run = go(Agent(model), "go", output=Output(Order, mode=mode))
    assert run.output == Order(customer="Ann", lines=[])
    told = json.dumps(model.requests[1]["contents"][-1])
    for place in ("customer", "lines[0].articleNumber", "lines[0].n", "lines[1].articleNumber", "due"):
        assert f"- {place} " in told
    assert "lines[1].colour is not a known field" in told
    assert "pydantic" not in told
    assert model.requests[1]["contents"][1]["role"] == "model"


@both
def test_a_field_too_many_is_named_with_those_that_there_are(mode: Any) -> None:
    model = ScriptedModel([given(mode, {"articleNumber": "TEA", "n": 1, "x": 1})] * 3)
    Agent(model).run("go", output=Output(Line, mode=mode))
    told = json.dumps(model.requests[1]["contents"][-1])
    assert "x is not a parameter; the parameters are: articleNumber, n" in told


@both
@pytest.mark.parametrize("retries", [0, 1, 3])
def test_retries_are_bounded(go: Runner, mode: Any, retries: int) -> None:
    model = ScriptedModel([given(mode, {"x": "no"})] * (retries + 1))
    run = go(Agent(model), "go", output=Output(Point, mode=mode, retries=retries))
    assert (run.stop, run.output) == ("output", None)
    model.assert_complete()
    with pytest.raises(Exception, match="output"):
        run.raise_for_stop()


@both
def test_a_value_that_fits_at_the_last_try_is_taken(go: Runner, mode: Any) -> None:
    script = [given(mode, {"x": "no"})] * 2 + [given(mode, {"x": 1})]
    run = go(Agent(ScriptedModel(script)), "go", output=Output(Point, mode=mode))
    assert (run.stop, run.output) == (None, Point(1))


def test_json_that_did_not_fit_is_not_in_the_history() -> None:
    model = ScriptedModel(['{"x": "no"}', "Sorry, I can't.", '{"x": 1}'])
    run = Agent(model).run("go", output=Point)
    assert run.contents == [user_content("go"), model_content('{"x": 1}')]
    assert [c["role"] for c in model.requests[2]["contents"]] == ["user", "model", "user", "model", "user"]


def test_what_was_shown_of_a_value_that_does_not_fit_is_said_to_be_void() -> None:
    with Agent(ScriptedModel(['{"x": "no"}', '{"x": 1}'])).stream("go", output=Point) as events:
        (again,) = [event for event in events if isinstance(event, ModelRetry)]
    assert (again.reason, again.discarded, again.attempt) == ("OUTPUT", '{"x": "no"}', 2)


def test_a_text_instead_of_the_call_is_answered_with_force(go: Runner) -> None:
    model = ScriptedModel([call("add", a=1, b=1), "It is 2.", call("final_result", result=2)])
    run = go(Agent(model, tools=[add]), "go", output=Output(int, mode="tool"))
    assert run.output == 2
    configs = [r.get("toolConfig", {}).get("functionCallingConfig") for r in model.requests]
    assert configs == [None, None, {"mode": "ANY", "allowedFunctionNames": ["final_result"]}]
    assert "final_result" in json.dumps(model.requests[2]["contents"][-1])
    assert "It is 2." not in json.dumps(run.contents)
    assert {json.dumps(r["tools"]) for r in model.requests} == {json.dumps(model.requests[0]["tools"])}


def test_texts_instead_of_the_call_are_bounded(go: Runner) -> None:
    model = ScriptedModel(["It is 2."] * 3)
    run = go(Agent(model, tools=[add]), "go", output=Output(int, mode="tool"))
    assert (run.stop, run.output, run.text) == ("output", None, "It is 2.")
    model.assert_complete()


def test_why_there_is_no_output_is_said_to_a_person(go: Runner) -> None:
    bad = ['{"result": "two"}', "no", '{"result": [2]}']
    whys = {
        "native": "The model's last reply doesn't fit the type that was asked for: result should be a valid integer"
        " (got [2])",
        "tool": "The model answered in words, and didn't call 'final_result'.",
    }
    for mode, why in whys.items():
        run = go(Agent(ScriptedModel(bad)), "go", output=Output(int, mode=cast(Any, mode)))
        assert (run.stop, run.why) == ("output", why)
    run = go(Agent(ScriptedModel(bad)), "go", output=Output(int, validator=lambda n, ctx: n, retries=0))
    assert "Your reply" not in run.why
    assert "unable to parse" in run.why


def test_a_mix_of_texts_and_calls_that_do_not_fit_is_bounded() -> None:
    bad: list[Any] = ["text", "text", call("final_result", result="x")]
    model = ScriptedModel(bad * 10)
    run = Agent(model, tools=[add]).run("go", output=Output(int, mode="tool"))
    assert run.stop == "output"
    assert len(model.requests) <= 9


# -- validators -------------------------------------------------------------------------------------------------------


def _checked(kind: str, value: int) -> int:
    if value == 0:
        raise ToolRetry("Zero is too little.")
    if value < 0:
        raise ToolError("Negative numbers end it.")
    if value > 99:
        raise LookupError("a bug")
    return value * 10


def sync_check(value: int, ctx: Context[str]) -> int:
    assert ctx.deps == "deps"
    return _checked("sync", value)


async def async_check(value: int, ctx: Context[str]) -> int:
    await asyncio.sleep(0)
    return sync_check(value, ctx)


def returns_awaitable(value: int, ctx: Context[str]) -> Any:
    return async_check(value, ctx)


validated = pytest.mark.parametrize("check", [sync_check, async_check, returns_awaitable])


@both
@validated
def test_a_validator_may_change_the_value(go: Runner, mode: Any, check: Any) -> None:
    model = ScriptedModel([given(mode, {"result": 3})])
    run = go(Agent(model), "go", deps="deps", output=Output(int, mode=mode, validator=check))
    assert (run.output, run.stop) == (30, None)
    assert json.loads(run.text) == {"result": 3}


@both
@validated
def test_a_validator_may_have_the_model_try_again(go: Runner, mode: Any, check: Any) -> None:
    model = ScriptedModel([given(mode, {"result": 0}), given(mode, {"result": 1})])
    run = go(Agent(model), "go", deps="deps", output=Output(int, mode=mode, validator=check))
    assert (run.output, run.stop, run.errors) == (10, None, ())
    assert "Zero is too little." in json.dumps(model.requests[1]["contents"][-1])


@both
@validated
def test_a_validator_that_is_never_content_stops_the_run(go: Runner, mode: Any, check: Any) -> None:
    model = ScriptedModel([given(mode, {"result": 0})] * 3)
    run = go(Agent(model), "go", deps="deps", output=Output(int, mode=mode, validator=check))
    assert (run.output, run.stop) == (None, "output")
    model.assert_complete()


@both
@validated
def test_a_validator_may_end_the_run(go: Runner, mode: Any, check: Any) -> None:
    model = ScriptedModel([given(mode, {"result": -1})])
    run = go(Agent(model), "go", deps="deps", output=Output(int, mode=mode, validator=check))
    assert (run.output, run.stop) == (None, "output")
    assert [str(error) for error in run.errors] == ["Negative numbers end it."]


@both
@validated
@pytest.mark.parametrize("on_error", ["respond", "raise"])
def test_a_bug_in_a_validator_is_raised(go: Runner, mode: Any, check: Any, on_error: Any) -> None:
    agent = Agent(ScriptedModel([given(mode, {"result": 100})]), on_error=on_error)
    with pytest.raises(LookupError, match="a bug"):
        go(agent, "go", deps="deps", output=Output(int, mode=mode, validator=check))


@both
def test_a_validator_that_forgets_to_return_the_value_is_a_mistake(go: Runner, mode: Any) -> None:
    agent = Agent(ScriptedModel([given(mode, {"result": 3})]))
    with pytest.raises(ConfigurationError, match="returned None: have it return the value"):
        go(agent, "go", output=Output(int, mode=mode, validator=lambda value, ctx: None))
    model = ScriptedModel([given(mode, {"result": 3})])
    wanted = Output[int | None](int | None, mode=mode, validator=lambda value, ctx: None)
    run = go(Agent(model), "go", output=wanted)
    assert (run.output, run.stop) == (None, None)


@both
def test_validators_of_the_type_itself_may_do_the_same(go: Runner, mode: Any) -> None:
    class Odd(BaseModel):
        n: int

        @field_validator("n")
        @classmethod
        def check(cls, n: int) -> int:
            if n == 2:
                raise ValueError("two is even")
            if n == 4:
                raise ToolRetry("four is even too")
            if n == 6:
                raise ToolError("enough")
            if n == 8:
                raise LookupError("a bug")
            return n

    model = ScriptedModel([given(mode, {"n": n}) for n in (2, 4, 6)])
    run = go(Agent(model), "go", output=Output(Odd, mode=mode))
    assert run.stop == "output"
    assert "two is even" in json.dumps(model.requests[1]["contents"][-1])
    assert "four is even too" in json.dumps(model.requests[2]["contents"][-1])
    assert [str(error) for error in run.errors] == ["enough"]
    with pytest.raises(LookupError):
        go(Agent(ScriptedModel([given(mode, {"n": 8})])), "go", output=Output(Odd, mode=mode))


@both
def test_a_validator_that_hangs_is_cut_off_by_the_limit_of_seconds(go: Runner, mode: Any) -> None:
    async def hang(value: int, ctx: Context[Any]) -> int:
        await asyncio.sleep(PATIENCE)
        return value

    agent = Agent(ScriptedModel([given(mode, {"result": 1})]), limits=Limits(seconds=0.4))
    run = go(agent, "go", output=Output(int, mode=mode, validator=hang))
    assert (run.stop, run.output) == ("seconds", None)


# -- odd JSON ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        '```json\n{"x": 1}\n```',
        '```\n{"x": 1}```\n',
        ' \n``` JSON\r\n{"x": 1}\r\n```\n\n',
        '\n\n{"x": 1}\n',
        '{"x": 7, "x": 1}',
        '{"x": 1.0}',
        '{"x": "1"}',
    ],
)
def test_json_that_says_what_is_meant_is_taken(go: Runner, text: str) -> None:
    run = go(Agent(ScriptedModel([text])), "go", output=Point)
    assert run.output == Point(1)
    assert json.loads(run.text)["x"] in (1, "1")


def test_a_fence_goes_but_thoughts_stay_and_so_does_a_signed_part() -> None:
    thought: Any = {"text": "Hm.", "thought": True}
    signed: Any = {"text": '```json\n{"x": 1}\n```', "thoughtSignature": "c2ln"}
    run = Agent(ScriptedModel([[thought, '```json\n{"x"', ": 1}\n```"]])).run("go", output=Point)
    assert run.contents[-1] == model_content(thought, '{"x": 1}')
    run = Agent(ScriptedModel([[thought, signed]])).run("go", output=Point)
    assert run.output == Point(1)
    assert run.contents[-1] == model_content(thought, signed)


DEEP = 100_000
HOSTILE = [
    "",
    "   ",
    "null",
    "[]",
    "NaN",
    "I can't.",
    '{"x": 1',
    '{"x": 1}}',
    '{"x": 1} and more',
    '{"x": NaN}',
    '{"x": -Infinity}',
    '{"x": 1e999}',
    '{"x": ' + "9" * 5_000 + "}",
    "[" * DEEP,
    '{"x":' * DEEP + "1" + "}" * DEEP,
    '{"x":' * 400 + "1" + "}" * 400,
    '{"x": "\\ud800"}',
    '{"x": "\ud800"}',
    "\ufeff" + '{"x": "',
    '{"x": "\x00"}',
    "```json\n" + "\n" * 50_000,
    "```json\n```",
    "'x': 1",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_text_that_is_no_such_value_never_raises(go: Runner, text: str) -> None:
    odd = reply(text or {"text": ""}, totalTokenCount=1)
    script = [odd, odd, '{"x": 1}']
    run = go(Agent(ScriptedModel(script)), "go", output=Point)
    assert (run.output, run.stop) == (Point(1), None)


def test_a_number_that_json_has_not_is_refused_in_every_place() -> None:
    for text in ('{"result": NaN}', '{"result": Infinity}', '{"result": -Infinity}'):
        model = ScriptedModel([reply(text, totalTokenCount=1), '{"result": 1.5}'])
        assert Agent(model).run("go", output=float).output == 1.5
        assert "valid JSON" in json.dumps(model.requests[1]["contents"][-1])
    text = '{"result": "NaN, Infinity"}'
    assert Agent(ScriptedModel([text])).run("go", output=str).output == "NaN, Infinity"


@pytest.mark.parametrize("bad", [math.nan, math.inf, "deep"])
def test_arguments_that_json_can_not_hold_are_asked_for_again(go: Runner, bad: Any) -> None:
    if bad == "deep":
        for _ in range(400):
            bad = [bad]
    script = [reply(call("final_result", result=bad), totalTokenCount=1), call("final_result", result=1)]
    run = go(Agent(ScriptedModel(script)), "go", output=Output[Any](Any, mode="tool"))
    assert (run.output, run.stop) == (1, None)


def test_a_lone_surrogate_breaks_nothing(go: Runner) -> None:
    for mode in MODES:
        text = call("final_result", result="x\ud800") if mode == "tool" else '{"result": "x\ud800"}'
        run = go(Agent(ScriptedModel([text])), "go", output=Output(str, mode=mode))
        assert run.output == "x?"
        json.loads(run.to_json().encode("utf-8", "replace"))


# -- streams ----------------------------------------------------------------------------------------------------------


class Letters(ScriptedModel):
    """Streams its texts letter by letter."""

    def stream(self, request: Any, *, timeout: float | None = None) -> Any:
        whole = self.generate(request)
        candidate = whole["candidates"][0]
        for part in candidate["content"]["parts"]:
            for letter in part["text"]:
                made: Any = {**part, "text": letter}
                yield {"candidates": [{"content": model_content(made)}]}
        yield {**whole, "candidates": [{**candidate, "content": model_content({"text": ""})}]}


def grows(earlier: Any, later: Any) -> bool:
    """Tell whether a JSON value is the beginning of another."""
    if isinstance(earlier, dict):
        return isinstance(later, dict) and all(
            key in later and grows(value, later[key]) for key, value in earlier.items()
        )
    if isinstance(earlier, list):
        return isinstance(later, list) and all(map(grows, earlier, later)) and len(earlier) <= len(later)
    if isinstance(earlier, str):
        return isinstance(later, str) and later.startswith(earlier)
    return bool(earlier == later) and type(earlier) is type(later)


@pytest.mark.parametrize(
    ("kind", "value", "final"),
    [
        (
            Order,
            {"customer": "Ann 12", "lines": [{"articleNumber": "TEA-1", "n": 12}], "due": None},
            ...,
        ),
        (dict[str, Any], {"a": [1.25e-7, -12, True, None, "x\n\"é🎉'"], "b": {"c": {}}}, ...),
        (list[int], {"result": [12, 345]}, [12, 345]),
        (str, {"result": "Once upon a time"}, "Once upon a time"),
        (int, {"result": 1234}, 1234),
    ],
    ids=str,
)
def test_what_there_is_so_far_only_grows_towards_the_value(kind: Any, value: Any, final: Any) -> None:
    final = value if final is ... else final
    thought: Any = {"text": '{"thinking": 1}', "thought": True}
    model = Letters([[thought, json.dumps(value)]])
    with Agent(model).stream("go", output=Output[Any](kind)) as events:
        deltas = [event.value for event in events if isinstance(event, OutputDelta)]
    assert events.run.stop is None
    for earlier, later in zip(deltas, [*deltas[1:], final], strict=True):
        assert grows(earlier, later)
    assert deltas


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_stream_of_anything_never_raises(text: str) -> None:
    text = text[:3_000]
    model = Letters([reply(text or {"text": ""}, totalTokenCount=1)] * 4)
    with Agent(model).stream("go", output=Output(Point, retries=0)) as events:
        shown = "".join(events.texts())
    assert events.run.stop in ("output", "empty")
    assert shown.startswith(text)


def test_a_long_value_is_not_read_anew_for_each_piece() -> None:
    value = [f"item {n}" for n in range(20_000)]
    began = time.process_time()
    with Agent(ScriptedModel([json.dumps({"result": value})])).stream("go", output=list[str]) as events:
        deltas = [event.value for event in events if isinstance(event, OutputDelta)]
    assert events.run.output == value
    assert 300 < len(deltas) < 1_500
    assert all(map(grows, deltas, [*deltas[1:], value]))
    assert len(deltas[-1]) > 19_000
    assert time.process_time() - began < 10


def test_no_deltas_are_told_of_a_run_without_an_output() -> None:
    with Agent(Letters(['{"x": 1}'])).stream("go") as events:
        assert {type(event) for event in events} & {OutputDelta} == set()


@both
def test_the_last_event_has_the_value(mode: Any) -> None:
    with Agent(ScriptedModel([given(mode, {"x": 1})])).stream(
        "go", output=Output(Point, mode=mode)
    ) as events:
        last = list(events)[-1]
    assert isinstance(last, RunFinished)
    assert last.run.output == Point(1)


# -- beside tools -----------------------------------------------------------------------------------------------------

FORCED = {"mode": "ANY", "allowedFunctionNames": ["final_result"]}


def modes_of(model: ScriptedModel) -> list[Any]:
    return [r.get("toolConfig", {}).get("functionCallingConfig") for r in model.requests]


@pytest.mark.parametrize(
    ("choice", "native", "by_tool"),
    [
        ("auto", [None, None], [None, None]),
        ("none", [{"mode": "NONE"}] * 2, [FORCED] * 2),
        ("required", [{"mode": "ANY"}, None], [{"mode": "ANY"}, None]),
        (["add"], [{"mode": "ANY", "allowedFunctionNames": ["add"]}, None], ...),
    ],
    ids=str,
)
@both
def test_a_tool_choice_leaves_room_for_the_output(
    go: Runner, mode: Any, choice: Any, native: Any, by_tool: Any
) -> None:
    model = ScriptedModel([call("add", a=1, b=2), given(mode, {"x": 3})])
    agent = Agent(model, tools=[add], tool_choice=choice)
    run = go(agent, "go", output=Output(Point, mode=mode))
    assert (run.output, run.stop) == (Point(3), None)
    assert modes_of(model) == (native if mode == "native" or by_tool is ... else by_tool)


def test_a_forced_choice_may_be_met_by_the_output_itself(go: Runner) -> None:
    agent = Agent(ScriptedModel([call("final_result", x=1)]), tools=[add], tool_choice="required")
    assert go(agent, "go", output=Output(Point, mode="tool")).output == Point(1)


def test_tools_of_the_server_are_not_shut_out_by_force() -> None:
    model = ScriptedModel(["I have searched.", call("final_result", x=1)])
    agent = Agent(model, config=SEARCH)
    assert agent.run("go", output=Output(Point, mode="tool")).output == Point(1)
    assert modes_of(model) == [None, FORCED]


def test_calls_beside_the_output_are_run_and_answered(go: Runner) -> None:
    script = [[call("final_result", x=1), call("add", a=1, b=2), call("nothing"), call("add", a="x")]]
    run = go(Agent(ScriptedModel(script), tools=[add]), "go", output=Output(Point, mode="tool"))
    assert (run.output, run.stop, run.turns) == (Point(1), None, 1)
    accepted, added, unknown, bad = responses(run)
    assert accepted == {"output": "accepted"}
    assert added == {"output": 3}
    assert "There is no tool 'nothing'" in unknown["error"]
    assert "arguments" in bad["error"]


def test_of_two_outputs_in_a_turn_the_first_that_fits_counts(go: Runner) -> None:
    async def slow_at_first(value: Point, ctx: Context[Any]) -> Point:
        await asyncio.sleep(0.05 if value.x == 1 else 0)
        return value

    for first, validator in ((1, None), (1, slow_at_first), ("no", None)):
        script = [[call("final_result", x=first), call("final_result", x=2)]]
        output = Output(Point, mode="tool", validator=validator)
        run = go(Agent(ScriptedModel(script)), "go", output=output)
        assert run.output == Point(1 if first == 1 else 2)
        assert json.loads(run.text) == {"x": first if first == 1 else 2}
        assert run.stop is None


def test_an_output_beside_a_tool_that_raises_is_taken_unless_that_ends_the_run(go: Runner) -> None:
    def fail() -> None:
        """Fail."""
        raise LookupError("no")

    script = [[call("fail"), call("final_result", x=1)]]
    run = go(Agent(ScriptedModel(script), tools=[fail]), "go", output=Output(Point, mode="tool"))
    assert (run.output, [type(e) for e in run.errors]) == (Point(1), [LookupError])
    agent = Agent(ScriptedModel(script), tools=[fail], on_error="raise")
    with pytest.raises(LookupError):
        go(agent, "go", output=Output(Point, mode="tool"))


def test_an_output_that_was_cut_off_is_never_taken(go: Runner) -> None:
    ways: list[Any] = ["stop", "continue"]
    for way in ways:
        cut = reply(call("final_result", x=1), finish_reason="MAX_TOKENS")
        run = go(Agent(ScriptedModel([cut]), on_max_tokens=way), "go", output=Output(Point, mode="tool"))
        assert (run.output, run.stop) == (None, "max_tokens")
    cut = reply('{"x": 1}', finish_reason="MAX_TOKENS")
    run = go(Agent(ScriptedModel([cut])), "go", output=Point)
    assert (run.output, run.stop, run.text) == (None, "max_tokens", '{"x": 1}')


@both
def test_a_run_that_is_refused_or_stopped_has_no_output(go: Runner, mode: Any) -> None:
    agent = Agent(ScriptedModel([call("add", a=1, b=2)]), tools=[add], limits=Limits(turns=1))
    run = go(agent, "go", output=Output(Point, mode=mode))
    assert (run.output, run.stop) == (None, "turns")
    run = go(Agent(ScriptedModel([reply(finish_reason="SAFETY")])), "go", output=Output(Point, mode=mode))
    assert (run.output, run.stop) == (None, "refused")
    with pytest.raises(ModelError) as caught:
        go(Agent(ScriptedModel([fault(400)])), "go", output=Output(Point, mode=mode))
    assert caught.value.run is not None
    assert caught.value.run.output is None


@both
def test_hooks_of_tools_are_not_asked_about_the_output_in_either_mode(go: Runner, mode: Any) -> None:
    seen: list[str] = []

    def refuse(said: Any, ctx: Context[Any]) -> Deny:
        seen.append(ctx.tool_name)
        return Deny("No.")

    model = ScriptedModel([given(mode, {"x": 1})])
    agent = Agent(model, hooks=Hooks(before_tool=refuse, after_tool=refuse))
    run = go(agent, "go", output=Output[Any](Point, mode=mode))
    assert (run.output, seen) == (Point(1), [])


def test_chosen_and_found_tools_leave_room_for_the_output(go: Runner) -> None:
    model = ScriptedModel([call("final_result", x=1)])
    agent = Agent(model, tools=[add], choose_tools=lambda ctx: [])
    assert go(agent, "go", output=Output(Point, mode="tool")).output == Point(1)
    assert modes_of(model) == [FORCED]


def test_the_output_needs_a_place_among_the_tools_that_there_may_be() -> None:
    tools = [Tool.of(add, name=f"add_{n}") for n in range(512)]
    model = ScriptedModel([call("final_result", x=1)])
    with pytest.raises(ConfigurationError, match="513 tools are to be declared"):
        Agent(model, tools=tools).run("go", output=Output(Point, mode="tool"))
    run = Agent(model, tools=tools[1:]).run("go", output=Output(Point, mode="tool"))
    assert run.output == Point(1)
    names = [d["name"] for d in model.requests[0]["tools"][0]["functionDeclarations"]]
    assert (len(names), names[0], names[-1]) == (512, "add_1", "final_result")


@both
def test_a_message_sent_meanwhile_gets_an_output_of_its_own(mode: Any) -> None:
    script = [given(mode, {"x": 1}), given(mode, {"x": 2})]
    with Agent(ScriptedModel(script)).stream("go", output=Output[Any](Point, mode=mode)) as events:
        for event in events:
            if isinstance(event, TurnFinished) and event.turn == 1:
                events.send("And another?")
    assert events.run.output == Point(2)
    assert json.loads(events.run.text) == {"x": 2}
    script = [given(mode, {"x": 1}), *[given(mode, {"x": "no"})] * 3]
    with Agent(ScriptedModel(script)).stream("go", output=Output[Any](Point, mode=mode)) as events:
        for event in events:
            if isinstance(event, TurnFinished) and event.turn == 1:
                events.send("And another?")
    assert events.run.output is None
    assert events.run.stop == "output"


def test_fallback_models_all_take_the_schema_or_it_is_the_tool() -> None:
    class Old(ScriptedModel):
        @property
        def traits(self) -> Traits:
            return Traits(schema_with_tools=False)

    for settings, native in (({"tools": [add]}, False), ({}, True), ({"config": SEARCH}, False)):
        model = Old(['{"x": 1}' if native else call("final_result", x=1)])
        agent = Agent([model, ScriptedModel([])], **settings)
        assert agent.run("go", output=Point).output == Point(1)
        assert ("responseJsonSchema" in model.requests[0].get("generationConfig", {})) == native


# -- chats, runs that go on --------------------------------------------------------------------------------------------


@both
def test_a_chat_gives_outputs_and_remembers_their_json(mode: Any) -> None:
    model = ScriptedModel([given(mode, {"x": 1}), "Hi.", given(mode, {"x": 2})])
    chat = Agent(model).chat()
    output = Output(Point, mode=mode)
    assert chat.send_message("go", output=output).output == Point(1)
    assert chat.send_message("hello").text == "Hi."
    with chat.send_message_stream("again", output=output) as events:
        assert events.drain().output == Point(2)
    history = chat.get_history()
    check_history(history)
    assert [json.loads(text_of(history[i])) for i in (len(history) - 1,)] == [{"x": 2}]
    assert [c["role"] for c in model.requests[1]["contents"]][-2:] == ["model", "user"]
    resumed = chat.resume(output=output)
    assert (resumed.output, resumed.stop, len(model.requests)) == (Point(2), None, 3)


@both
def test_an_async_chat_does_the_same(mode: Any) -> None:
    async def main() -> list[Any]:
        chat = Agent(ScriptedModel([given(mode, {"x": 1}), given(mode, {"x": 2})])).aio.chat()
        output = Output(Point, mode=mode)
        first = await chat.send_message("go", output=output)
        async with chat.send_message_stream("again", output=output) as events:
            return [first.output, (await events.drain()).output]

    assert asyncio.run(main()) == [Point(1), Point(2)]


@both
def test_a_stored_chat_gives_its_last_output_again_without_asking(tmp_path: Path, mode: Any) -> None:
    output: Output[Any] = Output(Order, mode=mode)
    script = [call("order", sku="TEA"), given(mode, {"customer": "Ann", "lines": []})]
    with SQLiteStore(tmp_path / "chats.db") as store:
        chat = Agent(ScriptedModel(script), tools=[order]).chat("ann", store)
        run = chat.send_message("go", output=output)
        assert (run.stop, run.output) == ("approval", None)
    with SQLiteStore(tmp_path / "chats.db") as store:
        chat = Agent(ScriptedModel(script[1:]), tools=[order]).chat("ann", store)
        run = chat.resume({run.pending[0].call_id: Approve()}, output=output)
        assert (run.stop, run.output) == (None, Order(customer="Ann", lines=[]))
    with SQLiteStore(tmp_path / "chats.db") as store:
        chat = Agent(ScriptedModel([]), tools=[order]).chat("ann", store)
        assert chat.resume(output=output).output == run.output
        check_history(chat.get_history())
        assert json.loads(text_of(chat.get_history()[-1])) == {"customer": "Ann", "lines": []}


@tool(approval=True)
def order(sku: str) -> str:
    """Order."""
    return f"ordered {sku}"


@both
def test_a_run_that_goes_on_after_an_approval_gives_its_output(go: Runner, mode: Any) -> None:
    agent = Agent(ScriptedModel([call("order", sku="TEA"), given(mode, {"x": 1})]), tools=[order])
    output = Output(Point, mode=mode)
    run = go(agent, "go", output=output)
    assert (run.stop, run.output) == ("approval", None)
    resumed = agent.resume(run.to_json(), {run.pending[0].call_id: Approve()}, output=output)
    check_history(resumed.contents)
    assert (resumed.output, resumed.stop) == (Point(1), None)
    assert responses(resumed)[0] == {"output": "ordered TEA"}


def test_an_output_beside_a_call_that_waits_is_taken_when_that_is_answered() -> None:
    model = ScriptedModel([[call("order", sku="TEA"), call("final_result", x=1)]])
    agent, output = Agent(model, tools=[order]), Output[Any](Point, mode="tool")
    run = agent.run("go", output=output)
    assert run.stop == "approval"
    assert run.output is None
    resumed = agent.resume(run, {run.pending[0].call_id: Approve()}, output=output)
    check_history(resumed.contents)
    assert (resumed.output, resumed.stop) == (Point(1), None)
    assert responses(resumed)[:2] == [{"output": "ordered TEA"}, {"output": "accepted"}]


@both
def test_a_run_that_has_its_answer_gives_it_again_or_is_asked_for_one_that_fits(mode: Any) -> None:
    model = ScriptedModel([given(mode, {"x": 1}), given(mode, {"x": 2}), given(mode, {"x": 3})])
    agent = Agent(model)
    run = agent.run("go", output=Output[Any](Point, mode=mode))
    assert agent.resume(run, output=Output[Any](Point, mode=mode)).output == Point(1)
    assert len(model.requests) == 1

    def more(value: Point, ctx: Context[Any]) -> Point:
        if value.x < 2:
            raise ToolRetry("More.")
        return value

    again = agent.resume(run, output=Output[Any](Point, mode=mode, validator=more))
    assert (again.output, again.stop) == (Point(2), None)
    assert "More." in json.dumps(model.requests[1]["contents"][-1])

    def never(value: Point, ctx: Context[Any]) -> Point:
        raise ToolError("Never.")

    ended = agent.resume(run, output=Output[Any](Point, mode=mode, validator=never))
    assert ended.output is None
    assert (ended.stop, len(model.requests)) == ("output", 2)
    check_history(again.contents)
    text = agent.resume(run)
    assert (text.output, text.stop, json.loads(text.text)) == (Point(1), None, {"x": 1})


def test_a_run_that_stopped_for_its_output_is_asked_again_when_it_goes_on() -> None:
    model = ScriptedModel(["no", "no", '{"x": 1}'])
    agent = Agent(model)
    run = agent.run("go", output=Output[Any](Point, retries=1))
    assert run.stop == "output"
    resumed = agent.resume(run, output=Point)
    assert (resumed.output, resumed.stop) == (Point(1), None)


# -- real models ------------------------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[GeminiServer]:
    with GeminiServer(key="key") as running:
        yield running


@pytest.mark.parametrize("with_tools", [True, False])
@pytest.mark.parametrize(
    "name", ["gemini-2.5-flash", "models/gemini-2.0-flash", "gemini-3.8-flash", "gemini-4-neon"]
)
def test_each_gemini_gets_the_form_that_it_takes(
    go: Runner, server: GeminiServer, name: str, with_tools: bool
) -> None:
    native = not with_tools or "gemini-2" not in name
    answer: Any = '{"customer": "Ann", "lines": [{"articleNumber": "TEA", "n": 2}]}'
    if not native:
        answer = server_calls(server_call("final_result", json.loads(answer)))
    asked = [server_calls(server_call("add", {"a": 1, "b": 2}))] if with_tools else []
    server.script([*asked, answer])
    model = GeminiModel(name, api_key="key", http_options={"base_url": server.url})
    try:
        run = go(Agent(model, tools=[add] if with_tools else []), "go", output=Order)
    finally:
        model.close()
    assert run.output == Order(customer="Ann", lines=[Line(articleNumber="TEA", n=2)])
    assert run.stop is None
    assert json.loads(run.text)["customer"] == "Ann"
    body = server.requests[-1].body
    assert ("responseMimeType" in body.get("generationConfig", {})) == native
    check_history(run.contents, signatures=True)
    model = GeminiModel(name, api_key="key", http_options={"base_url": server.url})
    server.script(["It was two."])  # the server takes the history back
    try:
        assert Agent(model).run("How many?", history=run.contents).text == "It was two."
    finally:
        model.close()


def test_what_is_asked_for_in_the_wrong_form_is_refused_before_it_is_sent(server: GeminiServer) -> None:
    model = GeminiModel("gemini-2.5-flash", api_key="key", http_options={"base_url": server.url})
    try:
        with pytest.raises(ConfigurationError, match="rule 8"):
            Agent(model, tools=[add]).run("go", output=Output(Point, mode="native"))
        assert server.requests == []
    finally:
        model.close()


@pytest.mark.skipif(not available(), reason="the embedded model has no engine for this machine")
def test_the_embedded_model_fills_in_a_flat_value() -> None:
    class Purchase(BaseModel):
        item: str
        n: int

    model = LocalModel(timeout=120)
    try:
        run = Agent(model).run("I'd like 3 apples", output=Purchase)
    finally:
        model.close()
    assert run.stop is None
    assert run.output == Purchase(item="apples", n=3)
    assert json.loads(run.text) == {"item": "apples", "n": 3}


# -- types ------------------------------------------------------------------------------------------------------------


def _what_a_type_checker_sees(agent: Agent, run: Run, kind: type[Invoice]) -> None:
    """Never called: mypy reads it with the rest of the tests."""
    assert_type(agent.run("x").output, Any | None)
    assert_type(agent.run("x", output=Invoice).expect(), Invoice)
    assert_type(agent.run("x", output=kind).expect(), Invoice)
    assert_type(agent.run("x", output=Page[int]).expect(), Page[int])
    assert_type(agent.run("x", output=Point).expect(), Point)
    assert_type(agent.run("x", output=Person).expect(), Person)
    assert_type(agent.run("x", output=Colour).expect(), Colour)
    assert_type(agent.run("x", output=int).expect(), int)
    assert_type(agent.run("x", output=list[int]).expect(), list[int])
    assert_type(agent.run("x", output=dict[str, Invoice]).expect(), dict[str, Invoice])
    assert_type(agent.run("x", output=Output(Invoice)).expect(), Invoice)
    assert_type(agent.run("x", output=Output(Invoice, retries=1, mode="tool")).expect(), Invoice)
    assert_type(agent.run("x", output=Output(int, validator=sync_check)).expect(), int)
    assert_type(agent.run("x", output=Output(int, validator=async_check)).expect(), int)
    assert_type(agent.run("x", output=Output[int | str](int | str)).expect(), int | str)
    assert_type(agent.run("x", output=Output[Literal["a"]](Literal["a"])).expect(), Literal["a"])
    assert_type(agent.run("x", output=Output[int](Annotated[int, Field(ge=1)])).expect(), int)
    assert_type(agent.stream("x").run.output, Any | None)
    assert_type(agent.stream("x", output=Invoice).run.expect(), Invoice)
    assert_type(agent.stream("x", output=Invoice).drain().expect(), Invoice)
    assert_type(agent.resume(run).output, Any | None)
    assert_type(agent.resume(run, output=Invoice).expect(), Invoice)
    assert_type(agent.chat().send_message("x").output, Any | None)
    assert_type(agent.chat().send_message("x", output=Invoice).expect(), Invoice)
    assert_type(agent.chat().send_message_stream("x", output=Invoice).run.expect(), Invoice)
    assert_type(agent.chat().resume(output=Invoice).expect(), Invoice)


async def _what_a_type_checker_sees_async(agent: AsyncAgent, run: Run) -> None:
    """Never called: mypy reads it with the rest of the tests."""
    assert_type((await agent.run("x")).output, Any | None)
    assert_type((await agent.run("x", output=Invoice)).expect(), Invoice)
    assert_type((await agent.resume(run, output=Invoice)).expect(), Invoice)
    assert_type((await agent.chat().send_message("x", output=list[int])).expect(), list[int])
    assert_type((await agent.chat().send_message("x")).output, Any | None)
    async with agent.stream("x", output=Invoice) as events:
        assert_type(events.run.expect(), Invoice)
        assert_type((await events.drain()).expect(), Invoice)
    async with agent.chat().send_message_stream("x", output=Invoice) as answer:
        assert_type(answer.run.expect(), Invoice)
