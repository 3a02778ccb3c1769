from __future__ import annotations

import decimal
import subprocess
import sys
import time

import pytest
from agentkit_tools._units import names
from agentkit_tools.units import convert, units
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agentkit.errors import ToolError, ToolRetry

CONVERSIONS = [
    (10, "miles", "km", "10 miles = 16.09344 kilometers"),
    (1, "mile", "kilometres", "1 mile = 1.609344 kilometers"),
    (5, "KM", "Miles", "5 kilometers ≈ 3.10686 miles"),
    (6, "feet", "cm", "6 feet = 182.88 centimeters"),
    (1, "foot", "inches", "1 foot = 12 inches"),
    (0.1, "m", "cm", "0.1 meters = 10 centimeters"),
    (5, "'", '"', "5 feet = 60 inches"),
    (1, "nautical mile", "km", "1 nautical mile = 1.852 kilometers"),
    (1, "light year", "km", "1 light year = 9460730472580.8 kilometers"),
    (1e-07, "m", "km", "0.0000001 meters = 1e-10 kilometers"),
    (1e300, "m", "km", "1e+300 meters = 1e+297 kilometers"),
    (100, "F", "C", "100 °F ≈ 37.7778 °C"),
    (0, "degrees celsius", "°F", "0 °C = 32 °F"),
    (-40, "°C", "deg F", "-40 °C = -40 °F"),
    (37.5, "centigrade", "Fahrenheit", "37.5 °C = 99.5 °F"),
    (300, "K", "degC", "300 kelvin = 26.85 °C"),
    (-273.15, "celsius", "kelvin", "-273.15 °C = 0 kelvin"),
    (60, "mph", "km/h", "60 miles per hour = 96.56064 kilometers per hour"),
    (1, "kilometers per hour", "m/s", "1 kilometer per hour ≈ 0.277778 meters per second"),
    (1, "knots", "kph", "1 knot = 1.852 kilometers per hour"),
    (5, "lbs", "kg", "5 pounds = 2.26796185 kilograms"),
    (70, "kilos", "pounds", "70 kilograms ≈ 154.324 pounds"),
    (72, "kg", "stones", "72 kilograms ≈ 11.3381 stones"),
    (8, "fl oz", "ml", "8 fluid ounces = 236.5882365 milliliters"),
    (2, "cups", "tbsp", "2 cups = 32 tablespoons"),
    (1, "gallons", "L", "1 gallon = 3.785411784 liters"),
    (1, "US gallon", "UK gallons", "1 gallon ≈ 0.832674 imperial gallons"),
    (20, "sq m", "sq ft", "20 square meters ≈ 215.278 square feet"),
    (3, "square feet", "m²", "3 square feet = 0.27870912 square meters"),
    (5, "cubic meters", "liters", "5 cubic meters = 5000 liters"),
    (1, "cu ft", "in^3", "1 cubic foot = 1728 cubic inches"),
    (1, "m^4", "cm**4", "1 meter^4 = 100000000 centimeters^4"),
    (1, "m/s²", "ft/s^2", "1 meter per square second ≈ 3.28084 feet per square second"),
    (1, "kWh", "J", "1 kilowatt hour = 3600000 joules"),
    (1, "GB", "MB", "1 gigabyte = 1000 megabytes"),
    (100, "Mbps", "MB/s", "100 megabits per second = 12.5 megabytes per second"),
    (8, "Mb", "MB", "8 megabits = 1 megabyte"),
    (2, "weeks", "hours", "2 weeks = 336 hours"),
    (1, "century", "years", "1 century = 100 years"),
    (90, "degrees", "radians", "90 degrees ≈ 1.5708 radians"),
]
HOSTILE = [
    "", " ", "m**999999", "m^-99", "10**10**10 m", "1/0", "m/0", "2 m", "m" * 1_000_000, "(" * 1000, "m)(", "m**m",
    "m m m m m m m m m m m m m m m m m m m m m m m m m m m m m m m m", "__import__('os')", "m;m", "m\x00", "per",
    "%", "5", "nan", "lambda: 1", "m.real", "m[0]", "°°C",
]  # fmt: skip


