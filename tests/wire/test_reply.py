"""From chunks to a reply."""

from __future__ import annotations

import copy
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.wire.content import Part, Reply, call_part, model_content
from agentkit.wire.reply import ReplyAssembler


def chunk(*parts: str | Part, **rest: Any) -> Reply:
    return {"candidates": [{"content": model_content(*parts), **rest}]}  # type: ignore[typeddict-item]


def assemble(*chunks: Reply) -> Reply:
    assembler = ReplyAssembler()
    for piece in chunks:
        assembler.add(piece)
    return assembler.reply()


def test_adjacent_unsigned_texts_become_one_part() -> None:
    reply = assemble(chunk("Hel"), chunk("lo"), chunk("", finishReason="STOP"))
    assert reply["candidates"] == [{"content": model_content("Hello"), "finishReason": "STOP"}]


def test_thoughts_and_text_stay_apart() -> None:
    thought: Part = {"text": "hm", "thought": True}
    reply = assemble(chunk(thought), chunk(thought), chunk("so"))
    assert reply["candidates"][0]["content"]["parts"] == [{"text": "hmhm", "thought": True}, {"text": "so"}]


def test_signed_parts_are_never_merged_even_when_they_are_empty() -> None:
    last: Part = {"text": "", "thoughtSignature": "c2ln"}
    signed: Part = {"text": "b", "thoughtSignature": "c2ln"}
    reply = assemble(chunk("a"), chunk(signed), chunk("c"), chunk(last, finishReason="STOP"))
    assert reply["candidates"][0]["content"]["parts"] == [{"text": "a"}, signed, {"text": "c"}, last]


def test_what_the_server_adds_is_kept() -> None:
    unknown: Any = {"holographicData": {"x": 1}}
    reply = assemble(
        {"modelVersion": "m-1", "responseId": "r", "usageMetadata": {"promptTokenCount": 3}},
        chunk(unknown, finishMessage="said so", groundingMetadata={"q": 1}),
        {"usageMetadata": {"totalTokenCount": 9}, "candidates": [{"finishReason": "STOP"}]},
        {"promptFeedback": {"blockReason": "OTHER"}, "usageMetadata": None},  # type: ignore[typeddict-item]
    )
    assert reply == {
        "modelVersion": "m-1",
        "responseId": "r",
        "usageMetadata": {"promptTokenCount": 3, "totalTokenCount": 9},
        "promptFeedback": {"blockReason": "OTHER"},
        "candidates": [
            {
                "content": {"role": "model", "parts": [unknown]},
                "finishMessage": "said so",
                "groundingMetadata": {"q": 1},
                "finishReason": "STOP",
            }
        ],
    }


def test_nulls_of_the_server_are_nothing() -> None:
    null: Any = {"text": None}
    half: Any = {"text": "b", "thought": None}
    reply = assemble(chunk("a", null), chunk(half))
    assert reply["candidates"][0]["content"]["parts"] == [{"text": "ab"}]


def test_a_reply_without_candidates_has_none() -> None:
    assert assemble({"promptFeedback": {"blockReason": "SAFETY"}}) == {
        "promptFeedback": {"blockReason": "SAFETY"}
    }


parts = st.one_of(
    st.text(max_size=3).map(lambda text: {"text": text}),
    st.text(max_size=3).map(lambda text: {"text": text, "thought": True}),
    st.text(max_size=3).map(lambda text: {"text": text, "thoughtSignature": "c2ln"}),
    st.just(call_part("f", {"x": 1})),
)


@given(st.lists(st.lists(parts, max_size=3), max_size=6))
def test_however_a_reply_is_cut_into_chunks_the_same_comes_out(cuts: list[list[Part]]) -> None:
    whole = assemble(chunk(*[part for cut in cuts for part in cut], finishReason="STOP"))
    assert assemble(*[chunk(*cut) for cut in cuts], chunk(finishReason="STOP")) == whole


