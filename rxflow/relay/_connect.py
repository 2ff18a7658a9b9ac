"""Open a broker: which module a URL's scheme means, and the extra that it needs."""

import ssl
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import Final

from rxflow._config.secrets import Secret
from rxflow._forks import no_fork
from rxflow._models.arguments import positive_number
from rxflow.errors import ConfigurationError
from rxflow.relay._address import Address, Credentials, parse_address
from rxflow.relay._broker import Broker
from rxflow.relay._names import workspace_name

_MEMORY: Final = "memory://"


async def open_broker(
    url: str,
    workspace: str = "default",
    *,
    timeout: float = 10.0,  # noqa: ASYNC109 - its end is an error that says why
    user: str | None = None,
    password: str | None = None,
    token: str | None = None,
    creds: str | PathLike[str] | None = None,
    tls: ssl.SSLContext | None = None,
) -> Broker:
    """Connect to a broker, on the event loop that is running.

    Args:
        url: ``nats://`` or ``redis://``, or with TLS ``tls://`` or ``rediss://``, each with
            ``user:password@host:port``; those of a NATS cluster are joined by commas. ``memory://``
            and a name is a broker in this process.
        workspace: Which logs: those of one Prefect server. Workspaces on a broker are
            independent of each other. 1 to 64 letters, digits, ``-`` or ``_``.
        timeout: For how long to try, in seconds.
        user: A user, if it is not in the URL.
        password: Its password.
        token: A token of NATS.
        creds: The path of a file with NATS credentials.
        tls: How certificates are verified, and which one the broker is shown.

    Returns:
        The connection. It connects again for ever after an outage.

    Raises:
        ConfigurationError: An argument is malformed, or an extra is missing.
        BrokerFailed: The broker cannot be reached, refuses the credentials, or is too old.
    """
    workspace = workspace_name(workspace)
    if str(url).startswith(_MEMORY):
        from rxflow.relay._memory import MemoryStore  # noqa: PLC0415 - for tests

        return MemoryStore.named(url.removeprefix(_MEMORY)).connect(workspace)
    seconds = positive_number("timeout", timeout)
    credentials = Credentials(
        user=user,
        password=None if password is None else Secret(password),
        token=None if token is None else Secret(token),
        creds=None if creds is None else Path(creds),
        tls=tls,
    )
    address = parse_address(url, credentials)
    with no_fork:
        _require_client(address)
    if address.scheme in {"redis", "rediss"}:
        from rxflow.relay._redis import open_redis_broker  # noqa: PLC0415 - needs an extra

        return await open_redis_broker(address, workspace, seconds)
    from rxflow.relay._nats import open_nats_broker  # noqa: PLC0415 - needs an extra

    return await open_nats_broker(address, workspace, seconds)


def _require_client(address: Address) -> None:
    """Import the client, or raise an error that names the extra."""
    extra = "redis" if address.scheme in {"redis", "rediss"} else "nats"
    modules = [extra] if address.credentials.creds is None else [extra, "nkeys"]
    try:
        for module in modules:
            import_module(module)
    except ImportError as error:
        package = ", and for creds= the package nkeys" if "nkeys" in modules else ""
        raise ConfigurationError(
            f"A broker at {address.scheme}:// needs the extra rxflow-prefect[{extra}] (from a "
            f"checkout: pip install '.[{extra}]'){package}: {error}"
        ) from error
