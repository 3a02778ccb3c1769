"""Clock tools: the time and date now in any city or time zone, and how far apart two places are.

Give them to an agent as `tools=[clock]`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from agentkit.errors import ToolError, ToolRetry, how_to_install
from agentkit.tooling.registry import ToolRegistry
from agentkit.wire.arguments import checked
from agentkit_tools._cities import cities_in, city_names, find_cities
from agentkit_tools._dates import say_date
from agentkit_tools._places import fold, match_places, tidy_name
from agentkit_tools._time_questions import gap_asked, place_asked


@checked
def clock_tools(now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> ToolRegistry:
    """Make the clock tools; `clock` is what this gives without arguments.

    Args:
        now: Gives the present, with a zone; for tests.
    """
    registry = ToolRegistry("clock", effect="read")

    def look(city: str) -> tuple[str, datetime]:
        if city.strip().casefold() in _HERE:
            return "here", now().astimezone()
        name, zone = find_zone(city)
        return name, now().astimezone(zone)

    def difference(city: str, other_city: str) -> str:
        (name, here), (other_name, there) = look(city), look(other_city)
        if name == other_name:  # Asked for one place's time: a small model takes this tool for it at times.
            return _say_now(name, here)
        return _say_difference(name, here, other_name, there)

    def answer(question: str) -> str:
        if (cities := gap_asked(question)) is not None:
            return difference(*cities)
        if (city := place_asked(question)) is not None:
            return _say_now(*look(city))
        raise ToolRetry("I can only tell the time now, and how far apart the times of two places are.")

    @registry.tool(
        effect="read",
        description="What time is it, what day is it, today's date: in a city or time zone, or here.",
    )
    def current_time(city: str = "", question: str = "") -> str:
        """Tell the time, the date, the weekday and the offset from UTC.

        Args:
            city: City or time zone; empty for here.
            question: The user's whole question, word for word, instead of the city.
        """
        return answer(question) if question and not city else _say_now(*look(city))

    @registry.tool(
        effect="read",
        description="The time difference between two cities: how many hours ahead or behind.",
    )
    def time_difference(city: str | None = None, other_city: str | None = None, question: str = "") -> str:
        """Tell how far one place is ahead of or behind the other now.

        Args:
            city: City name.
            other_city: City name.
            question: The user's whole question, word for word, instead of the cities.
        """
        if question and not (city and other_city):
            return answer(question)
        return difference(city or "", other_city or "")

    return registry


def _say_difference(name: str, here: datetime, other_name: str, there: datetime) -> str:
    times = f"It is {_say_time(here)} {_at(name)} and {_say_time(there)} {_at(other_name)}."
    gap = (here.utcoffset() or timedelta()) - (there.utcoffset() or timedelta())
    if not gap:
        return f"There is no time difference between {name} and {other_name} now. {times}"
    relation = "ahead of" if gap > timedelta() else "behind"
    return f"{name} is {_say_gap(abs(gap))} {relation} {other_name}. {times}"


def find_zone(city: str) -> tuple[str, tzinfo]:
    """Find the time zone of a city, country, zone name, abbreviation or UTC offset, and a name to show.

    Raises:
        ToolRetry: There is none, or there are several.
        ToolError: This machine has no time zone data.
    """
    name = tidy_name(city)
    if offset := re.fullmatch(r"(?:UTC|GMT)\s*([+-])\s*(\d{1,2})(?::?([0-5]\d))?", name, re.IGNORECASE):
        sign, hours, minutes = offset.groups(default="0")
        gap = timedelta(hours=int(hours), minutes=int(minutes))
        if gap >= timedelta(hours=24):
            raise ToolRetry(f'There is no time zone "{name}": offsets are less than 24 hours.')
        zone = timezone(gap if sign == "+" else -gap)
        return str(zone), zone
    if key := _ZONE_WORDS.get(fold(name)) or _zone_keys().get(fold(name)):
        return key, _zone(key)
    if places := match_places(name, find_cities).places:
        return places[0].label, _zone(places[0].timezone)
    if key := _zone_cities().get(fold(name)):
        return f"{key.rpartition('/')[2].replace('_', ' ')} ({key})", _zone(key)
    return _zone_of_region(name)


def _zone_of_region(name: str) -> tuple[str, tzinfo]:
    """Answer for a country or state, if one time is right for all of it."""
    cities = cities_in(name)
    zones = dict.fromkeys(place.timezone for place in cities)
    if len(zones) == 1:
        return name, _zone(cities[0].timezone)
    if zones:
        examples = [next(c.name for c in cities if c.timezone == zone) for zone in list(zones)[:4]]
        raise ToolRetry(f"{name} has several time zones. Name a city, such as {_either(examples)}.")
    message = f'No city or time zone called "{name}" is known.'
    names = {fold(known): known for known in (*city_names(), *_zone_keys().values())}
    close = difflib.get_close_matches(fold(name), names, n=3)
    hint = f"Did you mean {_either([names[c] for c in close])}?" if close else "Name a large city nearby."
    raise ToolRetry(f"{message} {hint}")


def _either(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


def _zone(key: str) -> tzinfo:
    if key == "UTC":
        return UTC
    try:
        return ZoneInfo(key)
    except ZoneInfoNotFoundError as error:
        raise ToolError(
            f"This computer has no time zone data. Install it with: {how_to_install('tools')}"
        ) from error


@cache
def _zone_keys() -> dict[str, str]:
    """Map folded zone names to their keys, e.g. `asia/tokyo` and `est`."""
    return {fold(key): key for key in sorted(available_timezones())}


@cache
def _zone_cities() -> dict[str, str]:
    """Map the cities that zones are named after to the zones' keys, e.g. `port moresby`."""
    keys = [key for key in sorted(available_timezones()) if key.split("/")[0] in _CONTINENTS]
    return {fold(key.rpartition("/")[2].replace("_", " ")): key for key in keys}


