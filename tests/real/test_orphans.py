"""Commands that were killed in the middle: what they had started is ended, or taken over."""

from __future__ import annotations

import json
import os
import signal
import sys

import pytest

from dev_sessions.codex import client, protocol
from dev_sessions.sessions.store import Store
from dev_sessions.system.deadline import Deadline, poll
from tests.support.claude import NOT_READY, claude_processes, fake_claude, lose
from tests.support.cli import create, ok, outcome, records, stored_records
from tests.support.forks import Forks
from tests.support.home import Home

pytestmark = pytest.mark.forked


def kill_when_it_runs(home: Home, *arguments: str, env: dict[str, str] | None = None) -> None:
    """Start a command and end it with SIGKILL when Claude has a tmux session."""
    running = home.popen("dev-sessions", *arguments, cwd=home.workspace(), env=env)
    assert poll(lambda: home.tmux("list-sessions").stdout or None, Deadline(30), 0.02)
    running.send_signal(signal.SIGKILL)
    running.communicate(timeout=30)


def own_tmux(home: Home) -> dict[str, str]:
    """Return the environment of a caller inside a tmux server of their own."""
    ok(home.run("tmux", "-L", "mine", "new-session", "-d", "-s", "work"))
    return {"TMUX": ok(home.run("tmux", "-L", "mine", "display-message", "-p", "#{socket_path},1,0")).strip()}


def is_over(home: Home) -> bool:
    """Return whether nothing is left: no process, and no file with an environment in it."""
    gone = poll(lambda: True if home.leftovers() == {} else None, Deadline(30), 0.1)
    return bool(gone) and not list((home.path / ".dev-sessions" / "launch").iterdir())


def test_what_a_killed_create_left_of_claude_is_ended_by_kill(home: Home) -> None:
    """kill ends the record and the Claude that a killed create left, by its name."""
    kill_when_it_runs(home, "create", "--id", "fizz-top")
    assert list(stored_records(home)) == ["fizz-top"]
    assert "its create was killed" in home.cli("recover", "fizz-top", "--yes").stderr
    assert ok(home.cli("kill", "fizz-top")) == "Killed session fizz-top\n"
    assert stored_records(home) == {}
    assert is_over(home)


def test_what_a_killed_create_left_of_claude_is_found_on_another_tmux(home: Home) -> None:
    """kill ends a Claude that a killed create left on another tmux server than the caller's."""
    env = {**own_tmux(home), **fake_claude(home, NOT_READY)}
    running = home.popen("dev-sessions", "create", "--id", "fizz-top", cwd=home.workspace(), env=env)
    sessions = ("tmux", "-L", "mine", "list-sessions")
    assert poll(lambda: "dev-fizz-top" in home.run(*sessions).stdout or None, Deadline(30), 0.02)
    running.send_signal(signal.SIGKILL)
    running.communicate(timeout=30)
    ok(home.cli("kill", "fizz-top"))
    assert [line for line in home.leftovers().values() if "sleep 60" in line] == []
    ok(home.run("tmux", "-L", "mine", "kill-server"))
    assert is_over(home)


def test_what_a_killed_create_left_of_claude_is_ended_by_the_next_command(home: Home) -> None:
    """The next create or list ends what a killed create left, and leaves a running create alone."""
    kill_when_it_runs(home, "create", "--id", "fizz-top")
    slow = home.popen("dev-sessions", "create", "--id", "slow", cwd=home.workspace(), env=fake_claude(home, NOT_READY))
    assert poll(lambda: "dev-slow" in home.tmux("list-sessions").stdout or None, Deadline(30), 0.02)
    assert records(home, "--all") == {}
    assert set(stored_records(home)) == {"slow"}
    assert ok(home.tmux("list-sessions", "-F", "#{session_name}")) == "dev-slow\n"
    slow.send_signal(signal.SIGKILL)
    slow.communicate(timeout=30)
    assert ok(home.cli("create", "--id", "slow", cwd=home.workspace())) == "Created session slow\n"
    assert set(stored_records(home)) == {"slow"}
    assert ok(home.cli("kill", "--all")) == "Killed session slow\nKilled 1 sessions\n"
    assert is_over(home)


