"""A model of one's own: a name and `stream` are enough for every way of running and for counting."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any

import pytest

from agentkit import Agent, MemoryStore, Model, ModelError, Run, TokenBudget
from agentkit.core.repair import RetryPolicy
from agentkit.events import TextDelta
from agentkit.model import NO_TRAITS
from agentkit.testing import call, fault, reply
from agentkit.wire.content import Part, Reply, Request, encode_request
from tests.helpers.leftovers import nothing_left
from tests.helpers.ways import Way, way

__all__ = ["way"]


class Mine(Model):
    """A name and `stream`; each reply comes in pieces, a part each."""

    def __init__(self, *script: list[str | Part] | Exception) -> None:
        self._script = list(script)
        self.requests: list[Request] = []
        self.open = 0

    @property
    def name(self) -> str:
        return "mine"

    def stream(self, request: Request, *, timeout: float | None = None) -> Generator[Reply, None, None]:
        self.requests.append(request)
        self.open += 1
        try:
            said = self._script.pop(0)
            if isinstance(said, Exception):
                raise said
            for part in said:
                content: Any = reply(part)["candidates"][0]["content"]
                yield {"candidates": [{"content": content}]}
            yield reply(
                "", finish_reason="STOP", promptTokenCount=7, candidatesTokenCount=3, totalTokenCount=10
            )
        finally:
            self.open -= 1


def look(sku: str) -> str:
    """Look."""
    return f"seen {sku}"


def test_a_name_and_stream_do_for_every_way_of_running(way: Way) -> None:
    model = Mine(["Let me see. ", call("look", sku="A")], ["It ", "is ", "there."])
    with nothing_left():
        run = way.run(Agent(model, tools=[look]), "x")
    assert (run.text, run.model, run.stop) == ("It is there.", "mine", None)
    assert (run.usage.requests, run.usage.total_tokens) == (2, 20)
    assert model.open == 0
    if way.streamed:
        texts = [event.text for event in way.events if isinstance(event, TextDelta)]
        assert texts == ["Let me see. ", "It ", "is ", "there."]


def test_its_failures_are_met_as_any_models_are(way: Way) -> None:
    model = Mine(fault(503), ["done"])
    run = way.run(Agent(model, retry=RetryPolicy(base=0, cap=0)), "x")
    assert (run.text, len(model.requests)) == ("done", 2)


def test_a_failure_in_the_midst_of_a_stream_keeps_what_there_was(way: Way) -> None:
    class Breaks(Mine):
        def stream(self, request: Request, *, timeout: float | None = None) -> Generator[Reply, None, None]:
            yield from list(super().stream(request))[:1]
            raise ModelError("it broke off")

    with pytest.raises(ModelError) as caught:
        way.run(Agent(Breaks(["half ", "a text"])), "x")
    assert caught.value.run.text == ("half " if way.streamed else "")


def test_an_output_is_taken_of_its_replies(way: Way) -> None:
    run: Run[Any] = way.run(Agent(Mine(['{"result": ', "3}"])), "x", output=int)
    assert run.expect() == 3


def test_tokens_are_counted_for_it_about_one_for_four_bytes(way: Way) -> None:
    answer: list[str | Part] = ["answer " * 20]
    model = Mine(answer, answer, answer)
    chat = way.chat(Agent(model), MemoryStore(), memory=TokenBudget(120))
    for number in range(3):
        chat.send(f"message {number}")
    assert len(model.requests[-1]["contents"]) < 5
    request: Request = {"contents": [{"role": "user", "parts": [{"text": "x" * 400}]}]}
    expected = len(encode_request(request)) // 4
    assert model.count_tokens(request) == expected
    assert asyncio.run(model.acount_tokens(request)) == expected


def test_it_has_traits_that_refuse_nothing() -> None:
    model = Mine()
    assert model.traits is NO_TRAITS
    assert model.traits.json_schema
    assert model.traits.window is None
    model.prepare_for({"contents": []})


def test_closing_a_stream_closes_the_generator_of_the_model() -> None:
    model = Mine(["a ", "b ", "c"], ["a ", "b ", "c"])
    with Agent(model).stream("x") as stream:
        next(stream)
        assert model.open == 1
    assert model.open == 0

    async def go() -> None:
        async with Agent(model).aio.stream("x") as astream:
            await anext(astream)

    with nothing_left():  # the thread that is in the generator closes it
        asyncio.run(go())
    assert model.open == 0


def test_a_model_without_stream_can_not_be_made() -> None:
    class Nothing(Model):
        name = "nothing"

    with pytest.raises(TypeError, match="stream"):
        Nothing()  # type: ignore[abstract]


class Odd(Mine):
    """Whatever it says has another shape than a reply's."""

    def generate(self, request: Request, *, timeout: float | None = None) -> Reply:
        return next(self.stream(request))

    async def agenerate(self, request: Request, *, timeout: float | None = None) -> Reply:
        return self.generate(request)

    def stream(self, request: Request, *, timeout: float | None = None) -> Generator[Reply, None, None]:
        self.requests.append(request)
        said: Any = {"candidates": "x"} if len(self.requests) == 1 else reply("Fine.")
        yield said


def test_what_is_no_reply_is_asked_for_again_in_every_way_of_running(way: Way) -> None:
    model = Odd()
    run = way.run(Agent(model, retry=RetryPolicy(attempts=2, base=0, cap=0)), "x")
    assert (run.text, run.usage.requests, run.usage.given_up) == ("Fine.", 2, 1)
    with pytest.raises(ModelError, match="odd shape"):
        way.run(Agent(Odd(), retry=RetryPolicy(attempts=1)), "x")
