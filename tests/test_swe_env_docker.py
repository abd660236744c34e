"""turngym/SWE-v0 and the bundled tasks in real containers."""

import pytest

import turngym
from swe_docker import require_docker
from turngym.envs.sandbox import Limits
from turngym.envs.swe.actions import SUBMIT_LINE
from turngym.envs.swe.bundled import bundled_tasks
from turngym.envs.swe.env import SWE
from turngym.envs.swe.evaluate import EvalSettings
from turngym.envs.swe.validate import validate_tasks
from turngym.errors import ConfigError
from turngym.types import ToolCall, TurnStatus, assistant

pytestmark = pytest.mark.docker


@pytest.fixture(autouse=True, scope="module")
def daemon():
    require_docker()


@pytest.fixture
def env():
    made = SWE()
    yield made
    made.close()


def test_the_environment_keeps_the_contract():
    turngym.check_env("turngym/SWE-v0")


def test_splits_share_nothing_and_both_have_tasks(env):
    train, test = env.tasks("train"), env.tasks("test")
    assert train and test and not set(train) & set(test) and len(train) + len(test) == 30
    with pytest.raises(ConfigError, match="splits"):
        env.tasks("dev")


TASK = {"task_id": "turngym__clamp-1"}


def calls(*items):
    made = [ToolCall(id=str(i), name=n, arguments=a) for i, (n, a) in enumerate(items)]
    return assistant("", made)


FIX = (
    "edit",
    {
        "path": "clamp.py",
        "old": "if value > high:\n        return low",
        "new": "if value > high:\n        return high",
    },
)


def test_every_bundled_task_is_valid():
    settings = EvalSettings(timeout_s=60, limits=Limits(disk_mb=32))
    checks = validate_tasks(bundled_tasks(), workers=2, settings=settings)
    assert [c for c in checks if c.outcome != "valid"] == [] and len(checks) == 30


def test_a_fix_by_tools_is_worth_one(env):
    messages, info = env.reset(seed=1, options=TASK)
    assert "returns `low`" in messages[1].content and info["task_id"] == TASK["task_id"]
    shown, reward, done, cut, info = env.step(
        calls(("view", {"path": "clamp.py"}), ("search", {"pattern": "high"}))
    )
    assert "return low" in shown[0].content and "clamp.py:4" in shown[1].content
    assert (reward, done, cut, info["rewards"]) == (0.0, False, False, {"format": 1.0, "tool": 1.0})
    env.step(calls(FIX))
    shown, *_ = env.step(calls(("run_tests", {})))
    assert "2 passed" in shown[0].content
    _, reward, done, _, info = env.step(calls(("submit", {})))
    assert (reward, done, info["success"], info["verdict"]) == (1.0, True, True, "resolved")


def test_the_four_levels_are_ordered(env):
    outcomes = []
    wrong = ("edit", {"path": "clamp.py", "old": "value < low", "new": "value <= low"})
    for actions in ([("submit", {})], [wrong, ("submit", {})], [FIX, ("submit", {})]):
        env.reset(options=TASK)
        outcomes.append(env.step(calls(*actions))[4]["outcome"])
    env.reset(options=TASK)
    env.max_turns = 1
    *_, cut, info = env.step(calls(("bash", {"command": "true"})))
    assert cut and [info["outcome"], *outcomes] == [0.0, 0.1, 0.2, 1.0]


def test_faulty_calls_and_replies_are_answered(env):
    env.reset(options=TASK)
    for name, arguments, words in (
        ("nothing", {}, "no tool"),
        ("edit", {"path": "x"}, "needs old, new"),
        ("edit", {"path": "clamp.py", "old": "value", "new": ""}, "occurs"),
        ("view", {"path": "clamp.py", "start": "one"}, "line numbers"),
        ("view", {"path": "missing.py"}, "No such file"),
    ):
        shown, *_ = env.step(calls((name, arguments)))
        assert words in shown[0].content
    shown, _, _, _, info = env.step("no call at all")
    assert info["status"] is TurnStatus.INVALID_ACTION and info["rewards"]["format"] == 0.0


def test_the_bash_preset_runs_one_block_and_submits():
    env = SWE(actions="bash")
    try:
        env.reset(options=TASK)
        assert env.step("```bash\nls\n```\n```bash\nls\n```")[4]["rewards"]["format"] == 0.0
        shown, *_ = env.step("I look.\n```bash\ncd tests && export X=1; ls; exit 2\n```")
        assert "<returncode>2</returncode>" in shown[0].content and "test_clamp" in shown[0].content
        shown, *_ = env.step("```mswea_bash_command\nseq 1 100000; echo [$X]\n```")
        assert "characters left out" in shown[0].content and "[]" in shown[0].content
        assert len(shown[0].content) < 10_200
        env.step("```bash\nsed -i '5s/low/high/' clamp.py\n```")
        _, reward, done, _, info = env.step(f"```bash\necho {SUBMIT_LINE}\n```")
        assert (reward, done) == (1.0, True) and "clamp.py" in info["patch"]
    finally:
        env.close()


