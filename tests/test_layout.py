"""The house rules that a machine can check: import direction, light imports, sizes, wheel contents."""

import ast
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("agents", "envs", "rewards", "trainers")
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60

pytestmark = pytest.mark.skipif(
    not (ROOT / "pyproject.toml").exists(), reason="needs the checkout, not an installed wheel"
)

# What each part may import of turngym, itself aside. `base` is src/turngym without the facade.
MAY_IMPORT = {
    "base": set(),
    "rewards": {"base"},
    "envs": {"base", "rewards"},
    "agents": {"base"},
    "trainers": {"base", "rewards", "envs", "agents"},
    "report": {"base", "rewards", "envs", "agents", "trainers"},
    "cli": {"base", "rewards", "envs", "agents", "trainers", "report", "facade"},
    "facade": {"base", "rewards", "envs", "cli"},
}
# Within trainers: a later one may import an earlier one, never the other way round.
DATA_FLOW = ("kernels", "rollout", "batch", "signals", "credit", "losses", "step", "train")
LOWEST = {"types", "kernels"}
HEAVY = {"torch", "transformers", "vllm", "docker", "tantivy", "triton", "ray", "trl", "verl"}


def modules() -> dict[str, Path]:
    """Dotted name of every module of the package, with its file."""
    found = {}
    for base, prefix in [(ROOT / "src/turngym", "turngym")] + [
        (ROOT / part, f"turngym.{part}") for part in PARTS
    ]:
        for path in sorted(base.rglob("*.py")):  # follows no links, and so meets each part once
            inner = path.relative_to(base).with_suffix("").parts
            inner = inner[:-1] if inner[-1] == "__init__" else inner
            found[".".join((prefix, *inner))] = path
    return found


MODULES = modules()


def part_of(module: str) -> str:
    """The row of MAY_IMPORT that `module` belongs to."""
    first = module.split(".")[1] if "." in module else ""
    if first in (*PARTS, "report"):
        return first
    if first in ("", "__main__"):
        return "facade"
    return "cli" if first == "cli" or first.startswith("cli_") else "base"


def imports(path: Path) -> Iterator[str]:
    """Every turngym module that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else str(node.module) for name in whole]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] == "turngym")


def test_imports_point_one_way():
    wrong = [
        f"{module} imports {target}"
        for module, path in MODULES.items()
        for target in imports(path)
        if part_of(target) not in MAY_IMPORT[part_of(module)] | {part_of(module)}
    ]
    assert not wrong, "\n".join(wrong)


def trainers_unit(module: str) -> str | None:
    """`credit` for turngym.trainers.credit.grpo; None outside trainers."""
    pieces = module.split(".")
    return pieces[2] if pieces[1:2] == ["trainers"] and len(pieces) > 2 else None


def trainers_edges() -> set[tuple[str, str]]:
    """(importer, imported) between the units of trainers."""
    return {
        (unit, other)
        for module, path in MODULES.items()
        if (unit := trainers_unit(module))
        for target in imports(path)
        if (other := trainers_unit(target)) and other != unit
    }


def test_trainers_import_along_the_data_flow():
    rank = {unit: place for place, unit in enumerate(DATA_FLOW)}
    wrong = [
        f"trainers.{unit} imports trainers.{other}"
        for unit, other in sorted(trainers_edges())
        if rank.get(unit, 99) < rank.get(other, -1) or (unit in LOWEST and other not in LOWEST)
    ]
    assert not wrong, "\n".join(wrong)


def test_trainers_have_no_import_cycle():
    graph: dict[str, set[str]] = {}
    for unit, other in trainers_edges():
        graph.setdefault(unit, set()).add(other)
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the cycle


def fresh(code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run `code` in a new interpreter whose home and working directory are `cwd`."""
    env = {**os.environ, "HOME": str(cwd), "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env=env, capture_output=True, text=True, check=True
    )


