"""recover brings back lost sessions with their conversations, and never starts one twice."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import sys
import time

import pytest

from dev_sessions.claude import launch
from dev_sessions.models import timestamp
from dev_sessions.system import pid_namespace
from dev_sessions.system.deadline import Deadline, poll
from dev_sessions.system.process import is_alive
from tests.support.claude import (
    DIES,
    NOT_READY,
    READY_AT_ONCE,
    below_prompt,
    claude_processes,
    create_stand_in,
    fake_claude,
    lose,
)
from tests.support.cli import both, create, edit_record, needs_proc, ok, record, records, stored_records
from tests.support.codex import end_servers
from tests.support.darwin import not_simulated
from tests.support.faulty_tmux import FaultyTmux
from tests.support.home import Home
from tests.support.model import ScriptedModel

pytestmark = pytest.mark.forked


@pytest.fixture
def sid(shared_home: Home) -> str:
    """Provide the session of Claude that tests of this file share, which lose it, recover it and leave it idle; each
    says something of its own to it first."""
    name = "shared"
    if name not in records(shared_home):
        # A test may have killed it, or have failed before it recovered it.
        shared_home.cli("kill", name)
        create(shared_home, "claude", "--id", name)
    return name


def set_goal(home: Home, sid: str, objective: str) -> None:
    """Give a thread a goal, as Codex's own clients do."""
    socket = home.path / ".dev-sessions" / "codex" / "app-server.sock"
    code = (
        "import sys\nfrom dev_sessions.codex import client\n"
        "with client.connect(f'unix://{sys.argv[1]}', None, 'it') as c:\n"
        "    c.call('thread/goal/set', {'threadId': sys.argv[2], 'objective': sys.argv[3], 'status': 'active'})\n"
    )
    ok(home.run("python", "-c", code, socket, record(home, sid)["internalId"], objective))


@pytest.mark.parametrize(
    "what", ["session", *(pytest.param(what, marks=pytest.mark.soak) for what in ("process", "server"))]
)
def test_a_lost_claude_comes_back_with_its_conversation(home: Home, model: ScriptedModel, what: str) -> None:
    """Whatever died, the same id works again after recover, with the whole conversation."""
    sid = create(home, "claude")
    ok(home.cli("ask", sid, "Remember the number 4217"))
    before = record(home, sid)
    lose(home, sid, what)
    assert f"`dev-sessions recover {sid} --yes` restores it with its conversation" in home.cli("status", sid).stderr
    plan = f"{sid}: would start Claude Code again in {home.workspace()}, with its conversation\n"
    for arguments in ((), ("--all",), (sid,)):
        done = home.cli("recover", *arguments)
        assert (done.returncode, done.stdout) == (0, plan)
        assert "Nothing was done yet" in done.stderr
    assert stored_records(home)[sid] == before
    assert ok(home.cli("recover", sid, "--yes")) == f"Recovered session {sid}\n"
    assert ok(home.cli("status", sid)) == "idle\n"
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert ok(home.cli("last-message", sid)) == "OK\n"
    assert ok(home.cli("ask", sid, "Which number did I ask you to remember?")) == "4217\n"
    assert "Remember the number 4217" in json.dumps(model.turns()[-1].body["messages"])
    assert ok(home.cli("logs", sid)).count("[HUMAN]") == 2
    after = record(home, sid)
    assert after["internalId"] == before["internalId"]
    assert after["lastUsed"] > before["lastUsed"]
    assert set(records(home)) == {sid}
    assert ok(home.cli("recover", sid, "--yes")) == f"{sid} is running; left alone\n"
    assert ok(home.cli("recover", "--all", "--yes")) == "No lost sessions\n"
    assert record(home, sid)["claudePid"] == after["claudePid"]
    assert ok(home.cli("kill", sid)) == f"Killed session {sid}\n"
    assert home.leftovers() == {}


