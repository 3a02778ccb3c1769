from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from agentkit_tools.weather import Units, weather, weather_tools
from agentkit_tools.weather_demo import DemoServer

from agentkit.errors import ConfigurationError, ToolError, ToolRetry
from agentkit.tooling.registry import ToolRegistry
from tests.helpers.until import PATIENCE

MONDAY = datetime(2025, 11, 24, 9, 5, tzinfo=UTC)


def call(registry: ToolRegistry, name: str, *args: Any, **kwargs: Any) -> str:
    tool = registry.get(name)
    assert tool is not None
    text = tool(*args, **kwargs)
    assert isinstance(text, str)
    return text


@pytest.fixture(scope="module")
def demo() -> Iterator[DemoServer]:
    with DemoServer(lambda: MONDAY) as server:
        yield server


@pytest.fixture
def tools(demo: DemoServer) -> ToolRegistry:
    return demo.weather_tools()


# --- a server that does what a test says ---------------------------------------------------------------

Reply = Callable[[BaseHTTPRequestHandler], None]


class Scripted:
    """Geocoding finds Paris; the forecast is what the test gives. `seen` has the requests' targets."""

    def __init__(self, url: str, seen: list[str]) -> None:
        self.geocoding_url = f"{url}/search"
        self.forecast_url = f"{url}/forecast"
        self.seen = seen

    def tools(self, *, timeout: float = PATIENCE, units: Units = "both") -> ToolRegistry:
        return weather_tools(
            units=units, geocoding_url=self.geocoding_url, forecast_url=self.forecast_url, timeout=timeout
        )


