"""What real brokers are shown: files of credentials of NATS, and options of the commands."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest
from broker_logs import append_all, completed, fails, followed, new_page, new_run, read_all
from broker_servers import NATS_USERS, PASSWORD, BrokerServer, NatsServer, RedisServer
from certificates import Authority
from command_line import LIMIT, run_program, started_program
from nats_accounts import Operator
from tls_front import tls_front

from rxflow.errors import BrokerFailed
from rxflow.relay._connect import open_broker
from rxflow.testing import FakePrefect3

READER = {
    "pub": {"allow": ["$JS.API.DIRECT.GET.RXFLOW_default", "$KV.rxflow_want_default.*"]},
    "sub": {"allow": ["rxlive.default.run.*", "_INBOX.>"]},
}


@pytest.fixture(scope="module")
def operator() -> Operator:
    """An operator of NATS."""
    return Operator()


@pytest.fixture(scope="module")
def operated(operator: Operator) -> Iterator[str]:
    """The URL of a server of that operator, which has no users of its own."""
    with NatsServer(users=operator.config) as server:
        yield f"nats://127.0.0.1:{server.port}"


# -- files of credentials -------------------------------------------------------------------------


def test_files_of_credentials(operator: Operator, operated: str, tmp_path: Path) -> None:
    """A relay and a reader each show a file with a JWT, whose permissions hold."""
    relay = operator.write_creds(tmp_path / "relay.creds")
    reader = operator.write_creds(tmp_path / "reader.creds", READER)
    run = new_run()

    async def scenario() -> None:
        broker = await open_broker(operated, timeout=60, creds=relay)
        await broker.setup()
        end = await append_all(broker, run, [new_page(0), new_page(1)])
        reading = await open_broker(operated, timeout=60, creds=str(reader))
        assert len(await read_all(reading, run)) == 2
        await followed(reading.follow(run, after=0), 2)
        await reading.want(run)
        append = reading.append(run, new_page(2), after=end)
        await fails(BrokerFailed, "not permit this user to publish to 'rxflow.default.run", append)
        for each in (reading, broker):
            await each.aclose()

    completed(scenario)


def test_credentials_that_the_server_refuses(
    operator: Operator, operated: str, tmp_path: Path
) -> None:
    """Those that have expired, of another operator, or none are refused at once."""
    expired = operator.write_creds(tmp_path / "expired.creds", expires=1_700_000_000)
    foreign = Operator().write_creds(tmp_path / "foreign.creds")

    async def scenario() -> None:
        for creds in (expired, foreign, None):
            opening = open_broker(operated, timeout=600, creds=creds)
            await fails(BrokerFailed, "refuses the credentials: 'Auth.* Violation'", opening)

    completed(scenario)


def test_a_damaged_file_of_credentials(operator: Operator, operated: str, tmp_path: Path) -> None:
    """A seed that is no key is an error that does not show it."""
    path = operator.write_creds(tmp_path / "user.creds")
    text = path.read_text()
    seed = text.split("SEED-----\n")[1].split()[0]
    path.write_text(text.replace(seed, "SUNOKEY"))

    async def scenario() -> None:
        with pytest.raises(BrokerFailed, match="cannot be used") as caught:
            await open_broker(operated, timeout=600, creds=path)
        assert "SUNOKEY" not in f"{caught.value!r} {caught.value.__cause__!r}"

    completed(scenario)


# -- commands -------------------------------------------------------------------------------------


class Shown:
    """What a command is given, so that the broker lets it in.

    Attributes:
        url: The broker's URL.
        options: Options of the command.
        variables: Variables of its environment.
    """

    def __init__(self, url: str, *options: str | Path, **variables: str | Path) -> None:
        self.url = url
        self.options = list(map(str, options))
        self.variables = {f"RXFLOW_RELAY_{name}": str(each) for name, each in variables.items()}


@contextmanager
def nats_with_creds(folder: Path) -> Iterator[tuple[Shown, Shown]]:
    """A NATS server of an operator; the file is named by an option, and by a variable."""
    operator = Operator()
    creds = operator.write_creds(folder / "relay.creds")
    with NatsServer(users=operator.config) as server:
        url = f"nats://127.0.0.1:{server.port}"
        yield Shown(url, "--creds", creds), Shown(url, CREDS=creds)


@contextmanager
def nats_with_certificates(folder: Path) -> Iterator[tuple[Shown, Shown]]:
    """A NATS server that requires certificates; the secret is in a file, and in a variable."""
    authority = Authority(folder)
    chain, key = authority.server_files(folder)
    password = folder / "password"
    password.write_text(f"{PASSWORD}\n")
    with NatsServer(certificate=(chain, key), authority=authority.file) as server:
        url = f"tls://127.0.0.1:{server.port}"
        tls = ("--tls-ca", authority.file, "--tls-cert", chain, "--tls-key", key)
        variables: dict[str, str | Path] = {
            "TLS_CA": authority.file,
            "TLS_CERT": chain,
            "TLS_KEY": key,
        }
        yield (
            Shown(url, "--user", "relay", "--password-file", password, *tls),
            Shown(url.replace("//", "//relay@"), PASSWORD=PASSWORD, **variables),
        )


@contextmanager
def redis_behind_tls(folder: Path) -> Iterator[tuple[Shown, Shown]]:
    """A Valkey server behind a front that decrypts TLS, since the wheel's server cannot."""
    authority = Authority(folder)
    with RedisServer() as server, tls_front(server.port, authority.server_context()) as port:
        url = f"rediss://127.0.0.1:{port}"
        yield (
            Shown(url, "--tls-ca", authority.file, "--user", "relay", PASSWORD=PASSWORD),
            Shown(url, USER="relay", PASSWORD=PASSWORD, TLS_CA=authority.file),
        )