def test_a_claude_comes_back_as_it_was_created(shared_home: Home, model: ScriptedModel, sid: str) -> None:
    """A recovered Claude has its model, folder and configuration, wherever recover is called."""
    home, plain = shared_home, sid
    config = home.workspace("config")
    (config / "settings.json").write_text((home.path / ".claude" / "settings.json").read_text())
    (config / ".claude.json").write_text((home.path / ".claude.json").read_text())
    elsewhere = {"CLAUDE_CONFIG_DIR": str(config)}
    moved = ok(home.cli("create", "-q", "--model", "my-model", cwd=home.workspace("a b"), env=elsewhere)).strip()
    for each in (moved, plain):
        ok(home.cli("ask", each, "say as created"))
    ok(home.tmux("kill-server"))
    for each in (moved, plain):
        assert poll(lambda sid=each: home.cli("status", sid).returncode or None, Deadline(30), 0.1)  # type: ignore[misc] # bound early
    assert ok(home.cli("recover", moved, "--yes")) == f"Recovered session {moved}\n"
    assert ok(home.cli("recover", plain, "--yes", env=elsewhere)) == f"Recovered session {plain}\n"
    assert str(home.path / "a b") in ok(home.cli("ask", moved, "run pwd"))
    assert model.turns()[-1].body["model"] == "my-model"
    assert f"is {config}" in ok(home.cli("ask", moved, "run echo is $CLAUDE_CONFIG_DIR"))
    assert "is unset" in ok(home.cli("ask", plain, "run echo is ${CLAUDE_CONFIG_DIR-unset}"))
    assert ": say as created\n" in ok(home.cli("ask", plain, "history"))
    assert "my-model" not in model.turns()[-1].body["model"]
    ok(home.cli("kill", moved))


@both
def test_a_session_that_never_had_a_message_comes_back_when_it_is_named(home: Home, agent: str) -> None:
    """A session without a conversation is recovered only by its id; an empty Codex session is not lost at all."""
    # A stand-in for the first process, of which nothing is left.
    argv = ("create", "-q", "--cli", agent, "--description", "to be used")
    env = fake_claude(home, READY_AT_ONCE) if agent == "claude" else {}
    sid = ok(home.cli(*argv, cwd=home.workspace(), env=env)).strip()
    end_servers(home)
    assert ok(home.cli("recover", "--all")) == "No lost sessions\n"
    said = f"Recovered session {sid}\n" if agent == "claude" else f"{sid} is running; left alone\n"
    assert ok(home.cli("recover", sid, "--yes")) == said
    assert ok(home.cli("ask", sid, "say first")) == "first\n"
    assert records(home)[sid]["description"] == "to be used"


def test_the_turn_that_died_with_claude_is_interrupted(shared_home: Home, model: ScriptedModel, sid: str) -> None:
    """After recover, wait reports the interrupted turn, which is not run again, and the conversation continues."""
    home = shared_home
    ok(home.cli("ask", sid, "say before the end"))
    ok(home.cli("send", sid, "hang"))
    assert poll(lambda: model.last_text() == "hang" or None, Deadline(30))
    lose(home, sid, "process")
    assert json.loads(home.cli("wait", sid, "--json").stdout)[0]["reason"] == "died"
    model.forget()
    ok(home.cli("recover", sid, "--yes"))
    done = home.cli("wait", sid)
    assert (done.returncode, done.stdout) == (1, "")
    assert json.loads(ok(home.cli("status", sid, "--json")))["reason"] == "died"
    assert done.stderr.startswith(f"The turn of {sid} was interrupted: died: Claude ended while the turn ran; ")
    assert ok(home.cli("status", sid)) == "idle\n"
    assert model.turns() == []
    assert ": say before the end\n" in ok(home.cli("ask", sid, "history"))