@pytest.mark.parametrize(("amount", "unit", "to", "answer"), CONVERSIONS)
def test_a_measure_is_converted_and_both_units_are_named(
    amount: float, unit: str, to: str, answer: str
) -> None:
    assert convert(amount, unit, to) == answer


def test_an_unknown_unit_is_sent_back_with_the_closest_names() -> None:
    with pytest.raises(ToolRetry, match=r'"meterz". Did you mean meter'):
        convert(1, "meterz", "km")
    with pytest.raises(ToolRetry, match=r'"zzzzzz". Name it in English'):
        convert(1, "km", "zzzzzz")


@pytest.mark.parametrize(
    ("unit", "to", "words"),
    [
        ("km", "kg", "kilometers to kilograms: one measures length, the other mass"),
        ("mph", "C", "one measures length / time, the other temperature"),
        ("radians", "m", "the other length"),
    ],
)
def test_units_of_different_kinds_are_an_error_that_says_what_each_measures(
    unit: str, to: str, words: str
) -> None:
    with pytest.raises(ToolError, match=words):
        convert(1, unit, to)


def test_units_that_do_not_scale_are_converted_or_a_plain_error() -> None:
    """Pint converts them since 0.26."""
    try:
        answer = convert(1, "decibel", "neper")
    except ToolError as error:
        answer = str(error)
    assert answer in ("1 decibel ≈ 0.115129 nepers", "Can't convert decibels to nepers.")


def test_a_temperature_below_absolute_zero_is_an_error() -> None:
    with pytest.raises(ToolError, match="-500 °C is below absolute zero"):
        convert(-500, "C", "F")


@pytest.mark.parametrize("amount", [float("nan"), float("inf"), float("-inf")])
def test_an_amount_that_is_no_number_is_sent_back(amount: float) -> None:
    with pytest.raises(ToolRetry, match="must be a number"):
        convert(amount, "m", "km")


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_unit_is_refused_at_once(text: str) -> None:
    convert(1, "m", "km")  # pint is loaded
    started = time.thread_time()
    with pytest.raises((ToolRetry, ToolError)):
        convert(1, text, "km")
    assert time.thread_time() - started < 2


@settings(deadline=None, max_examples=60)
@example(0.0, "¼", "km")
@given(st.floats(), st.text(max_size=12), st.sampled_from(["km", "°C", "kg", "m/s", "byte"]))
def test_any_text_is_converted_or_refused_and_nothing_else(amount: float, unit: str, to: str) -> None:
    try:
        answer = convert(amount, unit, to)
    except (ToolRetry, ToolError):
        return
    assert " = " in answer or " ≈ " in answer


@settings(deadline=None, max_examples=60)
@given(st.integers(-(10**6), 10**6))
def test_there_and_back_gives_the_same_amount(amount: int) -> None:
    there = convert(amount, "km", "m").split()
    assert convert(float(there[3]), "m", "km").split()[3] == str(amount)


def test_the_callers_decimal_context_is_not_used() -> None:
    with decimal.localcontext(decimal.Context(prec=3)):
        assert convert(12345.678, "km", "m") == "12345.678 kilometers = 12345678 meters"


def test_without_pint_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    names.registry.cache_clear()
    monkeypatch.setitem(sys.modules, "pint", None)
    with pytest.raises(ToolError, match=r'pip install "agentkit-gemini\[tools\]"'):
        convert(1, "m", "km")


def test_pint_is_loaded_on_first_use_only() -> None:
    code = "import sys, agentkit_tools.units; assert 'pint' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_registry_declares_flat_parameters_with_descriptions() -> None:
    (declaration,) = units.function_declarations
    properties = declaration["parametersJsonSchema"]["properties"]
    assert list(properties) == ["amount", "unit", "to", "question"]
    assert all(schema["description"] for schema in properties.values())


