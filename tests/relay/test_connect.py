"""Opening a broker: what is refused before anything is connected to."""

import asyncio

import pytest

from rxflow.errors import ConfigurationError
from rxflow.relay import _connect


def test_a_client_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error of a missing client names the extra."""

    def find(name: str) -> object:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(_connect, "import_module", find)
    for url, extra in (("nats://b", "nats"), ("tls://b", "nats"), ("rediss://b", "redis")):
        with pytest.raises(ConfigurationError, match=rf"rxflow-prefect\[{extra}\].*pip install"):
            asyncio.run(_connect.open_broker(url))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"url": "kafka://b"}, "begins with kafka://; pass one such as nats://"),
        ({"url": "nats://b", "workspace": "a.b"}, "name of a workspace"),
        ({"url": "nats://b", "timeout": 0}, "timeout"),
    ],
    ids=str,
)
def test_arguments_are_checked_first(arguments: dict[str, object], reason: str) -> None:
    """A malformed argument is an error before a client is imported."""
    with pytest.raises(ValueError, match=reason):
        asyncio.run(_connect.open_broker(**arguments))  # type: ignore[arg-type]
