"""`rxflow.relay`: one process polls Prefect, and any number of processes read what it found.

A relay appends the events of each run to a log of that run on a message broker; readers take them
from there as a stream like any other. Where one process is enough, no broker is needed.

Belongs here: what a log of events on a broker is, who writes it and how it is read. Does not belong
here: which events there are; a relay watches runs as your own program would. Nothing in rxflow
imports it but the command line.

    _broker.py          what is required of a broker: the protocol that each backend implements
    _group.py           ... of groups, which share pages
    _connect.py         which backend a URL means
    _address.py         a broker's URL and credentials
    _headers.py         a page as headers and a body
    _page_chain.py      whether a page follows the one that was read last
    _names.py           runs, workspaces and leases in subjects and keys
    _memory.py          a broker in memory, for tests and for a try
    _memory_workspace.py ... all logs
    _memory_group.py    ... groups
    _nats.py            a broker on NATS JetStream: logs and wants
    _nats_feed.py       ... batches, and what the stream republishes
    _nats_workspace.py  ... all logs
    _nats_group.py      ... groups
    _nats_lease.py      ... its leases
    _jetstream.py       ... requests and replies
    _nats_link.py       ... the connection
    _redis.py           a broker on Redis or Valkey: logs and wants
    _redis_workspace.py ... all logs
    _redis_group.py     ... groups
    _redis_entries.py   ... entries as pages
    _redis_lease.py     ... its leases
    _redis_link.py      ... the connection
    _certificate_errors.py  which errors of TLS are about a certificate
    _retries.py         when a request to a broker is sent again
    _room.py            which pages wait for room on it
    _pages.py           events as pages of a log, and pages as events

    _service.py         a relay: when a watch is started, and what it is about
    _relayed_watch.py   one watch over many runs
    _broker_journal.py  the logs as the journals of that watch
    _shares.py          how relays share the runs
    _additions.py       when wanted runs join a watch
    _departures.py      when runs that are not wanted any more leave it
    _retention.py       which logs are dropped
    _health.py          whether it can work
    _figures.py         what a relay has done
    _monitoring.py      its figures and its health, over HTTP

    _stream.py          a log as a stream, or all logs
    _reader_session.py  a reader without its I/O
    _log_session.py     what the pages of a log mean for a reader
    _log_channel.py     how they are read, from any thread
    _workspace_session.py   what the pages of all logs mean
    _workspace_channel.py   how they are read
    _workspace_position.py  after which event of all logs a reader goes on
    _whole_pages.py     events that are too large for a page
    _group_stream.py    the events of one member of a group, as a stream
    _group_channel.py   when a page is acknowledged
    _connections.py     the connections that readers share
    _position.py        after which event a reader goes on
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rxflow.relay._group_stream import GroupStream, consume
    from rxflow.relay._stream import RelayedStream, stream

__all__ = ["GroupStream", "RelayedStream", "consume", "stream"]

if not TYPE_CHECKING:  # with a `__getattr__`, type checkers would accept any name
    from importlib import import_module

    from rxflow._forks import no_fork

    _MODULES = {
        "GroupStream": "rxflow.relay._group_stream",
        "RelayedStream": "rxflow.relay._stream",
        "consume": "rxflow.relay._group_stream",
        "stream": "rxflow.relay._stream",
    }

    def __getattr__(name: str) -> object:
        """Import a public name when it is first used."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        with no_fork:
            value = getattr(import_module(_MODULES[name]), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        """List all names, imported or not."""
        return sorted({*globals(), *__all__})
