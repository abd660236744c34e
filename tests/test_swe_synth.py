"""Procedural bugs: each transform by hand, laws over real source, packages and rows."""

import ast
import io
import json
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from turngym.envs.swe.grading import Expected
from turngym.envs.swe.synth.package import Package, read_package
from turngym.envs.swe.synth.transforms import TRANSFORMS, Mutation, mutate, mutations
from turngym.envs.swe.synth.write import row_of
from turngym.envs.swe.tasks import Task, task_of
from turngym.errors import DataError, UnknownNameError

BY_HAND = {
    "move_boundary": ("return a < b", "return a <= b"),
    "negate_comparison": ("return a in b", "return a not in b"),
    "swap_branches": ("return 1 if a else 2", "return 2 if a else 1"),
    "drop_guard": ("if a:\n        return 1\n    return 2", "return 2"),
    "always_do": (
        "if a:\n        return 1\n    return 2",
        "if True:\n        return 1\n    return 2",
    ),
    "change_arithmetic": ("return a + b", "return a - b"),
    "swap_operands": ("return a // b", "return b // a"),
    "swap_connective": ("return a and b", "return a or b"),
    "drop_operand": ("return a and b", "return a"),
    "drop_not": ("return not a", "return a"),
    "shift_number": ("return 10", "return 11"),
    "flip_constant": ("return True", "return False"),
    "swap_arguments": ("return f(a, b, c=1)", "return f(b, a, c=1)"),
    "drop_keyword": ("return f(a, c=1)", "return f(a)"),
    "drop_statement": ("a.append(b)\n    return a", "return a"),
    "drop_iteration": (
        "for x in a:\n        b += x\n    return b",
        "for x in a:\n        b += x\n        break\n    return b",
    ),
    "stop_for_skip": (
        "for x in a:\n        continue\n    return b",
        "for x in a:\n        break\n    return b",
    ),
    "forget_result": ("return a", "return None"),
    "swap_neighbours": ("a = 1\n    b = a\n    return b", "b = a\n    a = 1\n    return b"),
}


def function(body):
    return f"def f(a, b):\n    {body}\n"


def test_there_are_at_least_ten_and_all_are_shown_here():
    assert len(TRANSFORMS) >= 10 and set(TRANSFORMS) == set(BY_HAND)


@pytest.mark.parametrize("name", BY_HAND)
def test_by_hand(name):
    before, after = BY_HAND[name]
    source = function(before)
    found = mutations(source, [name])
    assert found[0] == Mutation(transform=name, index=0, function="f")
    assert mutate(source, found[0]) == function(after)


@pytest.mark.parametrize(
    "source",
    [
        "x = 1 < 2\n",  # not inside a function
        'def f():\n    "1 < 2"\n',
        "def f(a: x[1 < 2] = None):\n    pass\n",
        "@d(1 < 2)\ndef f():\n    pass\n",
        "def f():\n    if TYPE_CHECKING:\n        x = 1 < 2\n",
    ],
)
def test_what_is_left_alone(source):
    assert mutations(source, ["move_boundary", "shift_number", "drop_guard"]) == ()


def test_text_is_not_arithmetic_and_chains_change_at_their_first_link():
    assert mutations(function("return '%s' % a"), ["change_arithmetic", "swap_operands"]) == ()
    source = function("return 0 < a < b")
    assert mutate(source, mutations(source, ["move_boundary"])[0]) == function("return 0 <= a < b")


def test_places_are_numbered_by_transform_and_named_by_function():
    source = "class C:\n    def m(self):\n        return 1\n\n\ndef g():\n    return 2\n"
    found = mutations(source, ["shift_number"])
    assert [(m.index, m.function) for m in found] == [(0, "C.m"), (1, "g")]
    assert mutate(source, found[1]) == source.replace("return 2", "return 3")


def test_a_place_that_is_not_there():
    with pytest.raises(ValueError, match="no place 4"):
        mutate(
            "def f():\n    return 1\n", Mutation(transform="shift_number", index=4, function="f")
        )
    with pytest.raises(UnknownNameError):
        mutations("x = 1\n", ["swap_numbers"])


