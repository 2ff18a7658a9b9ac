"""How a watch uses a checkpoint, from the argument of the function that users call."""

import os

import msgspec

from rxflow._models.arguments import path_of


class CheckpointUse(msgspec.Struct, frozen=True, kw_only=True):
    """How a watch uses a checkpoint.

    Attributes:
        path: The path of its file.
        keeps_pages: Whether the events of a page are handed on and acknowledged together.
        recalls: Whether events come first that fold to the snapshot which the checkpoint has.
    """

    path: str
    keeps_pages: bool = False
    recalls: bool = False


def checkpoint_use_of(
    checkpoint: str | os.PathLike[str] | None, *, subflows: bool, has_journal: bool
) -> CheckpointUse | None:
    """Return how a watch uses a checkpoint; None without one.

    Raises:
        TypeError: The argument is not a path of text.
        ValueError: It is empty, or passed together with subflows or a journal.
    """
    if checkpoint is None:
        return None
    path = path_of("checkpoint", checkpoint, "run.ckpt")
    if path.endswith(os.sep):
        raise ValueError(f"checkpoint={path!r} is a directory; pass a path such as 'run.ckpt'")
    if has_journal:
        raise ValueError(
            "A watch has a journal or a checkpoint; pass the journal if its file is to have the "
            "events, and the checkpoint if the program keeps them elsewhere, or none"
        )
    if subflows:
        raise ValueError(
            "A checkpoint is of one run; leave out subflows=True, or pass a journal in its place"
        )
    return CheckpointUse(path=path)
