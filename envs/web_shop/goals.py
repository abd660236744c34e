"""Instructions and price limits: how a goal is put into words."""

import random
from collections.abc import Sequence

from turngym.envs.web_shop.catalog import UNLIMITED, GoalOption

__all__ = ["instruction_text", "price_limit"]

_LIMITS = range(10, 1000, 10)


def price_limit(price: float, rng: random.Random) -> float:
    """A limit above `price`: the larger of two of the next four multiples of ten dollars.

    `UNLIMITED` when fewer than two such multiples below 1,000 are left.
    """
    above = [limit for limit in _LIMITS if limit > price][:4]
    return float(max(rng.sample(above, 2))) if len(above) >= 2 else UNLIMITED


def instruction_text(wish: str, options: Sequence[GoalOption], limit: float) -> str:
    """The wish with its named options and its price limit, in the words of the original."""
    named = [f"{option.name}: {option.value}" for option in options if option.name is not None]
    choices = " with " + ", and ".join(named) if named else ""
    price = f", and price lower than {limit:.2f} dollars" if limit < UNLIMITED else ""
    return f"{wish}{choices}{price}"
