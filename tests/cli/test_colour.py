"""No colour: what is printed is the text alone."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import SAMPLE_COMMANDS

CODE = f"""
from dev_sessions.cli import run
from dev_sessions.cli.app import Application
for line in {SAMPLE_COMMANDS!r}:
    print("ran", line[0], flush=True)
    run(list(line), Application())
"""


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """Return the environment of a user whose programs print colour whenever they can."""
    state = tmp_path / ".dev-sessions"
    state.mkdir()
    record = {
        "championId": "fizz-top",
        "internalId": "00000000-0000-4000-8000-000000000000",
        "cli": "claude",
        "mode": "native",
        "path": str(tmp_path),
        "description": "words",
        "status": "active",
        "createdAt": "2026-01-01T00:00:00.000Z",
        "lastUsed": "2026-01-01T00:00:00.000Z",
    }
    (state / "sessions.json").write_text(json.dumps({"version": 1, "sessions": [record]}))
    return {
        "HOME": str(tmp_path),
        "PATH": os.environ["PATH"],
        "TMUX_TMPDIR": str(tmp_path),
        "LANG": "C.UTF-8",
        "TERM": "xterm-256color",
        "COLORTERM": "truecolor",
    }


def complete(printed: str) -> bool:
    """Return whether every command line was run, and the lost session was among the output."""
    ran = [line.split()[1] for line in printed.splitlines() if line.startswith("ran ")]
    return (
        ran == [line[0] for line in SAMPLE_COMMANDS] and "fizz-top" in printed and "Installed skill: handoff" in printed
    )


def test_in_a_pipe_there_is_no_colour(env: dict[str, str]) -> None:
    """Whatever a command prints into a pipe has no escape sequence, even where colour is asked for."""
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        env={**env, "FORCE_COLOR": "1", "CLICOLOR_FORCE": "1"},
        check=True,
    )
    assert complete(done.stdout)
    assert "\x1b" not in done.stdout


def test_on_a_terminal_with_no_color_there_is_none(env: dict[str, str]) -> None:
    """NO_COLOR is honoured on a terminal."""
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", CODE], stdin=follower, stdout=follower, stderr=follower, env={**env, "NO_COLOR": "1"}
    ) as child:
        os.close(follower)
        printed = _read(leader)
    os.close(leader)
    assert child.returncode == 0
    assert complete(printed)
    assert "\x1b" not in printed


def _read(terminal: int) -> str:
    """Return the output on a terminal until its programs have ended, which Linux reports as a read error."""
    data = b""
    while True:
        try:
            more = os.read(terminal, 65536)
        except OSError:
            more = b""
        if not more:
            return data.decode()
        data += more
