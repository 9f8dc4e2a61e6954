"""Goals of Codex: set, shown, paused, cleared and waited for, and the errors of a Codex that has them disabled."""

from __future__ import annotations

import itertools
import json
from subprocess import CompletedProcess
from typing import Any

import pytest

from dev_sessions.codex import goals, protocol, states, turns
from dev_sessions.codex.thread import Thread
from dev_sessions.models import SessionState
from dev_sessions.system.deadline import Deadline, wait_until
from tests.support.cli import assert_refused, create, ok
from tests.support.codex import (
    UNTRUSTED,
    assert_still_running,
    assert_turn_failed,
    assert_turn_interrupted,
    await_idle,
    begin_wait,
    crash,
    daemon,
    last_message,
    next_step,
    receipt,
    session_of,
)
from tests.support.home import Home
from tests.support.model import ScriptedModel

pytestmark = pytest.mark.forked

#: What a wait says of a failure that it was there to hear.
FAILURE = "invalid_request: scripted failure 400"
#: What a turn does until `let_turn_end`, and for ever.
HOLD = "run until test -e go; do sleep 0.05; done"
HELD, STUCK = f"work 1 turn, then {HOLD}", "work 1 turn, then hang"


@pytest.fixture
def sid(home: Home) -> str:
    """Create a session of Codex."""
    return create(home, "codex")


def goal(home: Home, sid: str) -> dict[str, Any]:
    """Return the session's goal."""
    found: dict[str, Any] = json.loads(ok(home.cli("goal", sid, "--json")))
    return found


def given(home: Home, sid: str, *arguments: str) -> None:
    """Set a goal, and assert that it is active."""
    assert "\nstatus: active\n" in ok(home.cli("goal", sid, *arguments))


def begin_stuck(home: Home, sid: str, model: ScriptedModel) -> None:
    """Set a goal of an idle session whose first turn does not end. Codex has written its beginning when the model has
    its request."""
    before = len(model.turns())
    given(home, sid, STUCK)
    assert wait_until(lambda: len(model.turns()) > before, Deadline(30))


def ends(home: Home, sid: str, status: str) -> None:
    """Assert that a wait for the goal prints only its status, and the session is idle then."""
    done = home.cli("wait", sid, "--goal")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{status}\n", "")
    assert ok(home.cli("status", sid)) == "idle\n"


def let_turn_end(home: Home) -> None:
    """Let the turn end that the model holds."""
    (home.workspace() / "go").touch()


def said(home: Home, sid: str) -> list[str]:
    """Return all of the agent's texts."""
    return [turn["text"] for turn in json.loads(ok(home.cli("logs", sid, "--json"))) if turn["role"] == "assistant"]


def interrupt_elsewhere(home: Home, sid: str) -> None:
    """End the running turn as Escape at a terminal does, which leaves the goal active."""
    with daemon(home).connect_if_running() as client:
        assert client is not None
        thread = Thread(client, session_of(home, sid))
        turn_id = thread.running(Deadline(5))
        assert turn_id is not None
        client.call("turn/interrupt", protocol.turn_interrupt(thread.id, turn_id))


def make_it_ask(home: Home, sid: str) -> None:
    """Make a session ask before it runs a command."""
    with daemon(home).connect_if_running() as client:
        assert client is not None
        thread_id = session_of(home, sid).internal_id
        client.call("turn/start", {**protocol.turn_start(thread_id, "say first"), **UNTRUSTED})
        deadline = Deadline(30)
        while (event := client.next_event(deadline)) is not None and not turns.is_turn_start(event, thread_id, ""):
            pass
    await_idle(home, sid)


