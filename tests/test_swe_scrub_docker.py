"""The git history an agent sees ends at the commit that it starts from."""

import pytest

from swe_docker import IMAGE, require_docker, seed
from turngym.envs.sandbox import SandboxSpec
from turngym.envs.swe.scrub import scrub

pytestmark = pytest.mark.docker

HISTORY = """
set -e
git init -q -b trunk . ; git config user.email a@b; git config user.name a
echo 1 > f; git add f; git commit -qm past
echo 2 > f; git commit -qam base; git tag base
echo THE_FIX > f; git commit -qam fix; git tag v2; git branch future
git rev-parse HEAD > /tmp/fix
git clone -q --bare . /tmp/origin.git; git remote add origin /tmp/origin.git; git fetch -q origin
git checkout -q base
echo STASHED > f; git stash -q
echo AMENDED > g; git add g; git commit -qm lost; git reset -q --hard HEAD~1
git pack-refs --all
"""


def test_nothing_of_the_future_can_be_found():
    require_docker()
    from turngym.envs.sandbox.docker_sandbox import DockerSandbox

    with DockerSandbox(SandboxSpec(image=IMAGE), seed({})) as box:
        made = box.exec(HISTORY)
        assert made.exit_code == 0, made.text
        everything = (
            "for o in $(git cat-file --batch-all-objects --batch-check | cut -d' ' -f1); "
            "do git cat-file -p $o; done 2>/dev/null | grep -aE 'THE_FIX|STASHED|AMENDED'"
        )
        assert box.exec(everything).exit_code == 0  # the test can see what it looks for
        scrub(box)
        assert box.exec("git cat-file -e $(cat /tmp/fix)").exit_code != 0
        assert box.exec(everything).exit_code == 1
        assert box.exec("git log --all --format=%s").text.split() == ["base", "past"]
        assert box.exec("git remote; git tag; git stash list; git reflog").text == ""
        assert box.exec("git status --porcelain; cat f").text == "2\n"


def test_a_folder_without_git_is_left_alone():
    require_docker()
    from turngym.envs.sandbox.docker_sandbox import DockerSandbox

    with DockerSandbox(SandboxSpec(image=IMAGE), seed({"a": "1\n"})) as box:
        before = box.snapshot()
        scrub(box)
        assert box.diff(before) == ()
