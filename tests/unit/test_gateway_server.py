"""Run the gateway's server over a transport that the test controls."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import resource
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dev_sessions.errors import DevSessionsError, StartFailed, WaitTimedOut
from dev_sessions.gateway.access import MAX_BODY, AccessPolicy
from dev_sessions.gateway.client import GatewayClient
from dev_sessions.gateway.server import Server
from dev_sessions.models import Receipt, StatusResult, WaitResult
from dev_sessions.operations import Create, Operation, Send, Status, Wait
from dev_sessions.system.deadline import Deadline, poll
from tests.support.gateway import serving

R = TypeVar("R")


class Host:
    """A transport whose waits last until `release`; its other answers are fixed. `waiting` counts the waits."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.waiting = 0
        self.sent: list[str] = []
        self._lock = threading.Lock()
        self._warn: Callable[[str], None] = print

    def __call__(self, warn: Callable[[str], None]) -> Host:
        """Return the transport of a request."""
        self._warn = warn
        return self

    def execute(self, operation: Operation[R]) -> R:
        """Execute an operation."""
        return cast("R", self._execute(operation))

    def _execute(self, operation: Operation[Any]) -> object:
        match operation:
            case Wait():
                return self._wait(operation)
            case Send(message=message):
                self.sent.append(message)
                return Receipt("submitted")
            case Create():
                self._warn("something to know")
                raise RuntimeError("a fault")
        return StatusResult("idle")

    def _wait(self, operation: Wait) -> WaitResult:
        deadline = Deadline.cancellable(operation.timeout)
        with self._lock:
            self.waiting += 1
        try:
            if poll(lambda: self.release.is_set() or None, deadline) is None:
                raise WaitTimedOut("Timed out waiting for a")
        finally:
            with self._lock:
                self.waiting -= 1
        return WaitResult("completed", 1)


@pytest.fixture
def host() -> Iterator[Host]:
    """Provide the transport behind the server."""
    host = Host()
    yield host
    host.release.set()


@pytest.fixture
def server(host: Host) -> Iterator[Server]:
    """Provide a server with short timeouts."""
    with serving(Server(0, host, AccessPolicy(), heartbeat=0.1, read_timeout=0.5)) as server:
        yield server


def client(server: Server) -> GatewayClient:
    """Provide a client of the server."""
    return GatewayClient(f"http://127.0.0.1:{server.port}", None, print)


def ask(server: Server, method: str, path: str, body: object = None, **headers: str) -> tuple[int, dict[str, Any]]:
    """Send a request as any program would, and return the status and the body."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)) as connection:
        data = None if body is None else json.dumps(body).encode()
        connection.request(method, path, data, {"Content-Type": "application/json", **headers} if data else headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())


def connect(server: Server, request: bytes) -> socket.socket:
    """Open a connection and send these bytes."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    connection.sendall(request)
    return connection


def posted(body: bytes, more: bytes = b"") -> bytes:
    """Return a request to send a message."""
    head = b"POST /send HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n%bContent-Length: %d\r\n\r\n"
    return head % (more, len(body)) + body


def is_healthy(server: Server) -> bool:
    """Return whether the server still answers."""
    status, body = ask(server, "GET", "/health")
    return (status, body["ok"], body["status"]) == (200, True, "healthy")


HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
WAIT = b"GET /wait?id=a&timeout=60 HTTP/1.1\r\nHost: localhost\r\n\r\n"


def test_a_wait_shows_at_once_and_ever_again_that_it_lives(server: Server, host: Host) -> None:
    """A wait answers with 200 at once and then a newline now and again, so that nothing between container and host
    times out."""
    with connect(server, WAIT) as connection:
        answer = b""
        while not answer.endswith(b"\r\n\r\n\n\n\n"):
            answer += connection.recv(1000)
        assert answer.startswith(b"HTTP/1.1 200 ")
        host.release.set()
        while part := connection.recv(1000):
            answer += part
    body = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert body == {"ok": True, "waitResult": {"completed": True, "timedOut": False, "elapsedMs": 1}}


def test_a_wait_that_nobody_waits_for_any_more_ends(server: Server, host: Host) -> None:
    """A client that was killed leaves no wait running on the host."""
    connection = connect(server, WAIT)
    assert poll(lambda: host.waiting or None, Deadline(5))
    connection.close()
    assert poll(lambda: host.waiting == 0 or None, Deadline(5))


