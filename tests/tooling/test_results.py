"""What a tool returns, as the model gets it."""

import collections
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from google.genai import types
from pydantic import BaseModel, Field

from agentkit.tooling.media import split_media
from agentkit.tooling.results import Media, cut, to_json


class Color(Enum):
    RED = "red"


class Pair(NamedTuple):
    a: int
    b: date


@dataclass
class Point:
    x: int
    when: date


@dataclass
class Blob:
    data: list[bytes]


class Animal(BaseModel):
    name: str


class Dog(Animal):
    breed: str


class Order(BaseModel):
    from_: str = Field(alias="from")
    pets: list[Animal] = []


class Pack(BaseModel):
    pets: list[Animal]


def numbers() -> Iterator[int]:
    yield from (1, 2)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("a", "a"),
        (True, True),
        (1.5, 1.5),
        ([1, (2, "a")], [1, [2, "a"]]),
        ({"a": {1: None}}, {"a": {"1": None}}),
        ({None: 1, True: 2, date(2026, 1, 2): 3, Color.RED: 4}, {"None": 1, "true": 2, "2026-01-02": 3, "red": 4}),
        ({3, 20, 1}, [1, 3, 20]),
        (frozenset({"b", "a"}), ["a", "b"]),
        ({1, "a", None}, ["a", 1, None]),
        ({(1, 2), (0, 3)}, [[0, 3], [1, 2]]),
        (date(2026, 1, 2), "2026-01-02"),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00Z"),
        (time(3, 4), "03:04:00"),
        (timedelta(seconds=90), "PT1M30S"),
        (Decimal("0.10"), "0.10"),
        (Color.RED, "red"),
        (b"\xff\x00", "/wA="),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Path("a/b"), "a/b"),
        (bytearray(b"\xff\x00"), "/wA="),
        (memoryview(b"\xff\x00"), "/wA="),
        (Blob([b"\xff\x00"]), {"data": ["/wA="]}),
        (types.Part(thought_signature=b"\xff\x00"), {"thoughtSignature": "/wA="}),
        (map(str, [1]), ["1"]),
        (Pair(1, date(2026, 1, 2)), [1, "2026-01-02"]),
        (Point(1, date(2026, 1, 2)), {"x": 1, "when": "2026-01-02"}),
        (Order.model_validate({"from": "x"}), {"from": "x", "pets": []}),
        (Pack(pets=[Dog(name="Rex", breed="pug")]), {"pets": [{"name": "Rex", "breed": "pug"}]}),
        (numbers(), [1, 2]),
        ({"a": numbers()}, {"a": [1, 2]}),
        (range(3), [0, 1, 2]),
        (collections.deque([1]), [1]),
        ({"a": 1}.keys(), ["a"]),
        ({"a": {2, 1}}.values(), [[1, 2]]),
        ({"a": 1}.items(), [["a", 1]]),
        (MappingProxyType({"a": {2, 1}}), {"a": [1, 2]}),
        (collections.Counter("aa"), {"a": 2}),
        (types.Part(text="hi"), {"text": "hi"}),
        ([types.GroundingMetadata(web_search_queries=["q"])], [{"webSearchQueries": ["q"]}]),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_values_become_json(value: Any, expected: Any) -> None:
    assert to_json(value) == expected


def test_a_set_is_the_same_text_every_time() -> None:
    words = [f"word{n}" for n in range(50)]
    backwards = sorted(words, reverse=True)
    assert json.dumps(to_json(set(words))) == json.dumps(to_json(set(backwards))) == json.dumps(sorted(words))
    mixed = to_json({1, "a", None, 2.5, (1, "b")})
    assert mixed == sorted(mixed, key=json.dumps)


def test_what_json_cannot_hold_is_an_error() -> None:
    for value in (object(), [object()], {"a": lambda: 1}, BaseModel):
        with pytest.raises(ValueError, match="serialize"):
            to_json(value)


PNG = {"inlineData": {"mimeType": "image/png", "data": "//8="}}


@pytest.mark.parametrize(
    ("value", "rest", "parts"),
    [
        ("text", "text", []),
        (["a", "b"], ["a", "b"], []),
        ({"inlineData": "no"}, {"inlineData": "no"}, []),
        ({"inlineData": {"mimeType": "image/png"}}, {"inlineData": {"mimeType": "image/png"}}, []),
        (Media(b"\xff\xff", "image/png"), "attached: image/png", [PNG]),
        (PNG, "attached: image/png", [PNG]),
        ({"inline_data": {"mime_type": "image/png", "data": b"\xff\xff"}}, "attached: image/png", [PNG]),
        (types.Part.from_bytes(data=b"\xff\xff", mime_type="image/png"), "attached: image/png", [PNG]),
        (("a caption", Media(b"\xff\xff", "image/png")), "a caption", [PNG]),
        ([Media(b"\xff\xff", "image/png"), 1, {"a": 2}, PNG], [1, {"a": 2}], [PNG, PNG]),
        ([PNG, None], None, [PNG]),
        (
            [PNG, Media(b"hi", "text/plain", "a.txt")],
            "attached: image/png, a.txt (text/plain)",
            [PNG, {"inlineData": {"mimeType": "text/plain", "data": "aGk=", "displayName": "a.txt"}}],
        ),
        ({"inlineData": {"data": "aGk"}}, "attached: application/octet-stream",
         [{"inlineData": {"mimeType": "application/octet-stream", "data": "aGk="}}]),
    ],
)  # fmt: skip
def test_media_are_taken_out_of_a_result(value: Any, rest: Any, parts: Any) -> None:
    assert split_media(value) == (rest, parts)


def test_the_sdk_takes_the_media_part() -> None:
    (part,) = split_media(Media(b"\xff\xff", "image/png", "a.png"))[1]
    read = types.FunctionResponsePart.model_validate(part)
    assert read.inline_data is not None
    assert (read.inline_data.data, read.inline_data.display_name) == (b"\xff\xff", "a.png")


@pytest.mark.parametrize(
    "value",
    ["x" * 5000, "\x00" * 5000, 'a"\n' * 3000, "ä€😀" * 2000, list(range(3000)), {"a": ["x" * 9] * 999}],
    ids=["plain", "escaped", "quotes", "wide", "list", "dict"],
)
@pytest.mark.parametrize("limit", [100, 1000])
def test_a_result_over_the_limit_is_its_beginning_with_a_mark_within_the_limit(
    value: Any, limit: int
) -> None:
    whole = value if isinstance(value, str) else json.dumps(value)
    shown = cut(value, limit)[0]
    assert len(json.dumps(shown, ensure_ascii=False)) <= limit
    beginning, _, mark = shown.partition("... [cut: ")
    assert whole.startswith(beginning)
    missing, total = (int(word.replace(",", "")) for word in mark.split()[0:3:2])
    assert total == len(whole)
    assert missing == len(whole) - len(beginning)
    assert len(json.dumps(shown, ensure_ascii=False)) > limit * 0.8


def test_a_result_within_the_limit_is_left_alone() -> None:
    value = {"a": "x" * 91}
    assert len(json.dumps(value)) == 100
    assert cut(value, 100)[0] is value
    assert cut(value, 99)[0] != value


def test_a_limit_below_the_mark_leaves_the_mark() -> None:
    assert cut("x" * 50, 3)[0] == "... [cut: 50 of 50 characters are missing]"


def test_a_nan_is_an_error() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        cut([float("nan")], 10)


def test_a_list_of_media_may_be_read_from_an_iterator() -> None:
    rest, parts = split_media(iter(["look", Media(b"x", "image/png")]))
    assert rest == "look"
    assert len(parts) == 1
