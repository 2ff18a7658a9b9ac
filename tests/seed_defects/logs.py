"""Log lines that 1.4.1 lost."""

from datetime import timedelta
from random import Random

from rxflow.testing import Writer
from tests.seed_defects.scenes import New, is_verified, lines, states


def tie_that_comes_later(new: New) -> None:
    """A line with the timestamp of the last one told is told, whenever it comes."""
    scene = new()
    stamp = scene.server.now()
    scene.line("first", timestamp=stamp)
    for second in (3, 20, 40):
        scene.line_at(second, f"{second}", timestamp=stamp)
    scene.at(60, scene.end)
    told = scene.watch()
    assert lines(told) == ["first", "3", "20", "40"]
    assert is_verified(told)


def older_line_that_comes_later(new: New) -> None:
    """A line that is older than the last one told is told, however old it is."""
    scene = new()
    now = scene.server.now()
    scene.line("now", timestamp=now)
    for second in (1, 60, 3600, 86_400):
        stamp = now - timedelta(seconds=second)
        scene.line_at(10, f"{second} s old", timestamp=stamp)
    scene.at(60, scene.end)
    told = scene.watch()
    assert sorted(lines(told)) == ["1 s old", "3600 s old", "60 s old", "86400 s old", "now"]
    assert is_verified(told)


def last_lines(new: New) -> None:
    """Lines that are uploaded after the run's last state are told."""
    scene = new()
    scene.at(30, scene.end)
    last = [scene.late_by * part for part in (0.01, 0.3, 0.6, 1)]
    for number, seconds in enumerate(last):
        stamp = scene.server.now() + timedelta(seconds=29, milliseconds=number)
        scene.line_at(30 + seconds, f"{number}", timestamp=stamp)
    told = scene.watch()
    assert lines(told) == ["0", "1", "2", "3"]
    assert is_verified(told)


def two_processes(new: New) -> None:
    """The lines of two processes, each of which uploads its batch every 5 s, are all told."""
    scene, dice = new(), Random(37)
    written = sorted(dice.uniform(1, 28) for _ in range(37))
    writers = [
        Writer(name=name, lines=tuple(written[part::2]), batch=5.0, lag=0.1)
        for part, name in enumerate("ab")
    ]
    begun = scene.server.now()
    for writer in writers:
        for landing in writer.landings(dice):
            stamp = begun + timedelta(seconds=landing.timestamp)
            scene.line_at(landing.landed, landing.text, timestamp=stamp)
    scene.at(28, scene.end)
    told = scene.watch()
    expected = [f"{writer.name}:{n}" for writer in writers for n in range(len(writer.lines))]
    assert sorted(lines(told)) == sorted(expected)
    assert is_verified(told)


def _watched_by_another_clock(new: New, *skews: timedelta) -> None:
    for skew in skews:
        scene = new(skew=skew)
        for second in range(20):
            scene.line_at(second, f"{second}")
        scene.at(20, scene.end)
        told = scene.watch()
        assert lines(told) == [str(second) for second in range(20)]
        assert is_verified(told)
        ours = f"{scene.time.beginning:%Y-%m-%d}"
        if abs(skew) > timedelta(days=1):
            assert not any(ours in asked.question for asked in scene.asked)


def clock_that_is_behind(new: New) -> None:
    """A watcher whose clock is behind the server's tells all, and its time enters no question."""
    _watched_by_another_clock(new, timedelta(seconds=30), timedelta(days=400))


def clock_that_is_ahead(new: New) -> None:
    """A watcher whose clock is ahead of the server's tells all, and its time enters no question."""
    _watched_by_another_clock(new, timedelta(seconds=-30), timedelta(days=-400))


def truncated_logs(new: New) -> None:
    """All 250 rows come where a server gives 100 at once, and where it gives 10."""
    for limit in (100, 10):
        scene = new(limit=limit)
        expected = [scene.line(f"{number}") for number in range(250)]
        assert [line.id for line in scene.view().get_logs()] == expected


def last_pages(new: New) -> None:
    """Of a run that logs 250 lines at its very end, all are told where 50 come at once."""
    scene = new(limit=50)

    def end() -> None:
        for number in range(250):
            scene.line(f"{number}")
        scene.end()

    scene.at(20, end)
    told = scene.watch()
    assert lines(told) == [str(number) for number in range(250)]
    assert is_verified(told)


def tie_over_a_page(new: New) -> None:
    """All 150 rows of one timestamp come where 100 come at once, to a watch and to a view."""
    scene = new(limit=100)
    stamp = scene.server.now()
    expected = {scene.line(f"{number}", timestamp=stamp) for number in range(150)}
    assert {line.id for line in scene.view().get_logs()} == expected
    scene.at(20, scene.end)
    told = scene.watch()
    assert sorted(map(int, lines(told))) == list(range(150))
    assert is_verified(told)


def run_that_is_over(new: New) -> None:
    """Of a run that is over, each state and each line is told, as if it had been watched."""
    scene = new()
    scene.line("first")
    scene.line("second")
    scene.end()
    names = [scene.name("RUNNING"), scene.name("COMPLETED")]
    for wait in (0, 3600):
        scene.time.wait(wait)
        told = scene.watch()
        assert (states(told), lines(told)) == (names, ["first", "second"])
        assert is_verified(told)
        assert lines(scene.watch(stream_states=False)) == ["first", "second"]


def logs_of_a_running_run(new: New) -> None:
    """Without an end, the lines go up to the last, not to when the run's row was written."""
    scene = new()
    stamp = scene.server.now() + timedelta(days=36_500)
    expected = [scene.line(f"{number}", timestamp=stamp) for number in range(20)]
    view = scene.view()
    assert [line.id for line in view.get_logs()] == expected
    assert view.get_logs(end_time=view.updated_at) == []
