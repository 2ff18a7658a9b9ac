"""The transport on real sockets: each way in which an exchange can go wrong, and what comes of it.

Nothing is timed. Where something has to end quickly, every time-out that could end it otherwise is
an hour long.
"""

import base64
import gzip
import io
import logging
import socket
import ssl
import threading
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Protocol

import httpx
import pytest
import trustme
from http_calls import GET, POST, Opened, Sender, failure, in_threads, on_a_loop, patient, reply
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from loguru import logger
from virtual_world import HOUR
from wire_server import (
    Script,
    Talk,
    WireServer,
    answer,
    answering,
    dripping,
    forever,
    kept,
    leave,
    slam,
    stall,
)

from rxflow._backends.backend import HttpCall, HttpReply
from rxflow._config.secrets import Secret
from rxflow._config.settings import Settings
from rxflow._net.redirects import redirect_target
from rxflow._net.response_bodies import MAX_BODY
from rxflow._net.send_errors import send_failure
from rxflow._net.tls import tls_context
from rxflow._protocol.failures import Failure, FailureKind
from rxflow.client import Client
from rxflow.errors import ConfigurationError

MIB = 1024 * 1024

pytestmark = pytest.mark.timeout(60)


class To(Protocol):
    """Opens a transport to a server, which gives up before an hour only at the deadline."""

    def __call__(
        self, server: WireServer, *, deadline: float = HOUR
    ) -> AbstractContextManager[Sender]:
        """Open it."""
        ...


@pytest.fixture(scope="module", params=[in_threads, on_a_loop], ids=["threads", "loop"])
def opened(request: pytest.FixtureRequest) -> Opened:
    """Open one of the two transports."""
    chosen: Opened = request.param
    return chosen


@pytest.fixture(scope="module")
def to(opened: Opened) -> To:
    """Open one of the two transports to a server."""
    return lambda server, deadline=HOUR: opened(patient(server.url, deadline=deadline), None)


@contextmanager
def refused_port() -> Iterator[int]:
    """Hold a port on which nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


# -- what goes well ----------------------------------------------------------------------------


def test_a_call_arrives_and_its_answer_comes_back(to: To) -> None:
    """Method, path, query and body arrive as given, and the whole answer comes back."""
    said = answer(b"[1]", "201 Created", Date="Sun, 22 Nov 2026 14:28:38 GMT")
    with WireServer(answering(said, said)) as server, to(server) as transport:
        for call in (GET, POST):
            got = reply(transport.send(call))
            assert (got.status, got.body) == (201, b"[1]")
            assert got.headers["date"] == "Sun, 22 Nov 2026 14:28:38 GMT"
            assert got.headers["content-type"] == "application/json"
        get, post = server.requests
        assert (get.method, get.body) == ("GET", b"")
        assert get.target in {
            f"/api/flow_run_states/?flow_run_id=a{sp}b%26c" for sp in ("+", "%20")
        }
        assert (post.method, post.target, post.body) == ("POST", "/api/logs/filter", POST.body)
        assert post.headers["content-type"] == "application/json"


def test_a_connection_is_kept(to: To) -> None:
    """Calls go over one connection as long as the server keeps it."""
    with WireServer(forever(answer())) as server, to(server) as transport:
        for _ in range(5):
            reply(transport.send(GET))
        assert server.connections == 1


def test_gzip_is_understood_and_nothing_else_is_asked_for(to: To) -> None:
    """Only gzip is offered to the server, and undone."""
    said = answer(gzip.compress(b"[1,2]"), content_encoding="gzip")
    with WireServer(answering(said)) as server, to(server) as transport:
        assert reply(transport.send(GET)).body == b"[1,2]"
        assert server.requests[0].headers["accept-encoding"] == "gzip"


@pytest.mark.parametrize("pause", [1, 100, 10**9], ids=["bytes", "pieces", "whole"])
def test_an_answer_in_pieces_is_one_answer(pause: int, to: To) -> None:
    """However an answer is cut into pieces on the way, it is put together."""
    body = gzip.compress(b'[{"id":"1"}]')
    pieces = [body[at : at + pause] for at in range(0, len(body), pause)]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
    with WireServer(answering(head + chunks + b"0\r\n\r\n")) as server, to(server) as transport:
        assert reply(transport.send(GET)).body == b'[{"id":"1"}]'


# -- nobody there ------------------------------------------------------------------------------


def test_nobody_listens(opened: Opened) -> None:
    """A port on which nobody listens is REFUSED, and the text says where that was and says who."""
    with refused_port() as port:
        url = f"http://127.0.0.1:{port}/api"
        with opened(patient(url), None) as transport:
            found = failure(transport.send(GET))
    assert found.kind is FailureKind.REFUSED
    assert url in found.text
    assert "the test" in found.text


def test_a_host_of_several_addresses_may_refuse_at_each() -> None:
    """On a loop a host's addresses are tried at once; that it is refused is found among them."""
    refusals = [OSError("no route"), ConnectionRefusedError("at ::1")]
    error = httpx.ConnectError("All connection attempts failed")
    error.__cause__ = OSError("All connection attempts failed")
    error.__cause__.__cause__ = ExceptionGroup("several", refusals)
    assert send_failure(error, "there", passed_deadline=None).kind is FailureKind.REFUSED


