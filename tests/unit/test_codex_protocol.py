"""The pure parts of the Codex client, on frames that real app-servers sent (tests/data/codex/<version>/<flow>.jsonl:
`{"conn", "dir", "t", "frame"}` each line)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dev_sessions.codex import jsonrpc, protocol, turns
from dev_sessions.codex.jsonrpc import Notification, Response, RpcError, ServerRequest
from dev_sessions.codex.protocol import Item, Probe, ThreadStatus, Turn
from dev_sessions.errors import ProtocolError
from dev_sessions.models import Answer, LogTurn, Outcome, SessionState
from tests.support.recordings import DATA, Recording

RECORDINGS = sorted(str(path.relative_to(DATA)) for path in DATA.rglob("*.jsonl"))
VERSIONS = ["0.150.0", "0.169.0"]
STATUSES = {"idle", "active", "systemError", "notLoaded"}


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_recorded_frame_is_understood(name: str) -> None:
    """Every frame that a real app-server sent is parsed, and every status is known."""
    version, _, file = name.partition("/")
    recording = Recording(version, file.removesuffix(".jsonl"))
    for text in recording.received():
        jsonrpc.parse(text)
    changes = [event for event in recording.events() if event.method == "thread/status/changed"]
    assert {turns.status_change(event, event.params["threadId"]) for event in changes} <= {
        ThreadStatus("idle"),
        ThreadStatus("active"),
        ThreadStatus("active", "input needed"),
        ThreadStatus("systemError"),
        ThreadStatus("notLoaded"),
    }
    assert all(
        protocol.read_status(answer.result).kind in STATUSES
        for answer in recording.answers("thread/read")
        if not answer.error
    )


def test_a_request_becomes_one_frame() -> None:
    """A message is sent with every character."""
    text = jsonrpc.request(7, "turn/start", protocol.turn_start("t1", 'tab\there "quoted" é 😀', "m1"))
    assert json.loads(text) == {
        "jsonrpc": "2.0",
        "id": 7,
        "method": "turn/start",
        "params": {
            "threadId": "t1",
            "input": [{"type": "text", "text": 'tab\there "quoted" é 😀'}],
            "clientUserMessageId": "m1",
        },
    }
    assert "\n" not in text


def test_each_kind_of_frame_differs_from_the_others() -> None:
    """Responses, errors, notifications and requests are distinguished."""
    assert jsonrpc.parse('{"id": 1, "result": null}') == Response(1)
    assert jsonrpc.parse('{"id": 1, "error": {"code": -32600, "message": "no", "data": {"a": 1}}}') == Response(
        1, error=RpcError("no")
    )
    assert jsonrpc.parse('{"method": "thread/started", "emittedAtMs": 1}') == Notification("thread/started", {})
    assert jsonrpc.parse('{"method": "item/tool/requestUserInput", "id": 0, "params": {}}') == ServerRequest(
        0, "item/tool/requestUserInput", {}
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "[]",
        "{}",
        "3",
        '{"id": 1}',
        '{"id": 1, "result": [1]}',
        '{"method": "a", "params": "b"}',
        "[" * 99999,
    ],
)
def test_garbage_is_a_short_error(text: str) -> None:
    """A frame that is not JSON-RPC is an error of one line with its beginning."""
    with pytest.raises(ProtocolError, match="is not valid") as caught:
        jsonrpc.parse(text)
    assert len(str(caught.value)) < 250
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        ({"type": "idle"}, ThreadStatus("idle")),
        ({"type": "active", "activeFlags": []}, ThreadStatus("active")),
        ({"type": "active", "activeFlags": ["waitingOnUserInput"]}, ThreadStatus("active", "input needed")),
        ({"type": "active", "activeFlags": ["waitingOnApproval"]}, ThreadStatus("active", "permission prompt")),
        ({"type": "active", "activeFlags": None, "new": 1}, ThreadStatus("active")),
        ({"type": "compacting"}, ThreadStatus("unknown")),
        ("idle", ThreadStatus("idle")),
        ("systemError", ThreadStatus("systemError")),
        ({"active": {}}, ThreadStatus("active")),
        ({"active": {"activeFlags": ["waitingOnApproval"]}}, ThreadStatus("active", "permission prompt")),
        (None, ThreadStatus("unknown")),
        ({}, ThreadStatus("unknown")),
        (7, ThreadStatus("unknown")),
    ],
)
def test_every_shape_of_a_status_is_read(raw: object, status: ThreadStatus) -> None:
    """Objects, strings and nested objects are parsed, and unknown values are tolerated."""
    assert protocol.thread_status(raw) == status


@pytest.mark.parametrize("version", VERSIONS)
def test_a_thread_and_its_first_turn_are_read(version: str) -> None:
    """The ids, the texts, the outcome and the app-server's version are read."""
    recording = Recording(version, "basic")
    greeting = recording.answers("initialize")[0].result
    assert protocol.server_version(greeting) == tuple(map(int, version.split(".")))
    assert protocol.thread_id(recording.answers("thread/start")[0].result)
    newest = recording.history()[0]
    assert newest.id == protocol.started_turn(recording.answers("turn/start")[0].result)
    assert turns.log_turns(newest) == [LogTurn("human", "say hello"), LogTurn("assistant", "hello")]
    assert turns.outcome(recording.status(), recording.history(), newest.id) == Outcome("completed")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_turn_is_seen_to_begin_after_it_was_accepted(version: str) -> None:
    """An event proves that an accepted turn has begun, while the status may still be idle."""
    recording = Recording(version, "basic")
    turn_id = protocol.started_turn(recording.answers("turn/start")[0].result)
    thread_id = protocol.thread_id(recording.answers("thread/start")[0].result)
    proofs = [event.method for event in recording.events() if turns.is_turn_start(event, thread_id, turn_id)]
    assert proofs[0] in ("thread/status/changed", "turn/started")
    assert "turn/completed" in proofs
    assert not [event for event in recording.events() if turns.is_turn_start(event, "another thread", "another turn")]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_failed_turn_is_failed(version: str) -> None:
    """The outcome is failed, with its reason, from the turn and from the status."""
    recording = Recording(version, "fail-fail-400")
    history = recording.history()
    assert recording.status().kind == "systemError"
    outcome = turns.outcome(recording.status(), history, history[0].id)
    assert outcome == Outcome("failed", "scripted failure 400", "invalid_request")


