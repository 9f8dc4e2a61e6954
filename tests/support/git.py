"""Git repositories to make sessions and worktrees in."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from dev_sessions.sessions.worktree import NewWorktree, find_repository
from tests.support.cli import ok
from tests.support.home import Home


def repository(home: Home, *, trusted: bool = True) -> Path:
    """Make a repository in a home's workspace, with a commit on main and a folder in it.

    Claude 2.1.330 requires that a repository itself is trusted; trust in the home above it does not count.
    """
    repo = home.workspace("repo")
    if trusted:
        trust(home, repo)
    (repo / "sub").mkdir()
    (repo / "sub" / "file").write_text("one\n")
    (repo / ".gitignore").write_text("*.log\n")
    for arguments in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "first")):
        ok(home.run("git", *arguments, cwd=repo))
    return repo


def trust(home: Home, folder: Path) -> None:
    """Mark a folder as trusted in Claude's settings."""
    file = home.path / ".claude.json"
    settings = json.loads(file.read_text())
    answers = {"hasTrustDialogAccepted": True, "hasCompletedProjectOnboarding": True}
    file.write_text(json.dumps({**settings, "projects": {**settings.get("projects", {}), str(folder): answers}}))


def branches(home: Home, repo: Path) -> set[str]:
    """Return the names of the repository's branches."""
    return set(ok(home.run("git", "branch", "--format", "%(refname:short)", cwd=repo)).split())


def worktrees(home: Home, repo: Path) -> list[Path]:
    """Return the folders of the repository's worktrees, without its own."""
    lines = ok(home.run("git", "worktree", "list", "--porcelain", cwd=repo)).splitlines()
    return [Path(line.removeprefix("worktree ")) for line in lines if line.startswith("worktree ")][1:]


IDENTITY = ("-c", "user.name=Test", "-c", "user.email=test@localhost", "-c", "protocol.file.allow=always")


def git(where: Path | str, *arguments: str, fails: bool = False) -> str:
    """Run git and return what it printed."""
    done = subprocess.run(["git", "-C", where, *IDENTITY, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode != 0) == fails, done.stderr
    return done.stdout.strip()


def new_repository(where: Path) -> Path:
    """Create a repository in a folder, with a commit on main and a subfolder."""
    where.mkdir()
    git(where, "init", "-q", "-b", "main")
    (where / "sub" / "deep").mkdir(parents=True)
    (where / "sub" / "deep" / "file").write_text("one\n")
    (where / ".gitignore").write_text("*.log\n")
    git(where, "add", ".")
    git(where, "commit", "-q", "-m", "first")
    return where


def choose(folder: str, name: str, branch: str) -> NewWorktree:
    """Plan a worktree without creating it."""
    return find_repository(folder).new_worktree(name, branch)


def new_worktree(folder: Path, name: str = "fizz-top", branch: str = "") -> NewWorktree:
    """Create a worktree."""
    tree = choose(str(folder), name, branch)
    tree.create()
    return tree