@not_simulated
@pytest.mark.parametrize("noted", [True, False])
def test_claude_comes_back_with_the_conversation_after_a_clear(shared_home: Home, sid: str, noted: bool) -> None:
    """After /clear the new conversation is recovered, even if it has hardly begun."""
    home = shared_home
    ok(home.cli("ask", sid, "say before the clear"))
    first = record(home, sid)["internalId"]
    if noted:
        ok(home.cli("send", sid, "/clear"))
        ok(home.cli("ask", sid, "say after"))
        ok(home.tmux("kill-server"))
    else:
        pid = record(home, sid)["claudePid"]
        ok(home.tmux("send-keys", "-t", f"=dev-{sid}:", "-l", "/clear"))
        assert poll(lambda: "/clear" in below_prompt(home, sid) or None, Deadline(30), 0.1)
        ok(home.tmux("send-keys", "-t", f"=dev-{sid}:", "Enter"))
        file = home.path / ".claude" / "sessions" / f"{pid}.json"
        assert poll(lambda: json.loads(file.read_text())["sessionId"] != first or None, Deadline(30), 0.1)
        os.kill(pid, signal.SIGKILL)
        assert record(home, sid)["internalId"] == first
    assert poll(lambda: home.cli("status", sid).returncode or None, Deadline(30), 0.1)
    assert ok(home.cli("recover", sid, "--yes")) == f"Recovered session {sid}\n"
    assert record(home, sid)["internalId"] != first
    said = ok(home.cli("ask", sid, "history"))
    assert "say before the clear" not in said
    assert ("say after" in said) == noted


@pytest.mark.parametrize(
    "begun", [pytest.param("", marks=pytest.mark.soak), '{"type":"mode","mode":"normal","sessionId":"x"}\n{"type":"us']
)
def test_a_claude_that_died_before_its_first_message_was_written_begins_anew(
    shared_home: Home, model: ScriptedModel, sid: str, begun: str
) -> None:
    """A session whose transcript has no message is recovered with a new conversation."""
    home = shared_home
    ok(home.cli("ask", sid, "say before anything"))
    lose(home, sid, "server")
    (transcript,) = (home.path / ".claude" / "projects").rglob(f"{record(home, sid)['internalId']}.jsonl")
    transcript.write_text(begun)
    assert ok(home.cli("recover", sid, "--yes")) == f"Recovered session {sid}\n"
    assert ok(home.cli("ask", sid, "say anew")) == "anew\n"
    assert "say before anything" not in json.dumps(model.turns()[-1].body)
    assert transcript.read_text() == begun


def test_one_claude_that_cannot_come_back_does_not_stop_the_others(shared_home: Home, sid: str) -> None:
    """A missing folder and an unknown id are an error each, with exit code 1."""
    home, fine = shared_home, sid
    gone = ok(home.cli("create", "-q", cwd=home.workspace("gone"))).strip()
    for each in (gone, fine):
        ok(home.cli("ask", each, "say before"))
    ok(home.tmux("kill-server"))
    for each in (gone, fine):
        assert poll(lambda sid=each: home.cli("status", sid).returncode or None, Deadline(30), 0.1)  # type: ignore[misc] # bound early
    home.workspace("gone").rmdir()
    done = home.cli("recover", "nobody", gone, fine, gone, "--yes")
    assert (done.returncode, done.stdout) == (1, f"Recovered session {fine}\n")
    errors = done.stderr.splitlines()
    assert errors[0] == "Session not found: nobody (see: dev-sessions list)"
    assert errors[1].startswith(f"Workspace path does not exist: {home.path}/gone; ")
    assert errors[1].endswith(f"dev-sessions kill {gone}")
    assert len(errors) == 2
    home.workspace("gone")
    assert home.cli("recover", "--all").stdout.startswith(f"{gone}: would start Claude Code again in {home.path}/gone")
    ok(home.cli("kill", gone))


def test_a_claude_that_is_not_certain_to_be_gone_is_left(shared_home: Home, sid: str) -> None:
    """While tmux does not answer, nothing is started; once it does, the session is recovered."""
    home = shared_home
    ok(home.cli("ask", sid, "say before the stop"))
    server = int(ok(home.tmux("display-message", "-p", "#{pid}")))
    before = record(home, sid)
    os.kill(before["claudePid"], signal.SIGKILL)
    assert poll(lambda: None if is_alive(before["claudePid"]) else True, Deadline(30))
    os.kill(server, signal.SIGSTOP)
    try:
        done = home.cli("recover", sid, "--yes")
        assert (done.returncode, done.stdout) == (1, "")
        assert f"Could not list the panes of dev-{sid}: tmux did not answer within 10 s" in done.stderr
    finally:
        os.kill(server, signal.SIGCONT)
    assert stored_records(home)[sid] == before
    assert claude_processes(home, sid) == []
    assert ok(home.cli("recover", sid, "--yes")) == f"Recovered session {sid}\n"
    assert ": say before the stop\n" in ok(home.cli("ask", sid, "history"))


