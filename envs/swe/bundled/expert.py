"""The scripted expert of the bundled tasks: shows the file, puts the wrong lines right, submits."""

import difflib
import random
import re
import shlex
from collections.abc import Mapping, Sequence
from functools import cache

from turngym.envs.swe.bundled import bundled_tasks
from turngym.envs.swe.patches import files_of
from turngym.envs.swe.presets import Preset
from turngym.envs.swe.tasks import Task
from turngym.errors import UsageError
from turngym.types import Message

__all__ = ["expert_reply", "fixing_commands"]


def expert_reply(
    messages: Sequence[Message], preset: Preset, *, noise: float, seed: int
) -> Message:
    """What comes next, by the number of replies so far.

    With probability `noise` a change goes wrong: another line of the file is changed to it, or it is
    left out.

    Raises:
        UsageError: the conversation is about no bundled task.
    """
    task = _by_issue().get(messages[1].content.removeprefix("Issue:\n"))
    if task is None:
        raise UsageError("the expert knows the bundled tasks only")
    chance = random.Random(seed)
    done = sum(message.role == "assistant" for message in messages)
    path = files_of(task.gold_patch)[0]
    plan = [f"cat -n {path}"]
    for command in fixing_commands(task):
        if chance.random() < noise:
            if chance.random() < 0.5:
                continue
            command = re.sub(r"'(\d+)", lambda m: f"'{max(1, int(m[1]) - 1)}", command, count=1)
        plan.append(command)
    return preset.command(plan[done]) if done < len(plan) else preset.submit


def fixing_commands(task: Task) -> tuple[str, ...]:
    """`sed` commands that make the reference fix, the last lines first so that numbers hold."""
    commands: list[str] = []
    for path, (broken, right) in _versions(task).items():
        old, new = broken.splitlines(), right.splitlines()
        opcodes = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
        for tag, i, j, k, end in reversed(opcodes):
            if tag == "equal":
                continue
            text = "\\\n".join(line.replace("\\", "\\\\") for line in new[k:end])
            if end - k > 1:
                text = f"\n{text}"  # the short form `5c\text` takes one line only
            where = f"{i + 1}" if j - i == 1 else f"{i + 1},{j}"
            if tag == "insert":
                script = f"{i}a\\{text}" if i else f"1i\\{text}"
            else:
                script = f"{where}c\\{text}" if text or end > k else f"{where}d"
            commands.append(f"sed -i {shlex.quote(script)} {path}")
    return tuple(commands)


def _versions(task: Task) -> Mapping[str, tuple[str, str]]:
    """Path to its text with the bug and without, for the files of the reference fix."""
    assert task.files is not None
    versions = {}
    for path in files_of(task.gold_patch):
        versions[path] = (task.files[path], _patched(task.files[path], task.gold_patch, path))
    return versions


def _patched(text: str, patch: str, path: str) -> str:
    """`text` after the hunks that `patch` has for `path`."""
    lines, out, at, own = text.splitlines(keepends=True), list[str](), 0, False
    for line in patch.splitlines(keepends=True):
        if line.startswith("diff --git "):
            own = line.rstrip("\n").endswith(f" b/{path}")
        elif own and (start := re.match(r"@@ -(\d+)(?:,(\d+))? ", line)):
            first = int(start[1]) - (start[2] != "0")
            out += lines[at:first]
            at = first
        elif own and line.startswith("+") and not line.startswith("+++"):
            out.append(line[1:])
        elif own and line.startswith(("-", " ")) and not line.startswith("---"):
            out += lines[at : at + 1] if line[0] == " " else []
            at += 1
    return "".join([*out, *lines[at:]])


@cache
def _by_issue() -> Mapping[str, Task]:
    return {task.problem_statement: task for task in bundled_tasks()}
