"""`turngym serve-search`: a search server over a corpus."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["serve_search"]


def serve_search(
    corpus: Annotated[
        Path, typer.Argument(help="JSON lines with id and contents, as Search-R1 uses.")
    ],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
    cache: Annotated[
        Path | None, typer.Option(help="Folder for indexes; by default ~/.cache/turngym/bm25.")
    ] = None,
) -> None:
    """Serve BM25 search over a corpus with the Search-R1 protocol.

    Example:

        turngym serve-search corpus.jsonl --port 8000
    """
    from turngym.envs.retrieval.bm25 import BM25
    from turngym.envs.retrieval.server import make_app
    from turngym.errors import MissingExtraError

    try:
        from aiohttp import web
    except ImportError as error:
        raise MissingExtraError("aiohttp", "serve") from error
    index = BM25.of_file(corpus, cache)
    typer.echo(f"{len(index)} passages at http://{host}:{port}/retrieve", err=True)
    web.run_app(make_app(index), host=host, port=port, print=None)