def test_a_conversation_that_is_open_elsewhere_is_left_to_that_claude(shared_home: Home, sid: str) -> None:
    """If a person has resumed the conversation, the process is named and no second one is started."""
    home = shared_home
    ok(home.cli("ask", sid, "say before"))
    lose(home, sid, "server")
    conversation = record(home, sid)["internalId"]
    argv = ["env", "IS_SANDBOX=1", "claude", "--dangerously-skip-permissions", "--resume", conversation]
    ok(home.tmux("new-session", "-d", "-x", "160", "-y", "50", "-s", "by-hand", "-c", home.workspace(), *argv))
    pid = ok(home.tmux("display-message", "-p", "-t", "by-hand", "#{pane_pid}")).strip()
    file = home.path / ".claude" / "sessions" / f"{pid}.json"
    assert poll(lambda: (file.exists() and conversation in file.read_text()) or None, Deadline(30), 0.1)
    done = home.cli("recover", "--all", "--yes")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"The conversation of {sid} is open in another process; end that one first: kill {pid}\n"
    ok(home.tmux("kill-session", "-t", "by-hand"))
    assert poll(lambda: True if home.cli("recover", sid, "--yes").returncode == 0 else None, Deadline(30), 0.2)


def test_what_a_user_keeps_in_the_tmux_session_of_a_dead_claude_is_left(shared_home: Home, sid: str) -> None:
    """A window that a person opened in the session's tmux is not closed, and the session is recovered beside it."""
    home = shared_home
    ok(home.cli("ask", sid, "say before beside it"))
    window = ok(home.tmux("new-window", "-P", "-F", "#{window_id}", "-t", f"=dev-{sid}:", "sleep", "1000")).strip()
    os.kill(record(home, sid)["claudePid"], signal.SIGKILL)
    assert poll(lambda: home.cli("status", sid).returncode or None, Deadline(30), 0.1)
    assert ok(home.cli("recover", sid, "--yes")) == f"Recovered session {sid}\n"
    assert "sleep 1000" in home.leftovers().values()
    assert ": say before beside it\n" in ok(home.cli("ask", sid, "history"))
    assert (
        ok(home.tmux("display-message", "-p", "-t", f"=dev-{sid}:", "#{pane_id}")).strip()
        == record(home, sid)["tmuxPane"]
    )
    assert len(ok(home.tmux("list-panes", "-s", "-t", f"=dev-{sid}:")).splitlines()) == 2
    ok(home.tmux("kill-window", "-t", window))


@not_simulated
def test_after_a_reboot_an_unrelated_process_is_not_taken_for_claude(shared_home: Home, sid: str) -> None:
    """A process that has got the old pid of a session is left alone."""
    home = shared_home
    ok(home.cli("ask", sid, "say before the reboot"))
    found = record(home, sid)
    left = home.path / ".claude" / "sessions" / f"{found['claudePid']}.json"
    said = json.loads(left.read_text())
    lose(home, sid, "server")
    stranger = home.popen("sleep", "1000")
    left.with_name(f"{stranger.pid}.json").write_text(json.dumps({**said, "pid": stranger.pid, "status": "idle"}))
    edit_record(home, sid, claudePid=stranger.pid)
    assert home.cli("status", sid).returncode == 1
    assert ok(home.cli("recover", "--all", "--yes")) == f"Recovered session {sid}\n"
    assert ": say before the reboot\n" in ok(home.cli("ask", sid, "history"))
    assert stranger.poll() is None
    stranger.kill()
    stranger.communicate()


