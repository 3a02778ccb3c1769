"""Units by the names that people give them, on pint; and numbers and units in words."""

from __future__ import annotations

import difflib
import re
from decimal import Context, Decimal, localcontext
from functools import cache
from typing import Any

from agentkit.errors import ToolError, ToolRetry, how_to_install

MAX_LENGTH = 60
EXACT_DIGITS = 10
"""Significant digits up to which a result is given in full; beyond, it is rounded to 6."""

# What people write, in lower case, and pint reads otherwise or not at all.
ALIASES = {
    "c": "degC", "f": "degF", "k": "kelvin", "celsius": "degC", "centigrade": "degC", "fahrenheit": "degF",
    "fahrenheits": "degF", "kelvins": "kelvin", "degc": "degC", "degf": "degF", "degk": "kelvin",
    "lbs": "pound", "l": "liter", "ml": "milliliter", "cl": "centiliter", "dl": "deciliter", "kg": "kilogram",
    "kgs": "kilogram", "kilo": "kilogram", "kilos": "kilogram", "kms": "kilometer", "km": "kilometer",
    "cm": "centimeter", "cms": "centimeter", "mm": "millimeter", "kmh": "kilometer/hour",
    "kmph": "kilometer/hour", "kph": "kilometer/hour", "mph": "mile/hour", "fps": "foot/second",
    "mps": "meter/second", "mpg": "mile/gallon", "fl oz": "fluid_ounce", "floz": "fluid_ounce",
    "tbsps": "tablespoon", "tsps": "teaspoon", "gal": "gallon", "gals": "gallon", "qt": "quart", "pt": "pint",
    "oz": "ounce", "ozs": "ounce", "yds": "yard", "mins": "minute", "hrs": "hour", "hr": "hour", "h": "hour",
    "secs": "second", "sec": "second", "yrs": "year", "yr": "year", "wk": "week", "wks": "week",
    "kb": "kilobyte", "mb": "megabyte", "gb": "gigabyte", "tb": "terabyte", "kbps": "kilobit/second",
    "mbps": "megabit/second", "gbps": "gigabit/second", "kwh": "kilowatt_hour", "kw": "kilowatt",
    "kcal": "kilocalorie", "btu": "british_thermal_unit", "knots": "knot", "uk gallon": "imperial_gallon",
    "uk gallons": "imperial_gallon", "us gallon": "gallon", "us gallons": "gallon", "uk pint": "imperial_pint",
    "uk pints": "imperial_pint", "us cup": "cup", "us cups": "cup", "tonnes": "metric_ton",
    "sqm": "meter**2", "sqft": "foot**2", "sqkm": "kilometer**2", "degrees": "degree", "deg": "degree",
    "°": "degree", "°c": "degC", "°f": "degF", "day": "day", "decade": "decade_of_years",
    "decades": "decade_of_years", "st": "stone", "pounds": "pound", "lb": "pound", "ft": "foot", "in": "inch",
    "inches": "inch", '"': "inch", "'": "foot",
}  # fmt: skip
BITS = {
    "Kb": "kilobit", "Mb": "megabit", "Gb": "gigabit", "Tb": "terabit", "kBps": "kilobyte/second",
    "KBps": "kilobyte/second", "MBps": "megabyte/second", "GBps": "gigabyte/second",
}  # fmt: skip
"""The only ones where a capital letter tells what the aliases would blur."""
SYMBOLS = frozenset(
    re.findall(
        r"\S+",
        "m g s W J N V A B kB Hz kHz MHz GHz Pa hPa kPa MPa kW MW GW mW kJ MJ kWh MWh GWh Wh mg ug µg nm um µm "
        "ms ns min mi ft yd bar psi atm day cup cal ha sq cu fl us US uk UK rad bit KiB MiB GiB TiB st per rod "
        "PB mAh Ah eV keV MeV dB rpm mol gon hp ton",
    )
)
"""Short words that are units in a question."""
CALENDAR = {
    "month": "A month has 28 to 31 days",
    "year": "A year has 365 days or, in a leap year, 366",
    **dict.fromkeys(
        ("decade_of_years", "century", "millennium"), "The years of it have 365 days or, in a leap year, 366"
    ),
}
"""Units of time of which the days differ, and how."""
PLURALS = {
    "foot": "feet",
    "inch": "inches",
    "hertz": "hertz",
    "degree": "degrees",
    "century": "centuries",
    "decade_of_years": "decades",
}
PLAIN_NAMES = {
    "degree_Celsius": "°C",
    "degree_Fahrenheit": "°F",
    "kelvin": "kelvin",
    "pound_force_per_square_inch": "psi",
}

INTERNATIONAL = (
    "fathom = 2 * yard", "rod = 5.5 * yard = rd = pole = perch", "chain = 22 * yard = ch",
    "decade_of_years = 10 * year", "furlong = 220 * yard = fur", "league = 3 * mile", "acre = 4840 * yard ** 2",
)  # fmt: skip
"""Units that pint bases on the US survey foot, which was given up in 2022 (a mile had 7.999984 furlongs), and one
that it takes for a logarithmic one."""

