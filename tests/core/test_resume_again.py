"""A run that stops more than once goes on with what it was given last, wherever it is found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentkit import Agent, ConfigurationError, Limits, MemoryStore, Output, Run, SQLiteStore
from agentkit.testing import ScriptedModel, call
from tests.helpers.waiting import Shop, approve_all
from tests.helpers.ways import Way, either

__all__ = ["either"]

Go = Callable[..., Run[Any]]
SCRIPT = [[call("order", sku=sku)] for sku in "ABC"]
PLACES = pytest.mark.parametrize("place", ["a run", "its JSON", "a chat", "a store", "JSON and a store"])


def going(place: str, either: Way, agent: Agent, folder: Path) -> tuple[Go, Go]:
    """Say how a run begins and goes on that is found somewhere; each time it is opened anew where that can be."""
    last: list[Run[Any]] = []
    chat = agent.chat("ann", MemoryStore())

    def told(run: Run[Any]) -> Run[Any]:
        last.append(run)
        return run

    def begin(**options: Any) -> Run[Any]:
        if place == "a chat":
            return told(chat.send_message("x", **options))
        if place in ("a run", "its JSON"):
            return told(either.run(agent, "x", **options))
        with SQLiteStore(folder / "a.db") as store:
            return told(either.chat(agent, store).send("x", **options))

    def again(decisions: Any = None, **options: Any) -> Run[Any]:
        decisions = approve_all(last[-1]) if decisions is None else decisions
        if place == "a chat":
            return told(chat.resume(decisions, **options))
        if place in ("a run", "its JSON"):
            found: Any = last[-1] if place == "a run" else last[-1].to_json()
            return told(either.resume(agent, found, decisions, **options))
        with SQLiteStore(folder / "a.db") as store:
            if place == "a store":
                return told(either.chat(agent, store).resume(decisions, **options))
            return told(either.resume(agent, last[-1].to_json(), decisions, store=store, **options))

    return begin, again


def instructions(model: ScriptedModel) -> list[str]:
    none: Any = {"parts": [{"text": ""}]}
    return [request.get("systemInstruction", none)["parts"][0]["text"] for request in model.requests]


@PLACES
def test_what_was_given_last_holds(either: Way, place: str, tmp_path: Path) -> None:
    shop, model = Shop(), ScriptedModel([*SCRIPT, "done"])
    agent = Agent(model, tools=[shop.order], instructions="the agent's", config={"seed": 1})
    begin, again = going(place, either, agent, tmp_path)
    begin(instructions="first", config={"temperature": 0.5, "seed": 2})
    again(instructions="second", config={"temperature": 0.9})
    again()
    assert again().text == "done"
    assert instructions(model) == ["first", "second", "second", "second"]
    settings: Any = [request["generationConfig"] for request in model.requests]
    assert [each["temperature"] for each in settings] == [0.5, 0.9, 0.9, 0.9]
    assert [each["seed"] for each in settings] == [2, 2, 2, 2]


@PLACES
def test_so_it_does_where_nothing_was_given_before_and_limits_stop_it(
    either: Way, place: str, tmp_path: Path
) -> None:
    shop, model = Shop(), ScriptedModel([[call("read", sku=sku)] for sku in "ABC"] + ["done"])
    begin, again = going(place, either, Agent(model, tools=[shop.read], limits=Limits(turns=1)), tmp_path)
    assert begin().stop == "turns"
    assert again(limits=Limits(turns=1), instructions="now").stop == "turns"
    assert again().stop == "turns"
    last = again(limits=None)
    assert (last.text, last.stop, instructions(model)[-1]) == ("done", None, "now")


@PLACES
def test_what_cannot_be_written_down_is_there_or_asked_for_by_name(
    either: Way, place: str, tmp_path: Path
) -> None:
    shop, model = Shop(), ScriptedModel([*SCRIPT, '{"result": 3}'])
    begin, again = going(place, either, Agent(model, tools=[shop.order]), tmp_path)
    begin()
    again(output=Output(int, mode="native"), instructions=lambda ctx: "now")
    if place not in ("a run", "a chat"):
        with pytest.raises(
            ConfigurationError, match=r"given (output=, instructions=|instructions=, output=)"
        ):
            again()
        assert shop.ordered == ["A"]
        again(output=Output(int, mode="native"), instructions=lambda ctx: "now")
        assert again(output=Output(int, mode="native"), instructions=None).output == 3
        return
    again()
    assert again().output == 3
    assert instructions(model)[-1] == "now"


@PLACES
def test_what_a_resume_was_given_that_was_refused_does_not_hold(
    either: Way, place: str, tmp_path: Path
) -> None:
    shop, model = Shop(), ScriptedModel([*SCRIPT, "done"])
    begin, again = going(place, either, Agent(model, tools=[shop.order]), tmp_path)
    begin(instructions="first")
    with pytest.raises(ConfigurationError):
        again({"unknown": "?"}, instructions="refused")
    again({}, instructions="second")  # nothing is decided: it waits on, and has them
    again()
    again()
    assert again().text == "done"
    assert instructions(model) == ["first", "second", "second", "second"]
