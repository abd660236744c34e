"""Log parsers and grading rules, against real logs with recorded verdicts and cases by hand."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turngym.envs.swe.grading import Expected, Resolution, grade
from turngym.envs.swe.parsers import PARSERS, Status, parser_of, region
from turngym.errors import UnknownNameError

HERE = Path(__file__).resolve().parent
SHARED = Path(os.environ.get("TURNGYM_SHARED", HERE.parents[1] / "shared"))
DATA = SHARED / "data" / "swe"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="needs the shared data")


def ids(value):
    return tuple(json.loads(value) if isinstance(value, str) else value)


def expected_of(row):
    return Expected(fail_to_pass=ids(row["FAIL_TO_PASS"]), pass_to_pass=ids(row["PASS_TO_PASS"]))


def regrade(instance_id, log, row):
    repository = instance_id.rsplit("-", 1)[0].replace("__", "/")
    return grade(parser_of(repository)(region(log)), expected_of(row)).resolved


BUNDLED = json.loads((HERE / "swe_logs" / "expected.json").read_text())


@pytest.mark.parametrize("instance_id", BUNDLED)
def test_bundled_real_logs_regrade_to_their_recorded_verdict(instance_id):
    log = (HERE / "swe_logs" / f"{instance_id}.gold.eval.log").read_text()
    row = BUNDLED[instance_id]
    assert regrade(instance_id, log, row) is row["resolved"]


@pytest.mark.parametrize("instance_id", [i for i, row in BUNDLED.items() if row["resolved"]])
def test_a_resolved_real_log_without_its_fixed_tests_is_unresolved(instance_id):
    # Guards against a lookup that matches too much: cut every line that names a FAIL_TO_PASS test.
    log = (HERE / "swe_logs" / f"{instance_id}.gold.eval.log").read_text()
    row = BUNDLED[instance_id]
    names = [test.split(" ")[0] for test in ids(row["FAIL_TO_PASS"])]
    cut = "\n".join(line for line in log.splitlines() if not any(n in line for n in names))
    assert regrade(instance_id, cut, row) is False


@needs_data
def test_all_95_real_logs_regrade_to_their_recorded_verdicts():
    rows = json.loads((DATA / "swebench_logs" / "expected_tests.json").read_text())
    for name in ("swe-bench-dev-easy.json", "swe-bench-lite-test.json"):
        for row in json.loads((DATA / "sweagent_instances" / name).read_text()):
            rows.setdefault(row["instance_id"], row)
    manifest = json.loads((DATA / "swebench_logs" / "manifest.json").read_text())
    assert len(manifest) == 95
    wrong = [
        item["log"]
        for item in manifest
        if regrade(
            item["instance_id"],
            (DATA / "swebench_logs" / item["log"]).read_text(errors="replace"),
            rows[item["instance_id"]],
        )
        is not item["resolved"]
    ]
    assert wrong == []


@needs_data
@pytest.mark.parametrize(
    "instance_id",
    [
        "getmoto__moto.694ce1f4.pr_7331",
        "pandas-dev__pandas.95280573.pr_53652",
        "pandas-dev__pandas.95280573.pr_53856",
        "pydantic__pydantic.acb0f10f.pr_8316",
    ],
)
def test_swe_smith_logs_regrade_to_their_reports_test_by_test(instance_id):
    folder = DATA / "swesmith_logs" / "run_evaluation" / instance_id
    report = json.loads((folder / "report.json").read_text())
    tests = report["tests_status"]
    expected = Expected(
        fail_to_pass=tuple(tests["FAIL_TO_PASS"]["success"] + tests["FAIL_TO_PASS"]["failure"]),
        pass_to_pass=tuple(tests["PASS_TO_PASS"]["success"] + tests["PASS_TO_PASS"]["failure"]),
    )
    parse = parser_of("swesmith/" + instance_id.rpartition(".")[0])
    got = grade(parse(region((folder / "test_output.txt").read_text())), expected, absent="pass")
    assert got.resolved is report["resolved"]
    assert set(got.not_fixed) == set(tests["FAIL_TO_PASS"]["failure"])
    assert set(got.broken) == set(tests["PASS_TO_PASS"]["failure"])


@needs_data
def test_swe_smith_validation_finds_the_tests_that_the_bug_breaks():
    folder = DATA / "swesmith_logs" / "run_validation"
    broken, clean = (
        PARSERS["pytest"](region((folder / name).read_text()))
        for name in ("test_output.txt", "test_output_pre_gold.txt")
    )
    report = json.loads((folder / "report.json").read_text())
    flipped = {test for test in clean if clean[test].passes and not broken[test].passes}
    assert flipped == set(report["FAIL_TO_PASS"])


@needs_data
def test_go_and_verbose_pytest_logs_have_the_counts_that_their_last_lines_say():
    folder = DATA / "swesmith_logs" / "test_output"
    money = next(folder.glob("django-money*")).read_text()
    counts = list(PARSERS["pytest"](region(money)).values())
    # "9 failed, 420 passed, 2 skipped": the two skips have one summary entry in this form.
    assert (counts.count(Status.FAILED), counts.count(Status.PASSED)) == (9, 420)
    gin = PARSERS["go"](next(folder.glob("gin*")).read_text())
    assert sum(not status.passes for status in gin.values()) == 2  # one FAIL, one SKIP


def test_pytest_ids_keep_their_spaces_and_lose_their_messages():
    log = "\n".join(
        [
            "PASSED t.py::test_a[x y - z]",
            "FAILED t.py::test_b[p - q] - AssertionError: a - b",
            "FAILED t.py::test_c - ValueError: [1] - 2",
            "ERROR t.py - ImportError: no module",
            "SKIPPED [2] t.py:4: no network",
            "t.py::test_d[1 2] XFAIL (why) ",
            "t.py::test_e PASSED                    [ 98%]",
            "the word PASSED in a sentence",
        ]
    )
    assert PARSERS["pytest"](log) == {
        "t.py::test_a[x y - z]": Status.PASSED,
        "t.py::test_b[p - q]": Status.FAILED,
        "t.py::test_c": Status.FAILED,
        "t.py": Status.ERROR,
        "t.py::test_d[1 2]": Status.XFAIL,
        "t.py::test_e": Status.PASSED,
    }


def test_a_printed_pass_never_covers_a_failure():
    log = "FAILED t.py::test_a - boom\nPASSED t.py::test_a"
    assert PARSERS["pytest"](log)["t.py::test_a"] is Status.FAILED
    assert PARSERS["django"]("test_a (m.C) ... FAIL\ntest_a (m.C) ... ok") == {
        "test_a (m.C)": Status.FAILED
    }


def test_option_paths_are_cut_and_colours_removed():
    log = "PASSED t.py::test[/home/me/file.py]\nPASSED t.py::test[//host/x]"
    assert set(PARSERS["pytest_options"](log)) == {"t.py::test[/file.py]", "t.py::test[//host/x]"}
    coloured = "\x1b[31mFAILED\x1b[0m t.py::\x1b[1mtest_a[0-m]\x1b[0m - boom"
    assert PARSERS["pytest_v2"](coloured) == {"t.py::test_a[0-m]": Status.FAILED}


def test_django_reads_docstrings_interleaved_output_and_reports():
    log = "\n".join(
        [
            "test_one (app.tests.T) ... ok",
            "test_two (app.tests.T)",
            "The docstring of two. ... skipped 'no database'",
            "test_three (app.tests.T) ... Testing against Django",
            "System check identified no issues (0 silenced).",
            "ok",
            "test_four (app.tests.T) ... expected failure",
            "  Applying admin.0001_initial... OK",
            "test_five (app.tests.T) ... FAIL",
            "ERROR: test_six (app.tests.T)",
        ]
    )
    assert PARSERS["django"](log) == {
        "test_one (app.tests.T)": Status.PASSED,
        "The docstring of two.": Status.SKIPPED,
        "test_two (app.tests.T)": Status.SKIPPED,
        "test_three (app.tests.T)": Status.PASSED,
        "test_four (app.tests.T)": Status.XFAIL,
        "test_five (app.tests.T)": Status.FAILED,
        "test_six (app.tests.T)": Status.ERROR,
    }


def test_sympy_and_go_lines():
    sympy = "test_a ok\ntest_b F\ntest_c E   [FAIL]\ntest_d f [OK]\n__ sympy/x.py:test_b __"
    assert PARSERS["sympy"](sympy) == {
        "test_a": Status.PASSED,
        "test_b": Status.FAILED,
        "test_c": Status.ERROR,
        "test_d": Status.XFAIL,
        "sympy/x.py:test_b": Status.FAILED,
    }
    go = "=== RUN A\nnoise--- PASS: A (0.00s)\n    --- FAIL: A/b c (1.20s)\n--- SKIP: D (0.00s)"
    assert PARSERS["go"](go) == {
        "A": Status.PASSED,
        "A/b c": Status.FAILED,
        "D": Status.SKIPPED,
    }


MOCHA = """
  Array
    \u2714 has a length
    indexOf
      \u2714 finds nothing
      1) is wrong on purpose
      - waits


  2 passing (98ms)
  1 pending
  1 failing

  1) Array
       indexOf
         is wrong on purpose:
"""
CTEST = """Test project /tmp/js/c
    Start 1: good
1/5 Test #1: good .............................   Passed    0.01 sec
    Start 2: bad.case
2/5 Test #2: bad.case .........................***Failed    0.01 sec
    Start 3: late
3/5 Test #3: late .............................***Timeout   1.02 sec
    Start 4: absent
Could not find executable nothing_here
4/5 Test #4: absent ...........................***Not Run   0.00 sec
    Start 5: off
5/5 Test #5: off ..............................***Not Run (Disabled)   0.00 sec
The following tests FAILED:
\t  2 - bad.case (Failed)
"""
# mocha 11's and CTest 4.4's own output; the others after the documentation of their tools.
CARGO = """running 3 tests
test tests::adds ... ok
test src/lib.rs - add (line 3) ... FAILED
test tests::slow ... ignored
test tests::panics - should panic ... ok
test result: FAILED. 2 passed; 1 failed; 1 ignored"""
MAVEN = """[INFO] Running com.example.AppTest
[INFO] Tests run: 3, Failures: 0, Errors: 0, Skipped: 1, Time elapsed: 0.05 s -- in com.example.AppTest
[ERROR] Tests run: 2, Failures: 1, Errors: 0, Skipped: 0, Time elapsed: 0.1 s <<< FAILURE! - in com.example.B
[WARNING] Tests run: 1, Failures: 0, Errors: 0, Skipped: 1, Time elapsed: 0 s - in com.example.C
[INFO] Tests run: 6, Failures: 1, Errors: 0, Skipped: 2"""
JEST = """PASS src/a.test.ts
  adds
    \u2713 two numbers (3 ms)
