"""Goals: recorded frames, and waits and changes on a scripted app-server with timings that are rare on a real one."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dev_sessions.agent import SupportsGoals
from dev_sessions.claude.backend import ClaudeBackend
from dev_sessions.cli import render
from dev_sessions.codex import goal_protocol, protocol
from dev_sessions.codex.backend import CodexBackend
from dev_sessions.codex.history import ConversationGone
from dev_sessions.codex.jsonrpc import RpcError
from dev_sessions.errors import DeliveryFailed, InvalidRequest, ProgramMissing, ProtocolError, TurnFailed, WaitTimedOut
from dev_sessions.models import Goal, Outcome, SessionState, timestamp
from dev_sessions.record_json import goal_from_json, goal_to_json
from dev_sessions.system.deadline import Deadline
from tests.support.recordings import Recording
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
    in_turn,
    refuse,
    say,
)

VERSIONS = ["0.150.0", "0.169.0"]
RAW: dict[str, Any] = {
    "threadId": "t1",
    "objective": "work\nhard",
    "status": "active",
    "tokenBudget": None,
    "tokensUsed": 15,
    "timeUsedSeconds": 3,
    "createdAt": 1795381299,
    "updatedAt": 1795381300,
}
GOAL = Goal("t1", "work\nhard", "active", None, 15, 3, 1795381299, 1795381300)
BEGINS = (
    '{"method": "thread/status/changed", "params": {"threadId": "t1", "status": {"type": "active", "activeFlags": []}}}'
)
ENDS = '{"method": "thread/status/changed", "params": {"threadId": "t1", "status": {"type": "idle"}}}'
NOT_LOADED = {"thread": {"id": "t1", "status": {"type": "notLoaded"}}}
FAILED = {"thread": {"id": "t1", "status": {"type": "systemError"}}}
TOO_LONG = "goal object goal objective must be at most 4000 characters"


def has(status: str) -> dict[str, Any]:
    """Return a result with a goal that has this status."""
    return {"goal": {**RAW, "status": status}}


def listed(*turns: str) -> dict[str, Any]:
    """Return a result with turns, newest first, each given as `ID:STATUS`."""
    found = [text.split(":") for text in turns]
    return {"data": [{"id": name, "status": state} for name, state in found], "nextCursor": None}


def result(frame: dict[str, Any], *events: str) -> Callable[..., None]:
    """Return a step that responds with a result, and then sends events."""
    return say(f'{{"id": #, "result": {json.dumps(frame)}}}', *events)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_recorded_goal_is_read(version: str) -> None:
    """The results of set and get have the goal, and that of clear says whether there was one."""
    recording = Recording(version, "goal-idle")
    found = [goal_protocol.goal(answer.result) for answer in recording.answers("thread/goal/set") if not answer.error]
    first = found[0]
    assert first is not None
    shown = (first.objective, first.status, first.token_budget, first.active)
    assert shown == ("goalcall finish it", "active", 100000, True)
    got = goal_protocol.goal(recording.answers("thread/goal/get")[0].result)
    assert got is not None
    assert (got.status, got.active, got.thread_id) == ("complete", False, first.thread_id)
    assert got.tokens_used > 0
    assert goal_to_json(got) == recording.answers("thread/goal/get")[0].result["goal"]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_recorded_refusal_is_understood(version: str) -> None:
    """The error of a change without a goal is distinguished from others."""
    recording = Recording(version, "goal-idle")
    errors = [answer.error for answer in recording.answers("thread/goal/set") if answer.error]
    assert not any(goal_protocol.is_disabled(error) for error in errors)
    if version != "0.169.0":  # whose recording was cut before
        assert [goal_protocol.has_no_goal(error) for error in errors] == [False, False, True]
        assert [goal_protocol.is_cleared(answer.result) for answer in recording.answers("thread/goal/clear")] == [True]


def test_goals_that_are_switched_off_are_recognised_by_the_refusal() -> None:
    """A Codex in whose configuration goals are disabled is recognized by its error."""
    assert goal_protocol.is_disabled(RpcError("goals feature is disabled"))


def test_what_is_not_given_is_not_sent() -> None:
    """A change of the status does not remove the budget, which a null would."""
    assert goal_protocol.goal_set("t1", None, "paused", None) == {"threadId": "t1", "status": "paused"}
    assert goal_protocol.goal_set("t1", "work", "active", 5) == {
        "threadId": "t1",
        "objective": "work",
        "status": "active",
        "tokenBudget": 5,
    }


def test_a_goal_is_its_json() -> None:
    """A goal keeps Codex's JSON names in both directions; unknown fields are ignored."""
    assert goal_to_json(GOAL) == RAW
    assert goal_from_json(RAW) == GOAL
    assert goal_from_json({**RAW, "status": "postponed", "future": 1}).status == "postponed"
    assert goal_from_json({"threadId": "t", "objective": "o", "status": "paused"}) == Goal("t", "o", "paused")


