"""rxflow's own log: off by default, and on where the program enables it, whenever it does."""

import subprocess
import sys

import pytest
from virtual_world import TEST_TIMEOUT

WATCH = """
from loguru import logger
from rxflow.testing import FakePrefect3

names = set()
logger.remove()
logger.add(lambda message: names.add(message.record["name"]), level=0)
server = FakePrefect3()
run = server.add_run(state="COMPLETED")
list(rxflow.watch_flow_run(run, drain=0, client=server.client()))
print(*sorted(name for name in names if name.startswith("rxflow")))
"""


def logging_modules(program: str) -> list[str]:
    """The modules of rxflow that log while a program, and then a watch, is run."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", program + WATCH],
        capture_output=True,
        text=True,
        timeout=TEST_TIMEOUT,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


SILENT = {
    "loguru imported after rxflow": "import rxflow",
    "loguru imported first": "import loguru, rxflow",
    "disabled by the program": """
import rxflow
from loguru import logger
logger.disable("rxflow")
""",
    "disabled again": """
import rxflow
from loguru import logger
logger.enable("rxflow")
logger.disable("rxflow")
""",
    "another part enabled": """
import rxflow
from loguru import logger
logger.enable("rxflow._runtime")
""",
    "all but the sending enabled": """
import rxflow
from loguru import logger
logger.enable("rxflow")
logger.disable("rxflow._net")
""",
    "everything disabled": """
import rxflow
from loguru import logger
logger.disable("")
""",
}

LOGGING = {
    "loguru imported first": """
import loguru, rxflow
loguru.logger.enable("rxflow")
""",
    "loguru imported after rxflow": """
import rxflow
from loguru import logger
logger.enable("rxflow")
""",
    "enabled before rxflow is imported": """
from loguru import logger
logger.enable("rxflow")
import rxflow
""",
    "enabled after a watch": """
import rxflow
from rxflow.testing import FakePrefect3
server = FakePrefect3()
list(rxflow.watch_flow_run(server.add_run(state="FAILED"), drain=0, client=server.client()))
from loguru import logger
logger.enable("rxflow")
""",
    "one part enabled": """
import rxflow
from loguru import logger
logger.enable("rxflow._net")
""",
    "one part of a disabled one enabled": """
import rxflow
from loguru import logger
logger.disable("rxflow")
logger.enable("rxflow._net")
""",
}


@pytest.mark.parametrize("program", SILENT.values(), ids=SILENT)
def test_nothing_is_logged_by_default(program: str) -> None:
    """A watch logs nothing unless the program enables its log."""
    assert logging_modules(program) == []


@pytest.mark.parametrize("program", LOGGING.values(), ids=LOGGING)
def test_what_is_enabled_is_logged(program: str) -> None:
    """The program's `logger.enable` counts, before the first record and after it."""
    assert logging_modules(program) == ["rxflow._net.transport"]