@pytest.mark.parametrize("broker", [nats_with_creds, nats_with_certificates, redis_behind_tls])
def test_commands_show_a_broker_what_it_requires(
    broker: Callable[[Path], AbstractContextManager[tuple[Shown, Shown]]], tmp_path: Path
) -> None:
    """A relay is let in by options, a watch by its environment; no argument is a secret."""
    prefect = FakePrefect3()
    run_id = prefect.add_run(state="RUNNING")
    prefect.log(run_id, "120 orders read")
    prefect.set_state(run_id, "COMPLETED")
    with ExitStack() as stack:
        api = stack.enter_context(prefect.serve())
        of_relay, of_watch = stack.enter_context(broker(tmp_path))
        arguments = ["relay", of_relay.url, *of_relay.options]
        assert PASSWORD not in " ".join(arguments)
        program = started_program(*arguments, PREFECT_API_URL=api, **of_relay.variables)
        relay = stack.enter_context(program)
        done = run_program("watch", run_id, RXFLOW_RELAY=of_watch.url, **of_watch.variables)
        assert done.returncode == 0, done.stderr
        assert "120 orders read" in done.stdout
        relay.terminate()
        assert relay.stderr is not None
        assert PASSWORD not in done.stderr + relay.stderr.read()
        assert relay.wait(LIMIT) == 0


def test_a_certificate_that_the_server_requires(tmp_path: Path) -> None:
    """Without it, or with one of another authority, the error says so at once."""
    authority, other = Authority(tmp_path), tmp_path / "other"
    other.mkdir()
    foreign = authority.client_context()
    foreign.load_cert_chain(*Authority(other).server_files(other))
    files = authority.server_files(tmp_path)
    with NatsServer(certificate=files, authority=authority.file) as server:

        async def scenario() -> None:
            for tls, alert in (
                (authority.client_context(), "certificate required"),
                (foreign, "bad certificate|unknown ca"),
            ):
                opening = open_broker(server.url(), timeout=600, tls=tls)
                await fails(BrokerFailed, f"requires a certificate.*: ({alert})$", opening)

        completed(scenario)


RUN = "00000000-0000-4000-8000-000000000004"
NO_SERVER = "http://127.0.0.1:1/api"


def run_both(url: str, *options: str) -> Iterator[tuple[int, str]]:
    """Run a relay and a watch on a broker, each to its end; return status and standard error."""
    for words in (["relay", url], ["watch", "--relay", url, RUN]):
        done = run_program(*words, *options, PREFECT_API_URL=NO_SERVER)
        yield done.returncode, done.stderr


def test_credentials_that_are_refused_end_a_command(server: BrokerServer) -> None:
    """A relay and a watch say so once, with the status of refused credentials."""
    for status, text in run_both(server.url(password="wr0ng-one")):
        assert (status, text.count("refuses the credentials"), text.count("\n")) == (4, 1, 1), text
        assert "wr0ng-one" not in text


def test_a_certificate_that_is_refused_ends_a_command(tmp_path: Path) -> None:
    """That of the broker is no reply of it; the one that it requires is a credential."""
    authority = Authority(tmp_path)
    files = authority.server_files(tmp_path)
    with NatsServer(certificate=files, authority=authority.file) as server:
        for status, text in run_both(server.url()):
            assert (status, text.count("is not trusted"), text.count("\n")) == (6, 1, 1), text
        for status, text in run_both(server.url(), "--tls-ca", authority.file):
            assert (status, text.count("requires a cert"), text.count("\n")) == (4, 1, 1), text


def test_a_server_of_another_protocol_ends_a_command(nats_server: BrokerServer) -> None:
    """The sentence has the beginning of what it replied, in one line."""
    for status, text in run_both(f"redis://127.0.0.1:{nats_server.port}"):
        assert (status, text.count("is not a Redis server"), text.count("\n")) == (6, 1, 1), text
        assert "INFO {" in text
        assert len(text) < 220


def test_a_relay_ends_if_its_broker_ends_the_connection() -> None:
    """As where the user has another password now; the sentence and the status say so."""
    with NatsServer() as server, FakePrefect3().serve() as api, ExitStack() as stack:
        program = started_program("relay", server.url(), PREFECT_API_URL=api)
        relay = stack.enter_context(program)
        assert relay.stderr is not None
        assert "watches shards" in relay.stderr.readline()
        server.reload(NATS_USERS.format(password="another-one"))
        assert relay.wait(LIMIT) == 4
        text = relay.stderr.read()
        assert (text.count("ended the connection: "), text.count("\n")) == (1, 1), text