@pytest.mark.parametrize(
    "raw", [{}, [], "x", {**RAW, "tokensUsed": "15"}, {**RAW, "status": None}, {**RAW, "tokenBudget": True}]
)
def test_an_answer_that_is_no_goal_is_a_clear_error(raw: object) -> None:
    """An invalid goal is a protocol error."""
    with pytest.raises(ProtocolError, match="returned a goal that is not valid"):
        goal_protocol.goal({"goal": raw})


def test_a_goal_is_shown_in_lines() -> None:
    """The command line shows a goal as one line per field."""
    assert render.goal(GOAL) == (
        "objective: work\nhard\nstatus: active\ntokens used: 15\ntoken budget: none\ntime used: 3s"
    )
    assert "\ntoken budget: 5000\n" in render.goal(Goal("t", "o", "paused", 5000))


def test_which_agents_pursue_goals() -> None:
    """Codex supports goals, Claude does not."""
    backend: SupportsGoals[Any] = CodexBackend()
    assert isinstance(backend, SupportsGoals)
    assert not isinstance(ClaudeBackend(lambda _: None), SupportsGoals)


def test_a_wait_without_a_goal_asks_one_question_more(serve: Serve) -> None:
    """A wait reads the goal only once if there is none."""
    asked = serve({"thread/read": IDLE, "thread/turns/list": listed("a:completed")})
    assert CodexBackend().wait(SENT, Deadline(5), None) == Outcome("completed")
    assert asked == ["initialize", "thread/read", "thread/goal/get", "thread/turns/list"]


def test_a_codex_with_goals_switched_off_waits_as_ever(serve: Serve) -> None:
    """A wait works when goals are disabled in Codex."""
    script: Script = {
        "thread/read": IDLE,
        "thread/turns/list": listed("a:completed"),
        "thread/goal/get": refuse("goals feature is disabled"),
        "thread/goal/set": refuse("goals feature is disabled"),
        "turn/steer": NO_TURN,
    }
    serve(script)
    backend = CodexBackend()
    assert backend.wait(SENT, Deadline(5), None) == Outcome("completed")
    with pytest.raises(ProgramMissing, match="Goals are disabled"):
        backend.wait_for_goal(SENT, Deadline(5))
    with pytest.raises(ProgramMissing):
        backend.get_goal(SENT)
    with pytest.raises(ProgramMissing):
        backend.set_goal(SENT, None, "paused", None)


def test_the_moment_between_two_turns_of_a_goal_is_no_end(serve: Serve) -> None:
    """A wait does not end between two turns of a goal, nor in the last one."""
    asked = serve(
        {
            "thread/read": in_turn(IDLE, result(ACTIVE, ENDS), IDLE, result(ACTIVE, ENDS), IDLE),
            "thread/goal/get": in_turn(result(has("active"), BEGINS), has("complete")),
            "thread/turns/list": listed("b:completed", "a:completed"),
        }
    )
    assert CodexBackend().wait(SENT, Deadline(5), None) == Outcome("completed")
    assert asked.count("thread/read") == 6


def test_a_goal_that_fails_in_its_last_turn_fails_the_wait(serve: Serve) -> None:
    """A failed last turn fails the wait, also if it began after the first poll."""
    serve(
        {
            "thread/read": in_turn(IDLE, FAILED),
            "thread/goal/get": has("blocked"),
            "thread/turns/list": listed("b:failed"),
        }
    )
    outcome = CodexBackend().wait(FRESH, Deadline(5), None)
    assert outcome.status == "failed"