@pytest.mark.parametrize("host", ["nobody.invalid", "a..b", "a" * 64 + ".invalid"])
def test_a_name_that_does_not_resolve(
    host: str, monkeypatch: pytest.MonkeyPatch, opened: Opened
) -> None:
    """A host name that is unknown, or cannot be one, is NETWORK: it may be known later."""
    monkeypatch.setenv("NO_PROXY", "*")
    with opened(patient(f"http://{host}/api"), None) as transport:
        found = failure(transport.send(GET))
    assert found.kind is FailureKind.NETWORK
    assert "cannot be resolved" in found.text


def test_a_url_that_is_none(opened: Opened) -> None:
    """A host name that nobody can look up is a matter of configuration, and is told at once."""
    with pytest.raises(ConfigurationError, match="the test"):
        opened(patient("http://\N{SNOWMAN}.example/api"), None).__enter__()


# -- connections that break --------------------------------------------------------------------


HALF = answer(b"[1, 2, 3]")[:-4]


def leave_half(talk: Talk) -> None:
    """Close in the middle of an answer."""
    talk.read()
    talk.send(HALF)


def slam_half(talk: Talk) -> None:
    """Reset in the middle of an answer: of so much of it that the peer has begun to read."""
    talk.read()
    talk.send(answer(bytes(30 * MIB))[: -6 * MIB])
    talk.reset()


@pytest.mark.parametrize("end", [leave, slam])
@pytest.mark.parametrize("call", [GET, POST], ids=["GET", "POST"])
def test_a_stale_connection_is_replaced(end: Script, call: HttpCall, to: To) -> None:
    """A call that meets a kept connection which is closed is sent once more, on a new one."""
    with WireServer(kept(end), answering(answer(b"[1]"))) as server, to(server) as transport:
        assert reply(transport.send(GET)).body == b"[0]"
        assert reply(transport.send(call)).body == b"[1]"
        assert server.connections == 2
        assert server.requests[1] == server.requests[2]


def test_a_call_is_sent_twice_at_the_most(to: To) -> None:
    """A call that meets a stale connection and then a server that leaves has failed."""
    with WireServer(kept(leave), leave) as server, to(server) as transport:
        reply(transport.send(GET))
        assert failure(transport.send(GET)).kind is FailureKind.NETWORK
        assert (server.connections, len(server.requests)) == (2, 3)


@pytest.mark.parametrize("end", [leave, slam, leave_half, slam_half])
def test_a_fresh_connection_that_breaks_is_a_failure(end: Script, to: To) -> None:
    """A connection that was made for this very call and breaks is NETWORK, without a replay."""
    with WireServer(end, answering(answer())) as server, to(server) as transport:
        assert failure(transport.send(GET)).kind is FailureKind.NETWORK
        assert len(server.requests) == 1


@pytest.mark.parametrize("end", [leave_half, slam_half])
def test_an_answer_that_breaks_off_is_not_replayed(end: Script, to: To) -> None:
    """Once an answer has begun, a kept connection was not stale, and what breaks it is NETWORK."""
    with WireServer(kept(end), answering(answer())) as server, to(server) as transport:
        reply(transport.send(GET))
        assert failure(transport.send(GET)).kind is FailureKind.NETWORK
        assert len(server.requests) == 2


@pytest.mark.parametrize(
    "text",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n[]\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://a:b/\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
    ],
)
def test_what_is_not_http_is_a_failure(text: bytes, to: To) -> None:
    """An answer that is cut short, or is not HTTP at all, is NETWORK."""
    with WireServer(answering(text)) as server, to(server) as transport:
        assert failure(transport.send(GET)).kind is FailureKind.NETWORK


