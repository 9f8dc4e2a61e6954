"""`create --worktree` and the `kill` of its session, killed at each point from where they come to git."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from dev_sessions.system.deadline import Deadline, poll
from tests.support.cli import ok
from tests.support.forks import Forks
from tests.support.git import branches, repository, worktrees
from tests.support.home import Home
from tests.support.killing import OTHER, SID, Cleanup, by_kill, by_list, claims, each_and_in_turn, in_turn, ran, walk

CREATE = ("create", "-q", "--id", SID, "--cli", "codex", "--path", "../repo")


@pytest.fixture
def repo(home: Home) -> Path:
    """Provide a repository with a commit."""
    return repository(home)


@pytest.fixture
def forks(home: Home) -> Iterator[Forks]:
    """Provide the commands of a home in which a session of Codex keeps the app-server running."""
    with Forks(home) as forks:
        ran(forks.cli("create", "--id", OTHER, "--cli", "codex"))
        yield forks
        ran(forks.cli("kill", "--all"))


def first(points: Sequence[str], name: str) -> int:
    """Return the number of the first point of this name."""
    return 1 + points.index(name)


def by_the_same(forks: Forks, agent: str) -> None:
    """Use the name again at once, with a new worktree."""
    del agent
    again = forks.cli(*CREATE, "--worktree")
    assert (again.code, again.stderr) in ((0, ""), (1, f"Champion ID already in use: {SID}\n"))
    ran(forks.cli("kill", SID))


def forget_branch(home: Home, repo: Path) -> None:
    """Delete the session's branch, which kill keeps because somebody may have used it."""
    ok(home.run("git", "branch", "-D", SID, cwd=repo))


@each_and_in_turn(by_the_same, by_kill, by_list)
def test_a_killed_create_with_a_worktree_is_in_nobodys_way(
    home: Home, forks: Forks, repo: Path, cleanups: Sequence[Cleanup], step: int
) -> None:
    """Wherever a create is killed, the next create, kill or list removes its worktree and its branch."""
    command = (*CREATE, "--worktree")
    whole = forks.cli(*command)
    ran(forks.cli("kill", SID))
    forget_branch(home, repo)
    turn = in_turn(cleanups)
    for done in walk(forks, *command, start=first(whole.points, "mkdir locks"), step=step):
        cleanup = turn(done)
        was_used = SID in claims(home) and (cleanup == by_the_same or claims(home)[SID] is None)
        cleanup(forks, "codex")
        assert SID not in claims(home)
        if was_used:
            forget_branch(home, repo)
        assert worktrees(home, repo) == []
        assert branches(home, repo) == {"main"}
        assert not Path(f"{repo}.worktrees").exists()
        if len(cleanups) > 1 and "sent thread/start" in done.points:
            break  # what is written then is as without a worktree, and walked in the long run only


def test_a_killed_kill_with_a_worktree_can_be_repeated(home: Home, forks: Forks, repo: Path) -> None:
    """Wherever a kill is killed, the next one removes the worktree, and reports none that is left."""
    command = (*CREATE, f"--worktree={SID}")
    ran(forks.cli(*command))
    whole = forks.cli("kill", SID)
    ran(forks.cli(*command))
    for done in walk(forks, "kill", SID, start=first(whole.points, "start git worktree remove")):
        by_kill(forks, "codex")
        assert SID not in claims(home)
        assert worktrees(home, repo) == []
        assert branches(home, repo) == {"main", SID}
        if f"remove {SID}.lock" in done.points:
            break  # the rest is as without a worktree
        ran(forks.cli(*command))


def test_a_checkout_that_ended_with_its_create_is_in_nobodys_way(home: Home, forks: Forks, repo: Path) -> None:
    """A worktree that was half checked out when the machine went down is removed by the next create."""
    ok(home.run("git", "config", "filter.slow.smudge", f"touch {home.path}/begun; exec sleep 1000", cwd=repo))
    (repo / ".git" / "info" / "attributes").write_text("file filter=slow\n")
    running = home.popen("dev-sessions", *CREATE, "--worktree", cwd=home.workspace())
    assert poll(lambda: (home.path / "begun").exists() or None, Deadline(20), 0.05)
    running.kill()
    running.communicate(timeout=30)
    for pid, line in home.leftovers().items():
        if " worktree add " in line:
            os.killpg(pid, signal.SIGKILL)
    assert poll(lambda: None if any("git" in line for line in home.leftovers().values()) else True, Deadline(30), 0.05)
    ok(home.run("git", "config", "filter.slow.smudge", "cat", cwd=repo))
    assert ran(forks.cli(*CREATE, "--worktree")) == f"{SID}\n"
    ran(forks.cli("kill", SID))
    assert worktrees(home, repo) == []
