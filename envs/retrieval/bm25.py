"""BM25 in process, by tantivy: built once, cached on disk, memory-mapped, the same in every process.

Title and text are one field, split at everything but letters and digits, lower-cased, stripped of
English stop words and stemmed. k1 = 1.2 and b = 0.75 are tantivy's (pyserini uses 0.9 and 0.4).
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from turngym.envs.retrieval.analysis import english
from turngym.envs.retrieval.passages import Hit, Passage, check_k, read_corpus
from turngym.errors import DataError, MissingExtraError

__all__ = ["BM25"]

_FORMAT = "1"
_ANALYZER = "turngym_english"


class BM25:
    """A BM25 index over passages; ties follow the order in which the passages came.

    Example:
        >>> index = BM25([Passage(id="1", text="red shoes"), Passage(id="2", text="blue shoes")])
        >>> index.search(["shoe blue"], k=1)[0][0].passage.id
        '2'

    Raises:
        MissingExtraError: tantivy is not installed.
    """

    def __init__(self, passages: Iterable[Passage], *, heap_bytes: int = 512_000_000) -> None:
        """An index in memory.

        Args:
            passages: with distinct ids.
            heap_bytes: room for building; one segment, and so exact tie order, needs about 300
                bytes per passage of 50 words.
        """
        kept = tuple(passages)
        self._origin: tuple[Any, ...] = (BM25, (kept,))
        self._tantivy = _import_tantivy()
        self._attach(_build(self._tantivy, kept, None, heap_bytes))

    @classmethod
    def cached(
        cls,
        passages: Sequence[Passage],
        folder: str | Path | None = None,
        *,
        heap_bytes: int = 512_000_000,
    ) -> BM25:
        """The index of `passages` on disk, built at the first call and memory-mapped at each.

        Args:
            passages: with distinct ids; their content is the key of the cache.
            folder: where indexes are kept; None is `$XDG_CACHE_HOME/turngym/bm25`.
            heap_bytes: as above.
        """
        return cls._kept(_content_key(passages), lambda: passages, folder, heap_bytes)

    @classmethod
    def of_file(
        cls,
        path: str | Path,
        folder: str | Path | None = None,
        *,
        heap_bytes: int = 512_000_000,
    ) -> BM25:
        """The index of a corpus file (`read_corpus`), read only when it has to be built.

        Its path, size and time of change are the key of the cache, so that millions of passages
        open at once.

        Raises:
            DataError: the file is missing or malformed, or an id comes twice.
        """
        try:
            file = Path(path).resolve()
            found = file.stat()
        except OSError as error:
            raise DataError(f"cannot read the corpus {path}: {error.strerror}") from error
        key = _digest(f"{file}/{found.st_size}/{found.st_mtime_ns}".encode())
        return cls._kept(key, lambda: read_corpus(file), folder, heap_bytes)

    @classmethod
    def _kept(
        cls,
        key: str,
        passages: Callable[[], Iterable[Passage]],
        folder: str | Path | None,
        heap_bytes: int,
    ) -> BM25:
        home = Path(folder) if folder is not None else _default_folder()
        target = home / key
        if not target.is_dir():
            home.mkdir(parents=True, exist_ok=True)
            partial = Path(tempfile.mkdtemp(prefix=".building-", dir=home))
            try:
                _build(_import_tantivy(), passages(), partial, heap_bytes)
                partial.rename(target)  # whole or not at all, also when two processes build
            except OSError:
                if not target.is_dir():
                    raise
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        return cls._open(str(target))

    @classmethod
    def _open(cls, folder: str) -> BM25:
        index = cls.__new__(cls)
        index._origin = (cls._open, (folder,))
        index._tantivy = _import_tantivy()
        index._attach(index._tantivy.Index.open(folder))
        return index

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as its folder or, when it lives in memory, as its passages."""
        return self._origin

    def __len__(self) -> int:
        """Number of passages."""
        return int(self._searcher.num_docs)

    def search(self, queries: Sequence[str], k: int) -> list[tuple[Hit, ...]]:
        """For each query at most `k` hits with a word in common, best first.

        A repeated word of the query counts twice, as in Lucene's bag of words.
        """
        check_k(k)
        return [self._find(query, k) for query in queries]

    def _attach(self, index: Any) -> None:
        self._analyzer = english(self._tantivy)
        self._index = index
        self._searcher = index.searcher()
        self._find = functools.lru_cache(maxsize=4096)(self._search)

    def _search(self, query: str, k: int) -> tuple[Hit, ...]:
        tantivy = self._tantivy
        terms = self._analyzer.analyze(query)
        if not terms:
            return ()
        schema = self._index.schema
        clauses = [
            (tantivy.Occur.Should, tantivy.Query.term_query(schema, "contents", term))
            for term in terms
        ]
        found = self._searcher.search(tantivy.Query.boolean_query(clauses), k, count=False)
        return tuple(self._hit(score, address) for score, address in found.hits)

    def _hit(self, score: float, address: Any) -> Hit:
        packed = self._searcher.doc(address).get_first("passage")
        id, title, text = json.loads(bytes(packed))
        return Hit(passage=Passage(id=id, title=title, text=text), score=float(score))


def _build(tantivy: Any, passages: Iterable[Passage], folder: Path | None, heap: int) -> Any:
    builder = tantivy.SchemaBuilder()
    builder.add_bytes_field("passage", stored=True, indexed=False)  # what a hit shows
    builder.add_text_field("contents", tokenizer_name=_ANALYZER, index_option="freq")
    index = tantivy.Index(builder.build(), path=None if folder is None else str(folder))
    index.register_tokenizer(_ANALYZER, english(tantivy))
    writer = index.writer(heap, 1)  # one thread: passages keep their order
    seen = set[str]()
    try:
        for passage in passages:
            if passage.id in seen:
                raise DataError(f"passage id {passage.id!r} comes twice: ids must be distinct")
            seen.add(passage.id)
            document = tantivy.Document()
            document.add_bytes("passage", _pack(passage))
            document.add_text("contents", f"{passage.title}\n{passage.text}")
            writer.add_document(document)
        writer.commit()
    finally:
        writer.wait_merging_threads()  # gives the writer up: nothing is written after this
    index.reload()
    return index


def _pack(passage: Passage) -> bytes:
    return json.dumps((passage.id, passage.title, passage.text)).encode()


def _import_tantivy() -> Any:
    try:
        import tantivy
    except ImportError as error:
        raise MissingExtraError("tantivy", "search") from error
    return tantivy


def _content_key(passages: Iterable[Passage]) -> str:
    return _digest(*map(_pack, passages))


def _digest(*parts: bytes) -> str:
    state = hashlib.sha256(f"{_FORMAT}/{_import_tantivy().__version__}".encode())
    for part in parts:
        state.update(b"\n" + part)
    return state.hexdigest()[:32]


def _default_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "turngym" / "bm25"
