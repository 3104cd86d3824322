"""tocsin.yaml: defaults, the environment over it, options over both; faults say where and what would be right."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from tocsin.config.load import load_settings
from tocsin.config.project.home import Home
from tocsin.config.reference import settings_file, walk
from tocsin.config.settings import Settings
from tocsin.config.yaml.document import load
from tocsin.config.yaml.fields import is_loopback
from tocsin.errors import ConfigurationError


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def written(home: Home, text: str, env: dict[str, str] | None = None, **overrides: Any) -> Settings:
    (home.path / "tocsin.yaml").write_text(text)
    return home.settings(env or {}, {k.replace("__", "."): v for k, v in overrides.items()})


def faults(home: Home, text: str, env: dict[str, str] | None = None, **overrides: Any) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        written(home, text, env, **overrides)
    return [str(p) for p in caught.value.problems]


def test_an_empty_home_has_settings(home: Home) -> None:
    """`tocsin up` needs no configuration."""
    settings = home.settings({})
    assert ("127.0.0.1", 8700) == (settings.http.host, settings.http.port)
    assert "http://127.0.0.1:8700" == settings.http.url
    assert settings.smtp.host is None
    assert ("you@localhost",) == settings.fallback
    assert settings.kafka is None


def test_the_design_page_example_is_read(home: Home) -> None:
    """The example that users start from is valid as it stands."""
    settings = written(home, """
http:  {host: 127.0.0.1, port: 8700, base_url: "http://127.0.0.1:8700", tokens_file: tokens.yaml}
kafka: {bootstrap_servers: ["127.0.0.1:9092"], security_protocol: PLAINTEXT}
store: {url: "duckdb:data/events.duckdb", memory_limit: 160MiB}
state: {url: "sqlite:data/state.sqlite"}
smtp:  {host: localhost, port: 25, security: none, sender: "tocsin <tocsin@example.org>", allowed_recipients: [example.org]}
admin_email: [ops@example.org]
default_receiver: {email: [ops@example.org]}
""")  # fmt: skip
    assert 160 << 20 == settings.store.memory_limit
    assert home.path / "data/events.duckdb" == home.store_path(settings)
    assert settings.kafka is not None
    assert ["127.0.0.1:9092"] == settings.kafka.client()["bootstrap_servers"]


def test_environment_wins_over_the_file_and_options_over_both(home: Home) -> None:
    text = "smtp: {host: a, port: 1}\nadmin_email: x@example.org\nhttp: {port: 1}"
    env = {"TOCSIN_SMTP__HOST": "b", "TOCSIN_ADMIN_EMAIL": "x@example.org, y@example.org", "TOCSIN_HTTP__PORT": "2"}
    settings = written(home, text, env, http__port=3)
    assert ("b", 1) == (settings.smtp.host, settings.smtp.port)
    assert ("x@example.org", "y@example.org") == settings.admin_email
    assert 3 == settings.http.port


def test_environment_may_hold_yaml_for_lists_and_objects(home: Home) -> None:
    env = {
        "TOCSIN_SMTP__CAP": "{max: 3, window: 1h}",
        "TOCSIN_SMTP__ALLOWED_RECIPIENTS": '["*.example.org", a@b.example]',
        "TOCSIN_DEFAULT_RECEIVER": "{email: [z@example.org]}",
        "TOCSIN_KAFKA__BOOTSTRAP_SERVERS": "k1:9092,k2:9092",
        "TOCSIN_KAFKA__FETCH_MAX_BYTES": "1000",
    }
    settings = written(home, "", env)
    assert settings.smtp.cap is not None
    assert (3, timedelta(hours=1)) == (settings.smtp.cap.max, settings.smtp.cap.window)
    assert ("*.example.org", "a@b.example") == settings.smtp.allowed_recipients
    assert ("z@example.org",) == settings.fallback
    assert settings.kafka is not None
    assert 1000 == settings.kafka.client()["fetch_max_bytes"]


def test_text_from_the_environment_is_taken_as_it_is(home: Home) -> None:
    """A password that looks like YAML is still a password."""
    settings = written(
        home, "admin_email: a@b.example\nsmtp: {host: h, username: u}", {"TOCSIN_SMTP__PASSWORD": "{a: [b # c"}
    )
    assert settings.smtp.password == SecretStr("{a: [b # c")


@pytest.mark.parametrize(
    "name", ["TOCSIN_PORT", "TOCSIN_SERVICE_HOST", "TOCSIN_PORT_8700_TCP_ADDR", "TOCSIN_HOME", "TOCSIN_TOKEN"]
)
def test_variables_that_others_set_are_no_settings(home: Home, name: str) -> None:
    """Kubernetes sets TOCSIN_PORT=tcp://… for a service called tocsin."""
    assert Settings() == written(home, "", {name: "tcp://10.0.0.1:8700"})


