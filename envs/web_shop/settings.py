"""Settings of the web shop and its named presets."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from turngym.config import Config, parse
from turngym.envs.web_shop.pages import Observation
from turngym.envs.web_shop.score import Preset
from turngym.errors import ConfigError, closest

__all__ = ["PRESETS", "WebShopSettings", "settings_for"]


class WebShopSettings(Config):
    """How a shop is stocked, shown and scored."""

    catalog: Path | None = None
    """Folder or product file in the original's format; None is the bundled procedural catalog."""
    num_products: int | None = Field(default=None, ge=1)
    """Bundled: products in each split's shop (100 to 1,000,000; 1,000 when None). Files: at most so many."""
    seed: int = 0
    """Decides the bundled products, the price limits of goals and prices given as a range."""
    goals: Literal["synthetic", "human"] = "synthetic"
    """`human`: instructions written by people, from the files; the bundled catalog has none."""
    preset: Preset = "original"
    """`original` keeps the released score's laxity about options, `strict` wants them equal."""
    observation: Observation = "text"
    """`text` and `text_rich` as in the original, `brief` for small models."""
    page_size: int = Field(default=10, ge=1, le=50)
    """Products on one page of results."""
    max_title_words: int | None = Field(default=None, ge=1)
    """Titles are shown with at most so many words; None shows them whole."""
    show_attributes: bool = False
    """Whether product pages have an Attributes page, which tells what the score looks at."""
    max_turns: int | None = Field(default=15, ge=1)
    """Turns until an unfinished visit is truncated; None never does."""


PRESETS: dict[str, dict[str, Any]] = {
    "demo": {
        "preset": "strict",
        "observation": "brief",
        "page_size": 4,
        "max_title_words": 8,
        "max_turns": 8,
    },
}
"""Values that `size` puts in place of the defaults. `demo`: short pages for the tiny policies; an
episode of the scripted expert stays within 400 tokens of a byte-level BPE."""


def settings_for(size: str | None, values: dict[str, Any]) -> WebShopSettings:
    """The settings of a named size with `values` on top.

    Raises:
        ConfigError: unknown size, unknown setting, value out of range.
    """
    if size is not None and size not in PRESETS:
        raise ConfigError(
            f"unknown size {size!r}.{closest(size, PRESETS)} Known: {', '.join(PRESETS)}."
        )
    base = PRESETS[size] if size is not None else {}
    return parse(WebShopSettings, {**base, **values}, source="WebShop")
