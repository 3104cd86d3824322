"""Files of a run: uploaded, written below ./outputs and ./logs, or logged. Names never lead out of the run's folder."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tocsin.sdk.config import FOLDER
from tocsin.sdk.errors import ServiceException, UserErrorException
from tocsin.sdk.text import artifact_name, inside

if TYPE_CHECKING:
    from tocsin.sdk.session import Session


class HoldsFiles:
    """A Run's files."""

    id: str
    _session: Session

    @property
    def _files(self) -> Path:
        return self._session.run_folder(self.id) / "files"

    def upload_file(self, name: str, path_or_stream: Any, datastore_name: str | None = None) -> Path:
        """Copy a file (or what a stream gives) into the run as ``name``. Raises UserErrorException for a name that leads out."""
        target = self._target(artifact_name(name))
        if hasattr(path_or_stream, "read"):
            data = path_or_stream.read()
            target.write_bytes(data.encode() if isinstance(data, str) else data)
            return target
        source = Path(path_or_stream)
        if not source.is_file():
            raise UserErrorException(f"{source} is no file")
        fresh = target.with_name(f".{target.name[:200]}.{os.getpid()}")
        _copy(source, fresh)
        os.replace(fresh, target)
        return target

    def upload_files(
        self, names: Sequence[str], paths: Sequence[str | Path], return_artifacts: bool = False,
        timeout_seconds: float | None = None, datastore_name: str | None = None,
    ) -> list[Path]:  # fmt: skip
        """Copy several files into the run."""
        if len(names) != len(paths):
            raise UserErrorException(f"upload_files: {len(names)} names for {len(paths)} paths")
        for name in names:
            artifact_name(name)  # all are right before any is copied
        return [self.upload_file(name, path) for name, path in zip(names, paths, strict=True)]

    def upload_folder(self, name: str, path: str | Path, datastore_name: str | None = None) -> None:
        """Copy a folder's files into the run below ``name``; links and workspaces' own folders are left out."""
        source = Path(path)
        if not source.is_dir():
            raise UserErrorException(f"{source} is no folder")
        prefix = artifact_name(name)
        for file in sorted(source.rglob("*")):
            if FOLDER in file.relative_to(source).parts:
                continue  # of a whole workspace its runs would be copied too, this one among them
            if file.is_file() and not file.is_symlink() and file.resolve().is_relative_to(source.resolve()):
                self.upload_file(f"{prefix}/{file.relative_to(source).as_posix()}", file)

    def _target(self, name: str) -> Path:
        self._files.mkdir(parents=True, exist_ok=True)
        target = inside(self._files, name)
        if target.is_dir():
            raise UserErrorException(f"{name!r} is a folder of the run already")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as e:
            raise UserErrorException(f"{name!r}: a part of this path is a file of the run already") from e
        return target

    def get_file_names(self) -> list[str]:
        """Names of the run's files, sorted."""
        return sorted(self._names())

    def _names(self) -> Iterator[str]:
        for folder, _, files in os.walk(self._files):
            for file in files:
                path = Path(folder, file)
                if path.resolve().is_relative_to(self._files.resolve()):
                    yield path.relative_to(self._files).as_posix()

    def download_file(
        self, name: str, output_file_path: str | Path | None = None, _validate_checksum: bool = False
    ) -> None:
        """Copy one of the run's files to ``output_file_path`` (a file or a folder; its own name where absent)."""
        source = inside(self._files, artifact_name(name))
        if not source.is_file():
            raise ServiceException(
                f"run {self.id} has no file {name!r}; it has {', '.join(self.get_file_names()[:10]) or 'none'}"
            )
        target = Path(output_file_path) if output_file_path is not None else Path(source.name)
        if target.is_dir() or str(output_file_path or "").endswith(("/", os.sep)):
            target = target / source.name
        target.parent.mkdir(parents=True, exist_ok=True)
        _copy(source, target)

    def download_files(
        self, prefix: str | None = None, output_directory: str | Path | None = None, output_paths: Sequence[str] | None = None,
        batch_size: int = 100, append_prefix: bool | None = None, timeout_seconds: float | None = None,
    ) -> None:  # fmt: skip
        """Copy the run's files whose names begin with ``prefix`` below ``output_directory``."""
        names = [n for n in self.get_file_names() if n.startswith(prefix or "")]
        root = Path(output_directory or ".")
        for i, name in enumerate(names):
            short = name
            if append_prefix is False and prefix:
                short = name[len(prefix) :].lstrip("/") or Path(name).name
            self.download_file(name, root / (output_paths[i] if output_paths else short))

    def get_all_logs(self, destination: str | Path | None = None) -> list[str]:
        """Copy the run's logs into ``destination`` (a folder named like the run where absent) and return their paths."""
        root = Path(destination) if destination is not None else Path(self.id)
        out = []
        for name in self.get_file_names():
            if name.startswith(("user_logs/", "logs/")):
                self.download_file(name, root / name)
                out.append(str(root / name))
        return out

    def _restore(self, snapshot_id: str, path: str | Path | None) -> str:
        target = Path(path) if path is not None else Path(f"snapshot_{snapshot_id}")
        from tocsin.sdk.running import snapshot

        snapshot.restore(self._session.snapshots(self.id), snapshot_id, target)
        return str(target.resolve())


def _copy(source: Path, target: Path) -> None:
    import shutil  # with its compressors it takes long to load, and most scripts copy nothing

    shutil.copyfile(source, target)
