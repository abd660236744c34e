"""Bundled tasks about lists and dictionaries."""

from turngym.envs.swe.bundled.seed import Tiny

__all__ = ["TASKS"]

TASKS = (
    Tiny(
        name="chunks",
        issue="`chunks(items, size)` loses the last, shorter chunk.",
        source="def chunks(items, size):\n"
        "    return [items[i : i + size] for i in range(0, len(items), size)]\n",
        right="range(0, len(items), size)",
        bug="range(0, len(items) - size + 1, size)",
        kept="def test_even():\n    assert chunks([1, 2, 3, 4], 2) == [[1, 2], [3, 4]]\n",
        fixed="def test_rest():\n    assert chunks([1, 2, 3], 2) == [[1, 2], [3]]\n",
    ),
    Tiny(
        name="merge",
        issue="`merge(first, second)` changes its first argument.",
        source="def merge(first, second):\n    result = dict(first)\n    result.update(second)\n"
        "    return result\n",
        right="dict(first)",
        bug="first",
        kept="def test_values():\n    assert merge({'a': 1}, {'b': 2}) == {'a': 1, 'b': 2}\n",
        fixed="def test_untouched():\n    first = {'a': 1}\n    merge(first, {'a': 2})\n"
        "    assert first == {'a': 1}\n",
    ),
    Tiny(
        name="unique",
        issue="`unique` should keep the order of first appearance, but sorts.",
        source="def unique(items):\n    return list(dict.fromkeys(items))\n",
        right="list(dict.fromkeys(items))",
        bug="sorted(set(items))",
        kept="def test_sorted():\n    assert unique([1, 1, 2]) == [1, 2]\n",
        fixed="def test_order():\n    assert unique(['b', 'a', 'b']) == ['b', 'a']\n",
    ),
)
