"""One function call in, exactly one function response out, whatever happens."""

import asyncio
import itertools
import json
import math
import sys
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from pydantic import AfterValidator, BaseModel, Field, model_serializer, model_validator

from agentkit.errors import AgentError, ToolError, ToolRetriesExceeded, ToolRetry, ToolTimeout
from agentkit.tooling.context import Context
from agentkit.tooling.invoke import Invocation, Outcome, edit, fail, prepare, refuse, succeed
from agentkit.tooling.registry import collect
from agentkit.tooling.results import Media
from agentkit.tooling.tool import Tool


def picky(number: int) -> int:
    if number == 13:
        raise ValueError("not 13")
    if number == 14:
        raise KeyError("secret token")
    return number


class Item(BaseModel):
    sku: str
    n: Annotated[int, Field(ge=1)] = 1

    @model_validator(mode="after")
    def known(self) -> "Item":
        if self.sku == "X":
            raise ValueError("X is sold out")
        return self


def order(items: list[Item], speed: Literal["slow", "fast"] | int = "slow", *, lucky: Annotated[int, AfterValidator(picky)] = 7) -> Any:  # fmt: skip  # noqa: E501
    """Order."""
    return len(items)


def get_weather(city: str) -> str:
    """Weather."""
    return f"rain in {city}"


@dataclass
class Reading:
    celsius: float


class Measured(BaseModel):
    celsius: float | None


TOOLS = collect([order, get_weather])


def prepared(name: Any, args: Any = None, retry: int = 0, **more: Any) -> Invocation:
    call: Any = {"id": "c1", "name": name, "args": args, **more}
    return prepare(call, TOOLS, Context(deps=None, retry=retry, tool_name=str(name)))


def answered(invocation: Invocation) -> Outcome:
    assert invocation.function is None
    assert invocation.outcome is not None
    return invocation.outcome


def text_of(outcome: Outcome) -> str:
    response = outcome.part["functionResponse"]["response"]
    assert response.keys() == {"error"}
    json.dumps(outcome.part, allow_nan=False)
    return str(response["error"])


def output_of(outcome: Outcome) -> Any:
    response = outcome.part["functionResponse"]["response"]
    assert response.keys() == {"output"}
    return response["output"]


def ready() -> Invocation:
    return prepared("get_weather", {"city": "Rome"})


def test_a_call_is_prepared_made_and_answered_with_its_name_and_id() -> None:
    invocation = ready()
    assert invocation.outcome is None
    assert invocation.function is not None
    outcome = succeed(invocation, invocation.function())
    assert outcome == Outcome(
        "ok",
        {"functionResponse": {"id": "c1", "name": "get_weather", "response": {"output": "rain in Rome"}}},
    )


def test_a_call_without_an_id_gets_none() -> None:
    invocation = prepare({"name": "get_weather", "args": {"city": "Rome"}}, TOOLS, Context(deps=None))
    assert "id" not in succeed(invocation, 1).part["functionResponse"]


def test_an_unknown_tool_is_answered_with_the_closest_names() -> None:
    outcome = answered(prepared("GetWeather", {}))
    assert outcome.kind == "unknown"
    assert text_of(outcome) == (
        "There is no tool 'GetWeather'. Did you mean 'get_weather'? The tools are: order, get_weather."
    )
    assert isinstance(outcome.error, AgentError)
    assert "Did you mean" not in text_of(answered(prepared("zzz")))


def test_an_unknown_tool_among_many_or_none_is_answered_shortly() -> None:
    many = collect([Tool.of(lambda: 1, name=f"tool_{n}") for n in range(100)])
    outcome = prepare({"name": "zzz"}, many, Context(deps=None)).outcome
    assert outcome is not None
    assert text_of(outcome).endswith("tool_29 and 70 more.")
    outcome = prepare({"name": "zzz"}, {}, Context(deps=None)).outcome
    assert outcome is not None
    assert text_of(outcome) == "There is no tool 'zzz'. There are no tools."


@pytest.mark.parametrize("call", [{}, {"name": None}, {"name": ""}, {"name": 3, "args": 4}, {"name": ["a"]}])
def test_a_call_without_a_proper_name_is_answered(call: Any) -> None:
    outcome = answered(prepare(call, TOOLS, Context(deps=None)))
    assert outcome.kind == "unknown"
    assert isinstance(outcome.part["functionResponse"]["name"], str)
    assert text_of(outcome)


def test_missing_and_null_args_are_none() -> None:
    for call in ({"name": "f"}, {"name": "f", "args": None}, {"name": "f", "args": {}}):
        invocation = prepare(call, collect(Tool.of(lambda: 3, name="f")), Context(deps=None))  # type: ignore[arg-type]
        assert invocation.function is not None
        assert output_of(succeed(invocation, invocation.function())) == 3