def test_what_a_killed_create_of_claude_did_not_start_is_left_alone(home: Home) -> None:
    """A tmux session with the name of a killed create is left alone if that create did not start it."""
    kill_when_it_runs(home, "create", "--id", "fizz-top")
    # The server would end with its last session.
    ok(home.tmux("new-session", "-d", "-s", "other", "sleep", "1000"))
    ok(home.tmux("kill-session", "-t", "=dev-fizz-top"))
    ok(home.tmux("new-session", "-d", "-s", "dev-fizz-top", "sleep", "1000"))
    assert records(home, "--all") == {}
    assert stored_records(home) == {}
    ok(home.tmux("has-session", "-t", "=dev-fizz-top"))


def kill_in_recover(home: Home, sid: str, server: tuple[str, str], env: dict[str, str] | None) -> None:
    """Begin to bring a session back on a tmux server, and end that with SIGKILL."""
    running = home.popen("dev-sessions", "recover", sid, "--yes", env=env)
    sessions = ("tmux", *server, "list-sessions")
    assert poll(lambda: f"dev-{sid}" in home.run(*sessions).stdout or None, Deadline(30), 0.02)
    running.send_signal(signal.SIGKILL)
    running.communicate(timeout=30)


def test_a_killed_recover_of_claude_is_in_nobodys_way(home: Home) -> None:
    """The next recover takes over the Claude that a killed one had started, even from outside its tmux server."""
    sid = create(home, "claude")
    ok(home.cli("ask", sid, "say before"))
    lose(home, sid, "server")
    for env in (None, own_tmux(home)):
        socket = ("-L", "mine") if env else ("-L", "default")
        kill_in_recover(home, sid, socket, env)
        assert home.cli("status", sid).returncode == 1
        assert ok(home.cli("recover", sid, "--yes")) == f"Recovered session {sid}\n"
        assert len(claude_processes(home, sid)) == 1
        assert ok(home.cli("ask", sid, "history")).startswith("1: say before\n")
        ok(home.run("tmux", *socket, "kill-session", "-t", f"=dev-{sid}"))
        assert poll(lambda: home.cli("status", sid).returncode or None, Deadline(30), 0.1)
    kill_in_recover(home, sid, ("-L", "default"), None)
    assert ok(home.cli("kill", sid)) == f"Killed session {sid}\n"
    ok(home.run("tmux", "-L", "mine", "kill-server"))
    assert is_over(home)


def test_a_session_that_is_killed_while_it_comes_back_stays_killed(home: Home) -> None:
    """A session that is killed during its recover leaves no record and no Claude, and recover reports it as not
    found."""
    sid = create(home, "claude")
    ok(home.cli("ask", sid, "say before"))
    lose(home, sid, "server")
    env = {**fake_claude(home, NOT_READY), "DEV_SESSIONS_TRANSCRIPT_TIMEOUT_MS": "2000"}
    running = home.popen("dev-sessions", "recover", sid, "--yes", env=env)
    assert poll(lambda: "thinking" in home.tmux("capture-pane", "-p").stdout or None, Deadline(30), 0.02)
    forget(home, sid)
    _, error = running.communicate(timeout=20)
    assert running.returncode == 1
    assert f"Session not found: {sid}" in error
    assert is_over(home)


def test_a_create_of_claude_that_cannot_be_remembered_leaves_nothing_running(home: Home) -> None:
    """If the store is damaged while Claude starts, create says so and ends Claude."""
    env = {**fake_claude(home, NOT_READY), "DEV_SESSIONS_TRANSCRIPT_TIMEOUT_MS": "2000"}
    running = home.popen("dev-sessions", "create", cwd=home.workspace(), env=env)
    assert poll(lambda: "thinking" in home.tmux("capture-pane", "-p").stdout or None, Deadline(30), 0.02)
    (home.path / ".dev-sessions" / "sessions.json").write_text("{")
    output, error = running.communicate(timeout=20)
    assert (running.returncode, output) == (1, "")
    assert "sessions.json is not valid JSON" in error
    assert is_over(home)


