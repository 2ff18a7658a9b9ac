"""Proxies of the environment: the rules of `httpx.Client`, which are the oracle."""

import httpx
import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as limits
from hypothesis import strategies as st

from rxflow._config.secrets import Secret
from rxflow._net.proxies import Proxy, proxy_of

HOSTS = [
    "example.com",
    "api.example.com",
    "notexample.com",
    "com",
    "10.1.2.3",
    "10.1.0.0",
    "[2001:db8::1]",
    "b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example",
]
ENTRIES = st.sampled_from([
    *HOSTS[:-2],
    "*",
    ".example.com",
    "*.example.com",
    "*example.com",
    "EXAMPLE.com",
    "example.com:4200",
    "example.com:80",
    "all://example.com",
    "https://api.example.com",
    "https://",
    "http://:4200",
    "localhost",
    "LocalHost",
    "10.1.0.0/16",
    "10.1.2.3:4200",
    "10.0.0.0/8",
    "2001:db8::1",
    "xn--bcher-kva.example",
    " example.com ",
    "",
])  # fmt: skip
UNUSABLE = [*HOSTS[-2:], "fd00::/8", "a b:c", "example.com:x", "xn--a.example"]
URLS = st.builds(
    httpx.URL,
    st.builds(
        "{}://{}{}/api".format,
        st.sampled_from(["http", "https"]),
        st.sampled_from(HOSTS),
        st.sampled_from(["", ":80", ":443", ":4200"]),
    ),
)
PROXIES = st.fixed_dictionaries(
    {},
    optional={
        name: st.sampled_from([f"http://{name}.invalid:3128", f"{name}.invalid:1", ""])
        for name in ("http_proxy", "https_proxy", "all_proxy", "ftp_proxy")
    },
)


def httpx_choice(url: httpx.URL) -> httpx.URL | None:
    """Return the URL of the proxy that a client of httpx sends a request through."""
    with httpx.Client(verify=False) as client:  # noqa: S501 - it reads no certificates then
        pool = getattr(client._transport_for_url(url), "_pool")  # noqa: B009 - it is private
        proxy = getattr(pool, "_proxy_url", None)
    if proxy is None:
        return None
    return httpx.URL(
        scheme=proxy.scheme.decode(), host=proxy.host.decode(), port=proxy.port, path="/"
    )


@pytest.mark.usefixtures("_no_proxies")
@limits(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(url=URLS, proxies=PROXIES, entries=st.lists(ENTRIES, max_size=4))
@example(httpx.URL("https://api.example.com"), {"all_proxy": "a:1"}, [".example.com"])
@example(httpx.URL("https://example.com"), {"https_proxy": "a:1"}, ["https://"])
def test_the_proxy_is_the_one_that_httpx_chooses(
    url: httpx.URL, proxies: dict[str, str], entries: list[str]
) -> None:
    """Whatever the variables and the URL, a request goes the way that it goes with httpx.Client."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in proxies.items():
            patch.setenv(name, value)
        patch.setenv("no_proxy", ",".join(entries))
        chosen, expected = proxy_of(url), httpx_choice(url)
    assert (chosen is None) == (expected is None)
    if chosen is not None:
        assert httpx.URL(chosen.url.reveal()).copy_with(path="/") == expected


@pytest.mark.usefixtures("_no_proxies")
@pytest.mark.parametrize("entry", UNUSABLE)
def test_an_entry_that_is_no_host_exempts_no_host(
    entry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such an entry of NO_PROXY, with which a client of httpx fails, leaves the others in force."""
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:3128")
    monkeypatch.setenv("no_proxy", f"{entry},10.1.2.3")
    proxy = Proxy(Secret("http://proxy.invalid:3128"))
    assert proxy_of(httpx.URL("http://example.com")) == proxy
    assert proxy_of(httpx.URL("http://10.1.2.3")) is None


@pytest.mark.usefixtures("_no_proxies")
@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "[::1]", "localhost", "a.localhost"])
def test_a_host_on_this_machine_has_no_proxy(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy could not reach it."""
    monkeypatch.setenv("ALL_PROXY", "http://proxy.invalid:3128")
    assert proxy_of(httpx.URL(f"http://{host}:4200/api")) is None


def test_a_proxy_is_named_without_its_login() -> None:
    """The name of a proxy is its host and port; its login is decoded, since it is sent decoded."""
    proxy = Proxy(Secret("http://user:p%40ss@proxy.invalid:3128"))
    assert (proxy.name, proxy.user_info) == ("proxy.invalid:3128", "user:p@ss")
    assert "p%40ss" not in repr(proxy)
    assert Proxy(Secret("http://proxy.invalid:3128")).user_info == ""