@pytest.mark.parametrize("args", [[], "city", 3, [["city", "Rome"]]])
def test_args_that_are_no_object_are_bad_arguments(args: Any) -> None:
    outcome = answered(prepared("get_weather", args))
    assert outcome.kind == "invalid"
    assert "the arguments must be an object" in text_of(outcome)


def test_every_bad_argument_is_listed_for_the_model_to_read() -> None:
    args = {
        "items": [{"sku": 5, "n": 0}, {"n": "x" * 500, "color": "red"}, {"sku": "X"}],
        "speed": "warp",
        "lucky": 13,
        "when": "now",
    }
    outcome = answered(prepared("order", args))
    assert outcome.kind == "invalid"
    text = text_of(outcome)
    no_integer = "should be a valid integer, unable to parse string as an integer"
    assert text.splitlines() == [
        "The arguments of 'order' are wrong:",
        "- items[0].sku should be a valid string (got 5)",
        "- items[0].n should be greater than or equal to 1 (got 0)",
        "- items[1].sku is required",
        f'- items[1].n {no_integer} (got "{"x" * 59}...)',
        '- items[2] X is sold out (got {"sku": "X"})',
        f"- speed should be 'slow' or 'fast' (got \"warp\") or {no_integer} (got \"warp\")",
        "- lucky not 13 (got 13)",
        "- when is not a parameter; the parameters are: items, speed, lucky",
    ]
    assert "pydantic" not in text
    assert isinstance(outcome.error, AgentError)
    assert outcome.error.problems == [line[2:] for line in text.splitlines()[1:]]  # type: ignore[attr-defined]


def test_what_all_members_of_a_union_say_is_said_once() -> None:
    def f(n: Annotated[int, Field(ge=1)] | Annotated[int, Field(le=9)]) -> None: ...

    outcome = answered(prepare({"name": "f", "args": {"n": []}}, collect(f), Context(deps=None)))
    assert text_of(outcome).splitlines()[1:] == ["- n should be a valid integer (got [])"]


def test_a_missing_item_of_a_tuple_is_placed() -> None:
    def f(pair: tuple[int, str], at: dict[str, list[int]]) -> None: ...

    tools = collect(f)
    outcome = answered(
        prepare({"name": "f", "args": {"pair": [1], "at": {"a.b": [1, None]}}}, tools, Context(deps=None))
    )
    assert text_of(outcome).splitlines()[1:] == [
        "- pair[1] is required",
        "- at.a.b[1] should be a valid integer (got null)",
    ]


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), object(), 10**5000], ids=["nan", "inf", "object", "long"]
)
def test_args_that_are_no_json_are_bad_arguments(value: Any) -> None:
    outcome = answered(prepared("get_weather", {"city": value}))
    assert outcome.kind == "invalid"
    assert "aren't valid JSON" in text_of(outcome)


def test_args_nested_beyond_reason_are_bad_arguments() -> None:
    deep: Any = []
    for _ in range(sys.getrecursionlimit() * 3):
        deep = [deep]
    assert answered(prepared("get_weather", {"city": deep})).kind == "invalid"
    nested: Any = []
    for _ in range(300):
        nested = [nested]
    tools = collect(Tool.of(lambda x: x, name="f"))
    assert (
        answered(prepare({"name": "f", "args": {"x": nested}}, tools, Context(deps=None))).kind == "invalid"
    )


def test_a_lone_surrogate_does_no_harm() -> None:
    invocation = prepared("get_weather", {"city": "a\ud800"})
    assert invocation.function is not None
    assert output_of(succeed(invocation, invocation.function())) == "rain in a?"


def test_a_validator_that_raises_is_an_error_of_the_tool() -> None:
    outcome = answered(prepared("order", {"items": [], "lucky": 14}))
    assert outcome.kind == "error"
    assert isinstance(outcome.error, KeyError)
    assert "secret" not in text_of(outcome)


def test_a_retry_tells_the_model_the_message() -> None:
    error = ToolRetry("try Paris")
    outcome = fail(ready(), error)
    assert (outcome.kind, outcome.error, text_of(outcome)) == ("retry", error, "try Paris")
    assert "again" in text_of(fail(ready(), ToolRetry()))


@pytest.mark.parametrize("retry", [0, 1])
def test_failures_within_the_retries_are_not_final(retry: int) -> None:
    assert "Do not call" not in text_of(answered(prepared("get_weather", {}, retry=retry)))