def test_without_a_length_the_end_is_the_end(to: To) -> None:
    """HTTP cannot tell that an answer without a length was cut short: whoever parses it will."""
    text = b"HTTP/1.1 200 OK\r\n\r\n[1, 2"
    with WireServer(answering(text)) as server, to(server) as transport:
        assert reply(transport.send(GET)).body == b"[1, 2"


@pytest.mark.long
@limits(max_examples=60)
@given(text=st.binary() | st.binary().map(lambda body: b"HTTP/1.1 200 OK\r\n" + body))
def test_whatever_comes_is_a_reply_or_a_failure(text: bytes, to: To) -> None:
    """No bytes that a server may send raise an exception."""
    with WireServer(answering(text)) as server, to(server) as transport:
        assert isinstance(transport.send(GET), HttpReply | Failure)


# -- answers that take too long ----------------------------------------------------------------


def test_a_silent_server_is_given_up(opened: Opened) -> None:
    """A server that sends nothing for `read_timeout` is NETWORK."""
    with WireServer(kept(Talk.stall)) as server:
        settings = Settings(api_url=server.url, read_timeout=0.1)
        with opened(settings, None) as transport:
            reply(transport.send(GET))
            found = failure(transport.send(GET))
    assert found.kind is FailureKind.NETWORK
    assert "ReadTimeout" in found.text


OK = b"HTTP/1.1 200 OK\r\n"
LONG_NAME = gzip.compress(b"")[:3] + b"\x08" + bytes(6)  # the header of a file whose name follows
NOTHING = b"\x00\x00\x00\xff\xff"  # a deflated block without contents

