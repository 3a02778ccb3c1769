"""What holds of every memory, over random histories: calls, parallel calls, signatures, media, broken-off turns."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentkit.memory.base import DoesNotFit, Memory, Situation
from agentkit.memory.combine import combine
from agentkit.memory.results import DropToolResults
from agentkit.memory.summary import Summarize, is_summary
from agentkit.memory.tokens import TokenBudget
from agentkit.memory.turns import LastTurns
from agentkit.wire.content import Content, calls_of, copy_content, responses_of
from agentkit.wire.history import check, turn_starts, turns
from tests.helpers.histories import Chatting, Counter, Turn, choose, extends, flat, histories, turn

few = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])

DROP = DropToolResults(keep=1, step=2, over=100)
MEMORIES: list[Memory] = [
    LastTurns(3, step=2),
    TokenBudget(4_000),
    Summarize(after_turns=4, keep=2),
    Summarize(after_tokens=2_000, keep=3),
    DROP,
    combine([DROP, LastTurns(4), TokenBudget(6_000)]),
    combine([DROP, Summarize(after_turns=4, keep=2), TokenBudget(6_000)]),
]
every_memory = pytest.mark.parametrize("memory", MEMORIES, ids=lambda memory: repr(memory)[:40])
BASE: dict[str, Any] = {"tools": [{"functionDeclarations": [{"name": "look"}, {"name": "write"}]}]}
counters = st.builds(Counter, st.sampled_from([1.0, 2.2, 4.0, 8.0]), st.sampled_from([258, 1_120, 4_000]))


def copies(contents: Iterable[Content]) -> list[Content]:
    return [copy_content(content) for content in contents]


def choose_or_stop(memory: Memory, history: Sequence[Content], situation: Situation, **kwargs: Any) -> Any:
    """A turn may be too large for a budget; that is all that may happen."""
    try:
        return choose(memory, history, situation, **kwargs)
    except DoesNotFit as error:
        return str(error), []


def assert_whole_turns(view: Sequence[Content], history: Sequence[Content]) -> None:
    """The last turns of the history, behind a summary perhaps; of old results there may be a line only."""
    body = view[1:] if is_summary(view[0]) else view
    start = len(history) - len(body)
    assert start in turn_starts(history)
    current = turn_starts(history)[-1] - start
    for index, content in enumerate(body):
        of = history[start + index]
        if content is of:
            continue
        assert index < current and responses_of(of)
        for new, old in zip(responses_of(content), responses_of(of), strict=True):
            assert (new["name"], new.get("id")) == (old["name"], old.get("id"))
            assert new == old or "left out" in str(new)


@every_memory
@few
@given(turns_=histories(), counter=counters)
def test_each_view_is_valid_and_made_of_whole_turns_with_the_current_one_unchanged(
    memory: Memory, turns_: list[Turn], counter: Counter
) -> None:
    history = flat(turns_)
    check(history, signatures=True)
    before = copy.deepcopy(history)
    view, _ = choose_or_stop(memory, history, Situation(base=BASE), counter=counter)
    assert history == before
    if isinstance(view, str):
        assert counter.request(turns(history)[-1], BASE) > 4_000
        return
    check(view, signatures=True)
    assert_whole_turns(view, history)


@every_memory
@few
@given(turns_=histories(signed=False))
def test_so_it_is_of_histories_without_signatures(memory: Memory, turns_: list[Turn]) -> None:
    view, _ = choose_or_stop(memory, flat(turns_), Situation(base=BASE))
    if not isinstance(view, str):
        check(view)


@every_memory
@few
@given(turns_=histories(max_turns=8), counter=counters)
def test_the_same_history_and_situation_give_the_same_view(
    memory: Memory, turns_: list[Turn], counter: Counter
) -> None:
    history = flat(turns_)
    once = choose_or_stop(memory, history, Situation(base=BASE), counter=counter)
    assert choose_or_stop(memory, history, Situation(base=BASE), counter=counter) == once
    assert choose_or_stop(memory, copies(history), Situation(base=BASE), counter=counter) == once


@every_memory
@few
@given(turns_=histories(), counter=counters, with_usage=st.booleans())
def test_all_requests_of_a_chat_are_valid_and_fit_their_budget(
    memory: Memory, turns_: list[Turn], counter: Counter, with_usage: bool
) -> None:
    limit = {MEMORIES[1]: 4_000, MEMORIES[5]: 6_000, MEMORIES[6]: 6_000}.get(memory)
    chat = Chatting(memory, counter, BASE, with_usage)
    try:
        for sent in chat.go_through(turns_):
            check(sent.view, signatures=True)
            assert_whole_turns(sent.view, sent.history)
            assert limit is None or counter.request(sent.view, BASE) <= limit
    except DoesNotFit:
        assert limit is not None
        assert counter.request(turns(chat.history)[-1], BASE) > limit


@few
@given(st.lists(turn(broken_off=False), min_size=6, max_size=14))
def test_a_request_extends_the_last_one_except_once_in_step_turns(turns_: list[Turn]) -> None:
    for memory, step in ((LastTurns(5, step=3), 3), (DROP, 2), (Summarize(after_turns=5, keep=3), 3)):
        last: Sequence[Content] = ()
        changes = [-99]
        for sent in Chatting(memory).go_through(turns_):
            if not extends(sent.view, last):
                changes.append(len(turns(sent.history)))
                assert changes[-1] - changes[-2] >= step
            last = sent.view


@few
@given(st.lists(turn(), min_size=2, max_size=14), counters)
def test_a_budget_leaves_out_turns_only_when_more_would_not_fit(turns_: list[Turn], counter: Counter) -> None:
    last: Sequence[Content] = ()
    chat = Chatting(TokenBudget(20_000), counter, BASE)
    try:
        for sent in chat.go_through(turns_):
            if not extends(sent.view, last):
                start = len(sent.history) - len(sent.view)
                before = next(i for i, content in enumerate(sent.history) if content is last[0])
                assert start > before
                assert counter.request(sent.history[before:], BASE) > 20_000
            last = sent.view
    except DoesNotFit:
        assert counter.request(turns(chat.history)[-1], BASE) > 20_000


@few
@given(histories(max_turns=6))
def test_old_results_keep_their_calls(turns_: list[Turn]) -> None:
    history = flat(turns_)
    view, _ = choose(DROP, history, Situation(base=BASE))
    assert len(view) == len(history)
    assert [calls_of(content) for content in view] == [calls_of(content) for content in history]
