"""The Docker sandbox: the channel, the limits, what survives and what does not."""

import os
import signal
import subprocess
import sys
import time

import pytest

from swe_docker import IMAGE, require_docker, seed
from turngym.envs.sandbox import Change, Limits, SandboxSpec
from turngym.envs.sandbox.daemon import is_podman
from turngym.errors import InfraFailure

pytestmark = pytest.mark.docker

FILES = {"a.py": "print('hello')\n", "d/run.sh": "#!/bin/sh\necho ran\n"}


@pytest.fixture(scope="module")
def sandbox():
    require_docker()
    from turngym.envs.sandbox.docker_sandbox import DockerSandbox

    spec = SandboxSpec(image=IMAGE, limits=Limits(memory_mb=512, disk_mb=32, pids=64))
    with DockerSandbox(spec, seed(FILES)) as made:
        yield made


@pytest.fixture
def box(sandbox):
    sandbox.restore(seed(FILES))
    return sandbox


def containers():
    from turngym.envs.sandbox.daemon import LABEL, client

    return client().api.containers(all=True, filters={"label": LABEL})


def gone_within(seconds, owned):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not any(item["Labels"]["turngym.sandbox"] == owned for item in containers()):
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize(
    ("command", "code", "output"),
    [
        ("python3 a.py", 0, b"hello\n"),
        ("d/run.sh", 0, b"ran\n"),
        ("exit 3", 3, b""),
        ("printf 'no newline'", 0, b"no newline"),
        ("printf '\\000\\377\\n'", 0, b"\x00\xff\n"),
        ("cat", 0, b""),  # standard input is empty, and not the channel's
        ("read x; echo got $x", 0, b"got\n"),
        ("printf '</%032d> 0\\n' 0", 0, b"</" + b"0" * 32 + b"> 0\n"),  # a frame with a wrong nonce
        ("echo out; echo err >&2", 0, b"out\nerr\n"),
        ("cd /; x=1; exec true", 0, b""),
    ],
)
def test_commands_give_their_code_and_their_bytes(box, command, code, output):
    result = box.exec(command)
    assert (result.exit_code, result.output) == (code, output)
    assert box.exec("pwd; echo [$x]").output == b"/testbed\n[]\n"  # nothing carries over


@pytest.mark.parametrize(
    "command", ["kill -9 $$", "kill -9 -1", "kill -9 $PPID", "if then", "echo 'open"]
)
def test_the_channel_survives_what_breaks_a_shell(box, command):
    assert box.exec(command, timeout_s=5).exit_code != 0 or command == "kill -9 $PPID"
    assert box.exec("echo alive").output == b"alive\n"


def test_time_outs_kill_everything_and_later_commands_work(box):
    box.exec("(setsid nohup sleep 1000 &) >/dev/null 2>&1")
    result = box.exec("echo begun; sleep 1000", timeout_s=0.5)
    assert result.timed_out and not result.died and result.output == b"begun\n"
    assert result.seconds < 5
    assert box.exec("pgrep -c sleep").output.strip() == b"0"


def test_restore_kills_background_processes(box):
    box.exec("nohup sh -c 'while true; do echo x > /testbed/evil; done' >/dev/null 2>&1 &")
    box.restore(seed(FILES))
    time.sleep(0.2)
    assert box.diff(seed(FILES)) == ()
    assert box.exec("pgrep -c -f evil").output.strip() == b"0"


def test_an_output_flood_is_bounded(box):
    result = box.exec("yes", timeout_s=0.5, output_bytes=10_000)
    assert result.timed_out and len(result.output) == 10_000 and result.dropped > 1_000_000


def test_a_fork_bomb_hits_the_process_limit_and_is_killed(box):
    box.exec("bomb() { bomb | bomb & }; bomb; sleep 1", timeout_s=2)
    assert box.kill_all()
    assert box.exec("echo alive").output == b"alive\n"
    assert int(box.exec("ps ax --no-headers | wc -l").text) < 8


def test_memory_and_disk_are_bounded(box):
    eaten = box.exec("python3 -c 'bytearray(2_000_000_000)'; echo after $?")
    assert eaten.text.split()[-2:] == ["after", "137"]
    box.exec("head -c 100000000 /dev/zero >big; head -c 100000000 /dev/zero >/tmp/big")
    sizes = [int(n) for n in box.exec("stat -c %s big /tmp/big").text.split()]
    assert max(sizes) <= 32 * 1024 * 1024
    with pytest.raises(OSError, match="No space left"):
        box.write("more", b"x" * 100)


@pytest.mark.parametrize(
    "command",
    [
        "touch /usr/x",
        "touch /etc/x",
        "python3 -c \"import socket; socket.create_connection(('1.1.1.1', 53), 2)\"",
        "python3 -c \"import socket; socket.getaddrinfo('example.com', 80)\"",
        "mount -t tmpfs none /mnt",
        "kill -9 1",
        "cat /proc/1/environ",
        "mknod /tmp/sda b 8 0",
        "chown 0:0 a.py",
        "unshare -r true",
        "ls /var/run/docker.sock",
    ],
)
def test_what_a_command_may_not_do(box, command):
    if command.startswith("unshare") and is_podman():
        pytest.skip("Podman's own seccomp profile lets anyone make a user namespace")
    assert box.exec(command, timeout_s=20).exit_code != 0


