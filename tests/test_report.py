"""The report's data, its one file, its live form; expected values by hand."""

import base64
import dataclasses
import gzip
import hashlib
import http.client
import json
import math
import re
import threading

import pytest

from reports import (
    append,
    by_name,
    command,
    episode,
    group,
    line,
    small_run,
    tool_episode,
    write,
    write_run,
)
from turngym.report.curves import curves
from turngym.report.folder import RunFolder
from turngym.report.html import page, write_report
from turngym.report.payload import Library, most_telling
from turngym.report.records import MAX_TEXT
from turngym.report.server import LiveReport, serve
from turngym.serial import dumps
from turngym.trainers.ledger import Credited, write_ledger
from turngym.types import EpisodeStatus

EVIL = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>"


@pytest.fixture
def run(tmp_path):
    return small_run(tmp_path / "run")


def test_curves_by_hand(run):
    found = by_name(curves(RunFolder.open(run)))
    success = found["success"]
    assert success.x == (1, 2) and success.y == (0.5, 0.75)
    # Wilson for 2 of 4 and 3 of 4 at z = 1.96 (any table).
    assert success.low == pytest.approx((0.1500, 0.3006), abs=5e-5)
    assert success.high == pytest.approx((0.8500, 0.9544), abs=5e-5)
    # One task says nothing about the spread between tasks: no band.
    outcome = found["outcome"]
    assert outcome.y == (0.5, 0.875) and outcome.low == (None, None)
    assert found["tokens per second"].y == (200.0, 200.0)  # 600 tokens in 1 + 2 seconds
    assert found["entropy"].y == (0.3, 0.3) and found["reply tokens"].y == (6.0, 6.0)
    assert found["ended terminated"].y == (4.0, 4.0)
    assert "turn reward" not in found and "KL to the reference" not in found


def test_bands_are_over_tasks_not_over_attempts(tmp_path):
    step = [*group("0/0", [1.0, 1.0]), *group("0/1", [0.0, 0.0]), *group("0/2", [1.0, 1.0])]
    outcome = by_name(curves(RunFolder.open(write_run(tmp_path / "run", [step]))))["outcome"]
    # Task means 1, 0, 1: mean 2/3, standard error sqrt(1/3) / sqrt(3) = 1/3.
    assert outcome.high[0] == pytest.approx(2 / 3 + 1.959964 / 3, abs=1e-5)


def test_named_parts_of_rewards_have_curves_of_their_own(tmp_path):
    one, two = group("0/0", [1.0, 0.0])
    turns = tuple(dataclasses.replace(turn, rewards={"format": 0.5}) for turn in one.turns)
    one = dataclasses.replace(one, turns=turns, rewards={"format": 0.25})
    found = by_name(curves(RunFolder.open(write_run(tmp_path / "run", [[one, two]]))))
    assert found["reward format"].y == (0.625,)  # (0.5 + 0.5 + 0.25 + 0) / 2


def test_failures_of_others_stay_out_of_the_curves_and_are_counted(tmp_path):
    broken = episode("0/0/4", None, success=None, status=EpisodeStatus.INFRA_ERROR)
    trajectories = [*group("0/0", [1.0, 1.0]), broken]
    folder = write_run(tmp_path / "run", [trajectories])
    append(folder / "metrics.jsonl", line(1, trajectories, **{"status/infra_error": 1.0}))
    found = by_name(curves(RunFolder.open(folder)))
    assert found["success"].y == (1.0,)
    assert found["ended infra_error"].y == (0.0, 1.0)


def test_curves_without_trajectories_have_no_bands_but_are_there(run):
    for path in (run / "trajectories").iterdir():
        path.unlink()
    success = by_name(curves(RunFolder.open(run)))["success"]
    assert success.y == (0.5, 0.75) and success.low == ()


def test_a_step_that_is_being_played_is_not_in_the_curves_but_in_the_list(run):
    write(run / "trajectories/step-000002.jsonl", [episode("2/0/0")])
    with (run / "trajectories/step-000002.jsonl").open("a") as file:
        file.write(dumps(episode("2/0/1"))[:50])  # killed in the middle of a line
    folder = RunFolder.open(run)
    assert by_name(curves(folder))["success"].x == (1, 2)
    (stage,) = [stage for stage in folder.stages() if stage.label == "step 2"]
    assert [t.episode for t in folder.trajectories(stage)] == ["2/0/0"]


def test_credit_in_the_list_is_the_methods_own(run):
    library = Library([RunFolder.open(run)])
    first = library.shelves()[0]
    # RLOO by hand: outcomes 1 0 1 0; the mean of the others is 1/3 or 2/3.
    assert [c["rloo"][0] for c in first.credits] == pytest.approx([2 / 3, -2 / 3, 2 / 3, -2 / 3])
    assert set(first.credits[0]) >= {"grpo", "rloo", "gigpo", "mapo"}
    assert library.shelves()[-1].credits == [{}]  # an evaluation has no groups