def forget(home: Home, sid: str) -> None:
    """Take a session out of the store, as the last step of a kill that had begun before the recover."""
    # In this process: a new one might start too late on a busy machine.
    Store(home.path / ".dev-sessions" / "sessions.json").remove(sid)


def test_a_list_does_not_drop_what_is_being_brought_back(home: Home) -> None:
    """A session that never had a message is dropped by list when it is lost, but not while somebody recovers it."""
    sid = create(home, "claude")
    ok(home.tmux("kill-server"))
    assert poll(lambda: home.cli("status", sid).returncode or None, Deadline(30), 0.1)
    running = home.popen("dev-sessions", "recover", sid, "--yes", env=fake_claude(home, NOT_READY))
    assert poll(lambda: "thinking" in home.tmux("capture-pane", "-p").stdout or None, Deadline(30), 0.02)
    ok(home.cli("list"))
    ok(home.tmux("has-session", "-t", f"=dev-{sid}"))
    assert sid in stored_records(home)
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=30)
    warning = f"Warning: {sid} ended before it was sent a message; its record was deleted\n"
    assert outcome(home.cli("list")) == (0, "No active sessions\n", warning)
    assert stored_records(home) == {}
    assert is_over(home)


def doctor(forks: Forks) -> dict[str, str]:
    """Return doctor's warnings by the names of their checks."""
    rows = json.loads(forks.cli("doctor", "--json").stdout)
    return {row["name"]: row["text"] for row in rows if row["verdict"] != "ok"}


def kill_with_a_thread(forks: Forks, place: int) -> None:
    """Kill a create of Codex with SIGKILL when it has a thread that its record does not name yet."""
    done = forks.cli("create", "--id", "cut-off", "--cli", "codex", at=place)
    assert (done.code, done.points[-2]) == (-9, "sent thread/start")


@pytest.mark.skipif(sys.platform != "linux", reason="how often ps is asked, and so the place of a point, varies")
def test_a_thread_that_a_killed_create_of_codex_left_is_ended_by_the_next_kill(home: Home) -> None:
    """doctor names a thread that a killed create of Codex left, and the next kill ends it and no other thread; before
    0.150 it ends with the app-server."""
    with Forks(home) as forks:
        ok(home.cli("create", "--id", "whole", "--cli", "codex"))
        place = forks.cli("create", "--id", "other", "--cli", "codex").points.index("sent thread/start") + 2
        address = json.loads((home.path / ".dev-sessions" / "codex" / "state.json").read_text())["address"]

        def nobodys() -> set[str]:
            with client.connect(address) as connection:
                loaded = protocol.loaded_threads(connection.call("thread/loaded/list", {}))
            return set(loaded) - {record["internalId"] for record in stored_records(home).values()}

        # One that goes on may still name the thread.
        paused = forks.start("create", "--id", "slow", "--cli", "codex", at=place, number=signal.SIGSTOP)
        assert poll(lambda: nobodys() or None, Deadline(20), 0.02)
        kill_with_a_thread(forks, place)
        assert len(nobodys()) == 2
        assert "threads" not in doctor(forks)
        ok(home.cli("kill", "cut-off"))
        assert len(nobodys()) == 2
        os.kill(paused, signal.SIGCONT)
        assert forks.wait(paused).code == 0
        kill_with_a_thread(forks, place)
        left = nobodys()
        assert len(left) == 2
        with client.connect(address) as person:
            # As Codex's terminal does for /new.
            theirs = protocol.thread_id(person.call("thread/start", {"cwd": "/", "threadSource": "user"}))
        warning = doctor(forks)["threads"]
        assert [thread for thread in left if thread not in warning] == []
        assert "the next dev-sessions kill" in warning
        ok(home.cli("kill", "slow"))
        assert nobodys() == {theirs}
        assert ok(home.cli("ask", "whole", "say still here")) == "still here\n"
    ok(home.cli("kill", "--all"))
    assert poll(lambda: True if home.leftovers() == {} else None, Deadline(30), 0.1), home.leftovers()