def test_a_goal_is_worked_on_turn_after_turn_until_it_is_complete(home: Home, sid: str) -> None:
    """A session works on its goal at once, and a wait for the goal ends with the goal's last turn."""
    objective = f"work 2 turns, then {HOLD}"
    shown = ok(home.cli("goal", sid, objective))
    assert shown == f"objective: {objective}\nstatus: active\ntokens used: 0\ntoken budget: none\ntime used: 0s\n"
    assert ok(home.cli("status", sid)) == "working\n"
    let_turn_end(home)
    ends(home, sid, "complete")
    assert said(home, sid) == ["goal turn 1", "ran: ", "goal complete"]
    found = goal(home, sid)
    assert found["tokensUsed"] > 0
    assert ok(home.cli("goal", sid)) == (
        f"objective: {objective}\nstatus: complete\ntokens used: {found['tokensUsed']}\n"
        f"token budget: none\ntime used: {found['timeUsedSeconds']}s\n"
    )
    assert ok(home.cli("wait", sid)) == "completed\n"
    ends(home, sid, "complete")


def test_a_session_is_not_idle_between_two_turns_of_its_goal(home: Home, sid: str) -> None:
    """`status` and `list` print `working` until the last turn of a goal has ended."""
    given(home, sid, "work 20 turns")
    session = session_of(home, sid)
    with daemon(home).connect_if_running() as client, daemon(home).connect_if_running() as reader:
        assert client is not None
        assert reader is not None
        thread = Thread(reader, session)

        def is_active() -> bool:
            found = goals.read(thread, session)
            return found is not None and found.active

        for detail in itertools.cycle((False, True)):
            was_active = is_active()
            found = states.states(client, [session], detail=detail)[sid]
            assert isinstance(found, SessionState)
            if found.state == "idle" and not was_active:
                break
            assert found.state == "working" or not is_active()
    assert said(home, sid)[-1] == "goal complete"


def test_a_goal_whose_turn_was_interrupted_elsewhere_leaves_the_session_idle(
    home: Home, sid: str, model: ScriptedModel
) -> None:
    """`status` prints `idle` when nothing works on an active goal."""
    begin_stuck(home, sid, model)
    interrupt_elsewhere(home, sid)
    assert ok(home.cli("status", sid)) == "idle\n"
    assert goal(home, sid)["status"] == "active"


def test_a_goal_in_json_has_the_names_of_codex(home: Home, sid: str) -> None:
    """The JSON output has Codex's names, after the goal was set and when it is shown."""
    first = json.loads(ok(home.cli("goal", sid, "after 0.5 work 1 turn", "--budget", "9000000", "--json")))
    assert first == {
        "threadId": session_of(home, sid).internal_id,
        "objective": "after 0.5 work 1 turn",
        "status": "active",
        "tokenBudget": 9000000,
        "tokensUsed": 0,
        "timeUsedSeconds": 0,
        "createdAt": first["createdAt"],
        "updatedAt": first["updatedAt"],
    }
    ends(home, sid, "complete")
    assert goal(home, sid).keys() == first.keys()


def test_there_is_nothing_to_do_without_a_goal(home: Home, sid: str) -> None:
    """Without a goal, showing and clearing work; changing and waiting are errors."""
    for _ in range(2):
        assert ok(home.cli("goal", sid)) == f"No goal set for {sid}\n"
        assert ok(home.cli("goal", sid, "--json")) == "null\n"
        assert ok(home.cli("goal", sid, "--clear")) == f"No goal to clear for {sid}\n"
        assert json.loads(ok(home.cli("goal", sid, "--clear", "--json"))) == {"cleared": False}
        for option in (["--pause"], ["--resume"], ["--budget", "5000"]):
            done = home.cli("goal", sid, *option)
            assert (done.returncode, done.stdout, done.stderr) == (1, "", f"No goal set for {sid}\n")
        done = home.cli("wait", sid, "--goal")
        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"No goal set for {sid}\n")
        crash(home)


def test_a_wait_ends_with_the_turns_of_a_goal(home: Home, sid: str) -> None:
    """A wait does not end between two turns of a goal, however short they are."""
    for count in (1, 15, 15):
        given(home, sid, f"work {count} turns")
        assert ok(home.cli("wait", sid)) == "completed\n"
        assert goal(home, sid)["status"] == "complete"
        assert last_message(home, sid) == "goal complete"
        assert ok(home.cli("status", sid)) == "idle\n"


