"""Snapshots: a working directory as a tar archive with a content hash."""

import hashlib
import io
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Change", "Snapshot", "changes", "contents", "pack", "tree", "unrooted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One path that differs between two snapshots."""

    path: str
    kind: Literal["added", "modified", "deleted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Container state as far as it is captured: image, working directory, environment.

    Live processes and files outside the working directory are not part of it.
    """

    image: str
    workdir: str
    archive: bytes = field(repr=False)
    """An uncompressed tar whose members are relative to the working directory."""

    @property
    def tree_hash(self) -> str:
        """Sixteen hexadecimal digits of paths, modes, links and contents; times are left out."""
        state = hashlib.sha256()
        for path, mark in sorted(tree(self.archive).items()):
            state.update(f"{path}\0{mark}\n".encode("utf-8", "surrogateescape"))
        return state.hexdigest()[:16]


def tree(archive: bytes) -> Mapping[str, str]:
    """Path to a mark of its type, executable bit, link target and content; folders left out."""
    marks: dict[str, str] = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as bundle:
        for member in bundle:
            path = member.name.removeprefix("./")
            if member.isfile():
                handle = bundle.extractfile(member)
                content = hashlib.sha256(handle.read() if handle else b"").hexdigest()
                marks[path] = f"file {bool(member.mode & 0o111)} {content}"
            elif not member.isdir():
                marks[path] = f"{member.type!r} {member.linkname}"
    return marks


def changes(before: Snapshot, after: Snapshot) -> tuple[Change, ...]:
    """What differs, by path."""
    old, new = tree(before.archive), tree(after.archive)
    found = [Change(path=path, kind="deleted") for path in old if path not in new]
    found += [Change(path=path, kind="added") for path in new if path not in old]
    found += [
        Change(path=path, kind="modified") for path in old if path in new and old[path] != new[path]
    ]
    return tuple(sorted(found, key=lambda change: change.path))


def pack(files: Mapping[str, bytes]) -> bytes:
    """A tar archive of files by relative path, the same bytes for the same files.

    A path that ends in `.sh` is executable.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as bundle:
        for path in sorted(files):
            member = tarfile.TarInfo(path)
            member.size = len(files[path])
            member.mode = 0o755 if path.endswith(".sh") else 0o644
            bundle.addfile(member, io.BytesIO(files[path]))
    return buffer.getvalue()


def unrooted(archive: bytes) -> bytes:
    """`archive` with the first folder of every path cut; b"" gives an empty archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as out:
        if archive:
            with tarfile.open(fileobj=io.BytesIO(archive)) as bundle:
                for member in bundle:
                    _, _, rest = member.name.partition("/")
                    if not rest:
                        continue
                    content = bundle.extractfile(member) if member.isfile() else None
                    member.name = rest
                    if member.islnk():
                        member.linkname = member.linkname.partition("/")[2]
                    out.addfile(member, content)
    return buffer.getvalue()


def contents(archive: bytes, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    """Content of the regular files whose path is `wanted`."""
    found: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as bundle:
        for member in bundle:
            path = member.name.removeprefix("./")
            if member.isfile() and wanted(path):
                handle = bundle.extractfile(member)
                found[path] = handle.read() if handle else b""
    return found
