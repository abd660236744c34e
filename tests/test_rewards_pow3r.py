"""Contrast weights: by hand, and what must hold for any group."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turngym.errors import ConfigError
from turngym.rewards.pow3r import ContrastWeights, contrast, reweighted

SHARES = st.floats(0, 1)
WEIGHTS = st.dictionaries(st.sampled_from("abcdef"), st.floats(0, 1), min_size=1)


def test_contrast_by_hand():
    assert contrast([True, False]) == 1.0
    assert contrast([True, True, True, False]) == 4 * 0.75 * 0.25
    assert contrast([True, True]) == contrast([False]) == 0.0
    assert contrast([True, None, False]) == 1.0
    assert contrast([None]) is None
    assert contrast([]) is None


def test_weights_by_hand():
    """rho 0.2: raw 0.5 * 1 and 0.5 * 0.2; their sum 0.6 is scaled to 1."""
    found = reweighted({"split": 0.5, "solved": 0.5}, {"split": 1.0, "solved": 0.0})
    assert found == {"split": pytest.approx(0.5 / 0.6), "solved": pytest.approx(0.1 / 0.6)}


def test_a_category_keeps_its_total_and_one_without_contrast_its_weights():
    weights = {"a": 0.3, "b": 0.3, "c": 0.4}
    kinds = {"a": "tool", "b": "tool", "c": "words"}
    found = reweighted(weights, {"a": 1.0, "b": 0.0, "c": 0.0}, rho=0.0, categories=kinds)
    assert found == {"a": pytest.approx(0.6), "b": 0.0, "c": 0.4}


@given(WEIGHTS, st.dictionaries(st.sampled_from("abcdef"), SHARES), SHARES)
def test_the_total_stays_and_no_weight_is_negative(weights, contrasts, rho):
    found = reweighted(weights, contrasts, rho=rho)
    assert sum(found.values()) == pytest.approx(sum(weights.values()))
    assert min(found.values()) >= 0


@given(WEIGHTS, st.dictionaries(st.sampled_from("abcdef"), SHARES))
def test_rho_one_changes_nothing(weights, contrasts):
    assert reweighted(weights, contrasts, rho=1.0) == pytest.approx(weights)


def test_running_contrasts_start_at_the_first_and_a_failed_judge_leaves_them():
    kept = ContrastWeights(decay=0.5)
    kept.update([{"a": True}, {"a": False}])
    assert kept.running == {"a": 1.0}
    kept.update([{"a": True}, {"a": True}])
    assert kept.running == {"a": 0.5}
    kept.update([{"a": None}])
    assert kept.running == {"a": 0.5}
    assert kept.weights({"a": 0.5, "b": 0.5})["b"] > 0.5


def test_rho_out_of_range_is_refused():
    with pytest.raises(ConfigError, match="rho must be from 0 to 1"):
        reweighted({"a": 1.0}, {}, rho=1.5)
