"""The requests to NATS JetStream that a relay makes, over a `NatsLink`.

Nothing here makes a consumer, which a server would have to keep for each reader. Messages are read
by direct gets in batches, which any replica answers, and those that a decision needs by a get from
the stream's leader. A key-value bucket is a stream whose subjects keep one message each.

Belongs here: requests, replies and error codes of JetStream. Does not belong here: what the streams
are for (`_nats`).
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from nats.aio.msg import Msg

from rxflow.errors import BrokerFailed
from rxflow.relay._nats_link import NatsLink, NoResponder
from rxflow.relay._retries import Full, Unanswered

AFTER: Final = "Nats-Expected-Last-Subject-Sequence"
"""Stores a message only if the subject's last one has this sequence; kept as one of its headers."""

_WRONG_LAST: Final = 10071
# Another message of the subject is not committed yet: in a cluster without a majority it may be our
# own, whose reply did not come, and may be stored later or never.
_IN_FLIGHT: Final = 10164
_NO_MESSAGE: Final = 10037
_NO_STREAM: Final = 10059
_OTHER_CONFIG: Final = 10058
_OTHER_CONSUMER: Final = 10148
_NOT_ENABLED: Final = {10039, 10076}
# Of the stream, the account's storage or memory, the server's; they pass once something is deleted.
_FULL: Final = {10002, 10023, 10028, 10047, 10077}
_ADVICE: Final = {
    _NO_STREAM: "; start a relay, which creates it",
    _OTHER_CONSUMER: ", with other settings; pass the same to all members of a group",
    10023: "; pass a smaller max_bytes, which a server sets aside",
    10047: "; pass a smaller max_bytes, which a server sets aside",
}

_SEVERAL_READS: Final = 8  # at once; a thousand would all run out of time, and be sent again
_BATCH_BYTES: Final = 1 << 20
_BATCH_SUBJECTS: Final = 256  # in one request; the server takes 1,024


class WrongLast(Exception):
    """The subject's last message is another one than was expected."""


class Message(msgspec.Struct, frozen=True):
    """A message in a stream.

    Attributes:
        subject: Its subject.
        sequence: Its sequence in the stream, above 0.
        headers: Its headers.
        body: Its body.
        stored_at: When it was stored, by the server's clock, in seconds since 1970.
        pending: How many messages that were to be read follow it; None if that is not known.
    """

    subject: str
    sequence: int
    headers: dict[str, str]
    body: bytes
    stored_at: float
    pending: int | None