_CONTINENTS = {
    *("Africa", "America", "Antarctica", "Asia", "Atlantic"),
    *("Australia", "Europe", "Indian", "Pacific"),
}

_HERE = {"", "here", "now", "today", "local"}

# What people call zones; zoneinfo has only some of these, and reads a few as fixed offsets.
_ZONE_WORDS = {
    "utc": "UTC",
    "gmt": "UTC",
    "greenwich": "UTC",
    **dict.fromkeys(("pst", "pdt", "pt", "pacific", "pacific time"), "America/Los_Angeles"),
    **dict.fromkeys(("mst", "mdt", "mountain time"), "America/Denver"),
    **dict.fromkeys(("cst", "cdt", "central time"), "America/Chicago"),
    **dict.fromkeys(("est", "edt", "et", "eastern", "eastern time"), "America/New_York"),
    **dict.fromkeys(("bst", "uk time"), "Europe/London"),
    **dict.fromkeys(("cet", "cest", "central european time"), "Europe/Paris"),
    **dict.fromkeys(("eet", "eest"), "Europe/Athens"),
    **dict.fromkeys(("ist", "india time"), "Asia/Kolkata"),
    **dict.fromkeys(("jst",), "Asia/Tokyo"),
    **dict.fromkeys(("aest", "aedt"), "Australia/Sydney"),
}


def _say_now(name: str, moment: datetime) -> str:
    return f"It is {_say_time(moment)} {_at(name)} ({_say_offset(moment)})."


def _at(name: str) -> str:
    return name if name == "here" else f"in {name}"


def _say_time(moment: datetime) -> str:
    return f"{moment:%H:%M} on {say_date(moment)}"


def _say_offset(moment: datetime) -> str:
    offset = moment.utcoffset() or timedelta()
    if not offset:
        return "UTC"
    hours, minutes = divmod(round(abs(offset).total_seconds() / 60), 60)
    return f"UTC{'+' if offset > timedelta() else '-'}{hours:02}:{minutes:02}"


def _say_gap(gap: timedelta) -> str:
    hours, minutes = divmod(round(gap.total_seconds() / 60), 60)
    parts = [f"{hours} hour{'s' * (hours != 1)}"] if hours else []
    if minutes:
        parts.append(f"{minutes} minutes")
    return " and ".join(parts)


clock = clock_tools()
