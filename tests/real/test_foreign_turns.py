"""Turns that nobody here asked for: messages of other sessions, scheduled jobs, background commands, `codex queue`."""

from __future__ import annotations

import json
import re

import pytest

from dev_sessions.system.deadline import Deadline, poll
from tests.support.claude import add_settings, end_what_is_left, press, transcript
from tests.support.cli import create, ok, records
from tests.support.codex import daemon
from tests.support.home import Home
from tests.support.model import ScriptedModel

pytestmark = pytest.mark.forked


@pytest.fixture
def sids(shared_home: Home) -> tuple[str, str]:
    """Provide two sessions of Claude: ours, and the one that sends messages to it."""
    if not records(shared_home):
        create(shared_home, "claude", "--id", "ours")
        create(shared_home, "claude", "--id", "other")
    for sid in ("ours", "other"):
        end_what_is_left(shared_home, sid)
    return "ours", "other"


def tell(home: Home, other: str, script: str) -> None:
    """Have a session send a message to the only other one, and see it arrive there."""
    before = transcript(home, "ours").count('"enqueue"')
    listed = ok(home.cli("ask", other, "call ListAgents {}"))
    name = re.search(r"\n  (\S.*?) \[\w+\] ", listed)
    assert name is not None, listed
    message = {"to": name[1], "message": script, "summary": "a message"}
    assert '"success":true' in ok(home.cli("ask", other, f"call SendMessage {json.dumps(message)}"))
    assert poll(lambda: transcript(home, "ours").count('"enqueue"') > before or None, Deadline(30), 0.05)


def takes_up(model: ScriptedModel, script: str) -> bool:
    """Return whether a turn for this message has begun; the sender's own request has it as an argument of its call."""
    texts = [request.user_text for request in model.turns()]
    return any(script in text and "SendMessage" not in text for text in texts)


def has_said(home: Home, sid: str, text: str) -> None:
    """Wait until a text of the assistant is in the transcript."""
    assert poll(lambda: f'"text":"{text}"' in transcript(home, sid) or None, Deadline(90), 0.05)


def last(home: Home, sid: str, count: int = 1) -> tuple[list[str], str]:
    """Return the last messages, and the warnings."""
    done = home.cli("last-message", sid, "--json", "-n", str(count))
    assert done.returncode == 0
    return json.loads(done.stdout), done.stderr


def causes(home: Home, sid: str) -> list[tuple[str, str]]:
    """Return the logged prompts that nobody typed, with their causes."""
    turns = json.loads(ok(home.cli("logs", sid, "--json")))
    return [(turn["cause"], turn["text"]) for turn in turns if "cause" in turn]


def test_another_sessions_message_gets_a_turn_behind_ours(
    shared_home: Home, sids: tuple[str, str], model: ScriptedModel
) -> None:
    """ask, wait and last-message are about our own message while another session's turn runs, and after it was
    interrupted."""
    home, (sid, other) = shared_home, sids
    ok(home.cli("ask", sid, "say ready"))
    ask = home.popen("dev-sessions", "ask", sid, "when told say mine")
    assert poll(lambda: "when told" in transcript(home, sid) or None, Deadline(30), 0.05)
    tell(home, other, "when never say nothing")
    model.allow("told")
    assert ask.communicate(timeout=60) == ("mine\n", "")
    assert poll(lambda: takes_up(model, "when never say nothing") or None, Deadline(30))
    # Claude reports that it works a moment after the turn has begun.
    assert poll(lambda: ok(home.cli("status", sid)) == "working\n" or None, Deadline(30), 0.05)
    assert ok(home.cli("wait", sid, "--timeout", "30")) == "completed\n"
    assert last(home, sid) == (["mine"], "")
    press(home, sid, "Escape")
    assert poll(lambda: "[Request interrupted" in transcript(home, sid) or None, Deadline(30), 0.05)
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert last(home, sid) == (["mine"], "")


def test_another_sessions_message_arrives_during_our_send(home: Home) -> None:
    """A message of another session that comes while ours is being delivered changes neither its receipt nor reply."""
    begun, go = home.path / "begun", home.path / "go"
    held = f"if grep -q 'say mine'; then touch {begun}; until test -e {go}; do sleep 0.05; done; fi"
    add_settings(home, hooks={"UserPromptSubmit": [{"hooks": [{"type": "command", "command": held}]}]})
    sid, other = create(home, "claude", "--id", "ours"), create(home, "claude", "--id", "other")
    ok(home.cli("ask", sid, "say ready"))
    send = home.popen("dev-sessions", "send", sid, "say mine", "--json")
    assert poll(lambda: begun.exists() or None, Deadline(30), 0.05)
    tell(home, other, "say theirs")
    assert send.poll() is None, "the hook still runs"
    go.touch()
    output, errors = send.communicate(timeout=60)
    assert (json.loads(output)["state"], errors) == ("submitted", "")
    assert ok(home.cli("wait", sid)) == "completed\n"
    has_said(home, sid, "theirs")
    assert last(home, sid)[0] == ["mine"]
    assert [text for _, text in causes(home, sid)] == ["say theirs"]


