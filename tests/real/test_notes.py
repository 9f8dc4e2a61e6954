"""What standard error says beside an answer that could be misread, and questions before something is ended."""

from __future__ import annotations

import json

import pytest

from dev_sessions.system.deadline import Deadline, poll
from tests.support.cli import both, create, ok, outcome, records
from tests.support.gateway import running_gateway
from tests.support.home import Home
from tests.support.model import ScriptedModel
from tests.support.person import Person

pytestmark = pytest.mark.forked


@pytest.fixture
def sid(shared_home: Home, agent: str) -> str:
    """Provide a session of an agent, which tests of this file share."""
    sid = f"shared-{agent}"
    return sid if sid in records(shared_home) else create(shared_home, agent, "--id", sid)


@both
def test_an_old_text_is_not_taken_for_the_answer(agent: str, shared_home: Home, sid: str) -> None:
    """After a turn that failed or was interrupted, last-message says that the text is of an earlier one."""
    ok(shared_home.cli("ask", sid, "say one"))
    assert outcome(shared_home.cli("last-message", sid)) == (0, "one\n", "")
    shared_home.cli("ask", sid, "fail 400")
    done = shared_home.cli("last-message", sid)
    earlier = "without a text; this one is of an earlier turn"
    if agent == "claude":
        assert done.stdout.startswith("API Error: 400")
        assert done.stderr == f"Warning: the last turn of {sid} failed (invalid_request), and this text says why\n"
        ok(shared_home.cli("ask", sid, "say one"))
    else:
        assert outcome(done) == (0, "one\n", f"Warning: the last turn of {sid} failed (invalid_request) {earlier}\n")
    ok(shared_home.cli("send", sid, "when never say two"))
    assert shared_home.cli("interrupt", sid).returncode == 0

    def read() -> tuple[list[str], str] | None:
        done = shared_home.cli("last-message", sid, "--json")
        return (json.loads(done.stdout), done.stderr) if done.stderr else None

    # Of a message that Claude has taken back, nothing is written; after a second that is certain.
    noted = poll(read, Deadline(30), 0.2)
    assert noted == (["one"], f"Warning: the last turn of {sid} was interrupted {earlier}\n")
    ok(shared_home.cli("ask", sid, "say three"))
    assert outcome(shared_home.cli("last-message", sid)) == (0, "three\n", "")


@both
def test_a_wait_for_nothing_says_so(agent: str, shared_home: Home) -> None:
    """A wait on a session that was never sent a message says what its outcome means."""
    sid = create(shared_home, agent)
    nothing = f"Warning: no message has been sent to {sid} yet; completed means only that it is idle\n"
    assert outcome(shared_home.cli("wait", sid)) == (0, "completed\n", nothing)
    ok(shared_home.cli("send", sid, "-", stdin="say from stdin"))
    assert outcome(shared_home.cli("wait", sid, "--timeout", "1m")) == (0, "completed\n", "")
    assert ok(shared_home.cli("last-message", sid)) == "from stdin\n"


@pytest.mark.parametrize("agent", ["claude"])
def test_a_message_that_answers_a_question_names_it(shared_home: Home, sid: str) -> None:
    """If a message answers an open question, send and ask say which; the receipt has it, too."""
    with running_gateway(shared_home, "--port", "0") as (_, container):
        for run, command in ((shared_home.cli, "send"), (container.cli, "send"), (shared_home.cli, "ask")):
            assert shared_home.cli("ask", sid, "ask Which? | red | blue").returncode == 3
            done = run(command, sid, "neither")
            assert done.returncode == 0
            said = f"Warning: {sid} was asking, and the message answered it: Which? 1. red"
            assert done.stderr.startswith(said), done.stderr
            assert done.stderr.count("\n") == 1
            ok(shared_home.cli("wait", sid))
        assert shared_home.cli("ask", sid, "ask Which? | red | blue").returncode == 3
        receipt = json.loads(shared_home.cli("send", sid, "neither", "--json").stdout)
        assert (receipt["state"], receipt["question"].splitlines()[0]) == ("answered", "Which?")
        ok(shared_home.cli("wait", sid))
        assert shared_home.cli("ask", sid, "ask Which? | red | blue").returncode == 3
        assert ok(container.cli("respond", sid, "-", stdin="2\n")) == f"Answered {sid}\n"
        ok(shared_home.cli("wait", sid))
        assert ok(shared_home.cli("last-message", sid)) == "answered: blue\n"


@both
def test_ask_reports_to_programs(agent: str, shared_home: Home, sid: str) -> None:
    """ask --json prints one object for a reply, a question, a failed turn, a timeout and an unknown session."""
    rows = {}
    messages = {"reply": "say one", "asks": "ask Which? | red | blue", "fails": "fail 400"}
    if agent == "codex":
        del messages["asks"]  # which it does only in another mode
    for name, message in messages.items():
        done = shared_home.cli("ask", sid, message, "--json")
        rows[name] = json.loads(done.stdout)
        assert (rows[name].pop("id"), done.returncode, done.stderr) == (sid, rows[name]["exitCode"], "")
        if name == "asks":
            ok(shared_home.cli("respond", sid, "1"))
            ok(shared_home.cli("wait", sid))
    assert rows["reply"] == {"outcome": "completed", "exitCode": 0, "text": "one"}
    assert rows.get("asks") in (None, {"outcome": "waiting_for_input", "exitCode": 3, "text": ""})
    assert (rows["fails"]["outcome"], rows["fails"]["reason"]) == ("failed", "invalid_request")
    assert rows["fails"]["error"].startswith(f"The turn of {sid} failed: invalid_request")
    late = json.loads(shared_home.cli("ask", sid, "when never say late", "--json", "--timeout", "1s").stdout)
    assert (late["outcome"], late["exitCode"]) == ("timed_out", 124)
    assert shared_home.cli("interrupt", sid).returncode == 0
    nobody = json.loads(shared_home.cli("ask", "nobody-top", "hello", "--json").stdout)
    assert (nobody["outcome"], nobody["exitCode"]) == ("not_found", 1)


def test_kill_all_asks_a_person(home: Home, model: ScriptedModel) -> None:
    """On a terminal, kill --all lists the sessions and asks; with --yes, or without a terminal, it does not ask."""
    del model
    first, second, third = (create(home, "codex", "--description", f"task {number}") for number in (1, 2, 3))
    both_killed = home.cli("kill", first, "nobody-top", second)
    assert (both_killed.returncode, both_killed.stdout) == (1, f"Killed session {first}\nKilled session {second}\n")
    assert both_killed.stderr == "Session not found: nobody-top (see: dev-sessions list)\n"
    with Person(home) as person:
        person.types("dev-sessions kill --all", "Enter")
        assert person.sees("Kill this session? [y/N]")
        assert "task 3" in person.screen()
        person.types("n", "Enter")
        assert person.sees("No session was killed")
        assert [*records(home)] == [third]
        person.types("clear; dev-sessions kill --all", "Enter")
        assert poll(lambda: "No session was killed" not in person.screen() or None, Deadline(30), 0.05)
        assert person.sees("Kill this session? [y/N]")
        person.types("y", "Enter")
        assert person.sees("Killed 1 sessions")
        fourth = create(home, "codex")
        person.types("clear; dev-sessions kill --all --yes", "Enter")
        assert person.sees(f"Killed session {fourth}")
    create(home, "codex")
    assert ok(home.cli("kill", "--all")).endswith("Killed 1 sessions\n")