@pytest.mark.parametrize("retry", [2, 3])
def test_used_up_retries_tell_the_model_to_stop_and_the_run_why(retry: int) -> None:
    outcome = answered(prepared("get_weather", {}, retry=retry))
    assert outcome.kind == "invalid"
    assert f"It failed {retry + 1} times in a row. Do not call 'get_weather' again" in text_of(outcome)
    assert "city is required" in text_of(outcome)
    assert isinstance(outcome.error, ToolRetriesExceeded)
    assert outcome.error.__cause__ is not None

    error = ToolRetry("try Paris")
    outcome = fail(prepared("get_weather", {"city": "x"}, retry=retry), error)
    assert outcome.kind == "retry"
    assert text_of(outcome).startswith("try Paris\n")
    assert isinstance(outcome.error, ToolRetriesExceeded)
    assert outcome.error.__cause__ is error


def test_a_tool_without_retries_gets_one_chance() -> None:
    tools = collect(Tool.of(get_weather, retries=0))
    outcome = answered(prepare({"name": "get_weather"}, tools, Context(deps=None)))
    assert isinstance(outcome.error, ToolRetriesExceeded)


def test_a_tool_error_tells_the_model_the_message() -> None:
    error = ToolError("closed")
    outcome = fail(ready(), error)
    assert (outcome.kind, outcome.error, text_of(outcome)) == ("error", error, "closed")
    assert text_of(fail(ready(), ToolError())) == "The tool 'get_weather' failed."


@pytest.mark.parametrize("error", [ZeroDivisionError("secret"), TimeoutError("secret"), OSError("secret")])
def test_any_other_exception_is_told_without_its_text(error: Exception) -> None:
    outcome = fail(ready(), error)
    assert (outcome.kind, outcome.error) == ("error", error)
    assert (
        text_of(outcome) == f"The tool 'get_weather' failed with an internal error ({type(error).__name__})."
    )


def test_a_tool_that_exits_is_an_error() -> None:
    outcome = fail(ready(), SystemExit(3))
    assert outcome.kind == "error"
    assert isinstance(outcome.error, AgentError)
    assert isinstance(outcome.error.__cause__, SystemExit)


def test_timeouts_and_cancellations_are_told() -> None:
    error = ToolTimeout("after 3 s")
    outcome = fail(ready(), error)
    assert (outcome.kind, outcome.error) == ("timeout", error)
    assert "took too long" in text_of(outcome)
    outcome = fail(ready(), asyncio.CancelledError())
    assert (outcome.kind, outcome.error) == ("cancelled", None)
    assert "cancelled" in text_of(outcome)


def test_a_call_that_is_not_run_is_answered_with_the_reason() -> None:
    assert refuse(ready(), "no more") == Outcome(
        "refused",
        {"functionResponse": {"id": "c1", "name": "get_weather", "response": {"error": "no more"}}},
    )
    assert refuse(ready(), "stopped", "cancelled").kind == "cancelled"


def test_a_result_that_json_cannot_hold_is_an_error_that_says_the_tool_has_run() -> None:
    for value in (object(), [object()], {"a": lambda: 1}, Media(b"x", "a/b").to_wire):
        outcome = succeed(ready(), value)
        assert outcome.kind == "error"
        assert text_of(outcome) == "The tool 'get_weather' has run, but its result can't be shown."
        assert isinstance(outcome.error, AgentError)
        assert isinstance(outcome.error.__cause__, Exception)


NULL = "Numbers that JSON can't hold (NaN, Infinity) are null in this result."


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (float("nan"), None),
        ({"a": [1.5, float("inf")], "b": -math.inf}, {"a": [1.5, None], "b": None}),
        (Reading(math.nan), {"celsius": None}),
        (Measured(celsius=math.inf), {"celsius": None}),
        ({"a": [Measured(celsius=math.nan)]}, {"a": [{"celsius": None}]}),
        ((math.nan, Media(b"x", "a/b")), None),
        (deque([math.inf, 1]), [None, 1]),
    ],
    ids=repr,
)
def test_numbers_that_json_cannot_hold_are_null_and_the_model_is_told(value: Any, shown: Any) -> None:
    outcome = succeed(ready(), value)
    assert (outcome.kind, output_of(outcome)) == ("ok", {"result": shown, "note": NULL})
    json.dumps(outcome.part, allow_nan=False)


def test_nulls_that_were_none_are_not_spoken_of() -> None:
    assert output_of(succeed(ready(), [Measured(celsius=None), None])) == [{"celsius": None}, None]


REFS: list[Any] = [
    {"$ref": "#/a"},
    {"properties": {"a": {"$ref": "#/$defs/A"}}},
    [1, [{"x": {"$ref": None}}]],
    {"a": ({"$ref": 1},)},
]


