"""Conversion between units of measure, on pint (`pip install "agentkit-gemini[tools]"`).

Give it to an agent as `tools=[units]`. An answer is one line: `10 miles = 16.09344 kilometers`.
"""

from __future__ import annotations

import itertools
import re
from decimal import Context, Decimal, localcontext
from threading import Lock
from typing import Any

from agentkit.errors import ToolError, ToolRetry
from agentkit.tooling.registry import ToolRegistry
from agentkit_tools._units import names
from agentkit_tools._units.names import ALIASES, BITS, CALENDAR, SYMBOLS
from agentkit_tools._units.questions import MAX_LENGTH as MAX_QUESTION
from agentkit_tools._units.questions import Asked, readings

_lock = Lock()

units = ToolRegistry("units", effect="read")


@units.tool(effect="read")
def convert(
    amount: float | None = None, unit: str | None = None, to: str | None = None, question: str = ""
) -> str:
    """Convert a measure to another unit: length, distance, weight, temperature, volume, speed, area, time, data.

    Args:
        amount: The number to convert.
        unit: The unit that the number is in.
        to: The unit that is asked for.
        question: The user's whole question, word for word, instead of the other values: how many feet, inches, cm,
            meters, miles, km, pounds, kg, ounces, grams, cups, tablespoons, pints, liters, gallons, seconds,
            minutes, hours, days, weeks, bytes, MB, GB, degrees celsius, fahrenheit, mph.

    Raises:
        ToolRetry: A unit isn't known, the amount isn't a number, or the question isn't fully understood.
        ToolError: The units measure different things, or pint isn't installed.
    """
    registry = names.registry()
    # pint fills its caches while it parses and converts.
    with _lock, localcontext(Context(prec=40)):
        if amount is None or not unit or not to:
            if question:
                return _answer(registry, question)
            raise ToolRetry("Say how much of which unit to convert, and to which other unit.")
        number = Decimal(repr(float(amount)))
        if not number.is_finite():
            raise ToolRetry(f"The amount must be a number, not {amount}.")
        return _converted(registry, number, names.parse(registry, unit), names.parse(registry, to))


def _converted(registry: Any, number: Decimal, source: Any, target: Any) -> str:
    _check_alike(source, target)
    result, exact = names.digits(_magnitude(registry, number, source, target))
    return f"{_measure(number, source)} {'=' if exact else '≈'} {result} {names.name(target, plural=result != '1')}"


def _measure(number: Decimal, unit: Any) -> str:
    digits = names.digits(number, full=True)[0]
    return f"{digits} {names.name(unit, plural=digits != '1')}"


def _check_alike(source: Any, target: Any) -> None:
    if source.dimensionality != target.dimensionality:
        raise ToolError(
            f"Can't convert {names.name(source)} to {names.name(target)}: one measures {names.measured(source)}, "
            f"the other {names.measured(target)}."
        )


def _answer(registry: Any, question: str) -> str:
    """Answer a question of which every word is understood in one way.

    Raises:
        ToolRetry: There is no such way, or more than one.
        ToolError: What it asks for can't be converted.
    """
    if len(question) > MAX_QUESTION:
        raise ToolRetry(f"The question is too long: at most {MAX_QUESTION} characters.")
    answers: dict[str, None] = {}
    refusal: ToolError | None = None
    for asked in readings(question):
        try:
            answers[_answer_to(registry, asked)] = None
        except ToolRetry:
            continue
        except ToolError as error:
            refusal = refusal or error
    if len(answers) > 1:
        raise ToolRetry(f"That can mean two things: {' or '.join(list(answers)[:2])}.")
    if answers:
        return next(iter(answers))
    raise refusal or ToolRetry("I can't read that as a conversion of units. Say it like: 10 miles in km.")


def _answer_to(registry: Any, asked: Asked) -> str:
    sources = [_said(registry, unit) for _, unit in asked.measures]
    targets = [_said(registry, unit) for unit in asked.targets]
    sources, targets = _as_fluid(registry, sources, targets), _as_fluid(registry, targets, sources)
    for unit in (*sources[1:], *targets):
        _check_alike(sources[0], unit)
        _check_calendar(sources[0], unit)
    amounts = [amount for amount, _ in asked.measures]
    if len(sources) == len(targets) == 1:
        return _converted(registry, amounts[0], sources[0], targets[0])
    total = _total(registry, amounts, sources)
    given = " ".join(map(_measure, amounts, sources))
    values = _in_several(registry, total, sources[0], targets)
    exact = all(names.digits(value)[1] for value in values)
    parts = [
        f"{names.digits(v)[0]} {names.name(u, plural=names.digits(v)[0] != '1')}"
        for v, u in zip(values, targets, strict=True)
    ]
    return f"{given} {'=' if exact else '≈'} {' '.join(parts)}"


