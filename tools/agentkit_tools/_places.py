"""Places on Earth, and how the words a user says for one pick it out of several of the same name."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from agentkit.errors import ToolRetry

MAX_NAME = 100
"""Characters; the longest place name in use has 85."""

_Text = Annotated[str, BeforeValidator(lambda value: "" if value is None else value)]


class Place(BaseModel):
    """A place, with the fields and names of Open-Meteo's geocoding results."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    name: str = Field(min_length=1)
    latitude: float = Field(ge=-90, le=90)
    longitude: float = Field(ge=-180, le=180)
    admin1: _Text = ""
    """State, province or region."""
    country: _Text = ""
    country_code: _Text = ""
    """Two letters, ISO 3166-1."""
    timezone: _Text = ""
    """A name of the tz database."""
    population: Annotated[int, BeforeValidator(lambda value: value or 0)] = 0

    @property
    def label(self) -> str:
        """The name with what tells it from others, e.g. `Paris, Île-de-France, France`."""
        return ", ".join(dict.fromkeys(part for part in (self.name, self.admin1, self.country) if part))


@dataclass(frozen=True, slots=True)
class Matches:
    """What a search for a user's words gave, best first."""

    places: Sequence[Place]
    """Those that fit all the words. Empty: there is none."""
    elsewhere: Sequence[Place] = ()
    """Those of the right name, but in none of the regions the user said."""

    def namesakes(self, limit: int = 3, population: int = 20_000) -> list[str]:
        """Label other places of the first one's name that the user may have meant, the largest first."""
        first, *rest = self.places
        same = [p for p in rest if fold(p.name) == fold(first.name) and p.population >= population]
        same.sort(key=lambda place: -place.population)
        return list(dict.fromkeys(place.label for place in same if place.label != first.label))[:limit]


def tidy_name(city: str) -> str:
    """Clean the words a user, or a model, gave for a place.

    Raises:
        ToolRetry: They can't be the name of a place.
    """
    if len(city) > MAX_NAME:
        raise ToolRetry(
            f"That is too long for a city: {len(city):,} characters, at most {MAX_NAME} are allowed."
        )
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in city.strip()):
        raise ToolRetry("The city has control characters in it. Give its name only.")
    name = " ".join(city.split()).strip(" ,;:?!\"'()")
    if len(name) < 2:
        raise ToolRetry(f"{city.strip()!r} isn't the name of a city. Give one of two letters or more.")
    return name


def match_places(city: str, search: Callable[[str], Sequence[Place]]) -> Matches:
    """Find the places that `city` may mean: a name, or a name and what it lies in ("Paris, Texas").

    Args:
        city: The user's words, tidied.
        search: Gives the places of a name, best first. It sees the name only, without the regions.
    """
    name, *regions = (part.strip() for part in city.split(","))
    regions = [region for region in regions if region]
    found = search(_NICKNAMES.get(fold(name), name))
    if found or regions:
        fitting = _inside(found, regions)
        return Matches(fitting, () if fitting else found)
    # "Paris Texas", "Vancouver British Columbia": the comma is often left out.
    words = name.split()
    for cut in range(1, min(3, len(words))):
        fitting = _inside(search(" ".join(words[:-cut])), [" ".join(words[-cut:])])
        if fitting:
            return Matches(fitting)
    return Matches(())


def longest_name(
    city: str, text: str, search: Callable[[str], Sequence[Place]], is_common: Callable[[str], bool]
) -> str:
    """Give `city` with all of the place's name that stands around it in `text`; without any, as it is.

    A small model gives "Paris", or "Texas", for "Paris, Texas", and "Angeles" for "Los Angeles".

    Args:
        city: A name, tidied.
        text: What the user said.
        search: Gives the places of a name, best first.
        is_common: Tells whether a word is surely no part of a name.
    """
    found = re.search(rf"(?<!\w){re.escape(city)}(?!\w)", text, re.IGNORECASE)
    if found is None:
        return city

    def may_belong(word: re.Match[str]) -> bool:
        if word[1][
            0
        ].isupper():  # a capital tells nothing at the beginning: "Is Rome", but "near Nice, France"
            return word.start(1) > 0 or not is_common(word[1])
        return word[1] in _PARTICLES or (found[0].islower() and not is_common(word[1]))

    starts, ends = [found.start()], [found.end()]
    while len(starts) < 3 and (word := _WORD_BEFORE.search(text[: starts[-1]])) and may_belong(word):
        starts.append(word.start(1))
    while len(ends) < 4 and (word := _WORD_AFTER.match(text, ends[-1])) and may_belong(word):
        ends.append(word.end(1))
    spans = sorted((text[start:end] for start in starts for end in ends), key=len, reverse=True)
    names = (re.sub(r"\s+in\s+", ", ", span) for span in spans[:-1])
    return next((name for name in names if _is_place(name, search, shouted=text.isupper())), city)