def test_a_client_that_only_ended_its_own_side_gets_the_response(server: Server, host: Host) -> None:
    """A client that closes its side after the request, as `nc -N` does, still gets the response to a long wait."""
    with connect(server, WAIT) as connection:
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while not answer.endswith(b"\r\n\r\n\n\n\n"):
            answer += connection.recv(1000)
        host.release.set()
        answer += b"".join(iter(lambda: connection.recv(1000), b""))
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["waitResult"]["completed"]


def test_what_follows_a_request_does_not_hide_that_the_client_has_gone(server: Server, host: Host) -> None:
    """A wait also ends if its client has sent more than the request before it was killed."""
    connection = connect(server, WAIT)
    assert poll(lambda: host.waiting or None, Deadline(5))
    connection.sendall(b"\r\n")
    connection.close()
    assert poll(lambda: host.waiting == 0 or None, Deadline(5))


def test_a_gateway_that_is_busy_says_so(host: Host) -> None:
    """When the gateway executes as many requests as it can, the next client is told that nothing was executed."""
    with serving(Server(0, host, AccessPolicy(), max_threads=2)) as server:
        waits = [connect(server, WAIT) for _ in range(2)]
        assert poll(lambda: host.waiting == 2 or None, Deadline(5))
        assert ask(server, "POST", "/send", {"sessionId": "a", "message": "hello"})[0] == 503
        with pytest.raises(DevSessionsError, match="nothing was executed: try again later"):
            client(server).execute(Send(session_id="a", message="hello"))
        assert host.sent == []
        host.release.set()
        for connection in waits:
            connection.close()
        assert poll(lambda: ask(server, "GET", "/health")[0] == 200 or None, Deadline(5))


def test_a_body_that_does_not_arrive_is_named(server: Server) -> None:
    """A client whose body stops is told so, with how much of it has arrived."""
    with connect(server, posted(b'{"sessionId"' + b" " * 38)[:-38]) as connection:
        answer = b"".join(iter(lambda: connection.recv(1000), b""))
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"12 of the 50 bytes of the body have arrived" in answer


def test_hundreds_of_waits_do_not_stop_a_status(host: Host) -> None:
    """While 300 clients wait, another request is answered, and then all of theirs are."""
    results: list[object] = []
    with serving(Server(0, host, AccessPolicy())) as server:
        threads = [
            threading.Thread(target=lambda: results.append(client(server).execute(Wait(session_id="a"))))
            for _ in range(300)
        ]
        for thread in threads:
            thread.start()
        assert poll(lambda: host.waiting == 300 or None, Deadline(30))
        assert client(server).execute(Status(session_id="a")) == StatusResult("idle")
        host.release.set()
        for thread in threads:
            thread.join(30)
    assert results == [WaitResult("completed", 1)] * 300


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /hea",
        b"GET /list HTTP/1.1\r\nHost: localhost\r\nX: ",
        b"POST /send HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{",
    ],
)
def test_a_client_that_does_not_finish_is_let_go(server: Server, sent: bytes) -> None:
    """A client that sends its request byte by byte, or never ends it, is disconnected soon."""
    with connect(server, sent) as connection:

        def drip() -> bool | None:
            try:
                connection.sendall(b" ")
            except OSError:
                return True
            return None

        assert poll(drip, Deadline(5), 0.05)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=300)
    | st.builds(
        lambda method, path, body: (
            (
                f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            ).encode()
            + body
        ),
        st.sampled_from(["GET", "POST", "HEAD", "PUT", "OPTIONS", "get", "\0"]),
        st.sampled_from(["/send", "/create", "/ask", "/wait?id=", "/list?all=1", "//", "*", "/%00", "http://x/"]),
        st.binary(max_size=100)
        | st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.dictionaries(st.text(), inner)
        ).map(lambda value: json.dumps(value).encode()),
    )
)
def test_whatever_is_sent_the_gateway_goes_on(server: Server, host: Host, sent: bytes) -> None:
    """After any malformed request the next valid one is answered."""
    host.release.set()
    with connect(server, sent) as connection, contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(10000):
            pass
    assert is_healthy(server)


