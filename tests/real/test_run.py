"""`run`: one command that creates a session, gives it a task and prints the reply."""

from __future__ import annotations

import pytest

from tests.support.cli import assert_refused, both, ok, records
from tests.support.git import repository
from tests.support.home import Home

pytestmark = pytest.mark.forked


@both
def test_a_task_takes_one_command(home: Home, agent: str) -> None:
    """run prints only the reply, names the session on standard error, and leaves it, or ends it with --kill."""
    done = home.cli("run", "--cli", agent, "say hello", cwd=home.workspace())
    (sid,) = records(home)
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello\n", f"Created session {sid}\n")
    assert ok(home.cli("ask", sid, "history")) == "1: say hello\n"
    done = home.cli("run", "--cli", agent, "--kill", "--file", "-", stdin="say bye", cwd=home.workspace())
    assert (done.returncode, done.stdout) == (0, "bye\n")
    assert set(records(home)) == {sid}


def test_a_task_that_does_not_end_well_leaves_its_session(home: Home) -> None:
    """run exits as ask does, and leaves what has not replied, so that nothing is lost."""
    command = ("run", "--cli", "codex", "--kill")
    for task, code, timeout in (("fail 400", 1, "60"), ("hang", 124, "5")):
        done = home.cli(*command, task, "--timeout", timeout, cwd=home.workspace())
        sid = done.stderr.splitlines()[0].removeprefix("Created session ")
        assert (done.returncode, done.stdout) == (code, "")
        assert sid in records(home)
    assert home.cli(*command).returncode == 1
    assert len(records(home)) == 2


def test_a_task_that_was_taken_for_a_branch_is_named(home: Home) -> None:
    """run says that --worktree has taken the task for its branch, and starts nothing."""
    done = home.cli("run", "--cli", "codex", "--worktree", "say hello", cwd=repository(home))
    assert_refused(done, "--worktree took 'say hello' as its branch, and no task is left: write the task before")
    assert records(home) == {}


def test_a_task_in_a_worktree_names_its_branch(home: Home) -> None:
    """run --worktree works on a branch of its own, which standard error names."""
    root = repository(home)
    done = home.cli("run", "--cli", "codex", "run git branch --show-current", "--worktree", cwd=root)
    (sid,) = records(home)
    assert done.stdout.strip() == f"ran: {sid}"
    assert f"on branch {sid}" in done.stderr