@pytest.mark.parametrize("version", VERSIONS)
def test_an_interrupted_turn_is_interrupted(version: str) -> None:
    """The outcome is interrupted, without an error."""
    completed = [event for event in Recording(version, "interrupt").events() if event.method == "turn/completed"]
    interrupted = protocol.turn(completed[0].params["turn"])
    outcome = turns.outcome(ThreadStatus("idle"), [interrupted], interrupted.id)
    assert outcome is not None
    assert outcome.status == "interrupted"
    assert "app-server" not in str(outcome.error)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_turn_that_died_with_the_app_server_is_interrupted(version: str) -> None:
    """A turn whose end was never written counts as interrupted."""
    recording = Recording(version, "restart-after-SIGKILL")
    after = next(history for history in recording.histories() if len(history) == 2)
    assert after[0].state == "inProgress"
    outcome = turns.outcome(ThreadStatus("notLoaded"), after, after[0].id)
    assert outcome is not None
    assert outcome.status == "interrupted"
    assert "the app-server ended while the turn ran" in str(outcome.error)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_question_to_the_user_ends_the_wait(version: str) -> None:
    """The status says that the turn waits for its user."""
    recording = Recording(version, "request-user-input")
    changes = [turns.status_change(event, event.params.get("threadId", "")) for event in recording.events()]
    asked = next(status for status in changes if status is not None and status.waiting_for)
    assert turns.outcome(asked, [], None) == Outcome("waiting_for_input")
    assert turns.state(asked) == SessionState("waiting_for_input", "input needed")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_thread_without_a_message_has_no_turns(version: str) -> None:
    """The errors of all versions for a thread without history mean that it has no turns."""
    recording = Recording(version, "unmaterialized")
    refused = [answer.error for answer in recording.answers("thread/read") if answer.error]
    assert any(protocol.is_unmaterialised(error) for error in refused)
    assert all(protocol.is_unmaterialised(error) or protocol.is_unknown_thread(error) for error in refused)
    assert turns.outcome(ThreadStatus("idle"), [], None) == Outcome("completed")


@pytest.mark.parametrize("version", VERSIONS)
def test_the_refusal_of_a_probe_names_the_running_turn(version: str) -> None:
    """The error of a probe has the id of the running turn."""
    recording = Recording(version, "steer")
    refusals = [answer.error for answer in recording.answers("turn/steer") if answer.error]
    found = [protocol.probe(error) for error in refusals]
    running = protocol.started_turn(recording.answers("turn/start")[0].result)
    assert Probe(loaded=True, turn_id=running) in found
    assert None not in found


