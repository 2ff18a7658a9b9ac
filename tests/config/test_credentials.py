"""Which credentials and custom headers are sent to which server."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest
from prefect_installation import URL, Installation

from rxflow._config.secrets import Secret


def revealed(headers: tuple[tuple[str, Secret], ...]) -> dict[str, str]:
    """Return the headers as a dict, with their values revealed."""
    return {name: value.reveal() for name, value in headers}


def basic(auth_string: str) -> str:
    """Return the value of a Basic Authorization header."""
    return "Basic " + base64.b64encode(auth_string.encode()).decode()


@pytest.mark.parametrize(
    ("environ", "arguments", "authorization"),
    [
        pytest.param({}, {}, basic("admin:s3cret"), id="the profile's"),
        pytest.param({"PREFECT_PROFILE": "cloud"}, {}, "Bearer pnu_1", id="another profile's"),
        pytest.param(
            {"PREFECT_API_URL": URL},
            {},
            basic("admin:s3cret"),
            id="the profile's to the server of PREFECT_API_URL",
        ),
        pytest.param({"PREFECT_API_KEY": "k"}, {}, basic("admin:s3cret"), id="auth over key"),
        pytest.param(
            {"PREFECT_CLIENT_CUSTOM_HEADERS": '{"authorization": "Token t"}'},
            {},
            "Token t",
            id="header over auth",
        ),
        pytest.param({}, {"api_url": URL}, None, id="not to an argument's server"),
        pytest.param({"RXFLOW_API_URL": URL}, {}, None, id="not to the server of RXFLOW_API_URL"),
        pytest.param(
            {"PREFECT_API_KEY": "k"},
            {"api_url": URL},
            "Bearer k",
            id="the environment's to an argument's server",
        ),
        pytest.param({}, {"api_key": "k"}, "Bearer k", id="an argument's replaces the profile's"),
        pytest.param({"RXFLOW_API_KEY": "k"}, {}, "Bearer k", id="RXFLOW's replaces the profile's"),
        pytest.param(
            {"RXFLOW_API_AUTH_STRING": "a:b"},
            {"api_key": "k"},
            "Bearer k",
            id="an argument's replaces RXFLOW's",
        ),
        pytest.param(
            {"PREFECT_CLIENT_CUSTOM_HEADERS": '{"Authorization": "Token t"}'},
            {"api_key": "k"},
            "Bearer k",
            id="a header is replaced too",
        ),
        pytest.param(
            {},
            {"headers": {"authorization": "Token t"}},
            "Token t",
            id="a header replaces the profile's",
        ),
        pytest.param({}, {"api_key": ""}, None, id="an empty key replaces the profile's"),
        pytest.param(
            {"PREFECT_API_KEY": "k"}, {"api_url": "http://u:p@h"}, basic("u:p"), id="user-info"
        ),
        pytest.param(
            {}, {"api_url": "http://u:p@h", "api_key": "k"}, basic("u:p"), id="user-info over key"
        ),
        pytest.param(
            {},
            {"api_url": "http://u:p@h", "auth_string": "a:b"},
            basic("a:b"),
            id="auth over user-info",
        ),
        pytest.param(
            {"PREFECT_API_URL": "http://u:p@h", "RXFLOW_API_KEY": "k"},
            {},
            "Bearer k",
            id="user-info is replaced too",
        ),
        pytest.param(
            {"PREFECT_API_URL": "http://u:p@h"},
            {"api_url": URL},
            None,
            id="user-info of another URL is not sent",
        ),
    ],
)
def test_each_credential_goes_only_to_its_server(
    profiled: Installation,
    environ: Mapping[str, str],
    arguments: Mapping[str, Any],
    authorization: str | None,
) -> None:
    """A credential goes only where its source allows it, and the strongest one is sent."""
    assert profiled.load(environ, **arguments).authorization() == authorization


def test_a_replaced_credential_is_not_validated(bare: Installation) -> None:
    """A key that another one replaces need not be usable."""
    assert bare.load({"PREFECT_API_KEY": "k\n"}, api_url=URL, api_key="k").api_key == Secret("k")


def test_the_tenant_can_be_set(bare: Installation) -> None:
    """The argument `tenant_id` wins over RXFLOW_TENANT_ID; both must be UUIDs."""
    one, two = (f"{digit * 8}-0000-4000-8000-000000000000" for digit in "1a")
    environ = {"RXFLOW_TENANT_ID": one}
    assert bare.load(environ, api_url=URL).tenant_id == Secret(one)
    assert bare.load(environ, api_url=URL, tenant_id=two.upper()).tenant_id == Secret(two)
    assert bare.load(environ, api_url=URL, tenant_id="").tenant_id is None
    rule = "must be the id of a tenant, which is a UUID."
    assert bare.error(api_url=URL, tenant_id="acme") == f"the argument tenant_id {rule}"
    message = bare.error({"RXFLOW_TENANT_ID": "acme"}, api_url=URL)
    assert message == f"RXFLOW_TENANT_ID in the environment {rule}"


def test_a_tenant_is_dropped_with_its_key(bare: Installation) -> None:
    """A key argument drops the tenant of RXFLOW_*; a tenant argument keeps the key."""
    tenant = "11111111-0000-4000-8000-000000000000"
    environ = {"RXFLOW_API_URL": URL, "RXFLOW_API_KEY": "k", "RXFLOW_TENANT_ID": tenant}
    assert bare.load(environ, api_key="mine").tenant_id is None
    other = bare.load({**environ, "RXFLOW_TENANT_ID": ""}, tenant_id=tenant)
    assert (other.api_key, other.tenant_id) == (Secret("k"), Secret(tenant))


def test_headers_of_all_sources_are_merged(profiled: Installation) -> None:
    """Headers of all sources are merged; of two with one name the higher source's is sent."""
    profiled.write("cwd/prefect.toml", '[client.custom_headers]\nX-Toml = "t"\nx-proxy = "2"\n')
    profiled.write("cwd/pyproject.toml", '[tool.prefect.client]\ncustom_headers = \'{"A": "p"}\'')
    settings = profiled.load({"RXFLOW_CUSTOM_HEADERS": '{"a": "1"}'}, headers={"B": "2"})
    assert revealed(settings.headers) == {"x-proxy": "2", "X-Toml": "t", "a": "1", "B": "2"}


def test_protected_headers(profiled: Installation) -> None:
    """Headers that the client sets are dropped from Prefect's settings, rejected elsewhere."""
    for name in ("User-Agent", "Prefect-Csrf-Token", "PREFECT-CSRF-CLIENT"):
        text = json.dumps({name: "x", "Ok": "y"})
        settings = profiled.load({"PREFECT_CLIENT_CUSTOM_HEADERS": text})
        assert revealed(settings.headers) == {"X-Proxy": "1", "Ok": "y"}
        assert "RXFLOW_CUSTOM_HEADERS" in profiled.error({"RXFLOW_CUSTOM_HEADERS": text})
        assert "argument headers" in profiled.error(headers={name: "x"})
