"""What a turn's record says: files named, edits, test runs; and the XML form of actions."""

import pytest

from turngym.envs.swe.actions import Edit, Observed
from turngym.envs.swe.facts import facts_of, feedback_of, summary_of
from turngym.envs.swe.presets import PRESETS
from turngym.envs.swe.xml_actions import read_xml, write_xml
from turngym.types import ToolCall, assistant

PATHS = ("clamp.py", "src/pkg/mod.py", "tests/test_clamp.py")


def bash(command):
    return ToolCall(id="0", name="bash", arguments={"command": command})


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("cat clamp.py", ["clamp.py"]),
        ("cat ./clamp.py /testbed/src/pkg/mod.py", ["clamp.py", "src/pkg/mod.py"]),
        ("sed -i 's/a/b/' 'clamp.py'", ["clamp.py"]),
        ("pytest tests/test_clamp.py::test_x", ["tests/test_clamp.py"]),
        ("cat clamp.py.orig myclamp.py other/clamp.py", []),  # ends and beginnings of others
        ("ls", []),
    ],
)
def test_files_that_actions_name(command, named):
    done = Observed(text="", ok=True)
    assert facts_of([bash(command)], [done], PATHS, "/testbed")["named"] == named


@pytest.mark.parametrize(
    ("output", "counts"),
    [
        ("..\n2 passed in 0.01s\n", (2, 0)),
        ("==== 1 failed, 3 passed, 2 skipped in 1.2s ====", (3, 1)),
        ("== 2 failed in 1s ==\nagain\n== 1 passed, 1 error in 2.00s ==", (1, 1)),
        ("=== 1 passed, 4 warnings in 61.03s (0:01:01) ===", (1, 0)),
        ("no tests ran in 0.00s", None),
        ("all 5 passed", None),
    ],
)
def test_summary_lines(output, counts):
    assert summary_of(output) == counts


def test_only_runs_of_tests_count_and_calls_after_a_submission_are_not_made():
    said = Observed(text="5 passed in 1.0s", ok=True)
    assert "tests" not in facts_of([bash("echo '5 passed in 1.0s'")], [said], PATHS, "/testbed")
    facts = facts_of([bash("pytest -q"), bash("cat clamp.py")], [said], PATHS, "/testbed")
    assert facts["tests"] == {"passed": 5, "failed": 0} and facts["named"] == []


def test_edits_and_feedback():
    failed = Observed(
        text="error: twice", ok=False, edit=Edit(path="clamp.py", matches=2, ok=False)
    )
    facts = facts_of([bash("x")], [failed], PATHS, "/testbed")
    assert facts["edits"] == [{"path": "clamp.py", "matches": 2, "ok": False}]
    assert feedback_of([failed], facts) == "0 of 1 actions worked; an action failed: error: twice"


def test_xml_calls():
    (call,) = read_xml(
        assistant(
            "I look.\n<function=file_editor>\n<parameter=command>create</parameter>\n"
            "<parameter=file_text>\n\nif a < b:\n    pass\n\n</parameter>\n</function>"
        )
    )
    assert call.name == "file_editor"
    # one line break on either side is form, the others are text
    assert call.arguments == {"command": "create", "file_text": "\nif a < b:\n    pass\n"}
    for text in ("no call", "<function=x>", 2 * "<function=x></function>"):
        assert read_xml(assistant(text)) == ()
    assert read_xml(write_xml("execute_bash", {"command": "ls\n\n"}))[0].arguments == {
        "command": "ls\n\n"
    }


@pytest.mark.parametrize("name", PRESETS)
def test_what_a_preset_writes_it_reads(name):
    preset = PRESETS[name]
    (call,) = preset.read(preset.command("sed -i 's/<a>/`b`/' x\necho done"))
    assert call.arguments["command"] == "sed -i 's/<a>/`b`/' x\necho done"
    assert len(preset.read(preset.submit)) == 1