DRIPS = {
    "a body of known length": (OK + b"Content-Length: 100000\r\n\r\n", b"x"),
    "a body without a length": (OK + b"\r\n", b"x"),
    "chunks": (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "the head": (OK + b"X-Padding: ", b"x"),
    "before the head": (b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
    "a compressed body's head": (OK + b"Content-Encoding: gzip\r\n\r\n" + LONG_NAME, b"x"),
    "a compressed body of nothing": (
        OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"")[:10],
        NOTHING,
    ),
}


@pytest.mark.parametrize("name", DRIPS)
def test_a_dripping_server_is_given_up(name: str, to: To) -> None:
    """An answer that comes byte by byte, in whichever part, ends at the deadline as NETWORK."""
    scripts = (dripping(*DRIPS[name]), answering(answer(b"[1]")))
    with WireServer(*scripts) as server, to(server, deadline=0.2) as transport:
        found = failure(transport.send(GET))
        assert found.kind is FailureKind.NETWORK
        assert "in 0.2 s" in found.text


def test_time_outs_may_be_as_long_as_one_likes(opened: Opened) -> None:
    """Seconds that no socket could wait for are as good as none."""
    with WireServer(answering(answer(b"[1]"))) as server:
        age = 1e12
        settings = Settings(api_url=server.url, connect_timeout=age, read_timeout=age, deadline=age)
        with opened(settings, None) as transport:
            assert reply(transport.send(GET)).body == b"[1]"


def test_the_deadline_holds_for_all_that_a_call_takes(to: To) -> None:
    """A replay or a redirect has what is left of the time, and a call gets one deadline."""
    redirect = answer(b"", "307 Temporary Redirect", location="/api/elsewhere")

    def redirecting(talk: Talk) -> None:
        talk.read()
        talk.send(redirect)
        dripping(OK, b"X-Padding: x\r\n")(talk)

    with WireServer(kept(leave), redirecting) as server, to(server, deadline=0.3) as transport:
        reply(transport.send(GET))
        assert "in 0.3 s" in failure(transport.send(GET)).text
        assert server.connections == 2


def test_a_stalled_handshake_is_given_up(opened: Opened) -> None:
    """The deadline holds for the TLS handshake too."""
    with WireServer(Talk.stall) as server:
        settings = patient(f"https://{server.address}/api", deadline=0.2)
        with opened(settings, tls_context(settings)) as transport:
            assert "in 0.2 s" in failure(transport.send(GET)).text


# -- answers that are too long, or cannot be read ------------------------------------------------


def bomb(mebibytes: int) -> bytes:
    """Compress so many MiB of zeros, quickly."""
    squeeze = zlib.compressobj(wbits=31)
    head = squeeze.compress(b"") + squeeze.flush(zlib.Z_FULL_FLUSH)
    block = squeeze.compress(bytes(MIB)) + squeeze.flush(zlib.Z_FULL_FLUSH)
    return head + block * mebibytes


@pytest.mark.parametrize("coding", ["gzip", "identity"])
def test_an_answer_may_be_so_long(coding: str, to: To) -> None:
    """An answer of just the greatest length is read."""
    body = gzip.compress(bytes(MAX_BODY), 1) if coding == "gzip" else bytes(MAX_BODY)
    said = answer(body, content_encoding=coding)
    with WireServer(answering(said)) as server, to(server) as transport:
        assert len(reply(transport.send(GET)).body) == MAX_BODY


def test_a_longer_answer_is_a_page_limit(to: To) -> None:
    """A byte more is PAGE_LIMIT, so that fewer rows are asked for."""
    with WireServer(answering(answer(bytes(MAX_BODY + 1)))) as server, to(server) as transport:
        assert failure(transport.send(GET)).kind is FailureKind.PAGE_LIMIT


PACKED = gzip.compress(b"[1, 2, 3]")


@pytest.mark.parametrize(("start", "tail"), [(bomb(1024), 0), (PACKED, 100)], ids=["bomb", "tail"])
def test_no_more_is_held_than_may_be(start: bytes, tail: int, to: To) -> None:
    """Of what inflates to a GiB, or has a long tail, no more than the greatest length is held."""
    length = len(start) + tail * MIB
    mebibyte = bytes(MIB)

    def script(talk: Talk) -> None:
        talk.read()
        talk.send(answer(start, content_encoding="gzip", content_length=str(length)))
        for _ in range(tail):
            talk.send(mebibyte)

    with WireServer(script) as server, to(server) as transport:
        tracemalloc.start()
        try:
            transport.send(GET)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 2.5 * MAX_BODY


def test_a_bomb_is_a_page_limit(to: To) -> None:
    """A small answer that inflates beyond the greatest length is PAGE_LIMIT as well."""
    said = answer(bomb(64), content_encoding="gzip")
    with WireServer(answering(said)) as server, to(server) as transport:
        assert failure(transport.send(GET)).kind is FailureKind.PAGE_LIMIT


@pytest.mark.parametrize(
    ("body", "coding"),
    [
        (b"[1, 2, 3]", "gzip"),
        (PACKED[:4] + b"\xff" * 20, "gzip"),
        (PACKED[:-6], "gzip"),
        (PACKED[:-8] + bytes(8), "gzip"),
        (b"\x00", "br"),
        (PACKED, "gzip, gzip"),
    ],
)
def test_what_cannot_be_decompressed_is_garbled(body: bytes, coding: str, to: To) -> None:
    """An answer that is broken gzip, or another coding, is GARBLED."""
    said = answer(body, content_encoding=coding)
    with WireServer(answering(said)) as server, to(server) as transport:
        assert failure(transport.send(GET)).kind is FailureKind.UNREADABLE


@pytest.mark.parametrize(
    ("body", "coding", "read"),
    [
        (b"", "gzip", b""),
        (PACKED + b"junk" * MIB, "gzip", b"[1, 2, 3]"),
        (PACKED, "GZip", b"[1, 2, 3]"),
        (b"[]", "identity", b"[]"),
    ],
    ids=["nothing", "more", "capitals", "as it is"],
)
def test_harmless_oddities_of_compression(body: bytes, coding: str, read: bytes, to: To) -> None:
    """Nothing at all is not broken gzip, and what follows the compressed answer is passed over."""
    said = answer(body, content_encoding=coding)
    with WireServer(answering(said)) as server, to(server) as transport:
        assert reply(transport.send(GET)).body == read


BAD: dict[str, Script] = {
    "left": leave,
    "reset": slam,
    "left half way": leave_half,
    "reset half way": slam_half,
    "too long": answering(answer(bomb(64), content_encoding="gzip")),
    "not gzip": answering(answer(b"[]", content_encoding="gzip")),
    "unknown coding": answering(answer(b"[]" * 100_000, content_encoding="br")),
    "too slow": dripping(*DRIPS["a body of known length"]),
    "not HTTP": answering(b"hello?\r\n\r\n"),
}


@pytest.mark.parametrize("name", BAD)
def test_after_a_failure_comes_a_new_connection(name: str, to: To) -> None:
    """Whatever went wrong with a call, the next one is answered."""
    scripts = (BAD[name], answering(answer(b"[1]")))
    with WireServer(*scripts) as server, to(server, deadline=1.0) as transport:
        failure(transport.send(GET))
        assert reply(transport.send(GET)).body == b"[1]"
        assert server.connections == 2


def test_a_failure_lets_go_of_the_connection(to: To) -> None:
    """The server sees the end of a connection on which a call has failed, at once."""
    gone = threading.Event()

    def script(talk: Talk) -> None:
        answering(answer(b"[]", content_encoding="br"))(talk)
        talk.stall()
        gone.set()

    with WireServer(script) as server, to(server) as transport:
        failure(transport.send(GET))
        assert gone.wait(60)


# -- closing -----------------------------------------------------------------------------------


def stall_half(talk: Talk) -> None:
    """Stall in the middle of an answer."""
    talk.read()
    talk.send(HALF)
    talk.stall()


def stall_endless(talk: Talk) -> None:
    """Stall in an answer whose end is the connection's end."""
    talk.read()
    talk.send(OK + b"\r\n[]")
    talk.stall()


def broken_off(transport: Sender, server: WireServer) -> Failure:
    """Close a transport while another thread waits for an answer, and return what that gets."""
    outcomes: list[HttpReply | Failure] = []
    sender = threading.Thread(target=lambda: outcomes.append(transport.send(GET)))
    sender.start()
    server.stalling.wait()
    transport.close()
    sender.join()
    return failure(outcomes[0])


@pytest.mark.parametrize("script", [stall, stall_half, stall_endless])
@pytest.mark.parametrize("before", [0, 1], ids=["fresh", "kept"])
def test_closing_breaks_off_a_call(script: Script, before: int, to: To) -> None:
    """Closing ends a call that waits in another thread, wherever in the answer, for good."""
    with WireServer(kept(script) if before else script) as server, to(server) as transport:
        for _ in range(before):
            reply(transport.send(GET))
        found = broken_off(transport, server)
        assert found.kind is FailureKind.NETWORK
        assert "closed" in found.text
    assert (server.connections, len(server.requests)) == (1, before + 1)


@pytest.mark.parametrize("script", [stall, stall_half])
def test_closing_breaks_off_a_call_over_tls(
    script: Script, authority: "Authority", opened: Opened
) -> None:
    """Closing ends a call over TLS as well."""
    with WireServer(script, tls=authority.server()) as server:
        settings = patient(server.url, ssl_cert_file=authority.file)
        with opened(settings, tls_context(settings)) as transport:
            assert broken_off(transport, server).kind is FailureKind.NETWORK


def test_closing_breaks_off_a_handshake(opened: Opened) -> None:
    """Closing ends a TLS handshake to which nobody answers."""
    with WireServer(Talk.stall) as server:
        settings = patient(f"https://{server.address}/api")
        with opened(settings, tls_context(settings)) as transport:
            assert broken_off(transport, server).kind is FailureKind.NETWORK


def test_closing_ends_a_trickle(to: To) -> None:
    """Closing ends a call whose answer keeps coming."""

    def script(talk: Talk) -> None:
        server.stalling.set()
        dripping(OK, b"X-Padding: x\r\n")(talk)

    with WireServer(script) as server, to(server) as transport:
        assert "closed" in broken_off(transport, server).text


def test_a_closed_transport_answers_with_a_failure(to: To) -> None:
    """After closing, which may be done twice, a call is a failure and reaches nobody."""
    with WireServer(forever(answer())) as server, to(server) as transport:
        reply(transport.send(GET))
        transport.close()
        transport.close()
        assert failure(transport.send(GET)).kind is FailureKind.NETWORK
        assert (server.connections, len(server.requests)) == (1, 1)


def test_a_transport_that_was_never_used_can_be_closed(to: To) -> None:
    """Closing before the first call makes no connection, then or later."""
    with WireServer(forever(answer())) as server, to(server) as transport:
        transport.close()
        failure(transport.send(GET))
        assert server.connections == 0


def test_closing_from_many_threads(to: To) -> None:
    """Many threads may close a transport at once, while a call is under way."""
    with WireServer(stall) as server, to(server) as transport:
        outcomes: list[HttpReply | Failure] = []
        sender = threading.Thread(target=lambda: outcomes.append(transport.send(GET)))
        sender.start()
        server.stalling.wait()
        closers = [threading.Thread(target=transport.close) for _ in range(8)]
        for closer in closers:
            closer.start()
        for thread in (*closers, sender):
            thread.join()
        assert failure(outcomes[0]).kind is FailureKind.NETWORK


def test_closing_lets_go_of_the_connection(to: To) -> None:
    """The server sees the end of the connection when its transport is closed."""
    gone = threading.Event()

    def script(talk: Talk) -> None:
        answering(answer())(talk)
        talk.stall()
        gone.set()

    with WireServer(script) as server:
        with to(server) as transport:
            reply(transport.send(GET))
        assert gone.wait(60)


# -- redirects ---------------------------------------------------------------------------------


def redirect(location: str, status: str = "307 Temporary Redirect") -> bytes:
    """Write a redirect."""
    return answer(b"", status, location=location)


@pytest.mark.parametrize("status", ["307 Temporary Redirect", "308 Permanent Redirect"])
@pytest.mark.parametrize("call", [GET, POST], ids=["GET", "POST"])
def test_a_redirect_on_the_same_server_is_followed(status: str, call: HttpCall, to: To) -> None:
    """A redirect within the server is followed with method, body and headers as they were."""
    script = answering(redirect("/api/there?x=1", status), answer(b"[1]"))
    with WireServer(script) as server, to(server) as transport:
        assert reply(transport.send(call)).body == b"[1]"
        first, second = server.requests
        assert second.target == "/api/there?x=1"
        assert second._replace(target=first.target) == first


def test_redirects_are_followed_three_times(to: To) -> None:
    """The fourth redirect is the answer."""
    with WireServer(forever(redirect("/api/on"))) as server, to(server) as transport:
        assert reply(transport.send(GET)).status == 307
        assert len(server.requests) == 4


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other"])
def test_redirects_that_may_change_the_method_are_not_followed(status: str, to: To) -> None:
    """A redirect after which a POST would become a GET is the answer."""
    with WireServer(forever(redirect("/api/on", status))) as server, to(server) as transport:
        assert reply(transport.send(POST)).headers["location"] == "/api/on"
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "location",
    [
        "http://OTHER/api/",
        "//OTHER/api/",
        "https://SAME/api/",
        "http://user:pw@SAME/api/",
        "http://SAME\\@OTHER/api/",
        "http://SAME@OTHER/api/",
        "ftp://SAME/api/",
        "http://localhost:1/api/",
        "",
    ],
)
def test_no_redirect_leads_to_another_server(location: str, opened: Opened) -> None:
    """A redirect to anywhere else is the answer; nothing is sent there, a key least of all."""
    with WireServer(forever(answer())) as other:

        def script(talk: Talk) -> None:
            to_there = location.replace("SAME", same).replace("OTHER", other.address)
            forever(redirect(to_there))(talk)

        with WireServer(script) as server:
            same = server.address
            settings = Settings(api_url=server.url, api_key=Secret("key"))
            with opened(settings, None) as transport:
                assert reply(transport.send(GET)).status == 307
            assert len(server.requests) == 1
        assert other.connections == 0


