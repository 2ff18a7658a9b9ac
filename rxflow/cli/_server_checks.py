"""Checks of how a server is found, reached and read from, for `rxflow doctor`.

Each check sends what a watch would send, once and without retries, and says what was found and what
to do about it. Belongs here: what is checked, in which order, and its words. Does not belong here:
websockets (`_push_checks`), and how findings are written.
"""

import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from rxflow import BackendName, Client, ConfigurationError, __version__
from rxflow._config.settings import Settings, find_url_sources, load_settings
from rxflow._models.durations import short_duration
from rxflow._models.entities import Server
from rxflow._models.times import Now
from rxflow._protocol.failures import Failure, FailureKind, Reply
from rxflow._protocol.pages import Page
from rxflow._protocol.queries import PAGE_LIMIT, Query, RunFilter, RunsQuery, ServerQuery
from rxflow._runtime.clocks import real_now
from rxflow.cli._exit_status import ExitStatus
from rxflow.cli._findings import Finding, Grade
from rxflow.cli._option_names import as_options
from rxflow.cli._push_checks import check_push

if TYPE_CHECKING:
    from rxflow._net.channel import Channel

__all__ = ["check_server"]

_ADVICE = {
    FailureKind.REFUSED: "start the server, a local one with `prefect server start`, or correct "
    "the URL",
    FailureKind.NETWORK: "check the host and the port of the URL, and whether a VPN or a proxy "
    "(HTTPS_PROXY, NO_PROXY) is needed",
    FailureKind.CERTIFICATE: "set PREFECT_API_SSL_CERT_FILE to a file with the certificates of "
    "your authority",
    FailureKind.WRONG_SCHEME: "correct the URL: http:// or https://",
    FailureKind.AUTH: "set PREFECT_API_KEY for Prefect Cloud, or PREFECT_API_AUTH_STRING for a "
    "self-hosted server; and look whether the URL is that of your workspace",
    FailureKind.NOT_AN_API: "set PREFECT_API_URL to the URL of the API; that of a self-hosted "
    "server ends in /api",
    FailureKind.BUSY: "look at the log of the server, and of what is in front of it",
    FailureKind.SERVER: "look at the log of the server, and of what is in front of it",
    FailureKind.RATE_LIMITED: "wait a minute; while it watches, rxflow obeys the limit",
}
_OTHER_ADVICE = "look whether something else than a Prefect server replies at this URL"

_NO_RUN = "00000000-0000-4000-8000-000000000000"
_NEWEST_RUN = RunsQuery(where=RunFilter(), newest_first=True, limit=1)
_MANY_ROWS = 100_000
# A server states its time to the second, and uvicorn, which serves Prefect 3, once in a second.
_STAMP_AGE = timedelta(seconds=2)


class _Exchange(NamedTuple):
    """A query, and the reply to it."""

    reply: Reply
    sent: Now
    received: Now


def check_server(
    api_url: str | None, profile: str | None, backend: str | None
) -> Iterator[Finding]:
    """Check the server that some options mean, and yield what is found, one by one.

    After a problem nothing more is checked.

    Args:
        api_url: The value of ``--api-url``.
        profile: The value of ``--profile``.
        backend: The value of ``--backend``.
    """
    yield _program()
    try:
        settings = load_settings(api_url=api_url, profile=profile, backend=backend)
        client = Client(settings=settings)
        sources = find_url_sources(api_url=api_url, profile=profile, backend=backend)
    except ConfigurationError as error:
        yield Finding("settings", Grade.BAD, as_options(str(error)), status=ExitStatus.USAGE)
        return
    yield _settings(settings)
    yield _profile(settings, [source for source in sources if "profile" in source.origin])
    channel = client.open_channel()
    try:
        for finding in _check_api(client, channel, settings):
            yield finding
            if finding.grade is Grade.BAD:
                break
    finally:
        channel.close()


# -- this machine ---------------------------------------------------------------------------------


def _program() -> Finding:
    extras = [_installed(name) for name in ("websockets", "rich", "jinja2")]
    python = ".".join(map(str, sys.version_info[:3]))
    return Finding(
        "program", Grade.GOOD, f"rxflow {__version__}, Python {python}, {', '.join(extras)}"
    )


