"""A secret is shown only by `reveal`, and no setting shows one."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect1_installation import ACME, AUTH, BACKEND, CLOUD, CONFIG
from prefect_installation import MARK, URL, Installation

from rxflow._config.secrets import Secret


def test_only_reveal_shows_a_secret() -> None:
    """A secret compares and hashes by its text, which only `reveal` shows."""
    secret = Secret("s3cr3t")
    assert secret.reveal() == "s3cr3t"
    assert secret == Secret("s3cr3t") != Secret("other")
    assert secret != "s3cr3t"
    assert len({secret, Secret("s3cr3t")}) == 1
    for text in (repr(secret), str(secret), f"{secret}", f"{secret!r:>30}", f"{secret:>30}"):
        assert "s3cr3t" not in text
    with pytest.raises(TypeError) as caught:
        msgspec.json.encode(secret)
    assert "s3cr3t" not in str(caught.value)


def test_a_tenant_is_a_secret(bare: Installation) -> None:
    """The repr of the settings does not show the tenant."""
    settings = bare.load(api_url=CLOUD, api_key="k", tenant_id=ACME)
    assert settings.tenant_id == Secret(ACME)
    assert ACME not in repr(settings)


# Texts of settings of Prefect 3; "{}" is the secret.
TEXTS_3: dict[str, tuple[str, ...]] = {
    "URL": (
        "http://u:{}@h/api",
        "http://{}@h/api",
        "http://h/api?k={}",
        "u:{}@h/api",
        "http://u:{}@h:x/api",
    ),
    "API_KEY": ("{}",),
    "API_AUTH_STRING": ("{}", "u:{}"),
    "HEADERS": ('{{"A": "{}"}}', '{{"Authorization": "{}"', '{{"User-Agent": "{}"}}', "{}"),
    "INSECURE_SKIP_VERIFY": ("{}",),
}

# Per setting its RXFLOW_* variable, its PREFECT_* variable and its path in a TOML file.
VARIABLES = {
    "URL": ("RXFLOW_API_URL", "PREFECT_API_URL", "api.url"),
    "API_KEY": ("RXFLOW_API_KEY", "PREFECT_API_KEY", "api.key"),
    "API_AUTH_STRING": ("RXFLOW_API_AUTH_STRING", "PREFECT_API_AUTH_STRING", "api.auth_string"),
    "HEADERS": (
        "RXFLOW_CUSTOM_HEADERS",
        "PREFECT_CLIENT_CUSTOM_HEADERS",
        "client.custom_headers",
    ),
    "INSECURE_SKIP_VERIFY": (
        "RXFLOW_TLS_INSECURE_SKIP_VERIFY",
        "PREFECT_API_TLS_INSECURE_SKIP_VERIFY",
        "api.tls_insecure_skip_verify",
    ),
}

ARGUMENTS = {"URL": "api_url", "API_KEY": "api_key", "API_AUTH_STRING": "auth_string"}

# Texts of settings of Prefect 1; "{}" is the secret.
TEXTS_1 = {
    "CLOUD__API": ("http://u:{}@h", "http://{}@h:1/x", "http://h?k={}", "u:{}@h", "${{my.{}}}"),
    "CLOUD__API_KEY": ("{}", "'{}'", "${{{}}}", "${}", "b'{}'"),
    "CLOUD__TENANT_ID": ("{}",),
    "BACKEND": ("{}", "${{{}"),
    "HOME_DIR": ("~{}",),
}

secrets = st.text(max_size=8).map(lambda tail: MARK + tail) | st.text(max_size=8).map(
    lambda head: head + MARK
)


@given(data=st.data(), secret=secrets, quote=st.sampled_from(["'", '"', "'''", '"""', ""]))
def test_no_secret_of_prefect_3_is_shown(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, secret: str, quote: str
) -> None:
    """No secret of any source, usable or not, is in the settings' text or in an error's."""
    installation = Installation(tmp_path_factory.mktemp("secrets"))
    setting = data.draw(st.sampled_from(sorted(TEXTS_3)))
    value = data.draw(st.sampled_from(TEXTS_3[setting])).format(secret)
    own, prefect, dotted = VARIABLES[setting]
    table, _, key = dotted.rpartition(".")
    source = data.draw(st.sampled_from([own, prefect, "profile", ".env", "toml", "argument"]))
    environ = {"PREFECT_API_URL": URL} if setting != "URL" else {}
    arguments: dict[str, Any] = {}
    match source:
        case "profile":
            text = f"active = 'a'\n[profiles.a]\n{prefect} = {quote}{value}{quote}\n"
            installation.write("home/.prefect/profiles.toml", text)
        case ".env":
            installation.write("cwd/.env", f"{prefect}={quote}{value}{quote}")
        case "toml":
            installation.write("cwd/prefect.toml", f"[{table}]\n{key} = {quote}{value}{quote}\n")
        case "argument" if setting == "HEADERS":
            arguments = {"headers": {"X": secret}}
        case "argument" if setting in ARGUMENTS:
            arguments = {ARGUMENTS[setting]: value}
        case _:
            environ[own if source == "argument" else source] = value
    assert MARK not in installation.visible_text(environ=environ, **arguments).lower()


@given(data=st.data(), secret=secrets, auto=st.booleans())
def test_no_secret_of_prefect_1_is_shown(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, secret: str, auto: bool
) -> None:
    """No secret of any source, usable or not, is in the settings' text or in an error's."""
    installation = Installation(tmp_path_factory.mktemp("secrets"))
    path = data.draw(st.sampled_from(sorted(TEXTS_1)))
    value = data.draw(st.sampled_from(TEXTS_1[path])).format(secret)
    table, _, key = path.lower().rpartition("__")
    header = f"[{table}]\n" if table else ""
    environ: dict[str, str] = {}
    match data.draw(st.sampled_from(["environment", CONFIG, BACKEND, AUTH, "login"])):
        case "environment":
            environ = {f"PREFECT__{path}": value.replace("@/", "/")}
        case "login":
            netloc = f"u-{MARK}-h"
            installation.write(AUTH, f"[{netloc}]\napi_key = '{MARK}\n'\ntenant_id = '{MARK}'")
            environ = {"PREFECT__CLOUD__API": f"http://u:{MARK}@h"}
        case file:
            quote = data.draw(st.sampled_from(["'", '"', "'''", ""]))
            login = '["api.prefect.io"]\n' if file == AUTH else header
            installation.write(file, f"{login}{key} = {quote}{value}{quote}\n")
    arguments = {} if auto else {"backend": "prefect1"}
    assert MARK not in installation.visible_text(environ=environ, **arguments).lower()
