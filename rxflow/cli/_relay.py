"""Run a relay as the options of a command say, until a signal stops it."""

import asyncio
import signal
from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from rxflow import BrokerFailed
from rxflow._protocol.queries import RunFilter
from rxflow._runtime.clocks import apause
from rxflow.cli._exit_status import ExitStatus
from rxflow.cli._output import report
from rxflow.relay._broker import Broker
from rxflow.relay._connect import open_broker
from rxflow.relay._monitoring import Monitor
from rxflow.relay._service import Relay, RelayOptions

if TYPE_CHECKING:
    from rxflow import Client

__all__ = ["RelayCommand", "relay_runs"]

_CONNECT_PAUSE = 2.0  # seconds until a broker that is not there is tried again


class RelayCommand(NamedTuple):
    """What the command line says.

    Attributes:
        broker: The broker's URL.
        credentials: What it is shown, as arguments of `open_broker`.
        workspace: The workspace.
        where: Which runs to look for; None for those that are wanted alone.
        since: How long before now the first of them may have started.
        keep: How long a log is kept.
        shards: Into how many parts the runs are divided.
        lease: After how long another relay takes over.
        replicas: How many servers keep a log; None for the broker's default.
        max_bytes: How large all logs may become; None for the broker's default.
        metrics: Where to serve figures; None to serve none.
        quiet: Whether to write nothing but errors.
    """

    broker: str
    credentials: Mapping[str, Any]
    workspace: str
    where: RunFilter | None
    since: timedelta
    keep: timedelta
    shards: int
    lease: timedelta
    replicas: int | None
    max_bytes: int | None
    metrics: tuple[str, int] | None
    quiet: bool

    @property
    def options(self) -> RelayOptions:
        """What the relay watches."""
        return RelayOptions(
            where=self.where,
            since_seconds=self.since.total_seconds(),
            shards=self.shards,
            lease_seconds=self.lease.total_seconds(),
            keep_seconds=self.keep.total_seconds(),
            replicas=self.replicas,
            max_bytes=self.max_bytes,
        )


def relay_runs(command: RelayCommand, client: "Client") -> ExitStatus:
    """Relay until SIGTERM or Ctrl-C, and return the status to exit with.

    Args:
        command: What the command line says.
        client: The client of Prefect's server.

    Raises:
        RxflowError: An option is malformed, or the broker refuses the relay at its start, or ends
            the connection later.
    """
    asyncio.run(_relay(command, client))
    return ExitStatus.COMPLETED


async def _relay(command: RelayCommand, client: "Client") -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def end() -> None:
        stop.set()
        for each in (signal.SIGTERM, signal.SIGINT):  # another one ends the process
            loop.remove_signal_handler(each)

    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, end)
    opening = asyncio.create_task(_open(command))
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({opening, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if not opening.done():
        opening.cancel()
        return
    stopped.cancel()
    broker = opening.result()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(broker.aclose)
        relay = Relay(broker, client, command.options, lambda text: _say(command, text))
        if command.metrics is not None:
            monitor = Monitor(relay.figures, broker)
            port = await stack.enter_async_context(monitor.serve(*command.metrics))
            _say(command, f"serves its metrics at http://{command.metrics[0]}:{port}/metrics")
        await relay.run(stop)
        _say(command, "has stopped")


async def _open(command: RelayCommand) -> Broker:
    """Connect to the broker, again and again until it is there.

    Raises:
        BrokerFailed: It is there and refuses the connection, to which waiting makes no difference.
    """
    reported = ""
    while True:
        broker: Broker | None = None
        try:
            broker = await open_broker(command.broker, command.workspace, **command.credentials)
            texts = await broker.setup(replicas=command.replicas, max_bytes=command.max_bytes)
        except BrokerFailed as error:
            if broker is not None:
                await broker.aclose()
            elif not error.is_away:
                raise
            if str(error) != reported:
                reported = str(error)
                report(f"relay waits for its broker: {error}")
            await apause(_CONNECT_PAUSE)
        else:
            if reported:
                _say(command, "has reached its broker")
            for text in texts:
                _say(command, text)
            return broker


def _say(command: RelayCommand, text: str) -> None:
    if not command.quiet:
        report(f"relay {text}")