def keep(run, episodes, *, token=None, columns=None):
    """RUN/credit and RUN/details of step 0, as a run writes them: credit 9 for every turn."""
    rows = [
        Credited(
            episode=name,
            method="grpo",
            counts=True,
            outcome=1.0,
            rewards=(0.0, 0.0),
            turn=(9.0, 9.0),
            token=token,
            turn_columns=columns or {},
        )
        for name in episodes
    ]
    write_ledger(run / "credit/step-000000.jsonl", rows)
    turn = {"low": 0.8, "high": 1.2, "trained": [1, 0, 1], "ratio": [1, 1, 1]}
    turn |= {"entropy": [0, 0, 0], "weight": None, "clipped": 0.5, "turn_ratio": 1.0}
    (run / "details").mkdir()
    detail = {"episode": episodes[1], "turns": [turn, turn], "format_version": 1}
    append(run / "details/step-000000.jsonl", detail)


def test_what_the_run_gave_wins_over_what_is_worked_out(run):
    tokens = ((1.0, 2.0, 3.0),) * 2
    keep(run, [f"0/0/{i}" for i in range(4)], token=tokens, columns={"gain": (3.0, math.nan)})
    library = Library([RunFolder.open(run)])
    shelf = library.shelves()[0]
    assert shelf.credits[0]["grpo"] == (9.0, 9.0) and shelf.credits[0]["rloo"][0] == 0.0
    assert 1 in most_telling(library.shelves(), 1)[0]  # the only one kept token by token
    records = library.chunk(shelf, 0, frozenset({1}))
    turn = records[1]["turns"][0]
    assert turn["detail"]["trained"] == [1, 0, 1] and turn["token_credit"] == (1.0, 2.0, 3.0)
    assert len(turn["pieces"]) == 3 and records[1]["columns"] == {"gain": (3.0, None)}
    assert records[1]["method"] == "grpo" and records[0]["turns"][0]["pieces"] is None


def test_credit_that_comes_after_the_episodes_is_seen(run):
    library = Library([RunFolder.open(run)])
    assert library.shelves()[0].credits[0]["grpo"][0] != 9.0
    keep(run, [f"0/0/{i}" for i in range(4)])
    assert library.shelves()[0].credits[0]["grpo"] == (9.0, 9.0)


def test_a_long_run_does_not_stay_in_memory(run):
    folder = RunFolder.open(run)
    library = Library([folder])
    library.head()
    kept = [name for _, name in folder._cache]
    assert kept.count("trajectories") == 1 and kept.count("shelf") == 3


def test_episodes_that_were_not_learnt_from_get_no_credit(run):
    keep(run, ["0/0/0", "0/0/1"])
    shelf = Library([RunFolder.open(run)]).shelves()[0]
    assert shelf.credits[2] == {} and shelf.credits[0]


def test_long_messages_are_cut_and_say_so(tmp_path):
    long = "a" * 9 + "x" * (2 * MAX_TEXT) + "z" * 9
    write(tmp_path / "one.jsonl", [episode("0", replies=(long,))])
    library = Library([RunFolder.open(tmp_path / "one.jsonl")])
    (record,) = library.chunk(library.shelves()[0], 0, frozenset())
    text = record["turns"][0]["reply"]["content"]
    assert text.startswith("aaaa") and text.endswith("zzzz")
    assert f"[... {len(long) - MAX_TEXT} characters left out ...]" in text


def unpack(text, name):
    packed = re.search(rf'<script type="text/plain" id="{name}">([^<]*)</script>', text)
    return None if packed is None else json.loads(gzip.decompress(base64.b64decode(packed[1])))


def test_the_file_holds_every_trajectory_and_is_the_same_every_time(run, tmp_path):
    done = write_report([RunFolder.open(run)], tmp_path / "r.html")
    again = write_report([RunFolder.open(run)], tmp_path / "s.html")
    text = done.path.read_text()
    assert text == again.path.read_text() and done.bytes == len(text.encode())
    assert (done.trajectories, done.left_out) == (9, 0)
    head = unpack(text, "head")
    assert head["cards"]["episode"][:2] == ["0/0/0", "0/0/1"]
    assert [shelf["label"] for shelf in head["shelves"]] == ["step 0", "step 1", "after-1"]
    records = unpack(text, "chunk-1-0")
    assert records[3]["turns"][1]["seen"][0]["content"] == "page 1 of 1/0/3"
    assert records[0]["seed"] == str(2**62 + 1)  # too large for a number in JavaScript


def test_nothing_in_a_trajectory_reaches_the_markup(tmp_path):
    write(tmp_path / "evil.jsonl", [episode(EVIL, task=EVIL, replies=(EVIL,))])
    folder = RunFolder.open(tmp_path / "evil.jsonl", EVIL)
    text = write_report([folder], tmp_path / "r.html").path.read_text()
    assert "owned" not in text.replace("&#x27;owned&#x27;", "")
    assert len(re.findall("<script", text)) == len(re.findall("</script", text)) == 3
    assert unpack(text, "head")["cards"]["task"] == [EVIL]


