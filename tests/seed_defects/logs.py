"""Checks of log lines that 1.4.1 lost; the table in `tests/test_seed_defects.py` runs them."""

from datetime import timedelta
from random import Random

from rxflow.testing import Writer
from tests.seed_defects.scenes import NewScene, is_verified, messages, state_names


def line_of_an_equal_time_stored_later(new: NewScene) -> None:
    """A line with the timestamp of the last one emitted is emitted, whenever it is stored."""
    scene = new()
    stamp = scene.server.now()
    scene.log("first", timestamp=stamp)
    for second in (3, 20, 40):
        scene.log_at(second, f"{second}", timestamp=stamp)
    scene.at(60, scene.complete)
    events = scene.watch()
    assert messages(events) == ["first", "3", "20", "40"]
    assert is_verified(events)


def older_line_stored_later(new: NewScene) -> None:
    """A line that is older than the last one emitted is emitted, however old it is."""
    scene = new()
    now = scene.server.now()
    scene.log("now", timestamp=now)
    for second in (1, 60, 3600, 86_400):
        stamp = now - timedelta(seconds=second)
        scene.log_at(10, f"{second} s old", timestamp=stamp)
    scene.at(60, scene.complete)
    events = scene.watch()
    assert sorted(messages(events)) == ["1 s old", "3600 s old", "60 s old", "86400 s old", "now"]
    assert is_verified(events)


def lines_after_the_last_state(new: NewScene) -> None:
    """Lines that are uploaded after the run's last state are emitted."""
    scene = new()
    scene.at(30, scene.complete)
    last = [scene.upload_delay * part for part in (0.01, 0.3, 0.6, 1)]
    for number, seconds in enumerate(last):
        stamp = scene.server.now() + timedelta(seconds=29, milliseconds=number)
        scene.log_at(30 + seconds, f"{number}", timestamp=stamp)
    events = scene.watch()
    assert messages(events) == ["0", "1", "2", "3"]
    assert is_verified(events)


def lines_of_two_processes(new: NewScene) -> None:
    """The lines of two processes, each of which uploads its batch every 5 s, are all emitted."""
    scene, random = new(), Random(37)
    written = sorted(random.uniform(1, 28) for _ in range(37))
    writers = [
        Writer(name=name, lines=tuple(written[part::2]), batch=5.0, lag=0.1)
        for part, name in enumerate("ab")
    ]
    begun = scene.server.now()
    for writer in writers:
        for landing in writer.landings(random):
            stamp = begun + timedelta(seconds=landing.timestamp)
            scene.log_at(landing.landed, landing.text, timestamp=stamp)
    scene.at(28, scene.complete)
    events = scene.watch()
    expected = [f"{writer.name}:{n}" for writer in writers for n in range(len(writer.lines))]
    assert sorted(messages(events)) == sorted(expected)
    assert is_verified(events)


def _check_with_clock_skew(new: NewScene, *skews: timedelta) -> None:
    for skew in skews:
        scene = new(skew=skew)
        for second in range(20):
            scene.log_at(second, f"{second}")
        scene.at(20, scene.complete)
        events = scene.watch()
        assert messages(events) == [str(second) for second in range(20)]
        assert is_verified(events)
        watcher_day = f"{scene.time.beginning:%Y-%m-%d}"
        if abs(skew) > timedelta(days=1):
            assert not any(watcher_day in exchange.request for exchange in scene.exchanges)


def watcher_clock_behind(new: NewScene) -> None:
    """A watcher whose clock is behind the server's emits all, and its time is in no request."""
    _check_with_clock_skew(new, timedelta(seconds=30), timedelta(days=400))


def watcher_clock_ahead(new: NewScene) -> None:
    """A watcher whose clock is ahead of the server's emits all, and its time is in no request."""
    _check_with_clock_skew(new, timedelta(seconds=-30), timedelta(days=-400))


def logs_longer_than_a_page(new: NewScene) -> None:
    """All 250 rows are read if a server returns 100 at once, or 10."""
    for limit in (100, 10):
        scene = new(limit=limit)
        expected = [scene.log(f"{number}") for number in range(250)]
        assert [line.id for line in scene.view().get_logs()] == expected


def pages_at_the_end(new: NewScene) -> None:
    """If a run logs 250 lines at its very end, all are emitted from pages of 50."""
    scene = new(limit=50)

    def end() -> None:
        for number in range(250):
            scene.log(f"{number}")
        scene.complete()

    scene.at(20, end)
    events = scene.watch()
    assert messages(events) == [str(number) for number in range(250)]
    assert is_verified(events)


def equal_times_across_pages(new: NewScene) -> None:
    """All 150 rows of one timestamp are read from pages of 100, by a watch and by a view."""
    scene = new(limit=100)
    stamp = scene.server.now()
    expected = {scene.log(f"{number}", timestamp=stamp) for number in range(150)}
    assert {line.id for line in scene.view().get_logs()} == expected
    scene.at(20, scene.complete)
    events = scene.watch()
    assert sorted(map(int, messages(events))) == list(range(150))
    assert is_verified(events)


def finished_run(new: NewScene) -> None:
    """A finished run emits each state and each line, as if it had been watched live."""
    scene = new()
    scene.log("first")
    scene.log("second")
    scene.complete()
    names = [scene.state_name("RUNNING"), scene.state_name("COMPLETED")]
    for wait in (0, 3600):
        scene.time.wait(wait)
        events = scene.watch()
        assert (state_names(events), messages(events)) == (names, ["first", "second"])
        assert is_verified(events)
        assert messages(scene.watch(stream_states=False)) == ["first", "second"]


def logs_of_a_running_run(new: NewScene) -> None:
    """Without an end time `get_logs` reads to the last line, whenever the row was written."""
    scene = new()
    stamp = scene.server.now() + timedelta(days=36_500)
    expected = [scene.log(f"{number}", timestamp=stamp) for number in range(20)]
    view = scene.view()
    assert [line.id for line in view.get_logs()] == expected
    assert view.get_logs(end_time=view.updated_at) == []
