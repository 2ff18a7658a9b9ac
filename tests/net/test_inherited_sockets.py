"""Inherited sockets: a forked child lets go of the parent's connection and sends nothing on it."""

import os
import socket
import threading
from collections.abc import Callable

import pytest
from certificates import Authority
from http_calls import GET, OpenTransport, reply_of, settings_for
from wire_server import ServerConnection, WireServer, http_response, respond, respond_always

from rxflow._backends.backend import HttpResult
from rxflow._net.endpoint import Endpoint
from rxflow._net.inherited_sockets import SocketDescriptor
from rxflow._net.send_errors import CONNECTION_CLOSED
from rxflow._net.tls import tls_context
from rxflow._net.transport import Transport

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning"),
]


def run_in_child(check: Callable[[], bool]) -> bool:
    """Fork; return whether a check holds in the child, which ends after it."""
    child = os.fork()
    if child == 0:
        good = False
        try:
            good = check()
        finally:
            os._exit(0 if good else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_the_parent_keeps_its_connection(
    tls: bool,
    authority: Authority,
    open_transport: OpenTransport,
) -> None:
    """After children have ended, the parent sends on the connection that it had."""
    server_tls = authority.server_context() if tls else None
    with WireServer(respond_always(http_response(b"[1]")), tls=server_tls) as server:
        settings = settings_for(server.url, ssl_cert_file=authority.file)
        with open_transport(settings, tls_context(settings)) as transport:
            for _ in range(3):
                assert reply_of(transport.send(GET)).body == b"[1]"
                assert run_in_child(lambda: True)
        assert server.connections == 1


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_an_inherited_transport_sends_nothing(
    tls: bool,
    authority: Authority,
) -> None:
    """In a child a call has the result of a closed transport, and closing harms no one."""
    server_tls = authority.server_context() if tls else None
    with WireServer(respond_always(http_response(b"[1]")), tls=server_tls) as server:
        settings = settings_for(server.url, ssl_cert_file=authority.file)
        transport = Transport(Endpoint(settings, tls_context(settings)))
        reply_of(transport.send(GET))

        def check() -> bool:
            result: HttpResult = transport.send(GET)
            transport.close()
            return result == CONNECTION_CLOSED

        assert run_in_child(check)
        assert reply_of(transport.send(GET)).body == b"[1]"
        transport.close()
        assert (server.connections, len(server.requests)) == (1, 2)


def test_the_parent_closes_a_connection_that_a_child_inherited(
    open_transport: OpenTransport,
) -> None:
    """A child that lives on keeps no connection of its parent's open."""
    release, wait = os.pipe()
    with WireServer(respond_always(http_response())) as server:
        with open_transport(settings_for(server.url), None) as transport:
            reply_of(transport.send(GET))
            child = os.fork()
            if child == 0:
                os.close(wait)
                os.read(release, 1)
                os._exit(0)
        # The script ends when the connection is closed, and with it its thread.
        for thread in [each for each in threading.enumerate() if each.name == "wire-connection"]:
            thread.join(30)
            assert not thread.is_alive()
        os.close(wait)
        os.close(release)
        assert os.waitpid(child, 0)[1] == 0


def test_only_the_socket_itself_is_released() -> None:
    """A descriptor whose number belongs to another file meanwhile is left alone."""
    first, second = socket.socketpair()
    descriptor = SocketDescriptor(first)
    number = first.fileno()
    first.close()
    second.close()
    left, right = socket.socketpair()
    with left, right:
        assert number in {left.fileno(), right.fileno()}
        descriptor.release()
        left.sendall(b"1")
        assert right.recv(1) == b"1"
        SocketDescriptor(left).release()
        with pytest.raises(OSError, match="socket"):
            left.sendall(b"1")
        SocketDescriptor(None).release()


def test_a_call_under_way_in_the_parent_gets_its_response(open_transport: OpenTransport) -> None:
    """A fork during a call does not disturb it."""
    begun, forked = threading.Event(), threading.Event()

    def respond_after_fork(connection: ServerConnection) -> None:
        begun.set()
        forked.wait(30)
        respond(http_response(b"[1]"))(connection)

    with WireServer(respond_after_fork) as server:
        with open_transport(settings_for(server.url), None) as transport:
            results: list[HttpResult] = []
            caller = threading.Thread(target=lambda: results.append(transport.send(GET)))
            caller.start()
            assert begun.wait(30)
            assert run_in_child(lambda: True)
            forked.set()
            caller.join(30)
        assert reply_of(results[0]).body == b"[1]"