def test_the_policy_allows_the_pages_own_script_and_nothing_else():
    text = page("a run", "")
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)[1]
    script = re.search(r"<script>(.*)</script>\n</body>", text, re.S)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"(src|href)=[\"']?https?:", text)  # loads nothing from elsewhere


def test_too_large_a_report_leaves_out_the_least_telling_text_and_keeps_the_list(tmp_path):
    steps = [
        [episode(f"{s}/0/{i}", 0.5, group=f"{s}/0", replies=(f"{s} {i} " * 3000,)) for i in (0, 1)]
        for s in range(3)
    ]
    steps[1] = group("1/0", [1.0, 0.0])  # the only one with credit
    folder = RunFolder.open(write_run(tmp_path / "run", steps))
    whole = write_report([folder], tmp_path / "whole.html")
    small = write_report([folder], tmp_path / "small.html", max_bytes=whole.bytes - 200)
    assert small.bytes <= whole.bytes - 200 and small.left_out == 2
    text = small.path.read_text()
    assert unpack(text, "chunk-1-0") is not None
    assert len(unpack(text, "head")["cards"]["episode"]) == 6


def test_what_is_no_run_is_refused_in_one_line(tmp_path):
    done = command("report", tmp_path)
    assert done.exit_code == 2 and "config.json" in done.output
    assert "named twice" in command("report", tmp_path, tmp_path).output
    (tmp_path / "config.json").write_text("{")
    assert "damaged" in command("report", tmp_path).output


def test_an_unfinished_run_still_gives_a_report(tmp_path):
    folder = write_run(tmp_path / "run", [])
    done = command("report", folder, "--out", tmp_path / "r.html")
    assert done.exit_code == 0 and "0 trajectories" in done.output


def ask(server, path, **headers):
    connection = http.client.HTTPConnection(*server.server_address, timeout=10)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


@pytest.fixture
def server(run):
    made = serve([RunFolder.open(run)])
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def test_the_live_page_follows_the_run(server, run):
    assert server.server_address[0] == "127.0.0.1"
    answer, body = ask(server, "/")
    assert answer.status == 200 and b'id="head"' not in body and b"turngym: run" in body
    answer, body = ask(server, "/head")
    tag = answer.headers["ETag"]
    assert json.loads(body)["runs"][0]["steps"] == 2
    assert ask(server, "/head", **{"If-None-Match": tag})[0].status == 304
    trajectories = group("2/0", [0.0, 1.0])
    write(run / "trajectories/step-000002.jsonl", trajectories)
    append(run / "metrics.jsonl", line(2, trajectories))
    answer, body = ask(server, "/head", **{"If-None-Match": tag, "Accept-Encoding": "gzip"})
    assert json.loads(gzip.decompress(body))["runs"][0]["steps"] == 3
    assert answer.status == 200 and answer.headers["ETag"] != tag
    records = json.loads(ask(server, "/chunk/0/step-000002.jsonl/0")[1])
    assert [len(record["turns"]) for record in records] == [2, 2]
    assert records[0]["turns"][0]["pieces"]


@pytest.mark.parametrize(
    "path",
    ["/nothing", "/chunk/9/x/0", "/chunk/0/..%2Fconfig.json/0", "/chunk/0/a/b", "/config.json"],
)
def test_the_server_gives_nothing_but_the_report(server, path):
    assert ask(server, path)[0].status == 404


def test_a_page_under_another_name_cannot_read_along(server):
    assert ask(server, "/head", Host="evil.example")[0].status == 403
    assert ask(server, "/head", Host=f"localhost:{server.server_address[1]}")[0].status == 200


def test_view_says_where_to_look_and_ends_politely(run, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("http.server.ThreadingHTTPServer.serve_forever", interrupted)
    done = command("view", run, "--port", 0)
    assert done.exit_code == 0 and done.output.splitlines()[-1] == "stopped"
    assert done.output.startswith("http://127.0.0.1:")


def test_a_taken_port_is_said_in_one_line(run, server):
    done = command("view", run, "--port", server.server_address[1])
    assert done.exit_code == 2 and "cannot listen on 127.0.0.1" in done.output


def test_live_answers_without_a_socket(run):
    live = LiveReport([RunFolder.open(run)])
    assert live.get("/chunk/0/step-000000.jsonl/4000").status == 404


def test_tools_and_reasoning_are_in_the_record(tmp_path):
    write(tmp_path / "tools.jsonl", [tool_episode()])
    library = Library([RunFolder.open(tmp_path / "tools.jsonl")])
    (record,) = library.chunk(library.shelves()[0], 0, frozenset({0}))
    assert record["tools"] == ("search",) and record["turns"][0]["reply"]["reasoning"] == "hm"
    assert record["turns"][0]["reply"]["tool_calls"][0]["arguments"]["query"] == "red shoes"
    assert [kind for _, kind, _ in record["signals"]] == ["bad_query", "gratitude"]
    assert library.shelves()[0].cards[0].signals == ("bad_query", "gratitude")