@needs_proc
def test_after_the_machine_was_switched_off_both_agents_come_back(shared_home: Home, sid: str) -> None:
    """After all processes ended at once and the files stayed, as when WSL is idle, recover restores everything."""
    home, sessions = shared_home, [sid, create(shared_home, "codex")]
    for each in sessions:
        ok(home.cli("ask", each, f"say {each} before"))
    for pid in home.leftovers():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert poll(lambda: None if home.leftovers() else True, Deadline(30), 0.05)
    boot = (pid_namespace.domain() or "").split(":")[2]
    for file in (home.path / ".dev-sessions").rglob("*.json"):
        file.write_text(file.read_text().replace(boot, "5ad0"))
    assert home.cli("recover", "--all", "--yes").returncode == 0
    for each in sessions:
        assert ok(home.cli("last-message", each)) == f"{each} before\n"
        assert ok(home.cli("ask", each, "say after")) == "after\n"
    assert ok(home.cli("kill", sessions[1])) == f"Killed session {sessions[1]}\n"


def test_recovers_at_the_same_time_start_one_process(shared_home: Home, sid: str) -> None:
    """Of several recovers at once, one recovers the session and the others find it running, whatever the agent."""
    home, sessions = shared_home, [sid, create(shared_home, "codex")]
    for each in sessions:
        ok(home.cli("ask", each, "say before them all"))
    end_servers(home)
    for each in sessions:
        running = [home.popen("dev-sessions", "recover", each, "--yes") for _ in range(4)]
        said = sorted(child.communicate(timeout=60) for child in running)
        assert said == [(f"Recovered session {each}\n", ""), *[(f"{each} is running; left alone\n", "")] * 3]
    assert len(claude_processes(home, sid)) == 1
    for each in sessions:
        assert ": say before them all\n" in ok(home.cli("ask", each, "history"))
    assert len(claude_processes(home, sid)) == 1
    ok(home.cli("kill", sessions[1]))
    assert not [line for line in home.leftovers().values() if "app-server" in line]


def test_a_claude_that_does_not_start_again_leaves_everything_as_it_was(shared_home: Home, sid: str) -> None:
    """If the agent fails to start, the error quotes it, the record is unchanged, and a second try may succeed."""
    home = shared_home
    ok(home.cli("ask", sid, "say before"))
    lose(home, sid, "server")
    before = record(home, sid)
    done = home.cli("recover", sid, "--yes", env=fake_claude(home, DIES))
    assert (done.returncode, done.stdout) == (1, "")
    assert "Claude Code exited during its start; its output:\nno space on the moon" in done.stderr
    settings, state = home.path / ".claude" / "settings.json", home.path / ".claude.json"
    accepted = settings.read_text()
    settings.write_text("{}")
    state.write_text(state.read_text().replace("bypassPermissionsModeAccepted", "notAccepted"))
    done = home.cli("recover", sid, "--yes")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Claude Code running in Bypass Permissions mode" in done.stderr
    settings.write_text(accepted)
    state.write_text(state.read_text().replace("notAccepted", "bypassPermissionsModeAccepted"))
    running = home.popen("dev-sessions", "recover", sid, "--yes", env=fake_claude(home, NOT_READY))
    assert poll(lambda: "thinking" in home.tmux("capture-pane", "-p").stdout or None, Deadline(30), 0.1)
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=30)
    assert running.returncode == 128 + signal.SIGTERM
    assert poll(lambda: True if home.leftovers() == {} else None, Deadline(30), 0.1), home.leftovers()
    assert record(home, sid) == before
    assert list((home.path / ".dev-sessions" / "launch").iterdir()) == []
    assert ok(home.cli("recover", sid, "--yes")) == f"Recovered session {sid}\n"


