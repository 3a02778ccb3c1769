"""The days that a text asks about; today is Monday 23 November 2026."""

from __future__ import annotations

from datetime import date

import pytest
from agentkit_tools._when import read_when

from agentkit.errors import ToolRetry

MONDAY = date(2026, 11, 23)
WEEK = [0, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("is it cold?", []),
        ("Good morning! Is it cold?", []),
        ("today", [0]),
        ("this afternoon", [0]),
        ("later tonight", [0]),
        ("rain at 5 pm", [0]),
        ("tomorrow morning", [1]),
        ("today and tomorrow", [0, 1]),
        ("the day after tomorrow", [2]),
        ("in two days", [2]),
        ("in a week's time", [7]),
        ("3 days from now", [3]),
        ("the next 3 days", [0, 1, 2, 3]),
        ("the next few days", [0, 1, 2, 3]),
        ("the coming days", [0, 1, 2, 3]),
        ("a 5-day forecast", [0, 1, 2, 3, 4]),
        ("the next 3 weeks", list(range(16))),
        ("in the next 2 hours", [0, 1]),
        ("on Friday", [4]),
        ("this Friday evening", [4]),
        ("next Friday", [4, 11]),
        ("Monday", [0, 7]),
        ("this Monday", [0]),
        ("next Monday", [7]),
        ("Friday and Sat", [4, 5]),
        ("from Friday to Sunday", [4, 5, 6]),
        ("Thu - Sat", [3, 4, 5]),
        ("this weekend", [5, 6]),
        ("next weekend", [5, 6, 12, 13]),
        ("this week", WEEK),
        ("what does the week look like", WEEK),
        ("forecast", WEEK),
        ("is a storm coming", WEEK),
        ("next week", [7, 8, 9, 10, 11, 12, 13]),
        ("on the 25th", [2]),
        ("on the 3rd", [10]),
        ("25 November", [2]),
        ("Wednesday, the 25th of November", [2]),
        ("Nov 28", [5]),
        ("Friday, November 27th, 2026", [4]),
        ("2026-11-25", [2]),
        ("the sun on Sunday", [6]),
    ],
)
def test_the_days_are_read(text: str, days: list[int]) -> None:
    assert read_when(text).days(MONDAY) == days


def test_on_a_sunday_the_weekend_may_be_the_next_one() -> None:
    sunday = date(2026, 11, 22)
    assert read_when("this weekend").days(sunday) == [0, 6, 7]
    assert read_when("next weekend").days(sunday) == [6, 7]
    assert read_when("next week").days(sunday) == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("text", "now"), [("", True), ("right now", True), ("now and tomorrow", True), ("tomorrow", False)]
)
def test_now_is_meant_unless_another_time_is_said(text: str, now: bool) -> None:
    assert read_when(text).now is now


def test_what_was_read_is_taken_out_of_the_rest() -> None:
    assert read_when("Rain on Friday at 5 pm?").rest.split() == ["rain", "?"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("yesterday", 'for "yesterday"'),
        ("3 days ago", "ago"),
        ("last week", "last week"),
        ("is it usually hot", "usually"),
        ("next month", "next month"),
        ("in December", "in december"),
        ("in 1998", "in 1998"),
        ("at Christmas", "which days"),
        ("on 25/11", "which days"),
        ("25 December", "forecast ends on Tuesday 8 December 2026"),
        ("in 20 days", "too far ahead"),
        ("2026-11-22", "is past"),
        ("2026-13-22", "The date 2026-13-22 doesn't exist"),
        ("30 February", "no day 30 in February"),
        ("the 45th", "no day 45"),
    ],
)
def test_a_time_that_has_no_forecast_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ToolRetry, match=complaint):
        read_when(text).days(MONDAY)
