"""Loaders: hand-written rows of every format, and malformed ones."""

import json

import pytest

from turngym.envs.conversational_qa.env import ConversationalQA
from turngym.envs.conversational_qa.loaders import load, split_of
from turngym.envs.conversational_qa.tasks import SPLITS, Exchange, Kind
from turngym.envs.conversational_qa.validate import validate
from turngym.envs.retrieval.bm25 import BM25
from turngym.envs.retrieval.passages import Passage
from turngym.envs.retrieval.qrels import measure, read_qrels, read_queries
from turngym.errors import ConfigError, DataError, UnknownNameError


def written(tmp_path, data, name="data.json"):
    path = tmp_path / name
    text = "\n".join(map(json.dumps, data)) if name.endswith("jsonl") else json.dumps(data)
    path.write_text(text, encoding="utf-8")
    return path


def tasks_of(dataset):
    return {i: dataset.find(i)[1] for split in SPLITS for i in dataset.tasks(split)}


SEARCH_R1 = {
    "data_source": "nq",
    "prompt": [{"role": "user", "content": "Do this. Question: who wrote it?\n"}],
    "reward_model": {"style": "rule", "ground_truth": {"target": ["Kato", "K."]}},
    "extra_info": {"split": "train", "index": 4},
}
CHATR1 = {
    "prompt": [
        {
            "role": "user",
            "content": "Rules. <context>\nUser: Is it big?\nAssistant: No:\nsmall.\n</context>\n"
            "User query: Who runs it?",
        }
    ],
    "reward_model": {
        "ground_truth": [
            {
                "action": "answer",
                "response": "Miru",
                "passage_id": ["p1"],
                "rewrite": "Who runs Kato?",
            },
            {"action": "answer", "response": "M.", "passage_id": [], "rewrite": "Who runs Kato?"},
        ]
    },
}
MTRAG = {
    "conversation_id": "c",
    "task_id": "c<::>2",
    "contexts": [{"document_id": "d", "text": " text ", "title": "T"}],
    "input": [
        {"speaker": "user", "text": "a?"},
        {"speaker": "agent", "text": "b"},
        {"speaker": "user", "text": "c?"},
    ],
    "targets": [{"text": "d"}],
    "answerability": ["UNDERSPECIFIED"],
}
IKAT = {
    "number": "9-1",
    "title": "x",
    "ptkb": {"1": "I run.", "2": "I swim."},
    "turns": [
        {
            "turn_id": 1,
            "utterance": "u1",
            "resolved_utterance": "r1",
            "response": "a1",
            "response_provenance": ["doc:1"],
        },
        {"turn_id": 2, "utterance": "u2", "resolved_utterance": "r2", "response": "a2"},
    ],
}
IKAT_2025 = {
    "number": 3,
    "title": "x",
    "ptkb": ["I run."],
    "responses": [
        {
            "turn_id": 1,
            "user_utterance": "u",
            "resolved_utterance": "r",
            "response": "a",
            "citations": ["z"],
        }
    ],
}
CAST_2021 = {
    "number": 106,
    "turn": [
        {
            "number": n,
            "raw_utterance": f"u{n}",
            "manual_rewritten_utterance": f"r{n}",
            "passage": f"p{n}",
            "canonical_result_id": "D",
            "passage_id": n,
        }
        for n in (1, 2)
    ],
}
CAST_2022 = {
    "number": 132,
    "turn": [
        {
            "number": "1-1",
            "participant": "User",
            "utterance": "u1",
            "manual_rewritten_utterance": "r1",
        },
        {
            "number": "1-2",
            "parent": "1-1",
            "participant": "System",
            "response": "s1",
            "provenance": ["x"],
        },
        {
            "number": "1-3",
            "parent": "1-2",
            "participant": "User",
            "utterance": "u2",
            "manual_rewritten_utterance": "r2",
        },
        {"number": "1-4", "parent": "1-3", "participant": "System", "response": "s2"},
        {
            "number": "2-1",
            "parent": "1-2",
            "participant": "User",
            "utterance": "u3",
            "manual_rewritten_utterance": "r3",
        },
        {"number": "2-2", "parent": "2-1", "participant": "System", "response": "s3"},
    ],
}
QRECC = {
    "Context": ["q", "a"],
    "Question": "it?",
    "Rewrite": "Kato?",
    "Answer": "yes",
    "Conversation_no": 5,
    "Turn_no": 2,
}
TOPIOCQA = [
    {
        "Conversation_no": 1,
        "Turn_no": 1,
        "Question": "q1",
        "Answer": "a1",
        "Additional_answers": [{"Answer": "b1"}],
    },
    {"Conversation_no": 1, "Turn_no": 2, "Question": "q2", "Answer": "UNANSWERABLE"},
]
INSCIT = {
    "conv": {
        "turns": [
            {
                "context": ["q", "a", "q2"],
                "labels": [
                    {
                        "responseType": "clarification",
                        "response": "which?",
                        "evidence": [
                            {"passage_id": "A:1", "passage_text": "t", "passage_titles": ["A", "B"]}
                        ],
                    },
                    {"responseType": "noAnswer", "response": "none", "evidence": []},
                ],
            }
        ]
    }
}
FAITHDIAL = {
    "utterances": [
        {
            "history": ["hello", "q", "a", "q2"],
            "speaker": "Wizard",
            "knowledge": "k",
            "response": "r",
        }
    ]
}


