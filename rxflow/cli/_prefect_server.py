"""Run a real Prefect 3 server for the time of a ``with`` block and leave nothing behind.

The server is a child process over SQLite in a temporary home, on a free loopback port, with
telemetry and the UI off and all background services on (they record late runs and task runs).
However the block ends, by an exception, Ctrl-C or the death of this process, the server, the
scripts that were started with it and the directory end with it.

Prefect is not imported here: the server is used through its command line and its API. The demo's
flow is in ``_demo_flow.py``. Linux and macOS only.
"""

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from rxflow.errors import RxflowError

__all__ = ["PrefectServer", "ServerNotStarted"]

LOOPBACK = "127.0.0.1"

STOP_GRACE = 5.0
"""Seconds from SIGTERM to SIGKILL; an idle server needs 0.2 of them (measured, 3.8.8)."""

CHECK_INTERVAL = 0.1
"""Seconds between two health checks of a server that is starting."""

REPORT_INTERVAL = 2.0
"""Seconds between two lines of progress while it starts."""

LOG_LINES = 15
"""How many of the last lines of the server's log an error includes."""

SETTINGS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_ENABLED": "false",
    # Only deployments with storage need block types; registering them takes 0.7 s.
    "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",
}

# The app of `prefect server start`, with its log level; without that command's own imports it
# starts 0.5 to 1 s sooner. The graceful shutdown has a limit, since a client may keep a websocket
# open.
UVICORN = (
    "uvicorn",
    "--factory",
    "prefect.server.api.server:create_app",
    "--log-level=warning",
    "--timeout-graceful-shutdown=3",
)

CHILD_SCRIPT = Path(__file__).with_name("_child_process.py")

PROBE = """
import importlib.util, sys
sys.exit(not all(map(importlib.util.find_spec, ("prefect", "fastapi", "uvicorn"))))
"""


class ServerNotStarted(RxflowError):
    """The Prefect server is not installed or did not start; the message has the end of its log."""


def _ignore(_line: str) -> None:
    """Report no progress."""


