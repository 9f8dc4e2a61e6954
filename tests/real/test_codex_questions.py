"""Answer what Codex asks in the middle of a turn.

Our sessions ask for no approval, and nothing else unless they are in a mode of Codex that is chosen elsewhere. So here
another client, such as a person's terminal, has changed the thread's settings.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from dev_sessions.codex import protocol, turns
from dev_sessions.system.deadline import Deadline
from tests.support.cli import assert_refused, create, ok, state_of
from tests.support.codex import (
    UNTRUSTED,
    assert_turn_interrupted,
    await_idle,
    crash,
    daemon,
    last_message,
    receipt,
    session_of,
)
from tests.support.home import Home
from tests.support.model import ScriptedModel

pytestmark = pytest.mark.forked

#: In this mode Codex's model may ask its user (measured: 0.150 to 0.171).
PLAN = {
    "collaborationMode": {
        "mode": "plan",
        "settings": {"model": "fake", "reasoning_effort": None, "developer_instructions": None},
    }
}


@pytest.fixture
def sid(home: Home) -> str:
    """Create a session of Codex."""
    return create(home, "codex")


def begin(home: Home, sid: str, text: str, settings: dict[str, Any]) -> None:
    """Send a message whose turn asks something, with another client that has changed the thread's approval policy."""
    with daemon(home).connect_if_running() as client:
        assert client is not None
        thread_id = session_of(home, sid).internal_id
        client.call("turn/start", {**protocol.turn_start(thread_id, "say first"), **settings})
        deadline = Deadline(30)
        while (event := client.next_event(deadline)) is not None and not turns.is_turn_start(event, thread_id, ""):
            pass
        await_idle(home, sid)
        client.call("thread/resume", {"threadId": thread_id})
        ok(home.cli("send", sid, text))
        done = home.cli("wait", sid)
        assert (done.returncode, done.stdout, done.stderr) == (3, "waiting_for_input\n", "")


@pytest.mark.parametrize(
    ("answer", "given"), [("2", "No"), ("yes", "Yes"), ("neither of them", "neither of them"), ("- 2", "- 2")]
)
def test_a_question_is_shown_and_answered(home: Home, sid: str, answer: str, given: str) -> None:
    """An option's number, its label or free text answers a question, and the same turn continues."""
    begin(home, sid, "ask Proceed? | Yes | No", PLAN)
    assert state_of(home, sid) == {"state": "waiting_for_input", "waitingFor": "input needed"}
    assert last_message(home, sid) == "Proceed?\n1. Yes - The option Yes\n2. No - The option No"
    assert ok(home.cli("respond", sid, "--", answer)) == f"Answered {sid}\n"
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert last_message(home, sid) == f"answered: {given}"
    assert json.loads(ok(home.cli("last-message", sid, "-n", "5", "--json"))) == ["first", f"answered: {given}"]


def test_a_question_stands_behind_what_was_said_before(home: Home, sid: str) -> None:
    """The question counts as the last message."""
    begin(home, sid, "ask Proceed? | Yes | No", PLAN)
    blocks = json.loads(ok(home.cli("last-message", sid, "-n", "2", "--json")))
    assert blocks[0] == "first"
    assert blocks[1].startswith("Proceed?")
    ok(home.cli("respond", sid, "1"))
    assert ok(home.cli("wait", sid)) == "completed\n"


def test_a_message_to_a_session_that_asks_is_the_answer(home: Home, sid: str) -> None:
    """A message to a session that asks is the answer, the receipt says to which question, and no turn begins."""
    begin(home, sid, "ask Which colour? | red | blue", PLAN)
    answered = receipt(home, sid, "2 of each")
    assert (answered["state"], answered["question"].splitlines()[0]) == ("answered", "Which colour?")
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert last_message(home, sid) == "answered: 2 of each"
    assert ok(home.cli("logs", sid)).count("[HUMAN]") == 2


def test_a_question_within_ask_is_reported(home: Home, sid: str) -> None:
    """An ask that meets a question exits with 3; after the answer, a wait leads to the reply."""
    with daemon(home).connect_if_running() as client:
        assert client is not None
        thread_id = session_of(home, sid).internal_id
        client.call("turn/start", {**protocol.turn_start(thread_id, "say from now on"), **UNTRUSTED})
    assert home.cli("wait", sid).stdout == "completed\n"
    done = home.cli("ask", sid, "run touch allowed")
    assert (done.returncode, done.stdout, done.stderr) == (3, "waiting_for_input\n", "")
    ok(home.cli("respond", sid, "--allow"))
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert (home.workspace() / "allowed").exists()


def test_several_questions_take_an_answer_each(home: Home, sid: str, model: ScriptedModel) -> None:
    """Several questions take exactly one answer each, and no message, which could answer any of them."""
    begin(home, sid, "ask Size? | big | small ;; Colour? | red | blue", PLAN)
    assert last_message(home, sid) == (
        "Size?\n1. big - The option big\n2. small - The option small\n\n"
        "Colour?\n1. red - The option red\n2. blue - The option blue"
    )
    assert_refused(home.cli("send", sid, "big"), f"; answer it: dev-sessions respond {sid} ANSWER ANSWER")
    assert_refused(
        home.cli("respond", sid, "big"), f"{sid} asks 2 question(s); give one answer to each: Size?; Colour?"
    )
    assert_refused(home.cli("respond", sid, "1", "2", "3"), f"{sid} asks 2 question(s)")
    assert ok(home.cli("respond", sid, "2", "green")) == f"Answered {sid}\n"
    assert ok(home.cli("wait", sid)) == "completed\n"
    output = json.loads(model.turns()[-1].body["input"][-1]["output"])
    assert output == {"answers": {"q1": {"answers": ["small"]}, "q2": {"answers": ["green"]}}}


