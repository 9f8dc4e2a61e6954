"""Signals and streams: a command that is ended from outside, or that nobody listens to."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dev_sessions.deadline import Deadline, poll
from tests.cli.test_colour import LINES
from tests.real.test_flow import create, is_waiting, ok, reads_proc
from tests.support.home import Home


@reads_proc
@pytest.mark.parametrize("agent", ["claude", "codex"])
def test_a_signal_ends_a_command_and_nothing_else(home: Home, agent: str) -> None:
    """SIGTERM, SIGINT and SIGHUP end a wait and an ask at once, with their code and without a word; the session goes
    on, and takes the next message."""
    sid = create(home, agent)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        for arguments in (["wait", sid], ["ask", sid, "after 3 say more"]):
            ok(home.cli("send", sid, "after 3 say done"))
            running = home.popen("dev-sessions", *arguments)
            assert poll(lambda pid=running.pid: is_waiting(pid) or None, Deadline(20), 0.05)  # type: ignore[misc] # bound early
            running.send_signal(number)
            output, errors = running.communicate(timeout=20)
            assert (output, errors.strip()) == ("", "")
            assert running.returncode == (130 if number == signal.SIGINT else 128 + number)
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert ok(home.cli("ask", sid, "say still here")) == "still here\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_the_caller_ignores_is_ignored(home: Home, number: signal.Signals) -> None:
    """A gateway under nohup outlives the terminal that it was started in."""
    ignoring = (
        f"import os, signal, sys; signal.signal({int(number)}, signal.SIG_IGN); os.execvp(sys.argv[1], sys.argv[1:])"
    )
    running = home.popen(sys.executable, "-c", ignoring, "dev-sessions", "gateway", "--port", "0")
    assert running.stdout is not None
    assert running.stdout.readline().startswith("Gateway listening")
    running.send_signal(number)
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=20)
    assert running.returncode == 130


@pytest.mark.parametrize("arguments", [["--help"], *(line for line in LINES if "--help" not in line)], ids=" ".join)
@pytest.mark.parametrize("streams", ["<&- >&-", "2>&-", "| true"])
def test_a_stream_that_nobody_takes_is_no_traceback(arguments: list[str], streams: str, tmp_path: Path) -> None:
    """Whatever is closed, full or no longer read, there is no traceback and no word of Python's."""
    done = subprocess.run(
        ["/bin/sh", "-c", f'"$0" -m dev_sessions "$@" {streams}', sys.executable, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "TMUX_TMPDIR": str(tmp_path)},
        check=False,
    )
    assert done.returncode in (0, 1, 2)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert done.stderr.count("\n") <= 3


def test_a_full_disk_is_an_error(tmp_path: Path) -> None:
    """An answer that could not be written is not reported as given."""
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "dev_sessions", "list"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={"HOME": str(tmp_path)},
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "Cannot write the output: No space left on device\n")
