"""ConversationalQA under the rollout: what is recorded, and rewards recomputed from the record."""

import pytest

import turngym
from turngym.agents.scripted import ScriptedAgent
from turngym.envs.conversational_qa.expert import expert
from turngym.rewards.intent import chatr1_intent, intent_turns
from turngym.rewards.search_r1 import recorded_em, recorded_format
from turngym.trainers.episode import Group
from turngym.trainers.rollout import rollout
from turngym.types import EpisodeStatus, Privileged


def play(script, count=12, size=1, **settings):
    def make():
        return turngym.make("turngym/ConversationalQA-v0", **settings)

    assert make().privileged == Privileged()  # before the first reset

    ids = make().tasks("train")[:count]
    groups = [Group(key=id, task_id=id, seed=n, size=size) for n, id in enumerate(ids)]
    return rollout(make, ScriptedAgent(script), groups)


def thinking(context):
    return f"<think>so</think> {expert(context.messages)}"


def test_rewards_recomputed_from_the_record_are_those_of_the_environment():
    played = play(thinking, size=2, mixed_initiative=False, intent_weight=1.0, intent_at="search")
    assert len(played) == 24
    for episode in played:
        assert episode.status is EpisodeStatus.TERMINATED and episode.success
        assert episode.outcome == recorded_em(episode) == recorded_format(episode) == 1.0
        paid = [turn.reward for turn in episode.turns if turn.reward is not None]
        afterwards = [float(value) for value in intent_turns(episode) if value is not None]
        assert sum(paid) == pytest.approx(sum(afterwards)) == pytest.approx(chatr1_intent(episode))
        assert chatr1_intent(episode) == 1.0 and len(paid) == len(episode.turns) - 1


def test_exchanges_are_user_questions_and_not_search_results():
    for episode in play(lambda context: expert(context.messages), whole=True, unclear=1.0):
        assert episode.success
        searches = [turn for turn in episode.turns if turn.info["action"] == "search"]
        assert len(searches) >= 4
        last = episode.turns[-1].exchange
        clarified = sum(turn.info["action"] == "clarify" for turn in episode.turns)
        assert last == 3 + clarified  # four questions, and one more user message when asked back


def test_the_environment_offers_its_expert_where_it_can_play():
    env = turngym.make("turngym/ConversationalQA-v0")
    messages, _ = env.reset(seed=0)
    assert env.expert(messages) == expert(messages)
    other = turngym.make("turngym/ConversationalQA-v0", protocol="tools")
    assert env.has_expert and not other.has_expert
    with pytest.raises(NotImplementedError, match="tags"):
        other.expert(messages)


def test_an_agent_that_never_answers_is_truncated_with_zero_and_counts():
    for episode in play(lambda context: "<search> town </search>", count=3):
        assert episode.status is EpisodeStatus.TRUNCATED and episode.status.counts
        assert (episode.outcome, episode.success, len(episode.turns)) == (0.0, False, 5)
