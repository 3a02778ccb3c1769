"""The JSON form of events: each one comes back as it was, holds no secrets, and what is damaged is refused."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any, get_args

import pytest

from agentkit import Agent, ConfigurationError, Run, Source, Usage
from agentkit.events import (
    VERSION,
    AgentEvent,
    Event,
    FileLost,
    MediaDelta,
    MessageAdded,
    ModelChanged,
    ModelRetry,
    OutputDelta,
    PrefixChanged,
    RequestDelayed,
    RunFinished,
    ServerToolFinished,
    ServerToolStarted,
    SourcesFound,
    TextDelta,
    ThoughtDelta,
    ToldError,
    ToolFinished,
    ToolProgress,
    ToolsLeftOut,
    ToolStarted,
    TurnFinished,
    UploadProgress,
    from_wire,
    to_wire,
)
from agentkit.limits import ModelUsage
from agentkit.testing import ScriptedModel, call
from agentkit.wire.content import user_content
from tests.helpers.ways import Way, way

__all__ = ["way"]

SECRET = "sk-hidden"


def look(sku: str) -> str:
    """Look."""
    return f"seen {sku}"


def a_run() -> Run[Any]:
    return Agent(ScriptedModel([[call("look", sku="A")], "done"]), tools=[look]).run("x")


USED = Usage(
    requests=1, prompt_tokens=5, total_tokens=7, by_model=(ModelUsage(model="m", requests=1, input_tokens=5),)
)
ANSWER: Any = {"name": "look", "response": {"output": 1}}

EVENTS: list[Event] = [
    TextDelta("a \ud800 text"),
    OutputDelta({"total": [1, None, "é"]}),
    OutputDelta(None),
    ThoughtDelta("hm"),
    ToolStarted("c", "look", {"sku": "A", "deep": [{"a": None}]}),
    ToolProgress("c", "look", {"done": 0.5}),
    ToolFinished("c", "look", ANSWER, 0.5),
    ServerToolStarted("s", "code_execution", {"language": "PYTHON", "code": "print(1)"}),
    ServerToolFinished("s", "code_execution", "OUTCOME_OK", {"output": "1\n"}),
    MediaDelta({"inlineData": {"mimeType": "image/png", "data": "aGk="}}),
    SourcesFound((Source(kind="web", uri="https://a.example", spans=((0, 4), (6, 9))),), "<b>x</b>"),
    ToolsLeftOut("files", "it ended"),
    UploadProgress("talk.mp4", 5, 9),
    UploadProgress("talk.mp4", 9, 9, True),
    FileLost("talk.mp4", "https://a.example/files/x"),
    ModelRetry(2, 0.5, "503", "half a te"),
    ToolsLeftOut("time", "It fails."),
    PrefixChanged("The instructions changed."),
    RequestDelayed(1.5),
    ModelChanged("a", "b", "503"),
    MessageAdded(user_content("more")),
    AgentEvent(("a", "b"), ("c", "d"), TextDelta("inside")),
    AgentEvent(("a",), ("c",), AgentEvent(("b",), ("d",), TurnFinished(1, USED, "STOP", "m"))),
    TurnFinished(1, USED, "STOP", "m"),
    TurnFinished(2, Usage(), "STOP"),
]


def through_json(event: Event) -> Event:
    return from_wire(json.loads(json.dumps(to_wire(event), allow_nan=False)), read_run=Run.from_json)


def test_every_class_of_event_is_tried() -> None:
    assert {type(event) for event in EVENTS} | {RunFinished} == set(get_args(Event))


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_comes_back_as_it_was(event: Event) -> None:
    assert through_json(event) == event


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_the_form_has_its_version_and_camel_case(event: Event) -> None:
    wire = to_wire(event)
    assert wire["v"] == VERSION
    assert wire["type"] == wire["type"].lower()
    assert not [key for key in wire if "_" in key]


def test_the_usage_of_each_model_is_in_camel_case_too() -> None:
    (row,) = to_wire(TurnFinished(1, USED, "STOP"))["usage"]["byModel"]
    assert not [key for key in row if "_" in key]


@pytest.mark.parametrize("inside", [False, True], ids=["own", "of a sub-agent"])
def test_of_a_tools_error_only_the_kind_is_told(inside: bool) -> None:
    event: Event = ToolFinished("c", "look", ANSWER, 0.5, LookupError(SECRET))
    wire = to_wire(AgentEvent(("a",), ("c",), event) if inside else event)
    assert SECRET not in json.dumps(wire)
    told: Any = from_wire(wire)
    error = (told.event if inside else told).error
    assert isinstance(error, ToldError)
    assert str(error) == "LookupError"
    assert to_wire(told) == wire  # once more, as from one process to the next


def test_the_end_of_a_run_comes_back_with_its_run() -> None:
    run = a_run()
    told: Any = through_json(RunFinished(run))
    assert told.run.to_json() == run.to_json()
    plain: Any = from_wire(to_wire(RunFinished(run)))
    assert plain.run == json.loads(run.to_json())


def test_the_end_of_a_run_that_was_read_as_json_can_be_written_again() -> None:
    wire = to_wire(RunFinished(a_run()))
    assert to_wire(from_wire(wire)) == wire


class Odd:
    """What no JSON holds."""

    def __repr__(self) -> str:
        return "<odd>"


class Unprintable:
    """What can't even be printed."""

    def __repr__(self) -> str:
        raise ValueError("no")


