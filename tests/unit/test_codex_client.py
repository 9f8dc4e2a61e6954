"""The client of the app-server, against servers that misbehave as real ones do only rarely."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.sync.server import ServerConnection

from dev_sessions.attempt import Attempt
from dev_sessions.codex import client, websocket
from dev_sessions.codex.client import CallRefused, ConnectionLost, NoAnswer, NotListening
from dev_sessions.codex.jsonrpc import Notification, ServerRequest
from dev_sessions.codex.send import PreparedPrompt
from dev_sessions.codex.thread import Thread
from dev_sessions.errors import ProtocolError
from dev_sessions.models import CodexSession
from dev_sessions.record_json import session_from_json
from dev_sessions.system.deadline import Deadline
from tests.support.records import CLAUDE
from tests.support.scripted_app_server import Script, app_server, hang_up, refuse, say, silence


@contextlib.contextmanager
def connected(path: Path, script: Script) -> Iterator[client.Client]:
    """Connect to a scripted app-server."""
    with app_server(path, script), client.connect(f"unix://{path}") as found:
        yield found


@pytest.fixture
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a path for a socket that is short enough."""
    return tmp_path_factory.mktemp("s") / "s"


def test_a_call_gives_its_result_and_keeps_what_happened_meanwhile(path: Path) -> None:
    """Events before a response are kept, and responses to older requests are ignored."""
    step = say('{"method": "a", "params": {"n": 1}}', '{"id": 99, "result": {}}', '{"id": #, "result": {"x": 1}}')
    with connected(path, {"thread/read": step}) as found:
        assert found.version == (0, 169, 0)
        assert found.codex_home == "/home/user/.codex"
        assert found.call("thread/read", {}) == {"x": 1}
        assert found.next_event(Deadline(0)) == Notification("a", {"n": 1})
        assert found.next_event(Deadline(0.01)) is None


def test_an_answer_may_have_megabytes(path: Path) -> None:
    """A response may be larger than the library's default limit of 1 MiB."""
    with connected(path, {"thread/read": {"text": "x" * 5_000_000}}) as found:
        assert len(found.call("thread/read", {"text": "é" * 2_000_000})["text"]) == 5_000_000


def test_what_the_server_asks_is_an_event_and_can_be_answered(path: Path) -> None:
    """A request of the server is an event, and the response to it has its id."""
    seen: list[int] = []

    def note(websocket: ServerConnection, number: int) -> None:
        seen.append(number)
        websocket.send('{"method": "done"}')

    question = '{"method": "item/tool/requestUserInput", "id": 41, "params": {"threadId": "t1"}}'
    script: Script = {
        "thread/resume": say('{"id": #, "result": {}}', question),
        "answer": note,
    }
    with connected(path, script) as found:
        found.call("thread/resume", {})
        asked = found.next_event(Deadline(5))
        assert isinstance(asked, ServerRequest)
        assert asked == ServerRequest(41, "item/tool/requestUserInput", {"threadId": "t1"})
        found.answer(asked, {"answers": {}})
        assert found.next_event(Deadline(5)) == Notification("done", {})
    assert seen == [41]


def test_a_late_answer_to_a_call_that_was_given_up_is_no_event(path: Path) -> None:
    """A late response to a call that timed out is not taken for the next call's."""
    script: Script = {
        "turn/interrupt": silence,
        "thread/read": say('{"id": 2, "result": {"old": 1}}', '{"id": #, "result": {}}'),
    }
    with connected(path, script) as found:
        with pytest.raises(NoAnswer):
            found.call("turn/interrupt", {}, timeout=0.1)
        assert found.call("thread/read", {}) == {}
        assert found.next_event(Deadline(0.05)) is None


def test_many_requests_are_sent_with_few_writes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of requests take few writes, never wait for one answer each, and get their own results in order."""
    writes: list[int] = []
    send = websocket.WebSocket.send

    def counted(self: websocket.WebSocket, *texts: str) -> None:
        writes.append(len(texts))
        send(self, *texts)

    monkeypatch.setattr(websocket.WebSocket, "send", counted)
    with connected(path, {"thread/read": say('{"id": #, "result": {"number": #}}')}) as found:
        writes.clear()
        results = found.call_each([("thread/read", {"threadId": f"t{number}"}) for number in range(300)])
    assert results == [{"number": number} for number in range(2, 302)]
    assert sum(writes) == 300
    assert len(writes) <= 12
    assert max(writes) <= 50


def test_a_refusal_is_an_error_of_one_line(path: Path) -> None:
    """The error names the method, the server's message and what to do next."""
    with (
        connected(path, {"thread/read": refuse("not\nthis one")}) as found,
        pytest.raises(CallRefused, match=r"^Codex refused thread/read: not this one; .*: dev-sessions doctor .*$"),
    ):
        found.call("thread/read", {})


