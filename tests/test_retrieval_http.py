"""The Search-R1 protocol: our server and client against its documented form and each other."""

import asyncio
import pickle
import socket
import subprocess
import sys

import httpx
import pytest

import turngym
from turngym.envs.retrieval.bm25 import BM25
from turngym.envs.retrieval.client import SearchServer
from turngym.envs.retrieval.passages import Passage
from turngym.errors import InfraFailure, InfraTimeout

pytest.importorskip("aiohttp")

CORPUS = [Passage(id="1", title="Kato", text="a town"), Passage(id="2", text="a river in kato")]


def client(handler, **settings):
    pauses = []
    server = SearchServer(
        "http://search/retrieve",
        transport=httpx.MockTransport(handler),
        sleep=pauses.append,
        **settings,
    )
    return server, pauses


def test_the_request_and_the_answer_have_the_documented_form():
    sent = []

    def handler(request):
        sent.append(request.read())
        row = {"document": {"id": 5, "contents": '"Kato"\nA town.'}, "score": 2.5}
        return httpx.Response(200, json={"result": [[row], []]})

    server, _ = client(handler)
    (hit,), none = server.search(["kato", "x"], 3)
    assert sent == [b'{"queries":["kato","x"],"topk":3,"return_scores":true}']
    assert (hit.passage, hit.score) == (Passage(id="5", title="Kato", text="A town."), 2.5)
    assert none == ()


def test_server_errors_are_tried_again_with_growing_pauses():
    answers = iter(
        [httpx.Response(503), httpx.Response(429), httpx.Response(200, json={"result": [[]]})]
    )
    server, pauses = client(lambda _: next(answers), attempts=3, backoff_s=1)
    assert server.search(["q"], 1) == [()]
    assert pauses == [1, 2]


def failing(error):
    def handler(request):
        raise error("lost", request=request)

    return handler


@pytest.mark.parametrize(
    ("handler", "error", "message"),
    [
        (failing(httpx.ReadTimeout), InfraTimeout, "3 attempts"),
        (failing(httpx.ConnectError), InfraFailure, "serve-search"),
        (lambda _: httpx.Response(500, text="boom"), InfraFailure, "500, boom"),
        (lambda _: httpx.Response(404), InfraFailure, "404"),
        (lambda _: httpx.Response(200, text="<html>"), InfraFailure, "no JSON"),
        (lambda _: httpx.Response(200, json={"results": []}), InfraFailure, "protocol"),
        (lambda _: httpx.Response(200, json={"result": []}), InfraFailure, "0 results for 1"),
        (
            lambda _: httpx.Response(200, json={"result": [[{"score": 1}]]}),
            InfraFailure,
            "protocol",
        ),
    ],
)
def test_a_broken_server_is_an_infrastructure_failure_and_never_an_empty_result(
    handler, error, message
):
    server, _ = client(handler)
    with pytest.raises(error, match=message):
        server.search(["q"], 1)


def test_refusals_are_not_repeated():
    calls = []
    server, _ = client(lambda _: calls.append(1) or httpx.Response(400))
    with pytest.raises(InfraFailure):
        server.search(["q"], 1)
    assert len(calls) == 1


def test_client_and_server_agree_with_the_index():
    from aiohttp.test_utils import TestServer

    from turngym.envs.retrieval.server import make_app

    async def ask():
        index = BM25(CORPUS)
        async with TestServer(make_app(index)) as running:
            server = SearchServer(str(running.make_url("/retrieve")))
            remote = await asyncio.to_thread(server.search, ["kato", "zzz"], 2)
            server.close()
            return index.search(["kato", "zzz"], 2), remote

    local, remote = asyncio.run(ask())
    assert remote == local and len(local[0]) == 2


def test_episodes_at_work_share_requests_and_a_recording_replaces_the_server(tmp_path):
    from aiohttp import web
    from aiohttp.test_utils import TestServer

    from turngym.agents.scripted import ScriptedAgent
    from turngym.envs.conversational_qa import library
    from turngym.envs.conversational_qa.expert import expert
    from turngym.envs.retrieval.server import make_app
    from turngym.trainers.rollout import Group, arollout

    env = turngym.make("turngym/ConversationalQA-v0")
    groups = [Group(key=id, task_id=id, seed=0) for id in env.tasks("train")[:48]]
    agent = ScriptedAgent(lambda context: expert(context.messages))
    requests = []

    @web.middleware
    async def count(request, handler):
        requests.append(request)
        await asyncio.sleep(0.05)  # time for others to come
        return await handler(request)

    async def play():
        app = make_app(env.retriever)
        app.middlewares.append(count)
        async with TestServer(app) as running:
            settings = {"server": str(running.make_url("/retrieve"))}
            settings["recording"] = tmp_path / "searches.jsonl"
            online = await arollout(
                lambda: turngym.make("turngym/ConversationalQA-v0", **settings), agent, groups
            )
            asked = len(requests)
        # The server is gone; the same searches are answered by the file.
        again = await arollout(
            lambda: turngym.make("turngym/ConversationalQA-v0", **settings), agent, groups
        )
        library._server(settings["server"])._source.close()  # it is kept for the whole process
        return online, asked, again

    online, asked, again = asyncio.run(play())
    assert all(episode.success for episode in [*online, *again])
    searches = sum("query" in turn.info for episode in online for turn in episode.turns)
    assert 0 < asked < searches / 2
    assert len(requests) == asked
    assert [e.turns[-1].info for e in again] == [e.turns[-1].info for e in online]


def test_the_server_answers_bad_requests_with_400_and_bare_documents_without_scores():
    from aiohttp.test_utils import TestClient, TestServer

    from turngym.envs.retrieval.server import make_app

    async def ask():
        async with TestClient(TestServer(make_app(BM25(CORPUS)))) as http:
            for body in (
                {},
                {"queries": "kato"},
                {"queries": ["a"], "topk": 0},
                [],
                {"queries": [1]},
            ):
                response = await http.post("/retrieve", json=body)
                assert response.status == 400 and (await response.json())["error"]
            assert (await http.post("/retrieve", data="{")).status == 400
            plain = await http.post("/retrieve", json={"queries": ["town"]})
            assert await plain.json() == {"result": [[{"id": "1", "contents": '"Kato"\na town'}]]}
            return (await http.get("/health")).status

    assert asyncio.run(ask()) == 200


def test_serve_search_answers_over_a_corpus_file(tmp_path):
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"id": "1", "contents": "\\"Kato\\"\\na town"}\n')
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "turngym", "serve-search", str(corpus)]
    command += ["--port", str(port), "--cache", str(tmp_path / "cache")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None and "1 passages" in process.stderr.readline()
        server = SearchServer(f"http://127.0.0.1:{port}/retrieve", attempts=6, backoff_s=0.1)
        assert server.search(["kato"], 3)[0][0].passage == CORPUS[0]
        copy = pickle.loads(pickle.dumps(server))
        assert copy.search(["town"], 1)[0][0].passage.id == "1"
        server.close()
        copy.close()
    finally:
        process.terminate()
        process.communicate(timeout=10)
