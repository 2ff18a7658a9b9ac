"""Run commands of Prefect 1.4.1's CLI; run by its Python 3.9.

Its arguments are the commands, as JSON lists of words; prints the exit code and the output of each,
as JSON.
"""

import json
import sys

from click.testing import CliRunner
from prefect.cli import cli

found = [CliRunner().invoke(cli, json.loads(words)) for words in sys.argv[1:]]
for each in found:
    if each.exception is not None and not isinstance(each.exception, SystemExit):
        raise each.exception
print(json.dumps([[each.exit_code, each.output] for each in found]))  # noqa: T201 - its output
