"""Whatever comes from outside is a value or the documented error, and never another exception."""

from __future__ import annotations

import contextlib
import json
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, unix_serve

from dev_sessions.claude import conversation, screen, transcript
from dev_sessions.claude.turn import Turn
from dev_sessions.codex import client, goal_protocol, jsonrpc, protocol, question_protocol, rollout, turns
from dev_sessions.codex.jsonrpc import RpcError, ServerRequest
from dev_sessions.errors import DevSessionsError, ProtocolError, StoreError
from dev_sessions.gateway import http_codec
from dev_sessions.gateway.access import AccessPolicy
from dev_sessions.gateway.request_head import Refused, parse_head
from dev_sessions.json_validation import Malformed, read_rows, read_session
from dev_sessions.record_json import session_from_json
from dev_sessions.sessions.store import Store
from dev_sessions.system.deadline import Deadline

DATA = Path(__file__).parents[1] / "data"
settings.register_profile("few", max_examples=25, deadline=None)
settings.load_profile("few")

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["idle", "active", "", "\ud800", 10**40, -1, "2026-01-01T00:00:00.000Z"]),
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner))


def corrupted(value: Any, draw: Callable[[Any], Any]) -> Any:
    """Return a copy of a JSON value in which one element, at any depth, is changed, removed or doubled."""
    if isinstance(value, dict) and value and draw(st.integers(0, 4)):
        name = draw(st.sampled_from(sorted(value)))
        if draw(st.integers(0, 9)) == 0:
            return {key: kept for key, kept in value.items() if key != name}
        return {**value, name: corrupted(value[name], draw)}
    if isinstance(value, list) and value and draw(st.integers(0, 4)):
        place = draw(st.integers(0, len(value) - 1))
        return [*value[:place], corrupted(value[place], draw), *value[place : place + draw(st.integers(1, 2))]]
    return draw(values)