def nested(depth: int) -> Any:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


CYCLE: list[Any] = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(float("nan"), id="nan"),
        pytest.param({1, 2}, id="set"),
        pytest.param(Odd(), id="object"),
        pytest.param([Odd()], id="object in a list"),
        pytest.param(CYCLE, id="cycle"),
        pytest.param((1, 2), id="tuple"),
        pytest.param({1: 2}, id="number as a key"),
        pytest.param((Odd(),), id="object in a tuple"),
        pytest.param((float("nan"),), id="nan in a tuple"),
        pytest.param(Unprintable(), id="unprintable"),
        pytest.param(nested(5000), id="too deep"),
    ],
)
def test_progress_that_is_no_json_becomes_some(message: Any) -> None:
    wire = to_wire(ToolProgress("c", "look", message))
    text = json.dumps(wire, allow_nan=False)
    assert to_wire(from_wire(json.loads(text))) == json.loads(text)


def test_fields_of_a_later_agentkit_are_left_out() -> None:
    assert from_wire({"v": VERSION, "type": "text_delta", "text": "x", "later": 1}) == TextDelta("x")


@pytest.mark.parametrize(
    "wire",
    [
        {},
        {"v": VERSION, "type": "unknown"},
        {"v": VERSION, "type": ["text_delta"]},
        {"v": VERSION + 1, "type": "text_delta", "text": "x"},
        {"type": "text_delta", "text": "x"},
        {"v": VERSION, "type": "text_delta"},
        {"v": VERSION, "type": "agent_event", "path": ["a"], "callIds": ["c"], "event": {}},
        {"v": VERSION, "type": "agent_event", "path": ["a"], "callIds": ["c"], "event": None},
        {"v": VERSION, "type": "turn_finished", "turn": 1, "usage": {}, "finishReason": "STOP"},
        {"v": VERSION, "type": "agent_event", "path": 3, "callIds": ["c"], "event": {}},
        {"v": VERSION, "type": "run_finished", "run": "x"},
    ],
    ids=str,
)
def test_what_is_no_event_is_refused(wire: Any) -> None:
    with pytest.raises(ConfigurationError):
        from_wire(wire)


@pytest.mark.parametrize("wire", [None, [], "x", 3], ids=str)
def test_what_is_no_object_is_refused(wire: Any) -> None:
    with pytest.raises(ConfigurationError):
        from_wire(wire)


def test_events_within_events_without_end_are_refused() -> None:
    wire: Any = to_wire(TextDelta("x"))
    for _ in range(3000):
        wire = {"v": VERSION, "type": "agent_event", "path": ["a"], "callIds": ["c"], "event": wire}
    with pytest.raises(ConfigurationError):
        from_wire(wire)


WRONG: list[Any] = [None, True, -1, 10**400, 1.5, "", [], {}, [[]], {"a": 1}]
TYPES: dict[str, Any] = {
    "text": str,
    "callId": str,
    "name": str,
    "reason": str,
    "finishReason": str,
    "turn": int,
    "attempt": int,
    "args": dict,
    "response": dict,
    "content": dict,
}


def damaged() -> Iterator[dict[str, Any]]:
    for event in EVENTS:
        wire = to_wire(event)
        for field, kind in TYPES.items():
            for value in WRONG:
                if field in wire and (not isinstance(value, kind) or (kind is int and value is True)):
                    yield json.loads(json.dumps(wire)) | {field: value}


def test_a_field_of_another_type_is_refused() -> None:
    read = []
    for wire in damaged():
        try:
            from_wire(wire)
        except ConfigurationError:
            continue
        read.append(wire)
    assert not read


def test_a_field_that_is_missing_raises_nothing_but_a_configuration_error() -> None:
    for event in EVENTS:
        whole = to_wire(event)
        for field in whole:
            wire = {key: value for key, value in whole.items() if key != field}
            try:
                to_wire(from_wire(wire))
            except ConfigurationError:
                continue


def test_all_events_of_a_run_with_sub_agents_come_back(way: Way) -> None:
    inner = Agent(ScriptedModel([[call("look", sku="B")], "inner done"]), name="inner", tools=[look])
    middle = Agent(
        ScriptedModel([[call("inner", request="?")], "middle done"]), name="middle", tools=[inner.as_tool()]
    )
    heard: list[Event] = []
    outer = Agent(
        ScriptedModel([[call("middle", request="?"), call("nothing")], "done"]),
        tools=[middle.as_tool()],
        observers=[lambda event, context: heard.append(event)],
    )
    way.run(outer, "x")
    paths = {event.path for event in heard if isinstance(event, AgentEvent)}
    assert paths == {("middle",), ("middle", "inner")}
    for event in heard:
        assert to_wire(through_json(event)) == json.loads(json.dumps(to_wire(event)))


def test_random_damage_raises_nothing_but_a_configuration_error() -> None:
    dice = random.Random(7)
    wires = [to_wire(event) for event in (*EVENTS, RunFinished(a_run()))]
    for _ in range(500):
        wire = json.loads(json.dumps(dice.choice(wires)))
        field = dice.choice(list(wire))
        wire[field] = dice.choice(WRONG)
        try:
            from_wire(wire, read_run=Run.from_json)
        except ConfigurationError:
            continue
