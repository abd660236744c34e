"""Patches: what they touch, which are refused, and how one is applied without leaving traces.

The chain is SWE-bench's: `git apply`, `--3way`, `--reject`, then `patch` with fuzz. The tree is put
back between attempts, so that a half-applied attempt never mixes with the next.
"""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from turngym.envs.sandbox import Sandbox

__all__ = ["METHODS", "Applied", "apply_patch", "fault_of", "files_of"]

METHODS = (
    ("git apply", "git apply --verbose"),
    ("git apply --3way", "git apply --verbose --3way"),
    ("git apply --reject", "git apply --verbose --reject"),
    ("patch", "patch --batch --forward --fuzz=5 -p1 -i"),
)

_NAME = re.compile(r"^(?:---|\+\+\+|rename from|rename to|copy from|copy to) (.+?)(?:\t.*)?$")
_GIT = re.compile(r'^diff --git "?a/(.*?)"? "?b/(.*?)"?$')
_FORBIDDEN_PARTS = frozenset({"..", ".git"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """How applying ended; method '' means that nothing worked."""

    method: str
    output: str


def files_of(patch: str) -> tuple[str, ...]:
    """Paths that a unified diff names, prefixes a/ and b/ cut, in order of appearance."""
    found: dict[str, None] = {}
    in_header = True
    for line in patch.splitlines():
        if line.startswith("diff --git "):
            in_header = True
            if both := _GIT.match(line):
                found |= {both[1]: None, both[2]: None}
        elif line.startswith("@@"):
            in_header = False
        elif name := _NAME.match(line):
            # Inside a hunk `--- x` may be a deleted line `-- x`; taking it too is harmless.
            path = name[1].strip().strip('"')
            if path != "/dev/null" and (in_header or line.startswith(("---", "+++"))):
                cut = line.startswith(("---", "+++")) and path[:2] in ("a/", "b/")
                found[path[2:] if cut else path] = None
    return tuple(found)


def fault_of(patch: str) -> str:
    """Why a patch is refused before it is tried; '' when it is fine.

    Refused: absolute paths, `..`, anything in `.git`, and symbolic links (and submodules), through
    which a later hunk could write elsewhere.
    """
    for line in patch.splitlines():
        if re.match(r"^(?:new file mode|new mode|old mode) (?:120000|160000)$", line):
            return f"the patch makes or changes a symbolic link or submodule ({line!r})"
        if not (line.startswith(("---", "+++", "rename ", "copy ", "diff --git "))):
            continue
        for path in files_of(line):
            parts = PurePosixPath(path).parts
            if path.startswith("/") or any(part.lower() in _FORBIDDEN_PARTS for part in parts):
                if line.startswith(("---", "+++")) and " " in path:
                    continue  # a changed line of text that looks like a header
                return f"the patch names {path!r}, which lies outside the working tree"
    return ""


def apply_patch(sandbox: Sandbox, patch: str, *, reverse: bool = False) -> Applied:
    """Apply a diff to the working directory, by the first method of the chain that works.

    A method works when it exits with 0 and undoing the result would be possible.
    """
    name = "/tmp/turngym.patch"
    sandbox.write(name, (patch if patch.endswith("\n") else patch + "\n").encode())
    backward = " --reverse" if reverse else ""
    before = None
    outputs: list[str] = []
    for method, command in METHODS:
        if method != "git apply" and before is None:
            before = sandbox.snapshot()  # plain `git apply` does all or nothing
        forward = command if not reverse else command.replace(" --forward", "")
        flagged = (
            forward.replace(" -i", f"{backward} -i") if " -i" in forward else (forward + backward)
        )
        result = sandbox.exec(f"{flagged} {name}", timeout_s=120)
        outputs.append(f"$ {flagged}\n{result.text}")
        if result.exit_code == 0:
            undo = "" if reverse else " --reverse"
            checked = sandbox.exec(f"git apply{undo} --check {name}", timeout_s=120)
            if checked.exit_code == 0 or method == "patch":
                sandbox.exec(f"rm -f {name}; find . -name '*.orig' -newer {name} -delete")
                return Applied(method=method, output="".join(outputs))
        if before is not None:
            sandbox.restore(before)
            sandbox.write(name, (patch if patch.endswith("\n") else patch + "\n").encode())
    return Applied(method="", output="".join(outputs))
