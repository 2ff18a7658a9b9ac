"""A real Prefect 3 server for as long as a ``with`` block lasts, and nothing left of it afterwards.

It runs as a child process over SQLite in a temporary home, on a free loopback port, with telemetry
and the UI off and every background service on (late runs and task runs are recorded by those).
Whatever ends the block, an exception, Ctrl-C or the death of this process, ends the server, what
was started beside it, and the directory.

Prefect is never imported here: it is driven from outside, as any server is. What the flow does is
in ``_demo_flow.py``; what is shown of it is elsewhere. Linux and macOS only.
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

POLL_INTERVAL = 0.1
"""Seconds between two looks at a server that is starting."""

TELL_INTERVAL = 2.0
"""Seconds between two lines of progress while it does."""

LOG_LINES = 15
"""How many of the last lines of the server's log an error shows."""

QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_ENABLED": "false",
    # Block types are needed by deployments that store things; to register them takes 0.7 s.
    "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",
}

# The app that `prefect server start` serves, with its log level; 0.5 to 1 s quicker without that
# command's own imports. The graceful part is bounded since a watcher may hold a websocket open.
UVICORN = (
    "uvicorn",
    "--factory",
    "prefect.server.api.server:create_app",
    "--log-level=warning",
    "--timeout-graceful-shutdown=3",
)

LEASH = Path(__file__).with_name("_child_process.py")

PROBE = """
import importlib.util, sys
sys.exit(not all(map(importlib.util.find_spec, ("prefect", "fastapi", "uvicorn"))))
"""


class ServerNotStarted(RxflowError):
    """The Prefect server is not installed, or did not come up; the message has its last words."""


def silent(_line: str) -> None:
    """Tell nobody."""