COUNTED: list[tuple[list[dict[str, int]], dict[str, int]]] = [
    ([{"promptTokenCount": 10, "totalTokenCount": 10}, {"candidatesTokenCount": 5, "totalTokenCount": 15}],
     {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}),
    ([{"promptTokenCount": 10, "thoughtsTokenCount": 21, "totalTokenCount": 31},
      {"promptTokenCount": 10, "candidatesTokenCount": 68, "totalTokenCount": 78}],
     {"promptTokenCount": 10, "candidatesTokenCount": 68, "totalTokenCount": 78}),
    ([{"promptTokenCount": 10, "candidatesTokenCount": 4, "totalTokenCount": 14}, {"candidatesTokenCount": 9}],
     {"promptTokenCount": 10, "candidatesTokenCount": 9, "totalTokenCount": 19}),
    ([{"promptTokenCount": 10, "totalTokenCount": 10}, {}], {"promptTokenCount": 10, "totalTokenCount": 10}),
    ([{"candidatesTokenCount": 9, "totalTokenCount": 99}, {"candidatesTokenCount": 7, "totalTokenCount": 78}],
     {"candidatesTokenCount": 7, "totalTokenCount": 78}),
]  # fmt: skip


@pytest.mark.parametrize(("told", "counted"), COUNTED)
def test_of_each_counter_of_a_stream_the_last_word_counts(told: Any, counted: Any) -> None:
    assembler = ReplyAssembler()
    for usage in told:
        assembler.add({"usageMetadata": usage})
    assert assembler.reply()["usageMetadata"] == counted


def test_a_long_stream_takes_as_long_as_its_pieces() -> None:
    def lines(chunks: int) -> int:
        """Count the lines of the project that run, which don't depend on the machine; joins are C's."""
        ran = 0

        def trace(frame: Any, event: str, _: Any) -> Any:
            nonlocal ran
            ran += event == "line"
            return trace

        assembler = ReplyAssembler()
        sys.settrace(trace)
        try:
            for number in range(chunks):
                assembler.add(
                    {"candidates": [{"content": {"role": "model", "parts": [{"text": str(number)}]}}]}
                )
        finally:
            sys.settrace(None)
        assert assembler.length == len(assembler.text)
        assert len(assembler.parts) == 1
        return ran

    assert lines(2000) < 11 * lines(200)
    pieces = ReplyAssembler()
    for number in range(2000):
        pieces.add({"candidates": [{"content": {"role": "model", "parts": [{"text": str(number)}]}}]})
    assert pieces._parts == [{"text": "0"}]  # nothing is joined before somebody asks


def step(token: str, number: int) -> Any:
    """A chunk with one token, and what its choice rested on."""
    logprobs = {
        "chosenCandidates": [{"token": token, "logProbability": -0.1}],
        "topCandidates": [{"candidates": [{"token": token}]}],
    }
    grounding = {"groundingChunks": [{"web": {"uri": str(number)}}]}
    content = {"role": "model", "parts": [{"text": token}]}
    return {"candidates": [{"content": content, "logprobsResult": logprobs, "groundingMetadata": grounding}]}


def test_what_is_said_of_each_token_grows_in_place_and_leaves_the_chunks_as_they_were() -> None:
    """A list that was made anew for each chunk would take a long stream the square of its length."""
    assembler, chunks = ReplyAssembler(), [step("ha", number) for number in range(50)]
    before, made = copy.deepcopy(chunks), set()
    for chunk in chunks:
        assembler.add(chunk)
        made.add(id(assembler._candidate["logprobsResult"]["chosenCandidates"]))
    reply: Any = assembler.reply()
    said = reply["candidates"][0]
    assert [len(said["logprobsResult"][key]) for key in ("chosenCandidates", "topCandidates")] == [50, 50]
    assert [each["web"]["uri"] for each in said["groundingMetadata"]["groundingChunks"]] == [
        str(number) for number in range(50)
    ]
    assert chunks == before
    assert len(made) <= 2
    assembler.add(step("ho", 50))
    assert len(said["logprobsResult"]["chosenCandidates"]) == 50  # the reply is whoever's asked for it