@contextmanager
def scripted(forecast: Reply, search: Reply | None = None) -> Iterator[Scripted]:
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            with suppress(OSError):  # the client hangs up, as it should
                (search or send(PARIS) if self.path.startswith("/search") else forecast)(self)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield Scripted(f"http://127.0.0.1:{server.server_port}", seen)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def send(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Reply:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()

    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(data)

    return reply


def place(name: str = "Paris", **fields: Any) -> dict[str, Any]:
    return {"name": name, "latitude": 48.85, "longitude": 2.35, "country": "France", **fields}


PARIS = {"results": [place(admin1="Île-de-France", country_code="FR", population=2_138_551)]}
WEATHER: dict[str, Any] = {
    "current": {"time": "2025-11-24T10:00", "temperature_2m": 9.4, "weather_code": 61},
    "daily": {
        "time": ["2025-11-24", "2025-11-25"],
        "weather_code": [61, 3],
        "temperature_2m_min": [5.6, -3.4],
        "temperature_2m_max": [11.5, -0.2],
        "precipitation_probability_max": [80, 5],
        "precipitation_sum": [3.24, 0.0],
        "wind_speed_10m_max": [22.3, 8.0],
    },
}


# --- answers ---------------------------------------------------------------------------------------------


def test_a_forecast_names_the_place_the_day_rain_and_temperatures_with_units() -> None:
    with scripted(send(WEATHER)) as server:
        assert call(server.tools(), "weather", "Paris", "tomorrow") == (
            "Paris, Île-de-France, France, Monday 24 November 2025, 10:00 local time:\n"
            "- Tomorrow (Tuesday 25 November): overcast, -3 to 0 °C (26 to 32 °F), 5 % chance of rain, "
            "wind up to 8 km/h (5 mph)"
        )


def test_without_a_time_it_tells_the_local_time_the_weather_now_today_and_tomorrow() -> None:
    with scripted(send(WEATHER)) as server:
        assert call(server.tools(units="metric"), "weather", "Paris").splitlines() == [
            "Paris, Île-de-France, France, Monday 24 November 2025, 10:00 local time:",
            "- Now: light rain, 9 °C",
            "- Today (Monday 24 November): light rain, 6 to 12 °C, 80 % chance of rain, 3.2 mm, wind up to 22 km/h",
            "- Tomorrow (Tuesday 25 November): overcast, -3 to 0 °C, 5 % chance of rain, wind up to 8 km/h",
        ]


def test_imperial_units_show_no_metric_ones() -> None:
    with scripted(send(WEATHER)) as server:
        assert call(server.tools(units="imperial"), "weather", "Paris", "today").splitlines()[1] == (
            "- Today (Monday 24 November): light rain, 42 to 53 °F, 80 % chance of rain, 0.13 in, wind up to 14 mph"
        )


def test_the_request_asks_for_local_days_as_many_as_there_are() -> None:
    with scripted(send(WEATHER)) as server:
        call(server.tools(), "weather", "Paris", "tomorrow")
    search, forecast = (parse_qs(urlsplit(target).query) for target in server.seen)
    assert search == {"name": ["Paris"], "count": ["100"], "language": ["en"], "format": ["json"]}
    assert (forecast["latitude"], forecast["longitude"]) == (["48.85"], ["2.35"])
    assert (forecast["timezone"], forecast["forecast_days"]) == (["auto"], ["16"])


def test_a_day_that_the_service_leaves_out_is_a_tool_error() -> None:
    with scripted(send(WEATHER)) as server, pytest.raises(ToolError, match="no forecast for that time"):
        call(server.tools(), "weather", "Paris", "on Friday")


def test_what_the_service_does_not_know_is_left_out() -> None:
    holes = {
        "current": {"time": "2025-11-24T10:00", "temperature_2m": None, "wind_speed_10m": 10},
        "daily": {
            "time": ["2025-11-24", "2025-11-25", "2025-11-26", "2025-11-27"],
            "weather_code": [None, 12345, 71, 61],
            "temperature_2m_min": [None, 4, None],
            "temperature_2m_max": [7, None, None],
            "precipitation_sum": [0, None, 0.1, 2],
        },
    }
    with scripted(send(holes)) as server:
        assert call(server.tools(), "weather", "Paris", "this week").splitlines()[1:] == [
            "- Today (Monday 24 November): 7 °C (45 °F), no rain",
            "- Tomorrow (Tuesday 25 November): 4 °C (39 °F)",
            "- Wednesday 26 November: light snow, snow 0.1 mm (< 0.01 in) as water",
            "- Thursday 27 November: light rain, rain 2.0 mm (0.08 in)",
        ]
        assert "- Now: wind 10 km/h (6 mph)\n" in call(server.tools(), "weather", "Paris")


def test_a_time_of_which_nothing_is_known_is_said_to_be_not_known() -> None:
    nothing = {"current": {"time": "2025-11-24T10:00"}, "daily": {"time": ["2025-11-24"]}}
    with scripted(send(nothing)) as server:
        assert call(server.tools(), "weather", "Paris").splitlines()[1:] == [
            "- Now: not known",
            "- Today (Monday 24 November): not known",
        ]


def test_today_is_the_day_of_the_place(tools: ToolRegistry) -> None:
    with DemoServer(lambda: datetime(2025, 11, 24, 20, 0, tzinfo=UTC)) as late:
        assert "- Today (Tuesday 25 November)" in call(late.weather_tools(), "weather", "Auckland", "today")
        assert "- Today (Monday 24 November)" in call(late.weather_tools(), "weather", "Honolulu", "today")
        assert "Tuesday 25 November 2025, 09:00 local" in call(late.weather_tools(), "weather", "Auckland")


# --- places ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("city", "label"),
    [
        ("Paris", "Paris, Île-de-France, France"),
        ("paris, texas", "Paris, Texas, United States"),
        ("Paris, TX", "Paris, Texas, United States"),
        ("Paris Texas", "Paris, Texas, United States"),
        ("Paris, TX, USA", "Paris, Texas, United States"),
        ("Portland", "Portland, Oregon, United States"),
        ("Portland, Maine", "Portland, Maine, United States"),
        ("London", "London, England, United Kingdom"),
        ("London, Ontario", "London, Ontario, Canada"),
        ("London ON", "London, Ontario, Canada"),
        ("London, UK", "London, England, United Kingdom"),
        ("Austin, TX", "Austin, Texas, United States"),
        ("Springfield Illinois", "Springfield, Illinois, United States"),
        ("Vancouver British Columbia", "Vancouver, British Columbia, Canada"),
        ("Newcastle, NSW", "Newcastle, New South Wales, Australia"),
        ("Washington, D.C.", "Washington, District of Columbia, United States"),
        ("NYC", "New York, United States"),
        ("Tokyo, Japan", "Tokyo, Japan"),
        ("Tokyo, JP", "Tokyo, Japan"),
        ("Birmingham, United States of America", "Birmingham, Alabama, United States"),
        ("Amsterdam, Holland", "Amsterdam, Netherlands"),
        ("são paulo", "São Paulo, Brazil"),
        ("Sao Paulo", "São Paulo, Brazil"),
        ("Tromso", "Tromsø, Norway"),
        ("Saint Louis", "St. Louis, Missouri, United States"),
        ("Perth, Western", "Perth, Western Australia, Australia"),
        (" 'Rome?' ", "Rome, Italy"),
        ("Berl", "Berlin, Germany"),
    ],
)
def test_the_place_that_was_meant_is_found_and_named(tools: ToolRegistry, city: str, label: str) -> None:
    assert call(tools, "weather", city, "tomorrow").startswith(f"{label}, Monday 24 November 2025, ")