@pytest.mark.parametrize("location", ["\x00", "http://a:b/", "http://h:99999999/", "http://[::1/"])
def test_a_redirect_to_no_url_leads_nowhere(location: str) -> None:
    """What is no URL is no place to go to."""
    junk = HttpReply(status=307, headers={"location": location}, body=b"")
    assert redirect_target(httpx.URL("http://h/api"), junk) is None


# -- TLS ---------------------------------------------------------------------------------------


class Authority:
    """An authority that nobody knows, and the file by which one may get to know it."""

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self.file = str(folder / "ca.pem")
        self._ca.cert_pem.write_to_path(self.file)

    def server(self, name: str = "127.0.0.1") -> ssl.SSLContext:
        """Make what a server of this name needs."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(name).configure_cert(context)
        return context


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority for all tests, since making keys takes time."""
    return Authority(tmp_path_factory.mktemp("authority"))


def over_tls(opened: Opened, settings: Settings) -> HttpReply | Failure:
    """Make one call."""
    with opened(settings, tls_context(settings)) as transport:
        return transport.send(GET)


def test_a_certificate_of_a_known_authority(authority: Authority, opened: Opened) -> None:
    """A server is accepted by a file of certificates."""
    with WireServer(answering(answer(b"[1]")), tls=authority.server()) as server:
        settings = patient(server.url, ssl_cert_file=authority.file)
        assert reply(over_tls(opened, settings)).body == b"[1]"


