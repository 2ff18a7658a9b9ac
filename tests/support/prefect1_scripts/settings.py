"""Which server, key and tenant the client of Prefect 1.4.1 finds: run by its own Python 3.9.

Reads arrangements from its input, as lines of JSON with directories and an environment, and answers
each with a line. Nothing is asked of a server.
"""

import importlib
import json
import os
import sys

import prefect
from prefect import configuration


def found(home: str, cwd: str, environ: "dict[str, str]") -> "list[str | None]":
    """Have the client read its settings anew, as if it had been started there."""
    os.environ.clear()
    os.environ.update(environ, HOME=home)
    os.chdir(cwd)
    importlib.reload(configuration)
    # Into the context of the call alone; as an argument it would be merged into the present one.
    with prefect.context():
        prefect.context["config"] = configuration.config
        client = prefect.Client()
        return [client.api_server, client.api_key, client._tenant_id]


for line in sys.stdin:
    print(json.dumps(found(**json.loads(line))))  # noqa: T201 - its output
