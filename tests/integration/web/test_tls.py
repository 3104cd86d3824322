"""tocsin's own certificate: HTTPS alone, renewed without a restart, known to commands of this machine."""

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.acceptance.harness import Tocsin
from tests.integration.commands import PROGRAM, Here
from tests.integration.lived import event
from tests.servers.certificates import make_certificate
from tests.servers.eventually import eventually


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tocsin]:
    """A tocsin with a certificate, which sends no mail."""
    home = tmp_path_factory.mktemp("secured") / "home"
    home.mkdir()
    made = make_certificate(home / "tls")
    tocsin = Here(program=PROGRAM, home=home)
    tocsin.write(
        "tocsin.yaml", f"http: {{tls_cert_file: tls/{made.certificate.name}, tls_key_file: tls/{made.key.name}}}"
    )
    tocsin.begin()
    eventually(lambda: 200 == ask(tocsin, "/readyz").status_code, 60)
    yield tocsin
    tocsin.kill()


def ask(tocsin: Tocsin, path: str, **how: object) -> httpx.Response:
    try:
        with httpx.Client(
            verify=ssl.create_default_context(cafile=str(certificate(tocsin))), trust_env=False
        ) as client:
            return client.request("POST" if how else "GET", f"https://localhost:{tocsin.port}{path}", **how)  # type: ignore[arg-type]
    except httpx.TransportError as error:
        raise AssertionError(tocsin.said()) from error


def certificate(tocsin: Tocsin) -> Path:
    return tocsin.home / "tls" / "certificate.pem"


def test_it_speaks_https_alone(secured: Tocsin) -> None:
    assert 202 == ask(secured, "/intake/events", json=event("1", RunId="r", Status="Running")).status_code
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://localhost:{secured.port}/healthz", trust_env=False)
    assert f"tocsin is up at https://127.0.0.1:{secured.port}" in secured.log.read_text()


def test_commands_know_its_certificate_and_no_other(secured: Tocsin) -> None:
    done = secured.run("query", "Runs | project RunId", "--json")
    assert 0 == done.returncode, done.stderr


def test_a_renewed_certificate_counts_without_a_restart_and_a_broken_one_does_not(secured: Tocsin) -> None:
    def shown() -> str:
        context = ssl._create_unverified_context()
        with socket.create_connection(("127.0.0.1", secured.port)) as plain, context.wrap_socket(plain) as tls:
            return ssl.DER_cert_to_PEM_cert(tls.getpeercert(True) or b"")

    before = shown()
    make_certificate(secured.home / "tls")
    assert eventually(lambda: shown() != before and shown() == certificate(secured).read_text(), 30)
    good = certificate(secured).read_text()
    certificate(secured).write_text("no certificate")
    assert eventually(lambda: "certificate_refused" in secured.log.read_text(), 30)
    assert good == shown()
    certificate(secured).write_text(good)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("http: {tls_cert_file: gone.pem, tls_key_file: gone.key}", "cannot be used: No such file"),
        ("http: {tls_cert_file: a.pem}", "tls_cert_file is given without tls_key_file; give both"),
    ],
    ids=["gone", "half"],
)
def test_a_certificate_that_cannot_be_used_is_no_start(tmp_path: Path, settings: str, said: str) -> None:
    tocsin = Here(program=PROGRAM, home=tmp_path)
    tocsin.write("tocsin.yaml", settings)
    tocsin.begin()
    assert 1 == tocsin.ended(60)
    assert said in tocsin.said()


def test_what_it_makes_is_its_users_alone(secured: Tocsin) -> None:
    """Stores hold payloads and mails, whatever the umask of who started it."""
    made = list((secured.home / "data").rglob("*"))
    assert {"events.duckdb", "state.sqlite"} <= {path.name for path in made}
    loose = {
        path.name: oct(path.stat().st_mode) for path in [secured.home / "data", *made] if path.stat().st_mode & 0o077
    }
    assert {} == loose
