"""What is sent of a long chat, as requests show it: valid, whole turns, and stable from turn to turn."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from agentkit import Agent, DropToolResults, LastTurns, MemoryStore, Summarize, TokenBudget
from agentkit.testing import ScriptedModel, call, check_history, fault, reply
from agentkit.wire.content import Request, content_json, encode_request


def look(n: int) -> str:
    """Look."""
    return f"seen {n} " + "x" * 800


def answer(request: Request) -> Any:
    """Answer as a model does that reports the true size of each request."""
    if "systemInstruction" in request and "summarise" in str(request["systemInstruction"]).lower():
        return reply(f"summary of {len(request['contents'])}", promptTokenCount=1, totalTokenCount=2)
    last = request["contents"][-1]["parts"][0]
    parts: list[Any] = ["done " + "y" * 100] if "functionResponse" in last else [call("look", n=1)]
    size = len(encode_request(request)) // 4
    return reply(*parts, promptTokenCount=size, candidatesTokenCount=30, totalTokenCount=size + 30)


def chats(memory: Any, turns: int, **settings: Any) -> tuple[ScriptedModel, Any]:
    model = ScriptedModel([answer] * 10_000)
    chat = Agent(model, tools=[look], **settings).chat("ann", MemoryStore(), memory=memory)
    for n in range(turns):
        run = chat.send_message(f"message {n} " + "z" * 100)
        assert run.stop is None
    return model, chat


@pytest.mark.parametrize(
    "memory",
    [
        LastTurns(8),
        TokenBudget(6_000),
        DropToolResults(keep=2),
        [DropToolResults(keep=2), TokenBudget(3_000)],
    ],
    ids=str,
)
def test_requests_extend_each_other_except_at_a_trim_and_trims_come_in_steps(memory: Any) -> None:
    model, chat = chats(memory, 60)
    assert len(chat.get_history()) == 240
    trims = 0
    for earlier, later in itertools.pairwise(model.requests):
        check_history(later["contents"])
        if list(later["contents"][: len(earlier["contents"])]) != list(earlier["contents"]):
            trims += 1
    assert 0 < trims < 30
    assert len(model.requests) == 120


def test_a_budget_holds_for_every_request_and_what_is_stored_is_everything() -> None:
    model, chat = chats(TokenBudget(4_000), 60, instructions="Be brief. " * 20)
    assert all(len(encode_request(request)) // 4 <= 4_000 for request in model.requests)
    assert len(chat.get_history()) == 240
    assert chat.token_usage.current <= 4_030


def test_a_summary_stands_for_older_turns_is_kept_in_the_store_and_redone_only_when_needed() -> None:
    store = MemoryStore()
    model = ScriptedModel([answer] * 1_000)
    agent = Agent(model, tools=[look])
    for n in range(24):  # a new object each time, as in a new process
        agent.chat("ann", store, memory=Summarize(after_turns=8, keep=2)).send_message(f"message {n}")
    asked = [r for r in model.requests if "summarise" in str(r.get("systemInstruction")).lower()]
    assert 2 <= len(asked) <= 4
    last = model.requests[-1]["contents"]
    check_history(last)
    assert "summary of" in str(last[0])
    assert len(last) < 40
    assert store.load("ann").summary is not None
    assert len(store.load("ann").messages) == 96
    chat = agent.chat("ann", store)
    chat.clear()
    assert store.load("ann").summary is None


def test_a_summary_may_have_a_model_of_its_own_and_its_failure_ends_nothing() -> None:
    small = ScriptedModel([fault(400), "short"])
    model = ScriptedModel([str(n) for n in range(10)])
    chat = Agent(model).chat(memory=Summarize(after_turns=2, keep=1, model=small))
    for n in range(4):
        assert chat.send_message(f"message {n}").stop is None
    small.assert_complete()
    assert "short" in str(model.requests[3]["contents"][0])
    assert len(model.requests[2]["contents"]) == 5
    assert chat.usage.requests == 5


def test_old_results_are_replaced_by_a_line_and_come_back_in_the_history() -> None:
    model, chat = chats(DropToolResults(keep=1), 12)
    sizes = [
        len(content_json(content))
        for content in model.requests[-1]["contents"]
        if "functionResponse" in content["parts"][0]
    ]
    assert sum(size < 300 for size in sizes) >= 6
    assert sizes[-1] > 800
    assert all("x" * 800 in str(content) for content in chat.get_history()[2::4])


def test_the_last_usage_counts_only_for_the_same_tools_and_instructions() -> None:
    counted: list[int] = []

    class Counting(ScriptedModel):
        def count_tokens(self, request: Request, *, timeout: float | None = None) -> int:
            counted.append(len(encode_request(request)) // 4)
            return counted[-1]

    model = Counting([answer] * 10)
    chat = Agent(model, tools=[look]).chat(memory=TokenBudget(2_500))
    chat.send_message("x")
    run = chat.send_message(
        "y", instructions="z" * 7_000
    )  # alone nearly the budget: what was counted is void
    assert run.stop is None
    assert counted
    assert all(len(encode_request(request)) // 4 <= 2_500 for request in model.requests)