def test_a_message_into_a_goal_gets_its_reply_and_the_goal_goes_on(home: Home, sid: str) -> None:
    """An ask ends with its own turn, a wait with the goal's last one."""
    given(home, sid, "after 1.5 work 99 turns")
    assert ok(home.cli("ask", sid, "say hello")) == "hello\n"
    assert goal(home, sid)["status"] == "active"
    assert receipt(home, sid, "say more")["state"] in ("steered", "submitted")
    assert ok(home.cli("wait", sid, "--next-turn")) == "completed\n"
    given(home, sid, "work 1 turn")
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert goal(home, sid)["status"] == "complete"
    assert ok(home.cli("status", sid)) == "idle\n"
    assert {"hello", "more"} <= set(said(home, sid))


def test_a_goal_waits_for_the_turn_that_runs(home: Home, sid: str) -> None:
    """Work on a goal that is set during a turn begins after it."""
    ok(home.cli("send", sid, "after 2 say ordinary"))
    given(home, sid, "work 2 turns")
    ends(home, sid, "complete")
    assert said(home, sid) == ["ordinary", "goal turn 1", "goal complete"]


def test_a_wait_that_runs_out_of_time_changes_nothing(home: Home, sid: str, model: ScriptedModel) -> None:
    """A wait that times out exits 124 with one line that says what it waited for."""
    begin_stuck(home, sid, model)
    for option, what in (("--goal", "goal on "), ("--next-turn", "the next turn on "), ("--interval=1", "")):
        done = home.cli("wait", sid, option, "--timeout", "1")
        assert (done.returncode, done.stdout, done.stderr) == (124, "", f"Timed out waiting for {what}{sid}\n")
    assert goal(home, sid)["status"] == "active"
    assert ok(home.cli("status", sid)) == "working\n"


def test_a_paused_goal_rests_until_it_is_resumed(home: Home, sid: str) -> None:
    """After a pause the running turn ends by itself, and messages do not resume the goal."""
    given(home, sid, HELD)
    assert "\nstatus: paused\n" in ok(home.cli("goal", sid, "--pause"))
    assert ok(home.cli("status", sid)) == "working\n"
    let_turn_end(home)
    ends(home, sid, "paused")
    assert said(home, sid) == ["ran: "]
    assert ok(home.cli("ask", sid, "say awake")) == "awake\n"
    assert ok(home.cli("wait", sid)) == "completed\n"
    ends(home, sid, "paused")
    assert said(home, sid) == ["ran: ", "awake"]
    given(home, sid, "--resume")
    ends(home, sid, "complete")
    assert last_message(home, sid) == "goal complete"


def test_a_cleared_goal_ends_the_wait_for_it(home: Home, sid: str) -> None:
    """A wait for a goal that is cleared ends with the running turn."""
    given(home, sid, HELD)
    wait = begin_wait(home, sid, "--goal")
    assert ok(home.cli("goal", sid, "--clear")) == f"Cleared goal for {sid}\n"
    let_turn_end(home)
    assert wait.communicate(timeout=30) == ("cleared\n", "")
    assert wait.returncode == 0
    assert said(home, sid) == ["ran: "]
    assert ok(home.cli("goal", sid)) == f"No goal set for {sid}\n"
    assert ok(home.cli("wait", sid)) == "completed\n"


def test_a_blocked_goal_can_be_resumed(home: Home, sid: str) -> None:
    """An agent that gives up has not failed, and can be told to continue."""
    given(home, sid, "work 2 turns, then give up")
    ends(home, sid, "blocked")
    assert last_message(home, sid) == "goal given up"
    assert ok(home.cli("wait", sid)) == "completed\n"
    given(home, sid, "--resume")
    ends(home, sid, "complete")


