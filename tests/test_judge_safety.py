"""turngym check-judge: a good judge passes, each kind of bad one is exposed by its own probe."""

import json
import re

import pytest
from typer.testing import CliRunner

from turngym.agents.scripted import ScriptedAgent
from turngym.cli import app
from turngym.rewards.equivalence import MASTER_KEYS
from turngym.rewards.judge_pairs import PAIRS
from turngym.rewards.judge_safety import PROBES, check_judge
from turngym.rewards.judged import FIELDS

SAME, DIFFERENT = "<verdict>same</verdict>", "<verdict>different</verdict>"
RIGHT = {(pair.right, pair.reference) for pair in PAIRS}


def asked(context):
    """The answer and the references in an equivalence question; None for a checklist one."""
    text = context.new[-1].content
    given = re.search(r"<given>(.*)</given>", text, re.DOTALL)
    return (given[1], re.findall(r"<reference>(.*?)</reference>", text)) if given else None


def good(context):
    if found := asked(context):
        answer, references = found
        return SAME if any((answer, each) in RIGHT for each in references) else DIFFERENT
    return json.dumps({**dict.fromkeys(FIELDS[:4], "because"), "answer": True})


def fooled_by(words):
    def judge(context):
        found = asked(context)
        return SAME if found and found[0] in words else good(context)

    return judge


def likes_the_first(context):
    if found := asked(context):
        answer, references = found
        return SAME if (answer, references[0]) in RIGHT else DIFFERENT
    return good(context)


def verdict_first(context):
    if asked(context):
        return good(context)
    return json.dumps({"answer": True, **dict.fromkeys(FIELDS[:4], "because")})


def points(context):
    found = asked(context)
    return SAME if found and "reference" in found[0].lower() else good(context)


def rates(script, pairs=PAIRS[:6]):
    return {each.name: each for each in check_judge(ScriptedAgent(script), pairs=pairs)}


def test_a_good_judge_makes_no_mistake_and_every_probe_asks():
    found = rates(good, PAIRS)
    assert list(found) == list(PROBES)
    assert {each.bad for each in found.values()} == {0}
    assert found["master_keys"].asked == len(PAIRS) * len(MASTER_KEYS)
    assert min(each.asked for each in found.values()) == len(PAIRS) == 24


@pytest.mark.parametrize(
    ("script", "exposed"),
    [
        (fooled_by(MASTER_KEYS), {"master_keys"}),
        (fooled_by(("", "   ")), {"empty"}),
        (fooled_by({pair.wrong for pair in PAIRS}), {"wrong"}),
        (points, {"gold_leakage"}),
        (likes_the_first, {"position_flip"}),
        (verdict_first, {"verdict_first"}),
        (lambda context: DIFFERENT if asked(context) else good(context), {"right"}),
        (
            lambda context: SAME if asked(context) else good(context),
            {"master_keys", "empty", "wrong", "gold_leakage"},
        ),
    ],
)
def test_each_bad_habit_is_exposed_by_its_probe_alone(script, exposed):
    assert {name for name, each in rates(script).items() if each.bad} == exposed


def test_a_judge_without_verdicts_counts_as_neither_right_nor_wrong():
    found = rates(lambda context: "I would rather not say.")
    assert all((each.bad, each.asked) == (0, 0) and each.failed > 0 for each in found.values())


def test_half_the_master_keys_are_half_the_rate():
    found = rates(fooled_by(MASTER_KEYS[:5]))["master_keys"]
    assert (found.rate, len(found.examples)) == (0.5, 3)


def test_no_reference_of_a_pair_is_what_another_pair_says_is_right():
    assert len({pair.reference for pair in PAIRS}) == len(PAIRS)
    assert not {pair.wrong for pair in PAIRS} & {pair.right for pair in PAIRS}


def run(*arguments):
    return CliRunner().invoke(app, ["check-judge", *arguments])


def test_the_command_exposes_a_judge_that_always_says_the_same():
    result = run("random:<verdict>same</verdict>", "--pairs", "3", "--json")
    assert result.exit_code == 1
    rows = [json.loads(line) for line in result.output.splitlines() if line.startswith("{")]
    found = {row["probe"]: row for row in rows}
    assert found["master_keys"] == {
        "probe": "master_keys",
        "wrong": 30,
        "asked": 30,
        "low": pytest.approx(0.4385, abs=1e-3),  # Wilson for 3 of 3 pairs, not for 30 of 30
        "high": pytest.approx(1.0),
        "no_verdict": 0,
        "passes": False,
    }
    assert found["right"]["passes"]
    assert not found["verdict_first"]["passes"]  # it never gives a verdict in that form


def test_the_command_shows_a_table_and_names_what_is_not_safe():
    result = run("random:<verdict>different</verdict>", "--pairs", "2")
    assert result.exit_code == 1
    assert "not safe: verdict_first, right" in result.output
    assert run("judge:none").exit_code == 2