def one(tmp_path, format, data, name="data.json"):
    return tasks_of(load(format, written(tmp_path, data, name)))


def test_search_r1_rows(tmp_path):
    (task,) = one(tmp_path, "search_r1", [SEARCH_R1], "d.jsonl").values()
    assert task.id == "nq-train-4" and task.questions[0].text == "who wrote it?"
    assert task.questions[0].references == ("Kato", "K.")


def test_chatr1_rows(tmp_path):
    (task,) = one(tmp_path, "chatr1", [CHATR1]).values()
    (question,) = task.questions
    assert task.history == (Exchange(question="Is it big?", answer="No:\nsmall."),)
    assert (question.text, question.references) == ("Who runs it?", ("Miru", "M."))
    assert (question.rewrite, question.gold_passages) == ("Who runs Kato?", ("p1",))


def test_mtrag_rows(tmp_path):
    dataset = load("mtrag", written(tmp_path, [MTRAG], "d.jsonl"))
    (task,) = tasks_of(dataset).values()
    assert task.questions[0].kind is Kind.CLARIFY and task.questions[0].text == "c?"
    assert task.history == (Exchange(question="a?", answer="b"),)
    assert dataset.passages == (Passage(id="d", title="T", text="text"),)


def test_ikat_topics_of_both_shapes(tmp_path):
    path = written(tmp_path, [IKAT])
    row = {"doc_id": "doc", "passage_id": "1", "passage_text": "\ntext"}
    written(tmp_path, [row], "data_psg_text.jsonl")
    dataset = load("ikat", path)
    second = tasks_of(dataset)["9-1-2"]
    assert [past.question for past in second.history] == ["I run. I swim.", "u1"]
    assert second.questions[0].rewrite == "r2"
    assert dataset.passages == (Passage(id="doc:1", text="text"),)
    (task,) = one(tmp_path, "ikat", [IKAT_2025], "new.json").values()
    assert task.id == "3-1" and task.questions[0].gold_passages == ("z",)


def test_cast_topics_flat_and_branching(tmp_path):
    flat = load("cast", written(tmp_path, [CAST_2021]))
    assert tasks_of(flat)["106-2"].history == (Exchange(question="u1", answer="p1"),)
    assert tasks_of(flat)["106-2"].questions[0].gold_passages == ("D:2",)
    assert [p.id for p in flat.passages] == ["D:1", "D:2"]
    tree = one(tmp_path, "cast", [CAST_2022], "tree.json")
    assert tree["132_2-2"].history == (Exchange(question="u1", answer="s1"),)  # not u2 of branch 1
    assert tree["132_2-2"].questions[0].rewrite == "r3" and len(tree) == 3


def test_wikipedia_formats(tmp_path):
    (task,) = one(tmp_path, "qrecc", [QRECC]).values()
    assert task.id == "5-2" and task.history == (Exchange(question="q", answer="a"),)
    first, second = one(tmp_path, "topiocqa", TOPIOCQA).values()
    assert first.questions[0].references == ("a1", "b1")
    assert second.questions[0].kind is Kind.NO_ANSWER and second.history[0].answer == "a1"
    (task,) = one(tmp_path, "inscit", INSCIT).values()
    assert task.questions[0].kind is Kind.CLARIFY and task.questions[0].references == ("which?",)
    (task,) = one(tmp_path, "faithdial", [FAITHDIAL]).values()
    assert task.questions[0].text == "q2" and task.history == (Exchange(question="q", answer="a"),)


