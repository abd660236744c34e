"""Where the shops come from. Every environment of a process with equal stock shares one market."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from turngym.envs.web_shop.catalog import Catalog, Goal, Split
from turngym.envs.web_shop.search import Index
from turngym.errors import ConfigError

__all__ = ["Market", "open_market"]

_DEFAULT_PRODUCTS = 1000
_BUNDLED_SIZES = range(100, 1_000_001)


class Market(Protocol):
    """The products, search engines and tasks of all splits."""

    def products(self, split: Split) -> Catalog:
        """What the shop of this split sells."""
        ...

    def index(self, split: Split) -> Index:
        """Its search engine, built at the first call."""
        ...

    def tasks(self, split: Split) -> Sequence[str]:
        """Ids of all tasks of a split."""
        ...

    def draw(self, split: Split, rng: np.random.Generator) -> str:
        """The id of a task drawn from a split."""
        ...

    def find(self, task_id: str) -> tuple[Split, Goal]:
        """The split and the goal of a task."""
        ...


@functools.lru_cache(maxsize=8)
def open_market(
    catalog: Path | None,
    num_products: int | None,
    seed: int,
    goals: Literal["synthetic", "human"],
) -> Market:
    """The market with this stock; the same object for the same arguments.

    Raises:
        ConfigError: a size or a kind of goals that the bundled catalog does not have.
        DataError: missing or malformed files.
    """
    if catalog is not None:
        from turngym.envs.web_shop.file_market import FileMarket

        return FileMarket(catalog, num_products=num_products, seed=seed, goals=goals)
    from turngym.envs.web_shop.procedural import ProceduralMarket

    count = _DEFAULT_PRODUCTS if num_products is None else num_products
    if count not in _BUNDLED_SIZES:
        raise ConfigError(
            f"num_products: the bundled catalog has 100 to 1,000,000 products, got {count}"
        )
    if goals == "human":
        raise ConfigError(
            "goals='human' needs the original files: set catalog to their folder, "
            "or goals='synthetic'"
        )
    return ProceduralMarket(seed=seed, num_products=count)