def test_the_xml_preset_edits_searches_and_finishes():
    env = SWE(actions="xml")
    form = "<function={}>\n{}</function>".format

    def say(name, **values):
        body = "".join(f"<parameter={k}>{v}</parameter>\n" for k, v in values.items())
        return "I think.\n" + form(name, body)

    try:
        messages, _ = env.reset(options=TASK)
        assert "<function=NAME>" in messages[0].content and env.tools == ()
        assert env.step(say("finish") + say("finish"))[4]["rewards"]["format"] == 0.0
        for name, values, words in (
            (
                "file_editor",
                {"command": "view", "path": "clamp.py", "view_range": "[4, 5]"},
                "high",
            ),
            ("file_editor", {"command": "undo_edit", "path": "clamp.py"}, "no command"),
            ("file_editor", {"command": "create", "path": "x.py"}, "needs file_text"),
            ("file_editor", {"command": "create", "path": "x.py", "file_text": "a\nb"}, "edited"),
            (
                "file_editor",
                {"command": "insert", "path": "x.py", "insert_line": "1", "new_str": "middle"},
                "edited",
            ),
            ("execute_bash", {"cmd": "cat x.py"}, "a\nmiddle\nb"),
            ("execute_bash", {}, "needs command"),
            ("search", {"search_term": "value > high"}, "./clamp.py:4"),
            ("search", {"search_term": "nowhere at all"}, "nothing found"),
            ("fly", {}, "no function"),
        ):
            shown, *_ = env.step(say(name, **values))
            assert words in shown[0].content, (name, values, shown[0].content)
        fix = {"path": "clamp.py", "old_str": FIX[1]["old"], "new_str": FIX[1]["new"]}
        _, _, _, _, info = env.step(say("file_editor", command="str_replace", **fix))
        assert info["edits"] == [{"path": "clamp.py", "matches": 1, "ok": True}]
        assert env.step(say("finish", command="submit"))[1] == 1.0
    finally:
        env.close()


def test_facts_of_a_turn_are_recorded():
    check = "python - <<'E'\nimport ast, pathlib\nfor p in pathlib.Path().rglob('*.py'):\n"
    check += "    try: ast.parse(p.read_text())\n    except SyntaxError: print(p)\nE"
    env = SWE(diagnose=check)
    try:
        env.reset(options=TASK)
        *_, info = env.step(calls(("edit", {"path": "clamp.py", "old": "return", "new": ""})))
        assert info["edits"] == [{"path": "clamp.py", "matches": 3, "ok": False}]
        assert info["named"] == ["clamp.py"] and info["diagnostics"] == [0, 0]
        assert "occurs 3 times" in info["feedback"] and info["rewards"]["tool"] == 0.0
        broken = {"path": "clamp.py", "old": "value < low:", "new": "value <"}
        *_, info = env.step(calls(("edit", broken)))
        assert info["diagnostics"] == [0, 1] and "0 before, 1 after" in info["feedback"]
        *_, info = env.step(calls(("bash", {"command": "cd tests && git status; pytest -q"})))
        assert info["named"] == [] and info["tests"] == {"passed": 0, "failed": 1}
        assert env.privileged.hidden_state["files"] == ["clamp.py"]
    finally:
        env.close()


def test_the_expert_solves_tiny_and_larger_tasks():
    env = SWE(actions="bash")
    try:
        for task in ("turngym__slug-1", "turngym__waypaths-1"):
            messages, _ = env.reset(options={"task_id": task})
            seen, done, reward = list(messages), False, 0.0
            while not done:
                reply = env.expert(seen)
                shown, reward, done, *_ = env.step(reply)
                seen += [reply, *shown]
            assert reward == 1.0
    finally:
        env.close()


def test_forks_have_their_own_files(env):
    env.reset(options=TASK)
    env.step(calls(("bash", {"command": "echo one > note"})))
    twin = env.fork()
    try:
        assert twin.fingerprint() == env.fingerprint()
        twin.step(calls(("bash", {"command": "echo two > note"})))
        shown, *_ = env.step(calls(("view", {"path": "note"})))
        assert "one" in shown[0].content and twin.fingerprint() != env.fingerprint()
        state = env.get_state()
        env.step(calls(("bash", {"command": "rm *"})))
        env.set_state(state)
        shown, *_ = env.step(calls(("view", {"path": "note"})))
        assert "one" in shown[0].content
    finally:
        twin.close()


def test_killing_everything_does_not_end_the_sandbox(env):
    env.reset(options=TASK)
    killed = "import os\nos.kill(-1, 9)"
    shown, reward, done, _, info = env.step(calls(("bash", {"command": f"python -c '{killed}'"})))
    assert not done  # the warden outlives it
    shown, *_ = env.step(calls(("bash", {"command": "echo alive"})))
    assert "alive" in shown[0].content