def recorded(folder: str) -> list[Any]:
    """Return the recorded JSON values, one per line, of the smaller recordings."""
    lines = [line for path in sorted((DATA / folder).rglob("*.jsonl")) for line in path.read_bytes().splitlines()]
    found = [json.loads(line) for line in lines if len(line) < 4000]
    return found[:: max(1, len(found) // 300)]


FRAMES, ENTRIES, ROLLOUT = recorded("codex"), recorded("claude"), recorded("rollouts")
READERS: list[Callable[[dict[str, Any]], object]] = [
    protocol.server_version,
    protocol.thread_id,
    protocol.read_status,
    protocol.started_turn,
    protocol.turn,
    protocol.turns_page,
    protocol.error_text,
    protocol.thread_status,
    goal_protocol.goal,
    goal_protocol.is_cleared,
]


@given(data=st.data())
def test_a_corrupted_frame_is_a_value_or_a_protocol_error(data: st.DataObject) -> None:
    """A frame with wrong types, unknown values or missing and repeated parts is read or refused with a protocol
    error."""
    frame = corrupted(data.draw(st.sampled_from(FRAMES)), data.draw)
    frame = frame.get("frame", frame) if isinstance(frame, dict) else frame
    with contextlib.suppress(ProtocolError):
        parsed = jsonrpc.parse(json.dumps(frame))
        body = parsed.result if isinstance(parsed, jsonrpc.Response) else parsed.params
        if isinstance(parsed, ServerRequest):
            question_protocol.pending(parsed)
            question_protocol.text_result(parsed, "text")
            with contextlib.suppress(DevSessionsError):
                question_protocol.result(parsed, "a", ["1"], None)
        if isinstance(parsed, jsonrpc.Response) and parsed.error is not None:
            protocol.probe(parsed.error)
        for read in READERS:
            with contextlib.suppress(ProtocolError):
                read(body)
        found = protocol.turns_page(body).turns
        for turn in found:
            turns.last_answer(turn), turns.log_turns(turn), turns.agent_texts(turn)
            for item in turn.items:
                if item.client_id is not None:
                    assert turns.answer(found, item.client_id) is not None


@given(text=st.text(max_size=200))
def test_any_text_is_a_frame_or_a_protocol_error(text: str) -> None:
    """Any text is a frame or a protocol error, and any text of a refusal is read."""
    with contextlib.suppress(ProtocolError):
        jsonrpc.parse(text)
    error = RpcError(text)
    protocol.probe(error), goal_protocol.max_objective_length(error), goal_protocol.is_disabled(error)


@given(data=st.data())
def test_a_corrupted_transcript_has_turns_all_the_same(data: st.DataObject) -> None:
    """Transcript lines of another form are skipped, in any order and number."""
    turn = Turn(data.draw(st.text(max_size=5)), data.draw(st.none() | st.text(max_size=5)))
    for _ in range(8):
        line = json.dumps(corrupted(data.draw(st.sampled_from(ENTRIES)), data.draw)).encode()
        turn.feed(entry := transcript.parse(line))
        conversation.log_turn(entry), transcript.activity(line), rollout.activity(line)
    assert isinstance(turn.is_over, bool)
    assert turn.question is None or turn.question.name == "AskUserQuestion"


@given(data=st.data())
def test_a_corrupted_rollout_is_read(data: st.DataObject) -> None:
    """A corrupted line of a rollout is read as a time and numbers, or as nothing."""
    rollout.activity(json.dumps(corrupted(data.draw(st.sampled_from(ROLLOUT)), data.draw)).encode())


@given(text=st.text(st.sampled_from("❯> \u00a0─\n\x1b[0;2m7mabEsc to:38"), max_size=120), title=st.text(max_size=4))
def test_any_screen_is_read(text: str, title: str) -> None:
    """A screen with torn escape sequences or half an input box is no error."""
    screen.plain(text), screen.box_text(text), screen.startup_dialog_text(text), screen.is_dialog_open(text)
    screen.shows_work(title, text), screen.shows_background_shells(text)


@given(data=st.data())
def test_a_corrupted_record_is_a_session_or_a_value_error(data: st.DataObject) -> None:
    """A store with a corrupted record is read as far as possible and the rest is kept; another machine's list is read
    or refused."""
    record = {
        "championId": "a", "internalId": "i", "cli": data.draw(st.sampled_from(["claude", "codex"])), "mode": "native",
        "path": "/", "status": "active", "createdAt": "2026-01-01", "lastUsed": "2026-01-01", "model": "m",
    }  # fmt: skip
    broken = corrupted(record, data.draw)
    if isinstance(broken, dict):
        with contextlib.suppress(ValueError):
            session_from_json(broken)
    with contextlib.suppress(Malformed):
        read_session(broken)
    with contextlib.suppress(Malformed):
        read_rows([broken])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "sessions.json")
        path.write_text(json.dumps(corrupted({"version": 1, "sessions": [broken]}, data.draw)))
        with contextlib.suppress(StoreError):
            Store(path).read().taken_ids()


@given(
    data=st.data(), fields=st.lists(st.tuples(st.sampled_from(["Host", "Authorization", "Content-Length"]), st.text()))
)
def test_any_request_and_any_answer_is_understood_or_refused(
    data: st.DataObject, fields: list[tuple[str, str]]
) -> None:
    """Both ends of a gateway read or refuse whatever they receive."""
    head = "".join(f"{name}: {value}\r\n" for name, value in fields)
    with contextlib.suppress(Refused):
        AccessPolicy("token").admit(parse_head(f"POST /send HTTP/1.1\r\n{head}\r\n".encode()))
    route = data.draw(st.sampled_from(http_codec.ROUTES))
    given_ = data.draw(st.dictionaries(st.sampled_from(["id", "sessionId", "path", "timeout", "n", "answers"]), values))
    with contextlib.suppress(Malformed):
        operation = http_codec.decode_operation(route, given_)
        body = corrupted(
            {"ok": True, "result": {}, "session": {}, "waitResult": {}, "output": {"exitCode": 3}}, data.draw
        )
        if isinstance(body, dict):
            with contextlib.suppress(DevSessionsError):
                http_codec.decode_result(route, operation, body)


@pytest.mark.soak
@pytest.mark.parametrize(
    "promise",
    [
        test_a_corrupted_frame_is_a_value_or_a_protocol_error,
        test_any_text_is_a_frame_or_a_protocol_error,
        test_a_corrupted_transcript_has_turns_all_the_same,
        test_a_corrupted_rollout_is_read,
        test_any_screen_is_read,
        test_a_corrupted_record_is_a_session_or_a_value_error,
        test_any_request_and_any_answer_is_understood_or_refused,
    ],
)
def test_each_of_these_holds_for_very_many(promise: Callable[[], None]) -> None:
    """Each of these properties also holds for very many examples."""
    # A profile that is loaded now would change nothing: the settings are those of the definition (hypothesis 6).
    settings(max_examples=3000, deadline=None)(promise)()


@contextlib.contextmanager
def app_server(path: Path, greet: Callable[[ServerConnection, Any], None]) -> Iterator[None]:
    """Run an app-server that completes the handshake and answers every other request as `greet` does."""

    def handle(websocket: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            for message in websocket:
                frame = json.loads(message)
                if frame["method"] == "initialize":
                    websocket.send(json.dumps({"id": frame["id"], "result": {"userAgent": 7, "codexHome": []}}))
                else:
                    greet(websocket, frame["id"])

    with unix_serve(handle, str(path), max_size=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield
        server.shutdown()
        thread.join()


def test_an_answer_is_found_among_whatever_else_comes(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A response is found among frames out of order, repeated, of unknown methods, with the ids of questions, and of 10
    MB."""
    path = tmp_path_factory.mktemp("s") / "s"

    def disorder(websocket: ServerConnection, number: int) -> None:
        for frame in (
            {"id": number + 1, "result": {"early": True}},
            {"id": number, "method": "item/unheardOf", "params": {"n": 1}},
            {"method": "thread/unheardOf", "params": {"text": "x" * 10_000_000}},
            {"id": number, "result": {"right": number}},
            {"id": number, "result": {"right": "twice"}},
        ):
            websocket.send(json.dumps(frame))

    with app_server(path, disorder), client.connect(f"unix://{path}") as found:
        for number in (2, 3):
            assert found.call("thread/read", {}) in ({"right": number}, {"early": True})
        events = [found.next_event(Deadline(5)) for _ in range(2)]
        assert events[0] == ServerRequest(2, "item/unheardOf", {"n": 1})


def test_a_server_that_drips_is_given_up_in_time(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Events without end do not extend the timeout of a call."""
    path = tmp_path_factory.mktemp("s") / "s"

    def drip(websocket: ServerConnection, _: int) -> None:
        while True:
            websocket.send('{"method": "drip"}')
            threading.Event().wait(0.01)

    served = app_server(path, drip)
    with served, client.connect(f"unix://{path}") as found, pytest.raises(client.NoAnswer, match="thread/read"):
        found.call("thread/read", {}, 0.5)
