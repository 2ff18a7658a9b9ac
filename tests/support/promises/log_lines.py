"""Promises about log lines: unchanged, once, and in order or flagged late."""

from servers_under_test import LogLine, Reactions, ServerUnderTest, on_line, on_state, watch_to_end

from promises.shared import (
    LEVEL_OF,
    MORE_THAN_TWO_PAGES,
    SECOND,
    assert_complete,
    late_messages,
    messages,
    watch_all,
)
from rxflow import (
    StateType,
)


def test_a_line_is_emitted_unchanged(prefect: ServerUnderTest, finished_run: str) -> None:
    """Text, level and time are those that were stored, to the microsecond."""
    run = prefect.add_run()
    moment = prefect.now().replace(microsecond=123456)
    texts = ["", "two\nlines", "\N{SNOWMAN} \U0001f600", "%s {} [red]", "x" * 5_000]
    prefect.log(run, *(LogLine(text, moment + n * SECOND) for n, text in enumerate(texts)))
    prefect.set_state(run, StateType.COMPLETED)
    lines = watch_to_end(prefect, watch_all(prefect, run).logs)
    assert [line.message for line in lines] == texts
    assert [line.timestamp for line in lines] == [moment + n * SECOND for n in range(len(texts))]
    levels = {
        line.message: line.level
        for line in watch_to_end(prefect, watch_all(prefect, finished_run).logs)
    }
    assert levels == LEVEL_OF


def test_lines_of_one_poll_are_sorted_by_time(prefect: ServerUnderTest) -> None:
    """Lines that were stored between two polls, in any order, are emitted by time."""
    run = prefect.add_run(state=StateType.RUNNING)
    begun = prefect.now() + SECOND
    shuffled = [LogLine(f"line {n}", begun + n * SECOND) for n in (3, 0, 4, 1, 2)]
    reactions = Reactions(
        (on_state(StateType.RUNNING), lambda: prefect.log(run, *shuffled)),
        (on_line("line 4"), lambda: prefect.set_state(run, StateType.COMPLETED)),
    )
    events = watch_to_end(prefect, watch_all(prefect, run), reactions)
    assert_complete(events, prefect, run)
    assert messages(events) == [f"line {n}" for n in range(5)]
    assert not [text for text in late_messages(events) if text.startswith("line")]


def test_a_line_stored_late_is_flagged(prefect: ServerUnderTest) -> None:
    """It is emitted once, after later lines, and flagged; a watch after the end has it in order."""
    run = prefect.add_run(state=StateType.RUNNING)
    before = LogLine("late", prefect.now() - 30 * SECOND)
    reactions = Reactions(
        (on_state(StateType.RUNNING), lambda: prefect.log(run, "one")),
        (on_line("one"), lambda: prefect.log(run, before)),
        (on_line("late"), lambda: prefect.log(run, "two")),
        (on_line("two"), lambda: prefect.set_state(run, StateType.COMPLETED)),
    )
    stream = watch_all(prefect, run)
    events = watch_to_end(prefect, stream, reactions)
    assert_complete(events, prefect, run)
    assert messages(events) == ["one", "late", "two"]
    assert late_messages(events) == ["late"]
    afterwards = watch_to_end(prefect, stream)
    assert_complete(afterwards, prefect, run)
    assert messages(afterwards) == ["late", "one", "two"]
    assert late_messages(afterwards) == []


def test_equal_lines_are_emitted_one_by_one(prefect: ServerUnderTest) -> None:
    """Lines with equal times and texts are all emitted, and are not late among each other."""
    run = prefect.add_run(state=StateType.RUNNING)
    moment = prefect.now() + SECOND
    tie, last = LogLine("tie", moment), LogLine("last", moment)
    reactions = Reactions(
        (on_state(StateType.RUNNING), lambda: prefect.log(run, tie, tie, tie)),
        (on_line("tie"), lambda: prefect.log(run, tie, tie)),
        (on_line("tie"), lambda: prefect.log(run, last)),
        (on_line("last"), lambda: prefect.set_state(run, StateType.COMPLETED)),
    )
    stream = watch_all(prefect, run)
    for events in (watch_to_end(prefect, stream, reactions), watch_to_end(prefect, stream)):
        assert_complete(events, prefect, run)
        assert messages(events) == ["tie"] * 5 + ["last"]
        assert "tie" not in late_messages(events)


def test_more_lines_than_two_pages_are_in_order(prefect: ServerUnderTest) -> None:
    """More lines than two pages, half of them of one time, are emitted once, live and later."""
    run = prefect.add_run(state=StateType.RUNNING)
    begun, half = prefect.now() + SECOND, MORE_THAN_TWO_PAGES // 2
    times = [begun + min(n, half) * SECOND / 100 for n in range(MORE_THAN_TWO_PAGES)]
    lines = [LogLine(f"line {n:03}", time) for n, time in enumerate(times)]
    reactions = Reactions(
        (on_state(StateType.RUNNING), lambda: prefect.log(run, *lines)),
        (
            on_line(lines[half - 1].message),
            lambda: prefect.set_state(run, StateType.COMPLETED),
        ),
    )
    stream = watch_all(prefect, run)
    for events in (watch_to_end(prefect, stream, reactions), watch_to_end(prefect, stream)):
        assert_complete(events, prefect, run)
        emitted = messages(events)
        assert emitted[:half] == [line.message for line in lines[:half]]
        assert sorted(emitted) == [line.message for line in lines]


def test_lines_after_the_end_restart_the_drain(prefect: ServerUnderTest) -> None:
    """Each line that is stored during the drain is emitted, and restarts the drain."""
    run = prefect.add_run(state=StateType.RUNNING)
    reactions = Reactions(
        (on_state(StateType.RUNNING), lambda: prefect.set_state(run, StateType.FAILED)),
        (on_state(StateType.FAILED), lambda: prefect.log(run, "one")),
        (on_line("one"), lambda: prefect.log(run, "two")),
        (on_line("two"), lambda: prefect.log(run, "three")),
    )
    events = watch_to_end(prefect, watch_all(prefect, run, drain=1), reactions)
    assert_complete(events, prefect, run)
    assert messages(events) == ["one", "two", "three"]
