"""How many tokens contents have, told without a request."""

from __future__ import annotations

import math
from typing import Any

import pytest

from agentkit.limits import Usage
from agentkit.memory.base import Situation
from agentkit.memory.sizes import Gauge, estimate, expected_tokens, size_of, size_of_base
from agentkit.wire.content import Content, call_part, dumps, model_content, response_part, user_content
from tests.helpers.histories import image

BASE: dict[str, Any] = {
    "systemInstruction": user_content("be brief"),
    "tools": [{"functionDeclarations": []}],
}
ASKED = user_content("a" * 400)
ANSWERED = model_content("b" * 400)
NEXT = user_content("c" * 400)


def inline(mime_type: str, length: int) -> Content:
    return user_content({"inlineData": {"mimeType": mime_type, "data": "A" * length}})


def test_text_is_a_token_for_four_bytes_of_json_and_at_most_one_for_each() -> None:
    for text in ("hello there " * 50, "你好" * 99, "привет " * 50):
        content = user_content(text)
        length = len(dumps(content))
        assert size_of(content) == (length / 4, length)
        assert estimate([content, content], {}) == round(length / 2)


def test_instructions_and_tools_count() -> None:
    assert estimate([], BASE) == round(len(dumps(BASE)) / 4)
    assert estimate([ASKED], BASE) == round((len(dumps(ASKED)) + len(dumps(BASE))) / 4)


def test_an_image_counts_the_same_whatever_its_bytes() -> None:
    small, large = user_content(image("A" * 10)), user_content(image("A" * 4_000_000))
    assert size_of(small) == size_of(large)
    assert 1_120 < size_of(large).likely < 1_150
    assert size_of(large).most > 4_128


def test_an_image_that_a_tool_returned_counts_too() -> None:
    call = call_part("look")["functionCall"]
    with_image = user_content(response_part(call, {"output": 1}, [image("A" * 4_000_000)]))  # type: ignore[list-item]
    without = user_content(response_part(call, {"output": 1}))
    assert 1_120 < size_of(with_image).likely - size_of(without).likely < 1_150


def test_other_inline_files_count_by_their_length() -> None:
    assert size_of(inline("audio/mp3", 400_000)).likely == pytest.approx(1_000, abs=30)
    assert size_of(inline("application/pdf", 400_000)).most > 400_000
    assert (
        size_of(inline("application/pdf", 40)).most > 4_128
    )  # a page has more tokens than so short a file bytes
    assert size_of(inline("text/csv", 400_000)).likely == pytest.approx(80_000, abs=30)


def test_of_a_file_that_is_only_named_and_of_a_server_side_cache_anything_is_possible() -> None:
    video = user_content({"fileData": {"mimeType": "video/mp4", "fileUri": "https://files.example/v"}})
    assert size_of(video).most == math.inf
    assert size_of(user_content({"fileData": {"fileUri": "https://files.example/x"}})).most == math.inf
    picture = user_content({"fileData": {"mimeType": "image/png", "fileUri": "https://files.example/p"}})
    assert size_of(picture).most < 5_000
    assert size_of_base({"cachedContent": "cachedContents/1"}).most == math.inf
    assert size_of_base({}) == (0, 0)


def after(view: list[Content], **counts: Any) -> Situation:
    return Situation(base=BASE, last_view=view, last_usage=Usage(requests=1, **counts))


def test_what_was_sent_and_the_reply_to_it_are_known_and_only_the_rest_is_estimated() -> None:
    situation = after([ASKED], prompt_tokens=5_000, candidates_tokens=700, thoughts_tokens=100)
    assert expected_tokens([ASKED], situation) == 5_000
    assert expected_tokens([ASKED, ANSWERED], situation) == 5_808
    assert Gauge(situation).most([ASKED, ANSWERED]) == 5_808
    assert Gauge(situation).most([ASKED, ANSWERED, NEXT]) == 5_808 + len(dumps(NEXT))


def test_the_estimate_of_the_rest_is_corrected_by_what_was_counted() -> None:
    twice = 2 * (size_of(ASKED).likely + size_of_base(BASE).likely)
    situation = after([ASKED], prompt_tokens=round(twice), candidates_tokens=1)
    added = expected_tokens([ASKED, ANSWERED, NEXT], situation) - expected_tokens(
        [ASKED, ANSWERED], situation
    )
    assert added == pytest.approx(2 * size_of(NEXT).likely, rel=0.01)
    other = expected_tokens([NEXT], situation)
    assert other == pytest.approx(2 * estimate([NEXT], BASE), rel=0.01)


def test_a_view_that_shares_only_a_part_with_the_last_one_has_at_most_that_and_its_rest() -> None:
    situation = after([ASKED, ANSWERED], prompt_tokens=1_000, candidates_tokens=1)
    assert Gauge(situation).most([ASKED]) == 1_000
    assert Gauge(situation).most([ASKED, NEXT]) == 1_000 + len(dumps(NEXT))


@pytest.mark.parametrize(
    "usage",
    [
        None,
        Usage(requests=1, candidates_tokens=10),
        Usage(requests=1, prompt_tokens=3, candidates_tokens=10, estimated=True),
    ],
)
def test_a_usage_without_the_servers_own_count_says_nothing(usage: Usage | None) -> None:
    situation = Situation(base=BASE, last_view=[ASKED], last_usage=usage)
    assert expected_tokens([ASKED, ANSWERED], situation) == estimate([ASKED, ANSWERED], BASE)
    assert Gauge(situation).most([ASKED]) == len(dumps(ASKED)) + len(dumps(BASE))


def test_a_usage_of_nothing_known_says_nothing() -> None:
    situation = Situation(base=BASE, last_usage=Usage(requests=1, prompt_tokens=9))
    assert expected_tokens([ASKED], situation) == estimate([ASKED], BASE)


def test_a_reply_whose_tokens_are_missing_is_estimated() -> None:
    situation = after([ASKED], prompt_tokens=5_000)
    assert Gauge(situation).most([ASKED, ANSWERED]) == 5_000 + len(dumps(ANSWERED))