def test_a_goal_whose_turn_fails_is_blocked(home: Home, sid: str, model: ScriptedModel) -> None:
    """The wait for the goal reports the reason with the status; any other wait fails with the turn."""
    given(home, sid, "when told work 2 turns, then fail 400")
    wait = begin_wait(home, sid, "--goal")
    model.allow("told")
    output, error = wait.communicate(timeout=30)
    assert (wait.returncode, output) == (0, "blocked\n")
    assert error == f"Warning: the last turn of {sid} failed: {FAILURE}\n"
    for _ in range(2):
        assert_turn_failed(home, sid, FAILURE)
    given(home, sid, "--resume")
    ends(home, sid, "complete")
    assert ok(home.cli("wait", sid)) == "completed\n"


def test_a_goal_ends_with_the_users_plan(home: Home, sid: str) -> None:
    """A used-up plan ends the goal with the status usageLimited."""
    given(home, sid, "after 1 work 2 turns, then fail 429")
    done = home.cli("wait", sid, "--goal")
    assert (done.returncode, done.stdout) == (0, "usageLimited\n")
    assert done.stderr.startswith(f"Warning: the last turn of {sid} failed: usage_limit: ")


def test_a_goal_ends_with_its_budget(home: Home, sid: str) -> None:
    """A goal continues when its used-up budget is raised; resuming it without says that it does not."""
    given(home, sid, "after 0.3 work 99 turns", "--budget", "5000")
    ends(home, sid, "budgetLimited")
    assert ok(home.cli("wait", sid)) == "completed\n"
    done = home.cli("goal", sid, "--resume")
    assert done.returncode == 0
    assert "\nstatus: budgetLimited\n" in done.stdout
    assert done.stderr == (
        f"Warning: the goal of {sid} stays budgetLimited; if it has used its budget, raise that:"
        f" dev-sessions goal {sid} --resume --budget TOKENS\n"
    )
    used = goal(home, sid)["tokensUsed"]
    assert used >= 5000
    assert "\nstatus: budgetLimited\n" in ok(home.cli("goal", sid, "--budget", str(used + 1)))
    given(home, sid, "--resume", "--budget", str(used + 1))
    ends(home, sid, "budgetLimited")
    assert goal(home, sid)["tokensUsed"] > used


def test_an_objective_is_always_begun(home: Home, sid: str) -> None:
    """An objective replaces that of a running goal; after a finished one it is a new goal with its own budget."""
    given(home, sid, "after 0.3 work 99 turns", "--budget", "5000")
    ends(home, sid, "budgetLimited")
    shown = ok(home.cli("goal", sid, "after 0.3 work 2 turns"))
    assert shown == (
        "objective: after 0.3 work 2 turns\nstatus: active\ntokens used: 0\ntoken budget: none\ntime used: 0s\n"
    )
    ends(home, sid, "complete")
    # Its first turn does not end: the turns that a goal has had count for the script of the objective in its place.
    given(home, sid, "when never work 99 turns", "--budget", "8000000")
    given(home, sid, STUCK)
    assert goal(home, sid)["tokenBudget"] == 8000000
    ok(home.cli("interrupt", sid))
    ends(home, sid, "paused")
    given(home, sid, "after 0.3 work 99 turns", "--budget", "1")
    ends(home, sid, "budgetLimited")