def test_other_well_known_places_of_the_name_are_mentioned_unless_the_region_was_said(
    tools: ToolRegistry,
) -> None:
    hint = "Other places called London: London, Ontario, Canada. Add the state or country"
    assert hint in call(tools, "weather", "London")
    assert "Other places" not in call(tools, "weather", "London, England")
    assert "Other places" not in call(tools, "weather", "Tokyo")


def test_at_most_three_others_are_mentioned_the_largest_first(tools: ToolRegistry) -> None:
    text = call(tools, "weather", "Springfield", "tomorrow")
    assert text.startswith("Springfield, Missouri, United States, ")
    assert (
        "Other places called Springfield: Springfield, Massachusetts, United States; "
        "Springfield, Illinois, United States; Springfield, Oregon, United States. "
    ) in text


def test_hamlets_of_the_name_are_not_mentioned() -> None:
    hamlet = place(admin1="Kentucky", country="United States", population=900)
    with scripted(send(WEATHER), send({"results": [*PARIS["results"], hamlet]})) as server:
        assert "Other places" not in call(server.tools(), "weather", "Paris")


@pytest.mark.parametrize("reply", [{}, {"results": []}, {"generationtime_ms": 0.3}])
def test_an_unknown_place_is_a_retry_that_says_what_to_do(reply: dict[str, Any]) -> None:
    with scripted(send(WEATHER), send(reply)) as server, pytest.raises(ToolRetry) as caught:
        call(server.tools(), "weather", "Xyzzy")
    assert str(caught.value) == 'No place called "Xyzzy" found. Check the spelling, or add the country.'


def test_a_place_unknown_in_the_region_said_is_a_retry_that_lists_those_elsewhere(
    tools: ToolRegistry,
) -> None:
    with pytest.raises(
        ToolRetry, match=r'"Paris, Japan" found.* There is: Paris, Île-de-France, France; Paris'
    ):
        call(tools, "weather", "Paris, Japan")


@pytest.mark.parametrize(
    ("city", "complaint"),
    [
        ("", "'' isn't the name of a city"),
        ("  ", "'' isn't the name of a city"),
        ("X", "'X' isn't the name of a city"),
        ("?!", "isn't the name of a city"),
        ("Par\x00is", "control characters"),
        ("Par\nis", "control characters"),
        ("\ud800\ud800", "control characters"),
        ("x" * 1_000_000, "too long for a city: 1,000,000 characters"),
    ],
)
def test_what_can_not_be_a_city_is_refused_without_asking_the_service(city: str, complaint: str) -> None:
    with scripted(send(WEATHER)) as server, pytest.raises(ToolRetry, match=complaint) as caught:
        call(server.tools(), "weather", city)
    assert server.seen == []
    assert len(str(caught.value)) < 200


def test_empty_and_null_fields_of_a_place_do_no_harm() -> None:
    bare = {"results": [place("Nowhere", admin1=None, country=None, population=None, country_code="")]}
    with scripted(send(WEATHER), send(bare)) as server:
        assert call(server.tools(), "weather", "Nowhere").startswith("Nowhere, Monday")


