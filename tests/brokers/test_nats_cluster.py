"""Relays and readers over a cluster of three NATS servers, which are killed one by one."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from broker_logs import (
    append_all,
    bodies,
    completed,
    followed,
    new_page,
    new_run,
    read_all,
    set_up,
    until,
)
from command_line import LIMIT
from nats_cluster import NatsCluster
from relay_processes import check_sequences, started

from rxflow import FlowRunEvent, FlowRunLog
from rxflow.relay import stream
from rxflow.relay._connect import open_broker
from rxflow.relay._nats import NatsBroker
from rxflow.testing import FakePrefect3

PAUSE = 0.05  # seconds between two lines
SOME = 30  # lines between two faults
MOST = 3_000  # lines until something that is waited for does not come


@pytest.fixture
def cluster() -> Iterator[NatsCluster]:
    """Three servers."""
    with NatsCluster() as started_cluster:
        yield started_cluster


class Writer:
    """Writes the lines of a run."""

    def __init__(self, prefect: FakePrefect3, run_id: str, read: list[FlowRunEvent]) -> None:
        """Begin with no line.

        Args:
            prefect: The server.
            run_id: The run.
            read: What a reader has so far.
        """
        self._prefect = prefect
        self._run_id = run_id
        self._read = read
        self._pause = threading.Event()
        self._written = 0

    def write(self) -> None:
        """Write a line, after a pause."""
        self._pause.wait(PAUSE)
        self._prefect.log(self._run_id, f"line {self._written}")
        self._written += 1

    def write_until(self, is_so: Callable[[], bool]) -> None:
        """Write lines until something is so."""
        for _ in range(MOST):
            if is_so():
                return
            self.write()
        raise AssertionError(f"{MOST:,} lines later it is not so")

    def write_until_read(self) -> None:
        """Write some lines, and then more until the reader has one of those."""
        for _ in range(SOME):
            self.write()
        first = f"line {self._written}"
        self.write_until(
            lambda: any(
                isinstance(each, FlowRunLog) and each.message == first for each in self._read
            )
        )


def test_nothing_is_lost_or_repeated_while_servers_of_a_cluster_are_killed(
    cluster: NatsCluster, workspace: str, tmp_path: Path
) -> None:
    """The leader of the stream is killed and comes back, then another one is killed for good."""
    prefect = FakePrefect3()
    run_id = prefect.add_run(state="RUNNING")
    early: list[FlowRunEvent] = []
    writer = Writer(prefect, run_id, early)
    set_up(cluster.url(), workspace, replicas=3)
    with started(cluster.url(), prefect, workspace) as processes:
        relay = processes.relay("--replicas", "3")
        path = tmp_path / "events"
        consumer = processes.consumer(run_id, path)

        def read() -> None:
            for event in stream(processes.url, run_id, workspace=workspace):
                early.append(event)  # noqa: PERF402 - others look at it meanwhile

        reader = threading.Thread(target=read)
        reader.start()
        writer.write_until_read()
        leader = cluster.leader(workspace)
        cluster.nodes[leader].kill()
        consumer.kill()
        consumer.wait()
        consumer = processes.consumer(run_id, path)
        writer.write_until_read()
        assert cluster.leader(workspace) != leader
        cluster.nodes[leader].start()
        writer.write_until(lambda: cluster.is_whole(workspace))
        follower = next(name for name in cluster.nodes if name != cluster.leader(workspace))
        cluster.nodes[follower].kill()
        writer.write_until_read()
        prefect.set_state(run_id, "COMPLETED")
        assert consumer.wait(LIMIT) == 0
        reader.join(LIMIT)
        assert not reader.is_alive()
        late = [*stream(processes.url, run_id, workspace=workspace)]
        relay.terminate()
        assert relay.wait(LIMIT) == 0
    check_sequences(prefect, run_id, path, early, late)


def test_a_cluster_without_a_majority_is_waited_for(
    cluster: NatsCluster, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that its leader has, but no other server, is neither refused nor stored twice."""
    run = new_run()
    pages = [new_page(number) for number in range(4)]

    async def scenario() -> None:
        broker = await open_broker(cluster.url(), workspace, timeout=LIMIT)
        assert isinstance(broker, NatsBroker)
        await broker.setup(replicas=3)
        end = await append_all(broker, run, pages[:3])
        leader = await asyncio.to_thread(cluster.leader, workspace)
        others = [node for name, node in cluster.nodes.items() if name != leader]
        for node in others:
            node.kill()
        tries = 0
        put = broker.jetstream.put

        async def counted(*arguments: Any, **options: Any) -> int:
            nonlocal tries
            tries += 1
            return await put(*arguments, **options)

        monkeypatch.setattr(broker.jetstream, "put", counted)
        append = asyncio.create_task(broker.append(run, pages[3], after=end))
        reader = await open_broker(cluster.url(), workspace, timeout=LIMIT)
        assert bodies(await read_all(reader, run))[:3] == [page.body for page in pages[:3]]
        await until(lambda: append.done() or tries > 2)
        assert not append.done()
        for node in others:
            await asyncio.to_thread(node.start)
        assert await append > end
        stored = await followed(reader.follow(run, after=0), 4)
        assert bodies(stored) == [page.body for page in pages]
        for each in (reader, broker):
            await each.aclose()

    completed(scenario)