def test_what_is_no_answer_is_refused_and_changes_nothing(home: Home, sid: str) -> None:
    """A number out of range, a decision on a question, and an answer without a question are refused."""
    assert_refused(home.cli("respond", sid, "1"), f"nothing was typed: {sid} asks nothing")
    begin(home, sid, "ask Proceed? | Yes | No", PLAN)
    assert_refused(home.cli("respond", sid, "3"), "There is no option 3: 'Proceed?' has 2")
    assert_refused(home.cli("respond", sid, "--allow"), f"{sid} asks a question, not for a permission: Proceed?")
    assert ok(home.cli("respond", sid, "1")) == f"Answered {sid}\n"
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert_refused(home.cli("respond", sid, "1"), f"nothing was typed: {sid} asks nothing")


def test_a_command_is_allowed_or_denied(home: Home, sid: str) -> None:
    """An allowed command runs; a denied one does not, and the agent continues."""
    begin(home, sid, "run touch allowed; echo did", UNTRUSTED)
    assert state_of(home, sid) == {"state": "waiting_for_input", "waitingFor": "permission prompt"}
    shown = last_message(home, sid)
    assert "permission to run " in shown
    assert "touch allowed; echo did" in shown
    assert "\n1. accept - yes" in shown
    assert_refused(home.cli("send", sid, "yes"), f"; decide: dev-sessions respond {sid} --allow, or --deny")
    assert_refused(home.cli("respond", sid, "perhaps"), "'perhaps' is none of the options")
    assert ok(home.cli("respond", sid, "--allow")) == f"Answered {sid}\n"
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert last_message(home, sid) == "ran: did"
    assert (home.workspace() / "allowed").exists()
    begin(home, sid, "run touch denied; echo did", UNTRUSTED)
    assert ok(home.cli("respond", sid, "--deny")) == f"Answered {sid}\n"
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert "rejected by user" in last_message(home, sid)
    assert not (home.workspace() / "denied").exists()


def test_a_permission_takes_each_of_its_options(home: Home, sid: str) -> None:
    """By number or name: run once, run all such commands, or cancel the turn."""
    begin(home, sid, "run touch first", UNTRUSTED)
    assert ok(home.cli("respond", sid, "1")) == f"Answered {sid}\n"
    assert ok(home.cli("wait", sid)) == "completed\n"
    begin(home, sid, "run touch cancelled", UNTRUSTED)
    assert ok(home.cli("respond", sid, "cancel")) == f"Answered {sid}\n"
    assert_turn_interrupted(home, sid)
    assert not (home.workspace() / "cancelled").exists()
    begin(home, sid, "run touch second", UNTRUSTED)
    assert ok(home.cli("respond", sid, "acceptWithExecpolicyAmendment")) == f"Answered {sid}\n"
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert ok(home.cli("ask", sid, "run touch second")) == "ran: \n"


def test_a_change_of_files_is_allowed_or_denied(home: Home, sid: str) -> None:
    """An allowed change is made; a denied one is not, and the agent continues."""
    patch = "*** Begin Patch\n*** Add File: {name}\n+hello\n*** End Patch"
    for name, decision in (("denied", "--deny"), ("allowed", "--allow")):
        begin(home, sid, f"run apply_patch <<'EOF'\n{patch.format(name=name)}\nEOF", UNTRUSTED)
        assert last_message(home, sid).startswith(
            "Codex asks permission to change files\n1. accept - yes\n2. decline - no"
        )
        assert ok(home.cli("respond", sid, decision)) == f"Answered {sid}\n"
        assert ok(home.cli("wait", sid)) == "completed\n"
        assert (home.workspace() / name).exists() is (name == "allowed")


def test_a_session_that_asks_is_interrupted(home: Home, sid: str) -> None:
    """The question ends with its turn, and the session can be used."""
    begin(home, sid, "ask Proceed? | Yes | No", PLAN)
    assert ok(home.cli("interrupt", sid)) == f"Interrupted {sid}\n"
    assert ok(home.cli("status", sid)) == "idle\n"
    assert_turn_interrupted(home, sid)
    assert home.cli("last-message", sid).stdout == "first\n"
    assert ok(home.cli("ask", sid, "say more")) == "more\n"


def test_a_question_dies_with_the_app_server(home: Home, sid: str) -> None:
    """The next wait reports that the turn was interrupted."""
    begin(home, sid, "ask Proceed? | Yes | No", PLAN)
    crash(home)
    assert ok(home.cli("status", sid)) == "idle\n"
    assert_refused(home.cli("respond", sid, "1"), f"nothing was typed: {sid} asks nothing")
    assert_turn_interrupted(home, sid, "died: the app-server ended while the turn ran")
    assert ok(home.cli("ask", sid, "say more")) == "more\n"