def test_the_other_answers_to_a_probe_are_distinguished() -> None:
    """No running turn, no loaded thread and any other error are distinguished."""
    assert protocol.probe(RpcError("no active turn to steer")) == Probe(loaded=True)
    assert protocol.probe(RpcError("thread not found: t1")) == Probe(loaded=False)
    assert protocol.probe(RpcError("Server is draining; retry after reconnecting")) is None


@pytest.mark.parametrize("version", VERSIONS)
def test_what_a_question_led_to_follows_the_last_message_of_its_turn(version: str) -> None:
    """The texts after an answered question belong to the turn's last message."""
    steered = Recording(version, "steer").history()[0]
    assert [item.kind for item in steered.items if item.kind == "user"] == ["user", "user"]
    assert turns.last_answer(steered).texts == ("steered",)


def listed(version: str) -> tuple[Turn, ...]:
    """Return the turns of a thread to which the messages m1 to m8 were sent at once, newest first."""
    return protocol.turns_page(Recording(version, "concurrent").answers("thread/turns/list")[-1].result).turns


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        # It keeps an answer that was begun when the next message comes, and leaves commands out.
        (
            "0.150.0",
            [("one", 1), ("two", 1), ("three", 1), ("four:", 1), ("six", 2), ("six", 2), ("seven", 1), ("eight", 1)],
        ),
        # It gives it up and answers both, and shows that the text before a command was not the answer.
        (
            "0.169.0",
            [("one", 1), ("three", 2), ("three", 2), ("six", 3), ("six", 3), ("six", 3), ("eight", 2), ("eight", 2)],
        ),
    ],
)
def test_each_message_of_a_turn_has_its_own_answer(version: str, expected: list[tuple[str, int]]) -> None:
    """Each of several messages in one turn gets its own answer, and the number of messages that it answers."""
    found = [turns.answer(listed(version), f"m{number}") for number in range(1, 9)]
    assert [(each.answer.texts[-1], each.answer.messages) for each in found if each is not None] == expected
    assert not any(each.unanswered for each in found if each is not None)
    assert turns.answer(listed(version), "m9") is None


USERS = {name: Item("user", f"say {name}", name) for name in ("a", "b", "c")}
HI, HO = Item("agent", "hi"), Item("agent", "ho")
A_COMMAND = protocol.turn({"id": "t", "items": [{"type": "commandExecution"}]}).items[0]
A_COMPACTION = protocol.turn({"id": "t", "items": [{"type": "contextCompaction"}]}).items[0]
A_REMARK = protocol.turn({"id": "t", "items": [{"type": "agentMessage", "text": "hm", "phase": "commentary"}]}).items[0]


@pytest.mark.parametrize(
    ("items", "answer", "whole"),
    [
        ([USERS["a"], HI, USERS["b"], HO], Answer(("hi",)), True),
        ([USERS["b"], HI, USERS["a"], HO], Answer(("ho",)), False),
        ([USERS["a"], USERS["b"], HI, USERS["c"], HO], Answer(("hi",), 2), True),
        ([USERS["a"], HI, A_COMMAND, USERS["b"], HO], Answer(("hi", "ho"), 2), False),
        ([USERS["a"], A_REMARK, USERS["b"], HO], Answer(("hm", "ho"), 2), False),
        ([USERS["a"], HI, A_COMPACTION, USERS["b"], HO], Answer(("hi",)), True),
        ([HO, USERS["a"], HI], Answer(("hi",)), False),
    ],
)
def test_an_answer_is_whole_when_the_agent_had_no_more_to_do(items: list[Item], answer: Answer, whole: bool) -> None:
    """A message that arrives before the answer is complete is answered with those before it; a later one is not."""
    assert turns.answer([turn("t", "completed", *items)], "a") == turns.AnswerInTurn(answer, whole)


def test_a_message_that_its_turn_did_not_answer_is_answered_by_the_next_turn() -> None:
    """A message that its turn read and did not answer is answered by the next one."""
    ended = turn("old", "completed", USERS["b"], HI, USERS["a"])
    assert turns.answer([ended], "a") == turns.AnswerInTurn(Answer(), unanswered=True)
    after = turn("new", "completed", USERS["c"], HO)
    assert turns.answer([after, ended], "a") == turns.AnswerInTurn(Answer(("ho",), 2))
    assert turns.answer([after, ended], "b") == turns.AnswerInTurn(Answer(("hi",)), complete=True)
    # Of a turn that it began, a message has what there is.
    assert turns.answer([turn("t", "completed", USERS["a"])], "a") == turns.AnswerInTurn(Answer())