def test_the_last_message_answers_us(shared_home: Home, sids: tuple[str, str]) -> None:
    """A reply to another session's message is left out of the last messages with a warning, and is in the logs."""
    home, (sid, other) = shared_home, sids
    assert ok(home.cli("ask", sid, "say ours")) == "ours\n"
    tell(home, other, "say theirs")
    has_said(home, sid, "theirs")
    assert ok(home.cli("wait", sid)) == "completed\n"
    texts, warning = last(home, sid, 2)
    assert texts[-1] == "ours"
    assert "theirs" not in texts
    assert warning.startswith(f"Warning: what {sid} said last answers somebody else (message from another session: ")
    assert warning.endswith(f"; to see it: dev-sessions logs {sid}\n")
    cause, text = causes(home, sid)[-1]
    assert cause.startswith("message from another session: ")
    assert text == "say theirs"
    assert f"[HUMAN]\n({cause})\nsay theirs\n\n[ASSISTANT]\ntheirs\n" in ok(home.cli("logs", sid))
    assert ok(home.cli("ask", sid, "say on")) == "on\n"
    assert last(home, sid, 3) == (["ours", "theirs", "on"], "")


def test_a_turn_that_takes_another_message_in_answers_both(shared_home: Home, sids: tuple[str, str]) -> None:
    """If Claude merges another session's message into the turn, ask says that the reply answers several."""
    home, (sid, other) = shared_home, sids
    begun, go = home.workspace() / "begun", home.workspace() / "go"
    script = f"touch {begun}; until test -e {go}; do sleep 0.05; done; echo gone"
    ask = home.popen("dev-sessions", "ask", sid, f"run {script}")
    assert poll(lambda: begun.exists() or None, Deadline(30), 0.05)
    tell(home, other, "say taken in")
    go.touch()
    reply, warning = ask.communicate(timeout=60)
    assert reply in ("taken in\n", "ran: gone\n")
    assert warning.startswith(f"Warning: {sid} read 2 messages before it replied; the reply answers all of them")
    assert last(home, sid) == ([reply.strip()], "")


def test_a_turn_that_a_background_command_woke_is_reported(shared_home: Home, sids: tuple[str, str]) -> None:
    """The end of a background command is in the logs with its cause, and Claude's reaction to it is the last
    message."""
    home, (sid, _) = shared_home, sids
    over = home.workspace() / "over"
    assert ok(home.cli("ask", sid, f"background until test -e {over}; do sleep 0.05; done")) == "started\n"
    over.touch()
    has_said(home, sid, "background work done")
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert last(home, sid, 2) == (["started", "background work done"], "")
    cause, text = causes(home, sid)[-1]
    assert cause == "background task"
    assert text.startswith("Background command ")


@pytest.mark.soak
def test_a_scheduled_job_gets_a_turn_behind_ours(home: Home, model: ScriptedModel) -> None:
    """A job that comes due during an ask runs right after it, and its text is not part of the reply."""
    sid = create(home, "claude")
    job = {"cron": "* * * * *", "prompt": "say scheduled"}
    assert "Scheduled recurring job" in ok(home.cli("ask", sid, f"call CronCreate {json.dumps(job)}"))
    ask = home.popen("dev-sessions", "ask", sid, "when told say mine")
    # It may run up to half a minute late.
    assert not poll(lambda: '"text":"scheduled"' in transcript(home, sid) or None, Deadline(95), 1)
    model.allow("told")
    assert ask.communicate(timeout=30) == ("mine\n", "")
    has_said(home, sid, "scheduled")
    assert ok(home.cli("wait", sid)) == "completed\n"
    texts, warning = last(home, sid)
    assert texts == ["mine"]
    assert "(scheduled job)" in warning
    assert causes(home, sid)[0] == ("scheduled job", "say scheduled")


def test_a_queued_message_of_codex_gets_a_turn_behind_ours(home: Home, model: ScriptedModel) -> None:
    """A message of `codex queue` runs right after ours, and ask prints the reply to its own message."""
    sid = create(home, "codex")
    ok(home.cli("ask", sid, "say ready"))
    ask = home.popen("dev-sessions", "ask", sid, "when told say mine")
    assert poll(lambda: any("when told" in request.user_text for request in model.turns()) or None, Deadline(30))
    state = daemon(home).state()
    assert state is not None
    thread = json.loads(ok(home.cli("inspect", sid)))["internalId"]
    queued = home.run("codex", "queue", "--remote", state.address, "--thread", thread, "--message", "say queued")
    assert queued.returncode == 0, queued.stderr
    model.allow("told")
    assert ask.communicate(timeout=60) == ("mine\n", "")
    assert poll(lambda: "queued\n" in ok(home.cli("last-message", sid)) or None, Deadline(30), 0.1)
    assert ok(home.cli("wait", sid)) == "completed\n"
