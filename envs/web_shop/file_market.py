"""The shop and the tasks of a catalog read from files: one shop, whose tasks are split by product."""

from __future__ import annotations

import hashlib
import itertools
import random
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from turngym.envs.web_shop.catalog import (
    SPLITS,
    Catalog,
    Goal,
    GoalOption,
    Listed,
    Product,
    Split,
)
from turngym.envs.web_shop.files import (
    HumanGoal,
    Instruction,
    find_files,
    read_products,
    read_table,
)
from turngym.envs.web_shop.goals import instruction_text, price_limit
from turngym.envs.web_shop.market import open_market
from turngym.envs.web_shop.search import Index
from turngym.errors import DataError, UnknownNameError

__all__ = ["FileMarket", "human_goals", "split_of", "synthetic_goals"]


class FileMarket:
    """Products, search engine and tasks of files in the original's format.

    Synthetic task `ASIN-5` is the sixth combination of that product's options; human task
    `ASIN-human-0` the first wish written for it. All tasks of a product are in one split.

    Raises:
        DataError: missing or malformed files, or files without a single goal.
    """

    def __init__(
        self,
        path: Path,
        *,
        num_products: int | None,
        seed: int,
        goals: Literal["synthetic", "human"],
    ) -> None:
        self._arguments = (path, num_products, seed, goals)
        files = find_files(path)
        attributes = read_table(files.attributes, Instruction)
        self._products = Listed(read_products(files, attributes, limit=num_products, seed=seed))
        if goals == "synthetic":
            made = list(synthetic_goals(self._products, attributes, seed))
        elif files.human is None:
            raise DataError(f"goals='human' needs a file items_human_ins*.json in {path}")
        else:
            written = read_table(files.human, list[HumanGoal])
            made = list(human_goals(self._products, written, seed))
        if not made:
            raise DataError(f"{path}: no product has {goals} instructions, so there are no tasks")
        self._goals = {goal.task_id: goal for goal in made}
        self._tasks: dict[Split, tuple[str, ...]] = {
            split: tuple(g.task_id for g in made if split_of(g.target.asin) == split)
            for split in SPLITS
        }
        self._bounds = {
            split: np.cumsum([self._goals[task].weight for task in self._tasks[split]])
            for split in SPLITS
        }
        self._lock = threading.Lock()
        self._index: Index | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return open_market, self._arguments

    def products(self, split: Split) -> Catalog:
        """All products, whatever the split."""
        return self._products

    def index(self, split: Split) -> Index:
        """The one search engine, built at the first call."""
        with self._lock:
            if self._index is None:
                self._index = Index(product.search_text for product in self._products)
            return self._index

    def tasks(self, split: Split) -> Sequence[str]:
        """Ids of all tasks of a split."""
        return self._tasks[split]

    def draw(self, split: Split, rng: np.random.Generator) -> str:
        """The id of a task, drawn by weight: rare attributes as often as common ones.

        Raises:
            DataError: the split has no tasks.
        """
        tasks = self._tasks[split]
        if not tasks:
            raise DataError(f"split {split!r} of {self._arguments[0]} has no tasks")
        bounds = self._bounds[split]
        position = int(np.searchsorted(bounds, rng.random() * bounds[-1], side="right"))
        return tasks[min(position, len(tasks) - 1)]

    def find(self, task_id: str) -> tuple[Split, Goal]:
        """The split and the goal of a task.

        Raises:
            UnknownNameError: no such task.
        """
        goal = self._goals.get(task_id)
        if goal is None:
            example = next(iter(self._goals))
            raise UnknownNameError("task", task_id, [f"{example} and others"], "See tasks(split).")
        return split_of(goal.target.asin), goal


def split_of(asin: str) -> Split:
    """The split of a product, by a hash of its id: 8 in 10 train, 1 dev, 1 test."""
    part = hashlib.sha256(asin.encode()).digest()[0] % 10
    return "test" if part == 0 else "dev" if part == 1 else "train"


def synthetic_goals(
    products: Sequence[Product], instructions: Mapping[str, Instruction], seed: int
) -> Iterator[Goal]:
    """One goal for each combination of options of each product with an instruction."""
    made: list[Goal] = []
    for product in products:
        wish = instructions.get(product.asin)
        if wish is None or wish.instruction is None or not wish.instruction_attributes:
            continue
        limit = price_limit(product.price, random.Random(f"{seed}/limit/{product.asin}"))
        groups = sorted(product.options, key=lambda group: group.name)
        for number, values in enumerate(itertools.product(*(group.values for group in groups))):
            options = tuple(
                GoalOption(name=group.name, value=value)
                for group, value in zip(groups, values, strict=True)
            )
            made.append(
                Goal(
                    task_id=f"{product.asin}-{number}",
                    instruction=instruction_text(wish.instruction, options, limit),
                    target=product,
                    attributes=wish.instruction_attributes,
                    options=options,
                    price_upper=limit,
                )
            )
    counts = Counter(attribute for goal in made for attribute in goal.attributes)
    for goal in made:
        shares = [1 / counts[attribute] for attribute in goal.attributes]
        yield replace(goal, weight=sum(shares) / len(shares))


def human_goals(
    products: Sequence[Product], written: Mapping[str, Sequence[HumanGoal]], seed: int
) -> Iterator[Goal]:
    """The goals that people wrote; those without attributes are left out, as originally."""
    for product in products:
        for number, wish in enumerate(written.get(product.asin, ())):
            if not wish.instruction_attributes:
                continue
            task_id = f"{product.asin}-human-{number}"
            limit = price_limit(product.price, random.Random(f"{seed}/limit/{task_id}"))
            yield Goal(
                task_id=task_id,
                instruction=instruction_text(wish.instruction.strip("."), (), limit),
                target=product,
                attributes=wish.instruction_attributes,
                options=tuple(GoalOption(name=None, value=v) for v in wish.instruction_options),
                price_upper=limit,
            )