def turn(name: str, state: protocol.TurnState, *items: Item) -> Turn:
    """Return a parsed turn."""
    return Turn(name, state, items=items)


def test_the_turn_of_the_last_send_is_judged() -> None:
    """The turn of the last send is found among later ones; without it, the newest turn counts."""
    history = [turn("new", "failed"), turn("old", "completed")]
    assert turns.outcome(ThreadStatus("systemError"), history, "old") == Outcome("completed")
    assert turns.find_or_newest(history, "old") is history[1]
    assert turns.find_or_newest(history, "phantom") is history[0]
    assert turns.find_or_newest(history, None) is history[0]
    assert turns.find_or_newest([], "old") is None


def test_an_unfinished_turn_is_not_judged_before_the_status_has_settled() -> None:
    """A turn without an end fails only after the time in which its end may follow."""
    unfinished = [turn("t1", "inProgress")]
    for kind in ("idle", "systemError", "unknown"):
        assert turns.outcome(protocol.thread_status(kind), unfinished, "t1") is None
    failed = turns.outcome(ThreadStatus("systemError"), unfinished, "t1", settled=True)
    assert failed is not None
    assert failed.status == "failed"
    cut_off = turns.outcome(ThreadStatus("idle"), unfinished, "t1", settled=True)
    assert cut_off is not None
    assert cut_off.status == "interrupted"
    assert turns.outcome(ThreadStatus("unknown"), unfinished, "t1", settled=True) is None
    assert turns.outcome(ThreadStatus("active"), unfinished, "t1", settled=True) is None


def test_a_turn_of_a_later_version_is_read_as_far_as_it_can_be() -> None:
    """Unknown items and fields are ignored; an unknown status is no success."""
    raw: dict[str, Any] = {
        "id": "t1",
        "status": "evaporated",
        "items": [{"type": "hologram", "text": "no"}, {"type": "agentMessage", "text": "yes"}, "?", None],
        "future": {},
    }
    found = protocol.turn(raw)
    assert (found.state, found.error) == ("failed", "the turn ended as 'evaporated'")
    assert turns.agent_texts(found) == ["yes"]


@pytest.mark.parametrize("raw", [None, [], {}, {"id": 1}, {"turn": {}}])
def test_an_answer_without_what_it_must_have_is_a_clear_error(raw: object) -> None:
    """A response without a required field is a protocol error."""
    with pytest.raises(ProtocolError, match="sent a response without"):
        protocol.turn(raw)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ({"message": '{"error": {"message": "too\\nlong"}}'}, "too long"),
        ({"message": "stream\ndisconnected"}, "stream disconnected"),
        ({"message": '{"detail": "x"}'}, '{"detail": "x"}'),
        ({"message": ""}, None),
        (None, None),
        ("x", None),
    ],
)
def test_the_reason_of_a_failure_is_one_line(raw: object, text: str | None) -> None:
    """The JSON body of a model's response is reduced to its message."""
    assert protocol.error_text(raw) == text


def test_a_model_is_named_only_when_the_session_names_one() -> None:
    """No model is sent otherwise, and never the old default of 0.4."""
    assert "model" not in protocol.thread_start("/w", None)
    assert "model" not in protocol.thread_start("/w", "gpt-5.3-codex")
    assert protocol.thread_start("/w", "gpt-9")["model"] == "gpt-9"


@pytest.mark.parametrize(
    ("change", "is_empty"),
    [
        ({}, True),
        ({"threadSource": "user"}, False),
        ({"threadSource": None}, False),
        ({"preview": "say hello"}, False),
        ({"preview": None}, False),
        ({"status": {"type": "active", "activeFlags": []}}, False),
        ({"status": {"type": "notLoaded"}}, False),
    ],
)
def test_only_an_idle_thread_of_ours_without_a_word_is_nobodys(change: dict[str, Any], *, is_empty: bool) -> None:
    """A thread that a person started in Codex's terminal is not an orphan (0.150, 0.169)."""
    thread = {"id": "t1", "preview": "", "threadSource": "dev-sessions", "status": {"type": "idle"}, **change}
    assert protocol.is_own_empty_thread({"thread": thread}) == is_empty