# --- questions -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("city", "text", "label"),
    [
        ("Paris", "Paris, Texas forecast for tomorrow", "Paris, Texas, United States"),
        ("Texas", "Paris, Texas forecast for tomorrow", "Paris, Texas, United States"),
        ("Paris", "is it hot tomorrow in Paris in Texas?", "Paris, Texas, United States"),
        ("paris", "paris texas weather tomorrow", "Paris, Texas, United States"),
        ("Nigeria", "weather Lagos Nigeria tomorrow", "Lagos, Nigeria"),
        ("France", "Rain tomorrow in Nice, France?", "Nice, France"),
        ("Austin", "Austin, TX: hot tomorrow?", "Austin, Texas, United States"),
        ("angeles", "weather los angeles tomorrow", "Los Angeles, California, United States"),
        ("London", "Weather in London, on Monday or tomorrow", "London, England, United Kingdom"),
        ("LONDON", "COLD IN LONDON ON FRIDAY?", "London, England, United Kingdom"),
        ("Portland", "Rain in Portland or Seattle tomorrow?", "Portland, Oregon, United States"),
        ("Rome", "Is Rome hot tomorrow?", "Rome, Italy"),
    ],
)
def test_all_of_the_name_that_the_question_gives_is_used(
    tools: ToolRegistry, city: str, text: str, label: str
) -> None:
    assert call(tools, "weather", city, text).startswith(f"{label}, Monday 24 November 2025, ")


def test_a_region_is_answered_for_a_city_in_it_and_says_so(tools: ToolRegistry) -> None:
    text = call(tools, "weather", "Texas", "weather in Texas")
    assert text.startswith("Houston, Texas")
    assert "\nTexas is more than a city: this is the weather of Houston in it." in text
    assert "more than a city" not in call(tools, "weather", "Singapore")


@pytest.mark.parametrize(
    "text",
    [
        "Do I need an umbrella in Rome?",
        "Next 7 days in Rome",
        "Rome?",
        "what's it like out there in Rome at the moment",
        "Shorts or trousers in Rome today?",
        "What's the best day for a picnic in Rome this week?",
    ],
)
def test_a_question_about_the_weather_is_answered(tools: ToolRegistry, text: str) -> None:
    assert "Rome, Italy" in call(tools, "weather", "Rome", text)


@pytest.mark.parametrize(
    "text",
    [
        "What's the time in Rome?",
        "book me a flight to Rome",
        "how do I get from Rome to Paris",
        "Find a nice hotel in Rome for the weekend",
        "Who plays in Rome on Saturday?",
        "tell me about Rome",
    ],
)
def test_a_question_about_something_else_is_refused(tools: ToolRegistry, text: str) -> None:
    with pytest.raises(ToolRetry, match="I only know the weather"):
        call(tools, "weather", "Rome", text)


@pytest.mark.parametrize("city", ["hello", "thanks", "17"])
def test_what_names_no_city_is_asked_back(tools: ToolRegistry, city: str) -> None:
    with pytest.raises(ToolRetry, match="Which city do you mean"):
        call(tools, "weather", city, city)


# --- faults ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (send({}, 500), r"^The weather service is out of order \(HTTP 500\)\. Try again later\.$"),
        (
            send(b"<html>secret trace", 503),
            r"^The weather service is out of order \(HTTP 503\)\. Try again later",
        ),
        (
            send({"error": True, "reason": "Minutely API request limit exceeded."}, 429),
            r"too many requests: Minutely API request limit exceeded\. Try again later\.$",
        ),
        (send(b"", 429), r"too many requests\. Try again later\.$"),
        (
            send({"error": True, "reason": "Latitude must be\x1b[31m in range"}, 400),
            r"^The weather service refused the request \(HTTP 400\): Latitude must be\[31m in range\.$",
        ),
        (send({"reason": "x" * 9999}, 400), r": x{200}\.$"),
        (send({"reason": 7}, 404), r"refused the request \(HTTP 404\)\.$"),
        (send(b"{'oops"), r"can't be read \(no JSON object\)"),
        (send(b""), r"can't be read \(no JSON object\)"),
        (send([]), r"can't be read \(no JSON object\)"),
        (send({"daily": WEATHER["daily"]}), r"can't be read \(at current\)"),
        (send({"current": WEATHER["current"]}), r"can't be read \(at daily\)"),
        (send({**WEATHER, "daily": {}}), r"can't be read \(no days in it\)"),
        (send({**WEATHER, "daily": {"time": []}}), r"can't be read \(no days in it\)"),
        (send({**WEATHER, "daily": {"time": ["soon"]}}), r"can't be read \(at time\)"),
        (
            send({**WEATHER, "daily": {**WEATHER["daily"], "temperature_2m_min": ["cold", 1]}}),
            r"can't be read \(at temperature_2m_min\)",
        ),
        (send(json.dumps(WEATHER).encode().replace(b"9.4", b"NaN")), r"at current.temperature_2m\)"),
        (send(b" " * 1_500_000), r"can't be read \(it is too long\)"),
    ],
)
def test_a_fault_of_the_service_is_a_tool_error_in_plain_words(reply: Reply, message: str) -> None:
    with scripted(reply) as server, pytest.raises(ToolError, match=message) as caught:
        call(server.tools(), "weather", "Paris")
    assert "secret" not in str(caught.value)
    assert "127.0.0.1" not in str(caught.value)


