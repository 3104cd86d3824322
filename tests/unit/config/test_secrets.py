"""Secrets come from the environment or files; who else can read them, and where they go in clear, is said."""

from pathlib import Path

import pytest

from tocsin.config.project.home import Home, init_home
from tocsin.config.settings import Settings
from tocsin.errors import ConfigurationError


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def written(home: Home, text: str, env: dict[str, str] | None = None) -> Settings:
    (home.path / "tocsin.yaml").write_text(text)
    (home.path / "tocsin.yaml").chmod(0o600)
    return home.settings(env or {})


MAIL = "default_receiver: {email: [a@example.org]}\n"


def test_any_text_may_come_from_the_environment(home: Home) -> None:
    text = MAIL + 'smtp:\n  host: ${RELAY}.example.org\n  port: ${PORT}\n  username: u\n  password: "a${WORD}$${b}"'
    settings = written(home, text, {"RELAY": "mail", "PORT": "2525", "WORD": "x${y}"})
    assert ("mail.example.org", 2525) == (settings.smtp.host, settings.smtp.port)
    assert settings.smtp.password is not None
    assert "ax${y}${b}" == settings.smtp.password.get_secret_value()


def test_what_the_environment_does_not_have_is_a_fault_at_its_place(home: Home) -> None:
    """A password of the text ${WORD} would be tried at the server for ever."""
    with pytest.raises(ConfigurationError) as caught:
        written(home, MAIL + "smtp:\n  host: h\n  username: u\n  password: ${WORD}\nadmin_email: ${WHO}")
    assert [
        "tocsin.yaml:5: smtp.password: the environment variable 'WORD' is not set; set it, or write $${ for the text ${",
        "tocsin.yaml:6: admin_email: the environment variable 'WHO' is not set; set it, or write $${ for the text ${",
    ] == [str(p) for p in caught.value.problems if "environment" in p.message]


def test_every_secret_may_come_from_a_file(home: Home) -> None:
    (home.path / "word").write_text("secret\n")
    text = MAIL + "smtp: {host: h, username: u, password_file: word}\n"
    text += "kafka: {bootstrap_servers: ['k:9092'], sasl_plain_password_file: word, ssl_password_file: word}"
    settings = written(home, text)
    assert settings.kafka is not None and settings.smtp.password is not None
    assert "secret" == settings.smtp.password.get_secret_value()
    client = settings.kafka.client()
    assert ("secret", "secret") == (client["sasl_plain_password"], client["ssl_password"])
    assert not any(key.endswith("_file") for key in client)
    with pytest.raises(ConfigurationError, match="sasl_plain_password_file: cannot be read"):
        written(home, "kafka: {bootstrap_servers: ['k:9092'], sasl_plain_password_file: gone}")
    with pytest.raises(ConfigurationError, match="are both given; keep one"):
        written(home, "kafka: {bootstrap_servers: ['k:9092'], ssl_password: a, ssl_password_file: word}")


def warned(home: Home, text: str) -> list[str]:
    return [str(p) for p in home.warnings(written(home, text))]


def test_files_with_secrets_that_others_can_read_are_warned_of(home: Home) -> None:
    text = "http: {base_url: 'https://t.example.org'}\n" + MAIL
    text += "smtp: {host: h, sender: t@example.org, username: u, password_file: word}"
    (home.path / "word").write_text("secret")
    (home.path / "tokens.yaml").write_text("tokens:\n  - {name: a, token: a-long-token-in-clear, roles: [viewer]}\n")
    for name in ("word", "tokens.yaml"):
        (home.path / name).chmod(0o640)
    assert [
        "tokens.yaml: warning: holds tokens, and other users of this machine can read it (mode 0640); chmod 600 tokens.yaml",
        "word: warning: holds smtp.password, and other users of this machine can read it (mode 0640); chmod 600 word",
    ] == sorted(warned(home, text))
    for name in ("word", "tokens.yaml"):
        (home.path / name).chmod(0o600)
    assert [] == warned(home, text)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("smtp: {host: mail.example.org, security: none, username: u, password: p}", "smtp.security"),
        ("smtp: {host: localhost, username: u, password: p}", ""),
        ("smtp: {host: mail.example.org, username: u, password: p}", ""),
        ("kafka: {bootstrap_servers: ['k:9092'], security_protocol: SASL_PLAINTEXT, sasl_mechanism: PLAIN}", "kafka.security_protocol"),
        ("kafka: {bootstrap_servers: ['127.0.0.1:9092'], security_protocol: SASL_PLAINTEXT}", ""),
        ("kafka: {bootstrap_servers: ['k:9092'], security_protocol: SASL_SSL, ssl_check_hostname: false}", "kafka.ssl_check_hostname"),
        ("kafka: {bootstrap_servers: ['k:9092'], security_protocol: SASL_SSL}", ""),
    ],
)  # fmt: skip
def test_what_goes_over_a_network_in_clear_is_warned_of(home: Home, text: str, key: str) -> None:
    settings = written(home, MAIL + text)
    assert [key] * bool(key) == [p.key for p in home.warnings(settings) if p.key in ("smtp.security", "kafka.security_protocol", "kafka.ssl_check_hostname")]  # fmt: skip


@pytest.mark.parametrize(
    ("host", "security"), [("mail.example.org", "starttls"), ("127.0.0.1", "none"), ("localhost", "none")]
)
def test_mail_is_encrypted_where_it_leaves_this_machine(home: Home, host: str, security: str) -> None:
    assert security == written(home, f"{MAIL}smtp: {{host: {host}}}").smtp.secured
    assert "none" == written(home, f"{MAIL}smtp: {{host: {host}, security: none}}").smtp.secured


def test_a_project_directory_is_its_owners_alone(tmp_path: Path) -> None:
    init_home(tmp_path / "new")
    assert 0o700 == (tmp_path / "new").stat().st_mode & 0o777