def _said(registry: Any, unit: str) -> Any:
    """Parse a unit of a question; a short word is one only where people write it for a unit.

    Raises:
        ToolRetry: It isn't one, or more than one.
    """
    if re.fullmatch("tons?", unit, re.IGNORECASE):
        raise ToolError("There are several tons: say metric ton, short ton or long ton.")
    if unit.startswith("Calorie"):
        raise ToolError(
            "A Calorie of food is a kilocalorie: say kilocalories, or calories for the small ones."
        )
    for word in re.findall(r"[^\W\d_]+", unit):
        if len(word) < 4 and word.lower() not in ALIASES and word not in BITS and word not in SYMBOLS:
            raise ToolRetry(f'I don\'t know the unit "{unit}".')
    return names.parse(registry, unit)


def _as_fluid(registry: Any, units: list[Any], others: list[Any]) -> list[Any]:
    """Take ounces for fluid ounces where the other side is a volume."""
    if all(unit.dimensionality == registry.liter.dimensionality for unit in others):
        return [registry.fluid_ounce if unit == registry.ounce else unit for unit in units]
    return units


def _check_calendar(source: Any, target: Any) -> None:
    """Refuse to count days of a year or month: they differ."""
    for one, other in ((str(source), str(target)), (str(target), str(source))):
        if one in CALENDAR and other not in CALENDAR and "[time]" in source.dimensionality:
            raise ToolError(f"{CALENDAR[one]}, so that has no single answer.")


def _total(registry: Any, amounts: list[Decimal], sources: list[Any]) -> Decimal:
    """Add measures up, in the unit of the first, which is the largest.

    Raises:
        ToolRetry: They don't belong together: 5 inches 3 feet, 20 °C 3 °C.
    """
    sizes = [_magnitude(registry, Decimal(1), unit, sources[0]) for unit in sources]
    if any(a <= b for a, b in itertools.pairwise(sizes)) or (len(sizes) > 1 and _is_offset(sources[0])):
        raise ToolRetry("The measures must go from the largest unit to the smallest.")
    return sum((amount * size for amount, size in zip(amounts, sizes, strict=True)), Decimal(0))


def _is_offset(unit: Any) -> bool:
    return any(name in ("degree_Celsius", "degree_Fahrenheit") for name in unit._units)


def _in_several(registry: Any, total: Decimal, source: Any, targets: list[Any]) -> list[Decimal]:
    """Give a measure in several units: as many whole ones of each as there are, the rest in the last."""
    if len(targets) == 1:
        return [_magnitude(registry, total, source, targets[0])]
    if _is_offset(source) or total < 0:
        raise ToolRetry("That can't be given in several units.")
    values = []
    rest = Context(prec=30).plus(
        _magnitude(registry, total, source, targets[-1])
    )  # without noise of the last digits
    for unit in targets[:-1]:
        size = _magnitude(registry, Decimal(1), unit, targets[-1])
        if size <= 1:
            raise ToolRetry("The units must go from the largest to the smallest.")
        whole = rest // size
        values.append(whole)
        rest -= whole * size
    return [*values, rest]


def _magnitude(registry: Any, number: Decimal, source: Any, target: Any) -> Decimal:
    import pint

    try:
        quantity = registry.Quantity(number, source)
        if source.dimensionality == registry.kelvin.dimensionality and quantity.to("kelvin").magnitude < 0:
            raise ToolError(f"{names.digits(number)[0]} {names.name(source)} is below absolute zero.")
        converted = Decimal(quantity.to(target).magnitude)
        if not converted.is_finite():  # the logarithm of zero
            raise ToolError(
                f"{names.digits(number)[0]} {names.name(source)} can't be given in {names.name(target)}."
            )
        return converted
    except (pint.PintError, ArithmeticError, TypeError):  # a logarithmic unit, or °C within a product
        raise ToolError(f"Can't convert {names.name(source)} to {names.name(target)}.") from None
