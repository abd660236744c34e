"""How an agent says what it wants: one bash block (mini-swe-agent), tool calls, or XML (R2E-Gym)."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from turngym.envs.sandbox import Sandbox
from turngym.envs.swe.actions import SUBMIT_LINE, TOOLS, Observed, run_bash, run_tool
from turngym.envs.swe.xml_actions import XML_RULES, read_xml, run_xml, write_xml
from turngym.errors import UnknownNameError
from turngym.types import Message, ToolCall, assistant, tool, user

__all__ = ["PRESETS", "Preset", "PresetName", "preset_name"]

PresetName = Literal["bash", "tools", "xml"]

_BLOCK = re.compile(r"```(?:mswea_bash_command|bash)\s*\n(.*?)\n?```", re.DOTALL)
_BASH_RULES = f"""You fix an issue in the repository in the current folder. Each reply holds exactly one
block, and nothing else is run:

```bash
one command
```

Every command starts in a fresh shell. To hand in your work, run: echo {SUBMIT_LINE}"""
_TOOL_RULES = (
    "You fix an issue in the repository in the current folder. Call tools; submit at the end."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One form of actions."""

    rules: str
    """What the agent is told first."""
    wanted: str
    """What a reply must hold, for the answer to one that does not."""
    tools: tuple[Mapping[str, Any], ...] = ()
    read: Callable[[Message], tuple[ToolCall, ...]]
    """The actions of a reply; none where it cannot be read."""
    run: Callable[[Sandbox, ToolCall], Observed]
    show: Callable[[Observed, ToolCall], Message]
    """What the agent sees of an action."""
    command: Callable[[str], Message]
    """A reply that runs a shell command, as scripted agents write it."""
    submit: Message
    """A reply that hands in the work."""


def _read_bash(message: Message) -> tuple[ToolCall, ...]:
    blocks = _BLOCK.findall(message.content)
    if len(blocks) != 1:
        return ()
    return (ToolCall(id="0", name="bash", arguments={"command": blocks[0]}),)


def _say_bash(command: str) -> Message:
    return assistant(f"```bash\n{command}\n```")


def _call(name: str, arguments: Mapping[str, Any]) -> Message:
    return assistant("", [ToolCall(id="call_0", name=name, arguments=arguments)])


PRESETS: Mapping[PresetName, Preset] = {
    "bash": Preset(
        rules=_BASH_RULES,
        wanted="exactly one ```bash block",
        read=_read_bash,
        run=lambda sandbox, call: run_bash(sandbox, str(call.arguments["command"])),
        show=lambda observed, call: user(observed.text),
        command=_say_bash,
        submit=_say_bash(f"echo {SUBMIT_LINE}"),
    ),
    "tools": Preset(
        rules=_TOOL_RULES,
        wanted="a tool call",
        tools=TOOLS,
        read=lambda message: message.tool_calls,
        run=run_tool,
        show=lambda observed, call: tool(observed.text, call.id, call.name),
        command=lambda command: _call("bash", {"command": command}),
        submit=_call("submit", {}),
    ),
    "xml": Preset(
        rules=XML_RULES,
        wanted="exactly one <function=NAME> ... </function>",
        read=read_xml,
        run=run_xml,
        show=lambda observed, call: user(f"Output of {call.name}:\n{observed.text}"),
        command=lambda command: write_xml("execute_bash", {"command": command}),
        submit=write_xml("finish", {"command": "submit"}),
    ),
}


def preset_name(name: str) -> PresetName:
    """`name`, if there is such a form of actions.

    Raises:
        UnknownNameError: there is none; the message lists the known ones and the closest.
    """
    for known in PRESETS:
        if known == name:
            return known
    raise UnknownNameError("form of actions", name, PRESETS)
