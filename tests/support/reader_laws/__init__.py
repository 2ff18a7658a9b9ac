"""The law of each reader of foreign bytes: any bytes give a value or a documented error.

A law is a function of some bytes. It gives them to a reader, in the form that the reader takes, and
raises where the reader does what it must not: an exception that is not documented, a value that
cannot be used, another value than those bytes have in another form. ``tests/tools/fuzz_readers.py``
searches for such bytes, and ``tests/test_fuzz_readers.py`` tries some thousands.

`replies` has what servers send, `files` what is read from a disk. Whole watches with mutated
replies are not here but in ``mutated_watches.py``.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from random import Random

from reader_laws import files, replies
from reader_laws.law import Law

LAWS: Mapping[str, Law] = {law.name: law for law in (*replies.LAWS, *files.LAWS)}
"""All laws by name."""


def together(laws: Sequence[Law]) -> Law:
    """Return the law of several readers, of which the first byte chooses one."""

    def check(data: bytes) -> None:
        if data:
            laws[data[0] % len(laws)].check(data[1:])

    def seeds() -> list[bytes]:
        return [bytes([at]) + seed for at, law in enumerate(laws) for seed in law.seeds()]

    return Law("all", check, seeds)


TOKENS = (
    *(b"null", b"true", b"-1", b"0", b"1e999", b"1e-999", b"NaN", b"9" * 400, b'""', b"{}", b"[]"),
    *(b"[" * 5_000, b'{"a":' * 5_000, b'"\\ud800"', b'"\\u0000"', b"\xff", b"\xed\xa0\x80", b"\0"),
    *(b"\n", b"\r\n", b",", b'"0001-01-01T00:00:00+23:59"', b'"9999-12-31T23:59:59.999999-23:59"'),
    *(b'"2026-11-22T00:00:00"', b"Sun, 22 Nov 9999 12:00:00 -2359", b"\x1f\x8b", b"\x28\xb5\x2f"),
)
"""Pieces that readers of JSON, times and compressed files have failed at."""

_SEARCHED = 20_000  # bytes in which values are searched for
_VALUE = re.compile(rb'"(?:[^"\\\n]|\\.)*"|-?[0-9.]+|null|true|false')


def mutants_of(seed: bytes, random: Random, number: int) -> Iterator[bytes]:
    """Yield a seed with some of its values or bytes cut out, repeated or replaced by others."""
    for _ in range(number):
        data = seed
        for _ in range(random.choice((1, 1, 2, 5))):
            start, end = random.choice((_value_in, _piece_of))(data, random)
            piece = random.choice(
                (b"", data[start:end] * 2, random.randbytes(2), random.choice(TOKENS))
            )
            data = data[:start] + piece + data[end:]
        yield data


def _value_in(data: bytes, random: Random) -> tuple[int, int]:
    """Choose a JSON value in some bytes; the empty piece at their start if there is none."""
    values = [match.span() for match in _VALUE.finditer(data[:_SEARCHED])]
    return random.choice(values) if values else (0, 0)


def _piece_of(data: bytes, random: Random) -> tuple[int, int]:
    start = random.randint(0, len(data))
    return start, random.choice((start, start + 1, random.randint(start, len(data)), len(data)))
