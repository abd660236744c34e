"""Rewards of recorded search episodes: values by hand, judges that fail, and the table of a recipe."""

from dataclasses import replace

import pytest

import turngym
from turngym.agents.scripted import ScriptedAgent
from turngym.envs.conversational_qa.env import ConversationalQA
from turngym.envs.conversational_qa.tasks import Dataset, Kind, Question, Task
from turngym.envs.retrieval.passages import Passage
from turngym.errors import ConfigError, JudgeFailure, UnknownNameError
from turngym.rewards.citation import Rubric as Fact
from turngym.rewards.citation_judged import c_grpo_by, carr_by, cited_passages
from turngym.rewards.reward import trajectory_value, turn_values
from turngym.rewards.rubric import Rubric, Weighted
from turngym.rewards.search_recorded import (
    equivalence_by,
    r3_rag_by,
    recorded_inforage,
    recorded_ndcg,
    recorded_r3_rag,
    recorded_recall,
)
from turngym.trainers.episode import Group
from turngym.trainers.rollout import rollout
from turngym.trainers.rubrics import RewardsConfig, find_reward
from turngym.types import EpisodeStatus, TurnStatus

PASSAGES = [
    Passage(id="k", title="Kato", text="Kato is a town. The mayor of Kato is Miru."),
    Passage(id="m", title="Miru", text="Miru plays the harp."),
    Passage(id="s", title="Sola", text="Sola makes lamps."),
]
QUESTION = Question(
    text="What does the mayor of Kato play?",
    references=("harp", "the harp"),
    rewrite="What does the mayor of Kato play?",
    gold_passages=("k", "m"),
    rubrics=(
        Fact(statement="The mayor of Kato is <E1>.", entities=frozenset({1})),
        Fact(statement="<E1> plays the <E0>.", entities=frozenset({0, 1})),
    ),
)
UNKNOWN = Question(text="What does Sola play?", kind=Kind.NO_ANSWER)
SOURCE = Dataset(
    {"train": [Task(id="plays", questions=(QUESTION,)), Task(id="none", questions=(UNKNOWN,))]},
    PASSAGES,
)


def play(*replies, task="plays", grader=None, rubric=None, **settings):
    def make():
        return ConversationalQA(source=SOURCE, top_k=1, grader=grader, **settings)

    agent = ScriptedAgent(lambda context: replies[len(context.turns)])
    (done,) = rollout(make, agent, [Group(key="g", task_id=task, seed=0)], rubric=rubric)
    return done


SEARCHES = ("<search> mayor Kato </search>", "<search> lamps </search>", "<search> Miru </search>")
GOOD = (*SEARCHES, "<answer> harp </answer>")


def test_inforage_recall_and_ndcg_of_a_recorded_episode():
    done = play(*GOOD)
    # Three searches of one hit: the best one covers one of two gold passages.
    assert recorded_inforage(done) == pytest.approx(0.95**3 * (1 + 0.2 * 0.5))
    assert recorded_recall(done) == 1.0
    # Found k, s, m: 1 + 1/log2(4) over 1 + 1/log2(3).
    assert recorded_ndcg(done) == pytest.approx((1 + 0.5) / (1 + 0.6309297535714575))
    wrong = play(*SEARCHES[:1], "<answer> drum </answer>")
    assert recorded_inforage(wrong) == pytest.approx(0.2 * 0.5)  # one step costs nothing
    assert recorded_recall(wrong) == 0.5


def test_r3_rag_pays_searches_by_what_they_found_and_how_it_ended():
    assert recorded_r3_rag(play(*GOOD)) == pytest.approx((1.6, 0.0, 1.6, 2.0))
    assert recorded_r3_rag(play(*SEARCHES, "<answer> drum </answer>")) == pytest.approx(
        (0.8, 0.0, 0.8, 0.0)
    )
    lost = play("no action", SEARCHES[0], SEARCHES[0], max_turns=2)  # no answer in time
    assert recorded_r3_rag(lost) == pytest.approx((-0.9, 0.9, 0.0))
    mute = play(SEARCHES[0], "no action", "nor here", max_turns=2)
    assert recorded_r3_rag(mute) == pytest.approx((0.9, -0.9, 0.0))
    unasked = play("<noanswer></noanswer>", task="none")
    assert recorded_r3_rag(unasked) == (2.0,)


class Judge:
    """Answers by the first rule whose words occur in what it is asked."""

    def __init__(self, **rules):
        self.rules, self.asked = rules, []

    def agent(self):
        return ScriptedAgent(self._reply)

    def _reply(self, context):
        text = context.messages[-1].content
        self.asked.append(text)
        return next((reply for words, reply in self.rules.items() if words in text), "hm")


def test_relevance_from_a_judge_and_a_search_that_got_none():
    judge = Judge(lamps="<score>0.25</score>", harp="<score>1</score>")
    reward = r3_rag_by(judge.agent())
    values = turn_values(reward, play(*GOOD))
    assert isinstance(values[0], JudgeFailure)  # nobody rated the first search
    assert values[1:] == pytest.approx((0.4, 1.6, 2.0))
    assert all("mayor of Kato play" in text for text in judge.asked)
    rated = play(*GOOD, rubric=Rubric(terms=(Weighted(reward=reward),)))
    assert [turn.reward for turn in rated.turns[1:]] == pytest.approx([0.4, 1.6, 2.0])
    assert rated.turns[0].reward is None and rated.turns[0].status is TurnStatus.REWARD_MISSING
    assert rated.outcome == 1.0  # turn rewards leave it alone


