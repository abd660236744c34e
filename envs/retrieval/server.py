"""A search server with the Search-R1 protocol over any retriever (see client.py)."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from turngym.envs.retrieval.passages import Hit, Retriever
from turngym.errors import MissingExtraError

if TYPE_CHECKING:
    from aiohttp import web

__all__ = ["make_app"]

_MAX_K = 1000


def make_app(retriever: Retriever) -> web.Application:
    """An aiohttp application: `POST /retrieve`, and `GET /health` for start-up checks.

    Searches run in a thread, so that slow ones do not keep others from being accepted. Requests
    that are not of the protocol are answered with status 400 and `{"error": ...}`.

    Raises:
        MissingExtraError: aiohttp is not installed.
    """
    try:
        from aiohttp import web
    except ImportError as error:
        raise MissingExtraError("aiohttp", "serve") from error

    async def retrieve(request: web.Request) -> web.Response:
        try:
            queries, k, with_scores = _request(await request.json())
        except (json.JSONDecodeError, ValueError) as error:
            return web.json_response({"error": str(error)}, status=400)
        found = await asyncio.to_thread(retriever.search, queries, k)
        rows = [[_document(hit, with_scores) for hit in hits] for hits in found]
        return web.json_response({"result": rows})

    async def health(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    app = web.Application(client_max_size=16 * 2**20)
    app.router.add_post("/retrieve", retrieve)
    app.router.add_get("/health", health)
    return app


def _request(body: Any) -> tuple[list[str], int, bool]:
    if not isinstance(body, dict):
        raise ValueError(f"the body must be an object with `queries`, got {body!r:.80}")
    queries = body.get("queries")
    if not isinstance(queries, list) or not all(isinstance(query, str) for query in queries):
        raise ValueError(f"`queries` must be a list of strings, got {queries!r:.80}")
    k = body.get("topk")
    k = 3 if k is None else k  # the original's default
    if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= _MAX_K:
        raise ValueError(f"`topk` must be a number from 1 to {_MAX_K}, got {k!r:.80}")
    return queries, k, bool(body.get("return_scores", False))


def _document(hit: Hit, with_score: bool) -> dict[str, Any]:
    document = {"id": hit.passage.id, "contents": hit.passage.contents}
    # Without scores the original answers the bare documents.
    return {"document": document, "score": hit.score} if with_score else document
