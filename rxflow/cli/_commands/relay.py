"""``rxflow relay``: watch runs, and append their events to logs on a message broker."""

import sys
from datetime import timedelta
from typing import Any

import click

import rxflow
from rxflow.cli._broker_options import RELAY_VARIABLE, BrokerOptions, broker_options
from rxflow.cli._command import Command
from rxflow.cli._connection import connection_options
from rxflow.cli._output import exit_on_error
from rxflow.cli._selection import filter_of
from rxflow.cli._times import read_duration


def _read_address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise click.BadParameter(f"{text!r} is not HOST:PORT, such as 127.0.0.1:9100")
    return host.removeprefix("[").removesuffix("]"), int(port)


@click.command("relay", cls=Command)
@click.argument("broker", metavar="BROKER", envvar=RELAY_VARIABLE)
@click.option(
    "--workspace",
    default="default",
    show_default=True,
    metavar="NAME",
    help="Which logs on the broker; readers pass the same name.",
)
@click.option("--deployment", multiple=True, help="Watch the runs of this deployment.")
@click.option("--flow", multiple=True, help="Watch the runs of this flow.")
@click.option("--tag", "tags", multiple=True, help="Watch the runs with all of these tags.")
@click.option("--work-pool", multiple=True, help="Watch the runs in this work pool.")
@click.option("--all", "all_runs", is_flag=True, help="Watch all runs of the server.")
@click.option(
    "--since",
    type=read_duration,
    default="1h",
    show_default=True,
    metavar="DURATION",
    help="Of runs that are looked for, those that started so long before the relay, or later.",
)
@click.option(
    "--keep",
    type=read_duration,
    default="7d",
    show_default=True,
    metavar="DURATION",
    help="Drop the log of a run so long after its last event.",
)
@click.option(
    "--shards",
    type=click.IntRange(1, 1024),
    default=8,
    show_default=True,
    metavar="N",
    help="Into how many parts the runs are divided, and so the most relays at work; the same for "
    "all relays of a workspace.",
)
@click.option(
    "--lease",
    type=read_duration,
    default="3s",
    show_default=True,
    metavar="DURATION",
    help="After how long another relay takes over from one that has gone.",
)
@click.option(
    "--replicas",
    type=click.IntRange(1, 5),
    metavar="N",
    help="How many servers of the broker's cluster keep each log.",
)
@click.option(
    "--max-bytes",
    type=click.IntRange(min=1 << 20),
    metavar="N",
    help="How large all logs may become; the oldest ones of runs that are over are then dropped.",
)
@click.option(
    "--metrics",
    type=_read_address,
    metavar="HOST:PORT",
    help="Serve /healthz, and figures for Prometheus at /metrics.",
)
@click.option("-q", "--quiet", is_flag=True, help="Write nothing but errors.")
@broker_options("broker")
@exit_on_error()
@connection_options
def command(
    client: "rxflow.Client",
    *,
    broker: str,
    workspace: str,
    deployment: tuple[str, ...],
    flow: tuple[str, ...],
    tags: tuple[str, ...],
    work_pool: tuple[str, ...],
    all_runs: bool,
    since: timedelta,
    lease: timedelta,
    shown: BrokerOptions,
    **options: Any,
) -> None:
    """Watch runs, and append their events to logs on a message broker, until it is stopped.

    BROKER is its URL, such as nats://localhost:4222; by default RXFLOW_RELAY. Any number of
    programs read the logs, by rxflow.relay.stream or rxflow watch --relay, and Prefect's server is
    polled once for all of them. Without a filter the runs are those that readers want.

    Several relays of a workspace share its runs, and one that stops or fails is replaced by the
    others; no event is lost or repeated. SIGTERM and Ctrl-C hand the runs over at once.

    \b
    Examples:
      rxflow relay nats://localhost:4222
      rxflow relay nats://localhost:4222 --tag prod --metrics 127.0.0.1:9100
      rxflow watch --relay nats://localhost:4222 9e6caafc-4ea1-4493-b0a9-122efba9eaaa
    """  # noqa: D301 - click reads \\b as it is
    from rxflow.cli._relay import RelayCommand, relay_runs  # noqa: PLC0415 - needs reactivex

    filters = {"deployment": deployment, "flow": flow, "tags": tags, "work_pool": work_pool}
    given = {name: values for name, values in filters.items() if values}
    if given and all_runs:
        raise click.UsageError("--all and filters are both given; pass the one or the other.")
    if lease.total_seconds() < 0.1:
        raise click.UsageError("--lease is at least 100ms: the broker must reply within it.")
    where = filter_of(given) if given or all_runs else None
    wanted = RelayCommand(
        broker=broker,
        credentials=shown.arguments(broker),
        workspace=workspace,
        where=where,
        since=since,
        lease=lease,
        **options,
    )
    sys.exit(relay_runs(wanted, client))
