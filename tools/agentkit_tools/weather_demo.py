"""A stand-in for Open-Meteo on this machine, with sample data: for demonstrations and tests.

Inside `with DemoServer() as server:`, `server.weather_tools()` are the weather tools on it.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta, tzinfo
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from agentkit.tooling.registry import ToolRegistry
from agentkit.wire.arguments import checked
from agentkit_tools._cities import all_cities, cities_in, cities_like, find_cities
from agentkit_tools._places import Place
from agentkit_tools.weather import Units, weather_tools

NOTE = "sample data, not a real forecast"
"""What every answer made from this server says about itself."""

Json = dict[str, Any]


class BadParameterError(Exception):
    """A parameter is wrong; answered as Open-Meteo does, with HTTP 400 and the reason."""


@checked
class DemoServer:
    """Answers like Open-Meteo's geocoding and forecast, on loopback, while its `with` block lasts.

    It knows some eight hundred cities. The weather is made up from the season and the latitude: the same for
    the same place and day, wherever it runs.

    Args:
        now: Gives the present, with a zone; for tests.
    """

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now

    @property
    def geocoding_url(self) -> str:
        """Full address of the search."""
        return f"{self._address}/v1/search"

    @property
    def forecast_url(self) -> str:
        """Full address of the forecast."""
        return f"{self._address}/v1/forecast"

    def weather_tools(self, *, units: Units = "both") -> ToolRegistry:
        """Make weather tools that ask this server, and say in each answer that its data are samples."""
        return weather_tools(
            units=units, geocoding_url=self.geocoding_url, forecast_url=self.forecast_url, note=NOTE
        )

    def __enter__(self) -> DemoServer:
        now = self._now

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, reply = answer(self.path, now())
                body = json.dumps(reply, ensure_ascii=False).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Keep quiet: the terminal belongs to the answer."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._address = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def answer(target: str, now: datetime) -> tuple[int, Json]:
    """Answer one request: its path with the query, to a status and a body."""
    url = urlsplit(target)
    query = {name: values[-1] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
    started = time.perf_counter()
    try:
        if url.path == "/v1/search":
            reply = _search(query)
        elif url.path == "/v1/forecast":
            reply = _forecast(query, now)
        else:
            return 404, {"error": True, "reason": "Not Found"}
    except BadParameterError as refusal:
        return 400, {"error": True, "reason": str(refusal)}
    return 200, {**reply, "generationtime_ms": round((time.perf_counter() - started) * 1000, 3)}


def _search(query: Mapping[str, str]) -> Json:
    if "name" not in query:
        raise BadParameterError("Value of type 'String' required for key 'name'.")
    count = _number(query, "count", default=10)
    if not 1 <= count <= 100:
        raise BadParameterError("Parameter count must be between 1 and 100.")
    name = query["name"].strip()
    # As documented: one character finds nothing, two find exact names only, three and more find beginnings.
    places = cities_like(name) if len(name) > 2 else find_cities(name) if len(name) == 2 else []
    if not places:  # The real service knows countries and states as well; here their largest city stands in.
        places = cities_in(name)[:1]
    results = [{"id": index, **_as_result(place)} for index, place in enumerate(places[: int(count)], 1)]
    return {"results": results} if results else {}


def _as_result(place: Place) -> Json:
    """Empty fields are left out, as the real service does."""
    return {name: value for name, value in place.model_dump().items() if value != ""}


def _forecast(query: Mapping[str, str], now: datetime) -> Json:
    latitude, longitude = _number(query, "latitude"), _number(query, "longitude")
    if abs(latitude) > 90:
        raise BadParameterError(f"Latitude must be in range of -90 to 90°. Given: {latitude}.")
    if abs(longitude) > 180:
        raise BadParameterError(f"Longitude must be in range of -180 to 180°. Given: {longitude}.")
    days = _number(query, "forecast_days", default=7)
    if not 0 <= days <= 16:
        raise BadParameterError(f"Forecast days is invalid. Allowed range 0 to 16. Given {days:g}.")
    zone_name, zone = _zone(query.get("timezone", "GMT"), latitude, longitude)
    local = now.astimezone(zone)
    units = _units(query)
    reply: Json = {
        "latitude": latitude,
        "longitude": longitude,
        "utc_offset_seconds": int((local.utcoffset() or timedelta()).total_seconds()),
        "timezone": zone_name,
        "timezone_abbreviation": local.tzname(),
        "elevation": 38.0,
    }
    if query.get("current"):
        moment = local.replace(minute=local.minute // 15 * 15, second=0, microsecond=0, tzinfo=None)
        values = _current(_day(latitude, longitude, local.date()), local.hour)
        names = _known(query["current"], values)
        reply["current_units"] = {"time": "iso8601", "interval": "seconds"} | {n: units[n][0] for n in names}
        reply["current"] = {"time": moment.isoformat(timespec="minutes"), "interval": 900} | {
            n: _convert(values[n], units[n]) for n in names
        }
    if query.get("daily"):
        dates = [local.date() + timedelta(days=ahead) for ahead in range(int(days))]
        samples = [_day(latitude, longitude, day) for day in dates]
        names = _known(query["daily"], _day(latitude, longitude, local.date()))
        reply["daily_units"] = {"time": "iso8601"} | {n: units[n][0] for n in names}
        reply["daily"] = {"time": [day.isoformat() for day in dates]} | {
            n: [_convert(sample[n], units[n]) for sample in samples] for n in names
        }
    return reply


def _number(query: Mapping[str, str], name: str, *, default: float | None = None) -> float:
    if name not in query and default is not None:
        return default
    try:
        value = float(query[name])
    except (KeyError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise BadParameterError(f"Parameter '{name}' must be a number.")
    return value


def _known(wanted: str, values: Mapping[str, float]) -> list[str]:
    names = wanted.split(",")
    for name in names:
        if name not in values:
            raise BadParameterError(f"Cannot initialize a weather variable from invalid String value {name}.")
    return names


def _zone(name: str, latitude: float, longitude: float) -> tuple[str, tzinfo]:
    if name == "auto":
        nearest = min(
            all_cities(), key=lambda p: (p.latitude - latitude) ** 2 + (p.longitude - longitude) ** 2
        )
        name = nearest.timezone
    try:
        return name, ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        if name not in {city.timezone for city in all_cities()}:
            raise BadParameterError("Invalid timezone") from error
        return "GMT", UTC  # This machine has no time zone data.


def _day(latitude: float, longitude: float, day: date) -> dict[str, float]:
    """Make up the weather of a day, in metric units: plausible for the latitude and the season."""
    chance = random.Random(f"{latitude:.2f} {longitude:.2f} {day}")
    summer = math.cos((day.timetuple().tm_yday - 200) / 365 * math.tau) * math.copysign(1, latitude)
    mean = 29 - 0.36 * abs(latitude) + 0.2 * abs(latitude) * summer + chance.uniform(-3, 3)
    spread = chance.uniform(2.5, 5)
    rain = chance.choice([0, 0, 5, 10, 20, 35, 55, 75, 90])
    amount = 0.0 if rain < 30 else round(chance.uniform(0.2, rain / 8), 1)
    code = chance.choice([0, 1, 2, 3]) if not amount else 61 if amount < 2.5 else 63 if amount < 8 else 65
    if amount and mean < 0.5:
        code += 10  # the code of as much snow
    return {
        "weather_code": code,
        "temperature_2m_min": round(mean - spread, 1),
        "temperature_2m_max": round(mean + spread, 1),
        "precipitation_probability_max": rain,
        "precipitation_sum": amount,
        "wind_speed_10m_max": round(chance.uniform(6, 38), 1),
    }


def _current(day: Mapping[str, float], hour: int) -> dict[str, float]:
    """Derive the weather of an hour: warmest at 15, coldest at 3."""
    low, high = day["temperature_2m_min"], day["temperature_2m_max"]
    temperature = round((low + high) / 2 + (high - low) / 2 * math.cos((hour - 15) / 24 * math.tau), 1)
    wind = round(day["wind_speed_10m_max"] * 0.6, 1)
    return {
        "weather_code": day["weather_code"],
        "temperature_2m": temperature,
        "apparent_temperature": round(temperature - wind / 10, 1),
        "relative_humidity_2m": 45 + day["precipitation_probability_max"] // 2,
        "precipitation": round(day["precipitation_sum"] / 8, 1),
        "wind_speed_10m": wind,
    }


def _units(query: Mapping[str, str]) -> dict[str, tuple[str, float, float]]:
    """Give each variable's unit, and the factor and offset that convert it from metric."""
    fahrenheit = query.get("temperature_unit") == "fahrenheit"
    temperature = ("°F", 1.8, 32.0) if fahrenheit else ("°C", 1.0, 0.0)
    wind = ("mp/h", 1 / 1.609344, 0.0) if query.get("wind_speed_unit") == "mph" else ("km/h", 1.0, 0.0)
    rain = ("inch", 1 / 25.4, 0.0) if query.get("precipitation_unit") == "inch" else ("mm", 1.0, 0.0)
    percent = ("%", 1.0, 0.0)
    return {
        "weather_code": ("wmo code", 1.0, 0.0),
        **dict.fromkeys(("temperature_2m", "apparent_temperature"), temperature),
        **dict.fromkeys(("temperature_2m_min", "temperature_2m_max"), temperature),
        **dict.fromkeys(("precipitation", "precipitation_sum"), rain),
        **dict.fromkeys(("relative_humidity_2m", "precipitation_probability_max"), percent),
        **dict.fromkeys(("wind_speed_10m", "wind_speed_10m_max"), wind),
    }


def _convert(value: float, unit: tuple[str, float, float]) -> float:
    _, factor, offset = unit
    return value if factor == 1 else round(value * factor + offset, 3)
