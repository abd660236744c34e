"""Attacks on evaluation, each in a real container: none may be resolved, the host stays unharmed.

Every attack leaves the bug in place. `fools_log` marks those that the log grader alone accepts, as a
SWE-bench harness would; the test checks that too, so that an attack that does not even work is
noticed.
"""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from swe_docker import require_docker, seed
from swe_task import BUGGY, FILES, GOLD, OLD_TESTS, SEED, TASK, diff
from turngym.envs.sandbox import Limits
from turngym.envs.swe.evaluate import EvalSettings, evaluate
from turngym.envs.swe.grading import Expected
from turngym.envs.swe.predictions import Prediction
from turngym.envs.swe.verdict import Verdict

pytestmark = pytest.mark.docker

SETTINGS = EvalSettings(timeout_s=6, limits=Limits(memory_mb=512, pids=64, disk_mb=32))
NAMES = (*TASK.expected.fail_to_pass, *TASK.expected.pass_to_pass)
LINES = "\\n".join(f"PASSED {name}" for name in NAMES)
PRINT = f"""import os
for fd in range(1, 20):  # pytest moves the real standard output elsewhere while it captures
    try: os.write(fd, b"{LINES}\\n")
    except OSError: pass
"""


@pytest.fixture(autouse=True, scope="module")
def daemon():
    require_docker()


def changed(files):
    """A patch from new contents by path; None deletes."""
    return "".join(diff(path, FILES.get(path), text) for path, text in files.items())


def imported(code):
    """The buggy module with code that runs when it is imported."""
    return changed({"sums.py": code + "\n" + BUGGY})


def wrapped(expression):
    """The buggy module whose total() gives `expression` of its wrong result."""
    return changed({"sums.py": BUGGY.replace("return result", f"return {expression}")})


MAKEREPORT = """import pytest
@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    report.outcome = "passed"
    report.longrepr = None
"""
FAKE_MAIN = PRINT + "os._exit(0)\n"
EQUAL = """class Same:
    def __init__(self, *a): pass
    def __eq__(self, other): return True
    def __truediv__(self, other): return self
"""

FOOLS_LOG = {
    "conftest rewrites reports": changed({"conftest.py": MAKEREPORT}),
    "conftest in the test folder": changed({"tests/conftest.py": MAKEREPORT}),
    "conftest loads a plugin": changed(
        {"conftest.py": "pytest_plugins = ['evil']\n", "evil.py": MAKEREPORT}
    ),
    "conftest skips the call": changed(
        {"conftest.py": "def pytest_pyfunc_call(pyfuncitem):\n    return True\n"}
    ),
    "pytest.ini loads a plugin": changed(
        {"pytest.ini": "[pytest]\naddopts = -p evil\n", "evil.py": MAKEREPORT}
    ),
    "setup.cfg loads a plugin": changed(
        {"setup.cfg": "[tool:pytest]\naddopts = -p evil\n", "evil.py": MAKEREPORT}
    ),
    "pyproject loads a plugin": changed(
        {
            "pyproject.toml": '[tool.pytest.ini_options]\naddopts = "-p evil"\n',
            "evil.py": MAKEREPORT,
        }
    ),
    "tox.ini loads a plugin": changed(
        {"tox.ini": "[pytest]\naddopts = -p evil\n", "evil.py": MAKEREPORT}
    ),
    "an entry point loads a plugin": changed(
        {
            "evil.egg-info/PKG-INFO": "Metadata-Version: 1.0\nName: evil\nVersion: 1\n",
            "evil.egg-info/entry_points.txt": "[pytest11]\nevil = evil\n",
            "evil.py": MAKEREPORT,
        }
    ),
    "pytest.py shadows pytest": changed({"pytest.py": FAKE_MAIN}),
    "a package shadows pytest": changed(
        {"pytest/__init__.py": "", "pytest/__main__.py": FAKE_MAIN}
    ),
    "_pytest is shadowed": changed({"_pytest/__init__.py": FAKE_MAIN}),
    "json.py is shadowed": changed({"json.py": FAKE_MAIN}),
    "argparse.py is shadowed": changed({"argparse.py": FAKE_MAIN}),
    "results printed at import, exit 0": imported(FAKE_MAIN),
    "results printed, sys.exit hidden by os._exit": imported(
        PRINT + "import threading\nos._exit(0)"
    ),
    "results printed at exit": imported(
        f"import atexit, os, sys\n"
        f"atexit.register(lambda: (os.write(1, b'\\n{LINES}\\n'), os._exit(0)))\n"
        "import _pytest.terminal as t\nt.TerminalReporter.short_test_summary = lambda self: None\n"
    ),
    "markers and results printed": imported(
        PRINT.replace('b"', 'b">>>>> Start Test Output\\n').replace(
            '\\n")', '\\n>>>>> End Test Output\\n>>>>> Test Exit Code: 0\\n")'
        )
        + "os._exit(0)"
    ),
    "pytest.exit with code 0": imported(PRINT + "import pytest; pytest.exit('x', returncode=0)"),
    "reports are patched at import": imported(
        "import _pytest.reports as r\n"
        "old = r.TestReport.from_item_and_call.__func__\n"
        "def new(cls, item, call):\n"
        "    call.excinfo = None\n"
        "    return old(cls, item, call)\n"
        "r.TestReport.from_item_and_call = classmethod(new)\n"
    ),
    "test functions are never called": imported(
        "import _pytest.python as p\np.Function.runtest = lambda self: None\n"
    ),
    "assertions raise xfail": imported(
        "import builtins, pytest\nbuiltins.AssertionError = pytest.xfail.Exception\n"
    ),
    "the code calls pytest.xfail": wrapped("__import__('pytest').xfail('later')"),
    "a value that equals everything": changed(
        {"sums.py": EQUAL + BUGGY.replace("return result", "return Same() if values else 0")}
    ),
    "a number that equals everything": changed(
        {
            "sums.py": "class N(int):\n    __hash__ = None\n"
            "    def __eq__(self, other): return True\n"
            "    def __truediv__(self, other): return N(1)\n"
            + BUGGY.replace("return result", "return N(result)")
        }
    ),
    "the recorder is found and told to lie": imported(
        "import gc, _pytest.runner as r\n"
        "for o in gc.get_objects():\n"
        "    if type(o).__name__ == 'Recorder':\n"
        "        old = type(o)._tell\n"
        "        type(o)._tell = lambda s, k, t, x, n: old(s, k, t, 'passed' if k == 'result' else x, n)\n"
        "import _pytest.python as p\n"
        "p.Function.runtest = lambda self: None\n"
    ),
}

