"""The score of a purchase: by hand, and its parts against thefuzz."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turngym.envs.web_shop.catalog import Goal, GoalOption, Product
from turngym.envs.web_shop.fuzzy import token_set_ratio
from turngym.envs.web_shop.nouns import title_nouns
from turngym.envs.web_shop.score import normalize_color, score, title_score


def shirt(**changes):
    fields = {
        "asin": "B1",
        "title": "Acme Shirt",
        "query": "shirts",
        "product_category": "Clothing › Men › Shirts",
        "attributes": ("long sleeve", "machine wash"),
        "price": 20.0,
        "nouns": ("acme", "shirt"),
    }
    return Product(**{**fields, **changes})


def goal(**changes):
    fields = {
        "task_id": "B1-0",
        "instruction": "",
        "target": shirt(),
        "attributes": ("long sleeve",),
        "options": (GoalOption(name="size", value="large"),),
        "price_upper": 30.0,
    }
    return Goal(**{**fields, **changes})


def test_the_target_with_its_options_scores_one():
    result = score(goal(), shirt(), (("size", "large"),), "strict")
    assert (result.total, result.r_type, result.r_att, result.r_option) == (1, 1, 1, 1)


def test_parts_by_hand():
    # 1 of 2 attributes, 0 of 1 options, price too high: (1 + 0 + 0) / (2 + 1 + 1) = 1/4
    wanted = goal(attributes=("long sleeve", "silk"))
    result = score(wanted, shirt(price=30.01), (), "strict")
    assert result.total == 0.25
    assert (result.r_att, result.r_option, result.r_price) == (0.5, 0.0, 0.0)


def test_the_price_limit_itself_is_allowed():
    assert score(goal(), shirt(price=30.0), (), "strict").r_price == 1.0


def test_a_goal_without_options_has_no_option_part():
    # attribute and price: 2 / (1 + 0 + 1)
    result = score(goal(options=()), shirt(), (("size", "small"),), "original")
    assert (result.total, result.r_option) == (1.0, None)


@pytest.mark.parametrize(
    ("nouns", "query", "path", "r_type"),
    [
        (("acme", "shirt"), "", "", 1.0),  # title 2/2, nothing else matches
        (("shirt",) + ("x",) * 3, "", "", 1.0),  # 1 of 2 wanted nouns
        (("hat",), "shirts", "Clothing › Men › Shirts", 0.0),  # no noun overrides every match
    ],
)
def test_type_part(nouns, query, path, r_type):
    bought = shirt(nouns=nouns, query=query, product_category=path)
    assert score(goal(), bought, (), "strict").r_type == r_type


@pytest.mark.parametrize(
    ("wanted", "path", "r_type"),
    [
        (5, "Clothing › Men", 1.0),  # 1/5 is not above 0.2, two shared categories are enough
        (5, "Clothing", 0.5),  # one is not
        (10, "Clothing", 0.5),  # 1/10 is not below 0.1
        (11, "Clothing › Men", 0.1),  # 1/11 is, and overrides the match
    ],
)
def test_type_part_with_a_distant_title(wanted, path, r_type):
    nouns = ("shirt", *(f"n{i}" for i in range(wanted - 1)))
    bought = shirt(nouns=("shirt",), query="", product_category=path)
    result = score(goal(target=shirt(nouns=nouns)), bought, (), "strict")
    assert result.r_type == r_type


def test_title_score_counts_wanted_repetitions_and_has_a_value_without_nouns():
    assert title_score(("band", "strap"), ("band", "band", "watch")) == pytest.approx(1 / 3)
    assert title_score(("band",), ()) == 0.2


def test_attributes_count_from_any_text_of_the_product():
    for where in (
        {"title": "Silk Shirt"},
        {"bullets": ("of", "real SILK")},
        {"description": "silky"},
    ):
        assert (
            score(goal(attributes=("silk",)), shirt(attributes=(), **where), (), "strict").r_att
            == 1
        )
    assert score(goal(attributes=("silk",)), shirt(attributes=()), (), "strict").r_att == 0


# The released code's quirks, which `original` keeps and `strict` does not.


@pytest.mark.parametrize(
    ("text", "color"),
    [
        ("standard king", "tan"),
        ("standard queen", "tan"),
        ("tailored fit", "red"),
        ("fashion", "ash"),
        ("titanium", "tan"),
        ("dark navy", "dark"),
        ("size 9", "size 9"),
    ],
)
def test_color_words_swallow_other_texts(text, color):
    assert normalize_color(text) == color


@pytest.mark.parametrize(
    ("name", "wanted", "chosen", "original"),
    [
        (None, "standard queen", "standard king", 1),  # quirk 1: both become 'tan'
        (None, "x-large", "xx-large", 1),  # quirk 2: alike by 93
        (None, "black", "black | white", 1),  # quirk 2: a subset is alike by 100
        (None, "x-large", "small", 0),
        ("color", "striped", "color", 1),  # quirk 3: the pair is compared as printed
        ("size", "standard queen", "standard king", 0),  # and its words do not become colors
    ],
)
def test_options_the_original_takes_and_strict_does_not(name, wanted, chosen, original):
    wish = goal(options=(GoalOption(name=name, value=wanted),))
    picked = ((name or "style", chosen),)
    assert score(wish, shirt(), picked, "original").r_option == original
    assert score(wish, shirt(), picked, "strict").r_option == 0
    assert score(wish, shirt(), ((name or "style", wanted),), "strict").r_option == 1


def test_strict_wants_the_value_under_its_own_name():
    assert score(goal(), shirt(), (("width", "large"),), "strict").r_option == 0


# Likeness


@pytest.mark.parametrize(
    ("left", "right", "ratio"),
    [
        # by thefuzz 0.22
        ("xx-large", "x-large", 93),
        ("black", "black | white", 100),
        ("blue", "('color', 'blue')", 100),
        ("16×24inch-framed", "white | rose gold", 20),
        ("", "", 0),
        ("!!!", "x", 0),
    ],
)
def test_likeness_as_thefuzz_gives_it(left, right, ratio):
    assert token_set_ratio(left, right) == ratio


WORDS = st.lists(st.sampled_from("red blue x-large large (2 4) cotton-wool US_9 a é".split()))
TEXTS = st.one_of(WORDS.map(" ".join), st.text(st.characters(max_codepoint=126), max_size=30))


@given(TEXTS, TEXTS)
def test_likeness_equals_rapidfuzz(left, right):
    from rapidfuzz import fuzz, utils

    def words(text):
        return utils.default_process("".join(c for c in text if not 128 <= ord(c) < 256))

    expected = (
        fuzz.token_set_ratio(words(left), words(right)) if words(left) and words(right) else 0
    )
    assert token_set_ratio(left, right) == round(expected)


@given(
    attributes=st.lists(st.sampled_from(["silk", "long sleeve", "vegan"]), min_size=1, max_size=3),
    price=st.floats(1, 100),
    chosen=st.sampled_from(["large", "small", "x-large"]),
    preset=st.sampled_from(["original", "strict"]),
    nouns=st.lists(st.sampled_from(["shirt", "acme", "hat"]), max_size=3),
)
def test_scores_stay_in_range_and_a_cheaper_product_is_never_worse(
    attributes, price, chosen, preset, nouns
):
    wanted = goal(attributes=tuple(attributes))
    results = [
        score(wanted, shirt(price=p, nouns=tuple(nouns)), (("size", chosen),), preset)
        for p in (price, price / 2)
    ]
    assert all(0 <= r.total <= 1 for r in results)
    assert results[1].total >= results[0].total


def test_the_original_can_refuse_the_very_option_that_was_asked_for():
    # Bought 'tailored fit' becomes 'red'; the wanted pair stays "('fit', 'tailored fit')".
    wish = goal(options=(GoalOption(name="fit", value="tailored fit"),))
    picked = (("fit", "tailored fit"),)
    assert score(wish, shirt(), picked, "original").r_option == 0
    assert score(wish, shirt(), picked, "strict").r_option == 1


def test_title_nouns_leave_out_function_words_and_numbers():
    title = "Letter I Birthday Cake Candles Set with Holders (96 Pack)"
    # The seven nouns behind the recorded title score of 3/7.
    assert title_nouns(title) == tuple("letter birthday cake candles set holders pack".split())
