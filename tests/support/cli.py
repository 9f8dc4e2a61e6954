"""Run `dev-sessions` in a home and read what it prints and stores."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from dev_sessions.system.deadline import Deadline, poll
from tests.support.home import Home

AGENTS = ("claude", "codex")
both = pytest.mark.parametrize("agent", AGENTS)
needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc, which only Linux has")
#: Runs the command behind it in a terminal.
IN_A_TERMINAL = (sys.executable, "-c", "import pty, sys; pty.spawn(sys.argv[1:])")


def ok(done: CompletedProcess[str]) -> str:
    """Assert that a command succeeded without a word on stderr, and return what it printed."""
    # In full: pytest cuts the middle out of a long string.
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def create(home: Home, agent: str, *options: str) -> str:
    """Create a session and return its id."""
    return ok(home.cli("create", "-q", "--cli", agent, *options, cwd=home.workspace())).strip()


def records(home: Home, *options: str) -> dict[str, dict[str, Any]]:
    """Return the sessions of `list --json` by their ids."""
    return {record["championId"]: record for record in json.loads(ok(home.cli("list", "--json", *options)))}


def await_waiting(child: subprocess.Popen[str]) -> None:
    """Wait until a command has nothing left to do but wait."""
    assert poll(lambda: is_waiting(child.pid) or None, Deadline(30), 0.05)


def is_waiting(pid: int) -> bool:
    """Return whether a process sleeps at six of eight polls, 10 ms apart, as it never does while it starts.

    In between it may poll what it waits for, which takes a while on a busy machine.
    """
    states = []
    for _ in range(8):
        states.append(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0])
        time.sleep(0.01)
    return states.count("S") >= 6


def record(home: Home, sid: str) -> dict[str, Any]:
    """Return a session's record as `inspect` prints it."""
    stored: dict[str, Any] = json.loads(ok(home.cli("inspect", sid)))
    return stored


def stored_records(home: Home) -> dict[str, dict[str, Any]]:
    """Return the records of sessions.json by their ids, without a command that could drop any."""
    document = json.loads((home.path / ".dev-sessions" / "sessions.json").read_text())
    return {found["championId"]: found for found in document["sessions"]}


def edit_record(home: Home, sid: str, **changes: object) -> None:
    """Change fields of a session's record in sessions.json."""
    found = {**stored_records(home), sid: {**stored_records(home)[sid], **changes}}
    document = {"version": 1, "sessions": list(found.values())}
    (home.path / ".dev-sessions" / "sessions.json").write_text(json.dumps(document))


def assert_refused(done: CompletedProcess[str], words: str) -> None:
    """Assert that a command failed with one line on stderr that has these words in it."""
    assert (done.returncode, done.stdout) == (1, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def outcome(done: CompletedProcess[str]) -> tuple[int, str, str]:
    """Return a command's exit code, output and errors."""
    return done.returncode, done.stdout, done.stderr


def state_of(home: Home, sid: str) -> dict[str, Any]:
    """Return the state of the turn by `status --json`."""
    answer: dict[str, Any] = json.loads(ok(home.cli("status", sid, "--json")))
    return {name: value for name, value in answer.items() if name in ("state", "waitingFor", "background")}
