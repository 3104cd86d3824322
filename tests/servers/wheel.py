"""tocsin as its users have it: the wheel, installed into an environment of its own.

`python -m tests.servers.wheel DIRECTORY [PYTHON]` prints the bin folder of one in which the dependencies are what
pip resolves
today, without uv.lock. CI hands it to the tests as TOCSIN_BIN.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def install_wheel(directory: Path, *, python: str = sys.executable, locked: bool = True) -> Path:
    """Build sdist and wheel, install the wheel under `directory` and return the environment's bin folder.

    The wheel is built from the sdist, and both stay in `directory`. Takes some 3 s once `make venv` has filled uv's
    cache.
    Raises RuntimeError with uv's own words.
    """
    directory = directory.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    environment = directory / "venv"
    _uv(directory, "build", "--out-dir", str(directory), str(ROOT))
    _uv(directory, "venv", "--clear", "--python", python, str(environment))
    (wheel,) = directory.glob("tocsin-*.whl")
    install = ["pip", "install", "--python", str(environment / "bin" / "python")]
    if locked:
        versions = str(directory / "locked.txt")
        export = ["export", "--frozen", "--no-dev", "--no-emit-project", "--no-hashes", "-o", versions]
        _uv(directory, *export, "--project", str(ROOT))
        _uv(directory, *install, "-r", versions)
        install.append("--no-deps")
    _uv(directory, *install, str(wheel))
    return environment / "bin"


def _uv(outside: Path, *arguments: str) -> None:
    """Run uv outside the checkout: inside, `uv pip` takes the constraints of pyproject.toml, which users do not have."""
    uv = Path(sys.executable).with_name("uv")
    done = subprocess.run(
        [uv, "--quiet", *arguments],
        cwd=outside, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300,
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"uv {arguments[0]} failed:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    print(install_wheel(Path(sys.argv[1]), python=sys.argv[2] if sys.argv[2:] else sys.executable, locked=False))