@pytest.mark.parametrize(
    ("sent", "statuses"),
    [
        (b"GET http://[ HTTP/1.1\r\nHost: localhost\r\n\r\n", ["400"]),
        (b"GET /health HTTP/1.1\nHost: localhost\n\n", ["400"]),
        (b"GET /health HTTP/1.1\r\n" + b"X: y\r\n" * 100_000 + b"\r\n", ["431"]),
        (b"GET /" + b"x" * 100_000, ["431"]),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 40\r\n\r\n" + HEALTH, ["400"]),
        (HEALTH * 2, ["200"]),
        (b"GET /status?id=a&id=b HTTP/1.1\r\nHost: localhost\r\n\r\n", ["400"]),
        (b"GET /status?id=%ff HTTP/1.1\r\nHost: localhost\r\n\r\n", ["400"]),
        (posted(b'{"sessionId":"a","message":"m","message":"n"}'), ["400"]),
        (posted(b'{"sessionId":"a","message":"m"}', b"Expect: 100-continue\r\n"), ["100", "200"]),
    ],
    ids=range(10),
)
def test_what_is_ambiguous_is_refused_and_nothing_of_it_is_executed(
    server: Server, sent: bytes, statuses: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """An invalid request has one response, none of its bytes is taken for the next one, and no traceback is logged."""
    with connect(server, sent) as connection, contextlib.suppress(ConnectionResetError):
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while part := connection.recv(10000):
            answer += part
    assert re.findall(r"HTTP/1.1 (\d+) ", answer.decode()) == statuses
    assert capfd.readouterr().err == ""


#: Opens connections to a port, as many as it is told, sends nothing or half a head, and replaces those that are closed.
ATTACKER = """
import selectors, socket, sys
port, count = map(int, sys.argv[1:])
selector = selectors.DefaultSelector()
reported = number = 0
while True:
    for _ in range(count - len(selector.get_map())):
        connection = socket.socket()
        connection.setblocking(False)
        connection.connect_ex(("127.0.0.1", port))
        selector.register(connection, selectors.EVENT_WRITE)
    for key, events in selector.select():
        if events & selectors.EVENT_WRITE:
            number += 1
            try:
                key.fileobj.send(b"GET /list HTTP/1.1\\r\\nX: " if number % 2 else b"")
                selector.modify(key.fileobj, selectors.EVENT_READ)
            except OSError:
                selector.unregister(key.fileobj)
                key.fileobj.close()
        else:
            selector.unregister(key.fileobj)
            key.fileobj.close()
    if number >= count and not reported:
        reported = print("all are open", flush=True) or 1
"""


@pytest.mark.skipif(
    0 <= resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 8192, reason="the limit of open files is too low"
)
@pytest.mark.parametrize(
    ("count", "requests"),
    [(2000, 100), pytest.param(2000, 5000, marks=pytest.mark.soak), pytest.param(5000, 1000, marks=pytest.mark.soak)],
)
def test_clients_that_send_nothing_keep_nobody_out(host: Host, count: int, requests: int) -> None:
    """While a program keeps thousands of connections half-open, and opens new ones for those that are closed, every
    other request is answered, and nearly all of them soon."""
    before = threading.active_count()
    with serving(Server(0, host, AccessPolicy(token="sesame"), read_timeout=1)) as server:
        gateway = GatewayClient(f"http://127.0.0.1:{server.port}", "sesame", print)
        argv = [sys.executable, "-c", ATTACKER, str(server.port), str(count)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as attacker:
            try:
                assert attacker.stdout is not None
                assert attacker.stdout.readline() == "all are open\n"
                times = []
                for _ in range(requests // 2):
                    began = time.monotonic()
                    assert is_healthy(server)
                    assert gateway.execute(Status(session_id="a")) == StatusResult("idle")
                    times.append(time.monotonic() - began)
                assert attacker.poll() is None
                assert threading.active_count() < before + 10, "a connection without a request takes no thread"
            finally:
                attacker.kill()
    assert sorted(times)[len(times) * 9 // 10] < 3


@pytest.mark.parametrize("policy", [AccessPolicy(), AccessPolicy(token="sesame")], ids=["open", "token"])
def test_clients_that_do_not_read_take_no_thread(host: Host, policy: AccessPolicy) -> None:
    """A connection is closed after one response, and one whose client goes on sending takes no thread."""
    before = threading.active_count()
    with serving(Server(0, host, policy, read_timeout=1)) as server, contextlib.ExitStack() as stack:
        for request in [HEALTH * 100, b"GET /list HTTP/1.1\r\nHost: evil.example\r\n\r\n"] * 50:
            stack.enter_context(connect(server, request))
        assert is_healthy(server)
        assert poll(lambda: threading.active_count() <= before + 2 or None, Deadline(0.9))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the time of a process is read from /proc")
def test_without_a_free_file_descriptor_the_gateway_waits() -> None:
    """A gateway at its limit of files drops connections that send nothing, answers, and does not spin."""
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
        "from dev_sessions.gateway.access import AccessPolicy\n"
        "from dev_sessions.gateway.server import Server\n"
        "files = [open('/dev/null') for _ in range(50)]\n"
        "server = Server(0, print, AccessPolicy())\n"
        "print(server.port, flush=True)\n"
        "server.serve_forever()"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            port = int(child.stdout.readline())
            with contextlib.ExitStack() as stack:
                for _ in range(60):
                    stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))
                before = _cpu_seconds(child.pid)
                began = time.monotonic()
                with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
                    connection.request("GET", "/health")
                    assert connection.getresponse().status == 200
                time.sleep(1)
                assert _cpu_seconds(child.pid) - before < 0.25 * (time.monotonic() - began)
        finally:
            child.kill()


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_the_log_of_the_service_has_a_limit(tmp_path: Path) -> None:
    """The log of the service is renamed when it is large, and the lines before it are kept once."""
    script = (
        "from dev_sessions.gateway import log\n"
        "log.MAX_SIZE = 1000\n"
        "for number in range(100): log.write(f'line {number} of the log of the service')"
    )
    file = tmp_path / ".dev-sessions" / "gateway.log"
    file.parent.mkdir(mode=0o700)
    with file.open("ab") as stream:
        subprocess.run(
            [sys.executable, "-c", script], stdout=stream, env={"HOME": str(tmp_path)}, check=True, timeout=30
        )
    rotated = file.with_name("gateway.log.1")
    assert max(file.stat().st_size, rotated.stat().st_size) < 1100
    kept = (rotated.read_text() + file.read_text()).splitlines()
    assert kept == [f"line {number} of the log of the service" for number in range(100 - len(kept), 100)]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'"a"', b"\xff", b"[" * 100_000, b"NaN", '{"sessionId": "a"}'.encode("utf-16")]
)
def test_a_body_that_is_no_object_is_a_bad_request(server: Server, body: bytes) -> None:
    """A body that is not a JSON object is answered with 400 and the reason."""
    head = "POST /send HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
    with connect(server, f"{head}{len(body)}\r\n\r\n".encode() + body) as connection:
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        refusal = json.loads(answer.read())
    assert answer.status == 400
    assert refusal["error"].startswith(("The body is not JSON", "The body is not a JSON object"))
    assert refusal["output"] == {"stderr": refusal["error"], "exitCode": 1}


