"""Products and goals: the plain data that a shop is made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from turngym.envs.splits import SPLITS, Split

__all__ = [
    "SPLITS",
    "UNLIMITED",
    "Catalog",
    "Goal",
    "GoalOption",
    "Listed",
    "OptionGroup",
    "Product",
    "Review",
    "Split",
]

UNLIMITED = 1e6
"""The price limit of a goal that names none, in dollars."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionGroup:
    """One choice on a product page, such as `size`; lower case."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """One customer review."""

    title: str
    score: str
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """One product, complete. Prices are in dollars."""

    asin: str
    """Its id; upper case."""
    title: str
    category: str = ""
    query: str = ""
    """The search under which it was collected; lower case."""
    product_category: str = ""
    """Path such as `Home › Kitchen › Pans`."""
    description: str = ""
    bullets: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    options: tuple[OptionGroup, ...] = ()
    price: float = 100.0
    price_text: str = "$100.0"
    rating: str = "N.A."
    reviews: tuple[Review, ...] = ()
    nouns: tuple[str, ...] = ()
    """Nouns of the title, in order, with repetitions; lower case."""

    @property
    def search_text(self) -> str:
        """What the search engine indexes: title, description, first bullet, options."""
        options = ", and ".join(
            f"{group.name}: {', '.join(group.values)}" for group in self.options
        )
        first = self.bullets[0] if self.bullets else ""
        return f"{self.title} {self.description} {first} {options}".lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class GoalOption:
    """An option that the buyer wants. `name` is None for human goals, which give values only."""

    name: str | None
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What the buyer wants, and the product it was written for."""

    task_id: str
    instruction: str
    target: Product
    attributes: tuple[str, ...]
    options: tuple[GoalOption, ...] = ()
    price_upper: float = UNLIMITED
    weight: float = 1.0

    def __deepcopy__(self, memo: dict[int, Any]) -> Goal:
        return self  # immutable all the way down


class Catalog(Protocol):
    """The products of one shop, by number."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> Product: ...


class Listed(Sequence[Product]):
    """Products held in memory."""

    def __init__(self, products: Sequence[Product]) -> None:
        self._products = tuple(products)

    def __len__(self) -> int:
        return len(self._products)

    def __getitem__(self, number: Any) -> Any:
        return self._products[number]

    def __iter__(self) -> Iterator[Product]:
        return iter(self._products)