def test_a_certificate_of_an_unknown_authority(authority: Authority, opened: Opened) -> None:
    """A server that cannot prove who it is gets no request, and the text says what to set."""
    with WireServer(answering(answer()), tls=authority.server()) as server:
        found = failure(over_tls(opened, patient(server.url)))
        assert found.kind is FailureKind.CERTIFICATE
        assert "PREFECT_API_SSL_CERT_FILE" in found.text
        assert server.requests == []


def test_a_certificate_of_another_server(authority: Authority, opened: Opened) -> None:
    """A certificate for another name proves nothing, and the text says so."""
    with WireServer(answering(answer()), tls=authority.server("other.example")) as server:
        found = failure(over_tls(opened, patient(server.url, ssl_cert_file=authority.file)))
        assert found.kind is FailureKind.CERTIFICATE
        assert "not valid for '127.0.0.1'" in found.text
        assert server.requests == []


def test_verification_can_be_left_out(authority: Authority, opened: Opened) -> None:
    """Whoever says so gets an answer from anybody."""
    with WireServer(answering(answer()), tls=authority.server("other.example")) as server:
        assert reply(over_tls(opened, Settings(api_url=server.url, verify=False))).status == 200


def plainly(talk: Talk) -> None:
    """Answer what was never asked, without TLS."""
    talk.send(answer())