def test_an_overloaded_server_is_asked_again(path: Path) -> None:
    """A request that an overloaded server refused is repeated a moment later."""
    refusals = [refuse("Server overloaded; retry later.")] * 2

    def step(websocket: ServerConnection, number: int) -> None:
        (refusals.pop() if refusals else say(json.dumps({"id": number, "result": {"done": True}})))(websocket, number)

    with connected(path, {"thread/read": step}) as connection:
        assert connection.call("thread/read", {}) == {"done": True}


def test_a_silent_server_is_given_up_in_time(path: Path) -> None:
    """Every call has a timeout."""
    with connected(path, {"thread/read": silence}) as found:
        begin = time.monotonic()
        with pytest.raises(NoAnswer, match=r"did not answer thread/read within 0\.2 s"):
            found.call("thread/read", {}, timeout=0.2)
        assert time.monotonic() - begin < 2


def test_a_silent_greeting_is_given_up_in_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that accepts a connection and does not respond is an error of its own."""
    monkeypatch.setattr(client, "CONNECT_TIMEOUT", 0.2)
    with app_server(path, {"initialize": silence}), pytest.raises(NoAnswer), client.connect(f"unix://{path}"):
        pass


def test_a_socket_that_nobody_serves_is_given_up_in_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stopped server, whose connections the kernel accepts, is given up after the timeout."""
    monkeypatch.setattr(client, "CONNECT_TIMEOUT", 1.0)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with pytest.raises(NoAnswer, match="does not answer"), client.connect(f"unix://{path}"):
            pass


def test_a_message_for_a_server_that_hangs_is_given_up_in_time(path: Path) -> None:
    """An `ask` with a short timeout ends soon when the app-server hangs, and nothing was sent."""
    record = {**CLAUDE, "cli": "codex"}
    session, attempt = session_from_json(record), Attempt()
    assert isinstance(session, CodexSession)

    @contextlib.contextmanager
    def connect(session: CodexSession) -> Iterator[Thread]:
        with client.connect(f"unix://{path}") as connected:
            yield Thread(connected, session)

    began = time.monotonic()
    with app_server(path, {"initialize": silence}), pytest.raises(NoAnswer):
        PreparedPrompt(session, "hello", connect).send(session, attempt, Deadline(0))
    assert time.monotonic() - began < client.CONNECT_TIMEOUT / 2
    assert not attempt.has_begun


def test_a_missing_server_is_reported_as_such(path: Path) -> None:
    """A missing socket, a leftover socket and a closed port mean that no server listens."""
    with pytest.raises(NotListening), client.connect(f"unix://{path}"):
        pass
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    with pytest.raises(NotListening), client.connect(f"unix://{path}"):
        pass
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(NotListening), client.connect(f"ws://127.0.0.1:{port}"):
        pass


def test_a_lost_connection_is_reported_as_such(path: Path) -> None:
    """A connection that the server closes is reported as lost, during a call and between calls."""
    with connected(path, {"thread/read": hang_up}) as found:
        with pytest.raises(ConnectionLost, match="closed the connection during thread/read"):
            found.call("thread/read", {})
        with pytest.raises(ConnectionLost, match="closed the connection"):
            found.next_event(Deadline(5))
        with pytest.raises(ConnectionLost, match="closed the connection during thread/read"):
            found.call("thread/read", {})


@pytest.mark.parametrize("garbage", ["not json", "[]", b"\x00\x01"])
def test_garbage_is_a_clear_error(path: Path, garbage: str | bytes) -> None:
    """A frame that is not JSON-RPC is a protocol error."""
    with (
        connected(path, {"thread/read": say(garbage)}) as found,
        pytest.raises(ProtocolError, match="try another"),
    ):
        found.call("thread/read", {})


