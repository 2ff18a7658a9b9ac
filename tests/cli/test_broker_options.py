"""What a relay's broker is shown: by options, by variables of the environment and by its URL."""

import ssl
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority
from click import UsageError
from click.testing import CliRunner, Result
from relays import relays

from rxflow.cli._broker_options import BrokerOptions
from rxflow.cli._commands.group import commands
from rxflow.testing import FakePrefect3

RUN = "00000000-0000-4000-8000-000000000004"
NATS, REDIS = "nats://b", "redis://b"


def run(*arguments: str, **variables: str) -> Result:
    """Run ``rxflow`` in this process, with some variables."""
    return CliRunner(env={"PREFECT_API_URL": None, **variables}).invoke(commands, arguments)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with files of secrets."""
    (tmp_path / "password").write_text("of the file\n")
    (tmp_path / "token").write_text("t0ken\r\n")
    (tmp_path / "user.creds").touch()
    return tmp_path


CASES: dict[str, tuple[str, dict[str, str], dict[str, str], dict[str, str]]] = {
    "nothing": (NATS, {}, {}, {}),
    "a user and a file": (
        NATS,
        {"user": "a", "password_file": "password"},
        {},
        {"user": "a", "password": "of the file"},
    ),
    "a user and a variable": (
        NATS,
        {"user": "a"},
        {"USER": "b", "PASSWORD": "p"},
        {"user": "a", "password": "p"},
    ),
    "a file and a variable": (
        NATS,
        {"password_file": "password"},
        {"USER": "b", "PASSWORD": "p"},
        {"user": "b", "password": "of the file"},
    ),
    "variables": (NATS, {}, {"USER": "b", "PASSWORD": "p"}, {"user": "b", "password": "p"}),
    "an empty variable": (NATS, {}, {"USER": "", "PASSWORD": "p"}, {"password": "p"}),
    "a token": (NATS, {"token_file": "token"}, {"PASSWORD": "p"}, {"token": "t0ken"}),
    "credentials": (NATS, {"creds": "user.creds"}, {"TOKEN": "t"}, {"creds": "user.creds"}),
    "a variable with credentials": (NATS, {}, {"CREDS": "x"}, {"creds": "x"}),
    "a secret in the URL": ("nats://u:p@b", {}, {"USER": "b", "PASSWORD": "q"}, {}),
    "a token in the URL": ("nats://t@b", {}, {"CREDS": "x"}, {}),
    "an option beside a URL": ("nats://t@b", {"creds": "user.creds"}, {}, {"creds": "user.creds"}),
    "a user in the URL": ("nats://u@b", {}, {"USER": "b", "PASSWORD": "q"}, {"password": "q"}),
    "a user of Redis in the URL": ("redis://u@b", {}, {"PASSWORD": "q"}, {"password": "q"}),
    "no URL": ("nats://[", {}, {"PASSWORD": "q"}, {"password": "q"}),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_which_credentials_are_shown(
    case: tuple[str, dict[str, str], dict[str, str], dict[str, str]],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Options come before variables, which do not replace what a given URL has."""
    url, options, variables, shown = case
    monkeypatch.chdir(folder)
    for name, value in variables.items():
        monkeypatch.setenv(f"RXFLOW_RELAY_{name}", value)
    assert BrokerOptions(options, is_url_given=True).arguments(url) == shown


def test_variables_come_before_the_url_of_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it is the environment's, and the variable with one value is the closer one."""
    monkeypatch.setenv("RXFLOW_RELAY_TOKEN", "t")
    shown = BrokerOptions({}, is_url_given=False).arguments("nats://u:p@b")
    assert shown == {"token": "t"}


