"""Print the server, key and tenant that the client of Prefect 1.4.1 finds; run by its Python 3.9.

Reads installations from standard input, as lines of JSON with a home directory, a working directory
and an environment, and prints a line of JSON for each. No request is sent to a server.
"""

import importlib
import json
import os
import sys

import prefect
from prefect import configuration


def found(home: str, cwd: str, environ: "dict[str, str]") -> "list[str | None]":
    """Return the URL, key and tenant of a client that is started in an installation."""
    os.environ.clear()
    os.environ.update(environ, HOME=home)
    os.chdir(cwd)
    importlib.reload(configuration)
    # Set in the context of this call alone: as an argument of `context` it would be merged with the
    # present configuration.
    with prefect.context():
        prefect.context["config"] = configuration.config
        client = prefect.Client()
        return [client.api_server, client.api_key, client._tenant_id]


for line in sys.stdin:
    print(json.dumps(found(**json.loads(line))))  # noqa: T201 - its output