def test_judged_equivalence_as_a_reward_and_as_a_setting():
    judge = Judge(**{"plucked": "<verdict>same</verdict>", "drum": "<verdict>different</verdict>"})
    reward = equivalence_by(judge.agent())
    right, wrong = "<answer> a plucked thing </answer>", "<answer> drum </answer>"
    assert play(right, answer="em").outcome == 0.0
    assert trajectory_value(reward, play(right)) == 1.0
    assert trajectory_value(reward, play(wrong)) == 0.0
    asked = len(judge.asked)
    assert trajectory_value(reward, play("<noanswer></noanswer>", task="none")) == 1.0
    assert trajectory_value(reward, play(right, task="none")) == 0.0  # the wrong kind of reply
    assert len(judge.asked) == asked
    done = play(right, answer="judged", grader=judge.agent())
    assert (done.outcome, done.success) == (1.0, True)
    silent = play(right, answer="judged", grader=Judge().agent())
    assert silent.status is EpisodeStatus.JUDGE_ERROR and silent.outcome is None
    for settings in ({"answer": "judged"}, {"grader": judge.agent()}):
        with pytest.raises(ConfigError, match="go together"):
            ConversationalQA(source=SOURCE, **settings)


CITED = (
    "<think> [Sola] </think> The mayor of Kato is Miru [Kato]. Miru plays the harp [Miru]. "
    "<answer> harp </answer>"
)
NAMES = '<entity number="0">harp</entity><entity number="1">Miru</entity>'


def test_citations_are_titles_that_were_shown_and_named_in_the_reply():
    done = play(*SEARCHES, CITED)
    assert cited_passages(done) == {
        "Kato": "Kato is a town. The mayor of Kato is Miru.",
        "Miru": "Miru plays the harp.",
    }
    assert cited_passages(play(SEARCHES[0], CITED)).keys() == {"Kato"}  # Miru was never shown


def test_carr_needs_names_support_and_a_chain_to_the_answer():
    def score(supported, names=NAMES, replies=(*SEARCHES, CITED)):
        judge = Judge(**{"<passages>": supported, "<reply>": names})
        return trajectory_value(carr_by(judge.agent()), play(*replies)), judge

    value, judge = score("<supported>1, 2</supported>")
    assert value == 1.0
    assert "The mayor of Kato is Miru." in judge.asked[1] and "[Sola]" not in judge.asked[1]
    assert score("<supported>2</supported>")[0] == 0.5
    assert score("<supported>1</supported>")[0] == 0.0  # true, but not joined to the answer
    assert score("<supported></supported>")[0] == 0.0
    unnamed = NAMES.replace("Miru", "")
    assert score("<supported>1, 2</supported>", unnamed)[0] == 0.0  # both facts have a blank
    value, judge = score("<supported>1, 2</supported>", replies=GOOD)
    assert value == 0.0 and not judge.asked  # nothing is cited
    with pytest.raises(JudgeFailure, match="5 attempts"):
        score("all of them")
    with pytest.raises(JudgeFailure, match="no facts"):
        trajectory_value(carr_by(Judge().agent()), play(CITED, task="none"))


def test_c_grpo_mixes_carr_into_right_episodes_only():
    judge = Judge(**{"<passages>": "<supported>2</supported>", "<reply>": NAMES})
    reward = c_grpo_by(judge.agent())
    assert trajectory_value(reward, play(*SEARCHES, CITED)) == pytest.approx(0.7 + 0.3 * 0.5)
    assert trajectory_value(reward, play(*SEARCHES, CITED.replace("harp <", "drum <"))) == 0.0


def test_facts_of_the_invented_world_chain_from_the_question_to_the_answer():
    env = turngym.make("turngym/ConversationalQA-v0", cite=True)
    lengths = set()
    for task_id in env.tasks("test")[:80]:
        messages, _ = env.reset(options={"task_id": task_id})
        assert "square brackets" in messages[0].content
        facts = env.privileged.hidden_state["rubrics"]
        lengths.add(len(facts))
        assert 0 in facts[-1]["entities"] and "<E0>" in facts[-1]["statement"]
        for before, after in zip(facts, facts[1:], strict=False):
            assert set(before["entities"]) & set(after["entities"])
    assert lengths == {1, 2}


def test_rewards_by_name_as_a_recipe_has_them():
    config = RewardsConfig.model_validate({"default": "add", "search_recall": 0.5, "inforage": 0})
    rubric = config.rubric()
    done = play(*GOOD, rubric=rubric)
    assert done.outcome == pytest.approx(1.5)  # F1 1, and half of recall 1
    assert done.rewards["search_recall"] == 1.0
    assert done.rewards["inforage"] == pytest.approx(0.95**3 * 1.1)
    assert done.success
    assert RewardsConfig().rubric() is None
    with pytest.raises(UnknownNameError, match="'inforage'"):
        find_reward("inforge")
    with pytest.raises(ConfigError, match="asks a judge"):
        find_reward("carr")
    assert find_reward("carr", "random").name == "carr"
    with pytest.raises(ConfigError, match="expected a number"):
        RewardsConfig.model_validate({"inforage": "much"}).rubric()


def test_a_broken_episode_keeps_its_status_under_a_rubric():
    class Down:
        def search(self, queries, k):
            raise turngym.errors.InfraFailure("down")

    def make():
        return ConversationalQA(source=SOURCE, retriever=Down())

    rubric = Rubric(terms=(Weighted(reward=recorded_inforage),))
    seen = []
    agent = ScriptedAgent(lambda context: SEARCHES[0])
    (done,) = rollout(make, agent, [Group(key="g", seed=0)], rubric=rubric, on_episode=seen.append)
    assert done.status is EpisodeStatus.INFRA_ERROR and done.outcome is None
    assert seen == [done] and replace(done, error="") != done