class _ApiError(msgspec.Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _LeaderMessage(msgspec.Struct):
    subject: str
    seq: int
    time: datetime
    hdrs: bytes = b""  # base64 in JSON, as is the next
    data: bytes = b""


class _StreamState(msgspec.Struct):
    subjects: dict[str, int] | None = None


class _Reply(msgspec.Struct):
    error: _ApiError | None = None
    seq: int = 0
    message: _LeaderMessage | None = None
    config: dict[str, Any] = {}
    state: _StreamState = msgspec.field(default_factory=_StreamState)
    ts: datetime | None = None
    total: int = 0


_replies: Final = msgspec.json.Decoder(_Reply)


class JetStream:
    """The JetStream of a server."""

    def __init__(self, link: NatsLink) -> None:
        """Use a connection.

        Args:
            link: The connection.
        """
        self._link = link
        self._reads = asyncio.Semaphore(_SEVERAL_READS)

    async def create_stream(self, config: dict[str, Any], initial: dict[str, Any]) -> None:
        """Create a stream, or give an existing one the settings that differ.

        Args:
            config: Its settings; what is not among them stays as it is.
            initial: Further settings of a stream that is created.

        Raises:
            Unanswered: No reply came.
            BrokerFailed: The server refuses it.
        """
        stream = str(config["name"])
        found = await self._reply(f"STREAM.INFO.{stream}", {})
        if found.error is not None and found.error.err_code == _NO_STREAM:
            found = await self._reply(f"STREAM.CREATE.{stream}", {**initial, **config})
            if found.error is not None and found.error.err_code == _OTHER_CONFIG:
                found = await self._reply(f"STREAM.INFO.{stream}", {})  # created meanwhile
        self._require(found, f"to create the stream {stream}")
        merged = {**found.config, **config}
        if merged != found.config:
            updated = await self._reply(f"STREAM.UPDATE.{stream}", merged)
            self._require(updated, f"to change the stream {stream}")

    async def create_consumer(
        self, stream: str, name: str, subject: str, config: dict[str, Any]
    ) -> BrokerFailed | None:
        """Create a durable consumer, unless there is one with the same settings.

        Args:
            stream: The stream.
            name: The consumer's name.
            subject: The one subject, with wildcards, whose messages it has.
            config: Its settings.

        Returns:
            Why this user may create none, whether or not it is there; None if it is.

        Raises:
            Unanswered: No reply came.
            BrokerFailed: There is one with other settings, or the server refuses it.
        """
        body = {"stream_name": stream, "config": config, "action": "create"}
        try:
            reply = await self._reply(f"CONSUMER.CREATE.{stream}.{name}.{subject}", body)
        except BrokerFailed as error:
            return error
        self._require(reply, f"to create the consumer {name}")
        return None

    async def put(
        self, subject: str, body: bytes, headers: dict[str, str], *, after: int | None = None
    ) -> int:
        """Store a message, and return its sequence.

        Args:
            subject: Its subject.
            body: Its body.
            headers: Its headers.
            after: The sequence of the subject's last message, 0 for none; None for any.

        Raises:
            WrongLast: The last message is another one.
            Full: There is no room.
            Unanswered: Whether it was stored is not known.
            BrokerFailed: The server refuses it.
        """
        sent = headers if after is None else {**headers, AFTER: str(after)}
        # Headers count, and one message too large ends a connection for good.
        size = len(body) + 12 + sum(len(name) + len(value) + 4 for name, value in sent.items())
        if size > self._link.largest_message:
            raise BrokerFailed(
                f"The NATS server {self._link.name} takes messages of "
                f"{self._link.largest_message:,} bytes, and one of {size:,} is to be stored: raise "
                "its max_payload to 1 MB, the default"
            )
        reply = _decoded(await self._link.request(subject, body, headers=sent))
        error = reply.error
        if error is None:
            return reply.seq
        if error.err_code == _WRONG_LAST:
            raise WrongLast(error.description)
        if error.err_code == _IN_FLIGHT:
            raise Unanswered(error.description)
        if error.err_code in _FULL:
            raise Full(error.description)
        if error.code == 503:  # no leader, or too many requests at the moment
            raise Unanswered(error.description)
        raise self._refused(error, f"to store a message of {subject}")

    async def has_stream(self, stream: str) -> bool:
        """Return whether there is a stream, as the servers' leader knows it.

        Raises:
            Unanswered: No reply came.
            BrokerFailed: The server does not permit it.
        """
        found = await self._reply(f"STREAM.INFO.{stream}", {})
        return found.error is None or found.error.err_code != _NO_STREAM

    async def last(self, stream: str, subject: str) -> Message | None:
        """Return the last message of a subject, as the stream's leader has it.

        Raises:
            Unanswered: No reply came.
            BrokerFailed: There is no such stream, or the server does not permit it.
        """
        reply = await self._reply(f"STREAM.MSG.GET.{stream}", {"last_by_subj": subject})
        if reply.error is not None and reply.error.err_code == _NO_MESSAGE:
            return None
        self._require(reply, f"to read the stream {stream}")
        found = reply.message
        if found is None:
            raise Unanswered("a reply without a message")
        return Message(
            subject=found.subject,
            sequence=found.seq,
            headers=_parse_headers(found.hdrs),
            body=found.data,
            stored_at=found.time.timestamp(),
            pending=None,
        )

    async def read(self, stream: str, subject: str, *, start: int, limit: int) -> list[Message]:
        """Return messages of a subject, as some replica has them.

        Args:
            stream: The stream.
            subject: The subject.
            start: The least sequence.
            limit: How many messages at most; fewer come if they are large.

        Raises:
            NoResponder: There is no such stream, or no replica of it at the moment.
            Unanswered: No reply came.
            BrokerFailed: The server does not permit it.
        """
        body = {"seq": start, "next_by_subj": subject, "batch": limit, "max_bytes": _BATCH_BYTES}
        return await self._batch(stream, body)

    async def last_of_each(self, stream: str, subjects: Sequence[str]) -> list[Message]:
        """Return the last message of each of some subjects, those without one left out.

        Raises:
            NoResponder: There is no such stream, or no replica of it at the moment.
            Unanswered: A reply did not come.
            BrokerFailed: The server does not permit it.
        """
        found: list[Message] = []
        for start in range(0, len(subjects), _BATCH_SUBJECTS):
            missing = set(subjects[start : start + _BATCH_SUBJECTS])
            while missing:
                body = {
                    "multi_last": sorted(missing),
                    "batch": _BATCH_SUBJECTS,
                    "max_bytes": _BATCH_BYTES,
                }
                batch = await self._batch(stream, body)
                found += batch
                missing -= {message.subject for message in batch}
                if not batch or batch[-1].pending == 0:
                    break
        return found

    async def subjects(self, stream: str, subject_filter: str) -> tuple[list[str], float]:
        """Return the subjects of which a stream has messages, and the server's time.

        Args:
            stream: The stream.
            subject_filter: Which subjects, with wildcards.

        Returns:
            The subjects, and when that was so, in seconds since 1970.

        Raises:
            Unanswered: No reply came.
            BrokerFailed: There is no such stream, or the server does not permit it.
        """
        subjects: list[str] = []
        while True:
            body = {"subjects_filter": subject_filter, "offset": len(subjects)}
            reply = await self._reply(f"STREAM.INFO.{stream}", body)
            self._require(reply, f"to read the stream {stream}")
            page = reply.state.subjects or {}
            subjects += page
            if not page or len(subjects) >= reply.total:
                return subjects, reply.ts.timestamp() if reply.ts is not None else 0.0

    async def purge(self, stream: str, subject: str) -> None:
        """Delete all messages of a subject.

        Raises:
            Unanswered: No reply came.
            BrokerFailed: The server refuses it.
        """
        reply = await self._reply(f"STREAM.PURGE.{stream}", {"filter": subject})
        self._require(reply, f"to drop {subject}")

    # -- requests and replies -----------------------------------------------------------------

    async def _batch(self, stream: str, body: dict[str, Any]) -> list[Message]:
        async with self._reads:
            replies = await self._link.request_many(
                f"$JS.API.DIRECT.GET.{stream}", msgspec.json.encode(body)
            )
        messages: list[Message] = []
        for reply in replies:
            headers = reply.headers or {}
            status = headers.get("Status")
            if status is None:
                messages.append(message_of(reply))
            elif status not in {"204", "404"}:  # the end; there are none
                raise BrokerFailed(
                    f"The NATS server {self._link.name} refuses to read the stream {stream}: "
                    f"{status} {headers.get('Description', '')}".strip()
                )
        return messages

    async def _reply(self, request: str, body: dict[str, Any]) -> _Reply:
        try:
            sent = msgspec.json.encode(body) if body else b""
            return _decoded(await self._link.request(f"$JS.API.{request}", sent))
        except NoResponder as error:
            if not self._link.is_connected:
                raise
            raise NoResponder(f"{self._link.name} has no JetStream, or none yet") from error

    def _require(self, reply: _Reply, action: str) -> None:
        if reply.error is not None:
            if reply.error.code == 503 and reply.error.err_code not in _FULL | _NOT_ENABLED:
                raise Unanswered(reply.error.description)
            raise self._refused(reply.error, action)

    def _refused(self, error: _ApiError, action: str) -> BrokerFailed:
        advice = _ADVICE.get(error.err_code, "")
        return BrokerFailed(
            f"The NATS server {self._link.name} refuses {action}: {error.description} "
            f"({error.err_code}){advice}"
        )


def message_of(message: Msg) -> Message:
    """Return a message that was read directly, or that a stream republished."""
    headers = message.headers or {}
    pending = headers.get("Nats-Num-Pending")
    return Message(
        subject=headers.get("Nats-Subject", ""),
        sequence=int(headers.get("Nats-Sequence", 0)),
        headers=headers,
        body=message.data,
        stored_at=_seconds_of(headers.get("Nats-Time-Stamp", "")),
        pending=None if pending is None else int(pending),
    )


def _seconds_of(stamp: str) -> float:
    """Return a time of RFC 3339, as the servers write it, in seconds since 1970."""
    try:
        return msgspec.convert(stamp, datetime).timestamp()
    except msgspec.ValidationError:
        return 0.0


def _decoded(reply: Msg) -> _Reply:
    try:
        return _replies.decode(reply.data)
    except msgspec.DecodeError as error:
        raise Unanswered(f"a reply that is not JSON as expected: {error}") from error


def _parse_headers(block: bytes) -> dict[str, str]:
    """Return the headers of a block as it is stored, whose first line is the version."""
    lines = block.decode("utf-8", "replace").split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines if line)
    return {name.strip(): value.strip() for name, _, value in pairs}
