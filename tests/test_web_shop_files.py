"""Catalogs in the original's file format: the real 1,000 products where they are, made-up ones, broken ones."""

import json
import os
from pathlib import Path

import pytest

import turngym
from turngym.envs.web_shop.env import WebShop
from turngym.envs.web_shop.score import normalize_color, score
from turngym.errors import DataError

SHARED = Path(os.environ.get("TURNGYM_SHARED") or Path(__file__).resolve().parents[2] / "shared")
REAL = SHARED / "data" / "webshop"
real = pytest.mark.skipif(not REAL.is_dir(), reason="no real catalog (shared/data/webshop)")

LAMP = {
    "asin": "B000000001",
    "name": "Café Lamp, brass ☕",
    "category": "garden",
    "query": " Lamps ",
    "product_category": "Home › Light › Lamps",
    "full_description": "A lamp.",
    "small_description": "bright",
    "pricing": "$1,015.50",
    "customization_options": {
        "Color": [{"value": " Red/Gold "}, {"value": "Blue"}],
        "Fit": None,
        "Size": [{"value": "S"}, {"value": "M"}, {"value": "L"}],
    },
}
WISH = {
    "attributes": ["easy clean", "bright"],
    "instruction": "Find me bright lamps",
    "instruction_attributes": ["bright"],
}


@pytest.fixture
def folder(tmp_path):
    def write(products=(LAMP,), wishes=None, human=None):
        named = {
            "items_shuffle.json": list(products),
            "items_ins_v2.json": wishes or {LAMP["asin"]: WISH},
            "items_human_ins.json": human,
        }
        for name, content in named.items():
            if content is not None:
                (tmp_path / name).write_text(json.dumps(content), encoding="utf-8")
        return tmp_path

    return write


def goals(env):
    ids = [task for split in ("train", "dev", "test") for task in env.tasks(split)]
    return [env.market.find(task)[1] for task in ids]


def test_a_product_is_read_as_the_original_reads_it(folder):
    (product,) = WebShop(catalog=folder()).market.products("train")
    assert (product.price, product.price_text, product.query) == (1015.5, "$1015.5", "lamps")
    assert product.bullets == ("bright",) and product.rating == "N.A."
    groups = {group.name: group.values for group in product.options}
    assert groups == {"color": ("red | gold", "blue"), "size": ("s", "m", "l")}
    assert product.nouns == ("café", "lamp", "brass")


def test_one_goal_for_each_combination_of_options(folder):
    made = goals(WebShop(catalog=folder()))
    assert [goal.task_id for goal in made] == [f"B000000001-{n}" for n in range(6)]
    # Above 990 dollars there are not two limits left, so none is named.
    assert made[0].instruction == "Find me bright lamps with color: red | gold, and size: s"
    assert made[0].weight == pytest.approx(1 / 6)


def test_price_limits_are_stable_and_among_the_next_four_tens(folder):
    products = [{**LAMP, "asin": f"B{n:09d}", "pricing": "$15.00 to $19.00"} for n in range(200)]
    wishes = {product["asin"]: WISH for product in products}
    made = goals(WebShop(catalog=folder(products, wishes)))
    assert {goal.price_upper for goal in made} == {30.0, 40.0, 50.0}
    assert all(15 <= goal.target.price <= 19 for goal in made)
    assert made[0].instruction.endswith(f", and price lower than {made[0].price_upper:.2f} dollars")


def test_missing_prices_and_odd_ids_are_handled_as_originally(folder):
    rows = [
        {**LAMP, "pricing": ""},
        {**LAMP, "name": "again"},
        {**LAMP, "asin": "nan"},
        {**LAMP, "asin": "B0000000012"},
    ]
    (product,) = WebShop(catalog=folder(rows)).market.products("train")
    assert (product.price, product.price_text, product.title) == (100.0, "$100.0", LAMP["name"])


def test_human_goals(folder):
    wish = {"instruction": "a red lamp.", "instruction_options": ["red | gold"]}
    written = [{**wish, "instruction_attributes": a} for a in ([], ["bright"])]
    env = WebShop(catalog=folder(human={LAMP["asin"]: written}), goals="human")
    (goal,) = goals(env)
    assert (goal.task_id, goal.instruction) == ("B000000001-human-1", "a red lamp")
    assert [(option.name, option.value) for option in goal.options] == [(None, "red | gold")]