def test_a_message_does_not_wait_for_the_goals_next_turn(serve: Serve) -> None:
    """An ask ends with its own turn while the goal's next turn runs."""
    serve(
        {
            "thread/read": ACTIVE,
            "thread/goal/get": has("active"),
            "thread/turns/list": listed("b:inProgress", "a:completed"),
        }
    )
    assert CodexBackend().answer(SENT, Deadline(5))[0] == Outcome("completed")


@pytest.mark.parametrize(
    ("state", "status"), [("completed", "completed"), ("failed", "failed"), ("interrupted", "interrupted")]
)
def test_a_turn_after_which_others_run_has_its_own_end(serve: Serve, state: str, status: str) -> None:
    """The outcome of a turn does not depend on the turns after it."""
    serve(
        {
            "thread/read": in_turn(result(ACTIVE, ENDS), ACTIVE),
            "thread/goal/get": has("active"),
            "thread/turns/list": in_turn(listed("a:inProgress"), listed("b:inProgress", f"a:{state}")),
        }
    )
    assert CodexBackend().answer(SENT, Deadline(5))[0].status == status


def test_a_goal_that_stands_still_ends_the_wait(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait for the goal fails with what to do; any other wait ends with its turn."""
    monkeypatch.setattr("dev_sessions.codex.wait.STALL_TIMEOUT", 0.1)
    serve({"thread/read": IDLE, "thread/goal/get": has("active"), "thread/turns/list": listed("a:interrupted")})
    backend = CodexBackend()
    assert backend.wait(SENT, Deadline(5), None).status == "interrupted"
    with pytest.raises(
        TurnFailed, match="but no turn runs for it; continue it with: dev-sessions goal fizz-top --resume"
    ):
        backend.wait_for_goal(SENT, Deadline(5))
    with pytest.raises(WaitTimedOut):
        backend.wait_for_goal(SENT, Deadline(0.01))


def test_a_goal_of_an_app_server_that_ended_is_reported_at_once(serve: Serve) -> None:
    """A wait for a goal fails at once when the app-server has ended."""
    serve({"thread/read": NOT_LOADED, "thread/goal/get": has("active"), "thread/turns/list": listed("b:inProgress")})
    backend = CodexBackend()
    with pytest.raises(TurnFailed, match="but the app-server ended in one of its turns"):
        backend.wait_for_goal(SENT, Deadline(5))
    assert backend.wait(FRESH, Deadline(5), None).status == "interrupted"


def test_a_goal_that_is_over_still_has_its_turn_to_end(serve: Serve) -> None:
    """A wait for a goal ends with the goal's last turn, so that its last text is there."""
    asked = serve(
        {
            "thread/read": in_turn(result(ACTIVE, ENDS), IDLE),
            "thread/goal/get": in_turn(has("active"), has("complete")),
            "thread/turns/list": listed("b:completed"),
        }
    )
    assert CodexBackend().wait_for_goal(SENT, Deadline(5)) == (
        Outcome("completed"),
        goal_protocol.goal(has("complete")),
    )
    assert asked.count("thread/read") == 2


def test_a_goal_that_is_cleared_and_one_that_never_was(serve: Serve) -> None:
    """Clearing the goal ends the wait for it; waiting without a goal is an error."""
    script: Script = {
        "thread/read": in_turn(result(ACTIVE, ENDS), IDLE),
        "thread/goal/get": in_turn(has("active"), {"goal": None}),
        "thread/turns/list": listed("b:completed"),
    }
    serve(script)
    backend = CodexBackend()
    assert backend.wait_for_goal(SENT, Deadline(5)) == (Outcome("completed"), None)
    with pytest.raises(InvalidRequest, match=r"^No goal set for fizz-top$"):
        backend.wait_for_goal(SENT, Deadline(5))


def test_a_session_that_asks_ends_every_wait(serve: Serve) -> None:
    """Every wait ends when the session asks something, whatever the status of its goal."""
    serve({"thread/read": WAITING, "thread/goal/get": in_turn(has("active"), has("paused")), "turn/steer": RUNS_A})
    backend = CodexBackend()
    for _ in range(2):
        assert backend.wait_for_goal(SENT, Deadline(5))[0] == Outcome("waiting_for_input")
    assert backend.wait(SENT, Deadline(5), None) == Outcome("waiting_for_input")


def test_the_next_turn_is_not_the_one_after_it(serve: Serve) -> None:
    """A wait for the next turn ends with it, even if another turn runs already."""
    serve(
        {
            "thread/read": in_turn(ACTIVE, result(ACTIVE, ENDS), ACTIVE),
            "turn/steer": in_turn(RUNS_A, refuse("expected active turn id `0` but found `b`")),
            "thread/turns/list": in_turn(
                listed("a:inProgress", "z:failed"),
                listed("a:inProgress", "z:failed"),
                listed("a:completed", "z:failed"),
            ),
        }
    )
    assert CodexBackend().wait_for_next_turn(SENT, Deadline(5), lambda: SENT) == Outcome("completed")


def test_a_status_that_is_older_than_the_turns_is_read_again(serve: Serve) -> None:
    """A status that is older than the turns is read again: the turn may have failed."""
    serve(
        {
            "thread/read": in_turn(ACTIVE, ACTIVE, FAILED),
            "turn/steer": in_turn(RUNS_A, NO_TURN),
            "thread/turns/list": in_turn(listed("a:inProgress"), listed("a:completed")),
        }
    )
    assert CodexBackend().wait_for_next_turn(SENT, Deadline(5), lambda: SENT).status == "failed"


def test_a_next_turn_that_never_comes_is_waited_for_no_longer_than_asked(serve: Serve) -> None:
    """Turns that ended before the wait do not count, and the timeout holds."""
    serve({"thread/read": IDLE, "turn/steer": NO_TURN, "thread/turns/list": listed("a:completed", "z:completed")})
    with pytest.raises(WaitTimedOut):
        CodexBackend().wait_for_next_turn(SENT, Deadline(0.2), lambda: SENT)


def test_a_goal_that_is_not_begun_is_reported(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """In plan mode Codex accepts a goal and starts no turn, which is an error; a new budget is not."""
    monkeypatch.setattr("dev_sessions.codex.goals.BEGIN_TIMEOUT", 0.1)
    serve({"thread/read": IDLE, "turn/steer": NO_TURN, "thread/goal/set": has("active")})
    with pytest.raises(
        DeliveryFailed, match=r"did not begin to work on it within 0.1 s; see its status: .* goal fizz-top"
    ):
        CodexBackend().set_goal(SENT, "work", None, None)
    assert CodexBackend().set_goal(SENT, None, None, 5)[0].active


def test_a_goal_that_has_begun_takes_the_place_of_the_last_message(serve: Serve) -> None:
    """A new goal replaces the last send in the record; a new budget does not."""
    serve({"thread/read": IDLE, "turn/steer": NO_TURN, "thread/goal/set": result(has("active"), BEGINS)})
    backend = CodexBackend()
    changes = backend.set_goal(SENT, "work", None, None)[1]
    assert changes == {
        "internal_id": "t1",
        "codex_active_turn_id": None,
        "codex_turn_in_progress": True,
        "last_turn_status": None,
        "last_turn_error": None,
    }
    assert backend.set_goal(SENT, None, "active", None)[1] == changes
    assert backend.set_goal(SENT, None, None, 5)[1] == {}


def test_a_goal_on_a_thread_that_is_not_loaded_loads_it(serve: Serve) -> None:
    """Setting or resuming a goal loads the thread; pausing it does not."""
    asked = serve(
        {
            "thread/read": NOT_LOADED,
            "turn/steer": UNKNOWN,
            "thread/resume": result({}, BEGINS),
            "thread/goal/set": in_turn(has("paused"), has("active")),
        }
    )
    backend = CodexBackend()
    backend.set_goal(SENT, None, "paused", None)
    assert "thread/resume" not in asked
    backend.set_goal(SENT, None, "active", None)
    assert asked.count("thread/resume") == 1


def test_a_refused_objective_leaves_the_old_goal(serve: Serve) -> None:
    """The old goal is cleared only when Codex has accepted the new objective."""
    asked = serve(
        {
            "thread/read": IDLE,
            "turn/steer": NO_TURN,
            "thread/goal/get": has("complete"),
            "thread/goal/set": refuse(TOO_LONG),
        }
    )
    with pytest.raises(InvalidRequest, match="has 5000 characters and Codex takes 4000; write it to a file"):
        CodexBackend().set_goal(SENT, "x" * 5000, None, None)
    assert "thread/goal/clear" not in asked


def test_an_interrupt_pauses_a_goal_first(serve: Serve) -> None:
    """The goal is paused before its turn is ended, also a turn that is about to begin."""
    asked = serve(
        {
            "thread/goal/get": has("active"),
            "thread/goal/set": result(has("paused"), BEGINS),
            "thread/read": in_turn(IDLE, ACTIVE, IDLE),
            "turn/steer": RUNS_A,
            "turn/interrupt": {},
            **CLEAN,
        }
    )
    CodexBackend().interrupt(SENT, Deadline(5))
    assert asked.index("thread/goal/set") < asked.index("turn/interrupt")
    assert asked.count("turn/interrupt") == 1


def test_a_session_that_was_never_used_has_no_goal(serve: Serve) -> None:
    """A session whose unused thread the app-server has dropped has no goal, and that is no error."""
    unknown = refuse("thread not found: t1")
    script: Script = {
        "thread/goal/get": unknown,
        "thread/goal/set": unknown,
        "thread/goal/clear": unknown,
        "thread/read": refuse("thread not loaded: t1"),
        "turn/steer": UNKNOWN,
    }
    serve(script)
    backend = CodexBackend()
    assert backend.get_goal(FRESH) is None
    assert backend.clear_goal(FRESH) is False
    with pytest.raises(InvalidRequest, match=r"^No goal set for fizz-top$"):
        backend.set_goal(FRESH, None, "paused", None)
    for lost in (backend.get_goal, backend.clear_goal):
        with pytest.raises(ConversationGone, match="fizz-top is lost"):
            lost(SENT)


def test_an_objective_that_codex_would_not_take_is_recognised() -> None:
    """The error for too long an objective has the limit that Codex names."""
    assert goal_protocol.max_objective_length(RpcError(TOO_LONG)) == 4000
    assert goal_protocol.max_objective_length(RpcError("goal objective must not be empty")) is None
    assert not protocol.is_unknown_thread(RpcError(TOO_LONG))


def test_the_next_turn_of_a_goal_is_awaited_as_long_as_its_history_is_new(serve: Serve, tmp_path: Path) -> None:
    """Between two turns of a goal a session is working, even if Codex reports the time at which the goal's work began,
    as 0.150 does. Nothing is asked about a goal whose history was not written lately."""
    rollout, began = tmp_path / "rollout.jsonl", time.time() - 600
    rollout.touch()
    thread = {**IDLE["thread"], "preview": "", "createdAt": began - 1, "updatedAt": began, "path": str(rollout)}
    begun = {"method": "thread/status/changed", "params": {"threadId": "t1", "status": ACTIVE["thread"]["status"]}}
    answer = say(f'{{"id": #, "result": {{"goal": {json.dumps(RAW)}}}}}', json.dumps(begun))
    asked = serve({"thread/read": {"thread": thread}, "thread/goal/get": answer})
    assert CodexBackend().states([SENT]) == {SENT.id: SessionState("working")}
    asked.clear()
    os.utime(rollout, (began, began))
    assert CodexBackend().states([SENT]) == {SENT.id: SessionState("idle", since=timestamp(began))}
    assert asked == ["initialize", "thread/read"]


def test_a_session_whose_turn_ended_while_another_was_awaited_is_not_idle(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a list, a session between two turns of its goal is working, also if one of them began and ended while the list
    waited for the goal of another session, on which nothing works."""
    monkeypatch.setattr("dev_sessions.codex.states.GOAL_PAUSE_TIMEOUT", 0.3)
    sessions = [replace(SENT, id=f"s{number}", internal_id=f"t{number}") for number in range(3)]
    flips = [
        {"method": "thread/status/changed", "params": {"threadId": thread_id, "status": {"type": kind}}}
        for kind in ("active", "idle")
        for thread_id in ("t1", "t2")
    ]
    answer = f'{{"id": #, "result": {{"goal": {json.dumps(RAW)}}}}}'
    then_flips = [json.dumps(flip) for flip in flips]
    over = {"goal": {**RAW, "status": "complete"}}
    asked = serve(
        {
            "thread/read": IDLE,
            "thread/goal/get": in_turn(say(answer), say(answer), say(answer, *then_flips), say(answer), over),
        }
    )
    states = [state.state for state in CodexBackend().states(sessions).values() if isinstance(state, SessionState)]
    assert asked == ["initialize", *["thread/read"] * 3, *["thread/goal/get"] * 5]
    assert sorted(states) == ["idle", "idle", "working"]
    assert states[0] == "idle", "nothing works on its goal"
