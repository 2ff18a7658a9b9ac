"""The format of a checkpoint: what a watch must know of the events acknowledged, as bytes.

A first line, ``rxflow-checkpoint 1``, which has the version; four bytes, the CRC-32 of all that is
before and after them; then `Checkpoint` as JSON, compressed by zlib.

Pure functions. When a checkpoint is written, and what a damaged one means, does not belong here.
"""

import zlib
from hashlib import sha256

import msgspec

from rxflow._models.times import encode_time
from rxflow._runtime.watched_arguments import WatchedArguments, arguments_of
from rxflow._watching.emitted_state import EmittedState
from rxflow._watching.watch_spec import WatchSpec

_NAME = b"rxflow-checkpoint "
_MAGIC = _NAME + b"1\n"
_CRC_BYTES = 4


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint.

    Attributes:
        api: Which API was watched: the hash of its URL.
        watched: What was watched.
        state: What is known of the events that were acknowledged.
    """

    api: str
    watched: WatchedArguments
    state: EmittedState


class DamagedCheckpoint(Exception):
    """Some bytes are not a checkpoint, or not a whole one; the message says why."""


class OtherFormat(Exception):
    """Some bytes are a whole checkpoint of another version of the format."""


_ENCODER = msgspec.json.Encoder(enc_hook=encode_time)
_DECODER = msgspec.json.Decoder(Checkpoint)


def new_checkpoint(spec: WatchSpec, api_url: str, state: EmittedState) -> Checkpoint:
    """Return the checkpoint of a watch of one run."""
    api = sha256(api_url.encode()).hexdigest()[:16]
    return Checkpoint(api=api, watched=arguments_of(spec), state=state)


def encode_checkpoint(checkpoint: Checkpoint) -> bytes:
    """Return a checkpoint as bytes."""
    content = zlib.compress(_ENCODER.encode(checkpoint))
    return _MAGIC + _crc_of(_MAGIC, content) + content


def decode_checkpoint(data: bytes) -> Checkpoint:
    """Return the checkpoint that some bytes are.

    Raises:
        DamagedCheckpoint: They are none, or were cut off or changed.
        OtherFormat: They are one of another version.
    """
    magic, crc = data[: len(_MAGIC)], data[len(_MAGIC) :][:_CRC_BYTES]
    content = data[len(_MAGIC) + _CRC_BYTES :]
    if not (magic.startswith(_NAME) and magic.endswith(b"\n")):
        raise DamagedCheckpoint("it does not begin as a checkpoint does")
    if crc != _crc_of(magic, content):
        raise DamagedCheckpoint("it was cut off or changed")
    if magic != _MAGIC:
        version = magic[len(_NAME) : -1].decode("ascii", "replace")
        raise OtherFormat(f"its format is version {version}, not 1")
    try:
        return _DECODER.decode(zlib.decompress(content))
    except (zlib.error, msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise DamagedCheckpoint(f"its content cannot be read: {error}") from error


def knows_closed(data: bytes) -> bool:
    """Whether some bytes are a checkpoint that knows a `Closed` as the last event."""
    try:
        return decode_checkpoint(data).state.closed is not None
    except (DamagedCheckpoint, OtherFormat):  # an error of the watch once the run joins it
        return False


def _crc_of(magic: bytes, content: bytes) -> bytes:
    return zlib.crc32(content, zlib.crc32(magic)).to_bytes(_CRC_BYTES)
