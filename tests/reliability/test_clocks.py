"""Clocks: a wait that is frozen, and a machine whose clocks part."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dev_sessions.system.deadline import Deadline, poll
from tests.support.cli import await_waiting, create, needs_proc, ok
from tests.support.darwin import sitecustomize
from tests.support.home import Home
from tests.support.model import ScriptedModel

pytestmark = pytest.mark.forked


def test_a_timeout_counts_the_time_that_the_machine_was_awake(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wall clock that is set, or that ran on while the machine slept, ends no wait early and lengthens none."""
    awake, wall = 100.0, 1e9
    monkeypatch.setattr(time, "monotonic", lambda: awake)
    monkeypatch.setattr(time, "time", lambda: wall)
    deadline = Deadline(60)
    wall += 8 * 3600
    assert deadline.remaining() == 60
    wall -= 9 * 3600
    awake += 59
    assert not deadline.expired
    awake += 1
    assert deadline.expired


@needs_proc
def test_a_wait_that_was_frozen_finds_what_happened_meanwhile(home: Home, model: ScriptedModel) -> None:
    """A wait that was stopped beyond its own timeout reports the turn that ended meanwhile, not a timeout."""
    sessions = [create(home, agent) for agent in ("claude", "codex")]
    waits = []
    for sid in sessions:
        ok(home.cli("send", sid, "when told say done"))
        running = home.popen("dev-sessions", "wait", sid, "--timeout", "10")
        await_waiting(running)
        running.send_signal(signal.SIGSTOP)
        waits.append((running, Deadline(10.5)))
    model.allow("told")
    for sid in sessions:
        assert poll(lambda sid=sid: ok(home.cli("status", sid)) == "idle\n" or None, Deadline(30), 0.2)  # type: ignore[misc] # bound early
    for running, stopped in waits:
        stopped.pause(stopped.remaining())
        running.send_signal(signal.SIGCONT)
        assert running.communicate(timeout=20) == ("completed\n", "")


@needs_proc
def test_no_clock_of_one_command_means_anything_to_another(home: Home) -> None:
    """A command in a time namespace whose monotonic clock is far ahead does as any other, and the store stays right."""
    apart: tuple[str, ...] = ("unshare", "-T", "--monotonic", "1000000", sys.executable, "-m", "dev_sessions")
    if subprocess.run([*apart[:4], "true"], capture_output=True, check=False).returncode != 0:
        apart = apart[4:]  # not allowed to this user: then both have one clock
    sid = create(home, "codex")
    assert ok(home.run(*apart, "ask", sid, "say there")) == "there\n"
    assert ok(home.cli("ask", sid, "say here")) == "here\n"
    assert ok(home.run(*apart, "wait", sid, "--timeout", "20")) == "completed\n"
    assert [record["state"] for record in json.loads(ok(home.cli("list", "--json")))] == ["idle"]


def test_a_clock_and_a_time_zone_that_change_under_a_turn(home: Home, tmp_path: Path) -> None:
    """A wait finds the turn of a message that was sent before the clock was set by an hour, or in another time zone."""
    clock = "import os, time\nnow = time.time\ntime.time = lambda: now() + float(os.environ['AHEAD'])\n"
    (tmp_path / "sitecustomize.py").write_text(sitecustomize(clock))
    command = (sys.executable, "-m", "dev_sessions")
    for agent in ("claude", "codex"):
        sid = create(home, agent)
        for ahead in (3600, -3600):
            changed = {"PYTHONPATH": str(tmp_path), "AHEAD": str(ahead), "TZ": "Asia/Tokyo"}
            ok(home.run(*command, "send", sid, f"say {ahead}", env=changed))
            assert ok(home.cli("wait", sid, "--timeout", "20")) == "completed\n"
            assert ok(home.cli("last-message", sid)) == f"{ahead}\n"
            assert ok(home.run(*command, "ask", sid, f"say {ahead} again", env=changed)) == f"{ahead} again\n"
