"""Buckets: counts and digests of ids."""

from random import Random
from uuid import UUID

from hypothesis import assume, given
from hypothesis import strategies as st
from naive_digest import naive_digest
from simulated_world import START

from rxflow._logs.buckets import Bucket, merged_to
from rxflow.testing._rows import uuid7


@st.composite
def row_ids(draw: st.DrawFn) -> list[str]:
    """Draw ids as servers give them, random or by time, and some that are much alike."""
    random = Random(draw(st.integers()))
    alike = [f"row-{number}" for number in range(2)]
    alike += [f"0000000{number}-0000-4000-8000-00000000row-" for number in range(2)]
    counted = [str(UUID(int=number)) for number in range(4)]
    version_4 = [str(UUID(int=random.getrandbits(128), version=4)) for _ in range(4)]
    version_7 = [uuid7(START, random) for _ in range(4)]
    return draw(st.permutations([*alike, *counted, *version_4, *version_7]))


def bucket_of(*parts: list[str]) -> Bucket:
    """Return a bucket to which ids were added in parts."""
    bucket = Bucket(None)
    for ids in parts:
        bucket.add(ids)
    return bucket


@given(ids=row_ids(), cut=st.integers(0, 16), split=st.integers(0, 16))
def test_a_digest_is_the_same_in_any_order(ids: list[str], cut: int, split: int) -> None:
    """However ids are added, at once, in parts or one by one, the digest is their sum."""
    added = ids[:cut]
    bucket = Bucket(None, len(added), naive_digest(added))
    assert bucket_of(added) == bucket
    assert bucket_of(added[:split], added[split:]) == bucket
    assert bucket_of(*([row_id] for row_id in reversed(added))) == bucket


@given(ids=row_ids(), size=st.integers(1, 8), others=st.randoms(use_true_random=False))
def test_digests_of_different_ids_differ(ids: list[str], size: int, others: Random) -> None:
    """As many ids, one of which is another, have another digest, even if they are much alike."""
    sample = others.sample(ids, size)
    assume(set(sample) != set(ids[:size]))
    assert bucket_of(sample).digest != bucket_of(ids[:size]).digest


@given(numbers=st.lists(st.integers(0, 9), min_size=1, max_size=20), most=st.integers(1, 20))
def test_merged_buckets_have_the_rows_of_all(numbers: list[int], most: int) -> None:
    """There are no more than wanted, from the first on; counts and digests are their sums."""
    rows = iter(range(1000))
    ids = [[f"row-{next(rows)}" for _ in range(number)] for number in numbers]
    merged = merged_to([bucket_of(each) for each in ids], most)
    assert len(merged) <= most
    assert merged_to(merged, 1) == [bucket_of(*ids)]
