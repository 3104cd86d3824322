"""A real Prometheus, Debian's package, with a storage of its own; and promtool, which comes with it."""

import json
import shutil
import signal
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Self

from tests.servers.eventually import eventually
from tests.servers.process import ServerMissing, end, free_port, spawn, tail

MISSING = "Prometheus: apt-get install prometheus"


def prometheus_binary() -> str:
    """Return the path of prometheus. Raises ServerMissing."""
    found = shutil.which("prometheus")
    if found is None:
        raise ServerMissing(MISSING)
    return found


def promtool(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run promtool (`check metrics` reads `stdin`; `check rules FILE`). Raises ServerMissing; the exit code is yours."""
    found = shutil.which("promtool")
    if found is None:
        raise ServerMissing(MISSING)
    return subprocess.run([found, *arguments], input=stdin, capture_output=True, text=True, timeout=60)


class PrometheusServer:
    """One Prometheus with the configuration given as YAML text."""

    def __init__(self, directory: Path, config_text: str) -> None:
        """Write the configuration under `directory`. Raises ServerMissing; starts nothing yet."""
        self._binary = prometheus_binary()
        self._directory = directory
        self._log = directory / "prometheus.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "prometheus.yml").write_text(config_text)

    def start(self, within: float = 20) -> Self:
        """Start and wait until it answers queries. Raises RuntimeError with its log where the configuration is bad."""
        command = [self._binary, f"--config.file={self._directory / 'prometheus.yml'}"]
        command += [f"--storage.tsdb.path={self._directory / 'tsdb'}", f"--web.listen-address=127.0.0.1:{self.port}"]
        command += ["--log.level=warn"]
        self._process = process = spawn(command, self._log, self._directory)

        def ready() -> bool:
            if process.poll() is not None:
                raise RuntimeError(f"Prometheus ended with {process.returncode}:\n{tail(self._log)}")
            try:
                with urllib.request.urlopen(f"{self.url}/-/ready", timeout=2) as answer:
                    return bool(answer.status == 200)
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                return False

        try:
            eventually(ready, within, every=0.05)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End it; its storage stays for the next start."""
        if self._process is not None:
            end(self._process, signal.SIGTERM)
        self._process = None

    def api(self, path: str, **parameters: str) -> Any:
        """GET /api/v1/<path> and return its `data`. Raises AssertionError with Prometheus's own words."""
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{path} {parameters}: {error.read().decode()}") from error

    def query(self, promql: str) -> list[tuple[dict[str, str], float]]:
        """Return the instant vector (or scalar) of a query as (labels, value) pairs; empty while there is no data."""
        data = self.api("query", query=promql)
        if data["resultType"] == "scalar":
            return [({}, float(data["result"][1]))]
        return [(sample["metric"], float(sample["value"][1])) for sample in data["result"]]

    def value(self, promql: str) -> float | None:
        """Return the value of a query that yields at most one sample. Raises AssertionError where there are more."""
        samples = self.query(promql)
        assert len(samples) <= 1, f"{promql} gave {len(samples)} samples"
        return samples[0][1] if samples else None
