"""BFCL's GorillaFileSystem: directories and files in memory, one working directory.

State: `root` (name -> node), `_cwd` (names below the root directory). A node is `{"type": "directory",
"contents": {...}}` or `{"type": "file", "content": text}`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from turngym.envs.tool_use.tools import RefusedError, State, ToolBox, tool

__all__ = [
    "FILE_SYSTEM",
    "cat",
    "cd",
    "cp",
    "diff",
    "du",
    "echo",
    "find",
    "grep",
    "ls",
    "mkdir",
    "mv",
    "pwd",
    "rm",
    "rmdir",
    "sort",
    "start",
    "tail",
    "touch",
    "wc",
]

NAME = "GorillaFileSystem"
Node = dict[str, Any]


def start(config: dict[str, Any]) -> dict[str, Any]:
    """The state of an entry's `initial_config`: in the first directory of the root."""
    root = config.get("root") or {"workspace": {"type": "directory", "contents": {}}}
    return {"root": root, "_cwd": []}


@tool()
def pwd(state: State) -> dict[str, str]:
    """The working directory."""
    return {"current_working_directory": _path(state)}


@tool()
def ls(state: State, a: bool = False) -> dict[str, list[str]]:
    """The names in the working directory; hidden ones with `a`."""
    names = [name for name in _here(state) if a or not name.startswith(".")]
    return {"current_directory_content": names}


@tool(writes=True)
def cd(state: State, folder: str) -> dict[str, str]:
    """Go one directory down, or up with `..`."""
    cwd = state[NAME]["_cwd"]
    if folder == "..":
        if not cwd:
            raise RefusedError("this is the top directory")
        cwd.pop()
    elif folder != ".":
        if _node(state, folder)["type"] != "directory":
            raise RefusedError(f"{folder[:80]} is no directory")
        cwd.append(folder)
    return {"current_working_directory": _path(state)}


@tool(writes=True)
def mkdir(state: State, dir_name: str) -> None:
    """Make a directory in the working directory."""
    _new(state, dir_name, {"type": "directory", "contents": {}})


@tool(writes=True)
def touch(state: State, file_name: str) -> None:
    """Make an empty file in the working directory."""
    _new(state, file_name, {"type": "file", "content": ""})


@tool(writes=True)
def echo(state: State, content: str, file_name: str | None = None) -> dict[str, str | None]:
    """Show a text, or make it the whole content of a file, which is made if need be."""
    if file_name is None or file_name == "None":
        return {"terminal_output": content}
    if file_name in _here(state):
        _file(state, file_name)["content"] = content
    else:
        _new(state, file_name, {"type": "file", "content": content})
    return {"terminal_output": None}


@tool()
def cat(state: State, file_name: str) -> dict[str, str]:
    """The content of a file."""
    return {"file_content": _file(state, file_name)["content"]}


@tool()
def find(state: State, path: str = ".", name: str | None = None) -> dict[str, list[str]]:
    """Paths below `path` whose last part has `name` in it."""
    node: Node = {"type": "directory", "contents": _here(state)}
    for part in path.split("/"):
        if part not in (".", ""):
            node = node.get("contents", {}).get(part)
            if node is None:
                raise RefusedError(f"there is no {path[:80]!r}")
    wanted = "" if name in (None, "None") else str(name)
    paths = _walk(node, path.rstrip("/"))
    return {"matches": [each for each in paths if wanted in each.rpartition("/")[2]]}


@tool()
def grep(state: State, file_name: str, pattern: str) -> dict[str, list[str]]:
    """The lines of a file that have a text in them."""
    lines = _file(state, file_name)["content"].splitlines()
    return {"matching_lines": [line for line in lines if pattern in line]}


@tool(writes=True)
def sort(state: State, file_name: str) -> dict[str, str]:
    """The lines of a file in order; the file itself is sorted."""
    node = _file(state, file_name)
    node["content"] = "\n".join(sorted(node["content"].splitlines()))
    return {"sorted_content": node["content"]}


@tool()
def tail(state: State, file_name: str, lines: int = 10) -> dict[str, str]:
    """The last lines of a file."""
    if lines < 0:
        raise RefusedError("lines is at least 0")
    kept = _file(state, file_name)["content"].splitlines()
    return {"last_lines": "\n".join(kept[len(kept) - min(lines, len(kept)) :])}