@pytest.mark.parametrize("value", REFS, ids=repr)
def test_a_result_with_a_reference_in_it_is_sent_as_its_text(value: Any) -> None:
    output = output_of(succeed(ready(), value))
    assert isinstance(output, str)
    assert '"$ref"' in output
    json.loads(output)


def test_a_text_or_a_value_that_only_speaks_of_references_is_sent_as_it_is() -> None:
    for value in ('{"$ref": 1}', {"key": '"$ref"'}, {"ref": "$ref"}, ['"$ref"']):
        assert output_of(succeed(ready(), value)) == value


def test_a_reference_in_an_edited_or_a_large_result_does_not_get_through() -> None:
    tools = collect(Tool.of(lambda x: {"$ref": math.nan}, name="f"))
    invocation = prepare({"name": "f", "args": {"x": 1}}, tools, Context(deps=None, tool_name="f"))
    edit(invocation, {"x": 2}, "A person")
    assert invocation.function is not None
    output = output_of(succeed(invocation, invocation.function()))
    assert output["result"] == '{"$ref": null}'
    assert "A person changed the arguments" in output["note"]
    assert NULL in output["note"]
    outcome = succeed(ready(), {"$ref": "x" * 500}, max_chars=200)
    assert isinstance(output_of(outcome), str)
    assert outcome.whole == json.dumps({"$ref": "x" * 500})


def test_a_result_that_contains_itself_is_an_error() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert succeed(ready(), endless).kind == "error"


def test_an_error_text_beyond_the_limit_is_cut() -> None:
    text = text_of(fail(ready(), ToolError("x" * 1_000_000)))
    assert len(text) < 100_001
    assert "characters are missing" in text


def test_media_go_beside_the_response() -> None:
    outcome = succeed(ready(), ["a chart", Media(b"\xff", "image/png", "chart.png")])
    response = outcome.part["functionResponse"]
    assert response["response"] == {"output": "a chart"}
    assert response["parts"] == [
        {"inlineData": {"mimeType": "image/png", "data": "/w==", "displayName": "chart.png"}}
    ]


def test_a_result_over_the_limit_is_cut() -> None:
    outcome = succeed(ready(), "x" * 1000, max_chars=100)
    assert "[cut:" in outcome.part["functionResponse"]["response"]["output"]


class Slow(BaseModel):
    """Says in which thread it is made JSON."""

    @model_serializer
    def made_in(self) -> str:
        return threading.current_thread().name


def in_a_thread(function: Callable[[], Any]) -> Any:
    values: list[Any] = []
    thread = threading.Thread(target=lambda: values.append(function()), name="worker")
    thread.start()
    thread.join()
    return values[0]


def test_a_result_becomes_json_where_the_tool_runs() -> None:
    def names() -> Any:
        return (threading.current_thread().name for _ in range(2))

    for source, expected in ((Slow, "worker"), (names, ["worker", "worker"])):
        invocation = prepare({"name": "f"}, collect(Tool.of(source, name="f")), Context(deps=None))
        assert invocation.function is not None
        assert output_of(succeed(invocation, in_a_thread(invocation.function))) == expected


def test_what_an_async_tool_gives_becomes_json_where_it_is_awaited() -> None:
    async def later() -> Any:
        return Slow()

    async def call(function: Callable[[], Any]) -> Any:
        return await function()

    def give() -> Any:
        return later()

    for source in (later, give):
        invocation = prepare({"name": "f"}, collect(Tool.of(source, name="f")), Context(deps=None))
        function = invocation.function
        assert function is not None
        value = in_a_thread(lambda function=function: asyncio.run(call(function)))  # type: ignore[misc]
        assert output_of(succeed(invocation, value)) == "worker"


def test_an_iterator_without_an_end_is_an_error() -> None:
    def endless() -> Any:
        return itertools.count()

    def nested() -> Any:
        return {"rows": itertools.count()}

    for source in (endless, nested):
        invocation = prepare({"name": "f"}, collect(Tool.of(source, name="f")), Context(deps=None))
        assert invocation.function is not None
        with pytest.raises(AgentError, match="the count gives more than 100,000 items") as raised:
            invocation.function()
        outcome = fail(invocation, raised.value)
        assert outcome.kind == "error"
        assert text_of(outcome) == "The tool 'f' has run, but its result can't be shown."
        assert outcome.error is raised.value


def test_a_result_shares_nothing_with_what_the_tool_keeps() -> None:
    kept: dict[str, Any] = {"rows": [1]}
    outcome = succeed(ready(), kept)
    kept["rows"].append(2)
    assert output_of(outcome) == {"rows": [1]}