def test_a_message_may_come_in_pieces(path: Path) -> None:
    """A fragmented message with a ping in between is read whole, and the ping is answered."""

    def step(websocket: ServerConnection, number: int) -> None:
        websocket.send([f'{{"id": {number}, ', '"result": {"x": ', "1}}"])
        websocket.ping().wait(5)
        websocket.send('{"method": "ping was answered"}')

    with connected(path, {"thread/read": step}) as found:
        assert found.call("thread/read", {}) == {"x": 1}
        assert found.next_event(Deadline(10)) == Notification("ping was answered", {})


def test_a_wait_notices_a_server_that_hangs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not answer a ping is lost long before the wait's timeout."""
    monkeypatch.setattr(websocket, "KEEPALIVE_INTERVAL", 0.2)
    over = threading.Event()
    with connected(path, {}) as found:
        assert found.next_event(Deadline(1)) is None
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as opened:
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        listener.listen()
        opened.connect(str(path))
        server, _ = listener.accept()
        thread = threading.Thread(target=_greet_and_hang, args=(server, over))
        thread.start()
        talk = websocket.WebSocket(opened, "ws://localhost/", {}, 5.0)
        with pytest.raises(ConnectionError, match="nothing was received"):
            talk.receive(Deadline(30))
        over.set()
        thread.join()


def _greet_and_hang(server: socket.socket, over: threading.Event) -> None:
    """Complete the handshake, and do nothing more."""
    protocol = ServerProtocol()
    with server:
        while not protocol.events:
            protocol.receive_data(server.recv(65536))
        (request,) = protocol.events_received()
        assert isinstance(request, Request)
        protocol.send_response(protocol.accept(request))
        server.sendall(b"".join(protocol.data_to_send()))
        over.wait(30)


def test_a_frame_that_never_ends_is_given_up_in_time(path: Path) -> None:
    """A frame that arrives byte by byte does not extend the timeout."""
    over = threading.Event()

    def drip(websocket: ServerConnection, _: int) -> None:
        websocket.socket.sendall(b"\x81\x7f" + (1 << 20).to_bytes(8))
        with contextlib.suppress(OSError):
            while not over.wait(0.005):
                websocket.socket.sendall(b"x")

    with connected(path, {"thread/read": drip}) as found:
        with pytest.raises(NoAnswer, match="did not answer thread/read"):
            found.call("thread/read", {}, timeout=0.3)
        over.set()


@pytest.mark.parametrize("in_pieces", [True, False])
def test_a_message_has_a_limit(path: Path, in_pieces: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message without end, in one frame or in many, is given up at a limit of size, long before the timeout."""
    monkeypatch.setattr(websocket, "MAX_MESSAGE", 100_000)

    def step(websocket: ServerConnection, _: int) -> None:
        with contextlib.suppress(OSError):
            if not in_pieces:
                websocket.socket.sendall(b"\x81\x7f" + (1 << 40).to_bytes(8))
            for number in range(200 if in_pieces else 0):
                websocket.socket.sendall((b"\x00" if number else b"\x01") + b"\x7e" + (1000).to_bytes(2) + b"x" * 1000)

    with connected(path, {"thread/read": step}) as found, pytest.raises(ConnectionLost, match="closed the connection"):
        found.call("thread/read", {}, timeout=5)


def test_text_that_is_none_is_a_clear_error(path: Path) -> None:
    """A text frame that is not UTF-8 is a protocol error."""

    def step(websocket: ServerConnection, _: int) -> None:
        websocket.send(b"\xff\xfe", text=True)

    with (
        connected(path, {"thread/read": step}) as found,
        pytest.raises(ProtocolError, match="a binary message instead of text"),
    ):
        found.call("thread/read", {})


def test_who_never_stops_talking_does_not_keep_a_call(path: Path) -> None:
    """Events without end do not extend the timeout of a call."""
    over = threading.Event()

    def talk(websocket: ServerConnection, _: int) -> None:
        with contextlib.suppress(ConnectionClosed):
            while not over.is_set():
                websocket.send('{"method": "a"}')

    with connected(path, {"thread/read": talk}) as found:
        with pytest.raises(NoAnswer, match="did not answer thread/read"):
            found.call("thread/read", {}, timeout=0.3)
        over.set()