REFUSED: dict[str, tuple[list[str], dict[str, str], str]] = {
    "two ways": (
        ["--creds", "user.creds", "--user", "a"],
        {},
        "--user and --creds are both given; pass one of them",
    ),
    "two secrets": (
        ["--token-file", "token", "--password-file", "password"],
        {},
        "--password-file and --token-file are both given",
    ),
    "two variables": (
        [],
        {"TOKEN": "t", "CREDS": "x"},
        "RXFLOW_RELAY_TOKEN and RXFLOW_RELAY_CREDS are both set; unset one of them",
    ),
    "no file": (["--creds", "none"], {}, "'--creds': File 'none' does not exist"),
    "no password file": (["--password-file", "none"], {}, "'--password-file': File 'none' does"),
    "a folder": (["--tls-ca", "."], {}, "'--tls-ca': File '.' is a directory"),
    "credentials of a variable": ([], {"CREDS": "none"}, "--creds 'none' is not a file"),
    "a file of something else": (
        ["--creds", "user.creds"],
        {},
        "--creds 'user.creds' has no line with 'BEGIN NATS USER JWT'; pass a file of NATS",
    ),
    "a user alone": (
        ["--user", "a"],
        {},
        "to NATS, or set RXFLOW_RELAY_USER and RXFLOW_RELAY_PASSWORD",
    ),
    "an empty file": (
        ["--password-file", "user.creds"],
        {},
        "--password-file 'user.creds' must have one line, with the secret alone",
    ),
    "two lines": (["--token-file", "lines"], {}, "--token-file 'lines' must have one line"),
    "no text": (["--token-file", "bytes"], {}, "--token-file 'bytes' is not text in UTF-8"),
    "a certificate alone": (
        ["--tls-cert", "server.pem"],
        {},
        "--tls-cert and --tls-key belong together; pass both",
    ),
    "a key alone": ([], {"TLS_KEY": "server.key"}, "--tls-cert and --tls-key belong together"),
    "no authorities": (
        ["--tls-ca", "password"],
        {},
        "--tls-ca 'password' is not certificates in PEM format",
    ),
    "no authorities there": (
        [],
        {"TLS_CA": "none"},
        "--tls-ca 'none' cannot be read: No such file or directory",
    ),
    "no certificate": (
        ["--tls-cert", "password", "--tls-key", "server.key"],
        {},
        "--tls-cert 'password' is not a certificate, or --tls-key 'server.key' not its key",
    ),
    "no key": (
        ["--tls-cert", "server.pem", "--tls-key", "password"],
        {},
        "or --tls-key 'password' not its key, in PEM format",
    ),
    "no certificate there": (
        [],
        {"TLS_CERT": "none", "TLS_KEY": "server.key"},
        "--tls-cert 'none' cannot be read: No such file or directory",
    ),
    "the key of another": (
        ["--tls-cert", "server.pem", "--tls-key", "other.key"],
        {},
        "--tls-key 'other.key' is not the key of --tls-cert 'server.pem'",
    ),
    "an encrypted key": (
        ["--tls-cert", "server.pem", "--tls-key", "encrypted.key"],
        {},
        "The key of --tls-key is encrypted; pass a file with the decrypted key",
    ),
}


