"""The client's connection, against servers that misbehave as no real one does when it is told to."""

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

from dev_sessions.codex import client, websocket
from dev_sessions.codex.client import CallRefused, ConnectionLost, NoAnswer, NotListening
from dev_sessions.codex.jsonrpc import Notification, ServerRequest
from dev_sessions.errors import ProtocolError
from dev_sessions.system.deadline import Deadline
from tests.support.scripted_app_server import Script, app_server, hang_up, refuse, say, silence


@contextlib.contextmanager
def connected(path: Path, script: Script) -> Iterator[client.Client]:
    """A client of a scripted app-server."""
    with app_server(path, script), client.connect(f"unix://{path}") as found:
        yield found


@pytest.fixture
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a server may listen: a short path."""
    return tmp_path_factory.mktemp("s") / "s"


def test_a_call_gives_its_result_and_keeps_what_happened_meanwhile(path: Path) -> None:
    """Events between a request and its answer are not lost, and answers to older requests do not count."""
    step = say('{"method": "a", "params": {"n": 1}}', '{"id": 99, "result": {}}', '{"id": #, "result": {"x": 1}}')
    with connected(path, {"thread/read": step}) as found:
        assert found.version == (0, 169, 0)
        assert found.codex_home == "/home/user/.codex"
        assert found.call("thread/read", {}) == {"x": 1}
        assert found.next_event(Deadline(0)) == Notification("a", {"n": 1})
        assert found.next_event(Deadline(0.01)) is None


def test_an_answer_may_have_megabytes(path: Path) -> None:
    """The library's own limit is 1 MiB."""
    with connected(path, {"thread/read": {"text": "x" * 5_000_000}}) as found:
        assert len(found.call("thread/read", {"text": "é" * 2_000_000})["text"]) == 5_000_000


def test_what_the_server_asks_is_an_event_and_can_be_answered(path: Path) -> None:
    """In the frame's own id, of which the server says nothing more."""
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
    """And no answer to the next call."""
    script: Script = {
        "turn/interrupt": silence,
        "thread/read": say('{"id": 2, "result": {"old": 1}}', '{"id": #, "result": {}}'),
    }
    with connected(path, script) as found:
        with pytest.raises(NoAnswer):
            found.call("turn/interrupt", {}, timeout=0.1)
        assert found.call("thread/read", {}) == {}
        assert found.next_event(Deadline(0.05)) is None


def test_a_refusal_is_an_error_of_one_line(path: Path) -> None:
    """With the method, what the app-server said and what to do next."""
    with (
        connected(path, {"thread/read": refuse("not\nthis one")}) as found,
        pytest.raises(CallRefused, match=r"^Codex refused thread/read: not this one; .*: dev-sessions doctor .*$"),
    ):
        found.call("thread/read", {})


def test_an_overloaded_server_is_asked_again(path: Path) -> None:
    """A server that has too much to do and so did nothing is asked again a moment later."""
    refusals = [refuse("Server overloaded; retry later.")] * 2

    def step(websocket: ServerConnection, number: int) -> None:
        (refusals.pop() if refusals else say(json.dumps({"id": number, "result": {"done": True}})))(websocket, number)

    with connected(path, {"thread/read": step}) as connection:
        assert connection.call("thread/read", {}) == {"done": True}


def test_a_silent_server_is_given_up_in_time(path: Path) -> None:
    """Every call has a limit."""
    with connected(path, {"thread/read": silence}) as found:
        begin = time.monotonic()
        with pytest.raises(NoAnswer, match=r"did not answer thread/read within 0\.2 s"):
            found.call("thread/read", {}, timeout=0.2)
        assert time.monotonic() - begin < 2


def test_a_silent_greeting_is_given_up_in_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that accepts connections and does nothing else is told apart from one that is not there."""
    monkeypatch.setattr(client, "CONNECT_TIMEOUT", 0.2)
    with app_server(path, {"initialize": silence}), pytest.raises(NoAnswer), client.connect(f"unix://{path}"):
        pass


def test_a_socket_that_nobody_serves_is_given_up_in_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stopped process still has its connections accepted by the kernel."""
    monkeypatch.setattr(client, "CONNECT_TIMEOUT", 1.0)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with pytest.raises(NoAnswer, match="does not answer"), client.connect(f"unix://{path}"):
            pass


def test_nobody_there_is_told_as_such(path: Path) -> None:
    """No socket, a socket that its server left behind, and a closed port."""
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


def test_a_lost_connection_is_told_as_such(path: Path) -> None:
    """Whether during a call or while nothing was asked."""
    with connected(path, {"thread/read": hang_up}) as found:
        with pytest.raises(ConnectionLost, match="closed the connection during thread/read"):
            found.call("thread/read", {})
        with pytest.raises(ConnectionLost, match="closed the connection"):
            found.next_event(Deadline(5))
        with pytest.raises(ConnectionLost, match="closed the connection during thread/read"):
            found.call("thread/read", {})


@pytest.mark.parametrize("garbage", ["not json", "[]", b"\x00\x01"])
def test_garbage_is_a_clear_error(path: Path, garbage: str | bytes) -> None:
    """Instead of an answer."""
    with (
        connected(path, {"thread/read": say(garbage)}) as found,
        pytest.raises(ProtocolError, match="try another"),
    ):
        found.call("thread/read", {})


def test_a_message_may_come_in_pieces(path: Path) -> None:
    """As the protocol allows, with a ping between them, which is answered."""

    def step(websocket: ServerConnection, number: int) -> None:
        websocket.send([f'{{"id": {number}, ', '"result": {"x": ', "1}}"])
        websocket.ping().wait(5)
        websocket.send('{"method": "ping was answered"}')

    with connected(path, {"thread/read": step}) as found:
        assert found.call("thread/read", {}) == {"x": 1}
        assert found.next_event(Deadline(10)) == Notification("ping was answered", {})


def test_a_wait_notices_a_server_that_hangs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that does not even answer a ping is lost, long before the wait has to end; one that does is waited for."""
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
    """Shake hands and do nothing more."""
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
    """Bytes that trickle in do not put off the deadline."""
    over = threading.Event()

    def drip(websocket: ServerConnection, _: int) -> None:
        websocket.socket.sendall(b"\x81\x7f" + (1 << 40).to_bytes(8))
        with contextlib.suppress(OSError):
            while not over.wait(0.005):
                websocket.socket.sendall(b"x")

    with connected(path, {"thread/read": drip}) as found:
        with pytest.raises(NoAnswer, match="did not answer thread/read"):
            found.call("thread/read", {}, timeout=0.3)
        over.set()


def test_text_that_is_none_is_a_clear_error(path: Path) -> None:
    """Bytes in a text frame that are not UTF-8."""

    def step(websocket: ServerConnection, _: int) -> None:
        websocket.send(b"\xff\xfe", text=True)

    with (
        connected(path, {"thread/read": step}) as found,
        pytest.raises(ProtocolError, match="a binary message instead of text"),
    ):
        found.call("thread/read", {})


def test_who_never_stops_talking_does_not_keep_a_call(path: Path) -> None:
    """A server that sends events without end and no answer is given up in time."""
    over = threading.Event()

    def talk(websocket: ServerConnection, _: int) -> None:
        with contextlib.suppress(ConnectionClosed):
            while not over.is_set():
                websocket.send('{"method": "a"}')

    with connected(path, {"thread/read": talk}) as found:
        with pytest.raises(NoAnswer, match="did not answer thread/read"):
            found.call("thread/read", {}, timeout=0.3)
        over.set()