@tool()
def wc(state: State, file_name: str, mode: str = "l") -> dict[str, Any]:
    """How many lines (l), words (w) or characters (c) a file has."""
    text = _file(state, file_name)["content"]
    counts = {
        "l": ("lines", text.splitlines()),
        "w": ("words", text.split()),
        "c": ("characters", text),
    }
    if mode not in counts:
        raise RefusedError("mode is l, w or c")
    kind, parts = counts[mode]
    return {"count": len(parts), "type": kind}


@tool()
def diff(state: State, file_name1: str, file_name2: str) -> dict[str, str]:
    """The lines in which two files differ, `-` for the first and `+` for the second."""
    one, two = (_file(state, n)["content"].splitlines() for n in (file_name1, file_name2))
    return {
        "diff_lines": "\n".join(f"- {a}\n+ {b}" for a, b in zip(one, two, strict=False) if a != b)
    }


@tool()
def du(state: State, human_readable: bool = False) -> dict[str, str]:
    """How many characters all files below the working directory have."""
    nodes: list[Node] = list(_here(state).values())
    size = 0
    while nodes:
        node = nodes.pop()
        size += len(node.get("content", ""))
        nodes += node.get("contents", {}).values()
    if not human_readable:
        return {"disk_usage": f"{size} bytes"}
    amount, unit = float(size), "B"
    for larger in ("KB", "MB", "GB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return {"disk_usage": f"{amount:.2f} {unit}"}


@tool(writes=True)
def rm(state: State, file_name: str) -> dict[str, str]:
    """Remove a file or a directory with all that is in it."""
    _node(state, file_name)
    del _here(state)[file_name]
    return {"result": f"{file_name} removed"}


@tool(writes=True)
def rmdir(state: State, dir_name: str) -> dict[str, str]:
    """Remove an empty directory."""
    node = _node(state, dir_name)
    if node["type"] != "directory" or node["contents"]:
        raise RefusedError(f"{dir_name[:80]} is no empty directory")
    del _here(state)[dir_name]
    return {"result": f"{dir_name} removed"}


@tool(writes=True)
def mv(state: State, source: str, destination: str) -> dict[str, str]:
    """Move into a directory, or give a new name."""
    node = _node(state, source)
    here = _here(state)
    folder, name = _target(state, source, destination)
    del here[source]
    folder[name] = node
    return {"result": f"{source} moved to {destination}"}


@tool(writes=True)
def cp(state: State, source: str, destination: str) -> dict[str, str]:
    """Copy into a directory, or under a new name."""
    node = _node(state, source)
    folder, name = _target(state, source, destination)
    folder[name] = copy.deepcopy(node)
    return {"result": f"{source} copied to {destination}"}


def _target(state: State, source: str, destination: str) -> tuple[dict[str, Node], str]:
    """Where something goes: into a directory of that name, else here under that name."""
    if "/" in destination or not destination:
        raise RefusedError("a destination is a name, no path")
    there = _here(state).get(destination)
    if there is None:
        return _here(state), destination
    if there["type"] != "directory":
        raise RefusedError(f"{destination[:80]} exists and is no directory")
    if destination == source:
        raise RefusedError("a directory does not go into itself")
    if source in there["contents"]:
        raise RefusedError(f"{destination[:80]} has a {source[:80]} already")
    contents: dict[str, Node] = there["contents"]
    return contents, source


def _here(state: State) -> dict[str, Node]:
    """What the working directory contains, by name."""
    top, *_ = state[NAME]["root"].values()
    contents: dict[str, Node] = top["contents"]
    for name in state[NAME]["_cwd"]:
        contents = contents[name]["contents"]
    return contents


def _path(state: State) -> str:
    top, *_ = state[NAME]["root"]
    return "/" + "/".join((top, *state[NAME]["_cwd"]))


def _node(state: State, name: str) -> Node:
    if name not in _here(state):
        raise RefusedError(f"there is no {name[:80]!r} here")
    return _here(state)[name]


def _file(state: State, name: str) -> Node:
    node = _node(state, name)
    if node["type"] != "file":
        raise RefusedError(f"{name[:80]} is a directory")
    return node


def _new(state: State, name: str, node: Node) -> None:
    if not name or "/" in name:
        raise RefusedError("a name has no slash and is not empty")
    if name in _here(state):
        raise RefusedError(f"{name[:80]} exists already")
    _here(state)[name] = node


def _walk(node: Node, path: str) -> Iterator[str]:
    for name, inner in node.get("contents", {}).items():
        yield f"{path}/{name}"
        yield from _walk(inner, f"{path}/{name}")


FILE_SYSTEM = ToolBox(
    (pwd, ls, cd, mkdir, touch, echo, cat, find, grep, sort, tail, wc, diff, du, rm, rmdir, mv, cp)
)
