"""Checkpoints as files: what is in them."""

from pathlib import Path

from rxflow._runtime.checkpoint_format import Checkpoint, decode_checkpoint


def checkpoint_in(path: Path) -> Checkpoint:
    """Return the checkpoint in a file."""
    return decode_checkpoint(path.read_bytes())


def known_count(path: Path) -> int:
    """Return how many log lines a checkpoint knows; 0 if there is none."""
    return checkpoint_in(path).state.order.log_count if path.exists() else 0


def known_states(path: Path) -> set[str]:
    """Return the ids of the run's states that a checkpoint knows."""
    view = checkpoint_in(path).state.order.view if path.exists() else None
    return set() if view is None else {state.id for state in view.states}