class PrefectServer:
    """Run a Prefect server while the ``with`` block lasts.

    Args:
        python: The interpreter that has prefect; rxflow need not be installed there.
        settings: Prefect settings by environment name, for the server and its clients alike, such
            as ``{"PREFECT_SERVER_API_DEFAULT_LIMIT": "50"}``.
        report: Called with a line of progress every 2 s while the server starts.
        start_limit: Seconds that a start may take. It takes 6 to 9 on an idle machine (3.8.8; half
            of it migrates an empty database), and several times that on a busy one.

    Attributes:
        url: The API's URL, which ends in ``/api``. Like all of these it is set on entering.
        home: The temporary directory that is its ``PREFECT_HOME``.
        database: The SQLite file.
        environment: The whole environment for a child process that uses this server: this
            process's own, without any Prefect setting or profile of the user's.

    Raises:
        ServerNotStarted: On entering, if prefect is missing or the server does not start.

    Example:
        >>> with PrefectServer(report=print) as server:  # doctest: +SKIP
        ...     client = rxflow.Client(api_url=server.url)
    """

    url: str
    home: Path
    database: Path
    environment: Mapping[str, str]

    def __init__(
        self,
        python: str = sys.executable,
        settings: Mapping[str, str] | None = None,
        report: Callable[[str], object] = _ignore,
        *,
        start_limit: float = 180.0,
    ) -> None:
        self._python = python
        self._settings = dict(settings or {})
        self._report = report
        self._start_limit = start_limit
        self._port = 0
        self._server: subprocess.Popen[bytes] | None = None
        self._scripts: list[subprocess.Popen[bytes]] = []
        self._cleanup = ExitStack()

    def __enter__(self) -> Self:
        _require_prefect(self._python)
        with ExitStack() as cleanup:
            self.home = Path(tempfile.mkdtemp(prefix="rxflow-"))
            cleanup.callback(shutil.rmtree, self.home, ignore_errors=True)
            self.database = self.home / "prefect.db"
            # The pipe is ours, not Popen's: a child that was started and then lost to a Ctrl-C
            # inside Popen() still ends when the pipe is closed.
            self._pipe_read_end, pipe_write_end = os.pipe()
            cleanup.callback(os.close, self._pipe_read_end)
            cleanup.callback(os.close, pipe_write_end)
            cleanup.callback(self._end_all)
            self.start()
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._cleanup.close()

    @property
    def pid(self) -> int | None:
        """The id of the server's process and of its process group; None while it is stopped."""
        return None if self._server is None else self._server.pid

    def start(self) -> None:
        """Start the server and wait until it responds; a restart keeps its port and its data.

        A restart takes about 3 s on an idle machine. Does nothing while the server runs.

        Raises:
            ServerNotStarted: The server ended or did not respond in time, or another program has
                taken its port since it was stopped.
        """
        if self._server is not None and self._server.poll() is None:
            return
        with self._listener() as listener:
            self._port = listener.getsockname()[1]
            self.url = f"http://{LOOPBACK}:{self._port}/api"
            self.environment = self._client_environment()
            self._report(f"starting a Prefect server on {self.url[:-4]} (about 10 s) ...")
            self._server = self._spawn(
                [*UVICORN, f"--fd={listener.fileno()}"], "server", pass_fds=[listener.fileno()]
            )
        try:
            self._wait_until_ready(self._server)
        except BaseException:
            self.stop(kill=True)
            raise

    def stop(self, *, kill: bool = False) -> None:
        """Stop the server; its data is kept until the block ends, for another `start`.

        Args:
            kill: Whether to send SIGKILL at once, like a crash, and not SIGTERM first.
        """
        if self._server is None:
            return
        try:
            _end(self._server, grace=0.0 if kill else STOP_GRACE)
        finally:
            self._server = None

    def spawn_script(self, script: Path, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a Python script that uses this server; the end of the block kills its group.

        Args:
            script: The script, which need not be importable. Its output goes to a file in
                ``home``, see `log_path`.
            arguments: Its command line.

        Returns:
            The process, which leads a process group of its own.
        """
        script_process = self._spawn([str(script), *arguments], script.stem)
        self._scripts.append(script_process)
        return script_process

    def log_path(self, name: str) -> Path:
        """Return the path of a child's output.

        Args:
            name: ``"server"``, or the stem of a script.
        """
        return self.home / f"{name}.log"

    def _end_all(self) -> None:
        with ExitStack() as each:
            each.callback(self.stop)
            for script_process in self._scripts:
                each.callback(_end, script_process, grace=0.0)

    def _listener(self) -> socket.socket:
        """Bind the port, which the child inherits: no other program can take it meanwhile."""
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            # A restart must not wait for the TIME_WAIT of its predecessor's connections.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # asyncio sets this itself, but not on a socket from `--fd`, which uvicorn treats as a
            # Unix socket: each response on a kept-alive connection would then take 44 ms.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            listener.bind((LOOPBACK, self._port))
        except OSError as error:
            listener.close()
            message = f"cannot listen on {LOOPBACK}:{self._port}: {error.strerror}"
            raise ServerNotStarted(message) from error
        return listener

    def _spawn(
        self, target: Sequence[str], name: str, pass_fds: Sequence[int] = ()
    ) -> subprocess.Popen[bytes]:
        with self.log_path(name).open("ab") as log:
            return subprocess.Popen(
                [self._python, "-P", str(CHILD_SCRIPT), str(self.home), *target],
                env=self.environment,
                cwd=self.home,  # Prefect reads .env and prefect.toml in its working directory
                stdin=self._pipe_read_end,
                stdout=log,
                stderr=log,
                pass_fds=pass_fds,
                start_new_session=True,
            )

    def _client_environment(self) -> Mapping[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
        no_proxy = ",".join(filter(None, (inherited.get("NO_PROXY"), LOOPBACK)))
        ours = {
            "NO_PROXY": no_proxy,
            "no_proxy": no_proxy,
            "PREFECT_HOME": str(self.home),
            "PREFECT_API_URL": self.url,
        }
        if key := self._settings.get("PREFECT_SERVER_API_AUTH_STRING"):
            ours["PREFECT_API_AUTH_STRING"] = key
        return inherited | SETTINGS | ours | self._settings

    def _wait_until_ready(self, server: subprocess.Popen[bytes]) -> None:
        began = reported = time.monotonic()
        while not _is_ready(self._port):
            # Waiting for the process is the sleep here: if the server ends, the loop ends at once.
            with suppress(subprocess.TimeoutExpired):
                code = server.wait(CHECK_INTERVAL)
                raise ServerNotStarted(self._with_log(f"ended with code {code} as it started"))
            now = time.monotonic()
            if now - began > self._start_limit:
                reason = f"did not respond within {self._start_limit:g} s"
                raise ServerNotStarted(self._with_log(reason))
            if now - reported >= REPORT_INTERVAL:
                reported = now
                self._report(f"... still starting ({now - began:.0f} s)")

    def _with_log(self, reason: str) -> str:
        lines = self.log_path("server").read_text(errors="replace").splitlines()[-LOG_LINES:]
        return "\n".join([f"the Prefect server {reason}; the end of its log:", *lines])


def _require_prefect(python: str) -> None:
    """Raise unless a Prefect server is installed; importing prefect would take a second."""
    try:
        found = subprocess.run([python, "-P", "-c", PROBE], check=False)
    except OSError as error:
        raise ServerNotStarted(f"cannot run {python}: {error.strerror}") from error
    if found.returncode:
        raise ServerNotStarted(
            f"no Prefect server is installed for {python}; "
            "install the extra: rxflow-prefect[demo] (from a checkout: pip install '.[demo]')"
        )


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=2)
    try:
        connection.request("GET", "/api/health")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _end(child: subprocess.Popen[bytes], *, grace: float) -> None:
    """Terminate a child's process group, kill it after `grace` seconds, and reap the child."""
    if child.returncode is not None:
        return  # already reaped: another group may have its id by now
    try:
        if grace:
            _signal_group(child, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                child.wait(grace)
    finally:
        _signal_group(child, signal.SIGKILL)
        child.wait()


def _signal_group(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    # macOS raises EPERM, not ESRCH, for a group with only a zombie in it.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)
