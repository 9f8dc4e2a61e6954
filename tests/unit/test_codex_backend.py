"""The Codex backend on a scripted app-server, which misbehaves as a real one does only rarely."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.server import ServerConnection

from dev_sessions.agent import Backend, Sent
from dev_sessions.attempt import delivering
from dev_sessions.codex.backend import CodexBackend, is_in_use
from dev_sessions.codex.client import NoAnswer
from dev_sessions.codex.history import ConversationGone
from dev_sessions.codex.protocol import MAX_INPUT
from dev_sessions.errors import InvalidRequest, MayHaveArrived, NothingTyped, ProtocolError
from dev_sessions.models import Answer, CodexSession, Outcome, SessionState
from dev_sessions.system import paths
from dev_sessions.system.deadline import Deadline
from tests.support.scripted_app_server import (
    ACTIVE,
    CLEAN,
    FRESH,
    IDLE,
    NO_TURN,
    RUNS_A,
    SENT,
    UNKNOWN,
    WAITING,
    Script,
    Serve,
    hang_up,
    in_turn,
    refuse,
    say,
    silence,
)

QUESTION = (
    '{"method": "item/tool/requestUserInput", "id": 0, "params": {"threadId": "t1", "questions":'
    ' [{"id": "q1", "question": "Which?", "isOther": true, "options": [{"label": "red"}]}]}}'
)
#: The last turn in the rollout of 0.169.0.
ANSWERED = "01a207d7-39c5-7272-9d6a-ca26c870bee5"
ASK_AGAIN = say('{"id": #, "result": {}}', QUESTION)


def send(text: str) -> Sent:
    """Send a message, as the session manager does."""
    with delivering(SENT.id) as attempt:
        return CodexBackend().prepare(SENT, text).send(SENT, attempt, Deadline(30))


def respond(answer: str) -> None:
    """Answer a question, as the session manager does."""
    with delivering(SENT.id, "answer") as attempt:
        CodexBackend().respond(SENT, [answer], attempt, allow=None)


@contextmanager
def not_delivered(words: str) -> Iterator[None]:
    """Assert that the error is one line that says that nothing was typed, and why."""
    with pytest.raises(NothingTyped, match=f"for fizz-top was not sent, nothing was typed: {words}") as caught:
        yield
    assert "\n" not in str(caught.value)


@contextmanager
def may_have_arrived(words: str) -> Iterator[None]:
    """Assert that the error says that the message may have arrived, and where to look, but not to try again."""
    with pytest.raises(MayHaveArrived, match=f"for fizz-top may have arrived: {words}.*; .*dev-sessions l") as caught:
        yield
    assert "\n" not in str(caught.value)
    assert "try again" not in str(caught.value)


def test_the_backend_is_one() -> None:
    """The backend implements the interface of the session manager; before a send it forgets the last turn, but not that
    there was one, and gives the message an id."""
    backend: Backend[CodexSession] = CodexBackend()
    noted = [backend.prepare(SENT, "hello").changes for _ in range(2)]
    for changes in noted:
        assert {**changes, "codex_send_id": None} == {
            "codex_active_turn_id": None,
            "codex_send_id": None,
            "codex_turn_in_progress": True,
        }
    assert noted[0]["codex_send_id"] != noted[1]["codex_send_id"]
    assert not backend.prepare(replace(SENT, codex_active_turn_id=None), "hello").changes["codex_turn_in_progress"]


def test_a_session_elsewhere_uses_no_app_server_here() -> None:
    """An app-server is in use by the sessions of its CODEX_HOME on this machine, not by those on another one."""
    assert is_in_use(paths.codex_dir(), lambda: [SENT])
    assert not is_in_use(paths.codex_dir(), lambda: [replace(SENT, host="box")])
    assert not is_in_use(paths.codex_dir("/another"), lambda: [SENT])


def test_a_connection_that_dies_after_the_message_was_written_leaves_it_unknown(serve: Serve) -> None:
    """The error says that the message may have arrived; it is not sent again."""
    asked = serve({"turn/steer": NO_TURN, "turn/start": hang_up})
    with may_have_arrived("Codex's app-server .* closed the connection during turn/start"):
        send("hello")
    assert asked.count("turn/start") == 1


def test_an_answer_that_is_garbage_leaves_the_message_unknown(serve: Serve) -> None:
    """An invalid response is treated like a missing one: the message may have arrived."""
    asked = serve({"turn/steer": NO_TURN, "turn/start": say("garbage")})
    with may_have_arrived("Codex"):
        send("hello")
    assert asked.count("turn/start") == 1


def test_a_message_that_is_refused_was_not_sent(serve: Serve) -> None:
    """The error says that nothing was sent, with Codex's reason."""
    serve({"turn/steer": NO_TURN, "turn/start": refuse("Server is draining; retry after reconnecting")})
    with not_delivered(".*Server is draining"):
        send("hello")