def _installed(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return f"no {name}"


def _settings(settings: Settings) -> Finding:
    text = f"{settings.api_url}, from {as_options(settings.origin)}"
    if settings.api_url.startswith("https:") and not settings.verify:
        advice = "unset PREFECT_API_TLS_INSECURE_SKIP_VERIFY"
        return Finding("settings", Grade.NOTE, f"{text}; its certificate is not verified", advice)
    return Finding("settings", Grade.GOOD, text)


def _profile(settings: Settings, sources: list[tuple[str, str]]) -> Finding:
    """Say of the active profile, the last source, whether its URL counts."""
    if not sources:
        text = f"none is read, since the URL is from {as_options(settings.origin)}"
        return Finding("profile", Grade.GOOD, text)
    origin, missing = sources[-1]
    where = origin.removeprefix("PREFECT_API_URL in ")
    if origin == settings.origin:
        return Finding("profile", Grade.GOOD, f"the URL is that of {where}")
    if missing:
        return Finding("profile", Grade.GOOD, f"{where}: {missing}")
    text = f"the URL of {where} is hidden by {as_options(settings.origin)}"
    return Finding("profile", Grade.NOTE, text, "unset that one if the profile is to count")


# -- the API --------------------------------------------------------------------------------------


def _check_api(client: Client, channel: "Channel", settings: Settings) -> Iterator[Finding]:
    reply = channel.send(ServerQuery())
    if isinstance(reply, Failure):
        yield _failed(reply)
        return
    server: Server = reply.rows[0]
    runs = _exchange(channel, _NEWEST_RUN)
    if isinstance(runs.reply, Failure):
        yield _failed(runs.reply)
        return
    took = timedelta(seconds=runs.received.mono - runs.sent.mono)
    yield Finding("reachable", Grade.GOOD, f"the API replies after {short_duration(took)}")
    yield _version(server)
    yield _credentials(settings, server.backend)
    yield _clock(runs.reply.server_time, runs)
    rows, finding = _page_limit(channel, server)
    yield finding
    yield from check_push(client, channel, server, rows)


def _exchange(channel: "Channel", query: Query) -> _Exchange:
    sent = real_now()
    reply = channel.send(query)
    return _Exchange(reply, sent, real_now())


def _failed(failure: Failure) -> Finding:
    advice = _ADVICE.get(failure.kind, _OTHER_ADVICE)
    text = as_options(failure.text)
    if failure.kind is FailureKind.AUTH:
        return Finding("auth", Grade.BAD, text, advice, ExitStatus.AUTH_REFUSED)
    return Finding("reachable", Grade.BAD, text, advice, ExitStatus.UNREACHABLE)


def _version(server: Server) -> Finding:
    if server.backend is BackendName.PREFECT_1:
        return Finding("version", Grade.GOOD, "Prefect 1, whose API does not say its version")
    if server.version is None:
        text = "Prefect 3, as far as its replies show: it does not say its version"
        return Finding("version", Grade.NOTE, text, "let requests to /api/admin/version through")
    if server.version.startswith("2."):
        text = f"Prefect {server.version}, which is not supported"
        return Finding(
            "version",
            Grade.BAD,
            text,
            "use a server of Prefect 3, or Prefect 1",
            ExitStatus.UNREACHABLE,
        )
    return Finding("version", Grade.GOOD, f"Prefect {server.version}")


def _credentials(settings: Settings, backend: BackendName) -> Finding:
    """Say whether the API accepts the credentials, by a request without them."""
    origin = settings.credentials_origin
    if not origin:
        return Finding("auth", Grade.GOOD, "the API needs no key, and none is sent")
    reply = _reply_without_credentials(settings, backend)
    if isinstance(reply, Page):
        text = f"{origin} is not refused; the API accepts requests without it, too"
    elif reply.kind is FailureKind.AUTH:
        text = f"the API accepts {origin}"
    else:
        text = f"{origin} is not refused"
    return Finding("auth", Grade.GOOD, text)


def _reply_without_credentials(settings: Settings, backend: BackendName) -> Reply:
    others = tuple(each for each in settings.headers if each[0].lower() != "authorization")
    bare = replace(
        settings,
        api_key=None,
        auth_string=None,
        tenant_id=None,
        headers=others,
        backend=backend,
        credentials_origin="",
    )
    channel = Client(settings=bare).open_channel()
    try:
        return channel.send(_NEWEST_RUN)
    finally:
        channel.close()


def _clock(stamp: datetime | None, runs: _Exchange) -> Finding:
    """Compare the server's clock with this machine's, as far as its stamp allows."""
    if stamp is None:
        text = "the server's replies have no Date header, so its clock is not known"
        advice = "let that header through, or keep the clocks of both machines synchronised"
        return Finding("clock", Grade.NOTE, text, advice)
    least, most = stamp - runs.received.utc, stamp + _STAMP_AGE - runs.sent.utc
    if least <= timedelta() <= most:
        return Finding(
            "clock", Grade.GOOD, "the server's clock and this machine's agree to two seconds"
        )
    offset = abs(least + most) / 2
    side = "ahead of" if least > timedelta() else "behind"
    return Finding(
        "clock",
        Grade.NOTE,
        f"the server's clock is {short_duration(offset)} {side} this machine's",
        "synchronise the clocks, by NTP; a watch goes by the server's, and times such as --since "
        "10m by this machine's",
    )


def _page_limit(channel: "Channel", server: Server) -> tuple[int, Finding]:
    """Query more rows than any server sends, of a run that no server has.

    Returns:
        How many rows to query at once, and the finding.
    """
    if server.backend is BackendName.PREFECT_1:
        text = "found out while runs are read, on a Prefect 1"
        return PAGE_LIMIT, Finding("page size", Grade.GOOD, text)
    where = RunFilter(flow_run_ids=(_NO_RUN,))
    reply = channel.send(RunsQuery(where=where, limit=_MANY_ROWS))
    if isinstance(reply, Page):
        return PAGE_LIMIT, Finding("page size", Grade.GOOD, f"at least {_MANY_ROWS} rows")
    if reply.kind is not FailureKind.PAGE_LIMIT or reply.limit is None:
        text = f"not known: {reply.text}"
        return PAGE_LIMIT, Finding("page size", Grade.NOTE, text, _OTHER_ADVICE)
    text = f"up to {reply.limit} rows"
    if reply.limit < PAGE_LIMIT:
        advice = (
            f"set PREFECT_SERVER_API_DEFAULT_LIMIT on the server to {PAGE_LIMIT} for fewer "
            "requests; less works as well"
        )
        return reply.limit, Finding("page size", Grade.NOTE, text, advice)
    return PAGE_LIMIT, Finding("page size", Grade.GOOD, text)
