"""Copies of a source folder: what ran. Links that lead out of the folder, and what is no file, are left out."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tocsin.sdk.errors import SnapshotException
from tocsin.sdk.text import warn

MOST_BYTES = 300 << 20
MOST_FILES = 2_000
"""Past either a snapshot is surely not what was meant; azureml refuses it, we warn."""
NEVER = (".git", ".tocsin", "__pycache__", ".ipynb_checkpoints")
"""Folders that no snapshot holds."""
OWN_LINKS = ("outputs", "logs")
"""Links of the copy that a submitted script runs in, to the run's files: a child of it has its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a snapshot of a folder would hold. ``complete`` is False where counting stopped at the limits."""

    files: tuple[str, ...]  # relative paths, sorted
    links: tuple[tuple[str, str], ...]  # relative path, target
    size: int  # bytes
    complete: bool = True


def listing(folder: Path, *, unlimited: bool) -> Listing:
    """List ``folder``, by ``.amlignore`` else ``.gitignore``. Raises SnapshotException where it cannot be read."""
    if not folder.is_dir():
        raise SnapshotException(f"{folder} is no folder")
    ignored = _ignored(folder)
    files: list[str] = []
    links: list[tuple[str, str]] = []
    size = 0
    for name, found in _walk(folder, ignored):
        if stat.S_ISLNK(found.st_mode):
            target = os.readlink(folder / name)
            if _stays_inside(folder, name, target):
                links.append((name, target))
            elif not (name in OWN_LINKS and ".tocsin" in folder.parts):
                warn("the snapshot of %s leaves out the link %s: it leads out of the folder", folder, name)
        elif stat.S_ISREG(found.st_mode):
            files.append(name)
            size += found.st_size
        if not unlimited and (size > MOST_BYTES or len(files) > MOST_FILES):
            return Listing(files=tuple(files), links=tuple(links), size=size, complete=False)
    return Listing(files=tuple(sorted(files)), links=tuple(sorted(links)), size=size)


def _walk(folder: Path, ignored: Callable[[str], bool]) -> Iterator[tuple[str, os.stat_result]]:
    todo = [""]
    while todo:
        prefix = todo.pop()
        try:
            entries = sorted(os.scandir(folder / prefix), key=lambda e: e.name)
        except PermissionError as e:
            raise SnapshotException(f"{folder / prefix} cannot be read: {e.strerror}") from e
        except OSError:
            continue  # it went away meanwhile
        for entry in entries:
            name = f"{prefix}{entry.name}"
            is_folder = entry.is_dir(follow_symlinks=False)
            if entry.name in NEVER or ignored(name + "/" if is_folder else name):
                continue
            if is_folder:
                todo.append(name + "/")
                continue
            try:
                yield name, entry.stat(follow_symlinks=False)
            except OSError:
                continue


def _ignored(folder: Path) -> Callable[[str], bool]:
    for name in (".amlignore", ".gitignore"):
        try:
            lines = (folder / name).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        import pathspec

        match: Callable[[str], bool] = pathspec.GitIgnoreSpec.from_lines(lines).match_file
        return match
    return lambda _: False


def _stays_inside(folder: Path, name: str, target: str) -> bool:
    if os.path.isabs(target):
        return False
    return (folder / name).parent.joinpath(target).resolve().is_relative_to(folder.resolve())


def take(folder: Path, snapshots: Path, found: Listing) -> str:
    """Copy what ``found`` lists and return the snapshot's id, made from its content: equal folders share one copy.

    Raises SnapshotException, OSError.
    """
    digest = hashlib.sha256()
    fresh = snapshots / f".{uuid.uuid4().hex}"
    fresh.mkdir(parents=True)
    try:
        for name in found.files:
            _copy(folder / name, fresh / name, name, digest)
        for name, target in found.links:
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            os.symlink(target, fresh / name)
            digest.update(b"L" + name.encode("utf-8", "surrogateescape") + b"\0" + os.fsencode(target) + b"\0")
        id = str(uuid.UUID(bytes=digest.digest()[:16]))
        try:
            os.rename(fresh, snapshots / id)
        except OSError:
            if not (snapshots / id).is_dir():
                raise
        return id
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _copy(source: Path, target: Path, name: str, digest: hashlib._Hash) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        file = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # it may have become a link, or a fifo
    except FileNotFoundError:
        return
    except OSError as e:
        raise SnapshotException(f"{source} cannot be read: {e.strerror}") from e
    with os.fdopen(file, "rb") as reader, target.open("wb") as writer:
        mode = stat.S_IMODE(os.fstat(reader.fileno()).st_mode)
        content = hashlib.sha256()
        while block := reader.read(1 << 20):
            content.update(block)
            writer.write(block)
        os.fchmod(writer.fileno(), (mode | 0o600) & 0o777)
    digest.update(b"F" + name.encode("utf-8", "surrogateescape") + b"\0" + (b"x" if mode & 0o100 else b"-"))
    digest.update(content.digest())


def restore(snapshots: Path, id: str, target: Path) -> None:
    """Copy snapshot ``id`` into ``target``. Raises SnapshotException where there is none."""
    source = snapshots / id
    if not id or "/" in id or not source.is_dir():
        raise SnapshotException(f"there is no snapshot {id!r}")
    shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)


def too_large(found: Listing) -> str:
    """What to say of a folder past the limits; '' within them."""
    if found.size <= MOST_BYTES and len(found.files) <= MOST_FILES:
        return ""
    least = "" if found.complete else "at least "
    return (
        f"{least}{len(found.files)} files and {found.size >> 20} MiB; more than {MOST_FILES} files or {MOST_BYTES >> 20} MiB "
        "is rarely meant: write an .amlignore file"
    )