def test_a_bad_request_says_which_field(server: Server) -> None:
    """A field of the wrong type is named, and an unknown route is not found."""
    status, body = ask(server, "POST", "/create", {"path": 5})
    assert (status, body["error"]) == (400, "path: Input should be a valid string")
    for name in ("path", "description", "worktree", "model"):
        status, body = ask(server, "POST", "/create", {"path": "/", name: "a\0b"})
        assert (status, body["error"]) == (400, f"{name}: holds a NUL")
    assert ask(server, "POST", "/teleport", {})[0] == 404
    assert ask(server, "DELETE", "/list")[0] == 501


def test_a_refusal_reaches_a_client_that_sends_a_large_body(server: Server) -> None:
    """A client that sends a megabyte without permission still reads why it is refused."""
    status, body = ask(server, "POST", "/send", {"message": "x" * 1_000_000}, Origin="http://evil.example")
    assert (status, body["error"]) == (403, "Web pages may not use this gateway")
    status, body = ask(server, "GET", "/list", Host="evil.example")
    assert status == 403
    assert "--allow-host" in body["error"]


def test_a_file_of_the_host_is_a_message_of_an_old_client(server: Server, host: Host, tmp_path: Path) -> None:
    """A client of version 0.4 may name a file in place of a message."""
    file = tmp_path / "message"
    file.write_text("from a file ü", encoding="utf-8")
    assert ask(server, "POST", "/send", {"sessionId": "a", "file": str(file)})[0] == 200
    assert host.sent == ["from a file ü"]
    large = tmp_path / "large"
    with large.open("wb") as stream:
        stream.truncate(MAX_BODY + 1)
    os.mkfifo(tmp_path / "pipe")
    files = [tmp_path / "none", tmp_path / "pipe", tmp_path, "/dev/zero", large]
    refused: list[dict[str, Any]] = [{"message": "m", "file": str(file)}, {"file": 5}]
    for wrong in [*refused, *({"file": str(each)} for each in files)]:
        status, body = ask(server, "POST", "/send", {"sessionId": "a", **wrong})
        assert (status, body["error"].partition(":")[0]) == (400, "file")
    assert len(host.sent) == 1