def test_multidoc2dial_folder(tmp_path):
    span = {"start_sp": 0, "id_sec": "s1"}
    spans = {"1": span | {"text_sp": "One. "}, "2": span | {"text_sp": "Two."}}
    document = {"doc_id": "D", "title": "Doc", "domain": "x", "spans": spans}
    turns = [
        {
            "turn_id": 1,
            "role": "user",
            "utterance": "q",
            "references": [{"id_sp": "2", "doc_id": "D"}],
        },
        {
            "turn_id": 2,
            "role": "agent",
            "utterance": "a",
            "references": [{"id_sp": "2", "doc_id": "D"}],
        },
        {"turn_id": 3, "role": "user", "utterance": "thanks", "references": []},
        {"turn_id": 4, "role": "agent", "utterance": "bye", "references": []},
    ]
    written(tmp_path, {"doc_data": {"x": {"D": document}}}, "multidoc2dial_doc.json")
    dialogue = {"dial_id": "d1", "turns": turns}
    written(tmp_path, {"dial_data": {"x": [dialogue]}}, "multidoc2dial_dial_train.json")
    dataset = load("multidoc2dial", tmp_path)
    (task,) = tasks_of(dataset).values()
    assert dataset.passages == (Passage(id="D#s1", title="Doc", text="One. Two."),)
    assert task.id == "d1-2" and task.questions[0].gold_passages == ("D#s1",)
    turns[1]["references"][0]["id_sp"] = "9"
    written(tmp_path, {"dial_data": {"x": [dialogue]}}, "multidoc2dial_dial_train.json")
    with pytest.raises(DataError, match="span of the documents"):
        load("multidoc2dial", tmp_path)


def without(row, name):
    return {key: value for key, value in row.items() if key != name}


@pytest.mark.parametrize(
    ("format", "data", "name", "message"),
    [
        (
            "search_r1",
            [without(SEARCH_R1, "reward_model")],
            "d.jsonl",
            r"d\.jsonl:1: field 'reward_model'",
        ),
        ("search_r1", [SEARCH_R1 | {"prompt": [{"content": "hi"}]}], "d.jsonl", "Question: "),
        ("search_r1", [SEARCH_R1, SEARCH_R1], "d.jsonl", "'nq-train-4' comes twice"),
        ("search_r1", [], "d.jsonl", "no task"),
        (
            "chatr1",
            [CHATR1 | {"reward_model": {"ground_truth": []}}],
            "d.json",
            "at least one entry",
        ),
        ("mtrag", [MTRAG | {"answerability": ["MAYBE"]}], "d.jsonl", "UNANSWERABLE"),
        ("mtrag", [MTRAG | {"input": MTRAG["input"][:2]}], "d.jsonl", "speakers alternate"),
        ("ikat", [without(IKAT, "turns")], "d.json", r"\[0\]: field 'turns' or 'responses'"),
        ("ikat", {"a": 1}, "d.json", "expected a list"),
        (
            "cast",
            [{"number": 1, "turn": [{"number": 1, "raw_utterance": 3}]}],
            "d.json",
            "a string, got 3",
        ),
        ("qrecc", [QRECC | {"Context": ["q"]}], "d.json", "alternates"),
        ("qrecc", [without(QRECC, "Rewrite")], "d.json", "'Rewrite' or 'Truth_rewrite'"),
        ("topiocqa", [3], "d.json", r"\[0\]: expected an object, got 3"),
        ("inscit", {"c": {"turns": [{"context": ["q"], "labels": []}]}}, "d.json", "responseType"),
        ("faithdial", [{"utterances": 1}], "d.json", "expected a list, got 1"),
    ],
)
def test_malformed_rows_name_their_place(tmp_path, format, data, name, message):
    with pytest.raises(DataError, match=message):
        load(format, written(tmp_path, data, name))


def test_missing_files_unknown_formats_and_missing_corpora(tmp_path):
    with pytest.raises(DataError, match="cannot read"):
        load("ikat", tmp_path / "none.json")
    with pytest.raises(DataError, match="parquet"):
        load("search_r1", tmp_path / "train.parquet")
    with pytest.raises(UnknownNameError, match="Did you mean 'mtrag'"):
        load("mtrak", tmp_path)
    path = written(tmp_path, [SEARCH_R1], "d.jsonl")
    with pytest.raises(ConfigError, match="brings no passages"):
        ConversationalQA(data=path, format="search_r1")
    corpus = written(tmp_path, [{"id": 1, "contents": "Kato\nwrote it"}], "corpus.jsonl")
    env = ConversationalQA(data=path, format="search_r1", corpus=corpus, cache=tmp_path / "cache")
    assert validate(env) == [] and (tmp_path / "cache").is_dir()


def test_splits_go_by_conversation_and_come_near_their_shares():
    shares = [split_of(str(n)) for n in range(2000)]
    assert [round(shares.count(split) / 2000, 1) for split in SPLITS] == [0.6, 0.2, 0.2]


def test_damaged_judgements_and_queries_name_their_line(tmp_path):
    path = tmp_path / "q.tsv"
    for text, message in [
        ("a\tb\tc\n", "header"),
        ("query-id\tcorpus-id\tscore\nq\td\n", r"tsv:2"),
        ("query-id\tcorpus-id\tscore\nq\td\tx\n", r"tsv:2"),
    ]:
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            read_qrels(path)
    path.write_text('{"_id": "q"}')
    with pytest.raises(DataError, match=r"tsv:1"):
        read_queries(path)
    with pytest.raises(DataError, match="1 of 1 judged queries"):
        measure(BM25([Passage(id="a", text="b")]), {}, {"q": {"a": 1}}, 3)