def test_the_pane_of_a_start_that_was_given_up_does_not_stop_a_recover(shared_home: Home, sid: str) -> None:
    """A session is recovered although a pane ends only now that tmux opened for it after hanging."""
    ok(shared_home.cli("ask", sid, "say before the pane"))
    lose(shared_home, sid, "session")
    spec = shared_home.path / ".dev-sessions" / "launch" / f"{sid}.json"
    start = shlex.join([sys.executable, "-I", "-S", launch.__file__, str(spec)])
    go = shared_home.workspace() / "go"
    late = f"until test -e {shlex.quote(str(go))}; do sleep 0.05; done; exec {start}"
    ok(shared_home.tmux("new-session", "-d", "-s", f"dev-{sid}", late))
    tmux = FaultyTmux(shared_home, 0)
    recover = shared_home.popen("dev-sessions", "recover", sid, "--yes", env=tmux.env)
    assert poll(lambda: any("capture-pan" in call for call in tmux.calls()) or None, Deadline(30)), "it reads the pane"
    go.touch()
    assert recover.communicate(timeout=60) == (f"Recovered session {sid}\n", "")
    assert ok(shared_home.cli("last-message", sid)) == "before the pane\n"
    assert len(claude_processes(shared_home, sid)) == 1


def test_old_lost_sessions_of_claude_are_forgotten_by_prune(home: Home) -> None:
    """--prune deletes sessions that are lost and unused for 30 days, and only with --yes."""
    old, new, alive = create_stand_in(home), create_stand_in(home), create(home, "codex")
    ok(home.cli("ask", alive, "say before"))
    for sid in (old, new):
        lose(home, sid, "session")
    now = time.time()
    edit_record(home, old, lastUsed=timestamp(now - 31 * 86400))
    edit_record(home, new, lastUsed=timestamp(now - 29 * 86400))
    edit_record(home, alive, lastUsed=timestamp(now - 31 * 86400))
    used = timestamp(now - 31 * 86400)[:10]
    done = home.cli("recover", "--prune")
    assert (done.returncode, done.stdout) == (
        0,
        f"{old}: would delete its record: it is lost, and was last used on {used}\n",
    )
    assert set(records(home, "--all")) == {old, new, alive}
    assert ok(home.cli("recover", "--prune", "--yes")) == f"Deleted session {old}\n"
    assert set(records(home, "--all")) == {new, alive}
    assert ok(home.cli("recover", "--prune", "--yes")) == "No sessions to delete\n"
    assert ok(home.cli("kill", new)) == f"Killed session {new}\n"


def test_a_codex_thread_is_loaded_again_and_its_goal_goes_on(home: Home, model: ScriptedModel) -> None:
    """After a crash of the app-server the session is readable and idle, and only recover resumes its goal, and says
    so."""
    sid = create(home, "codex")
    ok(home.cli("ask", sid, "say before"))
    set_goal(home, sid, "after 1 work 3 turns")
    assert poll(lambda: "work 3 turns" in json.dumps(model.turns()[-1].body) or None, Deadline(30), 0.1)
    end_servers(home)
    model.forget()
    assert ok(home.cli("status", sid)) == "idle\n"
    assert ok(home.cli("last-message", sid)) != ""
    done = home.cli("recover")
    assert done.stdout == f"{sid}: would have Codex load its thread again; a goal that is active continues\n"
    assert model.turns() == []
    assert ok(home.cli("recover", sid, "--yes")) == f"Recovered session {sid}\n"
    assert poll(lambda: model.turns() or None, Deadline(30), 0.1)
    assert "say before" in json.dumps(model.turns()[-1].body)
    assert ok(home.cli("recover", sid, "--yes")) == f"{sid} is running; left alone\n"


def test_a_codex_conversation_that_is_gone_is_an_error(home: Home) -> None:
    """A thread whose history is gone is an error; others are recovered."""
    gone, fine = create(home, "codex"), create(home, "codex")
    for sid in (gone, fine):
        ok(home.cli("ask", sid, "say before"))
    end_servers(home)
    for path in (home.path / ".codex").rglob(f"*{record(home, gone)['internalId']}*"):
        path.unlink()
    done = home.cli("recover", gone, fine, "--yes")
    assert (done.returncode, done.stdout) == (1, f"Recovered session {fine}\n")
    assert f"{gone} is lost: Codex finds no thread" in done.stderr
    assert ok(home.cli("ask", fine, "history")) == "1: say before\n"