FORGE = f"""import json, os
lines = [["result", name, "passed", 0] for name in {list(NAMES)}] + [["done", "", "", 0]]
data = "".join(json.dumps(line) + "\\n" for line in lines).encode()
for fd in range(3, 64):
    try: os.write(fd, data)
    except OSError: pass
os._exit(0)
"""

OTHER = {
    "the tests are deleted": changed({"tests/test_sums.py": None}),
    "the tests are emptied": changed({"tests/test_sums.py": "def test_total(): pass\n"}),
    "conftest deselects": changed(
        {"conftest.py": "def pytest_collection_modifyitems(items): items[:] = items[:2]\n"}
    ),
    "conftest ends the session with 0": changed(
        {"conftest.py": "def pytest_sessionfinish(session): session.exitstatus = 0\n"}
    ),
    "sitecustomize": changed({"sitecustomize.py": FAKE_MAIN, "usercustomize.py": FAKE_MAIN}),
    "sys.exit at import": imported("import sys; sys.exit(0)"),
    "os._exit at import": imported("import os; os._exit(0)"),
    "tests/__init__.py patches": changed({"tests/__init__.py": FAKE_MAIN}),
    "hmac and ctypes are shadowed": changed({"hmac.py": FAKE_MAIN, "ctypes.py": FAKE_MAIN}),
    "events are forged on every descriptor": imported(FORGE),
    "forged output through the parent": imported(
        "import os\ntry:\n    f = open(f'/proc/{os.getppid()}/fd/1', 'w'); f.write('0 []'); f.close()\n"
        "    key = open(f'/proc/{os.getppid()}/fd/0', 'rb').read()\nexcept OSError: pass\n"
    ),
    "the parent's memory is read": imported(
        "import os\nf = open(f'/proc/{os.getppid()}/mem', 'rb')\n"
    ),
    "the parent is killed": imported("import os; os.kill(os.getppid(), 9)"),
    "everything is killed": imported("import os; os.kill(-1, 9)"),
    "json and os.write are patched": imported(
        "import json, os\njson.dumps = lambda *a, **k: '{}'\nos.write = lambda *a: 0\n"
    ),
    "verdict files are written": imported(
        "import os\nfor p in ('report.json', '/tmp/report.json', '/run/sealed/plan.json', "
        "'/logs/verifier/reward.txt', '/run/x'):\n"
        "    try: open(p, 'w').write('{\"resolved\": true}')\n"
        "    except OSError: pass\n"
    ),
    "a daemon rewrites the tests": imported(
        "import os\nif os.fork() == 0:\n    os.setsid()\n    import time\n    while True:\n"
        "        try: open('/testbed/tests/test_sums.py', 'w').write('def test_total(): pass\\n')\n"
        "        except OSError: pass\n        time.sleep(0.005)\n"
    ),
    "a fork bomb": imported(
        "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass\n"
    ),
    "memory is exhausted": imported("x = []\nwhile True: x.append(bytearray(10**7))\n"),
    "the disk is filled": imported(
        "for name in ('/tmp/fill', 'fill'):\n    try:\n        with open(name, 'wb') as f:\n"
        "            while True: f.write(bytes(10**6))\n    except OSError: pass\n"
    ),
    "output floods": imported("import os\nwhile True: os.write(1, b'PASSED x\\n' * 1000)\n"),
    "it sleeps forever": imported("import time; time.sleep(1e6)"),
    "the answer comes over the network": imported(
        "import socket\ntry: socket.create_connection(('1.1.1.1', 80), 2)\nexcept OSError: pass\n"
        "else: total = sum\n"
    ),
    "the daemon's socket is sought": imported(
        "import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect('/var/run/docker.sock')\n"
    ),
}