FAIL src/b.test.js
    \u2715 breaks
    \u25cb skipped later"""
P, F, S = Status.PASSED, Status.FAILED, Status.SKIPPED


@pytest.mark.parametrize(
    ("name", "log", "results"),
    [
        (
            "javascript",
            MOCHA,
            {"has a length": P, "finds nothing": P, "is wrong on purpose": F, "waits": S},
        ),
        ("ctest", CTEST, {"good": P, "bad.case": F, "late": F, "absent": F, "off": S}),
        (
            "cargo",
            CARGO,
            {
                "tests::adds": P,
                "src/lib.rs - add (line 3)": F,
                "tests::slow": S,
                "tests::panics": P,
            },
        ),
        ("maven", MAVEN, {"com.example.AppTest": P, "com.example.B": F, "com.example.C": S}),
        (
            "javascript",
            JEST,
            {
                "src/a.test.ts": P,
                "two numbers": P,
                "src/b.test.js": F,
                "breaks": F,
                "skipped later": S,
            },
        ),
    ],
)
def test_suites_of_other_languages(name, log, results):
    assert PARSERS[name](log) == results
    assert PARSERS["any"](log) == results


def test_matplotlib_mouse_buttons_are_numbers():
    log = "PASSED t.py::test[MouseButton.LEFT-MouseButton.RIGHT]"
    assert list(PARSERS["matplotlib"](log)) == ["t.py::test[1-3]"]


def test_the_region_spans_the_outer_markers():
    start, end = ">>>>> Start Test Output", ">>>>> End Test Output"
    log = f"before\n{start}\na\n{end}\nb\n{start}\nc\n{end}\nafter"
    assert region(log).split() == ["a", *end.split(), "b", *start.split(), "c"]
    assert region("no marker") == "no marker"


def test_skips_keep_but_do_not_fix_and_absence_follows_the_rule():
    results = {"a": Status.SKIPPED, "b": Status.XFAIL}
    both = Expected(fail_to_pass=("a",), pass_to_pass=("a", "b"))
    got = grade(results, both)
    assert (got.not_fixed, got.kept, got.resolution) == (("a",), ("a", "b"), Resolution.NO)
    missing = Expected(fail_to_pass=("b", "z"), pass_to_pass=())
    assert grade(results, missing).resolution is Resolution.PARTIAL
    assert grade(results, missing, absent="pass").resolution is Resolution.FULL


def test_a_cut_id_stands_for_the_worst_of_its_family():
    results = {"t[a b]": Status.PASSED, "t[a c]": Status.FAILED, "u[a b]": Status.PASSED}
    got = grade(results, Expected(fail_to_pass=("t[a", "u[a", "t")))
    assert got.fixed == ("u[a",)


def test_an_unknown_parser_is_named_with_the_closest():
    with pytest.raises(UnknownNameError, match="Did you mean 'pytest_v2'"):
        parser_of("a/b", "pytest_v3")
    assert parser_of("a/b", "parse_log_astropy") is PARSERS["pytest_v2"]


names = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=8)


@given(st.dictionaries(names, st.sampled_from(Status), max_size=8), st.sets(names, max_size=5))
def test_grade_partitions_the_ids_and_agrees_with_the_definition(results, wanted):
    expected = Expected(fail_to_pass=tuple(sorted(wanted)), pass_to_pass=tuple(sorted(wanted)))
    got = grade(results, expected)
    assert sorted(got.fixed + got.not_fixed) == sorted(wanted)
    assert sorted(got.kept + got.broken) == sorted(wanted)
    for test in wanted:
        status = results.get(test)
        assert (test in got.fixed) == (status in (Status.PASSED, Status.XFAIL))
        assert (test in got.kept) == (status in (Status.PASSED, Status.XFAIL, Status.SKIPPED))
