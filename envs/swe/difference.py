"""The patch between two snapshots, computed outside the sandbox: no git of the agent's is asked."""

import difflib
import re

from turngym.envs.sandbox import Snapshot
from turngym.envs.sandbox.archive import contents

__all__ = ["diff_of", "patch_between"]

_IGNORED = ("__pycache__/", ".pytest_cache/", ".git/", ".mypy_cache/")


def patch_between(before: Snapshot, after: Snapshot) -> str:
    """A git-style diff of the text files; '' when nothing changed.

    Caches, `.git` and files that are no UTF-8 text are left out.
    """
    old, new = (contents(shot.archive, _counts) for shot in (before, after))
    parts = []
    for path in sorted({*old, *new}):
        was, now = _text(old.get(path)), _text(new.get(path))
        if old.get(path) == new.get(path) or "\0" in (was or "") + (now or ""):
            continue
        parts.append(diff_of(path, was, now))
    return "".join(parts)


def _counts(path: str) -> bool:
    return not any(f"/{part}" in f"/{path}" for part in _IGNORED) and not path.endswith(".pyc")


def _text(data: bytes | None) -> str | None:
    if data is None:
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return "\0"


def diff_of(path: str, was: str | None, now: str | None) -> str:
    """A git-style diff of one text file; None means that it does not exist."""
    head = [f"diff --git a/{path} b/{path}\n"]
    if was is None:
        head.append("new file mode 100644\n")
    if now is None:
        head.append("deleted file mode 100644\n")
    lines = difflib.unified_diff(
        _lines(was or ""),
        _lines(now or ""),
        "/dev/null" if was is None else f"a/{path}",
        "/dev/null" if now is None else f"b/{path}",
    )
    body = [
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    ]
    return "".join(head + body)


def _lines(text: str) -> list[str]:
    """Lines as git sees them: only a line feed ends one, so form feeds and the like stay inside."""
    return [line for line in re.split(r"(?<=\n)", text) if line]
