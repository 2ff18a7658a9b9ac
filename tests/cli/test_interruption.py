"""What is said of the runs of a watch that was broken off."""

from msgspec.structs import replace
from sample_events import OTHER, RUN, closed, entered, seen

from rxflow import FlowRunEvent
from rxflow.cli._interruption import RunsGoingOn

BACK = "to come back: rxflow watch"


def going_on(*given: str, events: tuple[FlowRunEvent, ...] = ()) -> RunsGoingOn:
    """The runs of a watch after some events; some are given by their ids."""
    runs = RunsGoingOn(given)
    for event in events:
        runs.receive(event)
    return runs


def said_of(*given: str, events: tuple[FlowRunEvent, ...] = ()) -> str:
    """The sentence after some events of runs that were given by their ids."""
    return str(going_on(*given, events=events))


def test_a_run_that_was_read_goes_on() -> None:
    """With its name, and how to come back to it."""
    assert said_of(RUN, events=(seen(),)) == f"flow run 'amber-fox' ({RUN}) goes on; {BACK} {RUN}"


def test_a_run_that_was_never_read_may_go_on() -> None:
    """It may as well be over, or not exist."""
    assert said_of(RUN) == f"flow run {RUN} may go on; {BACK} {RUN}"
    assert said_of(RUN, OTHER) == f"flow runs {RUN} and {OTHER} may go on; {BACK} {RUN} {OTHER}"


def test_of_two_runs_one_may_have_been_read() -> None:
    """Each has what is known of it."""
    assert said_of(RUN, OTHER, events=(entered("Running"),)) == (
        f"flow run {RUN} goes on, flow run {OTHER} may go on; {BACK} {RUN} {OTHER}"
    )


def test_many_runs_are_counted() -> None:
    """Of which all may be over if one was not read."""
    many = [str(number) for number in range(5)]
    back = "to come back, give the same command"
    assert said_of(*many) == f"5 flow runs may go on; {back}"
    read = tuple(seen(run=run) for run in many)
    assert said_of(*many, events=read) == f"5 flow runs go on; {back}"


def test_runs_that_filters_find_may_be_unknown() -> None:
    """Before one was found, which is not the same as that all are over."""
    assert said_of() == "no run was read"
    subflow = replace(seen(run=OTHER), root=RUN)
    assert said_of(events=(seen(), subflow, closed(9))) == "the runs are over"


def waited_for(*events: FlowRunEvent) -> RunsGoingOn:
    """The runs of a wait after some events."""
    runs = RunsGoingOn(command="wait")
    for event in events:
        runs.receive(event)
    return runs


def test_of_a_wait_states_are_named() -> None:
    """It shows nothing else of a run that goes on; and the way back is a wait."""
    runs = waited_for(seen(), entered("Running"))
    assert str(runs) == (
        f"flow run 'amber-fox' ({RUN}, Running) goes on; to come back: rxflow wait {RUN}"
    )


def test_of_a_wait_ten_runs_are_named() -> None:
    """And how many there are."""
    many = [f"run-{number}" for number in range(11)]
    assert all(run in str(waited_for(*(seen(run=run) for run in many[:10]))) for run in many[:10])
    runs = waited_for(*(seen(run=run) for run in many))
    assert f"'amber-fox' ({many[9]})" in str(runs)
    assert many[10] not in str(runs)
    assert str(runs).startswith(f"11 flow runs go on, among them 'amber-fox' ({many[0]}), ")
    assert str(runs).endswith("; to come back, give the same command")
    text = f"11 not over: {many[0]} (Running) and 10 more"
    assert runs.after_limit(text) == f"{text}; they go on; to come back, give the same command"


def test_the_way_back_is_the_command_that_was_given() -> None:
    """With its options, quoted for a shell."""
    runs = RunsGoingOn([RUN], command="logs -f", options=["--include", "timed? out"])
    assert str(runs).endswith(f"; to come back: rxflow logs -f {RUN} --include 'timed? out'")


def test_a_recording_cannot_be_continued() -> None:
    """What can is the watch of the same runs with a journal."""
    why = "a recording cannot be continued; to keep all events across restarts"
    options = ["--profile", "prod"]
    back = "--journal DIR --profile prod"
    two = RunsGoingOn([RUN, OTHER], command="record", options=options)
    assert str(two).endswith(f" may go on; {why}: rxflow watch {RUN} {OTHER} {back}")
    many = RunsGoingOn([str(number) for number in range(5)], command="record", options=options)
    assert str(many) == f"5 flow runs may go on; {why}: rxflow watch RUN... {back}"


def test_after_a_time_limit_a_run_is_named_once() -> None:
    """By its name, since its id is in the command to come back; a URL stays as it is."""
    runs = going_on(RUN, events=(seen(), entered("Running")))
    why = f"(the last request failed: http://localhost/{RUN} is gone)"
    assert runs.after_limit(f"Flow run {RUN} was watched for 2 s {why}") == (
        f"Flow run 'amber-fox' was watched for 2 s {why}; it goes on; {BACK} {RUN}"
    )
    many = going_on(RUN, OTHER, events=(seen(), seen(run=OTHER)))
    assert many.after_limit(f"2 not over: {RUN} (Running), {OTHER} (Late)") == (
        f"2 not over: 'amber-fox' (Running), 'amber-fox' (Late); they go on; {BACK} {RUN} {OTHER}"
    )


def test_after_a_time_limit_a_run_that_was_not_read_may_go_on() -> None:
    """It has no name yet; and of runs that are over there is nothing to come back to."""
    unread = going_on(RUN)
    assert unread.after_limit(f"Flow run {RUN} was watched for 2 s") == (
        f"Flow run {RUN} was watched for 2 s; it may go on; {BACK} {RUN}"
    )
    assert unread.after_limit("the time limit of 2 s is over") == (
        f"the time limit of 2 s is over; flow run {RUN} may go on; {BACK} {RUN}"
    )
    over = going_on(RUN, events=(seen(), closed(9)))
    assert over.after_limit("all are over") == "all are over; the runs are over"
