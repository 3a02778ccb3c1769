"""Bounded arithmetic on numbers that say whether they are exact.

A `Fraction` is exact. A `Decimal` was rounded to 60 digits: an irrational number, or one whose exact form
would be too long to hold. So the type of a result tells whether to print `=` or `≈`.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from decimal import Context, Decimal, DivisionByZero, InvalidOperation, Overflow, Underflow, localcontext
from fractions import Fraction

from agentkit.errors import ToolError

Value = Fraction | Decimal

DIGITS = 60
MAX_EXPONENT = 4000
"""Numbers reach from 1e-4000 to 1e4000; also below the 4,300 digits that Python converts to text."""
MAX_BITS = 13_200
"""The size up to which a number stays exact: a little under 4,000 digits."""
SHOWN = 12
"""Significant digits that a rounded number is shown with, at least."""
MAX_WRITTEN = 100
"""Digits of a whole number that are written out; of a longer one, the first and its power of ten."""
MAX_PLACES = 20
"""Decimal places up to which an exact number is shown in full."""


def rounding(digits: int = DIGITS) -> AbstractContextManager[Context]:
    """Round Decimals to so many digits, in this thread and block only; out of range is an error."""
    traps = [DivisionByZero, InvalidOperation, Overflow, Underflow]
    return localcontext(Context(prec=digits, Emax=MAX_EXPONENT, Emin=-MAX_EXPONENT, traps=traps))


def literal(text: str) -> Fraction:
    """Read digits with an optional point and exponent, exactly."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise too_big() from None  # an exponent of more digits than Decimal takes
    if number and abs(number.adjusted()) > MAX_EXPONENT:
        raise too_big()
    return Fraction(number) if number else Fraction(0)


def too_big() -> ToolError:
    """Return the error for what is out of range."""
    return ToolError(f"The numbers get too large or too small: beyond {MAX_EXPONENT} digits.")


def decimal(x: Value) -> Decimal:
    """Round to the current precision."""
    return +x if isinstance(x, Decimal) else Decimal(x.numerator) / Decimal(x.denominator)


def _bits(x: Fraction) -> int:
    return x.numerator.bit_length() + x.denominator.bit_length()


def whole(x: Value, what: str) -> int:
    """Return x as an int, or say that `what` needs one."""
    if isinstance(x, Decimal) or x.denominator != 1:
        raise ToolError(f"The {what} needs whole numbers.")
    return x.numerator


def settle(x: Decimal, *, absolute: bool = False) -> Value:
    """Take a result that is a short decimal but for rounding noise as exactly that: sin 30°, log 1000.

    `absolute` is for results around 1, whose noise around zero is zero.
    """
    if absolute and abs(x) < Decimal(10) ** (12 - DIGITS):
        return Fraction(0)
    short = Context(prec=DIGITS - 8, Emax=MAX_EXPONENT, Emin=-MAX_EXPONENT).plus(x).normalize()
    return Fraction(short) if len(short.as_tuple().digits) <= DIGITS - 20 else x


def absolute(x: Value) -> Value:
    """Return x without its sign."""
    return -x if x < 0 else x


def add(a: Value, b: Value) -> Value:
    """Return a + b."""
    if isinstance(a, Fraction) and isinstance(b, Fraction) and _bits(a) + _bits(b) <= MAX_BITS:
        return a + b
    x, y = decimal(a), decimal(b)
    total = x + y
    # What remains where two rounded numbers cancel out is noise, not a number.
    return Fraction(0) if abs(total) < max(abs(x), abs(y)) * Decimal(10) ** (12 - DIGITS) else total


def multiply(a: Value, b: Value) -> Value:
    """Return a * b."""
    if isinstance(a, Fraction) and isinstance(b, Fraction) and _bits(a) + _bits(b) <= MAX_BITS:
        return a * b
    return decimal(a) * decimal(b)


def divide(a: Value, b: Value) -> Value:
    """Return a / b."""
    if not b:
        raise ToolError("Division by zero is not possible.")
    return multiply(a, 1 / b)


def floor(x: Value) -> Value:
    """Return the largest whole number that isn't above x."""
    if isinstance(x, Decimal) and x.adjusted() >= DIGITS - 12:
        return x  # its last whole digits are not known
    return Fraction(math.floor(x))


def floor_divide(a: Value, b: Value) -> Value:
    """Return a / b, rounded down."""
    return floor(divide(a, b))


def modulo(a: Value, b: Value) -> Value:
    """Return the remainder of a / b, with the sign of b."""
    return add(a, multiply(-b, floor_divide(a, b)))


def power(a: Value, b: Value) -> Value:
    """Return a to the power of b. 0^0 is 1, as in Python."""
    if not a:
        if b < 0:
            raise ToolError("Zero to a negative power is a division by zero, which is not possible.")
        return Fraction(int(not b))
    if isinstance(b, Fraction) and b.denominator == 1:
        if isinstance(a, Fraction) and (abs(a) == 1 or _bits(a) * abs(b) <= MAX_BITS):
            return a**b.numerator
    elif a < 0:
        raise ToolError("A negative number to a power that isn't whole is not a real number.")
    base, exponent = decimal(a), decimal(b)
    if abs(base.copy_abs().log10() * exponent) > MAX_EXPONENT:
        raise too_big()
    return settle(base**exponent)


# Text


def show(x: Value) -> tuple[str, bool]:
    """Return plain digits for x, and whether they are all of it.

    At least 12 significant digits; halves to even. Numbers far from 1 that aren't exact get an exponent.
    """
    if isinstance(x, Fraction):
        places = _decimal_places(x.denominator)
        if places is not None and abs(x) < 10**MAX_WRITTEN:
            scaled = x.numerator * 10**places // x.denominator
            return _point(scaled, places), True
    with rounding():
        number = decimal(x)
        size = number.adjusted()
        if not -SHOWN <= size <= DIGITS - 20:
            short = Context(prec=SHOWN).plus(number).normalize()
            return f"{short:e}", isinstance(x, Fraction) and Fraction(short) == x
        places = max(SHOWN - 1 - size, 2)
        text = f"{number:.{places}f}".rstrip("0").rstrip(".")
    return text, False


def _decimal_places(denominator: int) -> int | None:
    """Return after how many places a fraction with this denominator ends, or None if that is never or far."""
    return next((n for n in range(MAX_PLACES + 1) if 10**n % denominator == 0), None)


def _point(scaled: int, places: int) -> str:
    digits = str(abs(scaled)).rjust(places + 1, "0")
    point = len(digits) - places
    return ("-" if scaled < 0 else "") + digits[:point] + (f".{digits[point:]}" if places else "")
