"""The days that a text asks about, read from the words people use: "tomorrow", "this weekend", "the 25th".

What is read must be sure: a time that is past, too far ahead or not understood is a `ToolRetry`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from agentkit.errors import ToolRetry
from agentkit_tools._dates import say_date

HORIZON = 15
"""Days ahead that can be asked about; today is 0."""
_WEEK = 6

_Days = Callable[[date], Iterable[int]]
"""Gives days ahead of a today."""


@dataclass(frozen=True, slots=True)
class When:
    """What a text says about the time."""

    rest: str
    """The text without the words that were read."""
    now: bool = True
    """Whether this very moment is asked about, or no other time."""
    rules: Sequence[_Days] = ()
    """Empty: the text names no day."""

    def days(self, today: date) -> list[int]:
        """List the days asked about, as days ahead of today.

        Raises:
            ToolRetry: One is farther ahead than the forecast goes.
        """
        days = sorted({day for rule in self.rules for day in rule(today)})
        if days and days[-1] > HORIZON:
            last = say_date(today + timedelta(days=HORIZON))
            raise ToolRetry(f"That is too far ahead: the forecast ends on {last}.")
        return days


def read_when(text: str) -> When:
    """Read all the times that a text names.

    Raises:
        ToolRetry: It asks about the past, the usual weather, or a time that isn't understood.
    """
    rest = text.casefold().replace("’", "'")
    if said := _NO_FORECAST.search(rest):
        raise ToolRetry(
            f'I know the weather now and of the next {HORIZON} days, so I can\'t say it for "{said[0].strip()}".'
        )
    rules: list[_Days] = []
    now = False
    for pattern, read in _RULES:
        for match in pattern.finditer(rest):
            rules.append(read(match))
        rest = pattern.sub(" ", rest)
    if said := _NOW.search(rest):
        now = True
        rest = _NOW.sub(" ", rest)
    if not rules and (now or _PART_OF_DAY.search(rest)):
        rules.append(_exactly(0))
    rest = _PART_OF_DAY.sub(" ", rest)
    if not rules and _AHEAD.search(rest):
        rules.append(_through(_WEEK))
    if said := _UNREAD.search(rest):
        raise ToolRetry(f'I can\'t tell which days "{said[0].strip()}" means. Say it as a day or a date.')
    return When(rest, now or not rules, tuple(rules))


# --- rules ----------------------------------------------------------------------------------------------------

_DAY_NAMES = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MONTH_NAMES = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_NUMBERS = (
    *("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen"),
)
_COUNTS = {"a": 1, "an": 1, "couple": 2, "few": 3, "several": 4}
_COUNTS |= {word: n for n, word in enumerate(_NUMBERS, 1)}
_N = rf"(?:an? )?(?P<n>\d{{1,3}}|{'|'.join(sorted(_COUNTS, key=len, reverse=True))})(?: of)?"
_DAY = r"(?:(?:{})|mon|tues?|wed|thu(?:rs?)?|fri|sat|(?<=on )sun)\b\.?".format("|".join(_DAY_NAMES))
_MONTH = r"(?:{})\b\.?".format("|".join(f"{m}|{m[:3]}" for m in _MONTH_NAMES))
_NTH = r"(?P<day>\d{1,2})"
_DATE_OPENER = rf"(?:\b(?:on )?(?:{_DAY},? )?(?:the )?)"


def _exactly(day: int) -> _Days:
    return lambda _: [day]


def _through(last: int) -> _Days:
    return lambda _: range(min(last, HORIZON) + 1)


def _count(match: re.Match[str]) -> int:
    said = match["n"]
    return int(said) if said.isdigit() else _COUNTS[said]


def _length(match: re.Match[str]) -> int:
    """Read so many days or weeks, in days."""
    return _count(match) * (7 if match["unit"] == "week" else 1)


def _date(match: re.Match[str]) -> _Days:
    month = 1 + [name[:3] for name in _MONTH_NAMES].index(match["month"][:3])
    return lambda today: [_ahead(today, month, int(match["day"]))]


def _iso_date(match: re.Match[str]) -> _Days:
    try:
        day = date.fromisoformat(match[0])
    except ValueError:
        raise ToolRetry(f"The date {match[0]} doesn't exist.") from None

    def days(today: date) -> list[int]:
        if day < today:
            raise ToolRetry(f"{match[0]} is past: I know the weather now and ahead.")
        return [(day - today).days]

    return days


def _ahead(today: date, month: int, day: int) -> int:
    """Count the days to the next such date."""
    for year in range(today.year, today.year + 9):
        try:
            wanted = date(year, month, day)
        except ValueError:
            continue  # 29 February, or no date at all
        if wanted >= today:
            return (wanted - today).days
    raise ToolRetry(f"There is no day {day} in {_MONTH_NAMES[month - 1].capitalize()}.")


def _day_of_month(match: re.Match[str]) -> _Days:
    day = int(match["day"])
    if not 1 <= day <= 31:
        raise ToolRetry(f"There is no day {day} in a month.")
    return lambda today: [next(n for n in range(63) if (today + timedelta(days=n)).day == day)]


def _day_name(match: re.Match[str]) -> _Days:
    weekday = _weekday(match["name"])

    def days(today: date) -> list[int]:
        ahead = (weekday - today.weekday()) % 7
        if match["which"] == "this":
            return [ahead]
        if match["which"] == "next":  # some mean the first to come, some the one in the next week
            return [ahead, ahead + 7] if ahead else [7]
        return [ahead] if ahead else [0, 7]

    return days


def _day_names(match: re.Match[str]) -> _Days:
    first, last = _weekday(match["name"]), _weekday(match["to"])

    def days(today: date) -> range:
        ahead = (first - today.weekday()) % 7
        return range(ahead, ahead + (last - first) % 7 + 1)

    return days


def _weekday(name: str) -> int:
    return [day[:3] for day in _DAY_NAMES].index(name[:3])


def _weekend(match: re.Match[str]) -> _Days:
    def days(today: date) -> list[int]:
        sunday = 6 - today.weekday()
        near, far = [max(0, sunday - 1), sunday], [sunday + 6, sunday + 7]
        if match["which"] == "next":
            return far if sunday < 2 else near + far
        return near + far if sunday == 0 else near  # on a Sunday, the next one may be meant

    return days


def _next_week(_: re.Match[str]) -> _Days:
    def days(today: date) -> range:
        monday = 7 - today.weekday()
        return range(monday, monday + 7)

    return days


def _rule(
    pattern: str, read: Callable[[re.Match[str]], _Days]
) -> tuple[re.Pattern[str], Callable[..., _Days]]:
    return re.compile(pattern), read


_RULES = (
    _rule(r"\b\d{4}-\d\d-\d\d\b", _iso_date),
    _rule(rf"{_DATE_OPENER}{_NTH}(?:st|nd|rd|th)? (?:of )?(?P<month>{_MONTH})(?:,? \d{{4}}\b)?", _date),
    _rule(rf"{_DATE_OPENER}\b(?P<month>{_MONTH}) (?:the )?{_NTH}(?:st|nd|rd|th)?\b(?:,? \d{{4}}\b)?", _date),
    _rule(rf"\bin {_N} (?P<unit>day|week)s?\b(?:'s? time)?", lambda m: _exactly(_length(m))),
    _rule(rf"\b{_N} (?P<unit>day|week)s? from (?:now|today)\b", lambda m: _exactly(_length(m))),
    _rule(rf"\b{_N}[ -]hours?\b", lambda m: _through(-(-_count(m) // 24))),
    # "The next 3 days" may begin today or tomorrow; a "3-day forecast" begins today.
    _rule(rf"\b(?:next|coming|following) {_N} (?P<unit>day|week)s?\b", lambda m: _through(_length(m))),
    _rule(rf"\b{_N}[ -](?P<unit>day|week)s?\b", lambda m: _through(_length(m) - 1)),
    _rule(r"\b(?:next|coming|following) days\b", lambda _: _through(3)),
    _rule(r"\b(?:the )?day after tomorrow\b", lambda _: _exactly(2)),
    _rule(r"\b(?:tomorrow|tmrw|the next day)(?:'s)?\b", lambda _: _exactly(1)),
    _rule(
        rf"\b(?:from )?(?P<name>{_DAY})(?: to | till | until | through | ?[-–] ?)(?P<to>{_DAY})", _day_names
    ),
    _rule(rf"\b(?:on )?(?:(?P<which>next|this) |coming )?(?P<name>{_DAY})(?:'s)?", _day_name),
    _rule(r"\b(?:on |at )?(?:(?P<which>next|this) |the |coming )*weekend(?:'s)?\b", _weekend),
    _rule(r"\bnext week(?:'s)?\b", _next_week),
    _rule(
        r"\b(?:(?:rest|end) of )?(?:the |this |all |whole |coming )*week(?:ly|'s)?\b",
        lambda _: _through(_WEEK),
    ),
    _rule(
        r"\b(?:later )?(?:today(?:'s)?|tonight(?:'s)?|this (?:morning|afternoon|evening|night))\b",
        lambda _: _exactly(0),
    ),
    _rule(r"\b(?:on )?the (?P<day>\d{1,2})(?:st|nd|rd|th)?\b", _day_of_month),
)
"""In order: each sees what the ones before it left of the text."""

_NOW = re.compile(r"\b(?:right now|just now|now|currently|current|at (?:the|this) moment|at present)\b")
_PART_OF_DAY = re.compile(
    r"\b(?:(?:in|during) the |at )?(?:(?:early|late|later) )?(?<!good )"
    r"(?:morning|noon|midday|afternoon|evening|night|midnight)\b"
    r"|\b(?:at |around |by )?\d{1,2}(?::\d\d)?(?: ?[ap]\.?m\b\.?| o'clock\b)"
)
_AHEAD = re.compile(r"\b(?:forecasts?|coming|soon|upcoming|ahead)\b")
"""Words that look ahead without saying how far."""
_SEASON = r"(?:spring|summer|autumn|fall|winter)"
_NO_FORECAST = re.compile(
    rf"\b(?:yesterday|(?:\w+ )?\w+ ago|last (?:night|week|weekend|month|year|{_SEASON}|{_DAY})|usually|typically|"
    rf"normally|on average|(?:in|this|next|during|all) (?:the )?(?:{_SEASON}|month|year)\b|"
    rf"(?:in|next|during|since) (?:early |late |mid |mid-)?(?:{_MONTH})(?! \d)|"
    r"(?:in|since) (?:19|20)\d\d)\b"
)
_UNREAD = re.compile(
    r"\b(?:(?:\w+ )?(?:days|weeks|months?|years?|fortnights?|christmas|easter)\b|\d{1,2}/\d{1,2}|\d{1,2}\.\d{1,2}\.)"
)
"""Times that no rule has read."""
