"""Search: analysis, deterministic ties, limits, a missing library."""

import sys

import pytest

from turngym.envs.web_shop.search import Index
from turngym.errors import MissingExtraError


def test_words_are_lowered_stemmed_and_rid_of_stop_words():
    words = Index(["x"]).words("The Running-Shoes for 2 cafés, and a [BOX]")
    assert words == ["run", "shoe", "2", "café", "box"]


def test_a_rarer_word_and_a_shorter_text_rank_higher():
    texts = ["red shoe", "red shoe with a very long lace", "blue shoe", "red hat"]
    index = Index(texts)
    assert index.search("blue shoes", 4)[0] == 2
    assert index.search("red", 4) == (0, 3, 1)


def test_ties_follow_the_order_of_the_texts_whatever_their_number():
    index = Index(["same words"] * 5000)
    assert index.search("words", 50) == tuple(range(50))


@pytest.mark.parametrize("query", ["", "the of and", "!!!", "unknown", "\ud800", "x" * 10_000])
def test_queries_without_a_known_word_find_nothing(query):
    assert Index(["red shoe"]).search(query, 50) == ()


def test_query_syntax_has_no_meaning():
    assert Index(["red shoe", "hat"]).search('text:hat AND -red "', 50) == (1, 0)


def test_a_missing_library_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "tantivy", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'turngym\[search\]'"):
        Index(["x"])
