"""A watch that goes on from a file: from a journal, or from a checkpoint.

Belongs here: which of the two. Does not belong here: what each of them does (`journaled_session`,
`checkpointed_session`).
"""

from typing import TYPE_CHECKING, Protocol

from reactivex import abc

from rxflow._forks import no_fork
from rxflow._runtime.checkpoint_use import CheckpointUse
from rxflow._runtime.engine import EngineSession
from rxflow._runtime.journal_use import JournalUse
from rxflow._runtime.manual_acks import ManualAcks
from rxflow._watching.event_order import EventPage
from rxflow._watching.watch_spec import WatchSpec

if TYPE_CHECKING:
    from rxflow._runtime.checkpointed_session import CheckpointWriter, LoadedSession
    from rxflow._runtime.journaled_session import JournalWriter, SeededSession
    from rxflow._runtime.resumed_session import TakeUp

    class ResumableSession(SeededSession, LoadedSession, Protocol):
        """A session that goes on after an earlier one's events, or after what is known of them."""


FileUse = JournalUse | CheckpointUse
"""How a watch uses the file from which it goes on."""


def resumed_watch(
    session: "ResumableSession",
    spec: WatchSpec,
    use: FileUse,
    scheduler: abc.SchedulerBase,
    observer: abc.ObserverBase[EventPage],
    *,
    api_url: str,
    take_up: "TakeUp | None" = None,
) -> "tuple[EngineSession, JournalWriter | CheckpointWriter]":
    """Return a watch that goes on from a file: what an engine runs, and what takes its pages.

    Args:
        session: The session; no command was taken from it.
        spec: What is watched.
        use: How the file is used.
        scheduler: The scheduler of the engine.
        observer: What the pages are handed on to.
        api_url: The URL of the API.
        take_up: Adds the runs to the session that an earlier watch was not done with.
    """
    with no_fork:
        # Not before they are needed: their twelve modules take 4 ms to import.
        from rxflow._runtime.checkpointed_session import checkpointed  # noqa: PLC0415
        from rxflow._runtime.journaled_session import journaled  # noqa: PLC0415

    if isinstance(use, JournalUse):
        return journaled(session, spec, use, scheduler, observer, take_up=take_up)
    return checkpointed(session, spec, use, scheduler, observer, api_url=api_url, take_up=take_up)


def acks_of(use: FileUse | None) -> ManualAcks:
    """Return what takes the calls of `ack` of a stream.

    Raises:
        ValueError: Its events are not acknowledged by such calls.
    """
    acks = use.acks if isinstance(use, CheckpointUse) else None
    if acks is None:
        raise ValueError(
            "ack() is for a stream whose events are acknowledged by it; pass a checkpoint and "
            'acknowledge="manual" to the watch, and call ack() of the stream that it returns'
        )
    return acks


def check_has_no_acks(use: FileUse | None, name: str) -> None:
    """Check that events are not acknowledged by calls of `ack`.

    Args:
        use: The use.
        name: The method that emits none of them, for the error.

    Raises:
        ValueError: They are.
    """
    if isinstance(use, CheckpointUse) and use.acks is not None:
        raise ValueError(
            f"{name}() emits no events that ack() could be called for; leave out "
            'acknowledge="manual", or fold the events of the stream by rxflow.fold'
        )
