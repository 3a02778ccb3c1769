"""A budget of tokens: what is sent fits, is rarely counted, and is cut in steps."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest

from agentkit.errors import ConfigurationError
from agentkit.limits import Usage
from agentkit.memory.base import CountTokens, DoesNotFit, Situation
from agentkit.memory.summary import summary_content
from agentkit.memory.tokens import TokenBudget
from agentkit.wire.content import Content, copy_content, keep, model_content, user_content
from agentkit.wire.history import check, turn_starts, turns
from tests.helpers.histories import Chatting, Counter, Turn, choose, extends, flat, image, plain_turn

NOTHING = Situation(base={})
TOOLS: dict[str, Any] = {"tools": [{"functionDeclarations": [{"name": "look", "description": "d" * 900}]}]}


def copies(contents: Iterable[Content]) -> list[Content]:
    return [copy_content(content) for content in contents]


def talk(turns: int = 60, **kwargs: Any) -> list[Turn]:
    return [plain_turn(number, **kwargs) for number in range(turns)]


def test_counting_costs_no_request_where_the_usage_of_the_last_reply_suffices() -> None:
    chat = Chatting(TokenBudget(100_000), base=TOOLS)
    assert [need for sent in chat.go_through(talk()) for need in sent.needs] == []


def test_it_is_counted_only_near_the_limit() -> None:
    budget = 10_000
    chat = Chatting(TokenBudget(budget), base=TOOLS)
    requests, counted = 0, []
    for sent in chat.go_through(talk(200)):
        requests += 1
        usage = sent.situation.last_usage
        if sent.needs:
            assert usage is not None
            counted.append(usage.prompt_tokens)
    assert counted and min(counted) > 0.85 * budget
    assert len(counted) < requests / 5


def test_without_usage_it_is_counted_once_what_is_sent_may_not_fit() -> None:
    chat = Chatting(TokenBudget(10_000), with_usage=False)
    asked = [len(sent.needs) for sent in chat.go_through(talk(30))]
    assert asked[:8] == [0] * 8
    assert all(asked[12:])


@pytest.mark.parametrize("letters_a_token", [1.0, 2.5, 6.0])
@pytest.mark.parametrize("with_usage", [True, False])
def test_what_is_sent_always_fits_as_counted_however_wrong_the_estimate(
    letters_a_token: float, with_usage: bool
) -> None:
    counter = Counter(letters_a_token)
    chat = Chatting(TokenBudget(5_000), counter, TOOLS, with_usage)
    trimmed = 0
    for sent in chat.go_through(talk(60, result=300)):
        assert counter.request(sent.view, TOOLS) <= 5_000
        assert list(sent.view) == sent.history[len(sent.history) - len(sent.view) :]
        check(sent.view)
        trimmed += len(sent.view) < len(sent.history)
    assert trimmed


@pytest.mark.parametrize("letters_a_token", [1.5, 3.0, 6.0])
def test_turns_are_left_out_in_steps_and_else_each_request_extends_the_last(letters_a_token: float) -> None:
    counter = Counter(letters_a_token)
    budget = 20 * counter.request(plain_turn(10, result=100), {})
    chat = Chatting(TokenBudget(budget), counter)
    last: Any = ()
    trims = []
    for sent in chat.go_through(talk(120, result=100)):
        if not extends(sent.view, last):
            trims.append(len(turns(sent.history)))
            assert 0.6 * budget < counter.request(sent.view, {}) < 0.85 * budget
        last = sent.view
    assert len(trims) > 15
    assert min(later - before for before, later in pairwise(trims)) >= 4


def test_a_chat_of_another_process_goes_on_where_it_was() -> None:
    chat = Chatting(TokenBudget(10_000))
    *_, last = chat.go_through(talk(100))
    assert len(last.view) < len(last.history)
    situation = Situation(base={}, last_view=copies(last.view), last_usage=chat.last_usage)
    view, _ = choose(TokenBudget(10_000), [*copies(last.history), model_content("ok")], situation)
    assert extends(view, last.view)


def test_a_long_history_is_cut_with_few_counts_and_none_of_all_of_it() -> None:
    history = flat(talk(3_000))
    view, needs = choose(TokenBudget(10_000), history, NOTHING)
    assert 1 <= len(needs) <= 3
    assert all(isinstance(need, CountTokens) and len(need.contents) < 500 for need in needs)
    assert 5_000 < Counter().request(view, {}) <= 10_000


def test_a_history_far_over_is_cut_by_what_the_usage_taught() -> None:
    counter = Counter(letters_a_token=1.0)
    history = flat(talk(300))
    all_sent = Usage(prompt_tokens=counter.request(history[:-1], {}), candidates_tokens=800)
    situation = Situation(base={}, last_view=history[:-1], last_usage=all_sent)
    _, needs = choose(TokenBudget(10_000), [*history, user_content("and?")], situation, counter=counter)
    (first,) = needs
    assert isinstance(first, CountTokens)
    assert 5_000 < counter.request(first.contents, {}) < 10_000


def test_instructions_and_tools_take_their_part() -> None:
    history = flat(talk(40))
    alone, _ = choose(TokenBudget(5_000), history, NOTHING)
    base = {"systemInstruction": user_content("i" * 9_000)}
    beside, _ = choose(TokenBudget(5_000), history, Situation(base=base))
    assert len(beside) < len(alone)
    assert Counter().request(beside, base) <= 5_000


def test_an_image_is_not_taken_for_its_base64() -> None:
    history = [keep(user_content("see", image("A" * 900_000))), keep(model_content("a cat"))]
    view, needs = choose(TokenBudget(20_000), [*history, user_content("sure?")], NOTHING)
    assert len(view) == 3 and not needs


def test_a_file_of_unknown_size_is_counted_once_and_then_known() -> None:
    video = user_content({"fileData": {"mimeType": "video/mp4", "fileUri": "https://files.example/v"}})
    chat = Chatting(TokenBudget(1_000_000))
    asked = [len(sent.needs) for sent in chat.go_through([[video, model_content("nice")], *talk(5)])]
    assert asked == [1, 0, 0, 0, 0, 0]


def test_a_current_turn_that_is_too_large_is_a_clear_stop_with_figures() -> None:
    history = [*flat(talk(5)), user_content("x" * 9_000)]
    with pytest.raises(DoesNotFit, match=r"has 3,\d\d\d tokens.*TokenBudget allows 2,000"):
        choose(TokenBudget(2_000), history, Situation(base=TOOLS))


def test_a_turn_that_grows_beyond_the_budget_loses_the_older_ones_but_nothing_of_itself() -> None:
    grown = flat([*talk(8), plain_turn(8, result=15_000)[:-1]])
    view, _ = choose(TokenBudget(6_000), grown, NOTHING)
    assert list(view) == grown[turn_starts(grown)[-1] :]


def test_counting_ends_soon_even_when_the_estimates_are_worth_nothing() -> None:
    class Absurd(Counter):
        def request(self, contents: Any, base: Any) -> int:
            return 10 if len(contents) == 1 else 1_500 + len(contents)

    history = [*flat(talk(2_000, size=1)), user_content("q" * 1_200)]
    view, needs = choose(TokenBudget(1_000), history, NOTHING, counter=Absurd())
    assert len(view) == 1
    assert len(needs) < 12


def test_a_summary_in_front_stays_while_turns_behind_it_are_left_out() -> None:
    head = summary_content("s" * 600)
    history = [head, *flat(talk(40))]
    view, _ = choose(TokenBudget(5_000), history, NOTHING)
    assert view[0] is head
    assert 5 < len(view) < 60
    assert list(view[1:]) == history[len(history) - len(view) + 1 :]
    situation = Situation(base={}, last_view=view, last_usage=Usage(prompt_tokens=4_000, candidates_tokens=9))
    more = [summary_content("s" * 600), *history[1:], user_content("next")]
    following, _ = choose(TokenBudget(5_000), more, situation)
    assert extends(following, view)


def test_the_room_that_a_summary_takes_is_reckoned_with() -> None:
    history = [summary_content("s" * 9_000), *flat(talk(100))]
    _, needs = choose(TokenBudget(5_000), history, NOTHING)
    first = needs[0]
    assert isinstance(first, CountTokens)
    assert Counter().request(first.contents, {}) < 5_000


def test_a_new_summary_in_front_lets_the_view_begin_anew() -> None:
    history = flat(talk(40))
    view, _ = choose(TokenBudget(8_000), [summary_content("old"), *history], NOTHING)
    situation = Situation(base={}, last_view=view)
    following, _ = choose(TokenBudget(8_000), [summary_content("new"), *history[-6:]], situation)
    assert len(following) == 7


def test_a_summary_goes_before_the_current_turn_does() -> None:
    current = user_content("x" * 2_700)
    view, _ = choose(TokenBudget(1_000), [summary_content("s" * 600), current], NOTHING)
    assert list(view) == [current]
    with pytest.raises(DoesNotFit):
        choose(TokenBudget(1_000), [summary_content("s" * 600), user_content("x" * 3_700)], NOTHING)


def test_a_summary_alone_is_what_is_sent_and_an_empty_history_stays_empty() -> None:
    head = summary_content("all that was said")
    assert list(choose(TokenBudget(1_000), [head], NOTHING)[0]) == [head]
    assert choose(TokenBudget(1_000), [], NOTHING) == ([], [])


def test_what_was_taken_back_does_not_disturb() -> None:
    chat = Chatting(TokenBudget(10_000))
    *_, last = chat.go_through(talk(30))
    shorter = last.history[:-4]
    view, _ = choose(TokenBudget(10_000), [*shorter, user_content("else")], chat.situation())
    assert Counter().request(view, {}) <= 10_000
    assert view[0] is last.view[0]


def test_turns_that_are_all_alike_do_not_confuse_it() -> None:
    same = [[user_content("yes"), model_content("ok")] for _ in range(300)]
    chat = Chatting(TokenBudget(500))
    starts = [0]
    for sent in chat.go_through([copies(turn) for turn in same]):
        assert Counter().request(sent.view, {}) <= 500
        starts.append(len(sent.history) - len(sent.view))
    assert starts == sorted(starts)  # what was left out doesn't come back
    assert len(set(starts)) < 40
    reopened = Situation(base={}, last_view=copies(chat.last_view), last_usage=chat.last_usage)
    view, _ = choose(TokenBudget(500), [*copies(chat.history), user_content("yes")], reopened)
    assert Counter().request(view, {}) <= 500


@pytest.mark.parametrize("tokens", [0, -1, 1e6, True, "9"])
def test_a_senseless_budget_is_refused(tokens: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"TokenBudget\(tokens\)"):
        TokenBudget(tokens)


@pytest.mark.parametrize("share", [0, 1, 1.0, 0.0, -0.5, "0.5", True])
def test_a_senseless_share_is_refused(share: Any) -> None:
    with pytest.raises(ConfigurationError, match="between 0 and 1"):
        TokenBudget(100, trim_to=share)
