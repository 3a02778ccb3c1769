from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from agentkit_tools._cities import all_cities
from agentkit_tools.clock import clock, clock_tools, find_zone

from agentkit.errors import ToolError, ToolRetry

WINTER = datetime(2025, 11, 24, 21, 5, tzinfo=UTC)
SUMMER = datetime(2025, 7, 1, 12, 0, tzinfo=UTC)


def ask(name: str, *args: Any, at: datetime = WINTER) -> str:
    tool = clock_tools(lambda: at).get(name)
    assert tool is not None
    text = tool(*args)
    assert isinstance(text, str)
    return text


@pytest.mark.parametrize(
    ("city", "answer"),
    [
        ("Tokyo", "It is 06:05 on Tuesday 25 November 2025 in Tokyo, Japan (UTC+09:00)."),
        ("new york", "It is 16:05 on Monday 24 November 2025 in New York, United States (UTC-05:00)."),
        ("Asia/Kathmandu", "It is 02:50 on Tuesday 25 November 2025 in Asia/Kathmandu (UTC+05:45)."),
        ("asia/tokyo", "It is 06:05 on Tuesday 25 November 2025 in Asia/Tokyo (UTC+09:00)."),
        ("UTC", "It is 21:05 on Monday 24 November 2025 in UTC (UTC)."),
        ("GMT", "It is 21:05 on Monday 24 November 2025 in UTC (UTC)."),
        ("EST", "It is 16:05 on Monday 24 November 2025 in America/New_York (UTC-05:00)."),
        ("UTC+5:30", "It is 02:35 on Tuesday 25 November 2025 in UTC+05:30 (UTC+05:30)."),
        ("gmt -3", "It is 18:05 on Monday 24 November 2025 in UTC-03:00 (UTC-03:00)."),
        (
            "San Francisco?",
            "It is 13:05 on Monday 24 November 2025 in San Francisco, California, United States",
        ),
        ("Beijing", "It is 05:05 on Tuesday 25 November 2025 in Beijing, China (UTC+08:00)."),
        ("Mumbai", "It is 02:35 on Tuesday 25 November 2025 in Mumbai, India (UTC+05:30)."),
        (
            "Washington DC",
            "It is 16:05 on Monday 24 November 2025 in Washington, District of Columbia, ",
        ),
        ("Boston", "It is 16:05 on Monday 24 November 2025 in Boston, Massachusetts, United States ("),
        ("Geneva", "It is 22:05 on Monday 24 November 2025 in Geneva, Switzerland ("),
        ("Paris, Texas", "It is 15:05 on Monday 24 November 2025 in Paris, Texas, United States ("),
        ("Knox", "It is 15:05 on Monday 24 November 2025 in Knox (America/Indiana/Knox) ("),
        ("Japan", "It is 06:05 on Tuesday 25 November 2025 in Japan ("),
        ("California", "It is 13:05 on Monday 24 November 2025 in California ("),
    ],
)
def test_the_time_is_told_with_the_date_the_weekday_and_the_offset(city: str, answer: str) -> None:
    assert ask("current_time", city).startswith(answer)


def test_summer_time_is_observed() -> None:
    assert ask("current_time", "London", at=SUMMER) == (
        "It is 13:00 on Tuesday 1 July 2025 in London, England, United Kingdom (UTC+01:00)."
    )
    assert ask("current_time", "London", at=WINTER).endswith("(UTC).")


def test_without_a_city_the_time_is_the_one_of_this_computer() -> None:
    here = WINTER.astimezone()
    assert ask("current_time").startswith(f"It is {here:%H:%M} on ")
    assert " here (UTC" in ask("current_time")
    assert ask("current_time", " ") == ask("current_time", "today") == ask("current_time")


def test_the_present_comes_from_the_system_by_default() -> None:
    tool = clock.get("current_time")
    assert tool is not None
    before = datetime.now(UTC).replace(second=0, microsecond=0)
    text = tool("UTC")
    told = datetime.strptime(text, "It is %H:%M on %A %d %B %Y in UTC (UTC).").replace(tzinfo=UTC)
    assert before <= told <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("one", "other", "answer"),
    [
        (
            "Tokyo",
            "Dubai",
            "Tokyo, Japan is 5 hours ahead of Dubai, United Arab Emirates. It is 06:05 on Tuesday",
        ),
        (
            "Dubai",
            "Tokyo",
            "Dubai, United Arab Emirates is 5 hours behind Tokyo, Japan. It is 01:05 on Tuesday",
        ),
        (
            "New York",
            "Kathmandu",
            "New York, United States is 10 hours and 45 minutes behind Kathmandu, Nepal.",
        ),
        ("Berlin", "Lisbon", "Berlin, Germany is 1 hour ahead of Lisbon, Portugal."),
        ("UTC+5:45", "Mumbai", "UTC+05:45 is 15 minutes ahead of Mumbai, India."),
        (
            "Madrid",
            "Rome",
            "There is no time difference between Madrid, Spain and Rome, Italy now. It is 22:05 on",
        ),
        ("New York", "NYC", "It is 16:05 on Monday 24 November 2025 in New York, United States (UTC-05:00)."),
    ],
)
def test_the_difference_of_two_places_says_which_is_ahead(one: str, other: str, answer: str) -> None:
    assert ask("time_difference", one, other).startswith(answer)


