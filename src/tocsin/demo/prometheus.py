"""A Prometheus beside the demo, where one is installed."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit

from tocsin.errors import TocsinError

SCRAPE_SECONDS = 2
PLOTS = ("tocsin_rule_failure_rate", "sum by (rule) (tocsin_alerts_active)", "tocsin_runs_active")
"""What its page shows at first."""
_PATIENCE = 10.0


@contextmanager
def prometheus(tocsin: str, directory: Path) -> Iterator[str]:
    """Let Prometheus scrape the tocsin at the address ``tocsin`` while the block runs; yields a page with plots.

    It keeps its data in ``directory``. Raises TocsinError where no Prometheus is installed.
    """
    program = shutil.which("prometheus")
    if program is None:
        raise TocsinError("there is no prometheus on this machine; Debian and Ubuntu: apt-get install prometheus")
    directory.mkdir(parents=True, exist_ok=True)
    config = {
        "global": {"scrape_interval": f"{SCRAPE_SECONDS}s"},
        "scrape_configs": [{"job_name": "tocsin", "static_configs": [{"targets": [urlsplit(tocsin).netloc]}]}],
    }
    file = directory / "prometheus.yml"
    file.write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
    address = f"127.0.0.1:{_free_port()}"
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                program, f"--config.file={file}", f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address={address}", "--log.level=warn",
            ],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        plots = "&".join(f"g{n}.expr={quote(expr)}&g{n}.tab=0&g{n}.range_input=15m" for n, expr in enumerate(PLOTS))
        yield f"http://{address}/graph?{plots}"
    finally:
        process.terminate()
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