def test_an_objective_arrives_as_it_is(home: Home, sid: str, model: ScriptedModel) -> None:
    """An objective arrives unchanged as arguments, with a dash, in several lines, from a file and from a pipe, up to
    Codex's limit."""
    given(home, sid, "fix", "the", "tests")
    assert goal(home, sid)["objective"] == "fix the tests"
    text = "- first point\n\n- \"second\" point; $(touch x) 'ü' 🙂\n  --clear"
    given(home, sid, "--", text)
    assert goal(home, sid)["objective"] == text
    assert "objective: - first point\n\n- " in ok(home.cli("goal", sid))
    long = "-" + "0123456789" * 399 + "end of it"
    assert len(long) == 4000
    (home.path / "objective").write_text(f"\n{long}\n")
    given(home, sid, "--file", str(home.path / "objective"))
    assert goal(home, sid)["objective"] == long
    assert "\nstatus: active\n" in ok(home.cli("goal", sid, "--file", "-", stdin=text))
    ends(home, sid, "complete")
    assert goal(home, sid)["objective"] == text
    assert "second" in json.dumps(model.turns()[-1].body["input"])
    assert_refused(
        home.cli("goal", sid, "--file", "-", stdin=long + "!"),
        f"The objective for {sid} has 4001 characters and Codex takes 4000; write it to a file and name that file",
    )
    assert (goal(home, sid)["objective"], goal(home, sid)["status"]) == (text, "complete")


def test_the_next_turn_may_be_anyones(home: Home, sid: str) -> None:
    """A wait for the next turn takes the running turn or the next one to begin, but not one that has ended."""
    ok(home.cli("ask", sid, "say one"))
    wait = begin_wait(home, sid, "--next-turn")
    ok(home.cli("send", sid, "after 1 say two"))
    assert wait.communicate(timeout=30) == ("completed\n", "")
    ok(home.cli("send", sid, HOLD))
    wait = begin_wait(home, sid, "--next-turn")
    let_turn_end(home)
    assert wait.communicate(timeout=30) == ("completed\n", "")
    done = home.cli("wait", sid, "--next-turn", "--timeout", "1")
    assert (done.returncode, done.stderr) == (124, f"Timed out waiting for the next turn on {sid}\n")


def test_the_next_turn_may_be_the_first(home: Home, sid: str) -> None:
    """The next turn is found even if the app-server ends and is restarted in the meantime."""
    wait = begin_wait(home, sid, "--next-turn")
    ok(home.cli("send", sid, "after 1 say one"))
    assert wait.communicate(timeout=30) == ("completed\n", "")
    wait = begin_wait(home, sid, "--next-turn")
    crash(home)
    assert_still_running(wait, 1.0)
    ok(home.cli("send", sid, "after 1 say two"))
    assert wait.communicate(timeout=30) == ("completed\n", "")


def test_the_next_turn_may_be_the_first_after_a_crash(home: Home, sid: str) -> None:
    """An unused session is waited for like any other that is idle."""
    crash(home)
    done = home.cli("wait", sid, "--next-turn", "--timeout", "1")
    assert (done.returncode, done.stderr) == (124, f"Timed out waiting for the next turn on {sid}\n")
    wait = begin_wait(home, sid, "--next-turn")
    ok(home.cli("send", sid, "after 1 say one"))
    assert wait.communicate(timeout=30) == ("completed\n", "")


def test_a_next_turn_that_does_not_end_well_is_reported(home: Home, sid: str) -> None:
    """A wait for the next turn reports that it failed, was interrupted, or ended with the app-server."""
    ok(home.cli("ask", sid, "say one"))
    ok(home.cli("send", sid, HOLD))
    wait = begin_wait(home, sid, "--next-turn")
    ok(home.cli("send", sid, "fail 400"))
    let_turn_end(home)
    assert wait.communicate(timeout=30) == ("", f"The turn of {sid} failed: {FAILURE}; {next_step(sid)}\n")
    assert wait.returncode == 1
    for end in (lambda: ok(home.cli("interrupt", sid)), lambda: crash(home)):
        ok(home.cli("send", sid, "hang"))
        wait = begin_wait(home, sid, "--next-turn")
        end()
        output, error = wait.communicate(timeout=30)
        assert (wait.returncode, output) == (1, "")
        assert error.startswith(f"The turn of {sid} was interrupted")