def test_a_fault_is_reported_and_the_next_request_is_served(server: Server, capfd: pytest.CaptureFixture[str]) -> None:
    """A fault in the gateway is a one-line error at the client, after its warnings, and the next request is served."""
    status, body = ask(server, "POST", "/create", {"path": "/"})
    assert (status, body["error"]) == (500, "The gateway failed: RuntimeError: a fault")
    assert body["warnings"] == ["something to know"]
    assert is_healthy(server)
    assert "RuntimeError: a fault" in capfd.readouterr().err


def test_a_line_is_logged_for_each_request(server: Server, capfd: pytest.CaptureFixture[str]) -> None:
    """The log has the time, the route, the session and the outcome of each request, never a message."""
    client(server).execute(Send(session_id="fizz-top", message="secret"))
    ask(server, "GET", "/status")
    lines = capfd.readouterr().out.splitlines()
    assert [line.split()[1:-1] for line in lines] == [["POST", "/send", "fizz-top", "200"], ["GET", "/status", "400"]]
    assert "secret" not in "".join(lines)


def test_a_unix_socket_is_its_users_alone(host: Host, tmp_path: Path) -> None:
    """Only its user can open the gateway's socket, from the moment it exists, and it is removed with the gateway."""
    path = tmp_path / "gateway.sock"
    before = os.umask(0)
    try:
        with serving(Server(path, host, AccessPolicy(token="sesame"))):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            gateway = GatewayClient(f"unix://{path}", "sesame", print)
            assert gateway.execute(Status(session_id="a")) == StatusResult("idle")
            with pytest.raises(Exception, match="DEV_SESSIONS_GATEWAY_TOKEN"):
                GatewayClient(f"unix://{path}", None, print).execute(Status(session_id="a"))
            with pytest.raises(StartFailed, match=r"already listens at"):
                Server(path, host, AccessPolicy())
            assert gateway.execute(Status(session_id="a")) == StatusResult("idle")
    finally:
        os.umask(before)
    assert not path.exists()


def test_a_gateway_removes_no_other_ones_socket(host: Host, tmp_path: Path) -> None:
    """The end of a gateway whose socket somebody removed leaves the socket of the next one in its place."""
    path = tmp_path / "gateway.sock"
    first = Server(path, host, AccessPolicy())
    path.unlink()
    with serving(Server(path, host, AccessPolicy())):
        first.server_close()
        assert GatewayClient(f"unix://{path}", None, print).execute(Status(session_id="a")) == StatusResult("idle")


def test_gateways_that_start_at_once_do_not_take_each_others_socket(host: Host, tmp_path: Path) -> None:
    """Of several gateways that find the socket of a dead one at the same time, one listens and the others say so; and
    what their process creates later has the permissions of its umask."""
    path = tmp_path / "gateway.sock"
    (tmp_path / "before").touch()
    for _ in range(20):
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        servers: list[Server | None] = []

        def start(servers: list[Server | None] = servers) -> None:
            try:
                servers.append(Server(path, host, AccessPolicy()))
            except StartFailed:
                servers.append(None)

        threads = [threading.Thread(target=start) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        started = [server for server in servers if server is not None]
        assert len(started) == 1
        assert path.exists()
        started[0].server_close()
        (tmp_path / "after").touch()
        assert (tmp_path / "after").stat().st_mode == (tmp_path / "before").stat().st_mode
        (tmp_path / "after").unlink()


def test_a_socket_left_behind_is_replaced_and_a_file_is_not(host: Host, tmp_path: Path) -> None:
    """A gateway that was killed does not block the next one; a file that is not a socket is left alone."""
    path = tmp_path / "gateway.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with serving(Server(path, host, AccessPolicy())):
        assert GatewayClient(f"unix://{path}", None, print).execute(Status(session_id="a")) == StatusResult("idle")
    path.write_text("mine")
    with pytest.raises(StartFailed, match="is not a socket"):
        Server(path, host, AccessPolicy())
    assert path.read_text() == "mine"
    with pytest.raises(StartFailed, match="choose another --socket"):
        Server(tmp_path / ("x" * 200), host, AccessPolicy())


def test_a_port_in_use_is_named(server: Server, host: Host) -> None:
    """A user whose port is taken reads which port it is and how to choose another."""
    with pytest.raises(StartFailed, match=rf"Port {server.port} cannot be used.*DEV_SESSIONS_GATEWAY_PORT"):
        Server(server.port, host, AccessPolicy())


def test_a_message_of_a_megabyte_arrives(server: Server, host: Host) -> None:
    """A message of a megabyte arrives unchanged."""
    message = "".join(chr(0x20 + index % 0x2000) for index in range(1_000_000))
    assert client(server).execute(Send(session_id="a", message=message)) == Receipt("submitted")
    assert host.sent == [message]
