"""A weather tool: the weather now and ahead in any city, from Open-Meteo, without a key.

Give them to an agent as `tools=[weather]`. Open-Meteo's free service is for non-commercial use; its data are
under CC BY 4.0 (https://open-meteo.com).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, timedelta
from functools import cache
from typing import Literal

from agentkit.errors import ToolError, ToolRetry
from agentkit.tooling.registry import ToolRegistry
from agentkit.wire.arguments import checked
from agentkit_tools._dates import say_date
from agentkit_tools._open_meteo import (
    FORECAST_URL,
    GEOCODING_URL,
    MAX_DAYS,
    SNOW_CODES,
    WEATHER_CODES,
    Day,
    Now,
    OpenMeteo,
)
from agentkit_tools._places import Matches, fold, lies_in, longest_name, match_places, tidy_name
from agentkit_tools._weather_words import is_about_weather, is_common, is_filler, words_of
from agentkit_tools._when import When, read_when

Units = Literal["both", "metric", "imperial"]


_HOURS = re.compile(
    r"(?<!good )\b(?:tonight|morning|noon|midday|afternoon|evening|night|midnight)\b"
    r"|\b\d{1,2}(?::\d\d)? ?[ap]\.?m\b|\bo'clock\b",
    re.IGNORECASE,
)
"""An hour or a part of a day, for which there are no figures: the answer says so."""


@checked
def weather_tools(
    *,
    units: Units = "both",
    geocoding_url: str = GEOCODING_URL,
    forecast_url: str = FORECAST_URL,
    timeout: float = 10.0,
    note: str = "",
) -> ToolRegistry:
    """Make the weather tool, in a registry; `weather` is what this gives without arguments.

    The units are chosen here and not by the model: small models guess at such a parameter.

    Args:
        units: What the answers use: °C, km/h and mm; °F, mph and inches; or both.
        geocoding_url: Where places are looked up, if not at Open-Meteo.
        forecast_url: Where the weather comes from, if not from Open-Meteo.
        timeout: Seconds that one request may take; a call makes two, seldom more.
        note: What every answer must say about itself, e.g. "sample data".

    Raises:
        ConfigurationError: A URL isn't one.
    """
    service = OpenMeteo(geocoding_url=geocoding_url, forecast_url=forecast_url, timeout=timeout)
    registry = ToolRegistry("weather", effect="read")

    @registry.tool(
        effect="read",
        description="Tell the weather in a city, now or ahead: temperature in degrees, hot, cold, rain, umbrella, "
        "what to wear, jacket, sunny, snow, wind, humid, storm, forecast. How is it outside?",
    )
    def weather(city: str, when: str = "") -> str:
        """Tell the weather at the time asked about; if none is said, now, today and tomorrow.

        Args:
            city: City name, with its country or state if the user says one.
            when: The time asked about, word for word as the user says it.
        """
        # A small model copies the user's whole question into `when`: it is read as well as "tomorrow" is.
        name, matches = _find(city, when, service)
        asked = read_when(re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", " ", when, flags=re.IGNORECASE))
        if not is_about_weather(asked.rest, timed=bool(asked.rules)):
            raise ToolRetry("I only know the weather, and that doesn't seem to be a question about it.")
        now, days = service.weather(matches.places[0], MAX_DAYS)
        answer = _answer(name, matches, asked, now, days, units, note)
        if _HOURS.search(when):
            answer += "\n(These figures are for whole days; there are none for parts of a day.)"
        return answer

    return registry


def _find(city: str, text: str, service: OpenMeteo) -> tuple[str, Matches]:
    """Find the place that is meant; give the name used as well.

    Raises:
        ToolRetry: There is no such place.
    """
    name = tidy_name(city)
    if all(map(is_filler, words_of(name))):
        raise ToolRetry("Which city do you mean?")
    search = cache(service.search)
    name = longest_name(name, text, search, is_common)
    matches = match_places(name, search)
    if matches.places:
        return name, matches
    message = f'No place called "{name}" found. Check the spelling, or add the country.'
    if matches.elsewhere:
        labels = dict.fromkeys(place.label for place in matches.elsewhere)
        message += f" There is: {'; '.join(list(labels)[:3])}."
    raise ToolRetry(message)


def _answer(
    name: str, matches: Matches, asked: When, now: Now, days: Sequence[Day], units: Units, note: str
) -> str:
    place, today = matches.places[0], days[0].time
    wanted = [today + timedelta(days=ahead) for ahead in asked.days(today) or (0, 1)]
    lines = [
        f"{_day_name(day.time, today)}: {_describe_day(day, units)}" for day in days if day.time in wanted
    ]
    if not lines:
        raise ToolError("The weather service gave no forecast for that time.")
    if asked.now:
        lines.insert(0, f"Now: {_describe_now(now, units)}")
    # The date there, since "tomorrow" is counted from it: where the user is, it may be another.
    heading = f"{place.label}, {say_date(now.time)}, {now.time:%H:%M} local time:"
    text = [heading, *(f"- {line}" for line in lines)]
    if fold(place.name) != fold(name) and lies_in(place, name):
        text.append(f"{name} is more than a city: this is the weather of {place.name} in it.")
    if others := matches.namesakes():
        text.append(
            f"Other places called {place.name}: {'; '.join(others)}. "
            "Add the state or country to ask about one of them."
        )
    if note:
        text.append(f"({note})")
    return "\n".join(text)


def _describe_now(now: Now, units: Units) -> str:
    parts = [WEATHER_CODES.get(now.weather_code, "") if now.weather_code is not None else ""]
    if now.temperature_2m is not None:
        parts.append(_temperature(now.temperature_2m, units=units))
    if now.apparent_temperature is not None:
        parts.append(f"feels like {_temperature(now.apparent_temperature, units=units)}")
    parts.append(_precipitation(now.weather_code, None, now.precipitation, units))
    if now.relative_humidity_2m is not None:
        parts.append(f"humidity {now.relative_humidity_2m:.0f} %")
    if now.wind_speed_10m is not None:
        parts.append(f"wind {_wind(now.wind_speed_10m, units)}")
    return ", ".join(filter(None, parts)) or "not known"


def _day_name(day: date, today: date) -> str:
    name = say_date(day, year=False)
    near = {today: "Today", today + timedelta(days=1): "Tomorrow"}.get(day)
    return f"{near} ({name})" if near else name


def _describe_day(day: Day, units: Units) -> str:
    parts = [WEATHER_CODES.get(day.weather_code, "") if day.weather_code is not None else ""]
    temperatures = [t for t in (day.temperature_2m_min, day.temperature_2m_max) if t is not None]
    if temperatures:
        parts.append(_temperature(*temperatures, units=units))
    parts.append(
        _precipitation(day.weather_code, day.precipitation_probability_max, day.precipitation_sum, units)
    )
    if day.wind_speed_10m_max is not None:
        parts.append(f"wind up to {_wind(day.wind_speed_10m_max, units)}")
    return ", ".join(filter(None, parts)) or "not known"


def _precipitation(code: int | None, chance: float | None, amount: float | None, units: Units) -> str:
    """Say how likely rain or snow is and how much; empty when neither is known."""
    kind = "snow" if code in SNOW_CODES else "rain"
    much = ""
    if amount is not None and amount >= 0.05:
        inches = amount / 25.4
        much = _in_units(f"{amount:.1f} mm", f"{inches:.2f} in" if inches >= 0.01 else "< 0.01 in", units)
        if kind == "snow":
            much += " as water"
    if chance is not None:
        return f"{chance:.0f} % chance of {kind}" + (f", {much}" if much else "")
    if much:
        return f"{kind} {much}"
    return "" if amount is None else "no rain"


def _temperature(*celsius: float, units: Units) -> str:
    """Write one temperature or a range, in whole degrees."""

    def span(values: Sequence[float], unit: str) -> str:
        whole = list(dict.fromkeys(str(round(value)) for value in values))
        return f"{' to '.join(whole)} {unit}"

    return _in_units(span(celsius, "°C"), span([c * 9 / 5 + 32 for c in celsius], "°F"), units)


def _wind(kmh: float, units: Units) -> str:
    return _in_units(f"{kmh:.0f} km/h", f"{kmh / 1.609344:.0f} mph", units)


def _in_units(metric: str, imperial: str, units: Units) -> str:
    return {"metric": metric, "imperial": imperial, "both": f"{metric} ({imperial})"}[units]


weather = weather_tools()
