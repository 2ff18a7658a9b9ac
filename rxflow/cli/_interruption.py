"""What a signal or the time limit does to a watch, and what is said of the runs that go on."""

import re
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

import click

from rxflow import (
    Closed,
    FlowRunEvent,
    RunChanged,
    RunSeen,
    RxflowError,
    StateChange,
    WatchTimedOut,
)
from rxflow._escapes import one_line
from rxflow._models.durations import short_duration
from rxflow._views.flow_run_changes import cancel_flow_run
from rxflow.cli._exit_status import ExitStatus
from rxflow.cli._output import Terminated, exit_at_once, report

if TYPE_CHECKING:
    from rxflow import Client
    from rxflow.cli._time_limit import TimeLimit

__all__ = ["RunsGoingOn", "cancelled_by_interrupt", "explained_end"]

_MOST_NAMED = 3  # runs in a sentence
_MOST_WAITED_FOR = 10  # the same, of which nothing else was shown

_WATCHED_FOR = re.compile(r"(?<=watched for ).+?(?= and |;)")  # in the error of a time limit
_NO_WAY_BACK = "a recording cannot be continued; to keep all events across restarts"


class RunsGoingOn:
    """The runs of a watch that are not over, those that they started left out."""

    def __init__(
        self, given: Sequence[str] = (), *, command: str = "watch", options: Sequence[str] = ()
    ) -> None:
        """Start with the runs that are known before their first event.

        Args:
            given: Their ids.
            command: The command that is broken off, and comes back to the runs: ``watch`` or
                ``logs -f``; ``wait``, which shows nothing of a run that is not over, so that the
                sentence names more of them, with their states; or ``record``, which cannot go on.
            options: The options to come back with; of ``record`` those for a watch.
        """
        self._command = command
        self._options = options
        self._is_wait = command == "wait"
        self._most_named = _MOST_WAITED_FOR if self._is_wait else _MOST_NAMED
        self._names: dict[str, str | None] = dict.fromkeys(given)
        self._states: dict[str, str] = {}
        self._unread = set(given)
        self._has_any = bool(given)

    def receive(self, event: FlowRunEvent) -> None:
        """Note that a run was found, or is over; also before the event is shown."""
        run = event.flow_run_id
        if not run or event.root_flow_run_id != run:
            return
        if isinstance(event, RunSeen | RunChanged | StateChange):
            self._unread.discard(run)
            self._has_any = True
        if isinstance(event, RunSeen):
            self._names[run] = one_line(event.run.name)
        elif isinstance(event, StateChange):
            self._states[run] = one_line(event.state.name)
            if event.state.is_terminal:
                self._names.pop(run, None)
            else:
                self._names.setdefault(run, None)
        elif isinstance(event, Closed):
            self._names.pop(run, None)

    @property
    def ids(self) -> list[str]:
        """Their ids."""
        return [*self._names]

    def __str__(self) -> str:
        """Say which runs go on, and how to come back to them.

        Of a run that was never read it is not known whether it goes on.
        """
        if not self._has_any:
            return "no run was read"
        if not self._names:
            return "the runs are over"
        if len(self._names) > self._most_named:
            may = "may " if self._unread else ""
            first = [self._shown(run) for run in [*self._names][: self._most_named]]
            among = f", among them {', '.join(first)}" if self._is_wait else ""
            return f"{len(self._names)} flow runs {may}go on{among}; {self._way_back}"
        read = [self._shown(run) for run in self._names if run not in self._unread]
        unread = [self._shown(run) for run in self._names if run in self._unread]
        clauses = [
            *([f"{_flow_runs(read)} {'goes' if len(read) == 1 else 'go'} on"] if read else ()),
            *([f"{_flow_runs(unread)} may go on"] if unread else ()),
        ]
        return f"{', '.join(clauses)}; {self._way_back}"

    @property
    def _way_back(self) -> str:
        are_many = len(self._names) > self._most_named
        if self._command == "record":
            runs = ["RUN..."] if are_many else [*self._names]
            words = ("rxflow", "watch", *runs, "--journal", "DIR", *self._options)
            return f"{_NO_WAY_BACK}: {shlex.join(words)}"
        if are_many:
            return "to come back, give the same command"
        words = ("rxflow", *self._command.split(), *self._names, *self._options)
        return f"to come back: {shlex.join(words)}"

    def _shown(self, run: str) -> str:
        name, state = self._names[run], self._states.get(run) if self._is_wait else None
        if name:
            return f"'{name}' ({run}, {state})" if state else f"'{name}' ({run})"
        return f"{run} ({state})" if state else run

    def after_limit(self, text: str) -> str:
        """Say that the runs go on, and how to come back to them, after the text of a time limit.

        Args:
            text: The text. It has a name in place of an id that the way back has, and a run that is
                in it is not named again.
        """
        named = [run for run in self._names if run in text]
        if not named:
            return f"{text}; {self}"
        if len(self._names) <= self._most_named:
            for run in named:
                if name := self._names[run]:
                    text = text.replace(run, f"'{name}'", 1)  # others are in URLs
        subject = "it" if len(self._names) == 1 else "they"
        verb = "goes" if len(self._names) == 1 else "go"
        return f"{text}; {subject} {'may go' if self._unread else verb} on; {self._way_back}"


