"""Readers that are broken in a known way each, for the tests of ``tests/tools/fuzz_readers.py``."""

from reader_laws.law import Law

MUCH = 600 * 1024 * 1024


def _trust_a_length(data: bytes) -> None:
    """Read a field whose length comes before it, and trust the length."""
    if data.startswith(b"field"):
        length = data[5]
        data[6 : 6 + length][length - 1]


def _take_much(data: bytes) -> None:
    """Take far more memory than was given."""
    if data:
        bytes(MUCH)


def _accept(data: bytes) -> None:
    del data


LAWS = {
    law.name: law
    for law in (
        Law("length", _trust_a_length, lambda: [b"field\3abc"]),
        Law("memory", _take_much, lambda: [b"1"]),
        Law("sound", _accept, lambda: [b"1"]),
    )
}
