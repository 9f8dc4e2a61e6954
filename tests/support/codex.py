"""Codex sessions and their app-server: state, messages, crashes, and the errors of a wait."""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import suppress
from subprocess import Popen, TimeoutExpired
from typing import Any

import pytest

from dev_sessions.codex.app_server import AppServer
from dev_sessions.models import CodexSession
from dev_sessions.system.deadline import Deadline, poll
from dev_sessions.system.version import parse_version
from tests.support.agents import pinned
from tests.support.cli import await_waiting, ok
from tests.support.home import Home

VERSION = parse_version(pinned()["codex"])
#: Seconds that a command may take beside the work of which a test speaks, on a machine that has other work, too.
SLACK = 5.0
#: Settings of a thread that asks before it runs a command.
UNTRUSTED = {"approvalPolicy": "untrusted"}


def daemon(home: Home) -> AppServer:
    """Return the app-server of a home."""
    return AppServer(home.path / ".dev-sessions" / "codex")


def session_of(home: Home, sid: str) -> CodexSession:
    """Return a session with what is needed to find its thread."""
    record = json.loads(ok(home.cli("inspect", sid)))
    return CodexSession(id=sid, internal_id=record["internalId"], path=record["path"], created_at="", last_used="")


def receipt(home: Home, sid: str, text: str) -> dict[str, Any]:
    """Send a message and return its receipt."""
    found: dict[str, Any] = json.loads(ok(home.cli("send", sid, "--json", "--file", "-", stdin=text)))
    return found


def last_message(home: Home, sid: str) -> str:
    """Return the only block of the last message, to the letter."""
    (text,) = json.loads(ok(home.cli("last-message", sid, "--json")))
    return str(text)


def crash(home: Home) -> None:
    """Kill the app-server with its launcher, and wait until both are gone."""
    state = daemon(home).state()
    assert state is not None
    os.killpg(state.pid, signal.SIGKILL)

    def gone() -> bool | None:
        with suppress(ProcessLookupError):
            os.killpg(state.pid, 0)
            return None
        return True

    assert poll(gone, Deadline(30))


def assert_still_running(child: Popen[str], seconds: float) -> None:
    """Assert that a command does not end within so many seconds."""
    with pytest.raises(TimeoutExpired):
        child.wait(seconds)


def begin_wait(home: Home, sid: str, *options: str) -> Popen[str]:
    """Start a wait, and return it when it has begun."""
    wait = home.popen("dev-sessions", "wait", sid, *options)
    assert_still_running(wait, 0.5)
    if sys.platform == "linux":
        await_waiting(wait)
    else:
        assert_still_running(wait, 1.5)
    return wait


def await_idle(home: Home, sid: str) -> None:
    """Wait until `status` reports idle."""
    assert poll(lambda: True if ok(home.cli("status", sid)) == "idle\n" else None, Deadline(30))


def next_step(sid: str) -> str:
    """Return the end of the error of a turn that failed or was interrupted: what to do next."""
    return f"continue the conversation with: dev-sessions send {sid}"


def assert_turn_failed(home: Home, sid: str, reason: str) -> None:
    """Assert that `wait` reports a failed turn, its reason and what to do next."""
    done = home.cli("wait", sid)
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "",
        f"The turn of {sid} failed: {reason}; {next_step(sid)}\n",
    )


def assert_turn_interrupted(home: Home, sid: str, why: str = "") -> None:
    """Assert that `wait` reports the turn as interrupted, every time."""
    for _ in range(2):
        done = home.cli("wait", sid)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"The turn of {sid} was interrupted{why and f': {why}'}; {next_step(sid)}")


def end_servers(home: Home) -> None:
    """Kill tmux and Codex's app-server, remove its socket, and wait until nothing of the home runs."""
    home.tmux("kill-server")
    state = home.path / ".dev-sessions" / "codex" / "state.json"
    if state.exists():
        os.killpg(json.loads(state.read_text())["pid"], signal.SIGKILL)
        state.with_name("app-server.sock").unlink(missing_ok=True)
    assert poll(lambda: True if home.leftovers() == {} else None, Deadline(30), 0.1), home.leftovers()