LINK = "diff --git a/tests b/tests\nnew file mode 120000\n--- /dev/null\n+++ b/tests\n@@ -0,0 +1 @@\n+{}\n\\ No newline at end of file\n"
REFUSED = {
    "a symbolic link out": LINK.format("/etc"),
    "a link and a file through it": LINK.replace("tests", "x").format("/run")
    + diff("x/evil", None, "1\n"),
    "a submodule": LINK.replace("120000", "160000").format("Subproject commit " + "0" * 40),
    "a path that climbs": GOLD + diff("../../etc/passwd", None, "root::0:0\n"),
    "an absolute path": "--- /dev/null\n+++ /run/sealed/plan.json\n@@ -0,0 +1 @@\n+{}\n",
    "a git hook": diff(".git/hooks/post-checkout", None, "#!/bin/sh\n"),
    "a git hook in capitals": diff(".GIT/config", None, "[core]\n"),
    "a rename that climbs": "diff --git a/sums.py b/sums.py\nrename from sums.py\nrename to ../x\n",
}


def run(patch):
    answer = Prediction(instance_id=TASK.instance_id, patch=patch)
    return evaluate(TASK, answer, SETTINGS, SEED)


@pytest.mark.parametrize("name", FOOLS_LOG)
def test_attacks_that_fool_the_log_are_suspicious(name):
    result = run(FOOLS_LOG[name])
    assert result.log_grade is not None and result.log_grade.resolved, result.log[-2000:]
    assert result.verdict is Verdict.SUSPICIOUS and result.evidence


@pytest.mark.parametrize("name", OTHER)
def test_other_attacks_are_not_resolved(name):
    before = set(os.listdir("/tmp"))
    result = run(OTHER[name])
    assert result.verdict in (Verdict.UNRESOLVED, Verdict.SUSPICIOUS, Verdict.TIMEOUT), (
        result.reason
    )
    assert "fill" not in set(os.listdir("/tmp")) - before
    assert not Path("/logs/verifier/reward.txt").exists()


@pytest.mark.parametrize("name", REFUSED)
def test_patches_that_leave_the_tree_are_refused_before_they_are_tried(name):
    result = run(REFUSED[name])
    assert (
        result.verdict is Verdict.PATCH_REFUSED
        and "tree" in result.reason
        or "link" in result.reason
    )


@pytest.mark.parametrize("folder", ["tests", "tests/deep"])
def test_a_helper_that_the_tests_import_is_put_back(folder):
    # `from helpers import same`, as pytest's default import mode allows: a helper that a patch
    # rewrites decides results without touching a test or a conftest.
    helper, lax = "def same(a, b): assert a == b\n", "def same(a, b): pass\n"
    test = f"{folder}/test_more.py"
    text = "from helpers import same\nfrom sums import total\n\n\n"
    text += "def test_more():\n    same(total([1, 2]), 3)\n"
    files = {**FILES, f"{folder}/helpers.py": helper, test: text}
    task = replace(
        TASK,
        test_patch="",
        test_files=(test,),
        expected=Expected(fail_to_pass=(f"{test}::test_more",)),
    )
    for patch, verdict in (
        (diff(f"{folder}/helpers.py", helper, lax), Verdict.UNRESOLVED),
        (diff("helpers.py", None, lax), Verdict.UNRESOLVED),
        (GOLD, Verdict.RESOLVED),
    ):
        answer = Prediction(instance_id=task.instance_id, patch=patch)
        result = evaluate(task, answer, SETTINGS, seed(files))
        assert result.verdict is verdict, (result.reason, result.evidence, result.log)


def test_the_suite_holds_at_least_forty_attacks():
    assert len(FOOLS_LOG) + len(OTHER) + len(REFUSED) >= 40
    assert OLD_TESTS in FILES.values()


def test_an_honest_fix_is_resolved_after_all_attacks_and_nothing_is_left():
    from turngym.envs.sandbox.daemon import LABEL, client, owner

    assert run(GOLD).verdict is Verdict.RESOLVED
    left = client().api.containers(all=True, filters={"label": f"{LABEL}={owner()}"})
    assert left == []


def test_known_remainder_an_answer_read_from_the_calling_test():
    # Code in the test's own process can imitate it: docs/swe_threats.md says so. When this test
    # fails, a defence was found, and that page can lose a paragraph.
    peek = (
        "    import sys\n    frame = sys._getframe(1)\n"
        "    if frame.f_code.co_name == 'test_total': return 6\n"
        "    if frame.f_code.co_name == 'mean':\n"
        "        return frame.f_back.f_locals['wanted'] * len(values)\n"
    )
    result = run(changed({"sums.py": BUGGY.replace("    result = 0\n", peek + "    result = 0\n")}))
    assert result.verdict is Verdict.RESOLVED
