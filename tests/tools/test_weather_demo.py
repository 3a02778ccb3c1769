from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
from agentkit_tools._cities import all_cities
from agentkit_tools._open_meteo import WEATHER_CODES
from agentkit_tools.weather_demo import NOTE, DemoServer

from tests.helpers.until import PATIENCE

MONDAY = datetime(2025, 11, 24, 9, 5, tzinfo=UTC)


@pytest.fixture(scope="module")
def demo() -> Iterator[DemoServer]:
    with DemoServer(lambda: MONDAY) as server:
        yield server


def ask(server: DemoServer, name: str, city: str) -> str:
    tool = server.weather_tools().get(name)
    assert tool is not None
    text = tool(city)
    assert isinstance(text, str)
    return text


def get(url: str, **parameters: Any) -> tuple[int, dict[str, Any]]:
    with httpx2.Client(trust_env=False, timeout=PATIENCE) as client:
        reply = client.get(url, params=parameters)
    body = reply.json()
    assert isinstance(body, dict)
    return reply.status_code, body


def test_every_answer_from_sample_data_says_so(demo: DemoServer) -> None:
    assert ask(demo, "weather", "Oslo").endswith(f"\n({NOTE})")
    assert ask(demo, "weather", "Oslo").endswith("\n(sample data, not a real forecast)")


def test_sample_data_are_the_same_for_the_same_place_and_day() -> None:
    texts = []
    for _ in range(2):
        with DemoServer(lambda: MONDAY) as server:
            texts.append(ask(server, "weather", "Nairobi"))
    assert texts[0] == texts[1]
    assert texts[0].count("\n- ") == 3


def test_every_city_of_the_samples_has_a_plausible_forecast(demo: DemoServer) -> None:
    kinds = set()
    for city in all_cities()[::20]:
        status, body = get(
            demo.forecast_url,
            latitude=city.latitude,
            longitude=city.longitude,
            timezone="auto",
            daily="weather_code,temperature_2m_min,temperature_2m_max",
        )
        assert (status, body["timezone"]) == (200, city.timezone)
        daily = body["daily"]
        kinds.update(daily["weather_code"])
        assert all(-45 < low < high < 45 for low, high in zip(*list(daily.values())[2:], strict=True))
    assert kinds <= set(WEATHER_CODES)
    assert {0, 61} < kinds


def test_the_stand_in_answers_in_the_documented_format(demo: DemoServer) -> None:
    status, body = get(
        demo.forecast_url,
        latitude=40.714,
        longitude=-74.006,
        current="temperature_2m,wind_speed_10m",
        daily="precipitation_sum",
        temperature_unit="fahrenheit",
        wind_speed_unit="mph",
        precipitation_unit="inch",
        forecast_days=2,
        timezone="America/New_York",
    )
    assert status == 200
    assert body.pop("generationtime_ms") >= 0
    assert body == {
        "latitude": 40.714,
        "longitude": -74.006,
        "utc_offset_seconds": -18000,
        "timezone": "America/New_York",
        "timezone_abbreviation": "EST",
        "elevation": 38.0,
        "current_units": {
            "time": "iso8601",
            "interval": "seconds",
            "temperature_2m": "°F",
            "wind_speed_10m": "mp/h",
        },
        "current": {
            "time": "2025-11-24T04:00",
            "interval": 900,
            "temperature_2m": body["current"]["temperature_2m"],
            "wind_speed_10m": body["current"]["wind_speed_10m"],
        },
        "daily_units": {"time": "iso8601", "precipitation_sum": "inch"},
        "daily": {
            "time": ["2025-11-24", "2025-11-25"],
            "precipitation_sum": body["daily"]["precipitation_sum"],
        },
    }


def test_the_stand_in_gives_only_what_was_asked_for(demo: DemoServer) -> None:
    _, body = get(demo.forecast_url, latitude=1, longitude=1, current="temperature_2m")
    assert "daily" not in body
    assert (body["timezone"], body["utc_offset_seconds"]) == ("GMT", 0)
    assert "current" not in get(demo.forecast_url, latitude=1, longitude=1)[1]


def test_the_stand_in_converts_units(demo: DemoServer) -> None:
    where = {"latitude": 48.85, "longitude": 2.35, "daily": "temperature_2m_max"}
    celsius = get(demo.forecast_url, **where)[1]["daily"]["temperature_2m_max"][0]
    fahrenheit = get(demo.forecast_url, **where, temperature_unit="fahrenheit")[1]["daily"]
    assert fahrenheit["temperature_2m_max"][0] == pytest.approx(celsius * 1.8 + 32)


def test_the_stand_in_finds_places_as_documented(demo: DemoServer) -> None:
    def names(name: str, **more: Any) -> list[str]:
        return [result["name"] for result in get(demo.geocoding_url, name=name, **more)[1].get("results", [])]

    assert names("P") == []
    assert names("Par")[0] == "Paris"
    assert names("LA") == ["Los Angeles"]
    assert names("ome") == []
    assert len(names("San")) == 10
    assert len(names("San", count=3)) == 3
    assert names("Japan") == ["Tokyo"]
    assert "admin1" not in get(demo.geocoding_url, name="Tokyo")[1]["results"][0]


@pytest.mark.parametrize(
    ("path", "parameters", "reason"),
    [
        ("search", {}, "Value of type 'String' required for key 'name'."),
        ("search", {"name": "Rome", "count": 0}, "Parameter count must be between 1 and 100."),
        ("search", {"name": "Rome", "count": "x"}, "Parameter 'count' must be a number."),
        ("forecast", {"latitude": 1}, "Parameter 'longitude' must be a number."),
        ("forecast", {"latitude": "nan", "longitude": 1}, "Parameter 'latitude' must be a number."),
        (
            "forecast",
            {"latitude": 91, "longitude": 1},
            "Latitude must be in range of -90 to 90°. Given: 91.0.",
        ),
        (
            "forecast",
            {"latitude": 1, "longitude": -181},
            "Longitude must be in range of -180 to 180°. Given: -181.0.",
        ),
        (
            "forecast",
            {"latitude": 1, "longitude": 1, "forecast_days": 17},
            "Forecast days is invalid. Allowed range 0 to 16. Given 17.",
        ),
        ("forecast", {"latitude": 1, "longitude": 1, "timezone": "Mars/Base"}, "Invalid timezone"),
        (
            "forecast",
            {"latitude": 1, "longitude": 1, "daily": "luck"},
            "Cannot initialize a weather variable from invalid String value luck.",
        ),
    ],
)
def test_the_stand_in_refuses_what_the_service_refuses(
    demo: DemoServer, path: str, parameters: dict[str, Any], reason: str
) -> None:
    url = {"search": demo.geocoding_url, "forecast": demo.forecast_url}[path]
    assert get(url, **parameters) == (400, {"error": True, "reason": reason})


def test_the_stand_in_has_no_other_pages(demo: DemoServer) -> None:
    assert get(demo.forecast_url.replace("forecast", "air-quality"))[0] == 404


def test_the_stand_in_works_without_time_zone_data(no_zone_data: None) -> None:
    with DemoServer(lambda: MONDAY) as server:
        assert "Monday 24 November 2025, 09:00 local time" in ask(server, "weather", "Tokyo")
