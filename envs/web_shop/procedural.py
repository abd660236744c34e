"""The bundled catalog: products computed from their number, so that a million take no memory.

Product k is a function of the seed and k alone, the same in every process. The splits are three
shops of their own (train sells products 0 to n-1, dev the next n, test the last n), and a hash of
the title decides where a title may be sold: nothing that a test shows was shown in training.
"""

from __future__ import annotations

import functools
import random
import threading
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from turngym.envs.web_shop.catalog import SPLITS, Goal, GoalOption, Product, Split
from turngym.envs.web_shop.goals import instruction_text, price_limit
from turngym.envs.web_shop.market import open_market
from turngym.envs.web_shop.search import Index
from turngym.envs.web_shop.wares import BRANDS, EXTRAS, KINDS
from turngym.errors import UnknownNameError

__all__ = ["GOALS_PER_PRODUCT", "ProceduralMarket", "ProceduralProducts"]

GOALS_PER_PRODUCT = 4
_STRIDE = 7919
"""Prime to every power of ten: spreads consecutive numbers over all ids of a given width."""


class ProceduralProducts(Sequence[Product]):
    """Products `first` to `first + count - 1` of the endless catalog with this seed."""

    def __init__(self, *, seed: int, first: int, count: int, split: Split, id_digits: int) -> None:
        self._seed, self._first, self._count = seed, first, count
        self._remainder = SPLITS.index(split)
        self._id_digits = id_digits
        self._make = functools.lru_cache(maxsize=16384)(self._product)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return [self[n] for n in range(*number.indices(self._count))]
        if not -self._count <= number < self._count:
            raise IndexError(f"product {number} of {self._count}")
        return self._make(number % self._count)

    def texts(self) -> Iterator[str]:
        """The search text of every product, in order."""
        for number in range(self._count):
            yield self._product(number).search_text

    def _product(self, number: int) -> Product:
        rng = random.Random(f"{self._seed}/product/{self._first + number}")
        while True:
            kind, brand = rng.choice(KINDS), rng.choice(BRANDS)
            shown = rng.sample(kind.attributes, 2)
            words = f"{brand} {shown[0]} {shown[1]} {kind.name}"
            if zlib.crc32(words.encode()) % len(SPLITS) == self._remainder:
                break
        price = rng.randint(*kind.prices) - 0.01
        hidden = rng.choice([word for word in kind.attributes if word not in shown])
        return Product(
            asin=_asin(self._first + number, self._id_digits),
            title=words,
            category=kind.category,
            query=kind.name,
            product_category=kind.path,
            description=f"The {brand} {kind.name} is {shown[0]} and {shown[1]}, {rng.choice(EXTRAS)}.",
            bullets=(f"also {hidden}", f"made by {brand}", f"a {kind.name} to rely on"),
            attributes=(*shown, hidden),
            options=kind.options,
            price=price,
            price_text=f"${price:.2f}",
            rating=f"{rng.randint(30, 50) / 10}",
            nouns=(kind.name,),
        )


class ProceduralMarket:
    """The shops and tasks of the bundled catalog: `num_products` products in each split.

    Task `B0123-2` is goal 2 (of `GOALS_PER_PRODUCT`) written for product B0123.
    """

    def __init__(self, *, seed: int, num_products: int) -> None:
        self._seed, self._count = seed, num_products
        self._id_digits = len(str(len(SPLITS) * num_products - 1))
        self._lock = threading.Lock()
        self._indexes: dict[Split, Index] = {}
        self._products = {split: self._range(split) for split in SPLITS}

    def __reduce__(self) -> tuple[Any, ...]:
        return open_market, (None, self._count, self._seed, "synthetic")

    def products(self, split: Split) -> ProceduralProducts:
        """What the shop of this split sells."""
        return self._products[split]

    def index(self, split: Split) -> Index:
        """The search engine of this split's shop, built at the first call."""
        with self._lock:
            if split not in self._indexes:
                self._indexes[split] = Index(self._products[split].texts())
            return self._indexes[split]

    def tasks(self, split: Split) -> Sequence[str]:
        """Ids of all tasks of a split."""
        return _TaskIds(SPLITS.index(split) * self._count, self._count, self._id_digits)

    def draw(self, split: Split, rng: np.random.Generator) -> str:
        """The id of a task, each equally likely."""
        tasks = self.tasks(split)
        return tasks[int(rng.integers(len(tasks)))]

    def find(self, task_id: str) -> tuple[Split, Goal]:
        """The split and the goal of a task.

        Raises:
            UnknownNameError: no such task.
        """
        asin, dash, goal = task_id.rpartition("-")
        number = _number(asin, self._id_digits)
        goals = map(str, range(GOALS_PER_PRODUCT))
        if number is None or number >= len(SPLITS) * self._count or not dash or goal not in goals:
            example = self.tasks("train")[0]
            raise UnknownNameError("task", task_id, [f"{example} and others"], "See tasks(split).")
        split = SPLITS[number // self._count]
        return split, self._goal(task_id, self.products(split)[number % self._count])

    def _range(self, split: Split) -> ProceduralProducts:
        return ProceduralProducts(
            seed=self._seed,
            first=SPLITS.index(split) * self._count,
            count=self._count,
            split=split,
            id_digits=self._id_digits,
        )

    def _goal(self, task_id: str, target: Product) -> Goal:
        rng = random.Random(f"{self._seed}/goal/{task_id}")
        attributes = tuple(rng.sample(target.attributes[:2], 2))
        options = tuple(
            GoalOption(name=group.name, value=rng.choice(group.values)) for group in target.options
        )
        limit = price_limit(target.price, rng)
        wish = f"Find me {attributes[0]}, {attributes[1]} {target.query}"
        return Goal(
            task_id=task_id,
            instruction=instruction_text(wish, options, limit),
            target=target,
            attributes=attributes,
            options=options,
            price_upper=limit,
        )


class _TaskIds(Sequence[str]):
    """Task ids of a range of products, made when asked for."""

    def __init__(self, first: int, count: int, id_digits: int) -> None:
        self._first, self._count, self._id_digits = first, count, id_digits

    def __len__(self) -> int:
        return self._count * GOALS_PER_PRODUCT

    def __getitem__(self, position: Any) -> Any:
        if isinstance(position, slice):
            return [self[p] for p in range(*position.indices(len(self)))]
        if not -len(self) <= position < len(self):
            raise IndexError(f"task {position} of {len(self)}")
        goal, product = divmod(position % len(self), self._count)
        return f"{_asin(self._first + product, self._id_digits)}-{goal}"


def _asin(number: int, digits: int) -> str:
    return f"B{number * _STRIDE % 10**digits:0{digits}d}"


def _number(asin: str, digits: int) -> int | None:
    """The inverse of `_asin`; None for a text of another form."""
    code = asin[1:]
    if asin[:1] != "B" or len(code) != digits or not (code.isascii() and code.isdigit()):
        return None
    number: int = int(code) * pow(_STRIDE, -1, 10**digits) % 10**digits
    return number