@pytest.mark.parametrize("script", [lambda _: None, plainly], ids=["leaves", "plain"])
def test_a_handshake_that_fails_otherwise_is_tried_again(script: Script, opened: Opened) -> None:
    """A server that leaves in the handshake, or speaks no TLS, is NETWORK, not CERTIFICATE."""
    with WireServer(script) as server:
        found = failure(over_tls(opened, patient(f"https://{server.address}/api")))
        assert found.kind is FailureKind.NETWORK


def test_a_connection_over_tls_is_kept_and_replaced(authority: Authority, opened: Opened) -> None:
    """Over TLS too a connection is kept, and replaced when the server has closed it."""
    scripts = (kept(leave), answering(answer(b"[1]")))
    with WireServer(*scripts, tls=authority.server()) as server:
        settings = patient(server.url, ssl_cert_file=authority.file)
        with opened(settings, tls_context(settings)) as transport:
            assert reply(transport.send(GET)).body == b"[0]"
            assert reply(transport.send(GET)).body == b"[1]"
        assert (server.connections, len(server.requests)) == (2, 3)


def test_a_server_that_drips_over_tls_is_given_up(authority: Authority, opened: Opened) -> None:
    """The deadline holds over TLS too."""
    script = dripping(*DRIPS["the head"])
    with WireServer(script, tls=authority.server()) as server:
        settings = patient(server.url, deadline=0.3, ssl_cert_file=authority.file)
        assert "in 0.3 s" in failure(over_tls(opened, settings)).text


def test_plain_http_needs_no_certificates() -> None:
    """Nothing is verified where the URL speaks plain HTTP."""
    assert tls_context(Settings(api_url="http://prefect.example/api")) is None


