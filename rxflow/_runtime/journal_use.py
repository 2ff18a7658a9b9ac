"""How a watch uses a journal: the arguments `journal`, `replay` and `on_full`, checked.

Does not belong here: what a journal is (`journal`, `journal_directory`), and when it is read and
written (`journaled_session`).
"""

import os
from collections.abc import Sequence
from typing import Protocol

import msgspec
from msgspec.structs import replace

from rxflow._models.arguments import check_type, path_of
from rxflow.events import FlowRunEvent


class JournalObserver(Protocol):
    """Observes how a watch uses its journal, in the thread that reads and writes it."""

    def recall(self, events: Sequence[FlowRunEvent]) -> None:
        """Receive the next of the events that the journal has of a run, when the run joins."""
        ...

    def begin_append(self) -> None:
        """Note that an event is appended now, and handed on after that."""
        ...


class ObservedDirectory(os.PathLike[str]):
    """The path of a directory of journals, also for a watch of one run, and who observes its use.

    A watch takes it as it does any other path; it is for the command line.
    """

    def __init__(self, path: str, observer: JournalObserver) -> None:
        """Name a directory; it is neither opened nor created.

        Args:
            path: Its path.
            observer: Observes what a watch reads and appends.
        """
        self._path = path
        self.observer = observer

    def __fspath__(self) -> str:
        """Return the path."""
        return self._path


class JournalUse(msgspec.Struct, frozen=True, kw_only=True):
    """How a watch uses a journal.

    Attributes:
        path: The path of its file, or of its directory.
        is_directory: Whether it is a directory with a file for each run.
        replays: Whether the events that it has of a run are emitted first.
        outlived: Whether the watch goes on without it when the disk is full.
        keeps_pages: Whether the events of a page are appended and handed on together.
        observer: Observes what is read and appended; None if there is none.
    """

    path: str
    is_directory: bool = False
    replays: bool = False
    outlived: bool = False
    keeps_pages: bool = False
    observer: JournalObserver | None = None

    def with_known_events(self) -> "JournalUse":
        """Return the use by which the events that are known come first."""
        return replace(self, replays=True)

    def check_has_all_events(self, name: str) -> None:
        """Check that all events from the first on are emitted.

        Args:
            name: The method that needs them, for the error.

        Raises:
            ValueError: Those in the journal are left out.
        """
        if not self.replays:
            raise ValueError(
                f"{name}() keeps every event from the first on for its readers; pass replay=True "
                "beside the journal, so that the events in it are among them"
            )


def journal_use_of(
    journal: str | os.PathLike[str] | None, *, replay: bool, on_full: str, is_directory: bool
) -> JournalUse | None:
    """Return the use that the arguments describe; None for no journal.

    Args:
        journal: As in `rxflow.watch_flow_run` or `rxflow.watch_flow_runs`, and so are the others.
        replay: The same.
        on_full: The same.
        is_directory: Whether the journal is a directory, since there may be several runs.

    Raises:
        TypeError: An argument is of another type.
        ValueError: ``on_full`` is neither of the two, ``journal`` is no path, or one of the others
            is passed without it.
    """
    example = "nightly/" if is_directory else "run.jsonl"
    check_type("replay", replay, bool, "True or False")
    if on_full not in ("error", "continue"):
        raise ValueError(f'on_full={on_full!r} is neither "error" nor "continue"; pass one of them')
    if journal is None:
        if replay or on_full == "continue":
            given = "replay=True" if replay else 'on_full="continue"'
            raise ValueError(f"{given} is about a journal; pass journal={example!r} as well")
        return None
    observer = journal.observer if isinstance(journal, ObservedDirectory) else None
    return JournalUse(
        path=path_of("journal", journal, example),
        is_directory=is_directory or observer is not None,
        replays=replay,
        outlived=on_full == "continue",
        observer=observer,
    )