def test_the_container_has_no_interface_and_no_privileges(box):
    assert box.exec("ls /sys/class/net").text.split() == ["lo"]
    status = box.exec("cat /proc/self/status").text
    assert "CapEff:\t0000000000000000" in status and "NoNewPrivs:\t1" in status


def test_the_environment_is_pinned(box):
    text = box.exec("echo $TZ $PYTHONHASHSEED $LC_ALL").text
    assert text == "UTC 0 C.UTF-8\n"


def test_files_go_in_and_out_byte_for_byte(box):
    data = bytes(range(256)) * 4000
    box.write("deep/er/f.bin", data, mode=0o755)
    assert box.read("/testbed/deep/er/f.bin") == data
    assert box.exec("stat -c %a deep/er/f.bin").text == "755\n"
    with pytest.raises(FileNotFoundError):
        box.read("/testbed/deep")
    with pytest.raises(OSError, match="cannot write"):
        box.write("/usr/share/x", b"")


def test_snapshot_diff_restore_and_fork(box):
    start = box.snapshot()
    assert start.tree_hash == seed(FILES).tree_hash
    box.exec("echo 1 > new; rm a.py; echo x >> d/run.sh; ln -s /etc/passwd link; echo t >/tmp/t")
    assert box.diff(start) == (
        Change(path="a.py", kind="deleted"),
        Change(path="d/run.sh", kind="modified"),
        Change(path="link", kind="added"),
        Change(path="new", kind="added"),
    )
    changed = box.snapshot()
    with box.fork() as twin:
        assert twin.snapshot().tree_hash == changed.tree_hash
        twin.exec("rm -rf *")
        assert box.snapshot().tree_hash == changed.tree_hash
    box.restore(start)
    assert box.snapshot().tree_hash == start.tree_hash
    assert box.exec("ls /tmp").output == b""


def test_the_exit_code_of_exec_as_comes_from_the_daemon(box):
    result = box.exec_as(["sh", "-c", "id -u; exit 7"], "1234:1234", 10)
    assert (result.exit_code, result.output) == (7, b"1234\n")
    assert box.exec_as(["sleep", "100"], "1000:1000", 0.5).timed_out


def test_quota_mode_kills_a_sandbox_that_writes_too_much():
    require_docker()
    from turngym.envs.sandbox.docker_sandbox import DockerSandbox

    spec = SandboxSpec(
        image=IMAGE, workdir="/srv", user="0:0", disk="quota", limits=Limits(disk_mb=20)
    )
    with DockerSandbox(spec) as box:
        assert box.exec("echo fine > /srv/f; cat /srv/f").text == "fine\n"
        result = box.exec("head -c 100000000 /dev/zero > /srv/big; sleep 20", timeout_s=15)
        assert result.died and not result.timed_out
        assert box.exec("true").died


def test_an_unknown_image_is_an_infra_failure_with_the_remedy():
    require_docker()
    from turngym.envs.sandbox.docker_sandbox import DockerSandbox

    with pytest.raises(InfraFailure, match=r"no such image.*make_base\.sh"):
        DockerSandbox(SandboxSpec(image="turngym/does-not-exist:1"))


OWNER = """
import sys, time
from turngym.envs.sandbox import SandboxSpec
from turngym.envs.sandbox.daemon import owner
from turngym.envs.sandbox.docker_sandbox import DockerSandbox
box = DockerSandbox(SandboxSpec(image=sys.argv[1], workdir="/work"))
box.exec("(setsid nohup sleep 1000 &) >/dev/null 2>&1")
print(owner(), flush=True)
time.sleep(100)
"""


def test_kill_nine_of_the_owner_leaves_no_container():
    require_docker()
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, IMAGE], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout:
        owned = process.stdout.readline().strip()
        assert any(item["Labels"]["turngym.sandbox"] == owned for item in containers())
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert gone_within(10, owned)


def test_the_reaper_removes_what_dead_owners_left_and_nothing_else(box):
    from turngym.envs.sandbox.daemon import LABEL, client, owner, reap

    host = owner().split(":")[0]
    api = client().api
    left = api.create_container(IMAGE, ["true"], labels={LABEL: f"{host}:1:12345"})["Id"]
    other = api.create_container(IMAGE, ["true"], labels={LABEL: "another-host:1:2"})["Id"]
    try:
        assert reap() == 1
        ids = {item["Id"] for item in containers()}
        assert left not in ids and other in ids
        assert box.exec("echo alive").output == b"alive\n"
    finally:
        api.remove_container(other)


def test_threads_that_share_a_sandbox_get_their_own_output(box):
    # The members of a group fork the sandbox that they all start from, each in a thread.
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(lambda n: box.exec(f"echo {n}; echo {n}").text, range(200)))
        archives = {shot.archive for shot in pool.map(lambda _: box.snapshot(), range(16))}
    assert said == [f"{n}\n{n}\n" for n in range(200)]
    assert len(archives) == 1
