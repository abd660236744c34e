"""Opens what settings name: the source of tasks and the retriever, once per process."""

from __future__ import annotations

import functools
import threading
from pathlib import Path

from turngym.envs.conversational_qa.conversations import InventedSource
from turngym.envs.conversational_qa.loaders import load
from turngym.envs.conversational_qa.settings import ConversationalQASettings
from turngym.envs.conversational_qa.tasks import Source, Split
from turngym.envs.retrieval.batched import Batched
from turngym.envs.retrieval.bm25 import BM25
from turngym.envs.retrieval.client import SearchServer
from turngym.envs.retrieval.passages import Retriever
from turngym.envs.retrieval.recording import Recording
from turngym.errors import ConfigError

__all__ = ["open_retriever", "open_source"]


def open_source(settings: ConversationalQASettings) -> Source:
    """The data set, or the invented world, that the settings describe.

    Raises:
        DataError: the data is missing or malformed.
        UnknownNameError: no loader of that name.
    """
    with _opening:
        return _source(settings)


def _source(settings: ConversationalQASettings) -> Source:
    if settings.data is not None:
        return _loaded(settings.format or "", settings.data)
    return _invented(
        num_entities=settings.num_entities,
        num_conversations=settings.num_conversations,
        num_questions=settings.num_questions,
        voice="terse" if settings.brief else "plain",
        gap=settings.gap,
        unclear=settings.unclear if settings.mixed_initiative else 0.0,
        whole=settings.whole,
        seed=settings.seed,
    )


def open_retriever(settings: ConversationalQASettings, source: Source, split: Split) -> Retriever:
    """A server, an index of the user's corpus (cached on disk) or of the source's own passages.

    In the invented world only passages of `split` are found, so that no search that fails in
    training shows an entity of another one.

    Raises:
        ConfigError: the source brings no passages and no corpus or server is named.
        DataError: the corpus or the recording is missing or malformed.
    """
    with _opening:
        return _retriever(settings, source, split)


def _retriever(settings: ConversationalQASettings, source: Source, split: Split) -> Retriever:
    if settings.server is not None:
        retriever: Retriever = _server(settings.server)
    elif settings.corpus is not None:
        retriever = _corpus_index(settings.corpus, settings.cache)
    elif isinstance(source, InventedSource):
        retriever = _world_index(source, split)
    elif source.passages:
        retriever = _own_index(source)
    else:
        raise ConfigError(
            f"data of format {settings.format!r} brings no passages: name a `corpus` "
            "(JSON lines with id and contents) or a search `server`"
        )
    return retriever if settings.recording is None else _recording(settings.recording, retriever)


# Environments are made by the hundred, in threads; what they share is opened once.
_opening = threading.Lock()
_invented = functools.lru_cache(maxsize=8)(InventedSource)
_loaded = functools.lru_cache(maxsize=8)(load)


@functools.lru_cache(maxsize=8)
def _server(url: str) -> Batched:
    # One for all environments: episodes that search at the same time share a request.
    return Batched(SearchServer(url))


@functools.lru_cache(maxsize=8)
def _recording(path: Path, retriever: Retriever) -> Recording:
    return Recording(path, retriever)


@functools.lru_cache(maxsize=8)
def _corpus_index(corpus: Path, cache: Path | None) -> BM25:
    return BM25.of_file(corpus, cache)


@functools.lru_cache(maxsize=32)
def _world_index(source: InventedSource, split: Split) -> BM25:
    return BM25(source.passages_of(split), heap_bytes=64_000_000)


@functools.lru_cache(maxsize=8)
def _own_index(source: Source) -> BM25:
    return BM25(source.passages, heap_bytes=64_000_000)
