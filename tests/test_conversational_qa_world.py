"""The invented world: gold trajectories score the maximum, splits share no entity, demo is short."""

import random
import re

import pytest

import turngym
from turngym.envs.conversational_qa.conversations import InventedSource
from turngym.envs.conversational_qa.expert import expert
from turngym.envs.conversational_qa.tasks import SPLITS, Kind
from turngym.envs.conversational_qa.validate import validate
from turngym.envs.conversational_qa.world import RELATIONS, build_world
from turngym.errors import DataError, UnknownNameError
from turngym.types import assistant, user


def make(**settings):
    return turngym.make("turngym/ConversationalQA-v0", **settings)


def episode(env, task_id, noise=0.0, seed=0):
    """(outcome, messages) of the expert."""
    opening, _ = env.reset(seed=0, options={"task_id": task_id})
    messages = list(opening)
    while True:
        reply = expert(messages, noise=noise, seed=seed)
        new, _, terminated, truncated, info = env.step(reply)
        messages += [assistant(reply), *new]
        if terminated or truncated:
            return info["outcome"], messages


@pytest.mark.parametrize("size", [None, "demo", "search_r1", "chatr1"])
def test_gold_scores_the_maximum_and_wrong_scripts_do_not(size):
    env = make(size=size)
    ids = [task_id for split in SPLITS for task_id in env.tasks(split)[:150]]
    assert validate(env, ids) == []


@pytest.mark.parametrize(
    "settings", [{"whole": True}, {"whole": True, "intent_weight": 0.5, "intent_at": "search"}]
)
def test_whole_conversations_validate_too(settings):
    env = make(**settings)
    assert validate(env, env.tasks("test")[:60]) == []


def test_validate_finds_a_task_whose_reference_is_missing_from_the_scale():
    env = make(num_conversations=5)
    env.settings = env.settings.model_copy(update={"max_turns": 1})  # no room for two hops
    hops = [
        t for t in env.tasks("train") if len(env.source.find(t)[1].questions[0].gold_queries) > 1
    ]
    assert {finding.task_id for finding in validate(env, hops)} == set(hops) != set()


@pytest.mark.slow
@pytest.mark.parametrize("size", [None, "demo"])
def test_every_bundled_task_validates(size):
    assert validate(make(size=size, num_conversations=400)) == []


def test_answers_follow_from_the_passages_alone():
    """Reads facts back from the printed passages, and answers the rewrites by walking over them."""
    world = build_world(90, 3, "plain", 0.2)
    source = InventedSource(num_entities=90, seed=3, gap=0.2, num_conversations=40)
    facts = {}
    for passage in world.passages:
        for relation in RELATIONS:
            pattern = (
                re.escape(relation.fact).replace(r"\{x\}", r"(\w+)").replace(r"\{y\}", r"(\w+)")
            )
            for match in re.finditer(pattern, passage.text):
                facts[relation.name, match[1]] = match[2]

    def walk(rewrite):
        patterns = [(r, re.escape(r.question).replace(r"\{x\}", "(.+)")) for r in RELATIONS]
        relation, inner = next(
            (r, m[1]) for r, p in patterns if (m := re.fullmatch(p, rewrite, re.IGNORECASE))
        )
        for other in RELATIONS:
            phrase = re.escape(other.phrase or "-").replace(r"\{x\}", r"(\w+)")
            if hop := re.fullmatch(phrase, inner):
                return facts.get((relation.name, facts.get((other.name, hop[1]))))
        return facts.get((relation.name, inner))

    checked = 0
    for task_id in source.tasks("train"):
        (question,) = source.find(task_id)[1].questions
        wanted = walk(question.rewrite)
        assert question.references == (() if wanted is None else (wanted,)), question
        checked += wanted is not None
    assert checked > 100


def test_references_to_that_town_mean_the_town_named_last():
    source = InventedSource(num_conversations=120, whole=True)
    kinds = {entity.name: entity.kind for entity in source.world.entities.values()}
    followed = 0
    for task_id in source.tasks("train"):
        named = {}
        for question in source.find(task_id)[1].questions:
            if match := re.search(r"that (person|town|firm)", question.text):
                subject = question.gold_queries[0].rstrip("?").split()
                wanted = question.clarification or named[match[1]]
                assert wanted in subject, (task_id, question)
                followed += not question.clarification
            text = f"{question.text} {question.clarification} {' '.join(question.references)}"
            named |= {kinds[word]: word for word in re.findall(r"\w+", text) if word in kinds}
    assert followed > 50


def test_conversations_hold_every_kind_of_move():
    source = InventedSource()
    tasks = [source.find(task_id)[1] for task_id in source.tasks("train")]
    questions = [task.questions[0] for task in tasks]
    assert {question.kind for question in questions} == set(Kind)
    assert any(q.text.startswith("And ") for q in questions)  # ellipsis
    assert any("that town" in q.text and not q.clarification for q in questions)  # co-reference
    assert any(len(q.gold_queries) == 2 for q in questions)  # two hops
    assert any(q.text == q.rewrite and t.history for t, q in zip(tasks, questions, strict=True))


def test_no_split_shares_an_entity_with_another():
    source = InventedSource(num_entities=120)
    seen = {}
    for split in SPLITS:
        words = set()
        for task_id in source.tasks(split):
            (question,) = source.find(task_id)[1].questions
            words |= {
                *question.gold_passages,
                *re.findall(r"\w+", question.rewrite),
                *question.references,
            }
        seen[split] = words & source.world.entities.keys()
        assert len(seen[split]) > 10
        assert {source.world.entities[name].split for name in seen[split]} == {split}


def test_the_same_seed_gives_the_same_world_and_another_seed_another():
    one, two, other = (InventedSource(num_conversations=20, seed=s) for s in (1, 1, 2))
    assert one.passages == two.passages != other.passages
    ids = list(one.tasks("dev"))
    random.Random(0).shuffle(ids)  # the order of asking makes no difference
    assert {i: one.find(i) for i in ids} == {i: two.find(i) for i in sorted(ids)}


def test_unknown_tasks_and_tiny_worlds_are_refused():
    with pytest.raises(UnknownNameError, match="train-0-0"):
        InventedSource().find("train-0-9")
    with pytest.raises(ValueError, match="at least 45"):
        InventedSource(num_entities=10)


@pytest.mark.parametrize("settings", [{}, {"size": "demo"}, {"whole": True}])
def test_the_scripted_agent_answers_right_from_what_it_sees(settings):
    env = make(**settings)
    ids = [task_id for split in SPLITS for task_id in env.tasks(split)[:200]]
    assert [task_id for task_id in ids if episode(env, task_id)[0] != 1.0] == []


def test_the_scripted_agent_refuses_other_questions():
    with pytest.raises(DataError, match="Where was Kato born"):
        expert([user("User query: Who are you?")])


def test_noise_leaves_room_to_learn():
    env = make(size="demo")
    ids = env.tasks("train")[:400]
    rate = sum(episode(env, t, noise=0.3, seed=n)[0] for n, t in enumerate(ids)) / len(ids)
    assert 0.4 <= rate <= 0.65
