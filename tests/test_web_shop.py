"""The web shop: pages, actions, options, splits, state."""

import json
import pickle
import subprocess
import sys
import threading
from dataclasses import replace

import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st

import turngym
from turngym.envs.web_shop.catalog import Goal, Listed, OptionGroup, Product, Review
from turngym.envs.web_shop.env import WebShop
from turngym.envs.web_shop.pages import render
from turngym.envs.web_shop.procedural import GOALS_PER_PRODUCT
from turngym.envs.web_shop.search import Index
from turngym.envs.web_shop.session import Session, Shop, clickables, parse_action, take
from turngym.errors import ConfigError, UnknownNameError

MUGS = [
    Product(
        asin=f"B{number:02d}",
        title=f"Plain mug number {number} of café ☕ <b>set</b>",
        bullets=("holds tea",),
        description="A mug.",
        attributes=("dishwasher safe",),
        options=(
            OptionGroup(name="size", values=("small", "large")),
            OptionGroup(name="color", values=("red", "blue")),
        ),
        reviews=(Review(title="Fine", score="4.0", body="It holds tea."),),
        price=5.0,
        price_text="$5.0",
        nouns=("mug",),
    )
    for number in range(25)
]


@pytest.fixture(scope="module")
def mugs():
    index = Index(product.search_text for product in MUGS)
    return Shop(products=Listed(MUGS), index=index, page_size=10, show_attributes=False)


def visit(**changes):
    goal = Goal(task_id="t", instruction="A mug, please", target=MUGS[0], attributes=("tea",))
    return Session(split="train", goal=goal, **changes)


def walk(shop, *actions, start=None):
    session = start or visit()
    for action in actions:
        after = take(shop, session, *parse_action(action))
        assert after is not None, f"{action} was refused on {session.page}"
        session = after
    return session


# Action grammar


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("search[Red Shoes]", ("search", "red shoes")),
        ("click[buy now] thanks", ("click", "buy now")),  # unanchored at the end
        (" click[x]\n", ("click", "x")),
        ("search[red [size]]", ("search[red ", "size]")),  # greedy in the name
        ("Action: click[x]", ("Action: click", "x")),
        ("search[]", None),
        ("think\nclick[x]", None),
        ("", None),
    ],
)
def test_actions_are_read_as_in_the_original(text, parsed):
    assert parse_action(text) == parsed


@given(st.text(max_size=40) | st.from_regex(r"(search|click)\[.{0,20}\]", fullmatch=True))
def test_no_action_breaks_the_shop(text):
    env = WebShop(num_products=100)
    env.reset(seed=0)
    messages, reward, *_ = env.step(text)
    assert len(messages) == 1 and reward == 0.0


def test_a_refused_action_changes_nothing_and_says_so():
    env = WebShop(num_products=100)
    shown, info = env.reset(seed=0)
    before = env._session
    messages, reward, terminated, truncated, after = env.step("click[buy now]")
    assert messages[0] == shown[-1] and env._session is before
    assert (reward, terminated, truncated) == (0.0, False, False)
    assert after["status"] == "invalid_action" and after["anchor"] == info["anchor"]


# Pages


def test_clickables_of_every_page(mugs):
    assert clickables(mugs, visit()) == {}
    results = walk(mugs, "search[mug]")
    first = [f"b{n:02d}" for n in range(10)]
    assert list(clickables(mugs, results)) == ["back to search", "next >", *first]
    second = walk(mugs, "click[next >]", start=results)
    assert list(clickables(mugs, second))[:3] == ["back to search", "< prev", "next >"]
    item = walk(mugs, "click[b03]", start=results)
    buttons = "back to search,< prev,description,features,reviews,buy now,small,large,red,blue"
    assert list(clickables(mugs, item)) == buttons.split(",")
    sub = walk(mugs, "click[features]", start=item)
    assert list(clickables(mugs, sub)) == ["back to search", "< prev"]
    with_attributes = replace(mugs, show_attributes=True)
    assert "attributes" in clickables(with_attributes, item)


def test_paging_shows_ten_at_a_time_then_five_then_none(mugs):
    pages = [walk(mugs, "search[mug]", *["click[next >]"] * n) for n in range(4)]
    links = [
        [name for name, meaning in clickables(mugs, page).items() if meaning != "button"]
        for page in pages
    ]
    assert [len(found) for found in links] == [10, 10, 5, 0]
    assert [name for found in links for name in found] == [f"b{n:02d}" for n in range(25)]
    back = walk(mugs, "click[< prev]", start=pages[3])
    assert back == pages[2]


def test_prev_from_a_product_returns_to_its_page_of_results(mugs):
    second = walk(mugs, "search[mug]", "click[next >]")
    item = walk(mugs, "click[b12]", "click[red]", start=second)
    back = walk(mugs, "click[< prev]", start=item)
    assert (back.page, back.page_number, back.options) == ("results", 2, ())