@pytest.mark.parametrize(
    "module", ["turngym", "turngym.envs.registry", "turngym.cli", "turngym.trainers.rollout"]
)
def test_importing_is_light_silent_and_leaves_nothing_behind(module, tmp_path):
    if module not in MODULES:
        pytest.skip(f"{module} does not exist yet")
    code = f"import sys, {module}; print(*sys.modules, sep='\\n', file=sys.stderr)"
    done = fresh(code, tmp_path)
    loaded = {name.split(".")[0] for name in done.stderr.split()}
    assert not loaded & HEAVY
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("module", ["turngym", "turngym.envs.registry"])
def test_importing_costs_less_than_300_ms(module, tmp_path):
    # CPU seconds of the fastest of five: wall time on a shared machine measures the neighbours.
    code = f"import time; t = time.process_time(); import {module}; print(time.process_time() - t)"
    assert min(float(fresh(code, tmp_path).stdout) for _ in range(5)) < 0.3


def python_files() -> list[Path]:
    """All Python files that the size budgets cover."""
    folders = [
        path for name in ("tests", "benchmarks", "examples") if (path := ROOT / name).is_dir()
    ]
    return [*MODULES.values(), *(file for folder in folders for file in folder.rglob("*.py"))]


def test_files_have_at_most_400_lines():
    counts = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in python_files()}
    assert not {str(path): n for path, n in counts.items() if n > MAX_FILE_LINES}


def test_functions_have_at_most_60_lines():
    long = {}
    for path in python_files():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > MAX_FUNCTION_LINES:
                    long[f"{path}:{node.lineno} {node.name}"] = lines
    assert not long


def isort_key(name: str) -> tuple[int, list[tuple[str, int]]]:
    """CONSTANTS, then Classes, then the rest; digits compare as numbers."""
    kind = 0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2
    return kind, [(word, int(n or 0)) for word, n in re.findall(r"(\D*)(\d*)", name)]


@pytest.mark.parametrize("module", MODULES)
def test_all_is_sorted_and_holds_every_public_definition(module):
    if module.endswith("__main__"):
        return
    body = ast.parse(MODULES[module].read_text(encoding="utf-8")).body
    exported = [
        ast.literal_eval(node.value)
        for node in body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    defined = {
        node.name
        for node in body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        and not node.name.startswith("_")
    }
    names = exported[0] if exported else []
    assert names == sorted(names, key=isort_key)
    assert not defined - set(names), "public, but not in __all__"


def test_docker_is_no_python_package():
    # With an __init__.py the checkout root would shadow the Docker SDK, which is also called docker.
    assert (ROOT / "docker").is_dir()
    assert not list((ROOT / "docker").rglob("__init__.py"))


@pytest.mark.parametrize("part", PARTS)
def test_a_part_refuses_to_be_imported_under_its_bare_name(part, tmp_path):
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {part}"
    with pytest.raises(subprocess.CalledProcessError) as caught:
        fresh(code, tmp_path)
    assert f"import turngym.{part}, not {part}" in caught.value.stderr


def tree_files() -> set[str]:
    """Paths inside a wheel, as the checkout holds them."""
    found = set()
    for base, prefix in [(ROOT / "src/turngym", "turngym")] + [
        (ROOT / part, f"turngym/{part}") for part in (*PARTS, "docker")
    ]:
        for folder, folders, files in os.walk(base):
            folders[:] = [name for name in folders if name != "__pycache__"]
            inner = Path(prefix) / Path(folder).relative_to(base)
            found |= {(inner / name).as_posix() for name in files}
    return found | {"turngym_verifiers/__init__.py"}  # verifiers finds tasksets by top-level names


def build(target: str, source: Path, out: Path) -> Path:
    """The file that hatchling makes of `source`."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(out)]
    subprocess.run(command, cwd=source, capture_output=True, check=True)
    (made,) = out.iterdir()
    return made


def wheel_files(wheel: Path) -> set[str]:
    """Package files of a wheel, its metadata aside."""
    names = zipfile.ZipFile(wheel).namelist()
    return {name for name in names if not name.split("/")[0].endswith(".dist-info")}


def test_wheel_and_wheel_from_sdist_hold_exactly_the_tree(tmp_path):
    pytest.importorskip("hatchling")
    direct = wheel_files(build("wheel", ROOT, tmp_path / "direct"))
    assert direct == tree_files()
    with tarfile.open(build("sdist", ROOT, tmp_path / "sdist")) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    assert wheel_files(build("wheel", unpacked, tmp_path / "again")) == direct
