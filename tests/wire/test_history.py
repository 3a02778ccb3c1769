"""The server's rules as code."""

from __future__ import annotations

from typing import Any

import pytest

from agentkit.errors import HistoryError
from agentkit.wire.content import Content, Part, call_part, model_content, response_part, user_content
from agentkit.wire.history import check, turn_starts, turns


def answer(call: Part, value: Any = 1) -> Part:
    return response_part(call["functionCall"], {"output": value})


A = call_part("a", {"x": 1}, id="1")
B = call_part("b", id="2")
NO_ID = call_part("a")
NAMELESS: Any = {"functionCall": {"args": {}}}
NO_OBJECT: Any = {"functionResponse": {"name": "a", "response": 1}}
VALID: list[Content] = [
    user_content("hi"),
    model_content("calling", A, B),
    user_content(answer(A), answer(B)),
    model_content(NO_ID),
    user_content(answer(NO_ID)),
    model_content("done"),
]


def test_a_whole_conversation_with_calls_is_valid() -> None:
    check(VALID)
    check([])
    check([user_content("one"), user_content("two")])


@pytest.mark.parametrize(
    ("contents", "index", "rule"),
    [
        ([model_content("hi")], 0, 4),
        ([user_content()], 0, 4),
        ([{"role": "user"}], 0, 4),
        (["hi"], 0, 4),
        ([{"role": "assistant", "parts": [{"text": "x"}]}], 0, 4),
        ([user_content({})], 0, 4),
        ([{"role": "user", "parts": ["x"]}], 0, 4),
        ([user_content("x", A)], 0, 4),
        ([user_content("x"), model_content(answer(A))], 1, 4),
        ([user_content(answer(A))], 0, 2),
        ([user_content("x"), model_content(A)], 1, 2),
        ([user_content("x"), model_content(A), model_content("y")], 2, 2),
        ([user_content("x"), model_content(A, B), user_content(answer(A))], 2, 2),
        ([user_content("x"), model_content(A), user_content(answer(A), answer(A))], 2, 2),
        ([user_content("x"), model_content(A, B), user_content(answer(B), answer(A))], 2, 1),
        ([user_content("x"), model_content(A), user_content(answer(call_part("a", id="9")))], 2, 1),
        ([user_content("x"), model_content(A), user_content(answer(NO_ID))], 2, 1),
        ([user_content("x"), model_content(NO_ID), user_content(answer(A))], 2, 1),
        ([user_content("x"), model_content(NAMELESS)], 1, 1),
        (
            [
                user_content("x"),
                model_content(A),
                user_content(NO_OBJECT),
            ],
            2,
            6,
        ),
    ],
)
def test_each_broken_rule_is_named_with_its_place(contents: Any, index: int, rule: int) -> None:
    with pytest.raises(HistoryError) as caught:
        check(contents)
    assert (caught.value.index, caught.value.rule) == (index, rule)
    assert f"contents[{index}]" in str(caught.value)


def test_signatures_are_demanded_of_each_step_of_the_current_turn_only() -> None:
    signed: Part = {**A, "thoughtSignature": "c2ln"}
    earlier = VALID[:3]
    check(
        [*earlier, user_content("again"), model_content(signed, B), user_content(answer(A), answer(B))],
        signatures=True,
    )
    with pytest.raises(HistoryError) as caught:
        check(
            [*earlier, user_content("again"), model_content(A, B), user_content(answer(A), answer(B))],
            signatures=True,
        )
    assert (caught.value.index, caught.value.rule) == (4, 3)
    with pytest.raises(HistoryError):  # parallel calls: the first one carries it
        check(
            [user_content("x"), model_content(B, signed), user_content(answer(B), answer(A))], signatures=True
        )


def test_turns_begin_where_the_user_speaks_not_where_calls_are_answered() -> None:
    contents = [*VALID, user_content("more"), model_content("yes")]
    assert turn_starts(contents) == [0, 6]
    assert turns(contents) == [contents[:6], contents[6:]]
    assert turns([]) == []
