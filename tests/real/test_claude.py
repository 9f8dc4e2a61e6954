"""Claude Code sessions: start, environment, obstacles, and what remains after them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import sys
import time
from pathlib import Path
from typing import cast

import pytest

from dev_sessions.claude.command_line import manual_start_command
from dev_sessions.claude.pane import AgentPane
from dev_sessions.models import ClaudeSession
from dev_sessions.record_json import session_from_json
from dev_sessions.system.deadline import Deadline, poll
from tests.support.claude import DIES, NOT_READY, fake_claude
from tests.support.cli import create, ok, record, records
from tests.support.home import Home
from tests.support.model import ScriptedModel
from tests.support.original import create_original, create_ready_original

pytestmark = pytest.mark.forked


@pytest.fixture
def shared_sid(shared_home: Home) -> str:
    """Provide the session of Claude in the home that tests share."""
    return next(iter(records(shared_home)), "") or create(shared_home, "claude")


def nothing_is_left(home: Home) -> None:
    """Assert that there is no record, no process, and no file with an environment."""
    assert records(home, "--all") == {}
    assert poll(lambda: True if home.leftovers() == {} else None, Deadline(30), 0.1), home.leftovers()
    assert list((home.path / ".dev-sessions" / "launch").iterdir()) == []


@pytest.mark.parametrize(
    ("unanswered", "words"),
    [
        ("trusted", "accept that with --trust"),
        ("bypass_accepted", "Claude Code running in Bypass Permissions mode"),
    ],
)
def test_a_dialog_before_the_start_is_shown_and_nothing_is_left(
    model: ScriptedModel, unanswered: str, words: str
) -> None:
    """A start-up dialog is never answered by accident: create shows it, says what to do, and leaves nothing behind."""
    with Home(model.port, trusted=unanswered != "trusted", bypass_accepted=unanswered != "bypass_accepted") as home:
        done = home.cli("create", cwd=home.workspace())
        assert (done.returncode, done.stdout) == (1, "")
        assert f"run {manual_start_command()} " in done.stderr
        assert str(home.workspace()) in done.stderr
        assert words in done.stderr
        nothing_is_left(home)


def test_the_output_of_a_claude_that_exits_at_start_is_shown(home: Home) -> None:
    """If Claude exits during its start, create prints its output and leaves nothing behind."""
    done = home.cli("create", cwd=home.workspace(), env=fake_claude(home, DIES))
    assert (done.returncode, done.stdout) == (1, "")
    assert "Claude Code exited during its start; its output:\nno space on the moon" in done.stderr
    nothing_is_left(home)


def test_a_claude_that_is_too_old_is_refused_by_name(home: Home) -> None:
    """Create and recover name the version that is needed, before anything is started."""
    sid = create(home, "claude")
    ok(home.cli("ask", sid, "say before"))
    ok(home.tmux("kill-server"))
    assert poll(lambda: home.cli("status", sid).returncode or None, Deadline(30), 0.1)
    old = "#!/bin/sh\n[ $1 = --version ] && exec echo '2.1.249 (Claude Code)'\necho started >> ~/started\n"
    env = fake_claude(home, old)
    words = "Claude Code 2.1.249 is too old: 2.1.250 or newer is needed; install one with: claude update"
    for command in (["create"], ["recover", sid, "--yes"]):
        done = home.cli(*command, cwd=home.workspace(), env=env)
        assert (done.returncode, done.stdout) == (1, "")
        assert words in done.stderr
        assert done.stderr.count("\n") == 1
    assert not (home.path / "started").exists()
    assert list(records(home, "--all")) == [sid]
    assert ok(home.cli("recover", sid, "--yes")) == f"Recovered session {sid}\n"


def test_a_session_of_a_claude_that_is_too_old_takes_no_message(home: Home) -> None:
    """A session that an older Claude has resumed is recognised by its session file."""
    sid = create(home, "claude")
    (file,) = (home.path / ".claude" / "sessions").glob("*.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), "version": "2.1.249"}))
    done = home.cli("send", sid, "say hi")
    assert done.returncode == 1
    assert "nothing was typed: Claude Code 2.1.249 is too old: 2.1.250 or newer is needed" in done.stderr


def test_a_claude_that_never_reports_is_kept_with_a_warning(home: Home) -> None:
    """A Claude that never reports that it is ready is kept while it is alive, and the user is warned."""
    env = {**fake_claude(home, NOT_READY), "DEV_SESSIONS_TRANSCRIPT_TIMEOUT_MS": "700"}
    done = home.cli("create", "-q", cwd=home.workspace(), env=env)
    sid = done.stdout.strip()
    assert done.returncode == 0
    assert done.stderr == f"Warning: Claude has not reported that it is ready; attach with: dev-sessions attach {sid}\n"
    done = home.cli("send", sid, "hello")
    assert done.returncode == 1
    assert f"nothing was typed: {sid} shows no input box; attach with: " in done.stderr
    assert ok(home.cli("kill", sid)) == f"Killed session {sid}\n"
    nothing_is_left(home)


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT, pytest.param(signal.SIGHUP, marks=pytest.mark.matrix)]
)
def test_a_create_that_is_ended_leaves_nothing(home: Home, number: signal.Signals) -> None:
    """A create that is interrupted undoes everything that it has started."""
    running = home.popen("dev-sessions", "create", cwd=home.workspace(), env=fake_claude(home, NOT_READY))
    assert poll(lambda: home.tmux("capture-pane", "-p").stdout.strip() or None, Deadline(30), 0.1)
    running.send_signal(number)
    running.communicate(timeout=30)
    assert running.returncode == (130 if number == signal.SIGINT else 128 + number)
    nothing_is_left(home)


@pytest.mark.parametrize("command", ["new-session", "new-window"])
def test_a_create_that_is_ended_while_tmux_opens_its_session_leaves_nothing(home: Home, command: str) -> None:
    """An interrupted create ends what it has started, even if tmux has not reported the pane yet."""
    slow = home.workspace("slow") / "tmux"
    # A command is called by its name without the last letter, which no alias of a user can hide.
    hang = f'case "$*" in *{command[:-1]}*) exec sleep 60 ;; esac'
    slow.write_text(f'#!/bin/sh\n{shutil.which("tmux")} "$@"\ncode=$?\n{hang}\nexit $code\n')
    slow.chmod(0o755)
    env = fake_claude(home, NOT_READY)
    env["PATH"] = f"{slow.parent}{os.pathsep}{env['PATH']}"
    running = home.popen("dev-sessions", "create", cwd=home.workspace(), env=env)
    started = "exec sleep" if command == "new-session" else "launch.py"
    listing = ("list-panes", "-a", "-F", "#{pane_start_command}")
    assert poll(lambda: started in home.tmux(*listing).stdout or None, Deadline(30), 0.1)
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=30)
    assert running.returncode == 128 + signal.SIGTERM
    nothing_is_left(home)


def test_the_environment_is_that_of_the_caller(home: Home) -> None:
    """A session has the caller's environment, not that of a tmux server that somebody else started, nor an agent's."""
    marks = {"CLAUDECODE": "1", "CLAUDE_CODE_CHILD_SESSION": "1", "AI_AGENT": "x", "FROM": "the server"}
    assert home.run("tmux", "new-session", "-d", "-s", "other", "-e", "FROM=the session", env=marks).returncode == 0
    tricky = "two\nlines; $(touch hacked) 'quoted' \u00e9"
    env = {"FROM": tricky, "BASH_FUNC_f%%": "() { :; }", **{name: marks[name] for name in list(marks)[:3]}}
    sid = ok(home.cli("create", "-q", cwd=home.workspace(), env=env)).strip()
    reply = ok(home.cli("ask", sid, 'run printf "%s|" "$FROM" "$IS_SANDBOX" "$TERM"; command -v python'))
    assert f"{tricky}|1|" in reply
    assert "xterm-256color" not in reply, "TERM is the pane's, not the caller's"
    assert str(Path(sys.executable).parent / "python") in reply, "PATH is the caller's"
    assert ok(home.cli("logs", sid)), "a transcript is written although the caller is an agent"
    assert list((home.path / ".dev-sessions" / "launch").iterdir()) == []


def test_all_files_are_private(home: Home) -> None:
    """Nobody but the user can read the store, whatever the umask."""
    done = home.run("sh", "-c", "umask 0; dev-sessions create -q", cwd=home.workspace())
    ok(home.cli("ask", ok(done).strip(), "say hi"))
    state = home.path / ".dev-sessions"
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    for path in state.rglob("*"):
        if path.is_dir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o700, path
        elif path.name != ".sessions.holder":
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_a_config_dir_is_remembered(home: Home) -> None:
    """CLAUDE_CONFIG_DIR applies at create; later commands find the session without it."""
    config = home.path / "elsewhere"
    config.mkdir()
    (home.path / ".claude" / "settings.json").rename(config / "settings.json")
    (home.path / ".claude.json").rename(config / ".claude.json")
    sid = ok(home.cli("create", "-q", cwd=home.workspace(), env={"CLAUDE_CONFIG_DIR": str(config)})).strip()
    assert ok(home.cli("ask", sid, "say hi")) == "hi\n"
    assert ok(home.cli("last-message", sid)) == "hi\n"
    assert list((config / "projects").rglob("*.jsonl"))
    assert not (home.path / ".claude" / "projects").exists()


def test_a_session_is_found_from_another_tmux(home: Home) -> None:
    """A caller inside one tmux server reaches a session on another one."""
    ok(home.run("tmux", "-L", "mine", "new-session", "-d", "-s", "work"))
    socket = ok(home.run("tmux", "-L", "mine", "display-message", "-p", "#{socket_path}")).strip()
    env = {"TMUX": f"{socket},1,0"}
    sid = ok(home.cli("create", "-q", cwd=home.workspace(), env=env)).strip()
    assert record(home, sid)["tmuxSocket"] == socket
    assert ok(home.cli("ask", sid, "say from outside")) == "from outside\n"
    other = create(home, "claude")
    assert ok(home.cli("ask", other, "say from inside", env=env)) == "from inside\n"
    assert set(records(home)) == {sid, other}
    ok(home.cli("kill", "--all"))
    assert ok(home.run("tmux", "-L", "mine", "list-sessions", "-F", "#{session_name}")) == "work\n"
    ok(home.run("tmux", "-L", "mine", "kill-server"))


def test_a_name_never_matches_a_longer_one(home: Home) -> None:
    """Killing `ab` leaves `ab-c` alone, even if `ab` has no tmux session any more."""
    ab, abc = create(home, "claude", "--id", "ab"), create(home, "claude", "--id", "ab-c")
    ok(home.tmux("kill-session", "-t", f"=dev-{ab}"))
    assert ok(home.cli("kill", ab)) == "Killed session ab\n"
    assert ok(home.cli("ask", abc, "say alive")) == "alive\n"


def test_a_name_on_the_tmux_server_counts_as_taken(home: Home) -> None:
    """A tmux session without a record is not overwritten."""
    ok(home.tmux("new-session", "-d", "-s", "dev-fizz-top"))
    done = home.cli("create", "--id", "fizz-top", cwd=home.workspace())
    assert (done.returncode, done.stderr) == (1, "Champion ID already in use: fizz-top\n")
    assert records(home, "--all") == {}
    ok(home.tmux("has-session", "-t", "=dev-fizz-top"))


@pytest.mark.parametrize(
    "what", ["server", *(pytest.param(what, marks=pytest.mark.soak) for what in ("process", "session"))]
)
def test_a_lost_session_is_reported_and_can_still_be_read(home: Home, what: str) -> None:
    """A session whose Claude, tmux session or tmux server is gone is reported as lost, and its conversation stays
    readable."""
    sid, never_used = create(home, "claude"), create(home, "claude")
    ok(home.cli("ask", sid, "say before"))
    for name in (sid, never_used):
        if what == "process":
            os.kill(record(home, name)["claudePid"], signal.SIGKILL)
        elif what == "session":
            ok(home.tmux("kill-session", "-t", f"=dev-{name}"))
    if what == "server":
        ok(home.tmux("kill-server"))
    assert poll(lambda: True if home.cli("status", never_used).returncode else None, Deadline(30), 0.1)
    assert poll(lambda: True if home.cli("status", sid).returncode else None, Deadline(30), 0.1)
    for command in (["status", sid], ["send", sid, "x"], ["wait", sid], ["ask", sid, "x"]):
        done = home.cli(*command)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"{sid} is lost: " in done.stderr
    assert ok(home.cli("last-message", sid)) == "before\n"
    assert "[ASSISTANT]\nbefore" in ok(home.cli("logs", sid))
    listed = home.cli("list")
    warning = f"Warning: {never_used} ended before it was sent a message; its record was deleted\n"
    hint = "1 lost, not shown; list them with: dev-sessions list --all\n"
    assert (listed.stdout, listed.stderr) == ("No active sessions\n", warning + hint)
    everything = records(home, "--all")
    assert set(everything) == {sid}, "a session that was never used is forgotten"
    assert (everything[sid]["state"], everything[sid]["status"]) == ("lost", "inactive")
    assert ok(home.cli("kill", "--all")) == "No matching sessions to kill\n"
    assert ok(home.cli("kill", sid)) == f"Killed session {sid}\n"
    assert records(home, "--all") == {}


def test_a_draft_in_the_box_is_left_alone(shared_home: Home, shared_sid: str) -> None:
    """A draft that somebody has typed is neither sent nor mixed with a message."""
    home, sid = shared_home, shared_sid
    ok(home.tmux("send-keys", "-t", f"=dev-{sid}:", "-l", "half a thought"))
    assert poll(
        lambda: "half" in home.tmux("capture-pane", "-p", "-t", f"=dev-{sid}:").stdout or None, Deadline(30), 0.1
    )
    done = home.cli("send", sid, "say hi")
    assert done.returncode == 1
    assert (
        f"nothing was typed: Somebody has typed into the box of {sid} ('half a thought'); attach with: " in done.stderr
    )
    ok(home.tmux("send-keys", "-t", f"=dev-{sid}:", "C-c"))
    assert poll(lambda: True if home.cli("send", sid, "say hi").returncode == 0 else None, Deadline(30), 0.1)
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert "half" not in ok(home.cli("logs", sid))


def test_messages_like_commands_arrive_as_messages(shared_home: Home, model: ScriptedModel, shared_sid: str) -> None:
    """A leading !, a trailing backslash, a path or a sign is part of the message; a command that ends Claude is
    refused."""
    home, sid = shared_home, shared_sid
    for text in (
        "!ls",
        "say back\\",
        "/etc/hosts is a file",
        "# title",
        "@nobody",
        "a;",
        "?x",
        "say $(id) `id` 'q' \"q\"",
    ):
        ok(home.cli("ask", sid, "--", text))
        assert model.last_text().strip() == text
    for word in ("exit", " quit ", ":q\n", "/exit"):
        done = home.cli("send", sid, word)
        assert done.returncode == 1
        assert "ends Claude Code" in done.stderr
    assert ok(home.cli("status", sid)) == "idle\n"


def test_a_message_while_claude_works_is_queued(shared_home: Home, model: ScriptedModel, shared_sid: str) -> None:
    """A message to a working session is queued; wait and ask are about this message, not the one before."""
    home, sid = shared_home, shared_sid
    ok(home.cli("send", sid, "when first say first"))
    assert json.loads(ok(home.cli("send", sid, "--json", "say second"))) == {"state": "queued"}
    model.allow("first")
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert json.loads(ok(home.cli("last-message", sid, "-n", "2", "--json"))) == ["first", "second"]
    ok(home.cli("send", sid, "when third say third"))
    ask = home.popen("dev-sessions", "ask", sid, "say fourth")
    (transcript,) = (home.path / ".claude" / "projects").rglob(f"{record(home, sid)['internalId']}.jsonl")
    assert poll(lambda: "say fourth" in transcript.read_text() or None, Deadline(30), 0.05)
    model.allow("third")
    assert ask.communicate(timeout=30) == ("fourth\n", "")


def test_a_session_of_the_original_is_taken_over(home: Home) -> None:
    """A running session with a record written by the original can be used."""
    create_original(home, "zed-mid")
    assert poll(lambda: True if home.cli("status", "zed-mid").stdout == "idle\n" else None, Deadline(30), 0.2)
    assert home.cli("wait", "zed-mid").stdout == "completed\n"
    # Its session file says so before its input box is on the screen.
    asked = ("ask", "zed-mid", "say taken over")
    assert poll(lambda: True if home.cli(*asked).stdout == "taken over\n" else None, Deadline(30), 0.2)
    assert ok(home.cli("last-message", "zed-mid")) == "taken over\n"
    assert set(records(home)) == {"zed-mid"}
    assert ok(home.cli("kill", "zed-mid")) == "Killed session zed-mid\n"
    assert poll(lambda: True if home.leftovers() == {} else None, Deadline(30), 0.1)


def test_a_message_that_came_before_the_session_file_is_waited_for(home: Home, model: ScriptedModel) -> None:
    """A turn of a session of the original is waited for, even if Claude took the message before it wrote its session
    file."""
    sid = create_ready_original(home, "zed-mid")
    ok(home.cli("send", sid, "when told say told"))
    (file,) = (home.path / ".claude" / "sessions").glob("*.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), "startedAt": time.time() * 1000}))
    done = home.cli("wait", sid, "--timeout", "1")
    assert (done.returncode, done.stderr) == (124, f"Timed out waiting for {sid}\n")
    model.allow("told")
    assert ok(home.cli("wait", sid)) == "completed\n"


def test_a_transcript_of_any_size_is_read_from_its_end(home: Home) -> None:
    """The cost of reading does not grow with the conversation: of a hundred gigabytes only the end is read."""
    sid = create(home, "claude")
    ok(home.cli("ask", sid, "say before"))
    (transcript,) = (home.path / ".claude" / "projects").rglob(f"{record(home, sid)['internalId']}.jsonl")
    with open(transcript, "r+b") as stream:
        # A hole: nothing on the disk, and for everyone who reads it more than there is time for.
        stream.truncate(100 << 30)
        stream.seek(0, os.SEEK_END)
        stream.write(b"\n")
    assert ok(home.cli("ask", sid, "say after", timeout=20)) == "after\n"
    assert ok(home.cli("status", sid, timeout=10)) == "idle\n"
    assert ok(home.cli("wait", sid, timeout=10)) == "completed\n"
    assert ok(home.cli("last-message", sid, timeout=10)) == "after\n"


def test_a_lost_session_with_other_windows_is_kept(home: Home) -> None:
    """A tmux session in which a person has opened windows is left alone by list and ended by kill, even without a
    message."""
    sid = create(home, "claude")
    ok(home.tmux("new-window", "-d", "-t", f"=dev-{sid}:", "sleep 1000"))
    os.kill(record(home, sid)["claudePid"], signal.SIGKILL)
    assert poll(lambda: True if home.cli("status", sid).returncode else None, Deadline(30), 0.1)
    for _ in range(2):
        assert home.cli("list", "--json").stdout == "[]\n"
        assert record(home, sid)
        assert "sleep" in ok(home.tmux("list-panes", "-s", "-t", f"=dev-{sid}:", "-F", "#{pane_current_command}"))
    assert ok(home.cli("kill", sid)) == f"Killed session {sid}\n"
    assert home.tmux("has-session", "-t", f"=dev-{sid}").returncode == 1


def test_enter_goes_only_to_what_was_typed(shared_home: Home, shared_sid: str) -> None:
    """Enter is not pressed when somebody has typed more text into the box."""
    home, sid = shared_home, shared_sid
    pane = AgentPane(cast(ClaudeSession, session_from_json(record(home, sid))))
    ok(home.tmux("send-keys", "-t", f"=dev-{sid}:", "-l", "say mine"))
    assert poll(lambda: pane.box() == "say mine" or None, Deadline(30), 0.05)
    ok(home.tmux("send-keys", "-t", f"=dev-{sid}:", "-l", " and theirs"))
    assert poll(lambda: pane.box() == "say mine and theirs" or None, Deadline(30), 0.05)
    assert not pane.submit("say mine")
    assert pane.box() == "say mine and theirs"
    assert poll(lambda: pane.submit("say mine and theirs") or None, Deadline(30), 0.05)
    assert poll(lambda: pane.box() == "" or None, Deadline(30), 0.05)
    assert poll(lambda: ok(home.cli("last-message", sid)) == "mine and theirs\n" or None, Deadline(30), 0.05)


@pytest.mark.parametrize(
    "size", [5_000, 1_000_000, *(pytest.param(size, marks=pytest.mark.matrix) for size in (20, 100_000))]
)
def test_long_messages_arrive_whole(shared_home: Home, model: ScriptedModel, shared_sid: str, size: int) -> None:
    """A message of any size arrives whole and is logged as it was sent."""
    home, sid = shared_home, shared_sid
    body = "\n".join(f"{number:06d} some words" for number in range(size // 18 + 1))
    ok(home.cli("send", sid, "--file", "-", stdin=f"say {body}"))
    assert ok(home.cli("wait", sid)) == "completed\n"
    logs = [turn["text"].strip() for turn in json.loads(ok(home.cli("logs", sid, "--json")))]
    assert body in model.last_text()
    assert logs[-2:] == [f"say {body}", body]
