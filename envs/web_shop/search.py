"""Full-text search over a catalog: BM25 by tantivy.

tantivy was chosen over bm25s by measurement (benchmarks/web_shop.py): one small wheel without
dependencies, no compilation in each process, and at 100,000 products well under a millisecond.
Texts are split at everything but letters and digits, lower-cased, stripped of English stop words
and stemmed, as Lucene's English analyser does in the original. tantivy's BM25 uses k1 = 1.2 and
b = 0.75 (pyserini: 0.9 and 0.4).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

from turngym.errors import MissingExtraError

__all__ = ["Index"]

_HEAP_BYTES = 512_000_000
"""Room for one segment of a million short texts: ties then follow the order of the catalog."""


class Index:
    """An in-memory BM25 index; the same texts give the same ranking in every process.

    Example:
        >>> Index(["red shoes", "blue shoes"]).search("shoe blue", limit=1)
        (1,)
    """

    def __init__(self, texts: Iterable[str], *, heap_bytes: int = _HEAP_BYTES) -> None:
        try:
            import tantivy
        except ImportError as error:
            raise MissingExtraError("tantivy", "search") from error
        builder = tantivy.SchemaBuilder()
        builder.add_text_field("text", stored=False, tokenizer_name="shop", index_option="freq")
        self._schema = builder.build()
        self._analyzer = _english(tantivy)
        index = tantivy.Index(self._schema)
        index.register_tokenizer("shop", self._analyzer)
        writer = index.writer(heap_bytes, 1)  # one thread: documents keep their order
        for text in texts:
            writer.add_document(tantivy.Document(text=text))
        writer.commit()
        writer.wait_merging_threads()
        index.reload()
        self._searcher = index.searcher()
        self._find = functools.lru_cache(maxsize=4096)(self._search)

    def search(self, query: str, limit: int) -> tuple[int, ...]:
        """Numbers of the best texts, best first, ties in the order of the texts."""
        return self._find(query, limit)

    def _search(self, query: str, limit: int) -> tuple[int, ...]:
        import tantivy

        terms = self._analyzer.analyze(query)
        if not terms:
            return ()
        clauses = [
            (tantivy.Occur.Should, tantivy.Query.term_query(self._schema, "text", term))
            for term in terms
        ]
        # A repeated word counts twice, as in Lucene's bag of words.
        query_tree = tantivy.Query.boolean_query(clauses)
        hits = self._searcher.search(query_tree, limit, count=False).hits
        return tuple(address.doc for _, address in hits)


def _english(tantivy: Any) -> Any:
    chain = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
    for step in (
        tantivy.Filter.lowercase(),
        tantivy.Filter.stopword("english"),
        tantivy.Filter.stemmer("english"),
    ):
        chain = chain.filter(step)
    return chain.build()
