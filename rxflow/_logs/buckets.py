"""Buckets: delivered rows below the floor, by their number and the sum of their ids.

A bucket forgets which rows it holds. But the digest of all rows that the server has in it, minus
the bucket's own digest, is the digest of those that were not delivered, and so identifies them.
"""

from collections.abc import Sequence
from datetime import datetime
from hashlib import blake2b

import msgspec

MODULUS = (1 << 128) - 1
"""The modulus of digests: a number equals the sum of its 16-byte digits modulo this, as a decimal
number equals the sum of its digits modulo 9. So the ids of a bucket are added as one number."""

_RANDOM_VERSIONS = frozenset([*range(0x40, 0x50), *range(0x70, 0x80)])  # a UUID's version byte


class Bucket(msgspec.Struct, array_like=True):
    """Delivered rows of one run, from ``start`` to the start of the next bucket.

    Attributes:
        start: When the bucket starts; None for a run's first bucket, which is open towards the
            past.
        count: How many rows were delivered.
        digest: The sum of the rows' ids as numbers, as 16 bytes.
    """

    start: datetime | None
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


def digest_of(ids: Sequence[str]) -> int:
    """Return the sum of ids as numbers, which is equal for the same ids in any order.

    A UUID of version 4 or 7 is its own number, which costs a third of hashing it. Its last 62 bits
    are random (RFC 9562; Prefect draws them from the system), and so are those of the difference
    of two sets' sums, whatever the other bits. Any other id is hashed.
    """
    digits = [row_id.replace("-", "") for row_id in ids]
    try:
        numbers = bytes.fromhex("".join(digits))
    except ValueError:
        numbers = b""
    each_is_a_number = len(numbers) == 16 * len(ids) and {*map(len, digits)} <= {32}
    if each_is_a_number and _RANDOM_VERSIONS.issuperset(numbers[6::16]):
        return int.from_bytes(numbers) % MODULUS
    if len(ids) == 1:
        return int.from_bytes(blake2b(ids[0].encode(), digest_size=16).digest()) % MODULUS
    return sum(digest_of([row_id]) for row_id in ids) % MODULUS


def _as_bytes(number: int) -> bytes:
    return (number % MODULUS).to_bytes(16)
