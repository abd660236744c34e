"""The web shop as an environment: episodes, splits, state."""

import json
import pickle
import subprocess
import sys
import threading

import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check
from hypothesis import given
from hypothesis import strategies as st

import turngym
from turngym.envs.check import check_env
from turngym.envs.web_shop.env import WebShop
from turngym.envs.web_shop.procedural import GOALS_PER_PRODUCT
from turngym.envs.web_shop.session import clickables
from turngym.errors import ConfigError, UnknownNameError

# Episodes


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


@pytest.mark.parametrize("split", ["train", "dev", "test"])
@pytest.mark.parametrize("preset", ["original", "strict"])
def test_the_gold_actions_buy_what_was_asked_for(split, preset):
    env = WebShop(preset=preset)
    for seed in range(40):
        env.reset(seed=seed, options={"split": split})
        *_, last = [env.step(action) for action in env.privileged.gold_actions]
        _, reward, terminated, _, info = last
        assert terminated and reward == info["outcome"] == 1.0 and info["success"] is True
        assert json.loads(json.dumps(info["rewards"]))["r_type"] == 1.0


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


def test_a_million_products_cost_nothing_until_they_are_shown():
    env = WebShop(num_products=1_000_000)
    tasks = env.tasks("test")
    assert len(tasks) == 1_000_000 * GOALS_PER_PRODUCT
    split, goal = env.market.find(tasks[-1])
    assert split == "test" and goal.target == env.market.products("test")[999_999]


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
    gymnasium_check(WebShop(num_products=100), skip_render_check=True)


@pytest.mark.parametrize("size", [None, "demo"])
def test_the_contract_holds(size):
    check_env(
        lambda: WebShop(num_products=100, size=size),
        replies=("search[lamp]", "click[next >]", "nonsense", "search[\ud800]"),
    )
