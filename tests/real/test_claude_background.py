"""Claude's background, where another process continues a conversation: prevented, recognised, recovered, and ended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from dev_sessions.claude.session_file import start_time
from dev_sessions.system.deadline import Deadline, poll
from dev_sessions.system.process import is_alive, is_running
from dev_sessions.system.process_id import ProcessId
from tests.support.cli import create, ok, records
from tests.support.home import Home
from tests.support.model import ScriptedModel
from tests.support.original import create_ready_original

pytestmark = pytest.mark.forked


@pytest.fixture
def home(home: Home) -> Iterator[Home]:
    """Provide a home that also ends Claude's daemon, which has files outside of the home."""
    yield home
    home.run("claude", "daemon", "stop", "--any")


def with_agents_view(home: Home) -> str:
    """Create a session for a caller who wants the agents view."""
    return ok(home.cli("create", "-q", cwd=home.workspace(), env={"CLAUDE_CODE_DISABLE_AGENT_VIEW": "0"})).strip()


def shown(home: Home, sid: str) -> str:
    """Return what a session's terminal shows."""
    return home.tmux("capture-pane", "-p", "-t", f"=dev-{sid}:").stdout


def press(home: Home, sid: str, *keys: str) -> None:
    """Press keys in a session's terminal, as a person does."""
    ok(home.tmux("send-keys", "-t", f"=dev-{sid}:", *keys))


def moved(home: Home, sid: str) -> str:
    """Return the job to which a session has moved, once its status says so."""
    words = f"{sid} was moved to Claude's background, where it continues as "
    said = poll(lambda: home.cli("status", sid).stderr.partition(words)[2] or None, Deadline(30), 0.1)
    assert said, home.cli("status", sid)
    return said[:8]


def line(sid: str, job: str) -> str:
    """Return the error that every command prints for a session that has moved."""
    return (
        f"{sid} was moved to Claude's background, where it continues as {job}."
        f" `dev-sessions recover {sid} --yes` moves it back, `dev-sessions kill {sid}` ends it\n"
    )


def session_files(home: Home) -> list[dict[str, Any]]:
    """Return the session files of Claude's processes, without those that wait for work."""
    found = [json.loads(path.read_text()) for path in (home.path / ".claude" / "sessions").glob("*.json")]
    return [each for each in found if not each.get("spare")]


def states(home: Home) -> dict[str, str]:
    """Return the roster of Claude's daemon."""
    files = (home.path / ".claude" / "jobs").glob("*/state.json")
    return {path.parent.name: json.loads(path.read_text())["state"] for path in files}


def running(home: Home) -> dict[str, str]:
    """Return the states of the jobs that have a live process."""
    found = {}
    for each in session_files(home):
        started = start_time(each["procStart"])  # None: of Claude on Linux, while macOS is simulated
        if "jobId" in each and (is_running(ProcessId(each["pid"], started)) if started else is_alive(each["pid"])):
            found[each["jobId"]] = each.get("status", "")
    return found


def test_a_session_cannot_be_moved_to_the_background(home: Home) -> None:
    """Neither ← on an empty box nor a command moves a session to the background, and the next message arrives."""
    sid = create(home, "claude")
    for command in ("/bg", " /background ", "/BG", "/bg say more"):
        done = home.cli("send", sid, command)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"{command.split()[0]} moves the conversation to Claude's background" in done.stderr
    for word in ("one", "two"):
        press(home, sid, "Left")
        assert ok(home.cli("ask", sid, f"say {word}")) == f"{word}\n"
        assert [each.get("parkedJobId") for each in session_files(home)] == [None]
        ok(home.tmux("kill-session", "-t", f"=dev-{sid}"))
        assert poll(lambda: home.cli("status", sid).returncode or None, Deadline(30), 0.1)
        ok(home.cli("recover", sid, "--yes"))
    assert not (home.path / ".claude" / "jobs").exists()