class PrefectServer:
    """Run a Prefect server while the ``with`` block lasts.

    Args:
        python: The interpreter that has prefect; rxflow need not be installed there.
        settings: Prefect settings by environment name, for the server and its clients alike, such
            as ``{"PREFECT_SERVER_API_DEFAULT_LIMIT": "50"}``.
        tell: Is called with a plain line of progress now and then while the server starts.
        start_limit: Seconds that a start may take. It takes 6 to 9 on an idle machine (3.8.8; half
            of it migrates an empty database), and several times that on a busy one.

    Attributes:
        url: The API's URL, which ends in ``/api``. Like all of these it is set on entering.
        home: The temporary directory that is its ``PREFECT_HOME``.
        database: The SQLite file.
        environment: The whole environment for a child process that talks to this server: this
            process's own, without any Prefect setting or profile of the user's.

    Raises:
        ServerNotStarted: On entering, when prefect is missing or the server does not come up.

    Example:
        >>> with PrefectServer(tell=print) as server:  # doctest: +SKIP
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
        tell: Callable[[str], object] = silent,
        *,
        start_limit: float = 180.0,
    ) -> None:
        self._python = python
        self._settings = dict(settings or {})
        self._tell = tell
        self._start_limit = start_limit
        self._port = 0
        self._server: subprocess.Popen[bytes] | None = None
        self._companions: list[subprocess.Popen[bytes]] = []
        self._cleanup = ExitStack()

    def __enter__(self) -> Self:
        _require_prefect(self._python)
        with ExitStack() as cleanup:
            self.home = Path(tempfile.mkdtemp(prefix="rxflow-"))
            cleanup.callback(shutil.rmtree, self.home, ignore_errors=True)
            self.database = self.home / "prefect.db"
            # The ends of the leash are ours, not Popen's: a child that was started and then lost
            # to a Ctrl-C inside Popen() still ends when they are closed.
            self._leash, leash_held = os.pipe()
            cleanup.callback(os.close, self._leash)
            cleanup.callback(os.close, leash_held)
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
        """The server's process id, which is its process group's too; None while it is stopped."""
        return None if self._server is None else self._server.pid

    def start(self) -> None:
        """Start the server and wait until it answers; once more, on the same port and data.

        A restart takes about 3 s on an idle machine. Nothing happens while the server runs.

        Raises:
            ServerNotStarted: It ended or did not answer in time, or its port was taken meanwhile.
        """
        if self._server is not None and self._server.poll() is None:
            return
        with self._listener() as listener:
            self._port = listener.getsockname()[1]
            self.url = f"http://{LOOPBACK}:{self._port}/api"
            self.environment = self._client_environment()
            self._tell(f"starting a Prefect server on {self.url[:-4]} (about 10 s) ...")
            self._server = self._spawn(
                [*UVICORN, f"--fd={listener.fileno()}"], "server", pass_fds=[listener.fileno()]
            )
        try:
            self._await_answer(self._server)
        except BaseException:
            self.stop(kill=True)
            raise

    def stop(self, *, kill: bool = False) -> None:
        """Stop the server; its data stays until the block ends, and `start` serves it again.

        Args:
            kill: With SIGKILL at once, as a crash would, and not with SIGTERM first.
        """
        if self._server is None:
            return
        try:
            _end(self._server, grace=0.0 if kill else STOP_GRACE)
        finally:
            self._server = None

    def spawn_beside(self, script: Path, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a Python script against this server; the end of the block kills its group.

        Args:
            script: The script, which need not be importable. Its output goes to a file named
                after it in ``home``, see `log_of`.
            arguments: Its command line.

        Returns:
            The process, which leads a process group of its own.
        """
        companion = self._spawn([str(script), *arguments], script.stem)
        self._companions.append(companion)
        return companion

    def log_of(self, name: str) -> Path:
        """Say where a child's output goes: that of ``"server"``, or of a script by its stem."""
        return self.home / f"{name}.log"

    def _end_all(self) -> None:
        with ExitStack() as each:
            each.callback(self.stop)
            for companion in self._companions:
                each.callback(_end, companion, grace=0.0)

    def _listener(self) -> socket.socket:
        """Bind the port here and hand it down: no other program can take it while Python starts."""
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            # A restart must not wait for the connections of its predecessor to be forgotten.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # asyncio sets this itself, but not on a socket that came by `--fd`, which uvicorn takes
            # for a Unix one: each answer on a kept-alive connection would then take 44 ms.
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
        with self.log_of(name).open("ab") as log:
            return subprocess.Popen(
                [self._python, "-P", str(LEASH), str(self.home), *target],
                env=self.environment,
                cwd=self.home,  # Prefect reads .env and prefect.toml where it is started
                stdin=self._leash,
                stdout=log,
                stderr=log,
                pass_fds=pass_fds,
                start_new_session=True,
            )

    def _client_environment(self) -> Mapping[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
        exempt = ",".join(filter(None, (inherited.get("NO_PROXY"), LOOPBACK)))
        ours = {
            "NO_PROXY": exempt,
            "no_proxy": exempt,
            "PREFECT_HOME": str(self.home),
            "PREFECT_API_URL": self.url,
        }
        if key := self._settings.get("PREFECT_SERVER_API_AUTH_STRING"):
            ours["PREFECT_API_AUTH_STRING"] = key
        return inherited | QUIET | ours | self._settings

    def _await_answer(self, server: subprocess.Popen[bytes]) -> None:
        began = told = time.monotonic()
        while not _answers(self._port):
            # Waiting for its end is how to sleep here: a server that dies is noticed at once.
            with suppress(subprocess.TimeoutExpired):
                code = server.wait(POLL_INTERVAL)
                raise ServerNotStarted(self._last_words(f"ended with code {code} as it started"))
            now = time.monotonic()
            if now - began > self._start_limit:
                limit = f"did not answer within {self._start_limit:g} s"
                raise ServerNotStarted(self._last_words(limit))
            if now - told >= TELL_INTERVAL:
                told = now
                self._tell(f"... still starting ({now - began:.0f} s)")

    def _last_words(self, what: str) -> str:
        lines = self.log_of("server").read_text(errors="replace").splitlines()[-LOG_LINES:]
        return "\n".join([f"the Prefect server {what}; the end of its log:", *lines])


def _require_prefect(python: str) -> None:
    """Find out without importing it, which takes a second, whether a Prefect server is there."""
    try:
        found = subprocess.run([python, "-P", "-c", PROBE], check=False)
    except OSError as error:
        raise ServerNotStarted(f"cannot run {python}: {error.strerror}") from error
    if found.returncode:
        raise ServerNotStarted(
            f"no Prefect server is installed for {python}; "
            "install the extra: rxflow-prefect[demo] (from a checkout: pip install '.[demo]')"
        )


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=2)
    try:
        connection.request("GET", "/api/health")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _end(child: subprocess.Popen[bytes], *, grace: float) -> None:
    """Terminate a child's process group, kill the rest after `grace` seconds, reap the child."""
    if child.returncode is not None:
        return  # reaped earlier: its number may be another group's by now
    try:
        if grace:
            _signal_group(child, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                child.wait(grace)
    finally:
        _signal_group(child, signal.SIGKILL)
        child.wait()


def _signal_group(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    # macOS says EPERM, not ESRCH, of a group in which only a zombie is left.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)
