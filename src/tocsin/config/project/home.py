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

from tocsin.config.content import PROJECT_DIRECTORIES, copyable, files_in, packaged
from tocsin.config.load import FILE, load_settings, settings_document
from tocsin.config.project.instance import HomeLock, Running, held, running
from tocsin.config.project.tokens import Tokens, load_tokens, lost
from tocsin.config.secrets import readable
from tocsin.config.settings import Settings
from tocsin.config.yaml.document import suggest
from tocsin.config.yaml.fields import is_loopback
from tocsin.errors import Problem, TocsinError

SHIPPED = "(packaged) "
"""How the paths of shipped files begin where people see them."""
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
    def consumer_files(self, shipped: bool = True) -> list[Path]:
        """Consumer files in force: the shipped ones, each replaced by the project's of the same name, and its others."""
        chosen = self.shipped_consumers() if shipped else {}
        chosen.update({p.stem: p for p in files_in(self.path / "consumers")})
        return [chosen[name] for name in sorted(chosen)]

    def shipped_consumers(self) -> dict[str, Path]:
        """The shipped consumer files by name."""
        return {p.stem: p for p in files_in(packaged() / "consumers")}

    def alert_files(self) -> list[Path]:
        """The project's files of alert rules. They are laid over the shipped ones."""
        return files_in(self.path / "rules/alerts")

    def oncall_files(self) -> list[Path]:
        """The project's on-call files. They are laid over the shipped ones."""
        return files_in(self.path / "rules/oncall")

    def template_dirs(self, shipped: bool = True) -> list[Path]:
        """Where to look for a template: the project's directory first, then the shipped one."""
        places = (self.path / "templates", *((packaged() / "templates",) if shipped else ()))
        return [d for d in places if d.is_dir()]

    def table_files(self) -> list[Path]:
        """Files of reference tables."""
        return files_in(self.path / "tables", TABLE_SUFFIXES)

    def calendar_files(self) -> list[Path]:
        """iCalendar files that on-call files may name."""
        return files_in(self.path / "calendars", (".ics",))

    def shown(self, path: Path) -> str:
        """``path`` as people know it: from the project directory on; packaged files as ``(packaged) rules/alerts/runs.yaml``."""
        for base, prefix in ((self.path, ""), (packaged(), SHIPPED)):
            try:
                return prefix + path.relative_to(base).as_posix()
            except ValueError:
                continue
        return str(path)

    @property
    def empty(self) -> bool:
        """Whether nothing in the directory is a project's: then it was probably not meant."""
        return not any((self.path / name).exists() for name in (FILE, *PROJECT_DIRECTORIES, "data"))

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
        out += self._not_read()
        return out + readable(self.path, settings_document(self.path), settings.http.tokens_file)

    def _not_read(self) -> list[Problem]:
        """Files beside the directories in which rules lie: who put one there waits for its alerts."""
        return [
            Problem(
                file=f"rules/{file.name}", message="it is not read",
                hint="alert rules lie in rules/alerts/, receivers and the route in rules/oncall/", warning=True,
            )
            for file in sorted((self.path / "rules").glob("*.y*ml"))
        ]  # fmt: skip


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
    """Make a project directory at ``path``: settings, an example rule, an on-call file; returns their paths in it.

    The shipped rules, consumers and templates are in force beneath; ``copy_shipped`` brings one to be edited. What is
    already there stays as it is. Raises TocsinError where ``path`` cannot be a project directory.
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
        for directory, name, text in (("rules/alerts", "example.yaml", _EXAMPLE), ("rules/oncall", "team.yaml", _TEAM)):
            (path / directory).mkdir(parents=True, exist_ok=True)
            if not files_in(path / directory):  # a file that was renamed does not come back
                write(f"{directory}/{name}", text)
    except (FileExistsError, NotADirectoryError, PermissionError) as e:
        raise TocsinError(f"{path} cannot be made a project directory: {e.strerror}: {e.filename}") from e
    return made


def copy_shipped(home: Home, wanted: str) -> Path:
    """Bring the shipped file ``wanted`` (such as ``rules/alerts/too-slow.yaml``) into the project directory to be edited.

    Returns its path in the project directory. Raises TocsinError where nothing ships under this name, or it is there already.
    """
    known = copyable()
    name = wanted.removeprefix("./").removeprefix(SHIPPED)
    if name not in known:
        raise TocsinError(f"nothing ships as '{wanted}'; {suggest(name, known)}")
    target = home.path / name
    if target.exists():
        raise TocsinError(f"{target} is there already; delete it first to have the shipped one")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(packaged() / name, target)
    return Path(name)


_EXAMPLE = """\
# Rules of your own. Those that ship are in force beside them; `tocsin rules list` shows all. An entry with the name of
# a shipped rule replaces it. Without when, query or sql it changes only the keys that it gives:
#   - {name: too-slow, enabled: true}
#   - {name: run-failed, severity: critical}
# `tocsin copy rules/alerts/too-slow.yaml` brings a whole file to edit; `tocsin check` finds mistakes.

rules:
  - name: example-failed
    description: A run of the experiment "example" failed and no other attempt follows.
    when: {status: Failed, where: "ExperimentName == 'example'"}
    severity: warning
    summary: "{{ ExperimentName }} failed: {{ Message }}"
    tests: # run with: tocsin rules test
      - name: notified for the example, not for others
        events:
          - {at: 0s, RunId: r1, Status: Running, ExperimentName: example}
          - {at: 5m, RunId: r1, Status: Failed, ExperimentName: example, Message: disk full}
          - {at: 6m, RunId: r2, Status: Failed, ExperimentName: churn}
        expect:
          - {at: 1h, notifications: 1}
"""
_TEAM = """\
# Who is notified. Without this file the owner of a run is, else default_receiver of tocsin.yaml. A receiver with the
# name of a shipped one replaces it; a route of your own replaces the shipped route.

receivers:
  - {name: team, email: [you@localhost]}

# route:
#   always: [owner]
#   receiver: team
"""