def test_options_are_kept_over_sub_pages_and_replaced_within_their_group(mugs):
    item = walk(mugs, "search[mug]", "click[b00]", "click[red]", "click[large]", "click[blue]")
    assert item.options == (("color", "blue"), ("size", "large"))
    assert walk(mugs, "click[reviews]", "click[< prev]", start=item).options == item.options
    assert walk(mugs, "search[mug]", start=item).options == ()


def test_search_works_on_any_page_and_back_to_search_forgets(mugs):
    item = walk(mugs, "search[mug]", "click[b00]", "search[mug]", "click[b01]", "click[red]")
    assert walk(mugs, "click[back to search]", start=item) == visit()


def test_a_product_can_be_bought_without_options(mugs):
    assert walk(mugs, "search[mug]", "click[b00]", "click[buy now]").page == "done"


def test_products_of_another_page_cannot_be_clicked(mugs):
    assert take(mugs, walk(mugs, "search[mug]"), "click", "b20") is None


def test_text_form(mugs):
    results = walk(mugs, "search[mug]")
    text = render(mugs, results, "text", None, 0.0)
    assert text.startswith(
        "Instruction: [SEP] A mug, please [SEP] Back to Search [SEP] Page 1 (Total results: 25) "
        "[SEP] Next > [SEP] B00 [SEP] Plain mug number 0 of café ☕ <b>set</b> [SEP] $5.0 [SEP] B01"
    )
    index = render(mugs, visit(), "text", None, 0.0)
    assert index == "WebShop [SEP] Instruction: [SEP] A mug, please [SEP] Search"
    item = walk(mugs, "click[b00]", start=results)
    assert render(mugs, item, "text", 2, 0.0).endswith(
        "[SEP] size [SEP] small [SEP] large [SEP] color [SEP] red [SEP] blue [SEP] Plain mug [SEP] "
        "Price: $5.0 [SEP] Rating: N.A. [SEP] Description [SEP] Features [SEP] Reviews [SEP] Buy Now"
    )


def test_rich_form_marks_buttons_visited_products_and_chosen_options(mugs):
    item = walk(mugs, "search[mug]", "click[b00]", "click[red]", "click[small]")
    lines = render(mugs, item, "text_rich", None, 0.0).splitlines()
    assert lines[:2] == ["You have clicked red.", "You have clicked small."]
    assert "  [clicked button] red [clicked button_]" in lines
    assert "  [button] blue [button_]" in lines and "[button] Buy Now [button_]" in lines
    results = render(mugs, walk(mugs, "click[< prev]", start=item), "text_rich", None, 0.0)
    assert "\n[clicked button] B00 [clicked button_]\n" in results
    assert "\n[button] B01 [button_]\n" in results


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("description", "A mug."),
        ("features", "holds tea"),
        ("reviews", '"Fine" [SEP] 4.0 [SEP] It holds tea.'),
    ],
)
def test_sub_pages(mugs, page, words):
    sub = walk(mugs, "search[mug]", "click[b00]", f"click[{page}]")
    assert render(mugs, sub, "text", None, 0.0).endswith(f"[SEP] < Prev [SEP] {words}")


def test_brief_form_shows_what_changed(mugs):
    shop = replace(mugs, page_size=1)
    results = walk(shop, "search[mug]")
    assert render(shop, results, "brief", 2, 0.0) == "b00 $5.0 Plain mug"
    item = walk(shop, "click[b00]", start=results)
    assert render(shop, item, "brief", 2, 0.0) == "size: small, large\ncolor: red, blue\nbuy now"
    red = walk(shop, "click[red]", start=item)
    assert render(shop, red, "brief", 2, 0.0) == "chosen: red"


# Episodes


@pytest.mark.parametrize("split", ["train", "dev", "test"])
@pytest.mark.parametrize("preset", ["original", "strict"])
def test_the_gold_actions_buy_what_was_asked_for(split, preset):
    env = WebShop(preset=preset)
    for seed in range(40):
        env.reset(seed=seed, options={"split": split})
        for action in env.privileged.gold_actions:
            messages, reward, terminated, _, info = env.step(action)
        assert terminated and reward == info["outcome"] == 1.0 and info["success"] is True
        assert info["rewards"]["r_type"] == 1.0
    json.dumps(info)


def test_a_wrong_purchase_ends_with_its_parts():
    env = WebShop()
    env.reset(options={"task_id": next(t for t in env.tasks() if _limit(env, t) < 200)})
    env.step(f"search[{env.privileged.references[0]}]")
    env.step("search[projector]")
    target = clickables(env._shop, env._session)
    env.step(f"click[{next(name for name, meaning in target.items() if meaning != 'button')}]")
    _, reward, terminated, _, info = env.step("click[buy now]")
    assert terminated and reward < 1 and info["success"] is False
    assert set(info["rewards"]) == {"r_type", "r_att", "r_price", "r_option"}


def _limit(env, task):
    goal = env.market.find(task)[1]
    return goal.price_upper if goal.target.query != "projector" else 1e9


def test_nothing_hidden_is_shown():
    env = WebShop(size="demo")
    messages, info = env.reset(seed=0)
    shown = " ".join(m.content for m in messages) + json.dumps(info)
    assert env.privileged.references[0].lower() not in " ".join(m.content for m in messages).lower()
    assert env.privileged.gold_actions[0] not in shown


