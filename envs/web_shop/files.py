"""Catalogs in the original's file format.

A folder holds `items_shuffle*.json` (products), `items_ins_v2*.json` (attributes and synthetic
instructions), for human goals `items_human_ins*.json`, and if you like `reviews.json` and
`nouns.json` ({asin: [noun, ...]}, in place of the rule in `nouns`).
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from turngym.envs.web_shop.catalog import OptionGroup, Product, Review
from turngym.envs.web_shop.nouns import title_nouns
from turngym.errors import DataError

__all__ = ["Files", "HumanGoal", "Instruction", "find_files", "read_products", "read_table"]

_NO_PRICE = 100.0
_NO_ATTRIBUTES = ("DUMMY_ATTR",)
_MAX_ASIN = 10


class _Choice(BaseModel):
    value: str


class _Row(BaseModel):
    """One product as it stands in the file; other keys are ignored."""

    asin: str
    name: str
    category: str
    query: str
    product_category: str
    full_description: str
    small_description: list[str] | str
    pricing: str | None = None
    customization_options: dict[str, list[_Choice] | None] | str | None = None


class Instruction(BaseModel):
    """Attributes of a product, and the synthetic wish for it if there is one."""

    attributes: tuple[str, ...] = ()
    instruction: str | None = None
    instruction_attributes: tuple[str, ...] | None = None


class HumanGoal(BaseModel):
    """A wish that a person wrote for a product."""

    instruction: str
    instruction_attributes: tuple[str, ...]
    instruction_options: tuple[str, ...]


class _Reviewed(BaseModel):
    asin: str
    average_rating: float | str = "N.A."
    reviews: list[dict[str, Any]] = []


class Files(BaseModel):
    """Where the parts of a catalog lie."""

    products: Path
    attributes: Path
    human: Path | None
    reviews: Path | None
    nouns: Path | None


def find_files(path: Path) -> Files:
    """The files of the catalog in folder `path`, or around the product file `path`.

    Raises:
        DataError: no such path, a part is missing, or several could be meant.
    """
    if not path.exists():
        raise DataError(
            f"no catalog at {path}: give a folder with items_shuffle*.json, or that file"
        )
    folder = path if path.is_dir() else path.parent
    products = path if path.is_file() else _one(folder, "items_shuffle", "", required=True)
    assert products is not None
    ending = products.stem.removeprefix("items_shuffle").split(".")[0]
    attributes = _one(folder, "items_ins_v2", ending, required=True)
    assert attributes is not None
    return Files(
        products=products,
        attributes=attributes,
        human=_one(folder, "items_human_ins", ending, required=False),
        reviews=_one(folder, "reviews", ending, required=False),
        nouns=_one(folder, "nouns", ending, required=False),
    )


def read_products(
    files: Files, attributes: Mapping[str, Instruction], *, limit: int | None, seed: int
) -> list[Product]:
    """The products in the order of the file; repeated and over-long ids are left out, as originally.

    Args:
        limit: only the first so many rows are read.
        seed: decides the price of a product whose price is a range.

    Raises:
        DataError: malformed file or row; names the file, the row and the field.
    """
    rows = _load(files.products)
    if not isinstance(rows, list):
        raise DataError(f"{files.products}: expected a list of products, got {type(rows).__name__}")
    nouns = {} if files.nouns is None else read_table(files.nouns, tuple[str, ...])
    reviews = {} if files.reviews is None else _reviews(files.reviews)
    products: dict[str, Product] = {}
    for number, raw in enumerate(rows[:limit]):
        where = f"{files.products}, product {number}"
        row = _checked(_ROW, raw, where)
        if row.asin == "nan" or len(row.asin) > _MAX_ASIN or row.asin in products:
            continue
        known = attributes.get(row.asin)
        rated = reviews.get(row.asin)
        low, high = _prices(row.pricing, where)
        products[row.asin] = Product(
            asin=row.asin,
            title=row.name,
            category=row.category,
            query=row.query.lower().strip(),
            product_category=row.product_category,
            description=row.full_description,
            bullets=_lines(row.small_description),
            attributes=_NO_ATTRIBUTES if known is None else known.attributes,
            options=tuple(_options(row)),
            price=random.Random(f"{seed}/price/{row.asin}").uniform(low, high),
            price_text=f"${low}" if low == high else f"${low} to ${high}",
            rating="N.A." if rated is None else str(rated.average_rating),
            reviews=() if rated is None else tuple(map(_review, rated.reviews)),
            nouns=nouns.get(row.asin) or title_nouns(row.name),
        )
    return list(products.values())


def read_table(path: Path, kind: Any) -> dict[str, Any]:
    """A file {asin: value}, each value checked against `kind`.

    Raises:
        DataError: malformed file or value.
    """
    table = _load(path)
    if not isinstance(table, dict):
        raise DataError(f"{path}: expected an object with product ids, got {type(table).__name__}")
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    return {asin: _checked(adapter, value, f"{path}, {asin}") for asin, value in table.items()}


_ROW: TypeAdapter[_Row] = TypeAdapter(_Row)


def _one(folder: Path, name: str, ending: str, *, required: bool) -> Path | None:
    """The only file `name*.json` in the folder, or the one of several with this ending."""
    found = sorted(folder.glob(f"{name}*.json"))
    exact = [file for file in found if file.stem.removeprefix(name).split(".")[0] == ending]
    if len(found) == 1:
        return found[0]
    if len(exact) == 1:
        return exact[0]
    if not found and not required:
        return None
    there = ", ".join(file.name for file in found) or "none"
    raise DataError(
        f"{folder}: expected one file {name}*.json, found {there}; to choose, set catalog to the "
        "product file, and give its companions the same ending (_1000 or nothing)"
    )


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:  # bad JSON and bad UTF-8
        raise DataError(f"{path} is not valid JSON: {error}") from error


def _checked(adapter: TypeAdapter[Any], raw: Any, where: str) -> Any:
    try:
        return adapter.validate_python(raw)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "value"
        raise DataError(f"{where}: {field}: {first['msg']} (got {first['input']!r:.80})") from error


def _prices(text: str | None, where: str) -> tuple[float, float]:
    """Lowest and highest price of '$a', '$a to $b' or nothing."""
    if not text:
        return _NO_PRICE, _NO_PRICE
    try:
        prices = [float(re.sub(r"[^\d.]", "", part)) for part in text.split("$")[1:3]]
    except ValueError:
        prices = []
    if not prices:
        raise DataError(f"{where}: pricing: expected '$5.00' or '$5.00 to $7.00', got {text!r}")
    return prices[0], prices[-1]


def _lines(text: list[str] | str) -> tuple[str, ...]:
    return (text,) if isinstance(text, str) else tuple(text)


def _options(row: _Row) -> Iterator[OptionGroup]:
    if not isinstance(row.customization_options, dict):
        return
    groups = {
        n.lower(): choices
        for n, choices in row.customization_options.items()
        if choices is not None
    }
    for name, choices in groups.items():
        values = tuple(c.value.strip().replace("/", " | ").lower() for c in choices)
        yield OptionGroup(name=name, values=values)


def _reviews(path: Path) -> dict[str, _Reviewed]:
    rows: Sequence[_Reviewed] = _checked(TypeAdapter(list[_Reviewed]), _load(path), str(path))
    return {row.asin: row for row in rows}


def _review(raw: Mapping[str, Any]) -> Review:
    return Review(
        title=str(raw.get("title", "")),
        score=str(raw.get("score", raw.get("stars", ""))),
        body=str(raw.get("body", raw.get("review", ""))),
    )
