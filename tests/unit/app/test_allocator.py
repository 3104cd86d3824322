"""What malloc is notified, seen from a process of its own."""

from __future__ import annotations

import json
import platform
import subprocess
import sys

import pytest

_PROBE = """
import json, sys
from tocsin.app.engine.allocator import give_back, keep_little

def resident():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon"))

said = keep_little() if sys.argv[1] == "little" else None
blocks = [bytes(4000) for _ in range(20_000)]
last = blocks[-1]  # stays at the heap's top, so that nothing below it goes by itself
full = resident()
del blocks
kept = resident()
gave = give_back()
print(json.dumps({"said": said, "gave": gave, "full": full, "kept": kept, "left": resident()}))
"""

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these switches")


def _probe(word: str) -> dict[str, object]:
    done = subprocess.run([sys.executable, "-c", _PROBE, word], capture_output=True, text=True, check=True)
    found: dict[str, object] = json.loads(done.stdout)
    return found


@glibc
def test_free_memory_below_what_is_in_use_goes_back_to_the_system() -> None:
    seen = _probe("without a notification")
    full, kept, left = (int(str(seen[name])) for name in ("full", "kept", "left"))
    assert seen["gave"] is True
    assert kept > full - 10_000, "kB; malloc kept what was freed below a block in use"
    assert left < full - 60_000


@glibc
def test_malloc_takes_the_switches() -> None:
    assert _probe("little")["said"] is True


def test_arrow_has_no_allocator_of_its_own() -> None:
    code = """
import contextlib, sys
from tocsin.cli import main
sys.argv = ["tocsin", "--version"]
with contextlib.suppress(SystemExit):
    main()
import pyarrow
print(pyarrow.default_memory_pool().backend_name)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split()[-1] == "system"