QUESTIONS = [
    ("5 ft 11 in to cm", "5 feet 11 inches = 180.34 centimeters"),
    ("5 ft 11 in cm", "5 feet 11 inches = 180.34 centimeters"),
    ("6'2\" in meters", "6 feet 2 inches = 1.8796 meters"),
    ("I'm 5 foot 11, how tall is that in cm?", "5 feet 11 inches = 180.34 centimeters"),
    ("11 stone 6 in kg", "11 stones 6 pounds = 72.5747792 kilograms"),
    ("1m80 in feet and inches", "1 meter 80 centimeters ≈ 5 feet 10.8661 inches"),
    ("How many cups in a litre?", "1 liter ≈ 4.22675 cups"),
    ("How many seconds are in a day?", "1 day = 86400 seconds"),
    ("how many feet are there in a mile?", "1 mile = 5280 feet"),
    ("how many square feet in an acre", "1 acre = 43560 square feet"),
    ("how many furlongs in a mile", "1 mile = 8 furlongs"),
    ("how many years in a decade", "1 decade of years = 10 years"),
    ("how many ounces in a cup", "1 cup = 8 fluid ounces"),
    ("how many ounces does a pound have", "1 pound = 16 ounces"),
    ("how many Mb in a MB", "1 megabyte = 8 megabits"),
    ("100 MBps in Mbps", "100 megabytes per second = 800 megabits per second"),
    ("5 MW in kW", "5 megawatts = 5000 kilowatts"),
    ("HOW MANY FEET IN A MILE", "1 mile = 5280 feet"),
    ("how many degrees fahrenheit is 20 celsius?", "20 °C = 68 °F"),
    ("-40 degrees C in F", "-40 °C = -40 °F"),
    ("half a mile in meters", "0.5 miles = 804.672 meters"),
    ("an hour and a half in minutes", "1.5 hours = 90 minutes"),
    ("3 dozen inches in feet", "36 inches = 3 feet"),
    ("1000 seconds in minutes and seconds", "1000 seconds = 16 minutes 40 seconds"),
    ("in kilometers, what is 5 miles?", "5 miles = 8.04672 kilometers"),
    ("5 miles is how many km?", "5 miles = 8.04672 kilometers"),
    ("what does 5 miles equal in km", "5 miles = 8.04672 kilometers"),
    ("seconds in a day", "1 day = 86400 seconds"),
    ("5 m2 in ft2", "5 square meters ≈ 53.8196 square feet"),
    ("20 psi in bar", "20 psi ≈ 1.37895 bars"),
]
UNREAD = [
    "", "km to miles", "10 in cm", "5 km", "5 or 6 miles in km", "5-10 miles in km", "2 + 3 miles in km",
    "5 pm in am", "3 feet minus 2 inches in cm", "5 feet 3 feet in cm", "6'13 in cm", "-5 ft 2 in in cm",
    "5,5 kg to lb", "1:30 h in min", "how many cups in a table?", "how many feet does a dog have?",
    "how many c in f", "5 pounds in dollars", "nan kg in lb", "10% of 5 miles in km",
    "5 miles in km and 3 feet in cm", "12 hours to minutes to seconds", "What is", "1/0 mile in km",
    "how long is a marathon in miles?", "x" * 201, "how many how many in in a a", "10 in m in cm in km",
]  # fmt: skip
UNANSWERED = [
    ("how many days in a year?", "365 days or, in a leap year, 366"), ("how many hours in a month", "28 to 31 days"),
    ("how many kg in a ton", "several tons"), ("5 kg to miles", "one measures mass, the other length"),
    ("5 ft 11 kg to cm", "one measures length, the other mass"), ("2500 Calories in joules", "kilocalorie"),
    ("-300 c to f", "below absolute zero"),
]  # fmt: skip


@pytest.mark.parametrize(("question", "answer"), QUESTIONS)
def test_a_whole_question_is_read_as_people_ask_it(question: str, answer: str) -> None:
    assert convert(question=question) == answer


@pytest.mark.parametrize("question", UNREAD)
def test_a_question_that_is_not_wholly_understood_is_refused(question: str) -> None:
    with pytest.raises(ToolRetry):
        convert(question=question)


@pytest.mark.parametrize(("question", "reason"), UNANSWERED)
def test_a_question_without_one_answer_is_refused_with_the_reason(question: str, reason: str) -> None:
    with pytest.raises(ToolError, match=reason):
        convert(question=question)


def test_the_values_go_before_the_question() -> None:
    assert convert(1, "mile", "feet", "Wie viele Fuß hat eine Meile?") == "1 mile = 5280 feet"
