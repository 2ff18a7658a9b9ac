"""`sinks.to_loguru` and `sinks.to_logging`: records with the fields of their events."""

import io
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from time import tzset
from typing import Any

import msgspec
import pytest
import reactivex as rx
from loguru import logger as loguru_logger
from reactivex import operators as ops
from sink_pipelines import (
    FORMAT_CHARACTERS,
    LINES,
    NOON,
    RUN,
    RUN_ID,
    RUN_SEEN,
    STATE_CHANGE,
    TASK_STATE_CHANGE,
    Broken,
    log_line,
    read_events,
    recording_of,
)
from virtual_world import Recording, World

from rxflow import Closed, FlowRunEvent, RunChanged, RunSeen, sinks, watch_flow_run

CONTEXT: dict[str, str | None] = {
    "flow_run_id": RUN_ID,
    "flow_run_name": None,
    "task_run_id": None,
    "task_run_name": None,
    "logger": None,
}


# -- loguru -------------------------------------------------------------------------------------


class LoguruRecorder:
    """A loguru handler that records.

    Attributes:
        records: The records.
        texts: The records, formatted.
    """

    def __init__(self) -> None:
        self.records: list[Any] = []
        self.texts: list[str] = []

    def __call__(self, message: Any) -> None:
        """Record a message."""
        self.records.append(message.record)
        self.texts.append(str(message))


@pytest.fixture
def recorder() -> Iterator[LoguruRecorder]:
    """A recorder added to loguru, as a user would add it."""
    recorder = LoguruRecorder()
    handler = loguru_logger.add(recorder, level=0, format="{name}|{level}|{message}", catch=False)
    yield recorder
    loguru_logger.remove(handler)


def to_loguru(*written: FlowRunEvent, logger: Any = None) -> Recording[Any]:
    """Write events to loguru."""
    return recording_of(rx.of(*written).pipe(sinks.to_loguru(logger)))


def test_a_loguru_record_has_time_level_and_text(recorder: LoguruRecorder) -> None:
    """A record has the event's time, level and text, and the name of the flow's logger."""
    to_loguru(log_line("two orders have no price", level=30), STATE_CHANGE)
    log, state = recorder.records
    assert (log["name"], log["level"].name, log["level"].no) == ("prefect.flow_runs", "WARNING", 30)
    assert (log["time"], log["message"]) == (NOON, "two orders have no price")
    assert log["time"].tzinfo is not None
    assert (state["name"], state["level"].name) == ("rxflow", "ERROR")
    assert state["message"] == "Entered state Failed: no disk"
    assert log["function"] == log["file"].name == log["module"] == "<unknown>"
    assert log["line"] == 0


def test_loguru_formats_the_time_of_the_event() -> None:
    """The time formats of loguru show the event's time, to the microsecond."""
    recorder = LoguruRecorder()
    handler = loguru_logger.add(recorder, format="{time:YYYY-MM-DD HH:mm:ss.SSSSSS!UTC}{message}")
    to_loguru(log_line(""))
    loguru_logger.remove(handler)
    assert recorder.texts == ["2026-11-22 12:00:00.123456\n"]


EXTREMES = [
    datetime(*date, tzinfo=timezone(timedelta(hours=hours)))
    for date in ((1, 1, 1, 0, 0, 0, 0), (9999, 12, 31, 23, 59, 59, 999_999))
    for hours in (-12, 0, 14)
]


