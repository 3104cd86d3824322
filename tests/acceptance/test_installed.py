"""What is installed: the wheel and nothing of the checkout, complete, by the lines of README.md."""

import ast
import json
import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import httpx
import pytest

from tests.pages import shown_on
from tests.servers.eventually import eventually
from tests.servers.process import end, free_port, spawn, tail

ROOT = Path(__file__).parents[2]
CONTENT = ("consumers", "docs/examples", "rules", "templates")
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def files(root: Path) -> set[str]:
    """Files under `root` that git would have, by their paths from there."""
    return {
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def package() -> set[str]:
    """Files that the installed package must have: its modules, types and SQL, and the content that ships."""
    content = {f"_content/{folder}/{name}" for folder in CONTENT for name in files(ROOT / folder)}
    return files(ROOT / "src" / "tocsin") | content


def test_the_program_is_the_wheels(wheel: Path) -> None:
    """`tocsin` runs on the environment's own Python and imports the package that lies there, which came from a wheel
    file.
    """
    ask = (
        "import json, tocsin, importlib.metadata as m; d = m.distribution('tocsin')\n"
        "print(json.dumps([tocsin.__file__, d.version, json.loads(d.read_text('direct_url.json'))['url']]))"
    )
    answer = subprocess.run([wheel / "python", "-I", "-c", ask], capture_output=True, text=True, check=True).stdout
    where, version, url = json.loads(answer)
    installed = Path(where).parent
    assert installed.is_relative_to(wheel.parent), f"{installed} is not in {wheel.parent}"
    assert (VERSION, True) == (version, url.endswith(".whl"))
    assert (wheel / "tocsin").read_text().startswith(f"#!{wheel / 'python'}")
    said = subprocess.run([wheel / "tocsin", "--version"], cwd=wheel, capture_output=True, text=True, check=True)
    assert (f"tocsin {VERSION}\n", "") == (said.stdout, said.stderr)
    assert package() == files(installed)


def test_no_test_here_imports_the_package() -> None:
    """They see the installed program only; the checkout's modules would hide what the wheel lacks."""
    for folder in ("acceptance", "servers", "oracle"):
        for file in (ROOT / "tests" / folder).glob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                assert not [name for name in names if name.split(".")[0] == "tocsin"], file


def test_what_is_installed_agrees(wheel: Path) -> None:
    """Every part has what it asks for, in a version that it takes."""
    uv = Path(sys.executable).with_name("uv")
    check = ["pip", "check", "--python", str(wheel / "python")]
    done = subprocess.run([uv, *check], cwd=wheel, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_wheel_and_sdist_have_what_belongs_there(wheel: Path) -> None:
    """The wheel has the package and its metadata. The sdist has what the wheel is built from, docs and deploy/."""
    directory = wheel.parents[1]
    (built,) = directory.glob("tocsin-*.whl")
    with zipfile.ZipFile(built) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        assert {f"tocsin/{name}" for name in package()} == names
        assert f"tocsin-{VERSION}.dist-info/licenses/LICENSE" in archive.namelist()
    (source,) = directory.glob("tocsin-*.tar.gz")
    with tarfile.open(source) as archive:
        packed = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    expected = {f"{folder}/{name}" for folder in (*CONTENT, "deploy", "docs", "src") for name in files(ROOT / folder)}
    pages = {"CHANGELOG.md", "LICENSE", "README.md", "SECURITY.md"}
    assert expected | pages | {".gitignore", "PKG-INFO", "pyproject.toml"} == packed


@pytest.mark.timeout(400)
def test_the_lines_of_the_readme_work(wheel: Path, tmp_path: Path) -> None:
    """Under "For real": after the installation each line succeeds, and the last one serves."""
    port = free_port()
    env = {**os.environ, "PATH": f"{wheel}{os.pathsep}{os.environ['PATH']}", "TOCSIN_HTTP__PORT": str(port)}
    with shown_on("README.md", "pip install", "tocsin init", "tocsin check") as commands:
        for command in commands:
            if command.text.startswith("pip"):  # the fixture installed the wheel, which the line names
                (built,) = wheel.parents[1].glob("tocsin-*.whl")
                assert command.text.endswith(f"pip install {built.name}")
                continue
            line = ["sh", "-c", command.text]
            done = subprocess.run(line, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    with shown_on("README.md", "tocsin up") as commands:
        for command in commands:
            serves(command.text, port, env, tmp_path)


def serves(command: str, port: int, env: dict[str, str], cwd: Path) -> None:
    log = cwd / "up.log"
    path = f"PATH={env['PATH']}"
    process = spawn(["env", path, f"TOCSIN_HTTP__PORT={port}", "sh", "-c", f"exec {command}"], log, cwd)

    def ready() -> bool:
        assert process.poll() is None, tail(log)
        try:
            return httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    try:
        eventually(ready, within=60)
    finally:
        end(process)
