"""A real Alertmanager, Debian's package, with a storage of its own; and amtool, which comes with it."""

import json
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Self

from tests.servers.eventually import eventually
from tests.servers.process import ServerMissing, end, free_port, spawn, tail

MISSING = "Alertmanager: apt-get install prometheus-alertmanager"


def alertmanager_binary() -> str:
    """Return the path of Alertmanager, by Debian's name or its own. Raises ServerMissing."""
    return _program("prometheus-alertmanager", "alertmanager")


def _program(*names: str) -> str:
    for name in names:
        if (found := shutil.which(name)) is not None:
            return found
    raise ServerMissing(MISSING)


def routes(config: Path, labels: dict[str, str]) -> list[str]:
    """Return the receivers that `amtool config routes test` finds. Raises ServerMissing."""
    command = [_program("amtool"), "config", "routes", "test", f"--config.file={config}"]
    command += [f"{name}={value}" for name, value in labels.items()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout.strip().split(",")


class AlertmanagerServer:
    """One Alertmanager with the configuration given as YAML or JSON text; it is no member of a cluster."""

    def __init__(self, directory: Path, config_text: str) -> None:
        """Write the configuration under `directory`. Raises ServerMissing; starts nothing yet."""
        self._binary = alertmanager_binary()
        self._directory = directory
        self._log = directory / "alertmanager.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "alertmanager.yml").write_text(config_text)

    def start(self, within: float = 20) -> Self:
        """Start and wait until it is ready. Raises RuntimeError with its log where the configuration is bad."""
        command = [self._binary, f"--config.file={self._directory / 'alertmanager.yml'}"]
        command += [f"--storage.path={self._directory / 'data'}", f"--web.listen-address=127.0.0.1:{self.port}"]
        command += ["--cluster.listen-address=", "--log.level=warn"]
        self._process = process = spawn(command, self._log, self._directory)

        def ready() -> bool:
            if process.poll() is not None:
                raise RuntimeError(f"Alertmanager ended with {process.returncode}:\n{tail(self._log)}")
            try:
                with urllib.request.urlopen(f"{self.url}/-/ready", timeout=2) as answer:
                    return bool(answer.status == 200)
            except OSError:
                return False

        try:
            eventually(ready, within, every=0.05)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            end(self._process)

    def post(self, path: str, body: Any) -> Any:
        """POST JSON to `path` of the API; the answer's JSON. Raises HTTPError."""
        data, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/api/v2/{path}", data=data, headers=headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def alerts(self, *filters: str) -> list[dict[str, Any]] | None:
        """Alerts that all `filters` match; None where it refuses one of them."""
        query = urllib.parse.urlencode([("filter", each) for each in filters])
        try:
            with urllib.request.urlopen(f"{self.url}/api/v2/alerts?{query}", timeout=10) as answer:
                return list(json.loads(answer.read()))
        except urllib.error.HTTPError as e:
            if e.code == 400:
                return None
            raise
