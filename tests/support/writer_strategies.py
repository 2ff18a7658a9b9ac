"""Hypothesis strategies for the writers of a history."""

from hypothesis import strategies as st

from rxflow.testing import Writer

_seconds = st.floats(0, 100)
_probabilities = st.floats(0, 1)

writers = st.builds(
    Writer,
    name=st.sampled_from("abc"),
    lines=st.lists(_seconds, max_size=20).map(lambda lines: tuple(sorted(lines))),
    skew=st.floats(-4000, 4000),
    resolution=st.sampled_from([1e-6, 0.015, 1.0, 10.0]),
    batch=st.sampled_from([0.0, 0.5, 2.0]),
    lag=st.floats(0, 5),
    late=_probabilities,
    commit=st.floats(0, 1),
    stalled=_probabilities,
)
