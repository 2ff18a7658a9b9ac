"""A broker's URL and credentials: how they are read, and that no error shows a secret."""

import ssl
import traceback
from pathlib import Path

import pytest

from rxflow._config.secrets import Secret
from rxflow.errors import ConfigurationError
from rxflow.relay import stream
from rxflow.relay._address import Address, Credentials, parse_address

SECRET = "t0p-s3cret"


def parsed(url: str, **credentials: object) -> Address:
    """Read a URL with some credentials."""
    return parse_address(url, Credentials(**credentials))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "name", "servers"),
    [
        ("nats://b", "nats://b:4222", (("b", 4222),)),
        ("tls://b.example:1/", "tls://b.example:1", (("b.example", 1),)),
        ("nats://a, nats://b:5", "nats://a:4222,nats://b:5", (("a", 4222), ("b", 5))),
        (
            "tls://u:p@a:1,b:2, c",
            "tls://a:1,tls://b:2,tls://c:4222",
            (("a", 1), ("b", 2), ("c", 4222)),
        ),
        ("nats://[::1]:9", "nats://[::1]:9", (("::1", 9),)),
        ("redis://b", "redis://b:6379", (("b", 6379),)),
        ("rediss://u:p@b:7/3", "rediss://b:7", (("b", 7),)),
    ],
)
def test_where_a_broker_is(url: str, name: str, servers: tuple[tuple[str, int], ...]) -> None:
    """A URL has a host and a port, or that of its kind; its name has no secrets."""
    address = parsed(url)
    assert (address.name, address.servers) == (name, servers)


@pytest.mark.parametrize(
    ("url", "user", "password", "token"),
    [
        ("nats://u:p%40%2F%3a%25@b", "u", "p@/:%", None),
        ("nats://a,nats://u:p@b", "u", "p", None),
        ("nats://t%2F1@b", None, None, "t/1"),
        ("redis://:p@b", None, "p", None),
        ("redis://u:p@b", "u", "p", None),
        ("nats://b", None, None, None),
    ],
)
def test_credentials_in_a_url(
    url: str, user: str | None, password: str | None, token: str | None
) -> None:
    """A user and a password are percent-decoded; a user alone is a token of NATS."""
    found = parsed(url).credentials
    assert found.user == user
    assert found.password == (None if password is None else Secret(password))
    assert found.token == (None if token is None else Secret(token))


def test_credentials_beside_a_url_come_first(tmp_path: Path) -> None:
    """What is given by arguments replaces all that is in the URL."""
    given = parsed("nats://u:p@b", user="x", password=Secret("y")).credentials
    assert (given.user, given.password) == ("x", Secret("y"))
    creds = tmp_path / "user.creds"
    creds.write_text("-----BEGIN NATS USER JWT-----\n-----BEGIN USER NKEY SEED-----\n")
    assert parsed("nats://u:p@b", creds=creds).credentials == Credentials(creds=creds)


@pytest.mark.parametrize("scheme", ["nats", "redis"])
def test_a_password_beside_a_user_in_a_url(scheme: str) -> None:
    """It is the password of that user, whatever the URL has in its place."""
    for url in (f"{scheme}://u@b", f"{scheme}://u:p@b"):
        given = parsed(url, password=Secret("y")).credentials
        assert given == Credentials(user="u", password=Secret("y"))
    assert parsed("redis://b", password=Secret("y")).credentials.user is None


def test_the_database_of_redis() -> None:
    """The path of a Redis URL is the number of a database."""
    assert [parsed(f"redis://b{path}").database for path in ("", "/", "/0", "/12")] == [0, 0, 0, 12]
    with pytest.raises(ConfigurationError, match="number of a database"):
        parsed("redis://b/name")


@pytest.mark.parametrize(
    "url",
    [
        f"nats://u:{SECRET}/x@b",
        f"nats://u:{SECRET}#x@b",
        f"nats://u:{SECRET},x@b",
        f"nats://u:x,{SECRET}@b",
        f"nats://u:1,{SECRET}@b",
        f"nats://a,:{SECRET}",
        f"nats://u:x?{SECRET}@b",
        f"nats://u:{SECRET}@b:port",
        f"nats://u:{SECRET}@b:99999",
        f"nats://u:{SECRET}@b:0",
        f"nats://u:{SECRET}@",
        f"nats://u:{SECRET}@b/path",
        f"nats://u:{SECRET}@[b",
        f"redis://u:{SECRET}@b?ssl_cert_reqs=none",
        f"http://u:{SECRET}@b",
        f"u:{SECRET}@b:4222",
        f"nats://u:{SECRET}@a,tls://b",
        f"redis://u:{SECRET}@a,redis://b",
        "",
        "   ",
        "b:4222",
    ],
)
def test_a_malformed_url_is_refused_without_being_shown(url: str) -> None:
    """The error has an example, and neither its text nor its causes have a part of the URL."""
    with pytest.raises(ConfigurationError) as caught:
        parsed(url)
    shown = "".join(traceback.format_exception_only(caught.value)) + repr(caught.value.__cause__)
    assert SECRET not in shown
    assert "nats" in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("url", "credentials", "reason"),
    [
        ("redis://b", {"token": Secret(SECRET)}, "are of NATS"),
        ("redis://b", {"creds": Path("x")}, "are of NATS"),
        ("nats://b", {"user": "u"}, "Pass both user= and password="),
        ("nats://b", {"password": Secret(SECRET)}, "Pass both user= and password="),
        ("nats://b", {"creds": Path("absent.creds")}, "creds='absent.creds' is not a file"),
        ("nats://b", {"creds": Path(__file__).with_name("test_names.py")}, "no line with 'BEGIN"),
        ("nats://b", {"creds": Path("x"), "user": "u"}, "either user= and password= or creds="),
        ("nats://b", {"token": Secret(SECRET), "creds": Path("x")}, "either token= or creds="),
    ],
    ids=str,
)
def test_credentials_of_another_kind(url: str, credentials: dict[str, object], reason: str) -> None:
    """Credentials that such a broker does not take, or half of them, are refused."""
    with pytest.raises(ConfigurationError, match=reason) as caught:
        parsed(url, **credentials)
    assert SECRET not in str(caught.value)


def test_tls_for_a_connection_that_is_not_encrypted() -> None:
    """It would have no effect on Redis, and is refused; of NATS the server says whether it is."""
    with pytest.raises(ConfigurationError, match="begin the URL with rediss://"):
        parsed("redis://b", tls=ssl.create_default_context())
    for url in ("rediss://b", "nats://b"):
        assert parsed(url, tls=ssl.create_default_context()).credentials.tls is not None


def test_an_address_does_not_show_its_password() -> None:
    """Its representation is without secrets."""
    address = parsed(f"nats://u:{SECRET}@b")
    assert SECRET not in repr(address) + address.name


def test_what_a_stream_holds_does_not_show_its_password() -> None:
    """A report of an error that has the values of variables does not show it either."""
    reading = stream(f"nats://relay:{SECRET}@localhost", "*", password=SECRET)
    assert SECRET not in repr([reading, *vars(reading).values()])


def test_a_url_is_text() -> None:
    """Another type is a TypeError that does not show the object."""
    with pytest.raises(TypeError, match="the URL of a broker"):
        parsed(None)  # type: ignore[arg-type]
