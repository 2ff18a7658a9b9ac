"""Landings that a `Writer` draws for its lines."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from writer_strategies import writers

from rxflow.testing import Writer


@given(writers, st.integers())
def test_lines_land_once_and_in_the_order_they_were_written(writer: Writer, seed: int) -> None:
    """A line is inserted after the one before it has landed."""
    landings = list(writer.landings(Random(seed)))
    assert [line.text for line in landings] == [
        f"{writer.name}:{number}" for number in range(len(writer.lines))
    ]
    landed = 0.0
    for line in landings:
        assert landed < line.inserted <= line.landed
        landed = line.landed


@given(writers, st.integers())
def test_a_line_is_not_inserted_before_it_was_written(writer: Writer, seed: int) -> None:
    """It waits for its batch, and its timestamp is that of the writer's clock."""
    for written, line in zip(writer.lines, writer.landings(Random(seed)), strict=True):
        assert line.inserted >= written
        clock = written + writer.skew
        assert clock - writer.resolution - 1e-6 <= line.timestamp <= clock + 1e-6
        if writer.batch:
            assert line.inserted >= writer.batch * (written // writer.batch + 1)


def test_by_default_lines_land_when_they_are_written() -> None:
    """A writer has no skew, no batches, no lag and no slow commits by default."""
    lines = Writer(name="a", lines=(1.0, 2.0)).landings(Random(0))
    assert [(line.timestamp, line.inserted, line.landed) for line in lines] == [
        (1.0, 1.0, 1.0),
        (2.0, 2.0, 2.0),
    ]