def test_a_next_turn_that_asks_is_reported(home: Home, sid: str) -> None:
    """A wait for the next turn exits with 3 if the session asks something, like any other wait."""
    make_it_ask(home, sid)
    wait = begin_wait(home, sid, "--next-turn")
    ok(home.cli("send", sid, "run touch allowed"))
    assert wait.communicate(timeout=30) == ("waiting_for_input\n", "")
    assert wait.returncode == 3
    ok(home.cli("respond", sid, "--allow"))
    assert ok(home.cli("wait", sid)) == "completed\n"


def test_the_turns_of_a_goal_can_be_followed_one_by_one(home: Home, sid: str) -> None:
    """A wait for the next turn ends with that turn, not with the goal."""
    given(home, sid, "after 1.5 work 99 turns")
    for number in (1, 2):
        assert ok(home.cli("wait", sid, "--next-turn")) == "completed\n"
        assert len(said(home, sid)) >= number
        assert goal(home, sid)["status"] == "active"
    given(home, sid, "work 1 turn")
    ends(home, sid, "complete")


def test_a_goal_that_asks_is_reported_and_goes_on_with_the_answer(home: Home, sid: str) -> None:
    """Every wait exits with 3 until the goal's question is answered."""
    make_it_ask(home, sid)
    given(home, sid, "work 1 turn, then run touch allowed")
    for options in (["--goal"], [], ["--next-turn"]):
        done = home.cli("wait", sid, *options)
        assert (done.returncode, done.stdout, done.stderr) == (3, "waiting_for_input\n", "")
    assert ok(home.cli("respond", sid, "--allow")) == f"Answered {sid}\n"
    ends(home, sid, "complete")
    assert (home.workspace() / "allowed").exists()


def test_an_interrupted_goal_is_paused(home: Home, sid: str, model: ScriptedModel) -> None:
    """After an interrupt a goal does not continue by itself, not even with the next message, until it is resumed."""
    begin_stuck(home, sid, model)
    wait = begin_wait(home, sid)
    assert ok(home.cli("interrupt", sid)) == f"Interrupted {sid}\n"
    output, error = wait.communicate(timeout=30)
    assert (wait.returncode, output) == (1, "")
    assert error.startswith(f"The turn of {sid} was interrupted")
    ends(home, sid, "paused")
    assert_turn_interrupted(home, sid)
    done = home.cli("interrupt", sid)
    assert (done.returncode, done.stderr) == (1, f"{sid} is idle; there is nothing to interrupt\n")
    assert ok(home.cli("ask", sid, "say hello")) == "hello\n"
    ends(home, sid, "paused")
    given(home, sid, "--resume")
    ends(home, sid, "complete")


def test_a_goal_is_interrupted_between_two_turns_too(home: Home, sid: str) -> None:
    """A goal that is interrupted at any moment, also between two turns, stops."""
    for _ in range(5):
        given(home, sid, "after 0.02 work 9999 turns")
        assert ok(home.cli("interrupt", sid)) == f"Interrupted {sid}\n"
        ends(home, sid, "paused")


def test_a_goal_that_nobody_works_on_is_reported(home: Home, sid: str, model: ScriptedModel) -> None:
    """After Escape at a terminal the goal is active, but no wait hangs, and it can be resumed."""
    begin_stuck(home, sid, model)
    interrupt_elsewhere(home, sid)
    waits = [home.popen("dev-sessions", "wait", sid, *options) for options in (["--goal"], [])]
    words = [
        f"The goal of {sid} is active, but no turn runs for it; continue it with: dev-sessions goal {sid} --resume",
        f"The turn of {sid} was interrupted",
    ]
    for wait, expected in zip(waits, words, strict=True):
        output, error = wait.communicate(timeout=60)
        assert_refused(CompletedProcess((), wait.returncode, output, error), expected)
    given(home, sid, "--resume")
    ends(home, sid, "complete")