def _is_place(name: str, search: Callable[[str], Sequence[Place]], *, shouted: bool) -> bool:
    """Return whether there is a place of just this name, or of its beginning in the region that follows."""
    head, *regions = (part.strip() for part in name.split(","))
    words = head.split()
    # The comma is often left out: any of the last words may be the region.
    cuts = [(head, regions)] + [
        (" ".join(words[:-n]), [" ".join(words[-n:]), *regions]) for n in range(1, min(4, len(words)))
    ]
    return any(
        fold(place.name) == fold(own)
        # A short word is a code only in capitals: "Portland, OR" but not "Portland or Seattle".
        and all(
            lies_in(place, region) and (len(region) > 3 or (region.isupper() and not shouted))
            for region in within
        )
        for own, within in cuts
        for place in search(own)
    )


def fold(text: str) -> str:
    """Reduce a name to what people agree on: no case, accents, dots or hyphens; "Saint" is "st"."""
    plain = unicodedata.normalize("NFKD", text.casefold().translate(_STROKES))
    plain = "".join(character for character in plain if not unicodedata.combining(character))
    words = re.sub(r"[.'’‘]", "", plain).replace("-", " ").split()
    return " ".join("st" if word == "saint" else word for word in words)


def lies_in(place: Place, region: str) -> bool:
    """Return whether `region` names the country or state of a place, also by its code or a usual short form."""
    wanted, code = fold(region), place.country_code
    state = _STATES.get(code, {}).get(wanted.upper())
    return (
        wanted in {fold(place.country), code.casefold(), fold(place.admin1)}
        or _COUNTRIES.get(wanted) == code
        or (state is not None and fold(state) == fold(place.admin1))
    )


def _inside(places: Sequence[Place], regions: Iterable[str]) -> list[Place]:
    """Keep the places that lie in all the regions, or else those whose regions have these words in them."""
    regions = list(regions)
    exact = [place for place in places if all(lies_in(place, region) for region in regions)]
    return exact or [
        place
        for place in places
        if all(f" {fold(region)} " in f" {fold(place.admin1)} {fold(place.country)} " for region in regions)
    ]


_WORD_BEFORE = re.compile(r"(\w+(?:[.'’-]\w+)*),? +$")
_WORD_AFTER = re.compile(r",? +(?:in +)?(\w+(?:[.'’-]\w+)*)")
_PARTICLES = frozenset({"de", "del", "da", "do", "di", "la", "of", "am", "an", "sur", "upon"})

# Letters that Unicode doesn't take apart into a plain one and a mark.
_STROKES = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ı": "i", "æ": "ae", "œ": "oe"})

_NICKNAMES = {
    "nyc": "New York",
    "la": "Los Angeles",
    "sf": "San Francisco",
    "dc": "Washington",
    "washington dc": "Washington",
    "vegas": "Las Vegas",
}

_COUNTRIES = {
    "uk": "GB",
    "britain": "GB",
    "great britain": "GB",
    "usa": "US",
    "america": "US",
    "united states of america": "US",
    "uae": "AE",
    "holland": "NL",
    "the netherlands": "NL",
    "czech republic": "CZ",
    "korea": "KR",
    "turkey": "TR",
    "turkiye": "TR",
    "burma": "MM",
    "russian federation": "RU",
    "ivory coast": "CI",
    "cote divoire": "CI",
    "drc": "CD",
    "congo": "CG",
    "macedonia": "MK",
    "cape verde": "CV",
    "swaziland": "SZ",
    "east timor": "TL",
    "vatican city": "VA",
}


def _states(text: str) -> dict[str, str]:
    return dict(entry.split(" ", 1) for entry in text.replace("\n", " ").strip().split("; "))


_STATES = {
    "US": _states(
        "AL Alabama; AK Alaska; AZ Arizona; AR Arkansas; CA California; CO Colorado; CT Connecticut; DE "
        "Delaware; DC District of Columbia; FL Florida; GA Georgia; HI Hawaii; ID Idaho; IL Illinois; IN "
        "Indiana; IA Iowa; KS Kansas; KY Kentucky; LA Louisiana; ME Maine; MD Maryland; MA Massachusetts; "
        "MI Michigan; MN Minnesota; MS Mississippi; MO Missouri; MT Montana; NE Nebraska; NV Nevada; NH "
        "New Hampshire; NJ New Jersey; NM New Mexico; NY New York; NC North Carolina; ND North Dakota; OH "
        "Ohio; OK Oklahoma; OR Oregon; PA Pennsylvania; RI Rhode Island; SC South Carolina; SD South "
        "Dakota; TN Tennessee; TX Texas; UT Utah; VT Vermont; VA Virginia; WA Washington; WV West "
        "Virginia; WI Wisconsin; WY Wyoming"
    ),
    "CA": _states(
        "AB Alberta; BC British Columbia; MB Manitoba; NB New Brunswick; NL Newfoundland and Labrador; "
        "NS Nova Scotia; NT Northwest Territories; NU Nunavut; ON Ontario; PE Prince Edward Island; PEI "
        "Prince Edward Island; QC Quebec; SK Saskatchewan; YT Yukon"
    ),
    "AU": _states(
        "ACT Australian Capital Territory; NSW New South Wales; NT Northern Territory; QLD Queensland; "
        "SA South Australia; TAS Tasmania; VIC Victoria; WA Western Australia"
    ),
}
