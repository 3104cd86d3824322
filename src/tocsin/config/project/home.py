"""A project directory: tocsin.yaml, consumers/, rules/, templates/, tables/, calendars/ and data/, each optional but the
directory itself.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tocsin.config.content import DIRECTORIES, files_in, packaged
from tocsin.config.load import FILE, load_settings, settings_document
from tocsin.config.project.instance import HomeLock, Running, held, running
from tocsin.config.project.tokens import Tokens, load_tokens, lost
from tocsin.config.secrets import readable
from tocsin.config.settings import Settings
from tocsin.config.yaml.fields import is_loopback
from tocsin.errors import Problem, TocsinError

TABLE_SUFFIXES = (".csv", ".parquet")
LOCKED = "tokens-in-force"


@dataclass(frozen=True, slots=True)
class Home:
    """The project directory at ``path``. Reading it is cheap and always fresh: nothing is kept."""

    path: Path

    # -- settings ------------------------------------------------------------------------------------------------------
    def settings(self, env: Mapping[str, str] | None = None, overrides: Mapping[str, object] | None = None) -> Settings:
        """tocsin.yaml under the environment (``env``, by default the process's) under ``overrides`` (dotted keys).

        Raises ContentError with every fault.
        """
        return load_settings(self.path, os.environ if env is None else env, overrides)

    def tokens(self, settings: Settings) -> Tokens:
        """Tokens in force; none where there is no file. Raises ContentError."""
        return load_tokens(self.tokens_path(settings), settings.http.tokens_file)

    def tokens_path(self, settings: Settings) -> Path:
        """Where the tokens file is, or would be."""
        return self.path / settings.http.tokens_file

    def tls(self, settings: Settings) -> tuple[Path, Path] | None:
        """Certificate and key of the web server; None where it speaks plain HTTP."""
        cert, key = settings.http.tls_cert_file, settings.http.tls_key_file
        return (self.path / cert, self.path / key) if cert is not None and key is not None else None

    def lost_tokens(self, settings: Settings, tokens: Tokens) -> Problem | None:
        """The fault where the tokens file gives no ``tokens``, and tokens were in force when tocsin ran last."""
        if tokens or not tokens.absent or not self.locked():
            return None
        return lost(tokens, settings.http.tokens_file, running=False)

    def locked(self) -> bool:
        """Whether tokens are in force, or were when tocsin ran last."""
        return (self.data / LOCKED).exists()

    def note_tokens(self, tokens: Tokens) -> None:
        """Keep for the next start whether tokens are in force, so that the loss of their file does not open the door."""
        if tokens:
            self.data.mkdir(parents=True, exist_ok=True)
            (self.data / LOCKED).touch(mode=0o600)
        else:
            (self.data / LOCKED).unlink(missing_ok=True)

    def store_path(self, settings: Settings) -> Path:
        """The log store's file."""
        return self.path / settings.store.path

    def state_path(self, settings: Settings) -> Path:
        """The state's file."""
        return self.path / settings.state.path

    # -- content -------------------------------------------------------------------------------------------------------
    def consumer_files(self) -> list[Path]:
        """Consumer files in force: the packaged ones, each replaced by the project directory's of the same name, and the project directory's
        others.
        """
        chosen = {p.stem: p for p in files_in(packaged() / "consumers")}
        chosen.update({p.stem: p for p in files_in(self.path / "consumers")})
        return [chosen[name] for name in sorted(chosen)]

    def alert_files(self) -> list[Path]:
        """Files of alert rules: the project directory's, or the packaged ones where it has none."""
        return self._all_or_packaged("rules/alerts")

    def oncall_files(self) -> list[Path]:
        """On-call files: the project directory's, or the packaged ones where it has none."""
        return self._all_or_packaged("rules/oncall")

    def _all_or_packaged(self, directory: str) -> list[Path]:
        return files_in(self.path / directory) or files_in(packaged() / directory)

    def template_dirs(self) -> list[Path]:
        """Where to look for a template: the project directory's directory first, then the packaged one."""
        return [d for d in (self.path / "templates", packaged() / "templates") if d.is_dir()]

    def table_files(self) -> list[Path]:
        """Files of reference tables."""
        return files_in(self.path / "tables", TABLE_SUFFIXES)

    def calendar_files(self) -> list[Path]:
        """iCalendar files that on-call files may name."""
        return files_in(self.path / "calendars", (".ics",))

    def shown(self, path: Path) -> str:
        """``path`` as people know it: from the project directory on; packaged files as ``(packaged) rules/alerts/runs.yaml``."""
        for base, prefix in ((self.path, ""), (packaged(), "(packaged) ")):
            try:
                return prefix + path.relative_to(base).as_posix()
            except ValueError:
                continue
        return str(path)

    # -- data ----------------------------------------------------------------------------------------------------------
    @property
    def data(self) -> Path:
        """Where stores, the lock and spill lie by default."""
        return self.path / "data"

    @property
    def calendar_cache(self) -> Path:
        """Where copies of fetched calendars lie."""
        return self.data / "calendars"

    def lock(self) -> HomeLock:
        """The lock that a running tocsin holds; a context manager that raises HomeBusy."""
        return HomeLock(self.data, self.path)

    def running(self) -> Running | None:
        """The tocsin that runs here, once it answers."""
        return running(self.data)

    def held(self) -> bool:
        """Whether a tocsin runs here or is starting."""
        return held(self.data)

    # -- advice --------------------------------------------------------------------------------------------------------
    def warnings(self, settings: Settings) -> list[Problem]:
        """What is no fault but will surprise."""
        out: list[Problem] = []

        def warn(key: str, message: str, hint: str) -> None:
            out.append(Problem(file=FILE, key=key, message=message, hint=hint, warning=True))

        if settings.smtp.host is not None:
            if is_loopback(urlsplit(settings.http.url).hostname or ""):
                warn("http.base_url", "mails leave this machine, but their links lead back to it: dead on a phone",
                     "set it to where readers reach this server")  # fmt: skip
            if settings.smtp.sender.rstrip(">").endswith("@localhost"):
                warn("smtp.sender", "servers refuse mail from @localhost", "set it to an address of your domain")
            if (
                settings.smtp.username is not None
                and settings.smtp.secured == "none"
                and not is_loopback(settings.smtp.host)
            ):
                warn("smtp.security", "the password goes over the network in clear", "use starttls or tls")
        for key, message, hint in settings.kafka.warnings if settings.kafka is not None else ():
            warn(f"kafka.{key}", message, hint)
        return out + readable(self.path, settings_document(self.path), settings.http.tokens_file)


def open_home(path: Path) -> Home:
    """The project directory at ``path``. Raises TocsinError that says what to do where there is no such directory."""
    path = path.absolute()
    if path.is_dir():
        return Home(path)
    if path.exists():
        raise TocsinError(f"{path} is a file, and a project directory is a directory; make one with: tocsin init DIR")
    raise TocsinError(f"there is no project directory at {path}; make one with: tocsin init {path}")


@contextmanager
def throwaway_home(prefix: str = "tocsin-demo-") -> Iterator[Home]:
    """A fresh home in the temporary directory, gone afterwards."""
    path = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        yield Home(path)
    finally:
        shutil.rmtree(path, ignore_errors=True)


def init_home(path: Path) -> list[Path]:
    """Make a project directory at ``path`` with the packaged content to edit; returns the files made, from the project directory on.

    What is already there stays as it is. Raises TocsinError where ``path`` cannot be a project directory.
    """
    from tocsin.config.reference import settings_file

    made: list[Path] = []

    def write(name: str, text: str) -> None:
        target = path / name
        if not target.exists():
            target.write_text(text, encoding="utf-8")
            made.append(Path(name))

    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)  # passwords, payloads and mails will lie in it
        write(FILE, settings_file())
        write(".gitignore", "data/\ntokens.yaml\n")
        for directory in (*DIRECTORIES, "tables"):
            target = path / directory
            had_files = target.is_dir() and any(p for p in target.iterdir() if not p.name.startswith("."))
            target.mkdir(parents=True, exist_ok=True)
            source = packaged() / directory
            if had_files or not source.is_dir():
                continue
            for file in sorted(p for p in source.rglob("*") if p.is_file() and not p.name.startswith(".")):
                name = file.relative_to(packaged())
                (path / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, path / name)
                made.append(name)
    except (FileExistsError, NotADirectoryError, PermissionError) as e:
        raise TocsinError(f"{path} cannot be made a project directory: {e.strerror}: {e.filename}") from e
    return made
