"""EmoBench as an evaluation of any agent."""

import asyncio
import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from turngym.cli import app
from turngym.envs.emotional_support.emobench import chosen, evaluate, load_emobench
from turngym.errors import InfraFailure
from turngym.types import Completion, assistant

DEFAULT_SHARED = Path(__file__).resolve().parents[1].parent / "shared"
DATA = Path(os.environ.get("TURNGYM_SHARED", DEFAULT_SHARED)) / "data"
needs_emobench = pytest.mark.skipif(not (DATA / "emobench").exists(), reason="no EmoBench here")


@pytest.mark.parametrize(
    ("answer", "index"),
    [
        ("B", 1),
        ("(b)", 1),
        ("**C**", 2),
        ("A. Joy, because", 0),
        ("The answer is (C).", 2),
        ("<think>A or B?</think>B", 1),
        ("答案是B", 1),
        ("Grief", 2),
        ("A or B", None),
        ("", None),
        ("Because of grief", None),
        ("D", None),
    ],
)
def test_which_choice_an_answer_names(answer, index):
    assert chosen(answer, ("Joy", "Anger", "Grief")) == index


class Always:
    def __init__(self, answer):
        self.answer = answer

    async def act(self, context, *, sampling, seed):
        answer = self.answer(context.new[-1].content) if callable(self.answer) else self.answer
        return Completion(message=assistant(answer))


@needs_emobench
def test_emobench_scores_a_perfect_a_constant_and_a_silent_agent():
    ea, eu = (load_emobench(DATA / f"emobench/{name}.jsonl") for name in ("EA", "EU"))
    gold = {question.prompt: "ABCDEF"[question.answer] for question in (*ea, *eu)}
    assert evaluate(Always(gold.__getitem__), ea).accuracy == 1.0
    assert evaluate(Always(gold.__getitem__), eu).accuracy == 1.0
    first = evaluate(Always("A"), ea)
    lines = (DATA / "emobench/EA.jsonl").read_text(encoding="utf-8").splitlines()
    labels = [json.loads(line) for line in lines]
    at_first = sum(row["label"].strip() == row["choices"][0].strip() for row in labels)
    assert first.accuracy == at_first / 400 and first.unreadable == 0
    silent = evaluate(Always(""), eu)
    assert (silent.accuracy, silent.unreadable, silent.items) == (0.0, 800, 400)
    assert len(load_emobench(DATA / "emobench/EA.jsonl", language="en")) == 200


@needs_emobench
def test_understanding_counts_only_when_emotion_and_cause_are_right():
    eu = load_emobench(DATA / "emobench/EU.jsonl")
    gold = {question.prompt: "ABCDEF"[question.answer] for question in eu}
    emotions = {question.prompt for question in eu[::2]}
    half = evaluate(Always(lambda prompt: gold[prompt] if prompt in emotions else "?"), eu)
    assert (half.accuracy, half.question_accuracy) == (0.0, 0.5)


QUESTION = (
    '{"qid": %d, "language": "en", "category": "c%d", "question type": "Action", '
    '"scenario": "Rain.", "subject": "Ada", "choices": ["Go", "Stay"], "label": "Stay"}\n'
)


@pytest.fixture
def four_questions(tmp_path):
    path = tmp_path / "EA.jsonl"
    path.write_text("".join(QUESTION % (i, i % 2) for i in range(4)), encoding="utf-8")
    return load_emobench(path)


def test_what_could_not_be_asked_is_left_out_and_counted(four_questions):
    class Shaky(Always):
        async def act(self, context, *, sampling, seed):
            if context.episode == "emobench/1":
                raise InfraFailure("the server is gone")
            return await super().act(context, sampling=sampling, seed=seed)

    score = evaluate(Shaky("B"), four_questions)
    assert (score.accuracy, score.items, score.failed, score.unreadable) == (1.0, 3, 1, 0)

    class Gone(Always):
        async def act(self, context, *, sampling, seed):
            raise InfraFailure("the server is gone")

    with pytest.raises(InfraFailure, match="server is gone"):
        evaluate(Gone(""), four_questions)


def test_questions_are_asked_together_up_to_a_bound(four_questions):
    class Counting(Always):
        now = most = 0

        async def act(self, context, *, sampling, seed):
            Counting.now += 1
            Counting.most = max(Counting.most, Counting.now)
            await asyncio.sleep(0.01)
            Counting.now -= 1
            return await super().act(context, sampling=sampling, seed=seed)

    assert evaluate(Counting("A"), four_questions, concurrency=3).accuracy == 0
    assert Counting.most == 3


def test_the_command_scores_an_agent_and_keeps_the_figures(four_questions, tmp_path):
    path, out = tmp_path / "EA.jsonl", tmp_path / "scores.json"
    runner = CliRunner()
    done = runner.invoke(app, ["emobench", str(path), "--agent", "random:B", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "accuracy 1.000 [0.510, 1.000] over 4 items" in done.output  # Wilson: 4 / (4 + z^2)
    assert json.loads(out.read_text())["EA.jsonl"]["by_category"] == {"c0": 1.0, "c1": 1.0}
    few = runner.invoke(app, ["emobench", str(path), "--agent", "random:A", "--limit", "3"])
    assert "accuracy 0.000 [0.000, 0.561] over 3 items" in few.output
    again = runner.invoke(app, ["emobench", str(path), "--agent", "random:B", "--out", str(out)])
    assert again.exit_code == 2 and "exists already" in again.output
    none = runner.invoke(app, ["emobench", str(path), "--agent", "random:B", "--language", "zh"])
    assert none.exit_code == 2 and "no question in zh" in none.output
