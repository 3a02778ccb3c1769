"""Old results of tools give way to a line."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from agentkit.errors import ConfigurationError
from agentkit.memory.base import Situation
from agentkit.memory.results import DropToolResults
from agentkit.wire.content import (
    Content,
    call_part,
    keep,
    model_content,
    response_part,
    responses_of,
    user_content,
)
from agentkit.wire.history import check, turns
from tests.helpers.histories import Chatting, choose, extends, flat, image, plain_turn

NOTHING = Situation(base={})
DROP = DropToolResults(keep=1, step=1, over=100)


def one(history: list[Content]) -> list[Content]:
    """What is sent of a turn when it is old."""
    kept = [keep(content) for content in history]
    view, needs = choose(DROP, [*kept, keep(user_content("and now?"))], NOTHING)
    assert not needs
    check(view)
    return list(view[:-1])


def asked(*answers: Any) -> list[Content]:
    calls = [call_part("look", {"n": n}, id=f"i{n}") for n in range(len(answers))]
    parts = []
    for call, answer in zip(calls, answers, strict=True):
        response, media = answer if isinstance(answer, tuple) else (answer, ())
        parts.append(response_part(call["functionCall"], response, media))
    return [user_content("look"), model_content(*calls), user_content(*parts), model_content("done")]


def test_a_bulky_result_becomes_a_line_with_its_size() -> None:
    history = asked({"output": "x" * 12_332})
    view = one(history)
    assert responses_of(view[2]) == [
        {"name": "look", "id": "i0", "response": {"output": "[result left out: 12,345 characters]"}}
    ]
    assert view[:2] + view[3:] == history[:2] + history[3:]


def test_a_result_within_the_size_stays_the_very_same() -> None:
    history = [keep(content) for content in asked({"output": "x" * 80})]
    assert all(new is old for new, old in zip(one(history), history, strict=True))


def test_of_parallel_results_only_the_bulky_ones_are_replaced_in_their_places() -> None:
    view = one(asked({"output": 1}, {"rows": ["ü" * 9] * 50}, {"output": 3}))
    assert [response["response"] for response in responses_of(view[2])] == [
        {"output": 1},
        {"output": "[result left out: 610 characters]"},
        {"output": 3},
    ]


def test_small_parallel_results_that_are_bulky_together_stay() -> None:
    history = [keep(content) for content in asked(*[{"output": n} for n in range(9)])]
    for _ in range(2):  # also when it is looked at again
        assert one(history)[2] is history[2]


def test_media_are_left_out_whatever_the_size() -> None:
    view = one(asked(({"output": "see"}, [image()]), ({"output": "z" * 100}, [image(), image()])))
    first, second = responses_of(view[2])
    assert first["response"] == {"output": "[result left out: 16 characters and 1 media part]"}
    assert second["response"] == {"output": "[result left out: 113 characters and 2 media parts]"}
    assert "parts" not in first and "parts" not in second


def test_small_media_are_left_out_too() -> None:
    named = {"fileData": {"mimeType": "video/mp4", "fileUri": "https://files.example/v"}}
    history = [*asked(({"output": 1}, [named])), user_content("and now?")]
    view, _ = choose(DropToolResults(1, step=1, over=10_000), history, NOTHING)
    assert responses_of(view[2])[0]["response"] == {
        "output": "[result left out: 12 characters and 1 media part]"
    }


def test_an_error_stays_an_error() -> None:
    view = one(asked({"error": "x" * 500}))
    assert list(responses_of(view[2])[0]["response"]) == ["error"]


def test_the_texts_beside_a_result_and_unknown_keys_stay() -> None:
    history: Any = asked({"output": "x" * 500})
    history[2]["parts"][0]["functionResponse"]["scheduling"] = "SILENT"
    history[2]["parts"].append({"text": "beside"})
    view: Any = one(history)
    assert view[2]["parts"][0]["functionResponse"]["scheduling"] == "SILENT"
    assert view[2]["parts"][1] == {"text": "beside"}


def test_the_history_is_not_changed_and_an_old_result_is_replaced_by_the_same_object_again() -> None:
    history = [keep(content) for content in asked({"output": "x" * 500})]
    before = copy.deepcopy(history)
    first, second = one(history), one(history)
    assert first[2] is second[2]
    assert history == before
    wider, _ = choose(DropToolResults(1, step=1, over=515), [*history, user_content("now?")], NOTHING)
    assert wider[2] is history[2]


def test_contents_that_no_history_keeps_are_replaced_too() -> None:
    view, _ = choose(DROP, [*asked({"output": "x" * 500}, {}), user_content("now?")], NOTHING)
    assert "left out" in str(view[2])
    small = asked(*[{"output": n} for n in range(9)])
    view, _ = choose(DROP, [*small, user_content("now?")], NOTHING)
    assert view[2] is small[2]


def test_results_of_the_last_keep_turns_stay_whole_and_older_ones_change_in_steps() -> None:
    whole = []
    for length in range(1, 13):
        history = flat([plain_turn(number, result=1_000) for number in range(length)])
        view, _ = choose(DropToolResults(keep=2, step=4), history, NOTHING)
        assert len(view) == len(history)
        left = [index for index, turn in enumerate(turns(view)) if "left out" not in str(turn)]
        assert left == list(range(length - len(left), length))
        whole.append(len(left))
    assert whole == [1, 2, 3, 4, 5, 2, 3, 4, 5, 2, 3, 4]


def test_a_change_leaves_what_is_before_it_as_it_was() -> None:
    chat = Chatting(DropToolResults(keep=2, step=4))
    last: Any = ()
    changes = []
    for sent in chat.go_through([plain_turn(number, result=1_000) for number in range(20)]):
        if not extends(sent.view, last):
            changes.append(len(turns(sent.history)))
            same = next(index for index, content in enumerate(last) if sent.view[index] != content)
            assert (
                len(turns(sent.view[:same])) == changes[-1] - 2 - 4 + 1
            )  # the turn of the first one that changed
        last = sent.view
    assert changes == [6, 10, 14, 18]


@pytest.mark.parametrize("name", ["keep", "step", "over"])
@pytest.mark.parametrize("value", [0, -1, "2", 1.5, True])
def test_senseless_arguments_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"DropToolResults\({name}\)"):
        DropToolResults(**{name: value})


def test_a_size_below_that_of_the_line_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="100 or more"):
        DropToolResults(over=99)
