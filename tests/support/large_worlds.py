"""Hostile worlds of one run with thousands of lines, for simulations of many rows.

What happens is drawn as in `rxflow.testing.World`, and then each writer gets its share of the
lines, over a time in which most polls have a page or two. Replies have up to 200 rows.
"""

from collections.abc import MutableSequence
from random import Random
from typing import Any

from msgspec.structs import replace

from rxflow.testing import World
from rxflow.testing._world import draw_history

_RATES = (20.0, 50.0, 100.0, 200.0)  # lines a second
_COARSE = 1.0  # seconds: what lines of one timestamp fill more than a few pages
_SHUFFLED = 20  # rows


class _QuickShuffles(Random):
    """Puts a table in another order in a time that hardly grows with it."""

    def shuffle(self, x: MutableSequence[Any]) -> None:
        """Rotate the rows, maybe reverse them, and shuffle a few; ties come in another order."""
        if not x:
            return
        start = self.randrange(len(x))
        x[:] = [*x[start:], *x[:start]]
        if self.random() < 0.5:
            x.reverse()
        start = self.randrange(len(x))
        part = [*x[start : start + _SHUFFLED]]
        super().shuffle(part)
        x[start : start + _SHUFFLED] = part


def large_world(seed: int, rows: int) -> World:
    """Return the world of a seed whose run has so many lines."""
    kind = World(seed).kind
    random = Random(f"large {seed}")
    history = draw_history(random, kind)
    while not all(writer.lines for writer in history.writers):
        history = draw_history(random, kind)
    length = rows / random.choice(_RATES)
    by = length / history.states[-1][0]
    writers = tuple(
        replace(
            writer,
            lines=tuple(
                sorted(random.uniform(1, length) for _ in range(rows // len(history.writers)))
            ),
            resolution=min(writer.resolution, _COARSE),
        )
        for writer in history.writers
    )
    stretched = replace(
        history,
        states=tuple((at * by, state) for at, state in history.states),
        writers=writers,
        deletions=tuple((at * by, count) for at, count in history.deletions),
        restores=tuple((at * by, age) for at, age in history.restores),
    )
    world = World(seed, kind=kind, history=stretched, page_limit=200)
    world.server._fault_random = _QuickShuffles(f"large {seed}")
    return world