def test_every_mutation_of_real_source_is_python_and_a_change():
    source = Path(ast.__file__).with_name("bisect.py").read_text(encoding="utf-8")
    found = mutations(source)
    assert len(found) > 30 and found == mutations(source)
    for mutation in found:
        faulty = mutate(source, mutation)
        assert faulty != source, mutation
        compile(faulty, "faulty", "exec")


FILES = {
    "PKG-INFO": "Metadata-Version: 2.1\nName: Adder\nVersion: 1.2\n\nIt adds.\n",
    "src/adder/__init__.py": "def add(a, b):\n    return a + b\n",
    "setup.py": "x = 1\n",
    "docs/conf.py": "x = 1\n",
    "tests/test_add.py": "from adder import add\n\n\nclass TestIt:\n    def test_add(self):\n"
    "        assert add(1, 2) == 3\n\n\ndef test_zero():\n    assert add(0, 0) == 0\n",
    "tests/conftest.py": "",
    "src/adder.egg-info/PKG-INFO": "Name: adder\n",
    "__pycache__/x.py": "",
}


def archive(kind, path):
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as out:
            for name, text in FILES.items():
                out.writestr(f"adder-1.2/{name}", text)
        return
    with tarfile.open(path, "w:gz") as out:
        for name, data in [*FILES.items(), ("logo.png", "\0")]:
            member = tarfile.TarInfo(f"adder-1.2/{name}")
            member.size = len(data)
            out.addfile(member, io.BytesIO(data.encode()))


@pytest.mark.parametrize("kind", ["folder", "tar.gz", "zip"])
def test_a_package_in_every_form(tmp_path, kind):
    path = tmp_path / f"adder-1.2{'' if kind == 'folder' else '.' + kind}"
    if kind == "folder":
        for name, text in FILES.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_text(text)
    else:
        archive(kind, path)
    package = read_package(path)
    assert (package.name, package.version) == ("adder", "1.2")
    assert package.code == ("src/adder/__init__.py",) and package.tests == ("tests/test_add.py",)
    assert "logo.png" not in package.files and "__pycache__/x.py" not in package.files
    assert package.test_command.startswith("PYTHONPATH=src python -m pytest")


def test_what_is_no_package(tmp_path):
    (tmp_path / "noise.tar.gz").write_bytes(b"noise")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/a.py").write_text("")
    for name, words in (
        ("none", "no source tree"),
        ("noise.tar.gz", "neither"),
        ("empty", "tests"),
    ):
        with pytest.raises(DataError, match=words):
            read_package(tmp_path / name)


def test_a_row_hides_the_failing_test_file_and_fixes_the_bug():
    package = Package(name="adder", version="1.2", files=FILES)
    task = Task(
        instance_id="synth__adder-1", repo="synth/adder", expected=Expected(fail_to_pass=())
    )
    row = row_of(
        package,
        replace(task, test_command="pytest"),
        path="src/adder/__init__.py",
        faulty="def add(a, b):\n    return a - b\n",
        broken=("tests/test_add.py::TestIt::test_add",),
        kept=("tests/test_add.py::test_zero",),
    )
    read = task_of(json.loads(json.dumps(row)))
    assert read.expected.fail_to_pass == ("tests/test_add.py::TestIt::test_add",)
    assert read.expected.pass_to_pass == ("tests/test_add.py::test_zero",)
    assert read.files is not None
    assert "tests/test_add.py" not in read.files and "tests/conftest.py" in read.files
    assert "return a - b" in read.files["src/adder/__init__.py"]
    assert "-    return a - b\n+    return a + b\n" in read.gold_patch
    assert "+    def test_add(self):\n" in read.test_patch
    assert "assert add(1, 2) == 3" in read.problem_statement
    assert "a - b" not in read.problem_statement and "__init__" not in read.problem_statement
