"""Announces what changes on a fake Prefect 3 over the websockets that are open.

Belongs here: what is said over `/events/out` and `/logs/out`. Does not belong here: the websockets
(`../_websocket.py`).
"""

import threading
from collections import deque
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import msgspec

from rxflow._forks import register
from rxflow._models.times import encode_time
from rxflow.testing._rows import Row

_INTERVAL = 0.01  # seconds between two looks at what has changed
_BACKLOG = 256  # frames that wait for one client, as on the real server, which drops further ones

Frame = Mapping[str, Any]


class Connected(Protocol):
    """A websocket to one client."""

    @property
    def is_open(self) -> bool:
        """Whether neither side has closed it."""
        ...

    def receive(self) -> bytes | None:
        """Wait for a message; None if the client closes."""
        ...

    def wait(self, seconds: float | None) -> None:
        """Wait until the client sends something."""
        ...

    def send(self, text: bytes) -> None:
        """Send a message."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Close it."""
        ...


class Announcer:
    """The clients that are subscribed to announcements."""

    def __init__(self) -> None:
        """Start without clients."""
        self._lock = threading.Lock()
        self._queues: list[deque[Frame]] = []
        register(self)

    def reset_after_fork(self) -> None:
        """Forget the clients in a forked child, which has no connection to them."""
        self._lock = threading.Lock()
        self._queues = []

    def announce_state(self, run_id: str, state: Row) -> None:
        """Announce that a run has entered a state."""
        resource = {"prefect.resource.id": f"prefect.flow-run.{run_id}"}
        self._announce_event(f"prefect.flow-run.{state['name']}", state, resource)

    def announce_task_state(self, run_id: str, task_run_id: str, state: Row) -> None:
        """Announce that a task run has entered a state."""
        related = {
            "prefect.resource.id": f"prefect.flow-run.{run_id}",
            "prefect.resource.role": "flow-run",
        }
        resource = {"prefect.resource.id": f"prefect.task-run.{task_run_id}"}
        self._announce_event(f"prefect.task-run.{state['name']}", state, resource, related)

    def announce_line(self, row: Row) -> None:
        """Announce a log line."""
        self._put({"type": "log", "log": {**row, "created": None, "updated": None}})

    def talk(self, topic: str, client: Connected, catch_up: Callable[[], None]) -> None:
        """Talk to a client until it closes.

        Args:
            topic: ``event`` or ``log``.
            client: The client.
            catch_up: Runs what was scheduled and is due.
        """
        if _type_of(client.receive()) != "auth":
            return client.close(1008, "Expected 'auth' message")
        client.send(b'{"type":"auth_success"}')
        message = client.receive()
        if message is None or _type_of(message) != "filter":
            return client.close(1002, "Expected 'filter' message")
        wanted = msgspec.json.decode(message)["filter"]
        with self._subscribed() as queue:
            while client.is_open:
                catch_up()
                while queue:
                    frame = queue.popleft()
                    if frame["type"] == topic and _matches(frame, wanted):
                        client.send(msgspec.json.encode(frame, enc_hook=encode_time))
                client.wait(_INTERVAL)
        return None

    @contextmanager
    def _subscribed(self) -> Generator[deque[Frame]]:
        queue: deque[Frame] = deque()
        with self._lock:
            self._queues.append(queue)
        try:
            yield queue
        finally:
            with self._lock:
                self._queues = [other for other in self._queues if other is not queue]

    def _announce_event(
        self, name: str, state: Row, resource: Mapping[str, str], *related: Mapping[str, str]
    ) -> None:
        event = {
            "event": name,
            "id": state["id"],
            "occurred": state["timestamp"],
            "resource": resource,
            "related": related,
        }
        self._put({"type": "event", "event": event})

    def _put(self, frame: Frame) -> None:
        with self._lock:
            for queue in self._queues:
                if len(queue) < _BACKLOG:
                    queue.append(frame)


class _Message(msgspec.Struct):
    type: str = ""


def _type_of(message: bytes | None) -> str:
    return "" if message is None else msgspec.json.decode(message, type=_Message).type


def _matches(frame: Frame, wanted: Mapping[str, Any]) -> bool:
    if frame["type"] == "log":
        line = frame["log"]
        ids = wanted.get("flow_run_id", {}).get("any_", [line["flow_run_id"]])
        return line["flow_run_id"] in ids and line["level"] >= wanted.get("level", {}).get("ge_", 0)
    event = frame["event"]
    found = {resource["prefect.resource.id"] for resource in (event["resource"], *event["related"])}
    ids = wanted.get("any_resource", {}).get("id", found)
    return not found.isdisjoint(ids) and event["event"].startswith(tuple(wanted["event"]["prefix"]))