def test_a_message_to_a_thread_that_is_unloaded_this_moment(serve: Serve) -> None:
    """If Codex unloads the thread just before the message, the thread is loaded again and the message is sent once."""
    started = '{"method": "turn/started", "params": {"threadId": "t1", "turn": {"id": "b"}}}'
    accept = say('{"id": #, "result": {"turn": {"id": "b"}}}', started)
    asked = serve({"turn/steer": NO_TURN, "turn/start": in_turn(UNKNOWN, accept), "thread/resume": {}})
    assert send("hello").receipt.turn_id == "b"
    assert [method for method in asked if method in ("turn/start", "thread/resume")] == [
        "turn/start",
        "thread/resume",
        "turn/start",
    ]


def test_a_turn_that_does_not_begin_is_reported(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """An accepted message whose turn does not begin may have arrived."""
    monkeypatch.setattr("dev_sessions.codex.thread.BEGIN_TIMEOUT", 0.1)
    serve({"turn/steer": NO_TURN, "turn/start": {"turn": {"id": "b"}}})
    with may_have_arrived(".*did not report that its turn began: nothing happened for 0.1 s"):
        send("hello")


def test_an_app_server_that_ends_before_the_turn_begins_is_reported(serve: Serve) -> None:
    """If the app-server ends after it accepted a message, the message may have arrived."""

    def accept_and_end(websocket: ServerConnection, number: int) -> None:
        say('{"id": #, "result": {"turn": {"id": "b"}}}')(websocket, number)
        hang_up(websocket, number)

    serve({"turn/steer": NO_TURN, "turn/start": accept_and_end})
    with may_have_arrived(".*did not report that its turn began: .*closed the connection"):
        send("hello")


def test_a_history_that_is_gone_is_an_error(serve: Serve) -> None:
    """A lost conversation is reported, and not silently replaced by an empty one."""
    asked = serve({"turn/steer": UNKNOWN, "thread/resume": refuse("no rollout found for thread id t1")})
    with not_delivered(r"fizz-top is lost: Codex finds no thread t1 in /home/user/\.codex"):
        send("hello")
    assert "turn/start" not in asked
    assert "thread/start" not in asked


def test_a_message_can_go_into_a_turn_that_ends_this_moment(serve: Serve) -> None:
    """A message that missed the end of the running turn starts a new one, whose id is kept."""
    probes = iter([refuse("expected active turn id `0` but found `a`"), refuse("expected ... but found `b`")])
    started = '{"method": "turn/started", "params": {"threadId": "t1", "turn": {"id": "b"}}}'
    script: Script = {
        "thread/read": IDLE,
        "turn/steer": lambda websocket, number: next(probes)(websocket, number),
        "turn/start": say('{"id": #, "result": {"turn": {"id": "b"}}}', started),
    }
    serve(script)
    assert send("hello").receipt.turn_id == "b"


def test_a_message_to_a_turn_that_has_just_ended_begins_its_own(serve: Serve) -> None:
    """A response that names another turn than the running one means that a new turn began."""
    started = '{"method": "turn/started", "params": {"threadId": "t1", "turn": {"id": "b"}}}'
    script: Script = {
        "thread/read": IDLE,
        "turn/steer": refuse("expected active turn id `0` but found `a`"),
        "turn/start": say('{"id": #, "result": {"turn": {"id": "b"}}}', started),
    }
    serve(script)
    receipt = send("hello").receipt
    assert (receipt.state, receipt.turn_id) == ("submitted", "b")


def test_a_message_that_codex_would_not_take_is_refused_before_it_is_sent() -> None:
    """Too long a message and half of a surrogate pair are refused, because Codex would."""
    backend = CodexBackend()
    backend.prepare(SENT, "😀" * MAX_INPUT)
    with pytest.raises(InvalidRequest, match="has 1048577 characters and Codex takes 1048576; write it to a file"):
        backend.prepare(SENT, "x" * (MAX_INPUT + 1))
    with pytest.raises(InvalidRequest, match="not UTF-8"):
        backend.prepare(SENT, "a\udc80b")


def test_reading_never_loads_a_thread(serve: Serve) -> None:
    """Commands that only read do not load a thread, which would make its goal go on."""
    turn = {"id": "a", "status": "completed", "items": [{"type": "agentMessage", "text": "hi"}]}
    asked = serve({"thread/read": IDLE, "thread/turns/list": {"data": [turn], "nextCursor": None}})
    backend = CodexBackend()
    assert backend.wait(SENT, Deadline(5), None) == Outcome("completed")
    assert backend.answer(SENT, Deadline(5)) == (Outcome("completed"), Answer(("hi",)))
    assert backend.last_messages(SENT, 1) == ["hi"]
    assert [said.text for said in backend.logs(SENT)] == ["hi"]
    assert backend.states([SENT]) == {"fizz-top": SessionState("idle")}
    assert set(asked) == {"initialize", "thread/read", "thread/goal/get", "thread/turns/list"}


@pytest.mark.parametrize(
    ("rollout", "kind", "own", "reason"),
    [
        ("0.169.0", "idle", ANSWERED, None),
        ("0.169.0", "idle", None, None),
        ("0.169.0", "idle", "another turn", "unknown"),
        ("0.169.0", "systemError", ANSWERED, "unknown"),
        ("missing", "idle", ANSWERED, "unknown"),
    ],
)
def test_a_list_asks_for_the_turns_of_those_that_may_have_failed(
    serve: Serve, rollout: str, kind: str, own: str | None, reason: str | None
) -> None:
    """The reason of a failed turn costs a request only where the thread's file does not show its answer."""
    path = Path(__file__).parent.parent / "data" / "rollouts" / f"{rollout}.jsonl"
    failed = {"id": own or ANSWERED, "status": "failed", "error": {"message": "no"}}
    thread = {"thread": {"status": {"type": kind}, "path": str(path)}}
    asked = serve({"thread/read": thread, "thread/turns/list": {"data": [failed], "nextCursor": None}})
    session = replace(SENT, codex_active_turn_id=own)
    assert CodexBackend().states([session], detail=True)["fizz-top"].reason == reason
    assert ("thread/turns/list" in asked) == (reason is not None)


def test_what_follows_an_answer_is_no_part_of_it(serve: Serve) -> None:
    """A turn that answered one message and failed in the next has answered only the first."""
    said = [("m1", "hi"), ("m2", None)]
    items: list[dict[str, Any]] = []
    for client_id, text in said:
        items.append({"type": "userMessage", "clientId": client_id, "content": []})
        items += [{"type": "agentMessage", "text": text}] if text else []
    turn = {"id": "a", "status": "failed", "error": {"message": "no"}, "items": items}
    serve({"thread/read": IDLE, "thread/turns/list": {"data": [turn], "nextCursor": None}})
    sent = [replace(SENT, codex_send_id=client_id) for client_id in ("m1", "m2", "m3")]
    found = [CodexBackend().answer(session, Deadline(5)) for session in sent]
    assert found[0] == (Outcome("completed"), Answer(("hi",)))
    assert found[1] == found[2] == (Outcome("failed", "no", "unknown"), Answer())


def test_a_message_that_a_turn_did_not_answer_is_reported(serve: Serve) -> None:
    """A message that its turn never read, or read and did not answer, has failed; no empty reply."""
    items = [
        {"type": "userMessage", "clientId": "m1", "content": []},
        {"type": "agentMessage", "text": "hi"},
        {"type": "userMessage", "clientId": "m2", "content": []},
    ]
    turn = {"id": "a", "status": "completed", "items": items}
    serve({"thread/read": IDLE, "thread/turns/list": {"data": [turn], "nextCursor": None}})
    for client_id, words in (
        ("m2", "before it answered the message; ask again"),
        ("m3", "without reading the message"),
    ):
        outcome, answer = CodexBackend().answer(replace(SENT, codex_send_id=client_id), Deadline(5))
        assert (outcome.status, answer) == ("failed", Answer())
        assert words in (outcome.error or "")


def test_the_last_message_is_read_from_the_end(serve: Serve) -> None:
    """Pages are read only as far as needed; turns without an answer are skipped."""
    failed = {"id": "c", "status": "failed"}
    items = [{"type": "agentMessage", "text": text} for text in ("one", "two")]
    pages = iter(
        [
            {"data": [failed], "nextCursor": "older"},
            {"data": [{"id": "b", "status": "completed", "items": items}], "nextCursor": "oldest"},
        ]
    )

    def next_page(websocket: ServerConnection, number: int) -> None:
        websocket.send(json.dumps({"id": number, "result": next(pages)}))

    asked = serve({"thread/read": IDLE, "thread/turns/list": next_page})
    assert CodexBackend().last_messages(SENT, 1) == ["two"]
    assert asked == ["initialize", "thread/read", "thread/turns/list", "thread/turns/list"]


def test_a_thread_that_no_app_server_knows_is_lost(serve: Serve) -> None:
    """A session with a message is lost then; one without starts a new thread with its first."""
    serve({"thread/read": refuse("thread not loaded: t1"), "thread/turns/list": refuse("thread not loaded: t1")})
    backend = CodexBackend()
    assert backend.states([FRESH, replace(SENT, id="ashe-mid")]) == {
        "fizz-top": SessionState("idle"),
        "ashe-mid": SessionState("lost"),
    }
    assert backend.plan_recovery(FRESH) is None
    assert backend.last_messages(FRESH, 1) == []
    assert backend.logs(FRESH) == []
    assert backend.wait(FRESH, Deadline(5), None) == Outcome("completed")
    with pytest.raises(ConversationGone):
        backend.last_messages(SENT, 1)
    with pytest.raises(ConversationGone):
        backend.wait(SENT, Deadline(5), None)


def test_ending_a_thread_that_is_gone_already_is_fine(serve: Serve) -> None:
    """Archiving a thread twice is no error; any other refusal is."""
    refusals = iter([refuse("no rollout found for thread id t1"), refuse("invalid thread id: x"), refuse("disk full")])
    serve({"thread/archive": lambda websocket, number: next(refusals)(websocket, number)})
    backend = CodexBackend()
    backend.stop(SENT)
    backend.stop(SENT)
    with pytest.raises(ProtocolError, match="disk full"):
        backend.stop(SENT)


@pytest.mark.parametrize(
    ("session", "has"),
    [
        (FRESH, False),
        (SENT, True),
        (replace(FRESH, codex_last_completed_at="2026-01-01T00:00:00.000Z"), True),
        (replace(FRESH, last_turn_status="failed"), True),
        (replace(FRESH, codex_turn_in_progress=True), True),
        (replace(FRESH, codex_turn_in_progress=False), False),
        (replace(FRESH, extra={"lastAssistantMessages": ["hi"]}), True),
        (replace(FRESH, extra={"lastAssistantMessages": []}), False),
    ],
)
def test_a_record_shows_whether_anything_was_said(session: CodexSession, has: bool) -> None:
    """Records of this version and of 0.4 show whether the session has a conversation."""
    assert CodexBackend().has_conversation(session) is has


def test_a_question_is_asked_again_only_of_a_thread_that_waits(serve: Serve) -> None:
    """Only a thread that waits is resumed: it is loaded, so its goal is not started by that."""
    statuses = [{"thread": {"id": "t1", "status": {"type": name}}} for name in ("idle", "notLoaded", "systemError")]
    asked = serve({"thread/read": in_turn(*statuses, ACTIVE)})
    for _ in range(4):
        assert CodexBackend().pending(SENT) is None
    assert asked == ["initialize", "thread/read"] * 4


def test_a_question_that_was_answered_meanwhile_is_none(serve: Serve) -> None:
    """A question that was answered at another terminal meanwhile is not shown."""
    idle = '{"method": "thread/status/changed", "params": {"threadId": "t1", "status": {"type": "idle"}}}'
    script: Script = {"thread/read": in_turn(WAITING, IDLE), "thread/resume": say('{"id": #, "result": {}}', idle)}
    serve(script)
    assert CodexBackend().pending(SENT) is None


def test_a_thread_that_is_too_young_to_be_resumed_is_asked_once_more(serve: Serve) -> None:
    """A resume that 0.169 refuses in a thread's first 0.1 s is repeated."""
    young = refuse("list_turns is not supported yet")
    serve({"thread/read": WAITING, "thread/resume": in_turn(young, ASK_AGAIN)})
    pending = CodexBackend().pending(SENT)
    assert pending is not None
    assert pending.text == "Which?\n1. red"


def test_a_question_that_is_not_asked_again_is_shown_as_far_as_it_is_known(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If Codex does not repeat its question, the session shows as waiting, with a way out."""
    monkeypatch.setattr("dev_sessions.codex.thread.ASK_TIMEOUT", 0.1)
    serve({"thread/read": WAITING, "thread/resume": {}, "turn/steer": RUNS_A, "thread/turns/list": {"data": []}})
    backend = CodexBackend()
    assert backend.last_messages(SENT, 1) == [
        "an answer (input needed), but Codex 0.169.0 does not report the question"
    ]
    with not_delivered("fizz-top waits for an answer .*; .*dev-sessions interrupt fizz-top"):
        respond("1")
    with not_delivered(".*dev-sessions interrupt fizz-top"):
        send("hello")


def test_an_answer_that_is_not_taken_is_reported(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that Codex does not confirm may have arrived."""
    monkeypatch.setattr("dev_sessions.codex.thread.ANSWER_TIMEOUT", 0.1)
    serve({"thread/read": WAITING, "thread/resume": ASK_AGAIN, "answer": silence})
    with may_have_arrived("fizz-top still waits after it was sent"):
        respond("1")


def test_a_connection_that_dies_with_the_answer_leaves_it_unknown(serve: Serve) -> None:
    """The answer may have arrived; it is sent once."""
    asked = serve({"thread/read": WAITING, "thread/resume": ASK_AGAIN, "answer": hang_up})
    with may_have_arrived("Codex's app-server .* closed the connection"):
        respond("1")
    assert asked.count("answer") == 1


def test_an_answer_is_over_only_when_the_status_says_so(serve: Serve) -> None:
    """An answer returns when the status has changed, so that a wait does not see the old question."""
    resolved = say('{"method": "serverRequest/resolved", "params": {"threadId": "t1", "requestId": 0}}')
    asked = serve(
        {"thread/read": in_turn(WAITING, WAITING, WAITING, ACTIVE), "thread/resume": ASK_AGAIN, "answer": resolved}
    )
    respond("1")
    assert asked.count("thread/read") == 4


def test_an_interrupt_that_is_not_answered_has_worked_when_the_turn_has_ended(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupt right after the turn's end, to which 0.150 does not respond, succeeds."""
    monkeypatch.setattr("dev_sessions.codex.thread.INTERRUPT_TIMEOUT", 0.1)
    serve({"thread/read": in_turn(ACTIVE, IDLE), "turn/steer": RUNS_A, "turn/interrupt": silence, **CLEAN})
    CodexBackend().interrupt(SENT, Deadline(5))


def test_a_turn_that_goes_on_after_an_interrupt_is_an_error(serve: Serve) -> None:
    """The error has the reason that Codex gave."""
    serve({"thread/read": ACTIVE, "turn/steer": RUNS_A, "turn/interrupt": refuse("not this turn")})
    with pytest.raises(ProtocolError, match=r"does not end \(Codex refused turn/interrupt: not this turn\); try again"):
        CodexBackend().interrupt(SENT, Deadline(0.3))


def test_a_turn_without_a_name_is_interrupted_as_soon_as_it_has_one(serve: Serve) -> None:
    """A turn is interrupted even if Codex names it a moment after it began."""
    asked = serve(
        {
            "thread/read": in_turn(ACTIVE, ACTIVE, IDLE),
            "turn/steer": in_turn(NO_TURN, RUNS_A),
            "turn/interrupt": {},
            **CLEAN,
        }
    )
    CodexBackend().interrupt(SENT, Deadline(5))
    assert asked.count("turn/interrupt") == 1


def test_a_turn_that_somebody_begins_at_once_is_not_taken_for_the_interrupted_one(serve: Serve) -> None:
    """A new turn right after the interrupt is left alone."""
    runs_b = refuse("expected active turn id `0` but found `b`")
    asked = serve({"thread/read": ACTIVE, "turn/steer": in_turn(RUNS_A, runs_b), "turn/interrupt": {}, **CLEAN})
    CodexBackend().interrupt(SENT, Deadline(5))
    assert asked.count("turn/interrupt") == 1


def test_commands_that_can_not_be_ended_are_reported(serve: Serve) -> None:
    """Background commands that Codex does not end are reported, though the turn has ended."""
    script: Script = {
        "thread/read": in_turn(ACTIVE, IDLE),
        "turn/steer": RUNS_A,
        "turn/interrupt": {},
        "thread/backgroundTerminals/clean": refuse("disk full"),
    }
    serve(script)
    with pytest.raises(ProtocolError, match="disk full"):
        CodexBackend().interrupt(SENT, Deadline(5))


THREADS = [replace(FRESH, id=f"s{number}", internal_id=f"t{number}") for number in range(250)]


def test_many_sessions_are_listed_with_few_requests(serve: Serve) -> None:
    """From 0.171 on, the states of many sessions take a request for each hundred; those not listed are read."""
    threads = [{"id": session.internal_id, "status": {"type": "idle"}, "preview": "hi"} for session in THREADS[1:]]
    listed = in_turn(*({"data": threads[at : at + 100]} for at in range(0, 300, 100)))
    greeting = {"userAgent": "dev-sessions/0.171.0 (Test)"}
    asked = serve({"initialize": greeting, "thread/list": listed, "thread/read": ACTIVE})
    states = CodexBackend().states(THREADS)
    assert asked == ["initialize", "thread/list", "thread/list", "thread/list", "thread/read"]
    assert states == {session.id: SessionState("working" if session.id == "s0" else "idle") for session in THREADS}


def test_an_older_codex_is_asked_for_each_session_without_waiting(serve: Serve) -> None:
    """Before 0.171 each thread is read, but the requests do not wait for each other, and each gets its own answer."""
    ready: list[int] = []

    def answer_in_reverse(websocket: ServerConnection, number: int) -> None:
        ready.append(number)
        if len(ready) == 5:
            for one in reversed(ready):
                status = "active" if one == ready[1] else "idle"
                thread = {"id": "t", "status": {"type": status, "activeFlags": []}}
                websocket.send(json.dumps({"id": one, "result": {"thread": thread}}))

    asked = serve({"thread/read": answer_in_reverse})
    states = CodexBackend().states(THREADS[:5])
    assert asked == ["initialize", *["thread/read"] * 5]
    assert list(states.values()) == [SessionState(state) for state in ("idle", "working", "idle", "idle", "idle")]


@pytest.mark.parametrize("version", ["0.169.0", "0.171.0"])
def test_a_thread_without_answers_does_not_hide_the_others(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    """If the app-server responds about all threads but one, the states of the others are known, and of that one it is
    said that its state is not known."""
    monkeypatch.setattr("dev_sessions.codex.states.LIST_TIMEOUT", 0.2)
    monkeypatch.setattr("dev_sessions.codex.states.STATE_TIMEOUT", 0.2)
    idle = {"thread": {"id": "t", "status": {"type": "idle"}, "preview": ""}}
    greeting = {"userAgent": f"dev-sessions/{version} (Test)"}
    serve({"initialize": greeting, "thread/list": {"data": []}, "thread/read": idle}, silent_about="t60")
    states = CodexBackend().states(THREADS, detail=True)
    unknown = states.pop("s60")
    assert states == {session.id: SessionState("idle") for session in THREADS if session.id != "s60"}
    assert str(unknown).startswith("The state of s60 is not known: Codex's app-server (process ")
    assert ") did not answer thread/read within 0.2 s; try again" in str(unknown)


def test_a_thread_whose_goal_is_not_answered_is_not_known(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session is not said to have no goal when the app-server does not respond about it."""
    monkeypatch.setattr("dev_sessions.codex.states.STATE_TIMEOUT", 0.2)
    idle = {"thread": {"id": "t", "status": {"type": "idle"}, "preview": ""}}
    serve({"thread/read": idle, "thread/goal/get": in_turn(silence, {"goal": None})})
    states = CodexBackend().states(THREADS[:3], detail=True)
    assert str(states.pop("s0")).startswith("The state of s0 is not known: ")
    assert states == {"s1": SessionState("idle"), "s2": SessionState("idle")}


def test_a_server_that_answers_about_no_thread_is_one_error(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the app-server responds about none of several threads, that is one error and not one for each."""
    monkeypatch.setattr("dev_sessions.codex.states.STATE_TIMEOUT", 0.2)
    serve({"thread/read": silence})
    with pytest.raises(NoAnswer, match="did not answer thread/read"):
        CodexBackend().states(THREADS, detail=True)
