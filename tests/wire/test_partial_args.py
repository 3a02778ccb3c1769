"""Calls whose arguments come in pieces are put together as Vertex AI streams them."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from agentkit import Agent, Model, ModelError, tool
from agentkit.core.repair import judge
from agentkit.wire.reply import ReplyAssembler
from tests.helpers.ways import Way, way

__all__ = ["way"]

SIGNED = {"thoughtSignature": "c2ln"}


def piece(*partial: Any, goes_on: bool = True, **more: Any) -> dict[str, Any]:
    """Make a part that is a piece of a call."""
    call = {**more, **({"partialArgs": list(partial)} if partial else {})}
    return {"functionCall": {**call, **({"willContinue": True} if goes_on else {})}}


def at(path: str, **value: Any) -> dict[str, Any]:
    return {"jsonPath": path, **value}


BOOK: list[Any] = [
    {**piece(name="book", id="c-1"), **SIGNED},
    piece(at("$.city", stringValue="New ", willContinue=True)),
    piece(at("$.city", stringValue="Delhi", willContinue=True)),
    piece(at("$.city", stringValue="")),
    piece(at("$.nights", numberValue=3), at("$.breakfast", boolValue=False)),
    piece(at("$.guests[0].name", stringValue="Ann")),
    piece(at("$.guests[1]['name']", stringValue="Bob"), at('$.guests[1]["room no"]', nullValue="NULL_VALUE")),
    piece(goes_on=False),
]
BOOKED = {
    "city": "New Delhi",
    "nights": 3,
    "breakfast": False,
    "guests": [{"name": "Ann"}, {"name": "Bob", "room no": None}],
}


def chunk(*parts: Any, **candidate: Any) -> Any:
    return {"candidates": [{"content": {"role": "model", "parts": list(parts)}, **candidate}]}


def assembled(*parts: Any) -> list[Any]:
    assembler = ReplyAssembler()
    for part in parts:
        assembler.add(chunk(part))
    assembler.add(chunk(finishReason="STOP"))
    return list(assembler.reply()["candidates"][0]["content"]["parts"])


def test_the_pieces_of_a_call_are_one_call_signed_as_it_was() -> None:
    (part,) = assembled(*BOOK)
    assert part == {"functionCall": {"name": "book", "id": "c-1", "args": BOOKED}, **SIGNED}


def test_calls_in_pieces_stand_in_order_beside_whole_ones_and_texts() -> None:
    whole = {"functionCall": {"name": "look", "args": {"a": 1}}}
    second = piece(at("$.a", stringValue="x"), goes_on=False, name="other")
    parts = assembled({"text": "I "}, {"text": "look."}, *BOOK, second, whole, {"text": "Done."})
    assert [part.get("text") or part["functionCall"]["name"] for part in parts] == [
        "I look.", "book", "other", "look", "Done.",
    ]  # fmt: skip
    assert parts[2] == {"functionCall": {"name": "other", "args": {"a": "x"}}}
    assert parts[3] == whole


def test_a_call_without_a_marker_of_its_end_ends_with_the_next_one() -> None:
    first = piece(at("$.a", numberValue=1), goes_on=False, name="f")
    assert [part["functionCall"]["args"] for part in assembled(first, first)] == [{"a": 1}] * 2


def test_a_call_that_was_cut_off_is_malformed_and_never_run() -> None:
    assembler = ReplyAssembler()
    for part in BOOK[:3]:
        assembler.add(chunk(part))
    assembler.add(chunk(finishReason="STOP"))
    assert judge(assembler.reply(), ["book"]).finish_reason == "MALFORMED_FUNCTION_CALL"


@pytest.mark.parametrize(
    "path",
    [
        "city",
        "$",
        "",
        None,
        3,
        "$[0]",
        "$.a[1]",
        "$.a[99999999]",
        "$..a",
        "$.a[*]",
        "$.a[0",
        "$" + ".a" * 5000,
    ],
)
def test_a_path_that_is_none_is_a_reply_that_cant_be_read(path: Any) -> None:
    with pytest.raises(ModelError) as caught:
        assembled(piece(at(path, stringValue="x"), goes_on=False, name="f"))
    assert caught.value.retryable


def test_a_place_that_is_two_things_cant_be_read() -> None:
    with pytest.raises(ModelError):
        assembled(piece(at("$.a", numberValue=1), at("$.a.b", numberValue=1), goes_on=False, name="f"))


def test_a_run_makes_the_call_once_it_is_whole(way: Way) -> None:
    booked: list[Any] = []

    @tool
    def book(city: str, nights: int, breakfast: bool, guests: list[dict[str, Any]]) -> str:
        """Book."""
        booked.append((city, nights, breakfast, guests))
        return "yes"

    class Vertex(Model):
        name = "gemini-x"

        def stream(self, request: Any, *, timeout: float | None = None) -> Generator[Any, None, None]:
            yield from map(chunk, BOOK if len(request["contents"]) == 1 else [{"text": "Booked."}])
            yield chunk(finishReason="STOP")

    model: Model = Vertex()
    run = way.run(Agent(model, tools=[book]), "Book it.")
    assert (run.text, booked) == ("Booked.", [tuple(BOOKED.values())])
    assert run.contents[1]["parts"][0]["functionCall"]["args"] == BOOKED
