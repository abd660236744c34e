"""What actions do in a sandbox: commands, and the tools view, edit, search, run_tests, submit."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from turngym.envs.sandbox import Sandbox
from turngym.types import ToolCall

__all__ = ["SUBMIT_LINE", "TOOLS", "Edit", "Observed", "cut", "edit", "run_bash", "run_tool"]

SUBMIT_LINE = "COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"
"""First line of output, with return code 0, that ends an episode of the bash preset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One replacement in a file, as it was asked for."""

    path: str
    matches: int
    """How often the text to replace occurred; 1 for a new file. Only 1 is applied."""
    ok: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What an action did."""

    text: str
    ok: bool
    """The command or tool worked."""
    submitted: bool = False
    died: bool = False
    """The sandbox is gone, by the action's doing."""
    edit: Edit | None = None
    """What an editing action did."""


def cut(text: str, limit: int = 10_000) -> str:
    """`text` with its middle taken out beyond `limit` characters, and a note of how much."""
    if len(text) <= limit:
        return text
    half = limit // 2
    gone = len(text) - 2 * half
    return f"{text[:half]}\n[... {gone} characters left out ...]\n{text[-half:]}"


def run_bash(sandbox: Sandbox, command: str) -> Observed:
    """Run a command of the bash preset."""
    result = sandbox.exec(command)
    lines = result.text.lstrip().split("\n", 1)
    done = result.exit_code == 0 and lines[0].strip() == SUBMIT_LINE
    note = "\nThe command ran out of time, and all processes were killed." * result.timed_out
    text = f"<returncode>{result.exit_code}</returncode>\n<output>\n{cut(result.text)}{note}\n</output>"
    return Observed(text=text, ok=result.exit_code == 0, submitted=done, died=result.died)


def _schema(name: str, about: str, **parameters: str) -> Mapping[str, Any]:
    """An OpenAI function schema; a parameter whose text begins with `?` is optional."""
    kinds = {"start": "integer", "end": "integer"}
    return {
        "type": "function",
        "function": {
            "name": name,
            "description": about,
            "parameters": {
                "type": "object",
                "properties": {
                    key: {"type": kinds.get(key, "string"), "description": text.lstrip("?")}
                    for key, text in parameters.items()
                },
                "required": [key for key, text in parameters.items() if not text.startswith("?")],
            },
        },
    }


TOOLS: tuple[Mapping[str, Any], ...] = (
    _schema("bash", "Run a shell command.", command="The command."),
    _schema(
        "view",
        "Show a file with line numbers, or list a folder.",
        path="Path in the repository.",
        start="?First line.",
        end="?Last line.",
    ),
    _schema(
        "edit",
        "Replace text that occurs exactly once in a file; an empty `old` makes a new file.",
        path="Path in the repository.",
        old="Text to replace.",
        new="Text to put in its place.",
    ),
    _schema("search", "Find lines by a regular expression.", pattern="The expression."),
    _schema("run_tests", "Run the repository's tests.", path="?Only this test file."),
    _schema("submit", "Hand in the repository as it is now."),
)


def run_tool(sandbox: Sandbox, call: ToolCall) -> Observed:
    """Run one tool call; a faulty call is answered, never raised."""
    function = next((t["function"] for t in TOOLS if t["function"]["name"] == call.name), None)
    if function is None:
        names = ", ".join(t["function"]["name"] for t in TOOLS)
        return Observed(text=f"error: no tool {call.name!r}; there are: {names}", ok=False)
    missing = [key for key in function["parameters"]["required"] if key not in call.arguments]
    if missing:
        return Observed(text=f"error: {call.name} needs {', '.join(missing)}", ok=False)
    arguments = call.arguments
    if call.name == "submit":
        return Observed(text="submitted", ok=True, submitted=True)
    if call.name == "edit":
        return edit(sandbox, *(str(arguments[key]) for key in ("path", "old", "new")))
    return _shell(sandbox, call.name, arguments)


def _shell(sandbox: Sandbox, name: str, arguments: Mapping[str, Any]) -> Observed:
    path = shlex.quote(str(arguments.get("path", "")))
    if name == "bash":
        command = str(arguments["command"])
    elif name == "view":
        try:
            first, last = int(arguments.get("start") or 1), int(arguments.get("end") or 10**9)
        except (TypeError, ValueError):
            return Observed(text="error: start and end are line numbers", ok=False)
        command = f"if [ -d {path} ]; then ls -la -- {path}; else cat -n -- {path} | "
        command += f"sed -n {first},{last}p; fi"
    elif name == "search":
        command = f"grep -rnE -I --exclude-dir=.git -e {shlex.quote(str(arguments['pattern']))} ."
    else:
        command = f"python -m pytest -q -p no:cacheprovider {path if arguments.get('path') else ''}"
    result = sandbox.exec(command)
    text = cut(result.text) or "(no output)"
    if result.timed_out:
        text += "\nerror: out of time, and all processes were killed"
    ok = result.exit_code == 0 or (name == "search" and result.exit_code == 1)
    return Observed(text=text, ok=ok, died=result.died)


def edit(sandbox: Sandbox, path: str, old: str, new: str) -> Observed:
    """Replace text that occurs exactly once; an empty `old` makes the file."""
    matches = 1
    try:
        if old:
            before = sandbox.read(path).decode("utf-8")
            matches = before.count(old)
            if matches != 1:
                text = f"error: the old text occurs {matches} times in {path}, and must occur once"
                return Observed(
                    text=text, ok=False, edit=Edit(path=path, matches=matches, ok=False)
                )
            new = before.replace(old, new)
        sandbox.write(path, new.encode("utf-8"))
    except (OSError, UnicodeError) as error:
        failed = Edit(path=path, matches=0 if old else 1, ok=False)
        return Observed(text=f"error: {error}", ok=False, edit=failed)
    return Observed(text=f"edited {path}", ok=True, edit=Edit(path=path, matches=1, ok=True))
