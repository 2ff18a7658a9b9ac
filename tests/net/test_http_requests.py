"""The requests of a transport: those of `httpx.Client`, with a server's headers and cookies."""

import httpx
import pytest
from http_calls import GET, POST, ConnectTo, reply_of
from hypothesis import given
from hypothesis import strategies as st
from wire_server import WireServer, http_response, respond

from rxflow._backends.backend import HttpCall
from rxflow._config.secrets import Secret
from rxflow._config.settings import Settings
from rxflow._models.entities import BackendName
from rxflow._net.http_requests import RequestBuilder

pytestmark = pytest.mark.timeout(60)

URL = "http://prefect.invalid:4200/api"
NAMES = st.sampled_from(["X-Team", "x-team", "Host", "accept", "Content-Type", "Cookie"])
PAIRS = st.lists(st.tuples(NAMES, st.text("ab1-", min_size=1, max_size=5)), max_size=3)


@given(
    path=st.sampled_from(["", "/logs/filter", "/a b/\N{SNOWMAN}?x=1", "/flow_runs/%2F"]),
    params=st.lists(st.tuples(st.text(max_size=3), st.text(max_size=3)), max_size=2),
    custom=PAIRS,
    added=PAIRS,
    body=st.none() | st.binary(min_size=1, max_size=9),
)
def test_a_request_is_that_of_an_httpx_client(
    path: str,
    params: list[tuple[str, str]],
    custom: list[tuple[str, str]],
    added: list[tuple[str, str]],
    body: bytes | None,
) -> None:
    """URL, headers, body and time-outs are those that a client of httpx sends."""
    method = "GET" if body is None else "POST"
    call = HttpCall(method=method, path=path, params=tuple(params), headers=tuple(added), body=body)
    own = {name.lower(): value for name, value in custom}
    settings = Settings(
        api_url=URL, headers=tuple((name, Secret(value)) for name, value in own.items())
    )
    builder = RequestBuilder(settings)
    fixed = own | {"user-agent": "rxflow", "accept-encoding": "gzip"}
    with httpx.Client(
        headers=fixed, timeout=httpx.Timeout(10.0, connect=5.0), trust_env=False
    ) as client:
        url = httpx.URL(URL + path)
        expected = client.build_request(
            method,
            url.copy_with(params=params) if params else url,
            content=body,
            headers={name.lower(): value for name, value in added},
            extensions={"mark": 1},
        )
    for _ in range(2):  # the second with what was kept of the first
        request = builder.build(call, {"mark": 1})
        assert request.url == expected.url
        assert request.headers == expected.headers
        assert (request.method, request.content) == (method, expected.content)
        assert request.extensions == expected.extensions


def test_a_cookie_is_sent_back(connect_to: ConnectTo) -> None:
    """Later requests have the cookies of earlier responses, redirects too, if the path fits."""
    scripts = respond(
        http_response(b"", "307 Temporary Redirect", location="/api/on", set_cookie="a=1; Path=/"),
        http_response(set_cookie="b=2; Path=/elsewhere"),
        http_response(),
    )
    with WireServer(scripts) as server, connect_to(server) as transport:
        reply_of(transport.send(GET))
        reply_of(transport.send(POST))
        assert [request.headers.get("cookie") for request in server.requests] == [
            None,
            "a=1",
            "a=1",
        ]


# -- the tenant of Prefect Cloud 1 ----------------------------------------------------------------

TENANT, OTHER_TENANT = (f"{digit * 8}-0000-4000-8000-000000000000" for digit in "ab")
KEY = Secret("key")
CLOUD_URL = "https://api.prefect.io"


@pytest.mark.parametrize(
    ("settings", "sent"),
    [
        pytest.param(
            Settings(api_url=CLOUD_URL, api_key=KEY, tenant_id=Secret(TENANT)), TENANT, id="key"
        ),
        pytest.param(Settings(api_url=CLOUD_URL, tenant_id=Secret(TENANT)), None, id="no key"),
        pytest.param(Settings(api_url=CLOUD_URL, api_key=KEY), None, id="no tenant"),
        pytest.param(
            Settings(
                api_url=CLOUD_URL,
                api_key=KEY,
                tenant_id=Secret(TENANT),
                backend=BackendName.PREFECT_3,
            ),
            None,
            id="not to Prefect 3",
        ),
        pytest.param(
            Settings(
                api_url=CLOUD_URL,
                api_key=KEY,
                tenant_id=Secret(TENANT),
                backend=BackendName.PREFECT_1,
            ),
            TENANT,
            id="to Prefect 1",
        ),
        pytest.param(
            Settings(
                api_url=CLOUD_URL,
                api_key=KEY,
                tenant_id=Secret(TENANT),
                headers=(("X-Prefect-Tenant-Id", Secret(OTHER_TENANT)),),
            ),
            OTHER_TENANT,
            id="a custom header",
        ),
    ],
)
def test_the_tenant_is_sent_only_with_a_key(settings: Settings, sent: str | None) -> None:
    """The tenant's header accompanies a key, which is sent as Bearer, or is not sent at all."""
    headers = RequestBuilder(settings).build(GET, {}).headers
    assert headers.get("X-PREFECT-TENANT-ID") == sent
    assert headers.get("Authorization") == ("Bearer key" if settings.api_key else None)