def test_precomputed_nouns_replace_the_rule(folder):
    path = folder()
    (path / "nouns.json").write_text(json.dumps({LAMP["asin"]: ["lamp"]}))
    (product,) = WebShop(catalog=path).market.products("train")
    assert product.nouns == ("lamp",)


@pytest.mark.parametrize(
    ("products", "words"),
    [
        ([{k: v for k, v in LAMP.items() if k != "name"}], "product 0: name: Field required"),
        ([LAMP, {**LAMP, "asin": 5}], "product 1: asin: .* 5"),
        ([{**LAMP, "pricing": "cheap"}], "pricing: .*'cheap'"),
        ([[]], "product 0"),
    ],
)
def test_malformed_rows_are_named(folder, products, words):
    with pytest.raises(DataError, match=words):
        WebShop(catalog=folder(products))


def test_missing_and_broken_files_are_named(folder, tmp_path):
    with pytest.raises(DataError, match="no catalog at"):
        WebShop(catalog=tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"items_shuffle\*.json, found none"):
        WebShop(catalog=tmp_path)
    path = folder()
    with pytest.raises(DataError, match="items_human_ins"):
        WebShop(catalog=path, goals="human")
    for ending in ("100", "1000"):
        (path / f"items_human_ins_{ending}.json").write_text("{}")
    with pytest.raises(DataError, match="items_human_ins_100.json, items_human_ins_1000.json"):
        WebShop(catalog=path)
    (path / "items_human_ins_100.json").unlink()
    (path / "items_shuffle.json").write_text('[{"asin": ')
    with pytest.raises(DataError, match="not valid JSON: .*line 1"):
        WebShop(catalog=path, num_products=7)


def test_a_catalog_without_goals_is_refused(folder):
    with pytest.raises(DataError, match="no tasks"):
        WebShop(catalog=folder(wishes={"B": WISH}))


def test_an_empty_split_is_named(folder):
    env = WebShop(catalog=folder())
    empty = next(split for split in ("train", "dev", "test") if not env.tasks(split))
    with pytest.raises(DataError, match=f"split '{empty}'"):
        env.reset(options={"split": empty})


# The real products


@real
def test_the_real_catalog_gives_6910_goals_and_its_known_oddities():
    env = turngym.make("turngym/WebShop-v0", catalog=REAL)
    products = list(env.market.products("train"))
    assert len(products) == 1000 and len(goals(env)) == 6910
    groups = [group.values for product in products for group in product.options]
    assert (len(groups), sum(map(len, groups))) == (614, 3499)
    collapsed = [g for g in groups if len({normalize_color(v) for v in g}) < len(set(g))]
    assert len(collapsed) == 111


@real
def test_real_documents_are_indexed_as_the_original_indexed_them():
    env = turngym.make("turngym/WebShop-v0", catalog=REAL)
    lines = (REAL / "documents_1k.jsonl").read_text(encoding="utf-8").splitlines()
    contents = {row["id"]: row["contents"] for row in map(json.loads, lines)}
    assert all(p.search_text == contents[p.asin] for p in env.market.products("train"))


@real
def test_buying_the_real_target_as_asked_scores_one_under_strict():
    env = turngym.make("turngym/WebShop-v0", catalog=REAL)
    for goal in goals(env):
        chosen = tuple((option.name, option.value) for option in goal.options)
        assert score(goal, goal.target, chosen, "strict").total == 1.0


@real
def test_real_splits_share_no_product_and_human_goals_load():
    env = turngym.make("turngym/WebShop-v0", catalog=REAL)
    targets = [{task.rpartition("-")[0] for task in env.tasks(s)} for s in ("train", "dev", "test")]
    assert all(targets) and sum(map(len, targets)) == len(set.union(*targets)) == 415
    people = turngym.make("turngym/WebShop-v0", catalog=REAL, goals="human")
    assert len(goals(people)) == 13
