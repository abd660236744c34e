"""Bundled tasks about numbers."""

from turngym.envs.swe.bundled.seed import Tiny

__all__ = ["TASKS"]

TASKS = (
    Tiny(
        name="sums",
        issue="`total` leaves out the first value: total([1, 2, 3]) gives 5.",
        source="def total(values):\n    result = 0\n    for value in values:\n"
        "        result += value\n    return result\n",
        right="in values:",
        bug="in values[1:]:",
        kept="def test_empty():\n    assert total([]) == 0\n",
        fixed="def test_all():\n    assert total([1, 2, 3]) == 6\n\n\n"
        "def test_one():\n    assert total([7]) == 7\n",
    ),
    Tiny(
        name="clamp",
        issue="`clamp(value, low, high)` returns `low` for values above `high`.",
        source="def clamp(value, low, high):\n    if value < low:\n        return low\n"
        "    if value > high:\n        return high\n    return value\n",
        right="return high",
        bug="return low",
        kept="def test_inside():\n    assert clamp(3, 0, 5) == 3\n\n\n"
        "def test_below():\n    assert clamp(-1, 0, 5) == 0\n",
        fixed="def test_above():\n    assert clamp(9, 0, 5) == 5\n",
    ),
    Tiny(
        name="leap",
        issue="`is_leap(1900)` is True, but years that 100 divides are leap only if 400 divides them.",
        source="def is_leap(year):\n"
        "    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)\n",
        right=" and (year % 100 != 0 or year % 400 == 0)",
        bug="",
        kept="def test_plain():\n    assert is_leap(2024) and not is_leap(2023)\n\n\n"
        "def test_2000():\n    assert is_leap(2000)\n",
        fixed="def test_centuries():\n    assert not is_leap(1900)\n    assert not is_leap(2100)\n",
    ),
    Tiny(
        name="median",
        issue="`median` of an even number of values returns the upper middle one, not their mean.",
        source="def median(values):\n    ordered = sorted(values)\n    middle = len(ordered) // 2\n"
        "    if len(ordered) % 2:\n        return ordered[middle]\n"
        "    return (ordered[middle - 1] + ordered[middle]) / 2\n",
        right="(ordered[middle - 1] + ordered[middle]) / 2",
        bug="ordered[middle]",
        kept="def test_odd():\n    assert median([3, 1, 2]) == 2\n",
        fixed="def test_even():\n    assert median([4, 1, 3, 2]) == 2.5\n",
    ),
)
