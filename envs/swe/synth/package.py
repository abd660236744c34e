"""A Python package as text files: a source tree, or an sdist as it comes from PyPI."""

import io
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.parser import HeaderParser
from pathlib import Path, PurePosixPath

from turngym.envs.swe.sealed import is_test_support
from turngym.errors import DataError

__all__ = ["Package", "read_package"]

_SKIPPED_FOLDERS = frozenset(
    ".git .hg .tox .nox .venv venv node_modules __pycache__ build dist .mypy_cache .pytest_cache "
    ".ruff_cache".split()
)
_NO_CODE = frozenset({"docs", "doc", "examples", "benchmarks", "scripts", "tools"})
_LARGEST_FILE = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """What bugs are made in."""

    name: str
    version: str
    files: Mapping[str, str] = field(repr=False)
    """Text by path; files that are no UTF-8 text or larger than 1 MB are left out."""

    @property
    def code(self) -> tuple[str, ...]:
        """Modules that may be changed: no tests, no set-up, no documentation."""
        return tuple(
            path
            for path in sorted(self.files)
            if path.endswith(".py")
            and not is_test_support(path)
            and path != "setup.py"
            and not _NO_CODE & set(PurePosixPath(path).parts[:-1])
        )

    @property
    def tests(self) -> tuple[str, ...]:
        """Test modules, by pytest's default names."""
        return tuple(
            path
            for path in sorted(self.files)
            if (name := PurePosixPath(path).name).endswith(".py")
            and (name.startswith("test_") or name.endswith("_test.py"))
        )

    @property
    def test_command(self) -> str:
        """What runs its tests from the root, without an installation and without plugins' options."""
        path = "PYTHONPATH=src " if any(p.startswith("src/") for p in self.code) else ""
        return f"{path}python -m pytest -rA -p no:cacheprovider -o addopts="


def read_package(source: str | Path) -> Package:
    """The package in a folder, a `.tar.gz` or a `.zip`.

    Raises:
        DataError: nothing there, no archive, or it has no modules or no tests.
    """
    path = Path(source)
    if path.is_dir():
        files = dict(_of_folder(path))
    elif path.is_file():
        files = _without_root(dict(_of_archive(path)))
    else:
        raise DataError(f"no source tree or sdist at {path}")
    name, version = _called(files, path)
    package = Package(name=name, version=version, files=files)
    for kind, found in (("modules", package.code), ("test modules (test_*.py)", package.tests)):
        if not found:
            raise DataError(f"{path} has no {kind}; many sdists leave their tests out")
    return package


def _called(files: Mapping[str, str], path: Path) -> tuple[str, str]:
    """Name and version, by PKG-INFO or else by the path."""
    headers = HeaderParser().parsestr(files.get("PKG-INFO", ""), headersonly=True)
    stem = path.resolve().name.removesuffix(".zip").removesuffix(".gz").removesuffix(".tar")
    name, dash, version = stem.rpartition("-")
    if not dash or not version[:1].isdigit():
        name, version = stem, ""
    return (headers["Name"] or name).lower(), headers["Version"] or version


def _of_folder(root: Path) -> Iterator[tuple[str, str]]:
    for file in sorted(root.rglob("*")):
        relative = file.relative_to(root)
        if file.is_file() and not file.is_symlink() and file.stat().st_size <= _LARGEST_FILE:
            yield from _text(relative.as_posix(), file.read_bytes())


def _of_archive(path: Path) -> Iterator[tuple[str, str]]:
    data = path.read_bytes()
    try:
        if zipfile.is_zipfile(io.BytesIO(data)):
            with zipfile.ZipFile(io.BytesIO(data)) as zipped:
                for entry in zipped.infolist():
                    if not entry.is_dir() and entry.file_size <= _LARGEST_FILE:
                        yield from _text(entry.filename, zipped.read(entry))
            return
        with tarfile.open(fileobj=io.BytesIO(data)) as bundle:
            for member in bundle:
                handle = bundle.extractfile(member) if member.isfile() else None
                if handle is not None and member.size <= _LARGEST_FILE:
                    yield from _text(member.name.removeprefix("./"), handle.read())
    except (tarfile.TarError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is neither a tar archive nor a zip file: {error}") from error


def _text(path: str, data: bytes) -> Iterator[tuple[str, str]]:
    """The file as text, line ends included; nothing for what is no text or of no interest."""
    parts = PurePosixPath(path).parts
    if _SKIPPED_FOLDERS & set(parts[:-1]) or ".." in parts or path.startswith("/"):
        return
    if any(part.endswith(".egg-info") for part in parts) or b"\0" in data:
        return
    try:
        yield path, data.decode("utf-8")
    except UnicodeDecodeError:
        return


def _without_root(files: Mapping[str, str]) -> dict[str, str]:
    """Paths without the one folder that all of them lie in."""
    roots = {PurePosixPath(path).parts[0] for path in files}
    if len(roots) != 1 or any("/" not in path for path in files):
        return dict(files)
    return {path.partition("/")[2]: text for path, text in files.items()}
