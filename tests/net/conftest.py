"""Both transports, a certificate authority, and an environment without proxies."""

import pytest
from certificates import Authority
from http_calls import ConnectTo, OpenTransport, open_blocking, open_on_loop, settings_for
from virtual_world import HOUR


@pytest.fixture(scope="module", params=[open_blocking, open_on_loop], ids=["threads", "loop"])
def open_transport(request: pytest.FixtureRequest) -> OpenTransport:
    """Open one of the two transports."""
    chosen: OpenTransport = request.param
    return chosen


@pytest.fixture(scope="module")
def connect_to(open_transport: OpenTransport) -> ConnectTo:
    """Open one of the two transports to a server."""
    return lambda server, deadline=HOUR: open_transport(
        settings_for(server.url, deadline=deadline), None
    )


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Share an authority between all tests, since making keys takes time."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove all proxies from the environment."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