@pytest.mark.parametrize(
    ("city", "message"),
    [
        ("Tokio", r'^No city or time zone called "Tokio" is known\. Did you mean Tokyo\?$'),
        ("Xyzzyqq", r'^No city or time zone called "Xyzzyqq" is known\. Name a large city nearby\.$'),
        ("Europe/Berlni", r"Did you mean Europe/Berlin"),
        (
            "USA",
            r"^USA has several time zones\. Name a city, such as New York, Los Angeles, Chicago or Phoenix\.$",
        ),
        ("Texas", r"^Texas has several time zones\. Name a city, such as Houston or El Paso\.$"),
        ("UTC+25", r'^There is no time zone "UTC\+25": offsets are less than 24 hours\.$'),
        ("X", "isn't the name of a city"),
        ("Par\x00is", r"control characters"),
        ("x" * 1_000_000, r"too long"),
        ("../../etc/passwd", r"No city or time zone called"),
    ],
)
def test_what_has_no_single_time_is_a_retry_that_helps(city: str, message: str) -> None:
    with pytest.raises(ToolRetry, match=message):
        ask("current_time", city)


def test_every_city_of_the_table_has_a_time_zone() -> None:
    for city in all_cities():
        label, zone = find_zone(", ".join(filter(None, [city.name, city.admin1, city.country])))
        assert WINTER.astimezone(zone).utcoffset() is not None, label


def test_missing_time_zone_data_are_an_error_that_names_the_mend(no_zone_data: None) -> None:
    with pytest.raises(ToolError, match=r'pip install "agentkit-gemini\[tools\]"'):
        ask("current_time", "Tokyo")
    assert ask("current_time", "UTC").startswith("It is 21:05 on Monday 24 November 2025 in UTC (")


def test_the_declarations_are_flat_with_city_as_their_word_for_a_place() -> None:
    parameters = {
        d["name"]: list(d["parametersJsonSchema"]["properties"]) for d in clock.function_declarations
    }
    assert parameters == {
        "current_time": ["city", "question"],
        "time_difference": ["city", "other_city", "question"],
    }


@pytest.mark.parametrize(
    ("question", "beginning"),
    [
        ("What time is it in Tokyo?", "It is 06:05 on Tuesday 25 November 2025 in Tokyo, Japan"),
        ("time in New York", "It is 16:05 on Monday 24 November 2025 in New York"),
        (
            "Can you tell me what time it is in Rome right now?",
            "It is 22:05 on Monday 24 November 2025 in Rome",
        ),
        ("In Paris, what time is it?", "It is 22:05 on Monday 24 November 2025 in Paris"),
        (
            "what time zone is Tokyo in?",
            "It is 06:05 on Tuesday 25 November 2025 in Tokyo, Japan (UTC+09:00)",
        ),
        ("what is Tokyo's local time", "It is 06:05 on Tuesday 25 November 2025 in Tokyo"),
        ("how many hours ahead is Tokyo of London?", "Tokyo, Japan is 9 hours ahead of London"),
        ("How far behind London is New York?", "New York, United States is 5 hours behind London"),
        ("how many hours apart are Paris and Oslo", "There is no time difference between Paris"),
        (
            "what's the time difference from Berlin to Delhi?",
            "Berlin, Germany is 4 hours and 30 minutes behind",
        ),
    ],
)
@pytest.mark.parametrize("tool", ["current_time", "time_difference"])
def test_either_tool_reads_a_whole_question(tool: str, question: str, beginning: str) -> None:
    found = clock_tools(lambda: WINTER).get(tool)
    assert found is not None
    assert str(found(question=question)).startswith(beginning)


@pytest.mark.parametrize(
    "question", ["What time is it?", "what day is it today", "the date", "how late is it?"]
)
def test_a_question_without_a_place_is_about_here(question: str) -> None:
    found = clock.get("current_time")
    assert found is not None
    assert " here (" in str(found(question=question))


@pytest.mark.parametrize(
    "question",
    [
        *(
            "What is",
            "what is the",
            "What is it?",
            "What time is sunset in Paris?",
            "what time is lunch",
            "time flies",
        ),
        *(
            "What time was it 3 hours ago in Rome?",
            "what day is it tomorrow in Paris",
            "it's time",
            "Christmas time",
        ),
        *(
            "If it's 3 pm in London what time is it in Tokyo?",
            "what is the date of easter",
            "how many hours to Tokyo",
        ),
        *("what time does the bank open in London", "what time is it on Mars", "x" * 1000),
    ],
)
def test_a_question_about_anything_else_is_refused(question: str) -> None:
    found = clock.get("time_difference")
    assert found is not None
    with pytest.raises(ToolRetry):
        found(question=question)
