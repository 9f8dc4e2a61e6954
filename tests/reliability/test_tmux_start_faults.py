"""Create, recover and kill sessions through a tmux that hangs, fails or dies at each of its calls, before and after its
work."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from itertools import count

import pytest

from dev_sessions.system.deadline import Deadline, poll
from tests.support.claude import READY_AT_ONCE, fake_claude
from tests.support.cli import ok, stored_records
from tests.support.faulty_tmux import Fault, FaultyTmux
from tests.support.forks import Ended, Forks
from tests.support.home import Home

SOON = {"dev_sessions.claude.tmux.COMMAND_TIMEOUT": 2.0}
FAULTS: tuple[Fault, ...] = ("server stops", "hangs", "works, hangs", "fails", "works, fails", "works, dies")


class Desk:
    """A user with a tmux session of their own, on a tmux server that is faulty, and a stand-in for Claude."""

    def __init__(self, home: Home, forks: Forks) -> None:
        self.home, self._forks = home, forks
        self._claude = fake_claude(home, READY_AT_ONCE)
        ok(home.tmux("new-session", "-d", "-s", "mine", "cat"))
        self._server = int(ok(home.tmux("display-message", "-p", "#{pid}")))
        self._tmux = FaultyTmux(home, self._server)

    def cli(self, *args: str) -> Ended:
        """Run a command while tmux works."""
        return self._run(args)

    def _run(self, args: Sequence[str], constants: Mapping[str, float] | None = None) -> Ended:
        path = os.pathsep.join([self._tmux.env["PATH"].partition(os.pathsep)[0], self._claude["PATH"]])
        return self._forks.cli(*args, env={"PATH": path}, constants=constants)

    def cli_with_fault(self, fault: Fault, at: int, *args: str) -> tuple[Ended, bool]:
        """Run a command with a fault at one tmux call, and let tmux work again; return whether there was the call."""
        self._tmux.arm(fault, at)
        done = self._run(args, SOON)
        has_failed = self._tmux.has_failed()
        self.go_on()
        print(f"{args[0]} {fault:12} {at:2} {done.code} {done.stderr[:200]}")
        assert done.stderr.count("\n") <= 1
        return done, has_failed

    def go_on(self) -> None:
        """Resume the tmux server if it was stopped, and disarm the fault."""
        self._tmux.arm("fails", 0)
        os.kill(self._server, signal.SIGCONT)

    def agents(self) -> int:
        """Return the number of running agents."""
        return list(self.home.leftovers().values()).count("sleep 1000")

    def sessions(self) -> list[str]:
        """Return the tmux session of each pane."""
        return ok(self.home.tmux("list-panes", "-a", "-F", "#{session_name}")).split()

    def has_nothing_left(self) -> bool | None:
        """Return True if only the user's own tmux session is left."""
        return (self.sessions() == ["mine"] and self.agents() == 0) or None


@pytest.fixture
def desk(home: Home) -> Iterator[Desk]:
    """Provide a user, and resume the tmux server after the test."""
    with Forks(home) as forks:
        desk = Desk(home, forks)
        yield desk
        desk.go_on()


def create_through_fault(desk: Desk, fault: Fault, at: int) -> bool:
    """Create a session with a fault at one tmux call, and assert that after an error nothing is left. Return False if
    there is no such call."""
    done, has_failed = desk.cli_with_fault(fault, at, "create", "-q")
    if done.code == 0:
        assert desk.cli("status", done.stdout.strip()).stdout == "idle\n"
        assert desk.cli("kill", done.stdout.strip()).code == 0
    elif "the next dev-sessions list ends it" in done.stderr:
        # What a stopped server was given it does when it goes on.
        assert desk.cli("list").stdout == "No active sessions\n"
        assert poll(desk.has_nothing_left, Deadline(30), 0.05)
    else:
        assert desk.has_nothing_left()
    assert stored_records(desk.home) == {}
    assert desk.has_nothing_left()
    return has_failed


def recover_through_fault(desk: Desk, sid: str, fault: Fault, at: int) -> bool:
    """Recover a session with a fault at one tmux call, follow the error's advice, and assert that there is one agent.
    Return False if there is no such call."""
    os.kill(int(stored_records(desk.home)[sid]["claudePid"]), signal.SIGKILL)
    assert poll(lambda: desk.agents() == 0 or None, Deadline(30), 0.05)
    done, has_failed = desk.cli_with_fault(fault, at, "recover", sid, "--yes")
    if done.code != 0:
        assert sid in done.stderr
        if "repeat: dev-sessions recover" not in done.stderr:
            assert desk.agents() == 0
        again = desk.cli("recover", sid, "--yes")
        assert again.code == 0, str(again)
    assert desk.cli("status", sid).stdout == "idle\n"
    assert desk.agents() == 1
    assert desk.sessions() == [f"dev-{sid}", "mine"]
    return has_failed


