"""The names of the flows of runs, for the live view: read beside the watch, which waits for none.

An event has the id of its run's flow alone. A name that cannot be read is left out.
"""

import threading
from contextlib import suppress

from rxflow import Client, RxflowError
from rxflow._runtime.worker_threads import worker_threads
from rxflow._views.flow_lookups import read_flow_names

__all__ = ["FlowNames"]


class FlowNames:
    """The names of flows by id, each read at most once, on one thread that then ends."""

    def __init__(self, client: Client) -> None:
        """Start without a name.

        Args:
            client: Reads the names; none is read any more once it is closed.
        """
        self._client = client
        self._names: dict[str, str | None] = {}
        self._lock = threading.Lock()
        self._unread: list[str] = []
        self._is_reading = False

    def of(self, flow_id: str | None) -> str | None:
        """Return the name of a flow, unescaped; None until it was read. Never blocks."""
        if flow_id is None:
            return None
        if flow_id not in self._names:
            self._names[flow_id] = None
            self._request(flow_id)
        return self._names[flow_id]

    def _request(self, flow_id: str) -> None:
        with self._lock:
            self._unread.append(flow_id)
            if self._is_reading:
                return
            with suppress(RuntimeError):  # The system starts no further thread now.
                worker_threads.submit(self._read)
                self._is_reading = True

    def _read(self) -> None:
        while ids := self._taken():
            with suppress(RxflowError):
                self._names.update(self._client.read(lambda rows: read_flow_names(ids, rows)))

    def _taken(self) -> list[str]:
        with self._lock:
            taken, self._unread = self._unread, []
            self._is_reading = bool(taken)
        return taken
