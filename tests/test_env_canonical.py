"""digest: equal content, equal digits, in any process; different content, different digits."""

import random
import subprocess
import sys
from array import array
from collections import OrderedDict, deque
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePosixPath

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turngym.config import Config
from turngym.envs.canonical import digest
from turngym.types import user

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(), inner, max_size=4)
        | st.tuples(inner, inner)
    ),
    max_leaves=12,
)


@dataclass
class Cart:
    items: list


class Shop(Config):
    size: int = 3


class Colour(Enum):
    RED = 1


@given(plain, plain)
def test_different_content_has_different_digits(one, other):
    # Tuples and lists count as the same kind; so do equal numbers of one type only.
    assert (digest(one) == digest(other)) == (as_lists(one) == as_lists(other))


def as_lists(value):
    """Comparable form in which 1, True and 1.0 differ."""
    if isinstance(value, (list, tuple)):
        return [as_lists(item) for item in value]
    if isinstance(value, dict):
        return {key: as_lists(item) for key, item in value.items()}
    return type(value).__name__, repr(value)


def test_order_of_dicts_and_sets_does_not_matter_and_of_lists_does():
    assert digest({"a": 1, "b": 2}) == digest(OrderedDict(b=2, a=1))
    assert digest({"x", "y", "z"}) == digest({"z", "y", "x"})
    assert digest([1, 2]) != digest([2, 1])


def test_neighbours_do_not_run_into_each_other():
    assert digest(["ab", "c"]) != digest(["a", "bc"])
    assert digest([[1], 2]) != digest([1, [2]])
    assert digest({"a": {"b": 1}}) != digest({"a": {}, "b": 1})
    assert digest([{1}, 2]) != digest([{1, 2}])


def test_state_of_many_kinds_has_digits():
    values = [
        deque([1, 2], maxlen=3),
        range(5),
        bytearray(b"x"),
        np.arange(4.0),
        np.float32(2.0),
        np.array(["a", None], dtype=object),
        array("i", [1, 2]),
        Cart(items=["shoe"]),
        Shop(size=4),
        Colour.RED,
        PurePosixPath("/a"),
        user("é🙂\ud800"),
        frozenset({(1, 2)}),
    ]
    assert len({digest(value) for value in values}) == len(values)
    assert digest(Cart(items=["shoe"])) == digest(Cart(items=["shoe"]))
    assert digest(Shop()) != digest(Shop(size=4))
    assert digest(np.zeros((2, 3))) != digest(np.zeros((3, 2)))
    assert digest(np.array([{"a": 1}])) == digest(np.array([{"a": 1}]))


def test_generators_are_skipped():
    assert digest({"a": 1, "rng": np.random.default_rng(1)}) == digest(
        {"a": 1, "rng": np.random.default_rng(2)}
    )
    assert digest([random.Random(1)]) == digest([random.Random(2)])


def test_an_object_without_a_form_is_named_with_its_place():
    with pytest.raises(TypeError, match=r"state\.cart\[1\] is a object"):
        digest({"cart": [1, object()]})
    with pytest.raises(TypeError, match="is a type"):
        digest(Cart)


def test_other_processes_with_other_hash_seeds_agree():
    code = (
        "from turngym.envs.canonical import digest\n"
        "print(digest({'names': {'x', 'y', 'zebra'}, 'turn': 3, 'log': [('a', 1.5)]}))"
    )

    def other(seed):
        import os

        env = {**os.environ, "PYTHONHASHSEED": seed}
        return subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
        ).stdout.strip()

    assert other("1") == other("2")
