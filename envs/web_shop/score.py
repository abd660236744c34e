"""The score of a purchase, from 0 to 1 (WebShop, Yao et al. 2022, section 3.2 and the released code).

score = r_type * (n_att + n_opt + [price <= limit]) / (|attributes| + |options| + 1)
"""

from dataclasses import dataclass
from typing import Literal

from turngym.envs.web_shop.catalog import Goal, GoalOption, Product
from turngym.envs.web_shop.fuzzy import token_set_ratio

__all__ = ["COLORS", "Preset", "Score", "normalize_color", "score", "title_score"]

Preset = Literal["original", "strict"]

_ALIKE = 85

COLORS = tuple(
    """
    alabaster apricot aqua ash asphalt azure banana beige black blue blush bordeaux bronze brown
    burgundy camel camo caramel champagne charcoal cheetah chestnut chocolate christmas coffee
    cognac copper coral cranberry cream crystal dark denim eggplant elephant espresso fuchsia gold
    granite grape graphite grass gray green grey heather indigo ivory ivy khaki lavender lemon
    leopard light lilac lime magenta maroon mauve merlot midnight mint mocha multicolor mushroom
    mustard natural navy nude olive orange peach pewter pink plum purple rainbow red rose royal rust
    sand sapphire seashell silver skull slate steel stone stonewash sunflower tan taupe teal tiger
    turquoise violet walnut wheat white wine yellow
    """.split()
)
"""Colour words of the original, in its order: the first one contained in a text wins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A score and its parts."""

    total: float
    r_type: float
    r_att: float
    r_option: float | None
    """None when the goal names no option."""
    r_price: float
    title_score: float
    query_match: bool
    category_match: bool


def score(
    goal: Goal, product: Product, chosen: tuple[tuple[str, str], ...], preset: Preset
) -> Score:
    """What buying `product` with the `chosen` (name, value) options is worth for `goal`.

    Args:
        preset: `original` keeps the released code's laxity about options: color words replace any
            text that contains them, and likeness above 85 is enough. `strict` wants equality.
    """
    attributes = sum(_has_attribute(product, wanted) for wanted in goal.attributes)
    if preset == "original":
        options = sum(_alike(wanted, chosen) for wanted in goal.options)
    else:
        options = sum(_equal(wanted, chosen) for wanted in goal.options)
    affordable = product.price <= goal.price_upper
    query_match = product.query == goal.target.query
    category_match = len(_path(product) & _path(goal.target)) >= 2
    likeness = title_score(product.nouns, goal.target.nouns)
    r_type = _type_reward(likeness, query_match or category_match)
    wants = len(goal.attributes) + len(goal.options) + 1
    return Score(
        total=(attributes + options + affordable) / wants * r_type,
        r_type=r_type,
        r_att=attributes / len(goal.attributes),
        r_option=options / len(goal.options) if goal.options else None,
        r_price=float(affordable),
        title_score=likeness,
        query_match=query_match,
        category_match=category_match,
    )


def title_score(nouns: tuple[str, ...], wanted: tuple[str, ...]) -> float:
    """Share of the wanted title nouns that are there; 0.2 when there are none to want.

    Distinct common nouns over all wanted nouns, repetitions included, as in the original.
    """
    return len(set(nouns) & set(wanted)) / len(wanted) if wanted else 0.2


def normalize_color(text: str) -> str:
    """The first color word inside `text`, or `text` itself: 'dark navy' gives 'dark'."""
    return next((color for color in COLORS if color in text), text)


def _type_reward(likeness: float, match: bool) -> float:
    if likeness == 0:
        return 0.0
    if likeness < 0.1:
        return 0.1
    return 1.0 if match or likeness > 0.2 else 0.5


def _path(product: Product) -> set[str]:
    return {part.strip() for part in product.product_category.split("›")}


def _has_attribute(product: Product, wanted: str) -> bool:
    return (
        any(token_set_ratio(attribute, wanted) > _ALIKE for attribute in product.attributes)
        or wanted in product.title.lower()
        or wanted in " ".join(product.bullets).lower()
        or wanted in product.description.lower()
    )


def _alike(wanted: GoalOption, chosen: tuple[tuple[str, str], ...]) -> bool:
    if wanted.name is None:
        text = normalize_color(wanted.value)
    else:
        # The released code passes (name, value) pairs of synthetic goals on to functions that
        # expect a text: the color rule sees two whole elements, the likeness the pair as printed.
        pair = (wanted.name, wanted.value)
        text = next((color for color in COLORS if color in pair), str(pair))
    return any(token_set_ratio(normalize_color(value), text) > _ALIKE for _, value in chosen)


def _equal(wanted: GoalOption, chosen: tuple[tuple[str, str], ...]) -> bool:
    return any(
        value == wanted.value and (wanted.name is None or name == wanted.name)
        for name, value in chosen
    )
