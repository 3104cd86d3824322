"""``python -m deploy.kubernetes`` lints and renders the chart with helm, and writes ``rendered.yaml``.

helm is built once from its Go module, with Go, and cached; that takes minutes, so tests check only what is rendered. They
find by a hash that the chart has changed since.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
CHART, RENDERED = HERE / "tocsin", HERE / "rendered.yaml"
HELM = "helm.sh/helm/v3/cmd/helm@v3.18.6"
EVERYTHING = ["--kube-version", "1.33.0", "--set", "serviceMonitor.enabled=true", "--set", "smtpSecret=tocsin-smtp"]
"""All parts of the chart, so that each is rendered and checked; for a version of Kubernetes, else an old one is taken."""


def chart_hash() -> str:
    """Hash of the chart's files and of how they are rendered."""
    found = hashlib.sha256(" ".join(EVERYTHING).encode())
    for path in sorted(p for p in CHART.rglob("*") if p.is_file()):
        found.update(f"{path.relative_to(CHART)}\n".encode() + path.read_bytes())
    return found.hexdigest()


def helm() -> str:
    """The path of helm, built where it is not there. Ends the program where Go is missing."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tocsin" / HELM.rpartition("@")[2]
    if not (cache / "helm").exists():
        go = shutil.which("go")
        if go is None:
            sys.exit("Go builds helm here: install it, or render with your own helm")
        print(f"building {HELM}, once: it takes some minutes", file=sys.stderr)
        subprocess.run([go, "install", HELM], check=True, env={**os.environ, "GOBIN": str(cache)})
    return str(cache / "helm")


def main() -> None:
    """Lint, render, write."""
    program = helm()
    subprocess.run([program, "lint", "--strict", str(CHART)], check=True)
    done = subprocess.run(
        [program, "template", "tocsin", str(CHART), "--namespace", "tocsin", *EVERYTHING],
        check=True,
        capture_output=True,
        text=True,
    )
    head = f"# Made by `python -m deploy.kubernetes` from the chart with all its parts; a test checks it.\n# chart: {chart_hash()}\n"
    RENDERED.write_text(head + done.stdout, encoding="utf-8")


if __name__ == "__main__":
    main()
