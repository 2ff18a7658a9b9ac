"""What `load_settings` reads for each field of `Settings`, and what its errors hold."""

import traceback
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prefect_installation import MARK, URL, Installation

from rxflow._config.secrets import Secret
from rxflow._config.settings import Settings, load_settings
from rxflow.errors import ConfigurationError


def test_each_value_has_an_argument_and_variables(profiled: Installation) -> None:
    """Keys, TLS and timeouts have an argument and an RXFLOW_* variable, some also PREFECT_*."""
    profiled.write("ca.pem", "")
    pem = str(profiled.root / "ca.pem")
    by_argument = profiled.load(
        api_url=URL,
        api_key="k",
        auth_string="u:p",
        headers={"X-A": "1"},
        ssl_cert_file=pem,
        connect_timeout=1,
        read_timeout=2.5,
        deadline=3,
    )
    by_own = profiled.load(
        {
            "RXFLOW_API_URL": URL,
            "RXFLOW_API_KEY": "k",
            "RXFLOW_API_AUTH_STRING": "u:p",
            "RXFLOW_CUSTOM_HEADERS": '{"X-A": "1"}',
            "RXFLOW_SSL_CERT_FILE": pem,
            "RXFLOW_CONNECT_TIMEOUT": "1",
            "RXFLOW_READ_TIMEOUT": "2.5",
            "RXFLOW_DEADLINE": "3.0",
        }
    )
    by_prefect = profiled.load(
        {
            "PREFECT_API_URL": URL,
            "PREFECT_API_KEY": "k",
            "PREFECT_API_AUTH_STRING": "u:p",
            "PREFECT_CLIENT_CUSTOM_HEADERS": '{"X-A": "1", "X-Proxy": "2"}',
            "PREFECT_API_SSL_CERT_FILE": pem,
        }
    )
    origins = {
        "origin": "RXFLOW_API_URL in the environment",
        "certificates_origin": "RXFLOW_SSL_CERT_FILE in the environment",
        "credentials_origin": "the auth string from RXFLOW_API_AUTH_STRING in the environment",
    }
    assert by_own == msgspec.structs.replace(by_argument, **origins)
    assert (by_own.connect_timeout, by_own.read_timeout, by_own.deadline) == (1.0, 2.5, 3.0)
    assert (by_prefect.api_key, by_prefect.auth_string) == (Secret("k"), Secret("u:p"))
    assert by_prefect.ssl_cert_file == pem
    assert {name: value.reveal() for name, value in by_prefect.headers} == {
        "X-A": "1",
        "X-Proxy": "2",
    }


def test_defaults(bare: Installation) -> None:
    """The defaults are no credential, verified TLS, and timeouts of 5, 10 and 30 seconds."""
    assert bare.load(api_url=URL) == Settings(api_url=URL)
    settings = Settings(api_url=URL)
    assert (settings.connect_timeout, settings.read_timeout, settings.deadline) == (5.0, 10.0, 30.0)
    assert settings.verify
    assert settings.authorization() is None


def test_system_certificates(bare: Installation) -> None:
    """SSL_CERT_FILE is the last source of certificates; no file is needed without verification."""
    bare.write("cwd/system.pem", "")
    environ = {"PREFECT_API_URL": URL, "SSL_CERT_FILE": "system.pem"}
    assert bare.load(environ).ssl_cert_file == "system.pem"
    assert bare.load({**environ, "PREFECT_API_SSL_CERT_FILE": ""}).ssl_cert_file is None
    assert bare.load({**environ, "SSL_CERT_FILE": "gone.pem"}, verify=False).ssl_cert_file is None
    assert bare.error({**environ, "SSL_CERT_FILE": "gone.pem"}) == (
        "SSL_CERT_FILE in the environment must be the path of an existing file."
    )


def test_the_origin_of_the_certificates(bare: Installation) -> None:
    """The settings know where the path of the certificates was found, for a later message."""
    bare.write("cwd/a.pem", "")
    settings = bare.load({"PREFECT_API_URL": URL, "SSL_CERT_FILE": "a.pem"})
    assert settings.certificates_origin == "SSL_CERT_FILE in the environment"
    settings = bare.load({"PREFECT_API_URL": URL, "PREFECT_API_SSL_CERT_FILE": "a.pem"})
    assert settings.certificates_origin == "PREFECT_API_SSL_CERT_FILE in the environment"


@pytest.mark.parametrize(
    "arguments", [{"profile": "nosuch"}, {"deadline": -1}, {"ssl_cert_file": "nosuch"}]
)
def test_errors_keep_no_frame_with_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: Mapping[str, Any]
) -> None:
    """An error has one frame of the library, which holds neither environment nor profiles."""
    profiles = (
        'active = "a"\n[profiles.a]\nPREFECT_API_URL = "http://h"\nPREFECT_API_KEY = "s3cr3t"'
    )
    installation = Installation(tmp_path, {"home/.prefect/profiles.toml": profiles})
    monkeypatch.setenv("RXFLOW_API_AUTH_STRING", "u:s3cr3t")
    for name in ("RXFLOW_API_URL", "PREFECT_API_URL", "PREFECT_PROFILES_PATH", "PREFECT_HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigurationError) as caught:
        load_settings(cwd=installation.cwd, home=installation.home, **arguments)
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)][1:]
    assert len(frames) == 1
    assert MARK not in repr(frames[0].f_locals)
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


class HiddenText:
    """A secret as pydantic's, whose `str` is not the secret."""

    def __str__(self) -> str:
        """Return asterisks."""
        return "**********"

    def get_secret_value(self) -> str:
        """Return the secret."""
        return MARK


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"api_key": HiddenText()}, "api_key is of the class HiddenText; pass its text such as by"),
        ({"auth_string": ("user", MARK)}, "auth_string is of the class tuple; pass its text"),
        ({"profile": 3}, "profile is of the class int; pass its text"),
        ({"backend": 3}, "backend is of the class int; pass its text"),
        ({"tenant_id": 3}, "tenant_id is of the class int; pass its text"),
        ({"headers": 3}, "headers must map names of headers to values, both text, such as"),
        ({"headers": {"X-A": MARK.encode()}}, "headers must map names of headers to values"),
    ],
)
def test_an_argument_of_another_class_is_rejected(
    profiled: Installation, arguments: Mapping[str, Any], text: str
) -> None:
    """What `str` makes of it would be sent; the error names the argument and not the value."""
    with pytest.raises(ConfigurationError, match=f"^the argument {text}") as raised:
        profiled.load(api_url=URL, **arguments)
    assert MARK not in str(raised.value)
    assert raised.value.__context__ is None


def test_a_tenant_may_be_named_by_a_uuid(profiled: Installation) -> None:
    """It is the same tenant as by the text of the UUID."""
    tenant = uuid.UUID("9e6caafc-4ea1-4493-b0a9-122efba9eaaa")
    settings = profiled.load(api_url=URL, api_key="k", backend="prefect1", tenant_id=tenant)
    assert settings.tenant_id == Secret(str(tenant))
