"""The functions of the calculator: roots, logarithms, trigonometry, whole numbers, lists."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

from agentkit.errors import ToolError
from agentkit_tools._calculator.arithmetic import (
    DIGITS,
    MAX_BITS,
    MAX_EXPONENT,
    Value,
    absolute,
    add,
    decimal,
    divide,
    floor,
    modulo,
    multiply,
    power,
    rounding,
    settle,
    show,
    too_big,
    whole,
)

MAX_FACTORIAL = 1_400
PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803482534")
NOISE = Decimal(10) ** -(DIGITS + 12)
"""Where a series may end."""


def _ceil(x: Value) -> Value:
    return -floor(-x)


def _round(x: Value, places: Value = Fraction(0)) -> Value:
    """Round to decimal places, halves away from zero, as people are taught."""
    n = whole(places, "number of decimal places")
    if abs(n) > MAX_EXPONENT:
        raise too_big()
    scale = Fraction(10) ** n
    nearest = floor(add(multiply(absolute(x), scale), Fraction(1, 2)))
    return multiply(nearest if x >= 0 else -nearest, 1 / scale)


def _significant(x: Value, digits: Value) -> Value:
    """Round to significant digits, halves away from zero."""
    n = whole(digits, "number of significant digits")
    if not 1 <= n <= DIGITS:
        raise ToolError(f"The number of significant digits is one from 1 to {DIGITS}.")
    return _round(x, Fraction(n - 1 - decimal(x).adjusted())) if x else x


def root(x: Value, n: Value = Fraction(2)) -> Value:
    """Return the real nth root."""
    degree = whole(n, "degree of a root")
    if degree < 1:
        raise ToolError("The degree of a root is a whole number from 1 up.")
    if x < 0 and degree % 2 == 0:
        raise ToolError(f"An even root of a negative number, {show(x)[0]}, is not a real number.")
    result = power(absolute(x), Fraction(1, degree)) if degree != 2 else settle(decimal(absolute(x)).sqrt())
    return result if x >= 0 else -result


def _log(x: Value, base: Value | None = None) -> Value:
    """Return the natural logarithm, or the one to a base."""
    if x <= 0:
        raise ToolError("Only a number above zero has a logarithm.")
    if base is None:
        return settle(decimal(x).ln(), absolute=True)
    if base <= 0 or base == 1:
        raise ToolError("The base of a logarithm is a number above zero and not 1.")
    return settle(decimal(x).ln() / decimal(base).ln(), absolute=True)


def _exp(x: Value) -> Value:
    if absolute(x) > MAX_EXPONENT * 2:
        raise too_big()
    return settle(decimal(x).exp())


def _sine(x: Decimal) -> Decimal:
    """Sum the Taylor series; x is within a turn or so."""
    term = total = x
    n = 1
    while abs(term) > NOISE:
        term *= -x * x / ((n + 1) * (n + 2))
        total += term
        n += 2
    return total


def _arctangent(x: Decimal) -> Decimal:
    """Halve the angle until the series converges fast."""
    for _ in range(4):
        x = x / (1 + (1 + x * x).sqrt())
    term, total, n = x, x, 1
    while abs(term) > NOISE:
        term *= -x * x
        n += 2
        total += term / n
    return total * 16


def _trigonometric(name: str, *, degrees: bool) -> Callable[[Value], Value]:
    def function(x: Value) -> Value:
        if absolute(x) > 10**15:
            raise ToolError(f"The angle of {name} is too large to work out precisely.")
        with rounding(DIGITS + 20):
            # A turn is taken off before the angle is rounded.
            angle = decimal(x % 360) * PI / 180 if degrees else decimal(x) % (2 * PI)
            sine, cosine = _sine(angle), _sine(angle + PI / 2)
        sine_, cosine_ = settle(sine, absolute=True), settle(cosine, absolute=True)
        if name != "tan":
            return _round_off(sine_ if name == "sin" else cosine_)
        if not cosine_:
            raise ToolError("The tangent of this angle is not defined.")
        return settle(decimal(sine) / decimal(cosine), absolute=True)

    return function


def _inverse(name: str, *, degrees: bool) -> Callable[[Value], Value]:
    def function(x: Value) -> Value:
        if name != "atan" and absolute(x) > 1:
            raise ToolError(f"The {name} takes numbers from -1 to 1.")
        with rounding(DIGITS + 20):
            y = decimal(x)
            angle = _arctangent(y) if name == "atan" else 2 * _arctangent(y / (1 + (1 - y * y).sqrt()))
            if name == "acos":
                angle = PI / 2 - angle
            if degrees:
                angle = angle * 180 / PI
        return settle(+angle, absolute=True)

    return function


def _round_off(x: Value) -> Value:
    return x if isinstance(x, Fraction) else +x


def _factorial(x: Value) -> Value:
    n = whole(x, "factorial")
    if n < 0:
        raise ToolError("A negative number has no factorial.")
    if n > MAX_FACTORIAL:
        raise ToolError(f"The factorial is too large; the limit is {MAX_FACTORIAL}!.")
    return Fraction(math.factorial(n))


def _choosing(name: str, function: Callable[[int, int], int]) -> Callable[[Value, Value], Value]:
    def choose(n: Value, k: Value) -> Value:
        all_, some = whole(n, name), whole(k, name)
        if min(all_, some) < 0 or all_ > MAX_FACTORIAL:
            raise ToolError(f"The {name} takes whole numbers from 0 to {MAX_FACTORIAL}.")
        return Fraction(function(all_, some))

    return choose


def _lcm(*xs: Value) -> Value:
    result = 1
    for x in xs:
        result = math.lcm(result, whole(x, "least common multiple"))
        if result.bit_length() > MAX_BITS:
            raise too_big()
    return Fraction(result)


def _gcd(*xs: Value) -> Value:
    return Fraction(math.gcd(*(whole(x, "greatest common divisor") for x in xs)))


def _fold(function: Callable[[Value, Value], Value], start: int) -> Callable[..., Value]:
    def folded(*xs: Value) -> Value:
        result: Value = Fraction(start)
        for x in xs:
            result = function(result, x)
        return result

    return folded


_sum = _fold(add, 0)


def _mean(*xs: Value) -> Value:
    return divide(_sum(*xs), Fraction(len(xs)))


def _median(*xs: Value) -> Value:
    middle = sorted(xs)[(len(xs) - 1) // 2 : len(xs) // 2 + 1]
    return _mean(*middle)


def _hypot(*xs: Value) -> Value:
    return root(_sum(*(multiply(x, x) for x in xs)))


def _range(first: Value, step: Value, last: Value) -> range:
    start, end = whole(first, "start of a range"), whole(last, "end of a range")
    return range(start, end + 1, whole(step, "step of a range"))


def _sum_of_range(*ends: Value) -> Value:
    numbers = _range(*ends)
    return Fraction((numbers[0] + numbers[-1]) * len(numbers), 2)


def _product_of_range(*ends: Value) -> Value:
    numbers = _range(*ends)
    if 0 in numbers:
        return Fraction(0)
    if len(numbers) > MAX_FACTORIAL:
        raise too_big()
    result: Value = Fraction(1)
    for n in numbers:
        result = multiply(result, Fraction(n))
    return result


def _mean_of_range(*ends: Value) -> Value:
    numbers = _range(*ends)
    return Fraction(numbers[0] + numbers[-1], 2)


_MANY = 1_000
FUNCTIONS: dict[str, tuple[int, int, Callable[..., Value]]] = {
    # name: (fewest arguments, most arguments, function)
    "sqrt": (1, 1, root),
    "cbrt": (1, 1, lambda x: root(x, Fraction(3))),
    "root": (2, 2, root),
    "abs": (1, 1, absolute),
    "floor": (1, 1, floor),
    "ceil": (1, 1, _ceil),
    "round": (1, 2, _round),
    "exp": (1, 1, _exp),
    "ln": (1, 1, _log),
    "log10": (1, 1, lambda x: _log(x, Fraction(10))),
    "log2": (1, 1, lambda x: _log(x, Fraction(2))),
    "logbase": (2, 2, _log),
    "factorial": (1, 1, _factorial),
    "comb": (2, 2, _choosing("number of combinations", math.comb)),
    "perm": (2, 2, _choosing("number of permutations", math.perm)),
    "gcd": (2, _MANY, _gcd),
    "lcm": (2, _MANY, _lcm),
    "pow": (2, 2, power),
    "mod": (2, 2, modulo),
    "hypot": (2, _MANY, _hypot),
    "sum": (2, _MANY, _sum),
    "product": (2, _MANY, _fold(multiply, 1)),
    "mean": (2, _MANY, _mean),
    "median": (2, _MANY, _median),
    "min": (2, _MANY, min),
    "max": (2, _MANY, max),
    "significant": (2, 2, _significant),
    "sum of range": (3, 3, _sum_of_range),
    "product of range": (3, 3, _product_of_range),
    "mean of range": (3, 3, _mean_of_range),
    "difference": (2, 2, lambda a, b: absolute(add(a, -b))),
}
for _name in ("sin", "cos", "tan"):
    for _suffix, _degrees in (("", False), ("°", True)):
        FUNCTIONS[_name + _suffix] = (1, 1, _trigonometric(_name, degrees=_degrees))
        FUNCTIONS["a" + _name + _suffix] = (1, 1, _inverse("a" + _name, degrees=_degrees))
