"""Asking a model until its reply can be read."""

import pytest

from turngym.errors import InfraFailure
from turngym.rewards.asking import UnreadableError, ask, json_object
from turngym.types import Completion, Sampling, assistant, user


class Recording:
    """Gives fixed replies, raises those that are errors, and keeps how it was asked."""

    def __init__(self, *replies):
        self.replies, self.asked = list(replies), []

    async def act(self, context, *, sampling, seed):
        self.asked.append((sampling.temperature, seed, context.tools))
        reply = self.replies[len(self.asked) - 1]
        if isinstance(reply, Exception):
            raise reply
        return Completion(message=assistant(reply))


def number(message):
    return int(message.content) if message.content.isdecimal() else None


def asking(agent, attempts=3, **more):
    settings = {"timeout_s": 5, "sampling": Sampling(temperature=0.0), **more}
    return ask(agent, (user("How many?"),), number, attempts=attempts, **settings)


def test_it_asks_again_with_another_seed_and_warmer():
    agent = Recording("many", InfraFailure("down"), "0")
    assert asking(agent, tools=({"name": "count"},)) == 0
    temperatures, seeds, tools = zip(*agent.asked, strict=True)
    assert temperatures == (0.0, 0.7, 0.7)
    assert len(set(seeds)) == 3
    assert tools == (({"name": "count"},),) * 3


def test_the_last_reply_or_failure_is_told():
    with pytest.raises(UnreadableError, match="in 2 attempts; the last: 'some'"):
        asking(Recording("many", "some"), attempts=2)
    with pytest.raises(UnreadableError, match="down"):
        asking(Recording(InfraFailure("down")), attempts=1)


def test_a_bug_in_an_agent_is_no_unreadable_reply():
    with pytest.raises(ZeroDivisionError):
        asking(Recording(ZeroDivisionError()))


def test_the_same_question_with_the_same_seed_is_asked_the_same_way():
    one, two, other = Recording("1"), Recording("1"), Recording("1")
    asking(one)
    asking(two)
    asking(other, seed=1)
    assert one.asked == two.asked != other.asked


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ('{"a": 1}', {"a": 1}),
        ('```json\n{"a": {"b": 2}}\n```', {"a": {"b": 2}}),
        ("[1]", None),
        ("{'a': 1}", None),
        ('{"a": 1} {"a": 2}', None),
        ("", None),
    ],
)
def test_one_object_among_words(text, read):
    assert json_object(text) == read
