"""`python -m tests.servers.fetch`: get what the test servers need before pytest's timeouts run, and say what is
missing.
"""

import os
import sys

from tests.servers.alertmanager import alertmanager_binary
from tests.servers.kafka import keep_classes
from tests.servers.kafka_jars import fetch_jars, jars_directory, java, kafka_version
from tests.servers.process import ServerMissing
from tests.servers.prometheus import prometheus_binary


def main() -> int:
    """Return 0, or in CI 1 when something is missing. Says nothing when all is there."""
    missing = 0
    if not jars_directory().is_dir():
        print(f"installing: Apache Kafka {kafka_version()} for tests, by Maven, into {jars_directory()}", flush=True)
    for need in (java, fetch_jars, keep_classes, prometheus_binary, alertmanager_binary):
        try:
            need()
        except ServerMissing as why:
            missing += 1
            print(f"missing: {why}; its tests are skipped", file=sys.stderr)
    return int(bool(missing) and os.environ.get("CI") == "true")


if __name__ == "__main__":
    sys.exit(main())
