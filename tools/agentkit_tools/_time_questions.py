"""What a question about the time asks for: the time in one place, or the difference of two. Pure functions.

Only what is wholly understood is read: `What time is sunset in Paris?` asks for no time of the clock.
"""

from __future__ import annotations

import re


def _any(*forms: str) -> str:
    return f"(?:{'|'.join(forms)})"


_HELLO = _any("hey", "hi", "hello", "ok", "okay", "so", "and", "also", "excuse me", "sorry", "please", "pls")
_WISH = _any(
    *("(?:can|could|would|will) you (?:please )?", "do you (?:happen to )?know ", "any idea "),
    *("i (?:want|need|would like) (?:to know )?", "i'd like (?:to know )?"),
)
_TELL = _any("(?:please )?(?:tell|give|show) (?:me|us) ", "check ", "find(?: out)? ", "say ")
_START = rf"(?:{_HELLO}\b[,!.]* *)*{_WISH}?{_TELL}?"
_IS = "(?:'s|s| is| are)?"
_WHICH = "(?:current |local |exact |present |actual |correct |right |official )*"
_THING = _any(
    *("time ?zone", "time and (?:the )?date", "date and (?:the )?time", "time of (?:the )?day"),
    *("day of (?:the )?(?:week|month)", "time", "date", "weekday", "day", "hour", "year", "month"),
)
_LATER = _any(
    *("(?: right| just)? now", " today", " currently", " at the moment", " at present", " there", " here"),
    *(" please", " pls", " thanks", " thank you"),
)
_NOW = f"{_LATER}*"
_ASKED = _any(
    rf"(?:what|which|whats){_IS} (?:the )?{_WHICH}{_THING}"
    "(?: is it| it is| is today| do we have| have we got| do you have)?",
    rf"(?:the )?{_WHICH}{_THING}(?: it is)?",
    rf"(?:what|whats){_IS} today(?:'s date)?",
    *("today's date", "(?:do you )?(?:have|got) the time", "how late is it"),
)
_PLACE = r"(?P<place>[^\d?!]{2,60}?|utc ?[-+] ?[\d:]+|gmt ?[-+] ?[\d:]+)"
_NO_PLACES = {
    *(
        "it",
        "me",
        "my",
        "no",
        "in",
        "so",
        "this",
        "that",
        "christmas",
        "easter",
        "midway",
        "central",
        "mountain",
    ),
}
"""Words that are a code or a zone's name too, and seldom meant as one: `it's time`, `Christmas time`."""
_TIMES = tuple(
    re.compile(_START + pattern, re.IGNORECASE)
    for pattern in (
        rf"{_ASKED}{_NOW}(?:,? (?:in|over in) (?:the )?{_PLACE})?{_NOW}",
        rf"(?:what{_IS} )?(?:the )?(?:current time|local time|time ?zone) (?:of|for) (?:the )?{_PLACE}{_NOW}",
        rf"what time ?zone is {_PLACE} in",
        rf"(?:in|at) {_PLACE},? (?:what time is it|what(?:'s| is) the time){_NOW}",
        rf"(?:what(?:'s| is) )?(?:the )?(?:current )?{_PLACE}(?:'s)? (?:current |local )?time{_NOW}",
    )
)
_A, _B = r"(?:in )?(?:the )?(?P<a>[^\d?!]{2,60}?)", r"(?:in )?(?:the )?(?P<b>[^\d?!]{2,60}?)"
_MUCH = "how (?:many hours|much|far|many hrs|many time zones)"
_ARE = "(?:is|are) (?:it )?"
_AWAY = "(?:ahead|behind|earlier|later)"
_FROM = "(?:of|than|from|to|compared to|compared with)"
_FURTHER = "(?:ahead of|behind|later than|earlier than)"
_DIFFERENCE = "(?:time(?: ?zone)? difference|difference in (?:time|hours)|hours? difference)"
_GAPS = tuple(
    re.compile(_START + pattern + _NOW, re.IGNORECASE)
    for pattern in (
        (
            rf"(?:what{_IS} )?(?:the )?{_DIFFERENCE}(?: is there| in hours)? "
            rf"(?:between|from|of|for) {_A} (?:and|to|with|vs\.?|versus) {_B}"
        ),
        rf"time difference {_A} (?:and|to|vs\.?|versus) {_B}",
        rf"{_MUCH} {_AWAY} {_ARE}{_A} {_FROM} {_B}",
        rf"{_MUCH} {_ARE}{_A} (?:{_AWAY}|different)(?: {_FROM})? {_B}",
        rf"{_MUCH} {_FURTHER} {_B} {_ARE}{_A}",
        rf"{_ARE}{_A} {_FURTHER} {_B}",
        rf"{_MUCH} apart (?:is|are) (?:the (?:times?|clocks) (?:in|of) )?{_A} (?:and|from) {_B}",
        rf"how many hours(?: of)?(?: time)? difference (?:is there |are there |is |are )?between {_A} and {_B}",
    )
)


MAX_LENGTH = 200


def place_asked(text: str) -> str | None:
    """Return the place whose time a question asks for, empty for here, or None if it doesn't ask that."""
    text = _tidied(text)
    for pattern in _TIMES if len(text) <= MAX_LENGTH else ():
        if (match := pattern.fullmatch(text)) and (match["place"] or "").lower() not in _NO_PLACES:
            return match["place"] or ""
    return None


def gap_asked(text: str) -> tuple[str, str] | None:
    """Return the two places whose times a question compares, or None if it doesn't ask that."""
    text = _tidied(text)
    for pattern in _GAPS if len(text) <= MAX_LENGTH else ():
        if match := pattern.fullmatch(text):
            return match["a"], match["b"]
    return None


def _tidied(text: str) -> str:
    return " ".join(text.translate(str.maketrans("’‘", "''")).split()).strip("?!., ")
