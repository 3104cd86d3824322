"""tocsin as its users have it: the wheel, installed with the locked dependencies into an environment of its own."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def install_wheel(directory: Path) -> Path:
    """Build the wheel, install it under `directory` and return the environment's bin folder.

    Takes some 3 s once `make venv` has filled uv's cache. Raises RuntimeError with uv's own words.
    """
    environment = directory / "venv"
    python = environment / "bin" / "python"
    locked = directory / "locked.txt"
    export = ["export", "--frozen", "--no-dev", "--no-emit-project", "--no-hashes", "-o", str(locked)]
    _uv("build", "--wheel", "--out-dir", str(directory), str(ROOT))
    _uv(*export, "--project", str(ROOT))
    _uv("venv", "--python", sys.executable, str(environment))
    (wheel,) = directory.glob("tocsin-*.whl")
    _uv("pip", "install", "--python", str(python), "-r", str(locked))
    _uv("pip", "install", "--python", str(python), "--no-deps", str(wheel))
    return python.parent


def _uv(*arguments: str) -> None:
    uv = Path(sys.executable).with_name("uv")
    done = subprocess.run(
        [uv, "--quiet", *arguments], cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=100
    )
    if done.returncode != 0:
        raise RuntimeError(f"uv {arguments[0]} failed:\n{done.stdout}{done.stderr}")