def test_well_known_authorities_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a file the authorities that httpx brings along are known, whatever the system has."""
    for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.setenv(variable, "")
    context = tls_context(Settings(api_url="https://prefect.example/api"))
    assert context is not None
    assert context.cert_store_stats()["x509_ca"] > 50


def test_a_file_that_holds_no_certificates(tmp_path: Path) -> None:
    """A file of anything else is a matter of configuration, and is named."""
    junk = tmp_path / "junk.pem"
    junk.write_text("junk", "utf-8")
    for file in (junk, tmp_path / "missing.pem"):
        settings = Settings(api_url="https://prefect.example/api", ssl_cert_file=str(file))
        with pytest.raises(ConfigurationError, match=file.name):
            tls_context(settings)


# -- proxies -----------------------------------------------------------------------------------

ABROAD = "http://prefect.invalid/api"


@pytest.fixture
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy is set, unless a test sets one."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.usefixtures("_no_proxies")
def test_a_proxy_of_the_environment_is_used(
    monkeypatch: pytest.MonkeyPatch, opened: Opened
) -> None:
    """A server elsewhere is reached through the proxy that the environment names."""
    with WireServer(answering(answer(b"[1]"))) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://user:pw@{proxy.address}")
        with opened(patient(ABROAD), None) as transport:
            assert reply(transport.send(POST)).body == b"[1]"
        assert proxy.requests[0].target == f"{ABROAD}/logs/filter"
        assert "proxy-authorization" in proxy.requests[0].headers


@pytest.mark.usefixtures("_no_proxies")
def test_no_proxy_leads_back_here(monkeypatch: pytest.MonkeyPatch, to: To) -> None:
    """A server on this machine is reached directly, whatever proxy is set."""
    with refused_port() as port, WireServer(answering(answer(b"[1]"))) as server:
        monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{port}")
        with to(server) as transport:
            assert reply(transport.send(GET)).body == b"[1]"


@pytest.mark.usefixtures("_no_proxies")
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "all_proxy"])
def test_a_proxy_is_named_without_its_password(
    variable: str, monkeypatch: pytest.MonkeyPatch, opened: Opened
) -> None:
    """A failure on the way through a proxy names the proxy, and not its password."""
    with refused_port() as port:
        monkeypatch.setenv(variable, f"http://user:canary@127.0.0.1:{port}")
        with opened(patient(ABROAD), None) as transport:
            found = failure(transport.send(GET))
    assert found.kind is FailureKind.REFUSED
    assert f"through the proxy 127.0.0.1:{port}" in found.text
    assert "canary" not in found.text


@pytest.mark.usefixtures("_no_proxies")
@pytest.mark.parametrize("proxy", ["http://user:canary/x@host", "ftp://user:canary@host:21"])
def test_a_proxy_that_cannot_be_used(
    proxy: str, monkeypatch: pytest.MonkeyPatch, opened: Opened
) -> None:
    """A proxy that makes no sense is a matter of configuration, and its URL is not quoted."""
    monkeypatch.setenv("HTTP_PROXY", proxy)
    with pytest.raises(ConfigurationError, match="HTTP_PROXY") as caught:
        opened(patient(ABROAD), None).__enter__()
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.usefixtures("_no_proxies")
def test_closing_breaks_off_a_call_through_a_tunnel(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, opened: Opened
) -> None:
    """Closing ends a call over TLS through a proxy too."""

    def tunnel(talk: Talk) -> None:
        talk.read()
        talk.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        talk._connection = authority.server("prefect.invalid").wrap_socket(
            talk._connection.dup(), server_side=True
        )
        with talk._connection:
            stall(talk)

    with WireServer(tunnel) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.address}")
        settings = patient("https://prefect.invalid/api", ssl_cert_file=authority.file)
        with opened(settings, tls_context(settings)) as transport:
            assert broken_off(transport, proxy).kind is FailureKind.NETWORK
        assert [request.method for request in proxy.requests] == ["CONNECT", "GET"]


# -- secrets -----------------------------------------------------------------------------------


@contextmanager
def everything_logged() -> Iterator[io.StringIO]:
    """Collect what loguru and the logging of httpx and httpcore say, at their most talkative."""
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    root = logging.getLogger()
    names = [logging.getLogger(name) for name in ("httpx", "httpcore", "h11")]
    sink = logger.add(said, level=0, backtrace=True, diagnose=True)
    logger.enable("rxflow")
    root.addHandler(handler)
    for log in names:
        log.setLevel(logging.DEBUG)
    try:
        yield said
    finally:
        for log in names:
            log.setLevel(logging.NOTSET)
        root.removeHandler(handler)
        logger.disable("rxflow")
        logger.remove(sink)


SECRETS = (
    Settings(api_url="", auth_string=Secret("someone:canary-auth")),
    Settings(api_url="", api_key=Secret("canary-key")),
    Settings(api_url="", headers=(("X-Token", Secret("canary-header")),)),
    Settings(api_url="", headers=(("authorization", Secret("Digest canary-header")),)),
)


@pytest.mark.parametrize("secret", SECRETS, ids=["auth", "key", "header", "authorization"])
def test_no_secret_is_told(secret: Settings, opened: Opened) -> None:
    """No text of ours, no log at any level and no repr holds a secret, though each is sent."""
    scripts = [*BAD.values(), answering(answer(b"{}", "401 Unauthorized")), answering(answer())]
    with everything_logged() as said, WireServer(*scripts) as server:
        settings = Settings(
            api_url=server.url,
            auth_string=secret.auth_string,
            api_key=secret.api_key,
            headers=secret.headers,
            deadline=0.5,
        )
        with opened(settings, None) as transport:
            outcomes = [transport.send(GET) for _ in scripts]
            said.write(f"{outcomes} {transport!r} {settings!r} {Client(settings=settings)!r}")
        sent = str(server.requests)
    text = said.getvalue()
    assert "GET" in text
    for canary in ("canary", base64.b64encode(b"someone:canary-auth").decode()):
        assert canary not in text
    assert any(
        hidden.reveal() in sent or base64.b64encode(hidden.reveal().encode()).decode() in sent
        for hidden in (secret.auth_string, secret.api_key, *dict(secret.headers).values())
        if hidden is not None
    )


def test_no_login_in_the_url_is_told() -> None:
    """A login that stood in the URL is sent as a header, and never told."""
    with everything_logged() as said, WireServer(answering(answer())) as server:
        client = Client(api_url=server.url.replace("://", "://me:canary@"))
        with closing(client.open_channel()) as channel:
            said.write(f"{client!r} {client.api_url} {channel!r}")
            reply(channel._transport.send(GET))
        login = base64.b64encode(b"me:canary").decode()
        assert server.requests[0].headers["authorization"] == f"Basic {login}"
    text = said.getvalue()
    assert "canary" not in text
    assert login not in text