def test_nonsense_from_the_geocoding_is_a_tool_error() -> None:
    nowhere = send({"results": [place(latitude=123)]})
    with (
        scripted(send(WEATHER), nowhere) as server,
        pytest.raises(ToolError, match=r"at results\.0\.latitude"),
    ):
        call(server.tools(), "weather", "Paris")


def test_a_redirect_is_not_followed() -> None:
    with scripted(send(WEATHER)) as other:
        away = send(b"", 302, {"Location": other.forecast_url})
        with scripted(away) as server, pytest.raises(ToolError, match=r"out of order \(HTTP 302\)"):
            call(server.tools(), "weather", "Paris")
        assert other.seen == []


def test_a_service_that_does_not_answer_is_given_up() -> None:
    done = threading.Event()

    def hang(_: BaseHTTPRequestHandler) -> None:
        done.wait(PATIENCE)

    with scripted(hang) as server:
        with pytest.raises(ToolError, match=r"did not answer within 0\.2 seconds\. Try again later"):
            call(server.tools(timeout=0.2), "weather", "Paris")
        done.set()


def test_a_service_that_answers_drop_by_drop_is_given_up() -> None:
    done = threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not done.wait(0.02):
            handler.wfile.write(b" ")

    with scripted(drip) as server:
        with pytest.raises(ToolError, match=r"did not answer within 0\.3 seconds"):
            call(server.tools(timeout=0.3), "weather", "Paris")
        done.set()


def test_a_connection_that_breaks_is_a_tool_error() -> None:
    def hang_up(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True

    with (
        scripted(hang_up) as server,
        pytest.raises(ToolError, match=r"can't be reached \(no connection\)"),
    ):
        call(server.tools(), "weather", "Paris")


def test_a_service_that_is_not_there_is_a_tool_error() -> None:
    with scripted(send(WEATHER)) as server:
        gone = server.tools()
    with pytest.raises(
        ToolError, match=r"^The weather service can't be reached \(no connection\)\. Try again"
    ):
        call(gone, "weather", "Paris")


def test_a_server_on_this_machine_is_reached_whatever_proxy_is_set(
    tools: ToolRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert call(tools, "weather", "Rome").startswith("Rome, Italy")


def test_a_customers_key_in_the_url_is_sent_and_never_shown() -> None:
    with scripted(send({"reason": "no"}, 400)) as server:
        registry = weather_tools(
            geocoding_url=f"{server.geocoding_url}?apikey=S3CRET",
            forecast_url=f"{server.forecast_url}?apikey=S3CRET",
        )
        with pytest.raises(ToolError) as caught:
            call(registry, "weather", "Paris")
    assert all("apikey=S3CRET" in target for target in server.seen)
    assert "S3CRET" not in f"{caught.value}{registry!r}"


@pytest.mark.parametrize("url", ["", "api.open-meteo.com", "file:///etc/passwd", "https://"])
def test_an_address_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(ConfigurationError, match="isn't the address of a weather service"):
        weather_tools(forecast_url=url)


# --- what the model sees ---------------------------------------------------------------------------------


def test_the_declaration_is_flat_and_leaves_units_to_the_developer() -> None:
    (declaration,) = weather.function_declarations
    schema = declaration["parametersJsonSchema"]
    assert declaration["name"] == "weather"
    assert {name: field["type"] for name, field in schema["properties"].items()} == {
        "city": "string",
        "when": "string",
    }
    assert schema["required"] == ["city"]


def test_importing_the_tools_loads_no_http_client() -> None:
    code = "import sys, agentkit_tools.weather; print([m for m in ('httpx2', 'google.genai') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ("tonight", True),
        ("Wednesday night", True),
        ("at 5pm", True),
        ("tomorrow", False),
        ("Good morning! Today", False),
    ],
)
def test_an_answer_about_a_part_of_a_day_says_that_its_figures_are_for_whole_days(
    tools: ToolRegistry, when: str, said: bool
) -> None:
    assert ("parts of a day" in call(tools, "weather", "Oslo", f"weather {when}")) is said
