"""Whether a question is about the weather, told by its words.

A small model picks the weather tool for whatever has a city in it. Where the tool gets the user's question
instead of a mere time, it makes sure with these lists that the weather is what was asked for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence


def is_about_weather(rest: str, *, timed: bool) -> bool:
    """Return whether a text, without the place and the times in it, may be about the weather.

    Without a word of the weather it is only where nothing else is asked for: "Rome, the next 7 days?".

    Args:
        rest: The text, in lower case.
        timed: Whether a time was said.
    """
    if _WEATHER.search(rest):
        return True
    if _SOMETHING_ELSE.search(rest):
        return False
    words = words_of(rest)
    return bool(_WHAT_WEATHER_IS_FOR.search(rest)) or not words or (timed and all(map(is_filler, words)))


def words_of(text: str) -> Sequence[str]:
    """List the words of a text, apostrophes included."""
    return re.findall(r"[^\W\d_]+(?:['’-][^\W\d_]+)*", text)


def is_filler(word: str) -> bool:
    """Return whether a word is one that a question about anything may have."""
    return word.casefold().replace("’", "'") in _FILLER


def is_common(word: str) -> bool:
    """Return whether a word is surely no part of a place's name."""
    folded = word.casefold()
    return is_filler(folded) or bool(_WEATHER.search(folded) or _WHAT_WEATHER_IS_FOR.search(folded))


def _any_of(words: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(words.split())})\b")


_WEATHER = _any_of(
    "weather(?:wise)? forecasts? temperatures? temps? degrees? celsius fahrenheit heat(?:wave)? hotter "
    "hottest warm(?:er|est|th|ly)? mild(?:er)? cold(?:er|est)? chilly chillier freez(?:e|es|ing) "
    "frost(?:y|s)? icy scorch(?:ing|er) swelter(?:ing)? humid(?:ity)? muggy dry drier wet(?:ter)? damp "
    "rain(?:s|y|ing|ier|fall|coat)? drizzl(?:e|ing|y) showers? downpours? pouring precipitation "
    "umbrellas? snow(?:s|y|ing|fall|storm)? sleet hail(?:ing)? blizzards? storms? stormy "
    "thunder(?:storms?)? lightning hurricanes? typhoons? cyclones? tornado(?:es)? wind(?:s|y|ier|iest)? "
    "breez(?:e|y) gusts? gusty gales? sun(?:ny|nier|shine|screen|glasses|cream)? shin(?:e|es|ing) "
    "cloud(?:s|y|ier)? overcast sky skies fogg?y? misty? haz[ey] uv"
)
_WHAT_WEATHER_IS_FOR = _any_of(
    "hot cool chill bright gr[ae]y clear conditions climate boiling ic[ey] wear wearing jackets? coats? "
    "sweaters? jumpers? hoodies? shorts trousers jeans t-?shirts? scar(?:f|ves) gloves boots hats? "
    "sandals cloth(?:es|ing) pack packing dress layers picnics? barbecues? bbq beach(?:es)? swim(?:ming)? "
    "outsides? outdoors? hik(?:e|es|ing) ski(?:ing)? laundry washing garden(?:ing)? nice lovely pleasant "
    "comfortable beautiful"
)
"""Words of the weather as well as of other things: the place to swim, the best beach."""
_SOMETHING_ELSE = _any_of(
    "best(?!.(?:day|time)) find book(?:ing)? buy order recommend where who whose why hotels? restaurants? "
    "bars? caf[eé]s? flights? trains? bus(?:es)? tickets? shops? stores? stays? prices? cheap(?:est)? "
    "cost(?:s)? population news music songs? movies? films? games? play(?:s|ing)? won match translate "
    "remind(?:er)? call email message alarm"
)
_FILLER = frozenset(
    re.findall(
        r"\S+",
        "a about am an and any are around at be been by can check could day do does doing during fine for "
        "forward from give going good great hello hey hi how how'll how's i i'd i'll i'm if in is it it'd "
        "it'll it's its just know let's like look looking looks me might morning my near of ok okay on or our "
        "out outlook over please right s say shall she should so some tell thank thanks that that's the then "
        "there there's they this to up us was we we'll we're what what'd what'll what's whats will with would "
        "you your",
    )
)
