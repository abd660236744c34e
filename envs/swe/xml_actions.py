"""R2E-Gym's actions: file_editor, execute_bash, search and finish, written as

    <function=NAME>
    <parameter=KEY>VALUE</parameter>
    </function>

Names and parameters are R2E-Gym's (arXiv 2504.07164); the words of the answers are our own. Of
file_editor's commands `undo_edit` is missing: it would need memory outside the repository.
"""

import re
import shlex
from collections.abc import Mapping

from turngym.envs.sandbox import Sandbox
from turngym.envs.swe.actions import Edit, Observed, cut, edit, run_tool
from turngym.types import Message, ToolCall, assistant

__all__ = ["XML_RULES", "read_xml", "run_xml", "write_xml"]

XML_RULES = """You fix an issue in the repository in the current folder. Each reply holds exactly one
function call, at its end:

<function=NAME>
<parameter=KEY>VALUE</parameter>
</function>

Functions:
- file_editor: command is view (path, optional view_range as [first, last]), create (path, file_text),
  str_replace (path, old_str, new_str; old_str must occur once) or insert (path, insert_line, new_str)
- execute_bash: command
- search: search_term, optional path
- finish: command=submit hands in your work"""

_FUNCTION = re.compile(r"<function=([^>\s]+)>(.*?)</function>", re.DOTALL)
_PARAMETER = re.compile(r"<parameter=([^>\s]+)>(.*?)</parameter>", re.DOTALL)
_NEEDED = {
    "view": ("path",),
    "create": ("path", "file_text"),
    "str_replace": ("path", "old_str"),
    "insert": ("path", "insert_line", "new_str"),
}


def read_xml(message: Message) -> tuple[ToolCall, ...]:
    """The one call of a reply; none where there is none or there are several.

    One line break right after a parameter's opening tag and one right before its closing tag belong to
    the form, not to the value.
    """
    calls = _FUNCTION.findall(message.content)
    if len(calls) != 1:
        return ()
    name, body = calls[0]
    arguments = {
        key: value.removeprefix("\n").removesuffix("\n") for key, value in _PARAMETER.findall(body)
    }
    return (ToolCall(id="0", name=name, arguments=arguments),)


def write_xml(name: str, arguments: Mapping[str, str]) -> Message:
    """A reply with one call."""
    lines = [f"<parameter={key}>\n{value}\n</parameter>" for key, value in arguments.items()]
    return assistant("\n".join([f"<function={name}>", *lines, "</function>"]))


def run_xml(sandbox: Sandbox, call: ToolCall) -> Observed:
    """Run one call; a faulty one is answered, never raised."""
    given = {key: str(value) for key, value in call.arguments.items()}
    if call.name == "execute_bash":
        command = given.get("command", given.get("cmd"))  # R2E-Gym's releases have both names
        return _missing("execute_bash", "command") if command is None else _bash(sandbox, command)
    if call.name == "search":
        if "search_term" not in given:
            return _missing("search", "search_term")
        pattern, where = (shlex.quote(given.get(k, ".")) for k in ("search_term", "path"))
        found = sandbox.exec(f"grep -rnF -I --exclude-dir=.git -e {pattern} -- {where}")
        return Observed(
            text=cut(found.text) or "(nothing found)", ok=found.exit_code < 2, died=found.died
        )
    if call.name == "file_editor":
        return _edit_file(sandbox, given)
    if call.name in ("finish", "submit"):
        return Observed(text="submitted", ok=True, submitted=True)
    known = "file_editor, execute_bash, search, finish"
    return Observed(text=f"error: no function {call.name!r}; there are: {known}", ok=False)


def _bash(sandbox: Sandbox, command: str) -> Observed:
    return run_tool(sandbox, ToolCall(id="0", name="bash", arguments={"command": command}))


def _edit_file(sandbox: Sandbox, given: Mapping[str, str]) -> Observed:
    command = given.get("command", "")
    if command not in _NEEDED:
        return Observed(
            text=f"error: file_editor has no command {command!r}; it has: {', '.join(_NEEDED)}",
            ok=False,
        )
    missing = [key for key in _NEEDED[command] if key not in given]
    if missing:
        return _missing(f"file_editor {command}", *missing)
    path = given["path"]
    if command == "view":
        arguments: dict[str, object] = {"path": path}
        numbers = re.findall(r"-?\d+", given.get("view_range", ""))
        if len(numbers) == 2:
            arguments |= {"start": numbers[0], "end": "" if int(numbers[1]) < 0 else numbers[1]}
        return run_tool(sandbox, ToolCall(id="0", name="view", arguments=arguments))
    if command == "create":
        return edit(sandbox, path, "", given["file_text"])
    if command == "insert":
        return _insert(sandbox, path, given["insert_line"], given["new_str"])
    if not given["old_str"]:
        return Observed(text="error: old_str is empty; to make a file use create", ok=False)
    return edit(sandbox, path, given["old_str"], given.get("new_str", ""))


def _insert(sandbox: Sandbox, path: str, after: str, text: str) -> Observed:
    try:
        lines = sandbox.read(path).decode("utf-8").split("\n")
        at = int(after)
        if not 0 <= at <= len(lines):
            raise ValueError(f"{path} has {len(lines)} lines, and {at} is not among them")
        sandbox.write(path, "\n".join([*lines[:at], text, *lines[at:]]).encode("utf-8"))
    except (OSError, ValueError) as error:
        failed = Edit(path=path, matches=0, ok=False)
        return Observed(text=f"error: {error}", ok=False, edit=failed)
    return Observed(text=f"edited {path}", ok=True, edit=Edit(path=path, matches=1, ok=True))


def _missing(name: str, *keys: str) -> Observed:
    return Observed(text=f"error: {name} needs {', '.join(keys)}", ok=False)
