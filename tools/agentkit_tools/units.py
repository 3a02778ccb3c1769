"""Conversion between units of measure, on pint (`pip install "agentkit[tools]"`).

Give it to an agent as `tools=[units]`. An answer is one line: `10 miles = 16.09344 kilometers`.
"""

from __future__ import annotations

import difflib
import re
from decimal import Context, Decimal, localcontext
from functools import cache
from threading import Lock
from typing import Any

from agentkit.errors import ToolError, ToolRetry
from agentkit.tooling.registry import ToolRegistry

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
    "°": "degree", "pounds": "pound", "lb": "pound", "ft": "foot", "in": "inch", "inches": "inch",
    '"': "inch", "'": "foot",
}  # fmt: skip
BITS = {"Kb": "kilobit", "Mb": "megabit", "Gb": "gigabit", "Tb": "terabit"}
"""The only ones where a capital letter tells what the aliases would blur."""
PLURALS = {"foot": "feet", "inch": "inches", "hertz": "hertz", "degree": "degrees", "century": "centuries"}
PLAIN_NAMES = {"degree_Celsius": "°C", "degree_Fahrenheit": "°F", "kelvin": "kelvin"}

_SUPERSCRIPTS = str.maketrans({"²": "^2", "³": "^3", "⁻": "^-", "·": "*", "×": "*", "μ": "µ"})
_WORD = r"[^\W\d_]+(?:_[^\W\d_]+)*"
# Names with small powers, joined by spaces, products and quotients: nothing that pint would compute with.
_UNIT = re.compile(rf"{_WORD}(?:(?:\*\*|\^)-?\d)?(?:\s*[*/\s]\s*{_WORD}(?:(?:\*\*|\^)-?\d)?)*")
_lock = Lock()

units = ToolRegistry("units", effect="read")


@units.tool
def convert(amount: float, unit: str, to: str) -> str:
    """Convert a measure to another unit: length, distance, weight, temperature, volume, speed, area, time, data.

    Args:
        amount: The number to convert.
        unit: The unit that the number is in.
        to: The unit that is asked for.

    Raises:
        ToolRetry: A unit isn't known, or the amount is no number.
        ToolError: The units measure different things, or pint isn't installed.
    """
    number = Decimal(repr(float(amount)))
    if not number.is_finite():
        raise ToolRetry(f"The amount must be a number, not {amount}.")
    registry = _registry()
    # pint fills its caches while it parses and converts.
    with _lock, localcontext(Context(prec=40)):
        source, target = _parse(registry, unit), _parse(registry, to)
        if source.dimensionality != target.dimensionality:
            raise ToolError(
                f"Can't convert {_name(source)} to {_name(target)}: one measures {_measured(source)}, "
                f"the other {_measured(target)}."
            )
        result, exact = _digits(_magnitude(registry, number, source, target))
        given = _digits(number, full=True)[0]
        return (
            f"{given} {_name(source, plural=given != '1')} {'=' if exact else '≈'} "
            f"{result} {_name(target, plural=result != '1')}"
        )


def _magnitude(registry: Any, number: Decimal, source: Any, target: Any) -> Decimal:
    import pint

    try:
        quantity = registry.Quantity(number, source)
        if source.dimensionality == registry.kelvin.dimensionality and quantity.to("kelvin").magnitude < 0:
            raise ToolError(f"{_digits(number)[0]} {_name(source)} is below absolute zero.")
        converted = Decimal(quantity.to(target).magnitude)
        if not converted.is_finite():  # the logarithm of zero
            raise ToolError(f"{_digits(number)[0]} {_name(source)} is no number of {_name(target)}.")
        return converted
    except (pint.PintError, ArithmeticError, TypeError):  # a logarithmic unit, or °C within a product
        raise ToolError(f"Can't convert {_name(source)} to {_name(target)}.") from None


@cache
def _registry() -> Any:
    try:
        import pint
    except ImportError:
        raise ToolError('Units need the package pint: pip install "agentkit[tools]".') from None
    with localcontext(Context(prec=40)):
        return pint.UnitRegistry(non_int_type=Decimal)


def _parse(registry: Any, text: str) -> Any:
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


def _digits(number: Decimal, *, full: bool = False) -> tuple[str, bool]:
    """Return plain digits, and whether they are all of the number but for the noise of its last digits."""
    number = Context(prec=25).plus(number).normalize()
    short = Context(prec=max(6, number.adjusted() + 3)).plus(number).normalize()
    if full or len(number.as_tuple().digits) <= EXACT_DIGITS:
        short = number
    return f"{short:f}" if -10 < short.adjusted() < 21 else f"{short:e}", short == number


def _name(unit: Any, *, plural: bool = True) -> str:
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


def _measured(unit: Any) -> str:
    """Say what a unit measures, as dimensions: length / time."""
    return str(unit.dimensionality).replace("[", "").replace("]", "").replace(" ** ", "^")
