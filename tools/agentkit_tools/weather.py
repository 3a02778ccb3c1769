"""Weather tools: the weather now and the forecast of any city, from Open-Meteo, without a key.

Give them to an agent as `tools=[weather]`. Open-Meteo's free service is for non-commercial use; its data are
under CC BY 4.0 (https://open-meteo.com).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Annotated, Literal

from pydantic import Field

from agentkit.errors import ToolRetry
from agentkit.tooling.registry import ToolRegistry
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
from agentkit_tools._places import Matches, match_places, tidy_name

Units = Literal["both", "metric", "imperial"]


def weather_tools(
    *,
    units: Units = "both",
    geocoding_url: str = GEOCODING_URL,
    forecast_url: str = FORECAST_URL,
    timeout: float = 10.0,
    note: str = "",
) -> ToolRegistry:
    """Make the weather tools; `weather` is what this gives without arguments.

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
    registry = ToolRegistry("weather")

    @registry.tool(
        description="Tell the weather in a city right now: hot or cold, temperature, rain, umbrella, jacket, "
        "wind, sun, snow, tonight, today."
    )
    def current_weather(city: str) -> str:
        """Tell the weather now, today and tomorrow.

        Args:
            city: City name, with its country or state if the user says one.
        """
        matches = _find(city, service)
        now, days = service.weather(matches.places[0], 2)
        heading = f"{matches.places[0].label}, {say_date(now.time)}, {now.time:%H:%M} local time:"
        # Tomorrow too: a small model takes this tool for some questions about it.
        lines = [f"Now: {_describe_now(now, units)}", *_describe_days(days[:2], units)]
        return _answer(heading, lines, matches, note)

    @registry.tool(
        description="Tell the weather forecast for a city: tomorrow, Friday, the weekend, this week, next week, "
        "the next days. Hot or cold, rain, umbrella, jacket, sun, wind, snow."
    )
    def forecast(city: str, days: Annotated[int, Field(ge=1, le=MAX_DAYS)] = 7) -> str:
        """Tell the weather of today and the days ahead.

        Args:
            city: City name, with its country or state if the user says one.
            days: Days ahead.
        """
        matches = _find(city, service)
        # Today comes on top of the days ahead: for "tomorrow", models give one day.
        _, ahead = service.weather(matches.places[0], min(days + 1, MAX_DAYS))
        return _answer(
            f"Forecast for {matches.places[0].label}:", _describe_days(ahead, units), matches, note
        )

    return registry


def _find(city: str, service: OpenMeteo) -> Matches:
    name = tidy_name(city)
    matches = match_places(name, service.search)
    if matches.places:
        return matches
    message = f'No place called "{name}" found. Check the spelling, or add the country.'
    if matches.elsewhere:
        labels = dict.fromkeys(place.label for place in matches.elsewhere)
        message += f" There is: {'; '.join(list(labels)[:3])}."
    raise ToolRetry(message)


def _answer(heading: str, lines: Sequence[str], matches: Matches, note: str) -> str:
    text = [heading, *(f"- {line}" for line in lines)]
    if others := matches.namesakes():
        text.append(
            f"Other places called {matches.places[0].name}: {'; '.join(others)}. "
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


def _describe_days(days: Sequence[Day], units: Units) -> list[str]:
    today = days[0].time
    return [f"{_day_name(day.time, today)}: {_describe_day(day, units)}" for day in days]


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