def test_a_session_in_the_background_is_reported_and_recovered(home: Home, model: ScriptedModel) -> None:
    """A session moved by ← during a turn is reported as moved by every command.

    After recover its turn ends and it works as before; kill also ends what works in the background.
    """
    sid = create_ready_original(home, "zed-mid")
    assert ok(home.cli("ask", sid, "say again")) == "again\n"
    ok(home.cli("send", sid, "when told run echo told"))
    press(home, sid, "Left")
    # It takes effect when the next tool has ended.
    assert poll(lambda: "Backgrounding" in shown(home, sid) or None, Deadline(30), 0.1)
    wait = home.popen("dev-sessions", "wait", sid)
    model.allow("told")
    job = moved(home, sid)
    assert wait.communicate(timeout=30) == ("", line(sid, job))
    for command in (["wait"], ["send", "x"], ["ask", "x"], ["respond", "1"], ["interrupt"]):
        done = home.cli(command[0], sid, *command[1:])
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr in (
            line(sid, job),
            *(
                f"The {what} for {sid} was not sent, nothing was typed: {line(sid, job)}"
                for what in ("message", "answer")
            ),
        )
    listed = records(home)[sid]
    assert (listed["state"], listed["movedTo"], listed["status"]) == ("waiting_for_input", job, "active")
    plan = f"{sid}: would have its terminal show it again: it continues in Claude's background as {job}\n"
    assert home.cli("recover", sid).stdout == plan
    assert ok(home.cli("recover", sid, "--yes")) == f"Recovered session {sid}\n"
    assert ok(home.cli("wait", sid)) == "completed\n"
    # The model was once asked, or has answered, otherwise than expected (2.1.300): both are shown then.
    asked = [turn.user_text for turn in model.turns()]
    assert ok(home.cli("last-message", sid)) == "ran: told\n", (ok(home.cli("logs", sid)), asked)
    assert ok(home.cli("recover", sid, "--yes")) == f"{sid} is running; left alone\n"
    model.forget()
    assert ok(home.cli("ask", sid, "say again")) == "again\n"
    # Claude Code may also ask the model for a recap, as its user "stepped away and is coming back" (2.1.332).
    asked = [turn.user_text for turn in model.turns()]
    assert asked.count("say again") == 1, "the same words as before are no answer of now"
    assert ok(home.cli("logs", sid)).count("[HUMAN]") == 3
    ok(home.cli("send", sid, "when never run touch made"))
    press(home, sid, "Left")
    assert moved(home, sid) == job
    assert states(home)[job] != "stopped"
    assert ok(home.cli("kill", sid)) == f"Killed session {sid}\n"
    assert states(home)[job] == "stopped"
    assert job not in running(home)
    assert records(home, "--all") == {}


def test_old_texts_are_no_answer_after_a_return_from_the_background(home: Home, model: ScriptedModel) -> None:
    """After a recover, the first message is proved and answered in a transcript that begins with a copy of the old one.
    A conversation begun by /clear in the background is followed."""
    sid = with_agents_view(home)
    assert ok(home.cli("ask", sid, "say again")) == "again\n"
    press(home, sid, "Left")
    moved(home, sid)
    assert f"in Claude's background: {sid}; bring one back with: dev-sessions recover ID" in home.cli("doctor").stdout
    assert ok(home.cli("last-message", sid)) == "again\n"
    ok(home.cli("recover", sid, "--yes"))
    assert ok(home.cli("status", sid)) == "idle\n"
    assert ok(home.cli("last-message", sid)) == "again\n"
    model.forget()
    ask = home.popen("dev-sessions", "ask", sid, "say again")
    assert ask.communicate(timeout=30) == ("again\n", "")
    assert [turn.user_text for turn in model.turns()].count("say again") == 1
    assert ok(home.cli("logs", sid)).count("[HUMAN]") == 2
    ok(home.cli("send", sid, "/clear"))
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert ok(home.cli("ask", sid, "say anew")) == "anew\n"
    assert "again" not in ok(home.cli("logs", sid))
    ok(home.cli("kill", sid))
    assert running(home) == {}


def test_a_session_whose_terminal_ended_when_it_was_moved(home: Home, model: ScriptedModel) -> None:
    """After a person's /background, no second process is started while the job works; recover takes back an idle job's
    conversation, and kill ends the job."""
    sid = with_agents_view(home)
    assert ok(home.cli("ask", sid, "say before")) == "before\n"
    press(home, sid, "-l", "/background when told say told")
    press(home, sid, "Enter")
    job = moved(home, sid)
    listed = records(home)[sid]
    assert (listed["state"], listed["movedTo"], listed["status"]) == ("waiting_for_input", job, "active")
    assert home.cli("wait", sid).stderr == line(sid, job)
    assert poll(lambda: running(home).get(job) == "busy" or None, Deadline(30), 0.1)
    refused = f"{sid} is at work in Claude's background as {job}, and its terminal has ended; "
    assert home.cli("recover", sid, "--yes").stderr.startswith(refused)
    model.allow("told")
    assert poll(lambda: running(home).get(job) == "idle" or None, Deadline(30), 0.1)
    # The transcript follows the state.
    assert poll(lambda: ok(home.cli("last-message", sid)) == "told\n" or None, Deadline(30), 0.1)
    assert ok(home.cli("recover", sid, "--yes")) == f"Recovered session {sid}\n"
    assert job not in running(home)
    assert ok(home.cli("ask", sid, "history")) == "1: say before\n2: when told say told\n"
    ok(home.tmux("kill-session", "-t", f"=dev-{sid}"))
    assert poll(lambda: home.cli("status", sid).returncode or None, Deadline(30), 0.1)
    assert f"{sid} is lost: " in home.cli("status", sid).stderr, "what was stopped there is not in the background"
    ok(home.cli("kill", sid))
    other = with_agents_view(home)
    assert ok(home.cli("ask", other, "say before")) == "before\n"
    press(home, other, "-l", "/bg when never run touch made")
    press(home, other, "Enter")
    job = moved(home, other)
    assert ok(home.cli("kill", other)) == f"Killed session {other}\n"
    assert (states(home)[job], running(home)) == ("stopped", {})