_SUPERSCRIPTS = str.maketrans({"²": "^2", "³": "^3", "⁻": "^-", "·": "*", "×": "*", "μ": "µ"})
_WORD = r"[^\W\d_]+(?:_[^\W\d_]+)*"
# Names with small powers, joined by spaces, products and quotients: nothing that pint would compute with.
_UNIT = re.compile(rf"{_WORD}(?:(?:\*\*|\^)-?\d)?(?:\s*[*/\s]\s*{_WORD}(?:(?:\*\*|\^)-?\d)?)*")


@cache
def registry() -> Any:
    """Return pint's units, with what it lacks.

    Raises:
        ToolError: pint isn't installed.
    """
    try:
        import pint
    except ImportError:
        raise ToolError(f"Units need the package pint: {how_to_install('tools')}.") from None
    with localcontext(Context(prec=40)):
        units: Any = pint.UnitRegistry(non_int_type=Decimal, on_redefinition="ignore")
        for definition in INTERNATIONAL:
            units.define(definition)
        return units


def parse(registry: Any, text: str) -> Any:
    """Read a unit in the user's words.

    Raises:
        ToolRetry: It isn't known.
    """
    if len(text) > MAX_LENGTH:
        raise ToolRetry(f"A unit has at most {MAX_LENGTH} characters; name one unit.")
    for spelling in _spellings(text):
        if not _UNIT.fullmatch(spelling):
            continue
        try:
            return registry.parse_units(spelling)
        except Exception:  # noqa: S112 - pint's tokenizer raises anything at all, an AssertionError for "¼"
            continue
    raise ToolRetry(f'I don\'t know the unit "{text}".{_closest(registry, text)}')


def _spellings(text: str) -> list[str]:
    """Return what the text may be for pint, the likeliest first."""
    text = " ".join(text.translate(_SUPERSCRIPTS).split()).strip(". ")
    text = re.sub(r"^(?:(?:degrees?|deg\.?)[ _]|° ?)(?=[a-zA-Z])", "", text, flags=re.IGNORECASE)
    text = re.sub(r"\bsq\b\.? ?", "square ", text, flags=re.IGNORECASE)
    text = re.sub(r"\bcu\.? (?=[a-zA-Z])", "cubic ", text, flags=re.IGNORECASE)
    text = re.sub(r"\b(square|cubic) ([a-zA-Z]+)", _power, text, flags=re.IGNORECASE)
    text = re.sub(r" per | ?/ ?", "/", text, flags=re.IGNORECASE)
    aliased = "/".join(_alias(piece) for piece in text.split("/"))
    joined = text.replace(" ", "_")
    return [aliased, joined, joined.lower(), text, text.lower()]


def _power(match: re.Match[str]) -> str:
    return f"{_alias(match[2])}**{2 if match[1].lower() == 'square' else 3}"


def _alias(piece: str) -> str:
    """Return pint's name for one unit, its power kept."""
    name, mark, power = re.fullmatch(r"(.*?)((?:\*\*|\^)?)(-?\d?)", piece, flags=re.DOTALL).groups()  # type: ignore[union-attr]
    return (BITS.get(name) or ALIASES.get(name.lower(), name)) + mark + power


def _closest(registry: Any, text: str) -> str:
    names = [name for name in registry if len(name) > 2]
    close = difflib.get_close_matches(text.lower().replace(" ", "_"), [*names, *ALIASES], n=3, cutoff=0.7)
    return f" Did you mean {' or '.join(close)}?" if close else " Name it in English, like mile or kilogram."


def digits(number: Decimal, *, full: bool = False) -> tuple[str, bool]:
    """Return plain digits, and whether they are all of the number but for the noise of its last digits."""
    number = Context(prec=25).plus(number).normalize()
    short = Context(prec=max(6, number.adjusted() + 3)).plus(number).normalize()
    if full or len(number.as_tuple().digits) <= EXACT_DIGITS:
        short = number
    return f"{short:f}" if -10 < short.adjusted() < 21 else f"{short:e}", short == number


def name(unit: Any, *, plural: bool = True) -> str:
    """Say a unit in words: kilometers per hour, square meters, °C."""
    above = [(name, power) for name, power in unit._units.items() if power > 0]
    below = [(name, -power) for name, power in unit._units.items() if power < 0]
    words = [
        _word(name, power, plural=plural and i == len(above) - 1) for i, (name, power) in enumerate(above)
    ]
    for name, power in below:
        words += ["per", _word(name, power, plural=False)]
    return " ".join(words) or "units without a dimension"


def _word(name: str, power: Any, *, plural: bool) -> str:
    word = PLAIN_NAMES.get(name) or (PLURALS.get(name, f"{name}s") if plural else name).replace("_", " ")
    prefix = {1: "", 2: "square ", 3: "cubic "}.get(int(power))
    return f"{word}^{power}" if prefix is None else prefix + word


def measured(unit: Any) -> str:
    """Say what a unit measures, as dimensions: length / time."""
    return str(unit.dimensionality).replace("[", "").replace("]", "").replace(" ** ", "^")