def test_the_turn_limit_truncates():
    env = WebShop(num_products=100, max_turns=2)
    env.reset(seed=0)
    env.step("search[lamp]")
    assert env.step("search[lamp]")[2:4] == (False, True)


# Splits


def test_splits_share_no_task_product_or_title():
    env = WebShop(num_products=300)
    tasks = {split: set(env.tasks(split)) for split in ("train", "dev", "test")}
    assert all(len(ids) == 300 * GOALS_PER_PRODUCT for ids in tasks.values())
    assert len(set.union(*tasks.values())) == 3 * 300 * GOALS_PER_PRODUCT
    titles = {s: {p.title for p in env.market.products(s)} for s in tasks}
    asins = {s: {p.asin for p in env.market.products(s)} for s in tasks}
    for a, b in (("train", "dev"), ("train", "test"), ("dev", "test")):
        assert not titles[a] & titles[b] and not asins[a] & asins[b]


def test_every_task_is_found_in_its_split_and_targets_a_product_sold_there():
    env = WebShop(num_products=100)
    for split in ("train", "dev", "test"):
        sold = {product.asin for product in env.market.products(split)}
        for task in env.tasks(split):
            home, goal = env.market.find(task)
            assert (home, goal.task_id) == (split, task) and goal.target.asin in sold


def test_a_task_keeps_its_words_whatever_the_seed_and_the_process():
    env = WebShop()
    task = env.tasks("test")[7]
    code = (
        "import turngym; env = turngym.make('turngym/WebShop-v0');"
        f"print(env.reset(seed=5, options={{'task_id': {task!r}}})[0][1].content, env.fingerprint())"
    )
    again = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()
    messages, _ = env.reset(seed=1, options={"task_id": task})
    assert again == f"{messages[1].content} {env.fingerprint()}"


def test_seeds_draw_tasks_and_a_split_can_be_asked_for():
    env = WebShop(num_products=100)
    drawn = [env.reset(seed=s, options={"split": "dev"})[1]["task_id"] for s in (1, 2, 1)]
    assert drawn[0] == drawn[2] != drawn[1] and drawn[0] in env.tasks("dev")


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"task_id": "nonsense"}, UnknownNameError, "nonsense"),
        ({"task_id": "B999999-0"}, UnknownNameError, "B999999-0"),
        ({"split": "tset"}, ConfigError, "Did you mean 'test'"),
        ({"task": "x"}, ConfigError, "Did you mean 'task_id'"),
    ],
)
def test_unknown_tasks_splits_and_options_are_named(options, error, words):
    with pytest.raises(error, match=words):
        WebShop(num_products=100).reset(options=options)


def test_a_task_of_another_split_is_refused():
    env = WebShop(num_products=100)
    with pytest.raises(ConfigError, match="belongs to split 'test'"):
        env.reset(options={"split": "train", "task_id": env.tasks("test")[0]})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"pagesize": 3}, "Did you mean 'page_size'"),
        ({"size": "demmo"}, "Did you mean 'demo'"),
        ({"num_products": 99}, "100 to 1,000,000"),
        ({"goals": "human"}, "catalog"),
        ({"observation": "html"}, "text_rich"),
    ],
)
def test_wrong_settings_are_explained(settings, words):
    with pytest.raises(ConfigError, match=words):
        WebShop(**settings)


# State


def test_forks_go_their_own_way_and_share_the_stock():
    env = WebShop(num_products=100)
    env.reset(seed=0)
    env.step("search[lamp]")
    twin = env.fork()
    assert twin.fingerprint() == env.fingerprint() and twin.market is env.market
    env.step("click[next >]")
    assert twin.fingerprint() != env.fingerprint()
    assert twin.step("click[next >]")[0] == (turngym.Message(role="user", content=env._page(0.0)),)
    assert twin.fingerprint() == env.fingerprint()


def test_state_and_environment_survive_pickling():
    env = WebShop(num_products=100)
    env.reset(seed=0)
    env.step("search[lamp]")
    state = pickle.loads(pickle.dumps(env.get_state()))
    other = WebShop(num_products=100)
    other.set_state(state)
    copy = pickle.loads(pickle.dumps(env))
    assert other.fingerprint() == copy.fingerprint() == env.fingerprint()
    assert other.step("click[next >]")[0] == copy.step("click[next >]")[0]


def test_a_thousand_episodes_share_one_catalog_and_one_index():
    envs = [WebShop(num_products=100) for _ in range(1000)]
    barrier = threading.Barrier(8)

    def first(some):
        barrier.wait()
        for env in some:
            env.reset(seed=0)
            env.step("search[lamp]")

    threads = [threading.Thread(target=first, args=(envs[n::8],)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(env.market) for env in envs}) == 1
    assert len({id(env._shop.index) for env in envs}) == 1
    assert len({env.fingerprint() for env in envs}) == 1


def test_gymnasium_checks_pass():
    check_env(WebShop(num_products=100), skip_render_check=True)
