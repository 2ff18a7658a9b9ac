"""Register a flow and execute a run of it, with Prefect 1.4.1; run by its Python 3.9.

Prints the id of the run, as JSON. Prefect loads the flow from this file, too.
"""

import json
import re
import subprocess
import sys
from typing import Any

import prefect
from prefect import Client, Flow, Parameter, task
from prefect.run_configs import LocalRun
from prefect.storage import Local


@task
def double(x: Any) -> Any:
    """Return twice a number."""
    prefect.context.get("logger").info("doubling %s", x)
    return 2 * x


with Flow(
    "etl", run_config=LocalRun(), storage=Local(path=__file__, stored_as_script=True)
) as flow:
    double.map([1, 2])
    double(Parameter("n", default=3))


def main() -> None:
    """Register the flow and execute a run of it."""
    Client().create_project("p")
    flow.register("p", no_url=True)
    command = ["run", "--name", "etl", "--project", "p", "--run-name", "executed", "--execute"]
    program = [sys.executable, "-W", "ignore", "-m", "prefect", *command]
    done = subprocess.run(program, stdout=subprocess.PIPE, check=True, timeout=90)
    (run_id,) = re.findall("UUID: (.*)", done.stdout.decode())
    print(json.dumps(run_id))  # noqa: T201 - its output


if __name__ == "__main__":
    main()
