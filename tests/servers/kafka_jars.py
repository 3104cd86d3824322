"""Fetches the broker's jars by their Maven coordinates into a cache outside the repository, once."""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.servers.process import ServerMissing

POM = Path(__file__).with_name("pom.xml")
FETCH_SECONDS = 600


def kafka_version() -> str:
    """Return the version of Kafka that pom.xml names."""
    found = re.search(r"<kafka\.version>(.+?)<", POM.read_text())
    assert found is not None
    return found[1]


def jars_directory() -> Path:
    """Return where the jars of this pom.xml lie, or will lie."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    stamp = hashlib.sha256(POM.read_bytes()).hexdigest()[:8]
    return cache / "tocsin-tests" / f"kafka-{kafka_version()}-{stamp}"


def java() -> str:
    """Return the path of java. Raises ServerMissing where there is none."""
    found = shutil.which("java")
    if found is None:
        raise ServerMissing("Kafka needs Java 17 or later: apt-get install openjdk-17-jre-headless")
    return found


def classes_archive() -> Path:
    """Return where the classes that a broker loads are kept as this Java reads them, or will be kept."""
    binary = Path(java()).resolve()
    stamp = hashlib.sha256(f"{binary} {binary.stat().st_mtime_ns}".encode()).hexdigest()[:8]
    return jars_directory().with_name(f"{jars_directory().name}-{stamp}.jsa")


def fetch_jars() -> Path:
    """Return the directory of the jars, fetching them first where they are not there yet.

    Raises ServerMissing, saying what to install; then nothing was left in the cache.
    """
    there = jars_directory()
    if there.is_dir():
        return there
    maven = shutil.which("mvn")
    if maven is None:
        raise ServerMissing("Kafka's jars are fetched by Maven: apt-get install maven")
    there.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=there.parent, prefix="fetching-") as scratch:
        jars = Path(scratch, "jars")
        command = [maven, "-q", "-B", "-f", str(POM), "dependency:copy-dependencies"]
        command += ["-DincludeScope=runtime", f"-DoutputDirectory={jars}"]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=FETCH_SECONDS
            )
        except subprocess.TimeoutExpired as error:
            raise ServerMissing(f"Maven did not fetch Kafka's jars within {FETCH_SECONDS} s") from error
        if done.returncode != 0:
            raise ServerMissing(f"Maven could not fetch Kafka's jars:\n{(done.stdout + done.stderr)[-2000:]}")
        try:
            jars.rename(there)
        except OSError:
            if not there.is_dir():  # else somebody was faster
                raise
    return there
