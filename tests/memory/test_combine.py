"""Several memories as one, in an order that makes sense."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import pytest

from agentkit.errors import ConfigurationError
from agentkit.memory.base import CountTokens, MakeSummary, Need, Situation
from agentkit.memory.combine import Chain, combine
from agentkit.memory.results import DropToolResults
from agentkit.memory.summary import Summarize, is_summary
from agentkit.memory.tokens import TokenBudget
from agentkit.memory.turns import LastTurns
from agentkit.wire.content import Content
from tests.helpers.histories import Chatting, Counter, choose, flat, plain_turn

DROP, LAST, BUDGET, SUMMARY = DropToolResults(), LastTurns(9), TokenBudget(5_000), Summarize(after_turns=9)
NOTHING = Situation(base={})


class Newest:
    """A memory of someone's own."""

    def view(
        self, contents: Sequence[Content], situation: Situation
    ) -> Generator[Need, Any, Sequence[Content]]:
        yield from ()
        return contents[-1:]


OWN = Newest()


def test_each_is_applied_to_the_view_of_the_one_before() -> None:
    history = flat([plain_turn(number, result=2_000) for number in range(30)])
    dropped, _ = choose(DROP, history, NOTHING)
    expected, _ = choose(LAST, dropped, NOTHING)
    view, _ = choose(combine([DROP, LAST]), history, NOTHING)
    assert view == expected
    assert "left out" in str(view) and len(view) < len(history)


def test_one_is_itself_and_none_at_all_sends_everything() -> None:
    assert combine(LAST) is LAST
    assert combine([LAST]) is LAST
    history = flat([plain_turn(number) for number in range(30)])
    assert choose(combine([]), history, NOTHING) == (history, [])


def test_lists_within_lists_and_what_was_combined_are_taken_apart() -> None:
    assert combine([combine([DROP, LAST]), [BUDGET]]) == Chain((DROP, LAST, BUDGET))  # type: ignore[list-item]
    assert combine(one for one in (DROP, BUDGET)) == Chain((DROP, BUDGET))


@pytest.mark.parametrize(
    "memories",
    [
        [DROP, LAST, BUDGET],
        [LAST, DROP, BUDGET],
        [DROP, SUMMARY, BUDGET],
        [SUMMARY, DROP],
        [DROP, DropToolResults(10, over=100), SUMMARY],
        [OWN, LAST, OWN, BUDGET],
        [SUMMARY, OWN],
    ],
)
def test_orders_that_make_sense_are_taken(memories: Any) -> None:
    assert combine(memories) == Chain(tuple(memories))


@pytest.mark.parametrize(
    ("memories", "message"),
    [
        ([BUDGET, DROP], "TokenBudget counts what is sent"),
        ([BUDGET, BUDGET], "TokenBudget counts what is sent"),
        ([BUDGET, OWN], "TokenBudget counts what is sent"),
        ([LAST, SUMMARY], "Summarize needs every turn"),
        ([SUMMARY, SUMMARY], "Summarize needs every turn"),
        ([DROP, OWN, SUMMARY], "Summarize needs every turn"),
        ([SUMMARY, DROP, LAST], "use one of them"),
    ],
)
def test_orders_that_make_no_sense_are_refused(memories: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        combine(memories)


@pytest.mark.parametrize("wrong", [3, "LastTurns", LastTurns, [LAST, 3], b"x"])
def test_what_is_no_memory_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="isn't a memory"):
        combine(wrong)


def test_a_summary_with_a_budget_behind_it_keeps_to_both() -> None:
    memory = combine([DropToolResults(1, step=1), Summarize(after_turns=12, keep=6), TokenBudget(3_000)])
    chat = Chatting(memory, Counter(2.5))
    needs: set[type] = set()
    for sent in chat.go_through([plain_turn(number, size=300, result=3_000) for number in range(60)]):
        assert Counter(2.5).request(sent.view, {}) <= 3_000
        needs |= {type(need) for need in sent.needs}
        if chat.summary:
            assert is_summary(sent.view[0])
    assert needs == {CountTokens, MakeSummary}