@pytest.mark.parametrize("time", EXTREMES, ids=str)
@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "Etc/GMT+12"])
def test_sinks_write_lines_of_any_date(
    time: datetime, zone: str, logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line of the year 1 or 9999 is written, in any time zone of the line and of this machine."""
    monkeypatch.setenv("TZ", zone)
    tzset()
    recorder = LoguruRecorder()
    formats = "{time:YYYY-MM-DD HH:mm:ss.SSSSSS!UTC} {time} {time:X} {message}"
    handler = loguru_logger.add(recorder, format=formats, catch=False)
    stream = logging.StreamHandler(io.StringIO())
    stream.setFormatter(logging.Formatter("%(asctime)s %(relativeCreated)d %(message)s"))
    logger.addHandler(stream)
    line = msgspec.structs.replace(log_line("far"), timestamp=time)
    try:
        written = [to_loguru(line), to_logging(logger, line)]
    finally:
        loguru_logger.remove(handler)
        logger.removeHandler(stream)
        monkeypatch.undo()
        tzset()
    assert [recording.error for recording in written] == [None, None]
    assert recorder.texts[0].endswith(" far\n")
    assert stream.stream.getvalue().endswith(" far\n")


@pytest.mark.parametrize("options", [{}, {"colors": True}, {"record": True}, {"lazy": True}])
def test_loguru_does_not_format_the_message(
    options: dict[str, bool], recorder: LoguruRecorder
) -> None:
    """Braces, color tags and newlines stay as they are, whatever the options of the logger."""
    to_loguru(log_line(FORMAT_CHARACTERS), logger=loguru_logger.opt(**options))
    assert recorder.records[0]["message"] == FORMAT_CHARACTERS
    assert recorder.texts == [f"prefect.flow_runs|INFO|{FORMAT_CHARACTERS}\n"]


def test_loguru_does_not_format_names() -> None:
    """Names with braces and color tags do not disturb a colored format."""
    run = msgspec.structs.replace(RUN, name="<red>{0}")
    recorder = LoguruRecorder()
    handler = loguru_logger.add(
        recorder, level=0, colorize=True, catch=False, format="{extra[flow_run_name]} {message}"
    )
    to_loguru(RunSeen(flow_run_id=RUN_ID, run=run), log_line(FORMAT_CHARACTERS))
    loguru_logger.remove(handler)
    assert recorder.texts[1] == f"<red>{{0}} {FORMAT_CHARACTERS}\n"


LEVELS = {5: "TRACE", 20: "INFO", 25: "SUCCESS", 50: "CRITICAL", 35: "Level 35", 0: "Level 0"}


@pytest.mark.parametrize("level", LEVELS)
def test_loguru_levels_have_their_own_names(level: int, recorder: LoguruRecorder) -> None:
    """A level that loguru knows has its name there, and any other its number."""
    to_loguru(log_line(level=level))
    assert (recorder.records[0]["level"].no, recorder.records[0]["level"].name) == (
        level,
        LEVELS[level],
    )


def test_loguru_has_no_level_below_zero(recorder: LoguruRecorder) -> None:
    """A level below zero, which loguru rejects, is recorded as zero."""
    assert to_loguru(log_line(level=-7)).completed
    assert recorder.records[0]["level"].no == 0


DISABLED = {"once": [], "again": ["rxflow"], "by name": ["rxflow.sinks"]}


@pytest.mark.parametrize("names", DISABLED.values(), ids=DISABLED)
def test_events_reach_loguru_while_rxflow_is_disabled(
    names: list[str], recorder: LoguruRecorder
) -> None:
    """Events reach loguru though rxflow's own log is disabled, however often and when."""
    loguru_logger.enable("rxflow")
    loguru_logger.disable("rxflow")
    for name in names:
        loguru_logger.disable(name)
    to_loguru(*LINES)
    assert [record["message"] for record in recorder.records] == ["one", "two", "three"]


def test_loguru_handlers_filter_by_name_and_level() -> None:
    """A handler's level and its filter by module apply to the names of the flow's loggers."""
    recorder = LoguruRecorder()
    wanted = {"": False, "prefect": "WARNING"}
    handler = loguru_logger.add(recorder, level=0, filter=wanted)  # type: ignore[arg-type]
    to_loguru(log_line("quiet"), log_line("loud", level=40), STATE_CHANGE)
    loguru_logger.remove(handler)
    assert [record["message"] for record in recorder.records] == ["loud"]


def test_loguru_binds_run_and_task(recorder: LoguruRecorder) -> None:
    """Each record has the ids of run and task run, and their names once an event had them."""
    bound = loguru_logger.bind(team="data")
    to_loguru(log_line("early", task_run_id="task-run"), RUN_SEEN, TASK_STATE_CHANGE, logger=bound)
    to_loguru(
        RUN_SEEN,
        TASK_STATE_CHANGE,
        log_line("late", task_run_id="task-run"),
        STATE_CHANGE,
        logger=bound,
    )
    early, _, _, _, _, late, state = (record["extra"] for record in recorder.records)
    assert early == CONTEXT | {
        "team": "data",
        "kind": "log",
        "task_run_id": "task-run",
        "logger": "prefect.task_runs",
    }
    assert late == early | {"flow_run_name": "amber-fox", "task_run_name": "load-0"}
    assert state == CONTEXT | {"team": "data", "kind": "state", "flow_run_name": "amber-fox"}


def test_a_new_name_of_the_run_is_bound(recorder: LoguruRecorder) -> None:
    """A run that is renamed is bound by its new name from then on."""
    renamed = RunChanged(flow_run_id=RUN_ID, run=msgspec.structs.replace(RUN, name="red-fox"))
    to_loguru(RUN_SEEN, log_line(), renamed, log_line())
    names = [record["extra"]["flow_run_name"] for record in recorder.records]
    assert names == ["amber-fox", "amber-fox", "red-fox", "red-fox"]


def test_runs_keep_their_names(recorder: LoguruRecorder) -> None:
    """In a stream of several runs each event is bound to its own run."""
    other = msgspec.structs.replace(RUN, id="other", name="blue-fox")
    to_loguru(RUN_SEEN, RunSeen(flow_run_id="other", run=other), log_line())
    assert recorder.records[2]["extra"]["flow_run_name"] == "amber-fox"


def test_a_users_patcher_still_patches(recorder: LoguruRecorder) -> None:
    """The patcher of the user's logger applies to the records."""
    patched = loguru_logger.patch(lambda record: record["extra"].update(host="h1"))
    to_loguru(log_line(), logger=patched)
    assert recorder.records[0]["extra"]["host"] == "h1"


def test_a_failing_loguru_handler_is_an_error() -> None:
    """An error of a handler that was added with catch=False fails the pipeline."""

    def fail(_: object) -> None:
        raise Broken

    handler = loguru_logger.add(fail, catch=False)
    recording = to_loguru(*LINES)
    loguru_logger.remove(handler)
    assert isinstance(recording.error, Broken)
    assert recording.values == []


# -- logging ------------------------------------------------------------------------------------


class RecordingHandler(logging.Handler):
    """A handler that records."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Record a record."""
        self.records.append(record)


@pytest.fixture
def handler() -> RecordingHandler:
    """A handler that records."""
    return RecordingHandler()


@pytest.fixture
def logger(handler: RecordingHandler) -> Iterator[logging.Logger]:
    """A logger of the user's."""
    logger = logging.getLogger("my_flows")
    logger.setLevel(1)
    logger.propagate = False
    logger.addHandler(handler)
    yield logger
    logger.removeHandler(handler)
    logger.filters.clear()
    logger.propagate = True
    logger.setLevel(logging.NOTSET)


def to_logging(logger: logging.Logger | None, *written: FlowRunEvent) -> Recording[Any]:
    """Write events to logging."""
    return recording_of(rx.of(*written).pipe(sinks.to_logging(logger)))


def test_a_logging_record_has_time_level_and_text(
    logger: logging.Logger, handler: RecordingHandler
) -> None:
    """A record has the event's time, level and text, and the name of the user's logger."""
    to_logging(logger, log_line("two orders have no price", level=30), log_line(level=35))
    record, odd = handler.records
    assert (record.name, record.levelno, record.levelname) == ("my_flows", 30, "WARNING")
    assert record.getMessage() == "two orders have no price"
    assert datetime.fromtimestamp(record.created, UTC) == NOON
    assert record.msecs == 123
    assert odd.levelname == "Level 35"
    formatter = logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s")
    shown = NOON.astimezone().strftime("%Y-%m-%d %H:%M:%S,123 WARNING my_flows")
    assert formatter.format(record) == f"{shown} two orders have no price"


def test_relative_time_is_that_of_the_event(
    logger: logging.Logger, handler: RecordingHandler
) -> None:
    """Two records are as far apart in `relativeCreated` as their events are."""
    later = msgspec.structs.replace(log_line(), timestamp=NOON + timedelta(seconds=90))
    to_logging(logger, log_line(), later)
    first, second = (record.relativeCreated for record in handler.records)
    assert second - first == pytest.approx(90_000, abs=1)


def test_logging_does_not_format_the_message(
    logger: logging.Logger, handler: RecordingHandler
) -> None:
    """Percent signs, braces and newlines stay as they are."""
    to_logging(logger, log_line(FORMAT_CHARACTERS))
    assert handler.records[0].getMessage() == FORMAT_CHARACTERS
    assert logging.Formatter("%(message)s").format(handler.records[0]) == FORMAT_CHARACTERS


def test_logging_binds_run_and_task(logger: logging.Logger, handler: RecordingHandler) -> None:
    """Each record has the ids of run and task run, and their names once an event had them."""
    to_logging(
        logger,
        log_line("early"),
        RUN_SEEN,
        TASK_STATE_CHANGE,
        log_line("late", task_run_id="task-run"),
    )
    early, *_, late = handler.records
    assert {name: vars(early)[name] for name in CONTEXT} == CONTEXT | {
        "logger": "prefect.flow_runs"
    }
    text = "%(flow_run_name)s/%(task_run_name)s %(logger)s %(kind)s"
    assert logging.Formatter(text).format(late) == "amber-fox/load-0 prefect.task_runs log"


def test_names_are_recorded_below_the_level(
    logger: logging.Logger, handler: RecordingHandler
) -> None:
    """The run's name is known though the event that has it is below the logger's level."""
    logger.setLevel(logging.INFO)
    to_logging(logger, RUN_SEEN, log_line())
    assert [record.flow_run_name for record in handler.records] == ["amber-fox"]


def test_the_loggers_level_and_filters_apply(
    logger: logging.Logger, handler: RecordingHandler
) -> None:
    """An event below the level, or rejected by a filter, is passed on but not handled."""
    logger.setLevel(logging.WARNING)
    logger.addFilter(lambda record: vars(record)["kind"] != "state")
    recording = to_logging(logger, log_line("quiet"), log_line("loud", level=40), STATE_CHANGE)
    assert [record.getMessage() for record in handler.records] == ["loud"]
    assert len(recording.values) == 3


def test_a_record_factory_applies(logger: logging.Logger, handler: RecordingHandler) -> None:
    """The user's record factory makes the records, even if it sets one of our names."""
    usual = logging.getLogRecordFactory()

    def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = usual(*args, **kwargs)
        vars(record).update(host="h1", flow_run_id="of another")
        return record

    logging.setLogRecordFactory(factory)
    recording = to_logging(logger, log_line())
    logging.setLogRecordFactory(usual)
    assert recording.completed
    assert (handler.records[0].host, handler.records[0].flow_run_id) == ("h1", RUN_ID)


def test_the_default_logger_is_rxflow(handler: RecordingHandler) -> None:
    """Without a logger the records have the name rxflow."""
    logger = logging.getLogger("rxflow")
    logger.addHandler(handler)
    to_logging(None, log_line(level=40))
    logger.removeHandler(handler)
    assert [record.name for record in handler.records] == ["rxflow"]


@pytest.mark.parametrize("part", ["handler", "filter"])
def test_a_handler_that_raises_is_an_error(part: str, logger: logging.Logger) -> None:
    """An error raised by a handler or a filter of the user fails the pipeline."""

    def fail(_: object) -> bool:
        raise Broken

    if part == "filter":
        logger.addFilter(fail)
    else:
        logger.handlers[0].emit = fail  # type: ignore[method-assign, assignment]
    recording = to_logging(logger, *LINES)
    assert isinstance(recording.error, Broken)
    assert recording.values == []


def test_a_standard_handler_reports_its_own_errors(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stream handler with a closed stream reports it on stderr; the pipeline continues."""
    stream = io.StringIO()
    stream.close()
    handler = logging.StreamHandler(stream)
    logger.addHandler(handler)
    recording = to_logging(logger, log_line())
    logger.removeHandler(handler)
    assert recording.completed
    assert "closed file" in capsys.readouterr().err


# -- several sinks ------------------------------------------------------------------------------


def test_sinks_in_a_row_each_get_a_whole_run(
    tmp_path: Path,
    world: World,
    recorder: LoguruRecorder,
    logger: logging.Logger,
    handler: RecordingHandler,
) -> None:
    """A watch through a file, loguru and logging emits the same, and each target has it all."""
    path = tmp_path / "run.jsonl"
    run_id = world.add_finished_run(lines=5)
    task_run_id = world.server.set_task_state(run_id, None, "COMPLETED")
    world.server.log(run_id, FORMAT_CHARACTERS, task_run_id=task_run_id)
    world.run(until=3600)
    stream = watch_flow_run(run_id, stream_tasks=True, client=world.client)
    without_sinks = world.watch(stream).values
    piped = stream.pipe(
        sinks.to_json_lines(path), sinks.to_loguru(), sinks.to_logging(logger), ops.take_last(1)
    )
    (last,) = world.watch(piped).values
    texts = [event.message for event in without_sinks]
    assert isinstance(last, Closed)
    assert FORMAT_CHARACTERS in texts
    assert [event.message for event in read_events(path)] == texts
    assert [record["message"] for record in recorder.records] == texts
    assert [record.getMessage() for record in handler.records] == texts
    assert {record.flow_run_id for record in handler.records} == {run_id}
