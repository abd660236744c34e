"""Record and replay: the same request, the same completion; a miss is said, never guessed."""

import asyncio
import json
import threading
from array import array

import pytest

from turngym import bridge
from turngym.agents.cache import CacheAgent, is_cache
from turngym.errors import DataError, InfraFailure, NotTheAgentsFault
from turngym.types import Completion, Context, Sampling, Turn, assistant, user


class Counting:
    """Says how often it was asked, with ids."""

    def __init__(self):
        self.asked = 0
        self.released = []

    async def act(self, context, *, sampling, seed):
        self.asked += 1
        number = self.asked
        await asyncio.sleep(0)
        return Completion(
            message=assistant(f"reply {number}\u2028 ü"),
            new_prompt_ids=[1, 2],
            reply_ids=[number],
            reply_logprobs=[-1 / 3],
            opens_segment=True,
            temperature=sampling.temperature,
        )

    def release(self, episode):
        self.released.append(episode)


def context(text="hi", episode="e", turns=()):
    return Context(episode=episode, turns=turns, new=(user(text),))


def ask(agent, what, seed=0, **sampling):
    return bridge.call(agent, what, sampling=Sampling(**sampling), seed=seed)


def test_what_was_recorded_is_replayed_bit_by_bit_under_any_episode_name(tmp_path):
    inner, path = Counting(), tmp_path / "sub/cache.jsonl"
    recorded = ask(CacheAgent(path, inner), context())
    replay = CacheAgent(path)
    assert ask(replay, context(episode="another")) == recorded
    assert recorded.reply_logprobs == array("f", [-1 / 3])
    assert (replay.hits, replay.misses, inner.asked) == (1, 0, 1)
    assert is_cache(path)


@pytest.mark.parametrize(
    "other",
    [
        lambda agent: ask(agent, context("other")),
        lambda agent: ask(agent, context(), seed=1),
        lambda agent: ask(agent, context(), temperature=0.5),
        lambda agent: ask(agent, context(), max_new_tokens=7),
        lambda agent: ask(agent, Context(episode="e", tools=({"name": "f"},), new=(user("hi"),))),
    ],
)
def test_whatever_shapes_the_reply_is_part_of_the_request(tmp_path, other):
    inner = Counting()
    agent = CacheAgent(tmp_path / "c", inner)
    ask(agent, context())
    other(agent)
    assert inner.asked == 2
    other(CacheAgent(tmp_path / "c"))


def test_the_same_words_from_other_tokens_are_another_conversation(tmp_path):
    def after(ids):
        completion = Completion(message=assistant("ab"), new_prompt_ids=[1], reply_ids=ids)
        return context(turns=(Turn(seen=(user("x"),), completion=completion),))

    inner = Counting()
    agent = CacheAgent(tmp_path / "c", inner)
    ask(agent, after([5, 6]))
    ask(agent, after([7]))
    assert inner.asked == 2


def test_labels_keep_models_apart(tmp_path):
    ask(CacheAgent(tmp_path / "c", Counting(), label="one"), context())
    with pytest.raises(InfraFailure, match="another seed, sampling or label"):
        ask(CacheAgent(tmp_path / "c", label="two"), context())


def test_a_miss_is_nobodys_zero(tmp_path):
    ask(CacheAgent(tmp_path / "c", Counting()), context())
    with pytest.raises(NotTheAgentsFault, match=r"never recorded.*deterministic"):
        ask(CacheAgent(tmp_path / "c"), context("unheard of"))
    with pytest.raises(DataError, match="no cache"):
        CacheAgent(tmp_path / "none")


def test_two_who_ask_the_same_at_once_get_what_a_replay_will_give(tmp_path):
    agent = CacheAgent(tmp_path / "c", Counting())

    async def both():
        asks = [agent.act(context(), sampling=Sampling(), seed=0) for _ in range(2)]
        return await asyncio.gather(*asks)

    one, two = asyncio.run(both())
    assert one == two == ask(CacheAgent(tmp_path / "c"), context())


def test_a_torn_line_costs_one_completion_and_nothing_after_it(tmp_path):
    path = tmp_path / "c"
    ask(CacheAgent(path, Counting()), context("one"))
    whole = path.read_bytes()
    path.write_bytes(whole + whole[: len(whole) // 2])  # killed in the middle of a line
    ask(CacheAgent(path, Counting()), context("two"))
    replay = CacheAgent(path)
    assert ask(replay, context("one")) and ask(replay, context("two"))


def test_writers_of_one_file_do_not_mix_their_lines(tmp_path):
    path = tmp_path / "c"

    def write(name):
        agent = CacheAgent(path, Counting())
        for number in range(50):
            ask(agent, context(f"{name} {number} " + "x" * 5000))

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = path.read_text().split("\n")[:-1]
    assert len(lines) == 200 and all(json.loads(line) for line in lines)


def test_the_inner_agent_hears_of_the_end_of_an_episode(tmp_path):
    inner = Counting()
    CacheAgent(tmp_path / "c", inner).release("e")
    assert inner.released == ["e"]


@pytest.mark.parametrize(
    ("line", "message"),
    [('{"a": 1}', "line 1"), ('{"cache_version": 9}', "format 9"), ("[1]", "line 1")],
)
def test_a_file_of_something_else_is_refused(tmp_path, line, message):
    (tmp_path / "c").write_text(line + "\n")
    with pytest.raises(DataError, match=message):
        CacheAgent(tmp_path / "c")