@pytest.mark.parametrize("command", ["relay", "watch"])
@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_shown_is_refused(
    command: str,
    case: tuple[list[str], dict[str, str], str],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The status is that of a wrong use, before anything is sent; no secret is in the sentence."""
    options, variables, text = case
    monkeypatch.chdir(folder)
    (folder / "lines").write_text("s3cret\n1\n")
    (folder / "bytes").write_bytes(b"s3cret\xff")
    _, key = Authority(folder).server_files(folder)
    key.rename("other.key")
    _, key = Authority(folder).server_files(folder)
    _encrypt(key, folder / "encrypted.key")
    environment = {f"RXFLOW_RELAY_{name}": value for name, value in variables.items()}
    done = _run_on(command, "nats://127.0.0.1:1", *options, **environment)
    assert done.exit_code == 2, done.output
    assert text in " ".join(done.stderr.replace("│", " ").split())
    assert "s3cret" not in done.output


def _run_on(command: str, url: str, *options: str, **variables: str) -> Result:
    """Run one of the two commands on a broker."""
    if command == "relay":
        return run("relay", url, "--api-url", "http://127.0.0.1:1/api", *options, **variables)
    return run("watch", "--relay", url, RUN, *options, **variables)


def _encrypt(key: Path, path: Path) -> None:
    """Write a key to another file, encrypted by a password."""
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
        load_pem_private_key,
    )

    encrypted = load_pem_private_key(key.read_bytes(), None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password")
    )
    path.write_bytes(encrypted)


@pytest.mark.parametrize(
    ("option", "text"),
    [
        (["--creds", "user.creds"], "--token-file and --creds are of NATS; pass --user and --pass"),
        (["--token-file", "token"], "--token-file and --creds are of NATS; pass --user and --pass"),
        (["--tls-ca", "ca.pem"], "--tls-ca is for an encrypted connection; begin the URL with"),
    ],
)
def test_what_redis_does_not_take_is_refused(
    option: list[str], text: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence names options, and what to pass."""
    monkeypatch.chdir(folder)
    Authority(folder)
    for command in ("relay", "watch"):
        done = _run_on(command, REDIS, *option)
        assert done.exit_code == 2, done.output
        assert text in " ".join(done.stderr.split())


def test_tls_by_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file's authorities are trusted alone; a certificate and its key are of one source."""
    authority = Authority(folder)
    chain, key = authority.server_files(folder)

    def context(**given: str) -> ssl.SSLContext | None:
        found: dict[str, Any] = BrokerOptions(given, is_url_given=True).arguments(NATS)
        return found.get("tls")

    assert context() is None
    trusting = context(tls_ca=authority.file)
    assert trusting is not None
    assert len(trusting.get_ca_certs()) == 1
    assert trusting.check_hostname
    monkeypatch.setenv("RXFLOW_RELAY_TLS_CA", authority.file)
    from_variable = context(tls_cert=str(chain), tls_key=str(key))
    assert from_variable is not None
    assert len(from_variable.get_ca_certs()) == 1
    monkeypatch.setenv("RXFLOW_RELAY_TLS_KEY", str(key))
    with pytest.raises(UsageError, match="belong together"):
        context(tls_cert=str(chain))


def test_options_of_a_broker_need_one(folder: Path) -> None:
    """They would have no effect on a watch of the server."""
    done = run("watch", RUN, "--creds", str(folder / "user.creds"))
    assert done.exit_code == 2
    assert "--creds is of a relay; pass --relay URL as well" in done.stderr


def test_the_broker_is_named_by_a_variable() -> None:
    """A run is read from it, and the sentence about coming back leaves it to the environment."""
    with relays(FakePrefect3()) as running:
        done = run("watch", RUN, "--timeout", "0.3s", "--user", "a", RXFLOW_RELAY=running.url)
    assert done.exit_code == 124, done.output
    assert done.stderr.endswith(f"rxflow watch {RUN} --workspace default --user a\n")


def test_what_the_broker_of_a_variable_cannot_give_is_refused() -> None:
    """The sentence names the variable, which the command line does not show."""
    for arguments in (["amber-fox"], ["--tag", "prod"], []):
        done = run("watch", *arguments, RXFLOW_RELAY="memory://none")
        assert done.exit_code == 2, done.output
        text = " ".join(done.stderr.split())
        assert "--relay " not in text
        assert text.endswith("To read the server, unset RXFLOW_RELAY.")


def test_an_option_that_names_the_server_comes_before_a_variable() -> None:
    """The run is read from the server, as the command line says."""
    server = FakePrefect3()
    run_id = server.add_run(name="amber-fox", state="COMPLETED")
    with server.serve() as url:
        done = run("watch", run_id, "--api-url", url, RXFLOW_RELAY="memory://none")
    assert done.exit_code == 0, done.output
    assert "amber-fox" in done.stdout


def test_a_relay_without_a_broker_is_refused() -> None:
    """It has no default."""
    done = run("relay", "--api-url", "http://127.0.0.1:1/api")
    assert done.exit_code == 2
    assert "Missing argument 'BROKER'" in done.stderr
