"""``rxflow doctor``: check how the server is found, reached and read from."""

import sys

import click

from rxflow.cli._command import Command
from rxflow.cli._connection import server_options
from rxflow.cli._output import exit_on_error, output_width, write

EXAMPLES = (
    "\b\nExamples:\n"
    "  rxflow doctor\n"
    "  rxflow doctor --profile production\n"
    "  rxflow doctor --api-url http://127.0.0.1:4200/api\n"
)


@click.command("doctor", cls=Command, epilog=EXAMPLES)
@server_options
@exit_on_error()
def command(api_url: str | None, profile: str | None, backend: str | None) -> None:
    """Check how the server is found, reached and read from, and say what to do.

    Shows which setting names the API, whether it replies and accepts the credentials, the server's
    version, clock and page size, and whether it announces changes over websockets. It only reads.
    """
    from rxflow.cli._finding_lines import finding_lines  # noqa: PLC0415 - needs msgspec
    from rxflow.cli._server_checks import check_server  # noqa: PLC0415 - needs reactivex

    width, status = output_width(), 0
    for finding in check_server(api_url, profile, backend):
        for line in finding_lines(finding, width):
            write(line)
        status = status or finding.status
    sys.exit(status)
