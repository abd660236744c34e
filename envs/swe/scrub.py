"""Take the answer out of an image: what git knows of the future, and patches that lie about.

Agents have been seen to read the fix from later commits (SWE-bench issue 465). What is left is the
history that leads to the checked-out commit. Multi-SWE-bench's images hold the fix in /home/fix.patch.
"""

from turngym.envs.sandbox import Sandbox
from turngym.errors import EnvironmentFailure

__all__ = ["scrub"]

_SCRIPT = r"""
set -e
rm -f /home/fix.patch /home/test.patch
git rev-parse --git-dir >/dev/null 2>&1 || exit 0
export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*'
objects=$(git count-objects -v | sed -n 's/^\(count\|in-pack\): //p' | paste -sd+)
known=$(git rev-list --objects HEAD 2>/dev/null | wc -l)
if [ "$(git for-each-ref | wc -l)" -le 1 ] && [ -z "$(git remote)" ] && [ $((objects)) -eq "$known" ]
then exit 0; fi  # nothing but what leads to HEAD: no need to pack anew
git checkout -q --detach HEAD
for remote in $(git remote); do git remote remove "$remote"; done
git for-each-ref --format='%(refname)' | while read -r ref; do git update-ref -d "$ref"; done
git checkout -q -b main
rm -rf .git/logs .git/worktrees .git/rebase-* .git/sequencer .git/lost-found
rm -f .git/*_HEAD .git/packed-refs .git/objects/info/alternates .git/refs/stash
git reflog expire --expire=now --expire-unreachable=now --all
git gc -q --prune=now
test -z "$(git fsck --unreachable --no-reflogs 2>/dev/null)"
"""


def scrub(sandbox: Sandbox) -> None:
    """Scrub the image's patches and the repository in the working directory, where there are any.

    Raises:
        EnvironmentFailure: git failed, or objects that HEAD does not reach are left.
    """
    result = sandbox.exec(f"export GIT_PAGER=cat\n{_SCRIPT}", timeout_s=600)
    if result.exit_code:
        raise EnvironmentFailure(f"cannot scrub the git history: {result.text[-500:]}")
