"""How a watch uses checkpoints: the arguments `checkpoint` and `acknowledge`, checked.

Does not belong here: what a checkpoint is (`checkpoints`), and when it is read and written
(`checkpointed_session`).
"""

import os
from typing import NoReturn

import msgspec
from msgspec.structs import replace

from rxflow._models.arguments import path_of
from rxflow._runtime.manual_acks import ManualAcks


class CheckpointUse(msgspec.Struct, frozen=True, kw_only=True):
    """How a watch uses checkpoints.

    Attributes:
        path: The path of the file, or of the directory.
        is_directory: Whether it is a directory with a file for each run.
        acks: The calls by which events are acknowledged; None if the consumer does so by taking
            the next one.
        keeps_pages: Whether the events of a page are handed on and acknowledged together.
        recalls: Whether events come first that fold to the snapshot which the checkpoint has.
    """

    path: str
    is_directory: bool = False
    acks: ManualAcks | None = None
    keeps_pages: bool = False
    recalls: bool = False

    def with_known_events(self) -> "CheckpointUse":
        """Return the use by which the events that are known come first."""
        return replace(self, recalls=True)

    def check_has_all_events(self, name: str) -> NoReturn:
        """Raise an error, since a checkpoint does not have all events from the first on.

        Args:
            name: The method that needs them.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            f"{name}() keeps the events for readers of different pace, so that no event is "
            "acknowledged by all of them; pass a journal in place of the checkpoint"
        )


def checkpoint_use_of(
    checkpoint: str | os.PathLike[str] | None,
    *,
    acknowledge: str,
    is_directory: bool,
    has_journal: bool,
) -> CheckpointUse | None:
    """Return the use that the arguments describe; None for no checkpoint.

    Args:
        checkpoint: As in `rxflow.watch_flow_run` or `rxflow.watch_flow_runs`.
        acknowledge: The same.
        is_directory: Whether it is a directory, since there may be several runs.
        has_journal: Whether the watch has a journal.

    Raises:
        TypeError: An argument is of another type.
        ValueError: ``acknowledge`` is neither of the two, or "manual" without a checkpoint;
            ``checkpoint`` is no path, or passed together with a journal.
    """
    example = "nightly/" if is_directory else "run.ckpt"
    if acknowledge not in ("auto", "manual"):
        raise ValueError(
            f'acknowledge={acknowledge!r} is neither "auto" nor "manual"; pass one of them'
        )
    if checkpoint is None:
        if acknowledge == "manual":
            raise ValueError(
                f'acknowledge="manual" is about a checkpoint; pass checkpoint={example!r} as well'
            )
        return None
    path = path_of("checkpoint", checkpoint, example)
    if path.endswith(os.sep) and not is_directory:
        raise ValueError(f"checkpoint={path!r} is a directory; pass a path such as 'run.ckpt'")
    if has_journal:
        raise ValueError(
            "A watch has a journal or a checkpoint; pass the journal if its file is to have the "
            "events, and the checkpoint if the program keeps them elsewhere, or none"
        )
    acks = ManualAcks() if acknowledge == "manual" else None
    return CheckpointUse(path=path, is_directory=is_directory, acks=acks)
