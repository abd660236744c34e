"""Recorded human visits, replayed action by action to their recorded rewards.

The records hold the goal, each page, the choices, and the parts of the reward, but not the products
bought (none is among the 1,000 published ones), so stand-ins are made that have the recorded parts.
"""

import json
import os
from fractions import Fraction
from pathlib import Path

import pytest

from turngym.envs.web_shop.catalog import Goal, GoalOption, Listed, OptionGroup, Product
from turngym.envs.web_shop.score import score
from turngym.envs.web_shop.session import Session, Shop, parse_action, product, take

SHARED = Path(os.environ.get("TURNGYM_SHARED") or Path(__file__).resolve().parents[2] / "shared")
RECORDS = sorted((SHARED / "data" / "webshop" / "traj").glob("*.jsonl"))
PAGES = {"index": "index", "search_results": "results", "item_page": "item", "done": "done"}


class Results:
    """The recorded search engine: every record has one search."""

    def __init__(self, count):
        self.found = tuple(range(count))

    def search(self, query, limit):
        return self.found


def action(row, before):
    """What the person clicked to come from page `before` to `row`; None when the page was reloaded."""
    content, old = row.get("content", {}), before.get("content", {})
    if row["page"] == "search_results":
        words = " ".join(content["keywords"])
        return f"search[{words}]" if before["page"] == "index" else "click[< prev]"
    if row["page"] == "item_page" and before["page"] == "search_results":
        return f"click[{content['asin']}]"
    if row["page"] == "item_page":
        (chosen,) = content["options"].items() - old["options"].items()
        return f"click[{chosen[1]}]"
    return "click[buy now]" if row["page"] == "done" else None


def stand_in(asin, rows):
    """A product with the recorded parts if it was bought, with the recorded options in any case."""
    wish, last = rows[0]["goal"], rows[-1]
    parts = last["reward_info"]
    chosen = {
        pair
        for row in rows
        if row.get("content", {}).get("asin") == asin
        for pair in row["content"]["options"].items()
    }
    shared = Fraction(parts["title_score"]).limit_denominator(40)
    return Product(
        asin=asin,
        title="",
        query=wish["query"] if parts["query_match"] else "",
        product_category=wish["product_category"] if parts["category_match"] else "",
        attributes=tuple(wish["attributes"]) if parts["r_att"] else (),
        options=tuple(OptionGroup(name=name, values=(value,)) for name, value in sorted(chosen)),
        price=last["content"]["price"],
        nouns=tuple(f"n{i}" for i in range(shared.numerator)),
    )


def wanted(rows):
    wish = rows[0]["goal"]
    shared = Fraction(rows[-1]["reward_info"]["title_score"]).limit_denominator(40)
    return Goal(
        task_id="recorded",
        instruction=wish["instruction_text"],
        target=Product(
            asin=wish["asin"],
            title=wish["name"],
            query=wish["query"],
            product_category=wish["product_category"],
            nouns=tuple(f"n{i}" for i in range(shared.denominator)),
        ),
        attributes=tuple(wish["attributes"]),
        options=tuple(GoalOption(name=None, value=value) for value in wish["goal_options"]),
        price_upper=wish["price_upper"],
    )


@pytest.mark.skipif(not RECORDS, reason="no recorded visits (shared/data/webshop/traj)")
@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_recorded_visit_replays_to_its_recorded_reward(path):
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    asins = next(r["content"]["search_result_asins"] for r in rows if r["page"] == "search_results")
    products = Listed([stand_in(asin, rows) for asin in asins])
    shop = Shop(products=products, index=Results(len(asins)), page_size=10, show_attributes=False)
    visit = Session(split="train", goal=wanted(rows))
    for before, row in zip(rows, rows[1:], strict=False):
        text = action(row, before)
        if text is None:
            continue
        parsed = parse_action(text)
        assert parsed is not None
        visit = take(shop, visit, *parsed)
        assert visit is not None and visit.page == PAGES[row["page"]]
        if row["page"] == "item_page":
            assert product(shop, visit).asin == row["content"]["asin"]
            assert dict(visit.options) == row["content"]["options"]
    result = score(visit.goal, product(shop, visit), visit.options, "original")
    last, parts = rows[-1], rows[-1]["reward_info"]
    assert result.total == pytest.approx(last["reward"], abs=1e-12)
    assert result.r_type == parts["r_type"] and result.r_att == parts["r_att"]
    assert result.r_option == parts.get("r_option")
    assert bool(result.r_price) is parts["r_price"]
