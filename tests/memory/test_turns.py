"""The last turns: how many, and how rarely the first of them changes."""

from __future__ import annotations

from typing import Any

import pytest

from agentkit.errors import ConfigurationError
from agentkit.memory.base import Situation
from agentkit.memory.turns import LastTurns
from agentkit.wire.history import turns
from tests.helpers.histories import Chatting, choose, extends, flat, plain_turn

NOTHING = Situation(base={})


@pytest.mark.parametrize(
    ("n", "step", "sent"),
    [
        (4, 1, [1, 2, 3, 4, 4, 4, 4, 4, 4]),
        (4, 2, [1, 2, 3, 4, 3, 4, 3, 4, 3]),
        (4, 4, [1, 2, 3, 4, 1, 2, 3, 4, 1]),
        (1, None, [1, 1, 1, 1, 1, 1, 1, 1, 1]),
        (5, None, [1, 2, 3, 4, 5, 4, 5, 4, 5]),
        (20, None, [1, 2, 3, 4, 5, 6, 7, 8, 9]),
    ],
)
def test_between_n_minus_step_plus_1_and_n_turns_are_sent(n: int, step: int | None, sent: list[int]) -> None:
    counts = []
    for length in range(1, 10):
        history = flat([plain_turn(number) for number in range(length)])
        view, needs = choose(LastTurns(n, step=step), history, NOTHING)
        assert not needs
        assert view == history[len(history) - len(view) :]
        counts.append(len(turns(view)))
    assert counts == sent


def test_a_quarter_of_the_turns_is_left_out_at_a_time() -> None:
    history = flat([plain_turn(number) for number in range(21)])
    view, _ = choose(LastTurns(20), history, NOTHING)
    assert len(turns(view)) == 16


def test_consecutive_requests_extend_each_other_except_once_in_step_turns() -> None:
    chat = Chatting(LastTurns(8, step=4))
    last: Any = ()
    trims = []
    for sent in chat.go_through([plain_turn(number, result=50) for number in range(40)]):
        if not extends(sent.view, last):
            trims.append(len(turns(sent.history)))
        last = sent.view
    assert trims == [9, 13, 17, 21, 25, 29, 33, 37]


def test_an_empty_history_stays_empty_and_the_history_is_never_the_view_itself() -> None:
    assert choose(LastTurns(3), [], NOTHING)[0] == []
    history = plain_turn(1)
    view, _ = choose(LastTurns(3), history, NOTHING)
    assert view == history
    assert view is not history  # the one grows, the other was sent


@pytest.mark.parametrize("arguments", [{"n": 0}, {"n": -3}, {"n": 2.5}, {"n": True}, {"n": "3"}])
def test_a_senseless_number_of_turns_is_refused(arguments: Any) -> None:
    with pytest.raises(ConfigurationError, match="whole number"):
        LastTurns(**arguments)


def test_a_senseless_step_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"LastTurns\(step\)=0"):
        LastTurns(3, step=0)
    with pytest.raises(ConfigurationError, match="no more than n"):
        LastTurns(3, step=4)
