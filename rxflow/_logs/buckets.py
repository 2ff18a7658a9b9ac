"""Buckets: delivered rows below the floor, by their number and the sum of their ids.

A bucket forgets which rows it holds. But the digest of all rows that the server has in it, minus
the bucket's own digest, is the digest of those that were not delivered, and so identifies them.
"""

from binascii import unhexlify
from collections.abc import Sequence
from hashlib import blake2b

import msgspec

from rxflow._models.times import Instant

MODULUS = (1 << 128) - 1
"""The modulus of digests: a number equals the sum of its 16-byte digits modulo this, as a decimal
number equals the sum of its digits modulo 9. So the ids of a bucket are added as one number."""

_RANDOM_VERSIONS = bytes([*range(0x40, 0x50), *range(0x70, 0x80)])  # a UUID's version byte
_HYPHENS = (8, 13, 18, 23)  # where a UUID has them


class Bucket(msgspec.Struct, array_like=True):
    """Delivered rows of one run, from ``start`` to the start of the next bucket.

    Attributes:
        start: When the bucket starts; None for a run's first bucket, which is open towards the
            past.
        count: How many rows were delivered.
        digest: The sum of the rows' ids as numbers, as 16 bytes.
    """

    start: Instant | None
    count: int = 0
    digest: bytes = bytes(16)

    @property
    def digest_number(self) -> int:
        """The digest as a number, as `digest_of` returns it."""
        return int.from_bytes(self.digest)

    def add(self, ids: Sequence[str]) -> None:
        """Count rows of these ids as well."""
        self.count += len(ids)
        self.digest = _as_bytes(self.digest_number + digest_of(ids))

    def replace(self, ids: Sequence[str]) -> None:
        """Count exactly the rows of these ids."""
        self.count = len(ids)
        self.digest = _as_bytes(digest_of(ids))


def merged_in_pairs(buckets: Sequence[Bucket]) -> list[Bucket]:
    """Return half as many buckets, each of which holds the rows of two neighbours."""
    merged = [
        Bucket(a.start, a.count + b.count, _as_bytes(a.digest_number + b.digest_number))
        for a, b in zip(buckets[::2], buckets[1::2], strict=False)
    ]
    return merged if len(buckets) % 2 == 0 else [*merged, buckets[-1]]


def merged_to(buckets: list[Bucket], number: int) -> list[Bucket]:
    """Return the buckets merged in pairs, until there are no more than a number of them."""
    while len(buckets) > number:
        buckets = merged_in_pairs(buckets)
    return buckets


def digest_of(ids: Sequence[str]) -> int:
    """Return the sum of ids as numbers, which is equal for the same ids in any order.

    A UUID of version 4 or 7 is its own number, which costs a third of hashing it. Its last 62 bits
    are random (RFC 9562; Prefect draws them from the system), and so are those of the difference
    of two sets' sums, whatever the other bits. Any other id is hashed.
    """
    # Columns of characters are checked, since a step for each id would double the time.
    text = "\n".join(ids).encode()
    hyphens, breaks = b"-" * len(ids), b"\n" * (len(ids) - 1)
    if text[36::37] == breaks and all(text[place::37] == hyphens for place in _HYPHENS):
        try:
            numbers = unhexlify(text.translate(None, b"-\n"))
        except ValueError:
            numbers = b""
        if len(numbers) == 16 * len(ids) and not numbers[6::16].translate(None, _RANDOM_VERSIONS):
            return _sum_of_digits(int.from_bytes(numbers), len(ids))
    if len(ids) == 1:
        return int.from_bytes(blake2b(ids[0].encode(), digest_size=16).digest()) % MODULUS
    return sum(digest_of([row_id]) for row_id in ids) % MODULUS


def _sum_of_digits(number: int, digits: int) -> int:
    """Return the sum of a number's 16-byte digits modulo `MODULUS`.

    Adding the upper half of the digits to the lower half, again and again, takes half the time of
    a division.
    """
    while digits > 1:
        digits = (digits + 1) // 2
        number = (number >> 128 * digits) + (number & ((1 << 128 * digits) - 1))
    return number % MODULUS


def _as_bytes(number: int) -> bytes:
    return (number % MODULUS).to_bytes(16)
