"""Waiting for several sessions at once."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import Any

import pytest

from dev_sessions.system.deadline import Deadline, poll
from tests.support.cli import await_waiting, create, needs_proc, ok, outcome
from tests.support.gateway import running_gateway
from tests.support.home import Home
from tests.support.model import ScriptedModel
from tests.support.remote import NAME, Remote

pytestmark = pytest.mark.forked


def json_lines(text: str) -> list[dict[str, Any]]:
    """Return the objects in a text that has one on each line."""
    return [json.loads(line) for line in text.splitlines()]


def test_all_are_waited_for_at_once(home: Home, model: ScriptedModel) -> None:
    """Each session is reported as it ends, and together they take as long as the slowest."""
    claude, codex, third = create(home, "claude"), create(home, "codex"), create(home, "codex")
    ok(home.cli("send", claude, "when told say slow"))
    ok(home.cli("send", codex, "when begun say quick"))
    lines = home.popen(sys.executable, "-m", "dev_sessions", "wait", claude, codex, "--json")
    waiting = home.popen(sys.executable, "-m", "dev_sessions", "wait", claude, codex, third, codex)
    assert waiting.stdout is not None
    assert waiting.stdout.readline() == f"{third} completed\n"
    model.allow("begun")
    assert waiting.stdout.readline() == f"{codex} completed\n"
    assert lines.stdout is not None
    assert json.loads(lines.stdout.readline())["id"] == codex
    model.allow("told")
    assert json.loads(lines.communicate(timeout=20)[0])["id"] == claude
    unsent = f"Warning: no message has been sent to {third} yet; completed means only that it is idle\n"
    assert waiting.communicate(timeout=20) == (f"{claude} completed\n", unsent)
    assert waiting.returncode == 0
    rows = json_lines(ok(home.cli("wait", claude, codex, "--json")))
    assert {(row["id"], row["outcome"], row["exitCode"]) for row in rows} == {
        (claude, "completed", 0),
        (codex, "completed", 0),
    }
    assert all(row["elapsedMs"] >= 0 for row in rows)


@pytest.mark.parametrize("option", ["--any", "--json", pytest.param("--quiet", marks=pytest.mark.matrix)])
def test_waits_for_several_end_with_the_ssh_client(shared_home: Home, model: ScriptedModel, option: str) -> None:
    """A wait for several sessions that was started over ssh ends when the client disconnects."""
    home = shared_home
    sids = [create(home, "codex") for _ in range(2)]
    for sid in sids:
        ok(home.cli("send", sid, "when told say done"))
    over_ssh = {"SSH_CONNECTION": "192.0.2.1 50000 192.0.2.2 22"}
    waiting = home.popen(sys.executable, "-m", "dev_sessions", "wait", *sids, option, env=over_ssh)
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(1)
    assert waiting.stdout is not None
    waiting.stdout.close()
    waiting.wait(30)
    model.allow("told")


def test_the_first_is_enough_with_any(home: Home) -> None:
    """--any ends when the first has, prints its id, and leaves the others at work; after a timeout it prints none."""
    slow, quick = create(home, "codex"), create(home, "claude")
    ok(home.cli("send", slow, "when never say slow"))
    ok(home.cli("send", quick, "after 1 say quick"))
    assert ok(home.cli("wait", "--any", slow, quick)) == f"{quick}\n"
    assert ok(home.cli("status", slow)) == "working\n"
    ok(home.cli("send", quick, "when never say late"))
    late = home.cli("wait", "--any", slow, quick, "--timeout", "1s")
    assert outcome(late) == (124, "", f"Timed out waiting for {slow}, {quick}\n")


def test_the_worst_end_is_the_exit_code(home: Home) -> None:
    """Failures, questions and timeouts are reported for each session; the exit code is the highest of them."""
    fine, fails, asks, late = (create(home, agent) for agent in ("codex", "codex", "claude", "codex"))
    ok(home.cli("send", fine, "say fine"))
    ok(home.cli("send", fails, "fail 400"))
    ok(home.cli("send", asks, "ask Which? | red | blue"))
    ok(home.cli("send", late, "when never say late"))
    two = home.cli("wait", fine, fails)
    assert two.returncode == 1
    assert sorted(two.stdout.splitlines()) == sorted([f"{fine} completed", f"{fails} failed"])
    assert two.stderr.startswith(f"The turn of {fails} failed")
    assert home.cli("wait", fine, fails, asks).returncode == 3
    every = home.cli("wait", fine, fails, asks, late, "nobody-top", "--timeout", "5", "--json")
    assert (every.returncode, every.stderr) == (124, "")
    rows = {row["id"]: (row["outcome"], row["exitCode"]) for row in json_lines(every.stdout)}
    assert rows == {
        fine: ("completed", 0),
        fails: ("failed", 1),
        asks: ("waiting_for_input", 3),
        late: ("timed_out", 124),
        "nobody-top": ("not_found", 1),
    }
    gone = home.cli("wait", "--any", "nobody-top", late)
    assert outcome(gone) == (1, "nobody-top\n", "Session not found: nobody-top (see: dev-sessions list)\n")


@needs_proc
def test_ctrl_c_ends_all_waits(home: Home) -> None:
    """Ctrl-C ends the command, and nothing of it is left."""
    first, second = create(home, "claude"), create(home, "codex")
    for sid in (first, second):
        ok(home.cli("send", sid, "when never say late"))
    before = home.leftovers()
    waiting = home.popen(sys.executable, "-m", "dev_sessions", "wait", first, second)
    await_waiting(waiting)
    waiting.send_signal(signal.SIGINT)
    assert waiting.wait(30) == 130
    # The agents' own children of a moment are no leftovers.
    assert poll(lambda: home.leftovers().keys() <= before.keys() or None, Deadline(30), 0.05)


def waits_by_ssh(home: Home) -> bool:
    """Return whether a wait on another machine goes on."""
    return any("ssh" in line and " wait " in line for line in home.leftovers().values())


def test_machines_and_containers_are_waited_for_alike(home: Home, model: ScriptedModel) -> None:
    """Sessions here and on another machine are waited for together, from a container, too."""
    with Home(model.port) as far, Remote(home, far), running_gateway(home, "--port", "0") as (_, container):
        here = create(home, "codex")
        there = ok(home.cli("create", "-q", "--cli", "codex", "--host", NAME)).strip()
        ok(home.cli("send", here, "when never say late"))
        ok(home.cli("send", there, "say done"))
        assert ok(container.cli("wait", "--any", here, there)) == f"{there}\n"
        assert ok(home.cli("wait", "--any", here, there)) == f"{there}\n"
        assert poll(lambda: None if waits_by_ssh(home) else True, Deadline(30), 0.05)
        ok(home.cli("interrupt", here))
        rows = json_lines(home.cli("wait", here, there, "--json").stdout)
        assert {row["id"]: row["outcome"] for row in rows} == {here: "failed", there: "completed"}