def test_unknown_keys_are_refused_with_the_nearest(home: Home) -> None:
    """And count as that: with smtp.host somebody must get the mails that nobody else gets."""
    assert [
        "tocsin.yaml:1: smtp.host is given but neither default_receiver nor admin_email: mails that nobody else gets "
        "would be lost; add default_receiver: {email: [you@example.org]}",
        "tocsin.yaml:2: smtp.hots: is not a key that is known here; did you mean 'host'?",
        "tocsin.yaml:3: retntion: is not a key that is known here; did you mean 'retention'?",
    ] == sorted(faults(home, "smtp:\n  hots: a\nretntion: {}"))


def test_faults_of_several_keys_come_beside_unknown_ones(home: Home) -> None:
    assert [
        "tocsin.yaml:1: http.prt: is not a key that is known here; did you mean 'port'?",
        "tocsin.yaml:1: http: tls_cert_file is given without tls_key_file; give both",
    ] == sorted(faults(home, "http: {prt: 1, tls_cert_file: a}"))


def test_all_faults_come_at_once_and_name_their_place(home: Home) -> None:
    text = "http: {port: 99999}\nsmtp:\n  security: tsl\n  cap: {max: 0}"
    env = {"TOCSIN_SMTP__PORT": "many", "TOCSIN_SMPT__HOST": "y", "TOCSIN_LOG__LEVEL": "loud"}
    assert sorted([
        "environment variable TOCSIN_LOG__LEVEL: log.level: 'loud' is none of debug, info, warning, error; "
        "known are debug, error, info, warning",
        "environment variable TOCSIN_SMPT__HOST: smpt: is not a setting; did you mean 'smtp'?",
        "environment variable TOCSIN_SMTP__PORT: smtp.port: 'many' is not a whole number",
        "tocsin.yaml:1: http.port: must be 65535 or less",
        "tocsin.yaml:3: smtp.security: 'tsl' is none of none, starttls, tls; did you mean 'tls'?",
        "tocsin.yaml:4: smtp.cap.max: must be 1 or more",
    ]) == sorted(faults(home, text, env))  # fmt: skip


def test_a_fault_of_an_option_names_the_option(home: Home) -> None:
    assert ["--port: http.port: 'x' is not a whole number"] == faults(home, "http: {port: 1}", http__port="x")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: 1\n- b", "not valid YAML"),
        ("[1]", "must be keys and values"),
        ("http: {port: 1}\nhttp: {}", "given twice"),
        ("smtp: {sender: 'x'}", "'x' is not an e-mail address"),
        ('smtp: {sender: "a@b.example\\nBcc: c@d.example"}', "control characters"),
        ("admin_email: [a b@c]", "is not an e-mail address"),
        ("smtp: {allowed_recipients: ['a*']}", "neither a domain nor an address"),
        ("smtp: {host: h}", "mails that nobody else gets would be lost"),
        ("smtp: {host: h, username: u}\nadmin_email: a@b.example", "neither password nor password_file"),
        ("smtp: {password: a, password_file: b}", "keep one"),
        ("store: {url: 'postgres:x'}", "write duckdb:"),
        ("state: {url: 'mysql:x'}", "write sqlite:"),
        ("http: {base_url: 'example.org'}", "is not a web address"),
        ("timezone: Europe/Budapst", "did you mean 'Europe/Budapest'?"),
        ("retention: {events: 0d}", "must be more than 0s"),
        ("store: {memory_limit: much}", "is not a size"),
        ("kafka: {bootstrap_servers: [a]}", "'a' is not host:port"),
        ("kafka: {}", "bootstrap_servers: is missing"),
        ("kafka: {bootstrap_servers: [a:1], enable_auto_commit: true}", "is set by tocsin"),
        ("kafka: {bootstrap_servers: [a:1], fetch_mx_bytes: 1}", "did you mean 'fetch_max_bytes'?"),
        ("kafka: {bootstrap_servers: [a:1], selector: x}", "takes a Python object"),
        ("kafka: {bootstrap_servers: [a:1], check_crcs: maybe}", "neither true nor false"),
        ("kafka: {bootstrap_servers: [a:1], security_protocol: SLS}", "is not a security protocol"),
    ],
)  # fmt: skip
def test_what_is_wrong_says_what_would_be_right(home: Home, text: str, fault: str) -> None:
    found = faults(home, text)
    assert 1 == len(found)
    assert fault in found[0]


def test_secrets_do_not_show(home: Home) -> None:
    """Neither in repr, nor in what is printed of the whole, nor in faults."""
    text = """
admin_email: a@b.example
smtp: {host: h, username: u, password: hunter2hunter2}
kafka: {bootstrap_servers: ["a:1"], sasl_plain_password: hunter2hunter2, ssl_password: hunter2hunter2}
"""
    settings = written(home, text)
    assert "hunter2" not in repr(settings) + str(settings) + settings.model_dump_json()
    assert settings.kafka is not None
    assert "hunter2hunter2" == settings.kafka.client()["sasl_plain_password"]
    assert not any("hunter2" in f for f in faults(home, text + "\nsmtp2: {password: hunter2}"))


