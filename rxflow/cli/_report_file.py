"""Read the report of a run, and replace a file by it."""

import os
from pathlib import Path

import rxflow
from rxflow._pictures.report_page import report_page
from rxflow._pictures.run_report import RunReport
from rxflow._views.run_report_lookups import read_run_report
from rxflow.cli._selection import find_run

__all__ = ["page_of", "read_report", "replace_file"]


def read_report(client: rxflow.Client, run: str | None, *, subflows: bool) -> RunReport:
    """Read all of a run.

    Args:
        client: The client of the server.
        run: What was written for the run; None to have it picked from a list, on a terminal.
        subflows: Whether to read subflows.

    Raises:
        click.UsageError: No run is given, or the word means several.
        RxflowError: There is no such run, or the server cannot be read from.
    """
    run_id = find_run(run, client)
    return client.read(lambda limit: read_run_report(run_id, limit, subflows=subflows))


def page_of(report: RunReport) -> tuple[str, str]:
    """Make a page of a report; return it, and how many log lines it has, in words."""
    lines = "1 log line" if len(report.lines) == 1 else f"{len(report.lines)} log lines"
    return report_page(report, rxflow.__version__), lines


def replace_file(path: str, text: str) -> int:
    """Write a file, and put it in the place of an old one once it is whole.

    What is no regular file, such as a pipe, is written to.

    Returns:
        How many bytes were written.

    Raises:
        OSError: It cannot be written; an old file is unchanged then.
    """
    target, content = Path(path), text.encode()
    if target.exists() and not target.is_file():
        target.write_bytes(content)
        return len(content)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return len(content)
