"""A client of Open-Meteo's geocoding and forecast APIs, which need no key.

The formats are those of https://open-meteo.com/en/docs and https://open-meteo.com/en/docs/geocoding-api.
"""

from __future__ import annotations

import time
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError

from agentkit.errors import ConfigurationError, ToolError
from agentkit_tools._places import Place

if TYPE_CHECKING:
    import httpx2

GEOCODING_URL = "https://geocoding-api.open-meteo.com/v1/search"
FORECAST_URL = "https://api.open-meteo.com/v1/forecast"

MAX_DAYS = 16
"""How far the forecast goes, today included."""
_MAX_REPLY = 1_000_000
"""Bytes; 100 places are some 50,000."""

# WMO code table 4677, those that Open-Meteo uses.
WEATHER_CODES = {
    0: "clear sky",
    1: "mainly clear",
    2: "partly cloudy",
    3: "overcast",
    45: "fog",
    48: "freezing fog",
    51: "light drizzle",
    53: "drizzle",
    55: "heavy drizzle",
    56: "light freezing drizzle",
    57: "freezing drizzle",
    61: "light rain",
    63: "rain",
    65: "heavy rain",
    66: "light freezing rain",
    67: "heavy freezing rain",
    71: "light snow",
    73: "snow",
    75: "heavy snow",
    77: "snow grains",
    80: "light rain showers",
    81: "rain showers",
    82: "violent rain showers",
    85: "light snow showers",
    86: "heavy snow showers",
    95: "thunderstorm",
    96: "thunderstorm with light hail",
    99: "thunderstorm with heavy hail",
}
SNOW_CODES = frozenset({71, 73, 75, 77, 85, 86})


