"""The scripted buyer: sees what an agent sees, buys right without noise, wrong about half the time with it."""

import pytest

import turngym
from turngym.envs.web_shop.expert import expert
from turngym.types import assistant, user


def play(env, seed, split, noise=0.0):
    """(score, success, messages) of one episode."""
    messages, info = env.reset(seed=seed, options={"split": split})
    messages = list(messages)
    while True:
        action = expert(messages, noise=noise, seed=seed)
        new, reward, terminated, truncated, info = env.step(action)
        messages += [assistant(action), *new]
        if terminated or truncated:
            return reward, info.get("success", False), messages


@pytest.mark.parametrize("split", ["train", "dev", "test"])
@pytest.mark.parametrize("size", ["demo", None])
def test_without_noise_every_purchase_is_right(split, size):
    env = turngym.make("turngym/WebShop-v0", size=size)
    assert all(play(env, seed, split)[1] for seed in range(100))


def test_noise_leaves_room_to_learn():
    env = turngym.make("turngym/WebShop-v0", size="demo")
    rate = sum(play(env, seed, "train", noise=0.3)[1] for seed in range(300)) / 300
    assert 0.4 <= rate <= 0.6


def test_the_same_seed_makes_the_same_mistakes():
    env = turngym.make("turngym/WebShop-v0", size="demo")
    first, again = (play(env, 5, "train", noise=0.5)[2] for _ in range(2))
    assert first == again


def test_demo_episodes_are_short():
    env = turngym.make("turngym/WebShop-v0", size="demo")
    lengths = [sum(len(m.content) for m in play(env, s, "train")[2]) for s in range(100)]
    # A byte-level BPE needs at most one token for two characters of this text: 800 for 400 tokens.
    assert max(lengths) <= 800


def test_it_pages_on_when_what_fits_is_too_dear():
    page = "b1 $90.00 Acme cotton linen shirt\nb2 $10.00 Acme cotton wool shirt"
    wish = user("Find me cotton, linen shirt, and price lower than 50.00 dollars")
    start = [wish, assistant("search[cotton linen shirt]")]
    assert expert([*start, user(page)]) == "click[next >]"
    cheaper = "b3 $40.00 Acme linen cotton shirt\nb2 $10.00 Acme cotton wool shirt"
    assert expert([*start, user(cheaper)]) == "click[b3]"


def test_options_are_chosen_one_by_one_then_bought():
    seen = [
        user("Find me vegan soap with count: 2 pack, and color: red"),
        assistant("search[vegan soap]"),
        user("b1 $9.00 Acme vegan soap"),
    ]
    actions = []
    while "click[buy now]" not in actions:
        actions.append(expert(seen))
        seen += [assistant(actions[-1]), user("count: 1 pack, 2 pack\ncolor: red\nbuy now")]
    assert actions == ["click[b1]", "click[2 pack]", "click[red]", "click[buy now]"]
