"""BFCL's MathAPI: arithmetic without a state."""

from __future__ import annotations

import decimal
import math
import statistics
from collections.abc import Callable
from typing import Any

from turngym.envs.tool_use.tools import RefusedError, State, ToolBox, tool

__all__ = [
    "MATHS",
    "absolute_value",
    "add",
    "divide",
    "imperial_si_conversion",
    "logarithm",
    "max_value",
    "mean",
    "min_value",
    "multiply",
    "percentage",
    "power",
    "round_number",
    "si_unit_conversion",
    "square_root",
    "standard_deviation",
    "subtract",
    "sum_values",
]

_SI = {"km": 1e3, "m": 1.0, "cm": 1e-2, "mm": 1e-3, "um": 1e-6, "nm": 1e-9}
_IMPERIAL = {
    ("cm", "in"): 1 / 2.54,
    ("m", "ft"): 1 / 0.3048,
    ("m", "yd"): 1 / 0.9144,
    ("km", "miles"): 1 / 1.609344,
    ("kg", "lb"): 1 / 0.45359237,
}


@tool()
def absolute_value(state: State, number: float) -> dict[str, float]:
    """The absolute value of a number."""
    return {"result": abs(number)}


@tool()
def add(state: State, a: float, b: float) -> dict[str, float]:
    """The sum of two numbers."""
    return {"result": a + b}


@tool()
def subtract(state: State, a: float, b: float) -> dict[str, float]:
    """The difference of two numbers."""
    return {"result": a - b}


@tool()
def multiply(state: State, a: float, b: float) -> dict[str, float]:
    """The product of two numbers."""
    return {"result": a * b}


@tool()
def divide(state: State, a: float, b: float) -> dict[str, float]:
    """The quotient of two numbers."""
    return {"result": _finite(lambda: a / b)}


@tool()
def power(state: State, base: float, exponent: float) -> dict[str, float]:
    """A number to a power."""
    return {"result": _finite(lambda: base**exponent)}


@tool()
def percentage(state: State, part: float, whole: float) -> dict[str, float]:
    """A part in percent of the whole."""
    return {"result": _finite(lambda: part / whole * 100)}


@tool()
def round_number(state: State, number: float, decimal_places: int = 0) -> dict[str, float]:
    """A number rounded to some decimal places."""
    return {"result": round(number, decimal_places)}


@tool()
def logarithm(state: State, value: float, base: float, precision: int) -> dict[str, float]:
    """The logarithm to a base, rounded to `precision` decimal places."""
    return {"result": round(_finite(lambda: math.log(value) / math.log(base)), precision)}


@tool()
def square_root(state: State, number: float, precision: int) -> dict[str, float]:
    """The square root, computed to `precision` digits."""
    if number < 0 or not 1 <= precision <= 100:
        raise RefusedError("needs a number from 0 and a precision from 1 to 100")
    context = decimal.Context(prec=precision)
    return {"result": float(context.sqrt(decimal.Decimal(str(number))))}


@tool()
def mean(state: State, numbers: list[float]) -> dict[str, float]:
    """The mean of some numbers."""
    return {"result": sum(_some(numbers)) / len(numbers)}


@tool()
def standard_deviation(state: State, numbers: list[float]) -> dict[str, float]:
    """The standard deviation of a whole population."""
    return {"result": statistics.pstdev(_some(numbers))}


@tool()
def sum_values(state: State, numbers: list[float]) -> dict[str, float]:
    """The sum of some numbers."""
    return {"result": sum(_some(numbers))}


@tool()
def max_value(state: State, numbers: list[float]) -> dict[str, float]:
    """The largest of some numbers."""
    return {"result": max(_some(numbers))}


@tool()
def min_value(state: State, numbers: list[float]) -> dict[str, float]:
    """The smallest of some numbers."""
    return {"result": min(_some(numbers))}


@tool()
def si_unit_conversion(state: State, value: float, unit_in: str, unit_out: str) -> dict[str, float]:
    """A length in another SI unit."""
    if unit_in not in _SI or unit_out not in _SI:
        raise RefusedError(f"units are {', '.join(_SI)}")
    return {"result": value * _SI[unit_in] / _SI[unit_out]}


@tool()
def imperial_si_conversion(
    state: State, value: float, unit_in: str, unit_out: str
) -> dict[str, float]:
    """A length or weight in the other system."""
    if (unit_in, unit_out) in _IMPERIAL:
        return {"result": value * _IMPERIAL[unit_in, unit_out]}
    if (unit_out, unit_in) in _IMPERIAL:
        return {"result": value / _IMPERIAL[unit_out, unit_in]}
    raise RefusedError(f"no conversion from {unit_in[:40]!r} to {unit_out[:40]!r}")


def _some(numbers: list[float]) -> list[float]:
    if not numbers:
        raise RefusedError("needs at least one number")
    return numbers


def _finite(work: Callable[[], Any]) -> float:
    try:
        value = work()
    except (ArithmeticError, ValueError) as error:
        raise RefusedError(str(error)) from error
    if isinstance(value, complex) or not math.isfinite(value):
        raise RefusedError("the result is no finite number")
    return float(value)


MATHS = ToolBox(
    (
        absolute_value, add, subtract, multiply, divide, power, percentage, round_number, logarithm,
        square_root, mean, standard_deviation, sum_values, max_value, min_value, si_unit_conversion,
        imperial_si_conversion,
    )
)  # fmt: skip
