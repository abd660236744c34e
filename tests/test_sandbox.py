"""What needs no daemon: framing, bounds, archives, the local sandbox, the error without a daemon."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turngym.envs.sandbox import Change, Limits, SandboxSpec, Snapshot
from turngym.envs.sandbox.archive import pack, unrooted
from turngym.envs.sandbox.local_sandbox import LocalSandbox
from turngym.envs.sandbox.shell import HeadTail, frames
from turngym.errors import InfraFailure, UsageError


@given(st.lists(st.binary(max_size=50), max_size=30), st.integers(0, 60))
def test_head_and_tail_are_the_ends_of_what_was_fed(chunks, limit):
    kept = HeadTail(limit)
    for chunk in chunks:
        kept.feed(chunk)
    data = b"".join(chunks)
    got, dropped = kept.result()
    assert len(got) + dropped == len(data) and len(got) <= limit
    head = limit // 2
    assert got == (data if not dropped else data[:head] + data[len(data) - (limit - head) :])


@given(st.lists(st.binary(max_size=20), max_size=8), st.integers(0, 30))
def test_frames_take_whole_frames_only(payloads, cut):
    stream = b"".join(struct.pack(">BxxxI", 1, len(p)) + p for p in payloads)
    whole = stream[: len(stream) - min(cut, len(stream))]
    got, used = frames(whole)
    assert b"".join(payloads).startswith(got)
    assert len(whole) - used < 8 + 20 and (cut or got == b"".join(payloads))


def shot(files):
    return Snapshot(image="i", workdir="/w", archive=pack(files))


def test_tree_hash_sees_content_and_mode_and_not_order():
    base = shot({"a": b"1", "b/run.sh": b"2"})
    assert base.tree_hash == shot({"b/run.sh": b"2", "a": b"1"}).tree_hash
    assert base.tree_hash != shot({"a": b"1", "b/run.sh": b"3"}).tree_hash
    assert base.tree_hash != shot({"a": b"1", "b/run": b"2"}).tree_hash


def test_unrooted_cuts_the_first_folder():
    inner = shot({"a": b"1", "d/b": b"2"})
    rooted = pack({"testbed/a": b"1", "testbed/d/b": b"2"})
    cut = Snapshot(image="i", workdir="/w", archive=unrooted(rooted))
    assert cut.tree_hash == inner.tree_hash


def test_the_local_sandbox_refuses_to_be_taken_for_one():
    with pytest.raises(UsageError, match="isolates nothing"):
        LocalSandbox(SandboxSpec(image=""))


def test_the_local_sandbox_meets_the_protocol():
    box = LocalSandbox(SandboxSpec(image="", workdir="/w"), i_know_it_is_not_isolated=True)
    try:
        box.write("d/a.txt", b"one")
        start = box.snapshot()
        result = box.exec("echo two >> d/a.txt; echo new > b; cat d/a.txt; exit 4")
        assert (result.exit_code, result.text) == (4, "onetwo\n")
        assert box.diff(start) == (
            Change(path="b", kind="added"),
            Change(path="d/a.txt", kind="modified"),
        )
        box.restore(start)
        assert box.diff(start) == () and box.read("/w/d/a.txt") == b"one"
        slow = box.exec("sleep 30", timeout_s=0.2)
        assert slow.timed_out and slow.seconds < 5
        flood = box.exec("head -c 100000 /dev/zero", output_bytes=1000)
        assert (len(flood.output), flood.dropped) == (1000, 99_000)
        with pytest.raises(FileNotFoundError, match="outside"):
            box.read("../secret")
    finally:
        box.close()
    assert not box.root.exists()


def test_without_a_daemon_the_message_holds_the_remedy(monkeypatch):
    pytest.importorskip("docker")
    from turngym.envs.sandbox import daemon

    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    with pytest.raises(InfraFailure, match=r"no Docker daemon answers.*\.ci/docker"):
        daemon.client.__wrapped__()


def test_limits_have_the_defaults_that_the_docs_state():
    assert (Limits().memory_mb, Limits().pids, Limits().command_s) == (1024, 256, 60.0)
