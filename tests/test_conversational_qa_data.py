"""The real data sets, where they lie: counts, validation, and retrieval as trec_eval scores it."""

import os
from pathlib import Path

import pytest

from turngym.envs.conversational_qa.env import ConversationalQA
from turngym.envs.conversational_qa.loaders import load
from turngym.envs.conversational_qa.tasks import SPLITS, Kind
from turngym.envs.conversational_qa.validate import validate
from turngym.envs.retrieval.bm25 import BM25
from turngym.envs.retrieval.passages import Passage
from turngym.envs.retrieval.qrels import measure, read_qrels, read_queries

SHARED = Path(
    os.environ.get("TURNGYM_SHARED") or Path(__file__).resolve().parents[1].parent / "shared"
)
real = pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="needs the data sets beside it")


def tasks_of(dataset):
    return {i: dataset.find(i)[1] for split in SPLITS for i in dataset.tasks(split)}


@real
def test_mtrag_un_is_a_closed_world_of_507_tasks_over_1152_documents():
    env = ConversationalQA(data=SHARED / "data/mtrag/mtragun_reference.jsonl", format="mtrag")
    found = tasks_of(env.source)
    kinds = [task.questions[0].kind for task in found.values()]
    assert len(found) == 507 and len(env.source.passages) == 1152
    assert [kinds.count(kind) for kind in Kind] == [285 + 47, 97, 78]
    assert validate(env) == []


@real
def test_ikat_2023_gold_trajectories_earn_the_intent_term_with_human_rewrites():
    path = SHARED / "data/ikat/2023_test_topics.json"
    env = ConversationalQA(data=path, format="ikat", intent_weight=1.0, intent_at="search")
    assert len(tasks_of(env.source)) == 332 and len(env.source.passages) == 700
    assert validate(env) == []


@real
@pytest.mark.parametrize(
    ("path", "format", "count"),
    [
        ("ikat/2023_train_topics.json", "ikat", 95),
        ("ikat/2024_test_topics.json", "ikat", 218),
        ("trec_cast/2021_manual_evaluation_topics_v1.0.json", "cast", 239),
        ("trec_cast/2022_evaluation_topics_tree_v1.0.json", "cast", 203),
        ("scai_qrecc/ground-truth.sample.json", "qrecc", 3),
    ],
)
def test_every_turn_of_the_real_files_is_a_task(path, format, count):
    assert len(tasks_of(load(format, SHARED / "data" / path))) == count


@real
@pytest.mark.parametrize(("name", "queries"), [("clapnq", 208), ("cloud", 188)])
def test_the_judgements_of_mtrag_are_read_and_a_perfect_ranking_scores_one(name, queries):
    folder = SHARED / "data/mtrag"
    qrels = read_qrels(folder / f"{name}_qrels_dev.tsv")
    texts = read_queries(folder / f"{name}_rewrite.jsonl")
    assert qrels.keys() == texts.keys() and len(qrels) == queries
    assert not any("|user|" in text for text in texts.values())
    # A corpus in which each document says the queries that it is relevant for, and nothing else.
    says = {}
    for query, judged in qrels.items():
        for passage in judged:
            says.setdefault(passage, []).append(f"unique{query.replace('<::>', 'x')}")
    index = BM25([Passage(id=i, text=" ".join(words)) for i, words in says.items()])
    marks = {query: f"unique{query.replace('<::>', 'x')}" for query in qrels}
    quality = measure(index, marks, qrels, k=100)
    assert (quality.recall, quality.ndcg) == pytest.approx((1.0, 1.0))


@real
def test_retrieval_on_mtrag_un_scores_what_trec_eval_says():
    dataset = load("mtrag", SHARED / "data/mtrag/mtragun_reference.jsonl")
    asked = {name: task.questions[0] for name, task in tasks_of(dataset).items()}
    qrels = {n: dict.fromkeys(q.gold_passages, 1.0) for n, q in asked.items() if q.gold_passages}
    found = measure(BM25(dataset.passages), {n: q.text for n, q in asked.items()}, qrels, k=5)
    assert (found.recall, found.ndcg, found.num_queries) == pytest.approx(
        (0.733590, 0.731365, 377), abs=1e-3
    )


@real
def test_human_rewrites_find_more_than_raw_questions_on_ikat():
    dataset = load("ikat", SHARED / "data/ikat/2023_test_topics.json")
    known = {passage.id for passage in dataset.passages}
    asked = {name: task.questions[0] for name, task in tasks_of(dataset).items()}
    qrels = {
        name: dict.fromkeys(q.gold_passages, 1.0) for name, q in asked.items() if q.gold_passages
    }
    assert all(set(judged) <= known for judged in qrels.values())
    index = BM25(dataset.passages)
    raw = measure(index, {name: q.text for name, q in asked.items()}, qrels, k=5)
    rewritten = measure(index, {name: q.rewrite or q.text for name, q in asked.items()}, qrels, k=5)
    # trec_eval's recall.5 and ndcg_cut.5 for these rankings (pytrec-eval-terrier, tantivy 0.27).
    assert (raw.recall, raw.ndcg, raw.num_queries) == pytest.approx(
        (0.269207, 0.241783, 280), abs=1e-3
    )
    assert (rewritten.recall, rewritten.ndcg) == pytest.approx((0.510960, 0.446853), abs=1e-3)