def test_a_password_file_is_read_from_the_home_on(home: Home) -> None:
    (home.path / "word").write_text("s3cret \n")
    settings = written(home, "admin_email: a@b.example\nsmtp: {host: h, username: u, password_file: word}")
    assert settings.smtp.password == SecretStr("s3cret ")
    missing = faults(home, "admin_email: a@b.example\nsmtp:\n  host: h\n  password_file: nowhere")
    assert missing[0].startswith("tocsin.yaml:4: smtp.password_file: cannot be read")


def test_numbers_of_kafka_keep_their_types(home: Home) -> None:
    settings = written(
        home,
        "kafka: {bootstrap_servers: 'a:1', session_timeout_ms: 6000, check_crcs: false, client_id: 007, api_version: '3.9'}",
    )
    assert settings.kafka is not None
    client = settings.kafka.client()
    assert (6000, False, "007", (3, 9)) == tuple(
        client[k] for k in ("session_timeout_ms", "check_crcs", "client_id", "api_version")
    )


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("a@example.org", True), ("A@EXAMPLE.ORG", True), ("a@sub.example.org", False), ("a@team.example.com", True),
        ("a@example.com", False), ("guest@example.net", True), ("other@example.net", False), ("a@evil-example.org", False),
    ],
)  # fmt: skip
def test_who_may_be_mailed_when_events_name_addresses(home: Home, address: str, allowed: bool) -> None:
    settings = written(
        home,
        "admin_email: a@b.example\nsmtp: {host: h, allowed_recipients: [example.org, '*.example.com', guest@example.net]}",
    )
    assert allowed == settings.smtp.allows(address)


def test_without_a_server_every_address_is_allowed() -> None:
    """Nothing leaves the machine."""
    assert Settings().smtp.allows("anybody@anywhere.example")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("[::1]", True), ("localhost", True), ("0.0.0.0", False),
     ("::", False), ("10.0.0.1", False), ("localhost.evil.example", False), ("", False)],
)  # fmt: skip
def test_loopback_is_only_this_machine(host: str, loopback: bool) -> None:
    assert loopback == is_loopback(host)


def test_warnings_say_what_will_surprise(home: Home) -> None:
    settings = written(home, "admin_email: a@b.example\nsmtp: {host: h, security: none, username: u, password: p}")
    (home.path / "tocsin.yaml").chmod(0o600)
    assert ["http.base_url", "smtp.sender", "smtp.security"] == [w.key for w in home.warnings(settings)]
    assert all(w.warning for w in home.warnings(settings))
    assert [] == home.warnings(Settings())


def test_the_file_of_a_new_home_is_valid_as_it_is_and_uncommented(tmp_path: Path) -> None:
    """Every line that a user may uncomment stands for a setting that is known and a value that is right."""
    text = settings_file()
    (tmp_path / "tocsin.yaml").write_text(text)
    assert Settings() == load_settings(tmp_path)
    lines = [line.removeprefix("#") if re.match(r"#(  )?\w+:", line) else line for line in text.splitlines()]
    whole = "\n".join(line for line in lines if "password_file:" not in line)
    (tmp_path / "tocsin.yaml").write_text(whole)
    settings = load_settings(tmp_path, dict.fromkeys(re.findall(r"\$\{(\w+)\}", whole), "secret"))
    assert settings.kafka is not None
    data = load(whole, "tocsin.yaml").data
    shown = {".".join(path) for path, _ in walk(Settings)}
    missing = {p for p in shown if not _has(data, p.split(".")) and not p.endswith("password_file")}
    assert set() == missing


def _has(data: Any, path: list[str]) -> bool:
    for key in path:
        if not isinstance(data, dict) or key not in data:
            return False
        data = data[key]
    return True


def test_every_setting_has_a_meaning_and_an_example() -> None:
    bare = [".".join(path) for path, field in walk(Settings) if not field.description]
    assert [] == bare
    without = [
        ".".join(path)
        for path, field in walk(Settings)
        if not field.examples and not any(".".join(p).startswith(".".join(path) + ".") for p, _ in walk(Settings))
    ]
    assert [] == without


def test_a_rules_file_beside_its_directory_is_named(home: Home) -> None:
    """Nothing in it comes into force, which its author would learn from silence."""
    (home.path / "rules").mkdir(exist_ok=True)
    (home.path / "rules" / "mine.yaml").write_text("rules: []\n")
    (warning,) = home.warnings(Settings())
    assert "rules/mine.yaml: warning: it is not read; alert rules lie in rules/alerts/" in str(warning)