@contextmanager
def explained_end(
    given: Sequence[str], *, command: str = "watch", options: Sequence[str] = ()
) -> Generator[RunsGoingOn]:
    """Exit with a sentence about the runs if their watch is broken off.

    Args:
        given: The ids of the runs, as far as they are known.
        command: As for `RunsGoingOn`.
        options: The same.
    """
    runs = RunsGoingOn(given, command=command, options=options)
    try:
        yield runs
    except KeyboardInterrupt:
        report(f"interrupted; {runs}")
        sys.exit(ExitStatus.INTERRUPTED)
    except Terminated:
        report(f"terminated; {runs}")
        sys.exit(ExitStatus.TERMINATED)
    except WatchTimedOut as error:
        report(runs.after_limit(_with_whole_limit(without_advice(error))))
        sys.exit(ExitStatus.TIMEOUT)


@contextmanager
def cancelled_by_interrupt(
    runs: RunsGoingOn, client: "Client", say: Callable[[str], object], *, enabled: bool
) -> Generator[None]:
    """Let the first Ctrl-C cancel runs, while they are followed, and the second end the process.

    Args:
        runs: The runs.
        client: The client of the server.
        say: Shows a sentence, in any thread.
        enabled: Whether to do so at all.
    """
    if not enabled:
        yield
        return

    def on_interrupt(_: int, __: FrameType | None) -> None:
        signal.signal(signal.SIGINT, exit_at_once)
        # In a thread, since this handler interrupts the main one anywhere, as while it writes.
        threading.Thread(target=_cancel, args=(runs.ids, client, say), daemon=True).start()

    replaced = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, replaced)


def _cancel(ids: Iterable[str], client: "Client", say: Callable[[str], object]) -> None:
    for run in ids:
        say(f"cancelling flow run {run}; another Ctrl-C leaves at once")
        try:
            refusal = cancel_flow_run(run, client=client).refusal
        except RxflowError as error:
            say(f"flow run {run} cannot be cancelled: {error}")
        else:
            if refusal is not None:
                say(f"flow run {run} is not cancelled: {one_line(refusal)}")


def without_advice(error: WatchTimedOut) -> str:
    """Return the text of the error without the advice to change an argument of the library."""
    happened, advice, rest = str(error).rpartition("; pass a longer")
    return happened if advice else rest


def _with_whole_limit(text: str) -> str:
    """Return the text of a limit with that of the command: its watch has what other reads leave."""
    context = click.get_current_context(silent=True)
    limit: TimeLimit | None = None if context is None else context.params.get("timeout")
    if limit is None:
        return text
    return _WATCHED_FOR.sub(short_duration(limit.duration), text, count=1)


def _flow_runs(texts: Sequence[str]) -> str:
    if len(texts) == 1:
        return f"flow run {texts[0]}"
    return f"flow runs {', '.join(texts[:-1])} and {texts[-1]}"