def test_a_crash_during_a_goal_is_reported_and_reading_does_not_restart_it(
    home: Home, sid: str, model: ScriptedModel
) -> None:
    """After a crash every wait ends, reading commands do not restart the goal, and --resume does."""
    begin_stuck(home, sid, model)
    wait = begin_wait(home, sid, "--goal")
    crash(home)
    abandoned = (
        f"The goal of {sid} is active, but the app-server ended in one of its turns; continue it with:"
        f" dev-sessions goal {sid} --resume\n"
    )
    assert wait.communicate(timeout=30) == ("", abandoned)
    assert wait.returncode == 1
    asked = len(model.turns())
    assert ok(home.cli("status", sid)) == "idle\n"
    done = home.cli("wait", sid, "--goal")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", abandoned)
    assert_turn_interrupted(home, sid, "died: the app-server ended while the turn ran")
    assert goal(home, sid)["status"] == "active"
    for command in (["last-message", sid], ["logs", sid], ["list"], ["goal", sid, "--budget", "9000000"]):
        ok(home.cli(*command))
    assert "\nstatus: paused\n" in ok(home.cli("goal", sid, "--pause"))
    assert ok(home.cli("wait", sid, "--goal")) == "paused\n"
    assert ok(home.cli("status", sid)) == "idle\n"
    assert len(model.turns()) == asked
    given(home, sid, "--resume")
    ends(home, sid, "complete")


def test_an_interrupt_after_a_crash_keeps_a_goal_from_coming_back(home: Home, sid: str, model: ScriptedModel) -> None:
    """After a crash and an interrupt the next message does not make the goal continue."""
    begin_stuck(home, sid, model)
    crash(home)
    assert ok(home.cli("interrupt", sid)) == f"Interrupted {sid}\n"
    assert ok(home.cli("ask", sid, "say hello")) == "hello\n"
    ends(home, sid, "paused")


def test_a_message_after_a_crash_brings_an_active_goal_back(home: Home, sid: str, model: ScriptedModel) -> None:
    """After a crash the next message makes the goal continue, and gets its reply."""
    begin_stuck(home, sid, model)
    crash(home)
    assert ok(home.cli("ask", sid, "say hello")) == "hello\n"
    ends(home, sid, "complete")


def test_a_goal_can_be_the_first_thing_after_a_crash(home: Home, sid: str) -> None:
    """An unused session whose app-server crashed stays listed and takes a goal."""
    crash(home)
    assert sid in ok(home.cli("list"))
    given(home, sid, "after 0.3 work 2 turns")
    ends(home, sid, "complete")
    crash(home)
    given(home, sid, "after 0.3 work 1 turn")
    ends(home, sid, "complete")
    assert said(home, sid) == ["goal turn 1", "goal complete", "goal complete"]


def test_a_session_with_a_goal_alone_is_kept(home: Home, sid: str, model: ScriptedModel) -> None:
    """A session with only a goal is kept like one with a message, and can be killed while it works."""
    other = create(home, "codex")
    ok(home.cli("ask", other, "say hello"))
    begin_stuck(home, sid, model)
    crash(home)
    assert sid in ok(home.cli("list"))
    given(home, sid, "--resume")
    ok(home.cli("kill", sid))
    assert sid not in ok(home.cli("list"))
    assert ok(home.cli("ask", other, "say hello")) == "hello\n"


def test_goals_that_are_switched_off_are_named(home: Home, sid: str) -> None:
    """If goals are disabled in Codex's configuration, the error says so and everything else works."""
    ok(home.cli("kill", sid))
    config = home.path / ".codex" / "config.toml"
    config.write_text(config.read_text().replace("[features]\n", "[features]\ngoals = false\n"))
    sid = create(home, "codex")
    for command in (["goal", sid], ["goal", sid, "work"], ["goal", sid, "--clear"], ["wait", sid, "--goal"]):
        assert_refused(home.cli(*command), f"Goals are disabled in the Codex of {sid}: set `goals = true`")
    assert ok(home.cli("ask", sid, "say hello")) == "hello\n"
    assert ok(home.cli("wait", sid)) == "completed\n"