def kill_through_fault(desk: Desk, fault: Fault, at: int) -> bool:
    """Kill a session with a fault at one tmux call, again after an error, and assert that nothing is left. Return False
    if there is no such call."""
    sid = desk.cli("create", "-q").stdout.strip()
    done, has_failed = desk.cli_with_fault(fault, at, "kill", sid)
    if done.code != 0:
        assert sid in stored_records(desk.home), "it can be repeated"
        assert desk.cli("kill", sid).code == 0
    assert desk.has_nothing_left()
    assert stored_records(desk.home) == {}
    return has_failed


def test_a_create_that_tmux_fails_leaves_nothing(desk: Desk) -> None:
    """After a create that failed because tmux hung or failed, nothing runs and no record is left, at the latest after
    the next list."""
    assert create_through_fault(desk, "server stops", 1)
    assert create_through_fault(desk, "server stops", 2)
    assert create_through_fault(desk, "works, hangs", 1)
    assert create_through_fault(desk, "works, dies", 2)


def test_a_list_that_cannot_end_what_a_failed_create_left_says_so(desk: Desk) -> None:
    """A list that cannot end what a failed create has left says why, and the next one ends it."""
    desk.cli_with_fault("server stops", 1, "create", "-q")
    (left,) = stored_records(desk.home)
    done, has_failed = desk.cli_with_fault("server stops", 1, "list")
    assert has_failed
    assert (done.code, done.stdout) == (0, "No active sessions\n")
    assert done.stderr.startswith(f"Warning: Could not remove what is left of {left}: ")
    assert desk.cli("list").stderr == ""
    assert stored_records(desk.home) == {}
    assert poll(desk.has_nothing_left, Deadline(30), 0.05)


def test_a_recover_that_tmux_fails_can_be_repeated(desk: Desk) -> None:
    """After a recover that failed because tmux hung or failed, the next one recovers the session, with one agent."""
    sid = desk.cli("create", "-q").stdout.strip()
    for at in count(1):
        if not recover_through_fault(desk, sid, "server stops", at):
            break
    assert recover_through_fault(desk, sid, "works, dies", 2)
    assert desk.cli("kill", sid).code == 0


def test_a_kill_that_tmux_fails_can_be_repeated(desk: Desk) -> None:
    """A kill that failed because tmux hung or failed can be repeated, and leaves nothing."""
    assert kill_through_fault(desk, "server stops", 1)
    assert kill_through_fault(desk, "server stops", 2)
    assert kill_through_fault(desk, "works, dies", 2)


#: A tmux that has not noticed yet that a process in a pane has ended, as a real one for some milliseconds.
LATE = """#!/bin/sh
case "$*" in *list-panes*) '{tmux}' "$@" | sed "s/\t1\t/\t0\t/" ;; *) exec '{tmux}' "$@" ;; esac
"""


def test_a_pane_whose_agent_was_just_killed_is_not_taken_for_a_new_one(home: Home) -> None:
    """A recover right after the agent was killed starts another, even if tmux still reports the old one as running."""
    late = home.workspace("late") / "tmux"
    late.write_text(LATE.format(tmux=shutil.which("tmux", path=home.env["PATH"])))
    late.chmod(0o755)
    with Forks(home) as forks:
        path = {"PATH": os.pathsep.join([str(late.parent), fake_claude(home, READY_AT_ONCE)["PATH"]])}
        sid = forks.cli("create", "-q", env=path).stdout.strip()
        old = int(stored_records(home)[sid]["claudePid"])
        os.kill(old, signal.SIGKILL)
        assert poll(lambda: forks.cli("status", sid, env=path).code or None, Deadline(30), 0.05)
        done = forks.cli("recover", sid, "--yes", env=path)
        assert (done.code, done.stdout) == (0, f"Recovered session {sid}\n")
        assert int(stored_records(home)[sid]["claudePid"]) != old
        assert forks.cli("kill", sid, env=path).code == 0


@pytest.mark.soak
@pytest.mark.parametrize("fault", FAULTS)
def test_any_call_of_tmux_may_fail(desk: Desk, fault: Fault) -> None:
    """Create, recover and kill leave nothing unaccounted for, whichever call of tmux fails."""
    for at in count(1):
        if not create_through_fault(desk, fault, at):
            break
    for at in count(1):
        if not kill_through_fault(desk, fault, at):
            break
    sid = desk.cli("create", "-q").stdout.strip()
    for at in count(1):
        if not recover_through_fault(desk, sid, fault, at):
            break
    assert desk.cli("kill", sid).code == 0
