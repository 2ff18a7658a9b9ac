"""How the text of a setting is parsed, and which texts are rejected."""

import pytest
from prefect_installation import URL, Installation

from rxflow._config.secrets import Secret


@pytest.mark.parametrize(
    ("given_url", "api_url", "auth_string"),
    [
        ("http://h:4200/api/", "http://h:4200/api", None),
        ("HTTPS://[::1]:4200//", "https://[::1]:4200", None),
        ("http://u:p@h/api", "http://h/api", "u:p"),
        ("http://us%40er:p%2Fw%3A@h:1/api", "http://h:1/api", "us@er:p/w:"),
        ("http://u:p@w@h/api", "http://h/api", "u:p@w"),
        ("http://u@h/api", "http://h/api", "u:"),
        ("http://:p@h/api", "http://h/api", ":p"),
        ("http://@h/api", "http://h/api", None),
    ],
)
def test_a_url_loses_its_user_info(
    bare: Installation, given_url: str, api_url: str, auth_string: str | None
) -> None:
    """The URL loses its trailing slash and its user-info, which becomes the auth string."""
    settings = bare.load(api_url=given_url)
    assert settings.api_url == api_url
    assert settings.auth_string == (None if auth_string is None else Secret(auth_string))


@pytest.mark.parametrize(
    ("word", "verify"),
    [(word, False) for word in ("1", "true", "True", "yes", "ON", "t", "y")]
    + [(word, True) for word in ("0", "false", "no", "Off", "f", "N", "")],
)
def test_booleans_are_parsed_as_by_pydantic(bare: Installation, word: str, verify: bool) -> None:
    """TLS verification is off for each word that Prefect parses as true, and only for those."""
    environ = {"PREFECT_API_URL": URL, "PREFECT_API_TLS_INSECURE_SKIP_VERIFY": word}
    assert bare.load(environ).verify is verify
    assert bare.load(environ, verify=not verify).verify is not verify


@pytest.mark.parametrize(
    "url",
    [
        "localhost:4200/api",
        "ftp://h/api",
        "http:///api",
        "http://h:99999/api",
        "http://h:port/api",
        "http://h:0/api",
        "http://[::1/api",
        "http://h/api?key=x",
        "http://h/api#x",
        "http://h /api",
        "http://h/api\n",
        "http://u:p/w@h/api",
        "http://u:12/w@h/api",
        "http://h\\x@i/api",
        "http://u\ud800:p@h/api",
        "h",
    ],
)
def test_an_unusable_url_is_rejected(bare: Installation, url: str) -> None:
    """A URL is rejected if no request can be sent to it, or only to another host than meant."""
    message = bare.error({"PREFECT_API_URL": url})
    assert message.startswith("PREFECT_API_URL in the environment must be an http:// or https://")


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        *[
            (f"RXFLOW_{name}", value, "must be a number of seconds above 0")
            for name in ("CONNECT_TIMEOUT", "READ_TIMEOUT", "DEADLINE")
            for value in ("ten", "0", "-1", "nan", "inf", "1e999")
        ],
        *[
            ("PREFECT_CLIENT_CUSTOM_HEADERS", value, "must be a JSON object of header names")
            for value in (
                "{",
                "[]",
                "null",
                '{"A": 1}',
                '{"A": "b\\nc"}',
                '{"A": " b"}',
                '{"A": "\u00e9"}',
                '{"A: b": "c"}',
                '{"": "c"}',
                "[" * 100_000,
            )
        ],
        ("PREFECT_API_TLS_INSECURE_SKIP_VERIFY", "maybe", "must be true or false"),
        ("PREFECT_API_SSL_CERT_FILE", "gone.pem", "must be the path of an existing file"),
        ("PREFECT_API_SSL_CERT_FILE", "a" * 5000, "must be the path of an existing file"),
        ("PREFECT_API_KEY", "k\n", "must be one line of ASCII"),
        ("RXFLOW_API_AUTH_STRING", "a:b\n", "must be user:password, in one line"),
        ("RXFLOW_API_AUTH_STRING", "a:\udcff", "must be user:password, in one line"),
    ],
)
def test_an_unusable_value_is_rejected(
    bare: Installation, name: str, value: str, rule: str
) -> None:
    """The error names the variable and the rule that its value breaks."""
    message = bare.error({"PREFECT_API_URL": URL, name: value})
    assert message.startswith(f"{name} in the environment {rule}")


def test_arguments_obey_the_same_rules(bare: Installation) -> None:
    """An argument that cannot be used is rejected like a variable."""
    assert bare.error(api_url=URL, deadline=float("nan")).startswith("the argument deadline must")
    assert bare.error(api_url=URL, headers={"A": "\ud800"}).startswith("the argument headers must")
    message = bare.error(api_url=URL, ssl_cert_file="a\0b")
    assert message == "the argument ssl_cert_file must be the path of an existing file."