class _Reply(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class Now(_Reply):
    """The weather now. What the service doesn't know is None."""

    time: datetime
    """Local to the place, without a zone."""
    weather_code: int | None = None
    temperature_2m: float | None = None
    """°C."""
    apparent_temperature: float | None = None
    """°C."""
    relative_humidity_2m: float | None = None
    """Percent."""
    precipitation: float | None = None
    """Millimetres."""
    wind_speed_10m: float | None = None
    """km/h."""


class Day(_Reply):
    """The weather of a day. What the service doesn't know is None."""

    time: date
    weather_code: int | None = None
    temperature_2m_min: float | None = None
    """°C."""
    temperature_2m_max: float | None = None
    """°C."""
    precipitation_probability_max: float | None = None
    """Percent."""
    precipitation_sum: float | None = None
    """Millimetres; of snow, as water."""
    wind_speed_10m_max: float | None = None
    """km/h."""


class _Places(_Reply):
    results: list[Place] = []  # left out by the service when nothing was found


class _Refusal(_Reply):
    reason: str


class _Weather(_Reply):
    current: Now
    daily: dict[str, list[Any]]


_NOW_FIELDS = [name for name in Now.model_fields if name != "time"]
_DAY_FIELDS = [name for name in Day.model_fields if name != "time"]
_R = TypeVar("_R", bound=_Reply)


class OpenMeteo:
    """Asks Open-Meteo, or a server that answers like it. Without state: any threads may use it.

    Args:
        geocoding_url: Full address of the search.
        forecast_url: Full address of the forecast.
        timeout: Seconds that one request may take in all.
    """

    def __init__(
        self,
        *,
        geocoding_url: str = GEOCODING_URL,
        forecast_url: str = FORECAST_URL,
        timeout: float = 10.0,
    ) -> None:
        for url in (geocoding_url, forecast_url):
            if urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname:
                raise ConfigurationError(
                    f"{url!r} isn't the address of a weather service: give an http(s) URL."
                )
        self._geocoding_url = geocoding_url
        self._forecast_url = forecast_url
        self._timeout = timeout

    def search(self, name: str) -> list[Place]:
        """List the places of this name, the service's best first.

        Raises:
            ToolError: The service can't be reached, refuses, or answers nonsense.
        """
        reply = self._get(
            self._geocoding_url, {"name": name, "count": 100, "language": "en", "format": "json"}
        )
        return _read(_Places, reply).results

    def weather(self, place: Place, days: int) -> tuple[Now, list[Day]]:
        """Fetch the weather now and of `days` days, today being the first.

        Raises:
            ToolError: The service can't be reached, refuses, or answers nonsense.
        """
        parameters = {
            "latitude": place.latitude,
            "longitude": place.longitude,
            "current": ",".join(_NOW_FIELDS),
            "daily": ",".join(_DAY_FIELDS),
            "forecast_days": days,
            "timezone": "auto",
        }
        reply = _read(_Weather, self._get(self._forecast_url, parameters))
        columns = {name: reply.daily.get(name, []) for name in ("time", *_DAY_FIELDS)}
        rows = [
            {name: column[index] for name, column in columns.items() if index < len(column)}
            for index in range(len(columns["time"]))
        ]
        if not rows:
            raise _unreadable("no days in it")
        try:
            return reply.current, [Day.model_validate(row) for row in rows]
        except ValidationError as error:
            raise _unreadable(_first_fault(error)) from error

    def _get(self, url: str, parameters: dict[str, Any]) -> bytes:
        # The SDK's own HTTP client: the core dependency brings it, and nothing loads it before it is used.
        import httpx2

        deadline = time.monotonic() + self._timeout
        # A proxy set for the outside world must not catch a stand-in server on this machine.
        outside = urlsplit(url).hostname not in {"127.0.0.1", "localhost", "::1"}
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        # Merged, so that what the URL has of its own, such as a customer's key, stays.
        address = httpx2.URL(url).copy_merge_params(parameters)
        try:
            with (
                httpx2.Client(timeout=self._timeout, trust_env=outside, follow_redirects=False) as client,
                client.stream("GET", address, headers=headers) as response,
            ):
                body = bytearray()
                # Raw, not decoded: a small compressed reply could become a huge one.
                for chunk in response.iter_raw():
                    body += chunk
                    if len(body) > _MAX_REPLY:
                        raise _unreadable("it is too long")
                    if time.monotonic() > deadline:
                        raise httpx2.ReadTimeout("too slow")
        except httpx2.TimeoutException as error:
            raise ToolError(
                f"The weather service did not answer within {self._timeout:g} seconds. Try again later."
            ) from error
        except httpx2.HTTPError as error:
            raise ToolError(
                "The weather service can't be reached (no connection). Try again later."
            ) from error
        _check_status(response, bytes(body))
        return bytes(body)


def _check_status(response: httpx2.Response, body: bytes) -> None:
    status = response.status_code
    if status == 200:
        return
    reason = _reason(body)
    if status == 429:
        raise ToolError(f"The weather service has had too many requests{reason}. Try again later.")
    if 400 <= status < 500:
        raise ToolError(f"The weather service refused the request (HTTP {status}){reason}.")
    raise ToolError(f"The weather service is out of order (HTTP {status}). Try again later.")


def _reason(body: bytes) -> str:
    """Read `{"error": true, "reason": "..."}`, as a clause to append; empty if there is none."""
    try:
        reason = _Refusal.model_validate_json(body).reason
    except ValidationError:
        return ""
    words = "".join(character for character in reason if character.isprintable())[:200].strip().rstrip(".")
    return f": {words}" if words else ""


def _read(kind: type[_R], body: bytes) -> _R:
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise _unreadable(_first_fault(error)) from error


def _first_fault(error: ValidationError) -> str:
    """Say where a reply is wrong, without its contents."""
    fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(map(str, fault["loc"]))
    return f"at {where}" if where else "no JSON object"


def _unreadable(why: str) -> ToolError:
    return ToolError(f"The weather service sent an answer that can't be read ({why}). Try again later.")
