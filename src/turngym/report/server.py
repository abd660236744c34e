"""The report, live: the same page over HTTP, while training goes on.

GET /             the page
GET /head         settings, curves and list, with an ETag that changes when a file of a run does
GET /chunk/R/F/N  the records of file F of run R from place N
"""

from __future__ import annotations

import gzip
import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

from turngym.errors import ConfigError
from turngym.report.folder import RunFolder
from turngym.report.html import page
from turngym.report.payload import CHUNK, Library, to_json

__all__ = ["Answer", "LiveReport", "serve"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a request gets."""

    body: bytes = b""
    kind: str = "application/json"
    status: int = 200
    tag: str = ""


class LiveReport:
    """Answers requests about runs as they stand."""

    def __init__(self, runs: Sequence[RunFolder]) -> None:
        self._runs, self._library = runs, Library(runs)
        self._lock = threading.Lock()  # the library remembers what it read
        self._head: tuple[str, bytes] = ("", b"")

    def get(self, path: str, known: str = "") -> Answer:
        """The answer to a GET of `path`; `known` is the tag that the client has already."""
        parts = [unquote(part) for part in path.partition("?")[0].strip("/").split("/")]
        with self._lock:
            match parts:
                case [""]:
                    title = ", ".join(run.name for run in self._runs)
                    return Answer(body=page(title, "").encode(), kind="text/html; charset=utf-8")
                case ["head"]:
                    return self._get_head(known)
                case ["chunk", run, file, start] if run.isdigit() and start.isdigit():
                    return self._get_chunk(int(run), file, int(start))
        return Answer(status=404)

    def _get_head(self, known: str) -> Answer:
        stamps = repr([run.stamp() for run in self._runs])
        tag = f'"{hashlib.blake2b(stamps.encode(), digest_size=12).hexdigest()}"'
        if tag == known:
            return Answer(status=304, tag=tag)
        if self._head[0] != tag:
            self._head = tag, to_json(self._library.head())
        return Answer(body=self._head[1], tag=tag)

    def _get_chunk(self, run: int, file: str, start: int) -> Answer:
        for shelf in self._library.shelves():
            if shelf.run == run and shelf.stage.path.name == file and start < len(shelf.cards):
                span = range(start, min(start + CHUNK, len(shelf.cards)))
                kept = frozenset(i for i in span if shelf.cards[i].tokens)
                return Answer(body=to_json(self._library.chunk(shelf, start, kept)))
        return Answer(status=404)


def serve(runs: Sequence[RunFolder], host: str = "127.0.0.1", port: int = 0) -> ThreadingHTTPServer:
    """A server that is bound and waits for `serve_forever()`.

    Args:
        runs: to show.
        host: address to listen on; the default is this machine alone.
        port: 0 takes a free one; `server_address` says which.

    Raises:
        ConfigError: the address cannot be bound.
    """
    report = LiveReport(runs)
    local = host in ("127.0.0.1", "localhost", "::1")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            name = (self.headers.get("Host") or "").rsplit(":", 1)[0].strip("[]")
            # A page elsewhere whose name was rebound to this machine must not read along.
            if local and name not in ("127.0.0.1", "localhost", "::1"):
                return self._send(Answer(status=403))
            self._send(report.get(self.path, self.headers.get("If-None-Match") or ""))

        def _send(self, answer: Answer) -> None:
            body = answer.body
            self.send_response(answer.status)
            if len(body) > 2048 and "gzip" in (self.headers.get("Accept-Encoding") or ""):
                body = gzip.compress(body, compresslevel=1)
                self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Type", answer.kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-cache")
            self.send_header("X-Content-Type-Options", "nosniff")
            if answer.tag:
                self.send_header("ETag", answer.tag)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            return None  # one line per request would drown the terminal

    try:
        return ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror}") from error
