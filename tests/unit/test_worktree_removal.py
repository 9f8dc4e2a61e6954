"""Removing the worktrees of ended sessions: only if nothing in them would be lost."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dev_sessions.models import CodexSession
from dev_sessions.sessions import worktree_removal
from dev_sessions.sessions.worktree import NewWorktree
from dev_sessions.sessions.worktree_removal import remove, remove_if_clean
from dev_sessions.system.deadline import Deadline, poll
from dev_sessions.system.process import is_alive
from tests.support.git import git, new_repository, new_worktree

pytestmark = pytest.mark.usefixtures("own_configuration")

#: Only Linux has such names.
NOT_UTF8 = os.fsdecode(b"caf\xe9")
on_bytes = pytest.mark.skipif(sys.platform == "darwin", reason="names of files are UTF-8 there")


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """Provide a repository."""
    return new_repository(tmp_path / "repo")


def commit(tree: str, name: str = "new") -> None:
    """Commit a new file."""
    Path(tree, name).write_text("x\n")
    git(tree, "add", ".")
    git(tree, "commit", "-q", "-m", name)


def untracked(tree: str) -> None:
    """Create a file in a repository whose configuration hides untracked files."""
    git(tree, "config", "status.showUntrackedFiles", "no")
    Path(tree, "new").touch()


def everything(tree: str) -> None:
    """Commit a file, and create an untracked and an ignored one."""
    commit(tree, "old")
    untracked(tree)
    Path(tree, "a.log").touch()


def nested(tree: str) -> None:
    """Create a nested repository that is not a submodule."""
    new_repository(Path(tree, "nested"))


def lying_monitor(tree: str) -> None:
    """Change a file while the file system monitor reports no changes."""
    monitor = Path(tree).parent.parent / "monitor"
    monitor.write_text("#!/bin/sh\nprintf 'token\\0'\n")
    monitor.chmod(0o755)
    git(tree, "config", "core.fsmonitor", str(monitor))
    git(tree, "status")
    Path(tree, ".gitignore").write_text("changed\n")


def ignored_changes(flag: str, name: str = "sub/deep/file") -> Callable[[str], None]:
    """Change a file whose changes git was told to ignore."""

    def change(tree: str) -> None:
        if not Path(tree, name).exists():
            Path(tree, name).touch()
            git(tree, "add", name)
            git(tree, "commit", "-q", "-m", "more")
        git(tree, "update-index", flag, name)
        Path(tree, name).write_text("changed\n")

    return change


def detached(tree: str) -> None:
    """Create a commit that is on no branch."""
    git(tree, "switch", "-q", "--detach")
    commit(tree)


def elsewhere(tree: str) -> None:
    """Create commits on another branch, and leave the session's branch behind."""
    commit(tree)
    git(tree, "switch", "-q", "main", "--ignore-other-worktrees")


def conflict(command: str) -> Callable[[str], None]:
    """Leave an operation unfinished, with its changes stashed so that only its state is left."""

    def begin(tree: str) -> None:
        git(tree, "switch", "-q", "-c", "side")
        Path(tree, ".gitignore").write_text("side\n")
        git(tree, "commit", "-q", "-am", "side")
        git(tree, "switch", "-q", "fizz-top")
        Path(tree, ".gitignore").write_text("ours\n")
        git(tree, "commit", "-q", "-am", "ours")
        git(tree, *command.split(), "side", fails=True)

    return begin


def bisect(tree: str) -> None:
    """Leave a bisection unfinished, without any change."""
    git(tree, "bisect", "start")


def with_submodule(tree: str) -> None:
    """Create a submodule, which git does not remove."""
    inner = new_repository(Path(tree).parent.parent / "inner")
    git(tree, "submodule", "--quiet", "add", str(inner), "part")
    git(tree, "commit", "-q", "-m", "part")
    git(tree, "branch", "kept")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (untracked, r"it holds uncommitted files \(new\)"),
        (lambda tree: Path(tree, ".gitignore").write_text("changed\n"), r"uncommitted files \(.gitignore\)"),
        (lambda tree: Path(tree, "sub", "deep", "file").unlink(), r"uncommitted files \(sub/deep/file\)"),
        (lambda tree: Path(tree, "a.log").touch(), r"it holds ignored files \(a.log\)"),
        (lambda tree: git(tree, "rm", "-q", "--cached", ".gitignore"), r"uncommitted files \(.gitignore and 1 more\)"),
        (nested, r"uncommitted files \(nested/\)"),
        (lying_monitor, r"uncommitted files \(.gitignore\)"),
        (ignored_changes("--assume-unchanged"), r"told to ignore \(sub/deep/file\)"),
        (ignored_changes("--skip-worktree"), r"told to ignore \(sub/deep/file\)"),
        pytest.param(ignored_changes("--skip-worktree", NOT_UTF8), rf"told to ignore \({NOT_UTF8}\)", marks=on_bytes),
        (
            everything,
            r"^it holds uncommitted files \(new\) and ignored files \(a.log\) and its branch fizz-top has 1",
        ),
        (commit, "its branch fizz-top has 1 commit that is on no other branch"),
        (detached, "1 commit that is on no other branch"),
        (elsewhere, "commits that are on no other branch"),
        (conflict("merge"), "a merge is not finished there"),
        (conflict("rebase"), "a rebase is not finished there"),
        (conflict("cherry-pick"), "a cherry-pick is not finished there"),
        (conflict("revert"), "a revert is not finished there"),
        (bisect, "a bisection is not finished there"),
        (lambda tree: git(tree, "worktree", "lock", tree), "cannot remove a locked working tree"),
        (with_submodule, "submodules cannot be moved or removed"),
    ],
)
def test_a_worktree_in_which_anything_would_be_lost_is_left(
    repo: Path, change: Callable[[str], object], words: str
) -> None:
    """A worktree with anything to lose stays unchanged, whatever the user's configuration hides."""
    tree = new_worktree(repo)
    change(tree.path)
    files = sorted(Path(tree.path).rglob("*"))
    reason = remove(tree.path, tree.branch) or "it was removed"
    assert re.search(words, reason), reason
    assert "\n" not in reason
    assert sorted(Path(tree.path).rglob("*")) == files
    assert "fizz-top" in git(repo, "branch", "--list", "fizz-top")


def unused(tree: str) -> None:
    """Change nothing."""
    assert git(tree, "status", "--porcelain") == ""


def merged(tree: str) -> None:
    """Commit on a branch that another one contains."""
    commit(tree)
    git(tree, "branch", "kept")


def pushed(tree: str) -> None:
    """Push a commit to a remote."""
    commit(tree)
    git(tree, "init", "-q", "--bare", f"{tree}.remote")
    git(tree, "push", "-q", f"{tree}.remote", "fizz-top")
    git(tree, "remote", "add", "origin", f"{tree}.remote")
    git(tree, "fetch", "-q", "origin")


def stashed(tree: str) -> None:
    """Stash a change; all worktrees share the stash."""
    Path(tree, ".gitignore").write_text("changed\n")
    git(tree, "stash")


@pytest.mark.parametrize("change", [unused, merged, pushed, stashed])
def test_a_worktree_in_which_nothing_would_be_lost_is_removed(repo: Path, change: Callable[[str], None]) -> None:
    """A worktree with nothing to lose is removed, and its branch is kept."""
    tree = new_worktree(repo)
    change(tree.path)
    tip = git(tree.path, "rev-parse", "HEAD")
    assert remove(tree.path, tree.branch) is None
    assert not os.path.exists(tree.path)
    assert "fizz-top" not in git(repo, "worktree", "list")
    assert git(repo, "rev-parse", "fizz-top") == tip
    assert git(repo, "stash", "list") == "" or change is stashed


@pytest.mark.parametrize("scope", ["--local", "--worktree", "include"])
def test_nothing_of_the_repository_is_run(repo: Path, tmp_path: Path, scope: str) -> None:
    """When a worktree is inspected and removed, no hook, filter or monitor runs that agents may have put there."""
    tree, ran = new_worktree(repo).path, tmp_path / "ran"
    program = tmp_path / "program"
    program.write_text(f'#!/bin/sh\necho "$0 $*" >> {ran}\ncat\n')
    program.chmod(0o755)
    Path(tree, ".gitattributes").write_text("*.md filter=mine\n.gitignore filter=odd\n*.log filter=served\n")
    Path(tree, "a.md").write_text("text\n")
    git(tree, "add", ".")
    git(tree, "commit", "-q", "-m", "filtered")
    git(tree, "branch", "kept")
    settings = {
        "core.fsmonitor": str(program),
        "core.hooksPath": str(tmp_path / "hooks"),
        "filter.mine.clean": f"{program} clean",
        "filter.odd.process": f"{program} process",
        "filter.odd.required": "true",
        "filter.served.smudge": f"{program} smudge",
    }
    git(repo, "config", "extensions.worktreeConfig", "true")
    where = ["--file", str(tmp_path / "more")] if scope == "include" else [scope]
    for name, value in settings.items():
        git(tree, "config", *where, name, value)
    if scope == "include":
        git(tree, "config", "--local", "include.path", str(tmp_path / "more"))
    (tmp_path / "hooks").mkdir()
    for hook in ("post-index-change", "reference-transaction", "post-checkout"):
        (tmp_path / "hooks" / hook).symlink_to(program)
    # Their content has to be compared.
    for name in ("a.md", ".gitignore"):
        os.utime(Path(tree, name), (1, 1))
    subprocess.run(["git", "-C", tree, "status"], capture_output=True, check=False)
    assert ran.exists(), "git itself runs them"
    os.utime(Path(tree, "a.md"), (2, 2))
    ran.unlink()
    assert remove(tree, "fizz-top") is None
    assert not Path(tree).exists()
    assert not ran.exists(), ran.read_text()


def test_what_is_missing_is_not_fetched(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worktree whose objects are on a server is left, and the program that would fetch them does not run, also with
    a git that has no GIT_NO_LAZY_FETCH."""
    tree, ran = new_worktree(repo).path, tmp_path / "ran"
    commit(tree)
    settings = {
        "core.repositoryFormatVersion": "1",
        "extensions.partialClone": "origin",
        "remote.origin.url": "ssh://host/repository",
        "remote.origin.promisor": "true",
        "core.sshCommand": f"touch {ran}; false",
    }
    for name, value in settings.items():
        git(tree, "config", name, value)
    missing = git(tree, "rev-parse", "HEAD^{tree}")
    Path(repo, ".git", "objects", missing[:2], missing[2:]).unlink()
    older = tmp_path / "bin" / "git"
    older.parent.mkdir()
    older.write_text(f'#!/bin/sh\nunset GIT_NO_LAZY_FETCH\nexec {shutil.which("git")} "$@"\n')
    older.chmod(0o755)
    monkeypatch.setenv("PATH", f"{older.parent}:{os.environ['PATH']}")
    subprocess.run([older, "-C", tree, "status"], capture_output=True, check=False)
    assert ran.exists(), "git itself fetches"
    ran.unlink()
    assert remove(tree, "fizz-top") is not None
    assert Path(tree).exists()
    assert not ran.exists()


def test_a_filter_of_an_unusual_name_keeps_the_worktree(repo: Path) -> None:
    """A worktree stays, with the reason, if its filter cannot be turned off."""
    tree = new_worktree(repo).path
    git(tree, "config", "filter.a=b.clean", "touch ran")
    assert "filter.a=b" in str(remove(tree, "fizz-top"))
    assert Path(tree).exists()


def test_a_worktree_that_somebody_has_removed_is_fine(repo: Path) -> None:
    """A worktree that was already removed, with git or without, is no error."""
    for name, by in (("a", ["git", "-C", repo, "worktree", "remove"]), ("b", ["rm", "-r"])):
        tree = new_worktree(repo, name)
        subprocess.run([*by, tree.path], check=True)
        assert remove(tree.path, tree.branch) is None


def test_what_is_no_worktree_any_more_is_left(repo: Path, tmp_path: Path) -> None:
    """A folder that is no longer a worktree, or that git cannot read, is left alone, with the reason."""
    tree = new_worktree(repo)
    Path(tree.path, ".git").rename(tmp_path / "kept")
    assert "not a git repository" in (remove(tree.path, tree.branch) or "")
    git(tree.path, "init", "-q")
    assert remove(tree.path, tree.branch) == "it is no longer a worktree, but a repository"
    subprocess.run(["rm", "-r", Path(tree.path, ".git")], check=True)
    git(tmp_path, "init", "-q")
    assert remove(tree.path, tree.branch) == "it is no longer a worktree"
    (tmp_path / "kept").rename(Path(tree.path, ".git"))
    (Path(repo) / ".git").rename(tmp_path / "gone")
    assert "not a git repository" in (remove(tree.path, tree.branch) or "")
    assert Path(tree.path, "sub", "deep", "file").exists()


def test_a_git_that_hangs_holds_nobody_up(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If git hangs, the worktree is left with the reason, and git is ended with its children."""
    tree = new_worktree(repo)
    fake = tmp_path / "bin" / "git"
    fake.parent.mkdir()
    real = subprocess.run(["which", "git"], capture_output=True, text=True, check=True).stdout.strip()
    pids = tmp_path / "pids"
    fake.write_text(
        f'#!/bin/sh\ncase "$*" in *status*) sleep 1000 & echo $! >{pids}; wait;; *) exec {real} "$@";; esac\n'
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(worktree_removal, "INSPECT_TIMEOUT", 1.0)
    assert "git did not answer within" in (remove(tree.path, tree.branch) or "")
    assert os.path.exists(tree.path)
    sleeper = int(pids.read_text())
    assert poll(lambda: None if is_alive(sleeper) else True, Deadline(5))


def test_millions_of_names_take_little_memory(repo: Path) -> None:
    """A worktree of which git lists too much is left with the reason, and names are read one at a time."""
    tree = new_worktree(repo)
    blob = git(tree.path, "hash-object", "-w", "/dev/null").strip()

    def add(count: int, name: str) -> None:
        lines = "".join(f"100644 {blob}\t{number}{name}\n" for number in range(count))
        argv = ["git", "-C", tree.path, "update-index", "--index-info"]
        subprocess.run(argv, input=lines, text=True, check=True)

    add(50_000, "")
    tracemalloc.start()
    try:
        assert (remove(tree.path, tree.branch) or "").startswith("it holds uncommitted files (0 and 49999 more)")
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
    add(18_000, f"/{'x' * 200}" * 19)
    assert remove(tree.path, tree.branch) == "git printed more than 64 MiB, and was ended"
    assert os.path.exists(tree.path)


def session_in(tree: NewWorktree) -> CodexSession:
    """Return the record of a session that works in a worktree."""
    return CodexSession(
        id="fizz-top",
        internal_id="",
        path=tree.folder,
        created_at="",
        last_used="",
        worktree=tree.path,
        worktree_branch=tree.branch,
    )


def test_a_worktree_in_which_another_session_works_is_left(repo: Path, tmp_path: Path) -> None:
    """A worktree in which another session works stays, also if that uses a link; afterwards it is removed."""
    tree = new_worktree(repo)
    (tmp_path / "link").symlink_to(tree.path)
    mine = session_in(tree)
    other = replace(mine, id="zed-mid", path=str(tmp_path / "link" / "sub"), worktree=None, worktree_branch=None)
    beside = replace(other, id="ahri-mid", path=f"{tree.path}-too")
    assert remove_if_clean(mine, [mine, other]) == (
        f"The worktree of fizz-top was left in {tree.path}: zed-mid works there, too",
    )
    assert remove_if_clean(other, [mine, other]) == ()
    assert remove_if_clean(mine, [mine, beside]) == ()
    assert not os.path.exists(tree.path)


@pytest.mark.parametrize("claimed_by", [None, "1:ended:"])
def test_a_worktree_that_another_command_removes_meanwhile_is_not_called_left(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, claimed_by: str | None
) -> None:
    """Of two commands that end what is left of a session, neither says that it left a worktree which is gone."""
    tree = new_worktree(repo)
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\ncase "$*" in *" status "*) rm -r {tree.path};; esac\nexec {shutil.which("git")} "$@"\n'
    )
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    session = replace(session_in(tree), claimed_by=claimed_by)
    assert remove_if_clean(session, [session]) == ()
    assert not os.path.exists(tree.path)


def with_copies(repo: Path) -> str:
    """Create a worktree with copies of ignored files."""
    (repo / ".gitignore").write_text("*.log\n.env\ncache/\n")
    (repo / ".worktreeinclude").write_text(".env\ncache/\n")
    git(repo, "add", ".")
    git(repo, "commit", "-q", "-m", "ignore")
    (repo / ".env").write_text("KEY=1\n")
    (repo / "cache").mkdir()
    (repo / "cache" / "one").write_text("1\n")
    return new_worktree(repo).path


def test_unchanged_copies_go_with_the_worktree(repo: Path) -> None:
    """A worktree whose only ignored files are unchanged copies is removed, also when the originals have changed."""
    tree = with_copies(repo)
    (repo / ".env").write_text("KEY=2\n")
    assert remove(tree, "fizz-top") is None
    assert not Path(tree).exists()


def changed_in_place(tree: str) -> None:
    """Change a copy, and restore its time."""
    file = Path(tree, ".env")
    status = file.stat()
    file.write_text("KEY=9\n")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize(
    ("change", "left"),
    [
        (changed_in_place, ".env"),
        (lambda tree: Path(tree, "cache", "two").touch(), "cache/two"),
        (lambda tree: new_repository(Path(tree, "cache", "inner")), "cache/inner/"),
        (lambda tree: Path(tree, "x.log").touch(), "x.log"),
    ],
)
def test_what_is_no_unchanged_copy_is_kept(repo: Path, change: Callable[[str], object], left: str) -> None:
    """A changed copy, or another ignored file beside the copies, keeps the worktree."""
    tree = with_copies(repo)
    change(tree)
    assert remove(tree, "fizz-top") == f"it holds ignored files ({left})"
    Path(tree, "new").touch()
    assert remove(tree, "fizz-top") == f"it holds uncommitted files (new) and ignored files ({left})"
    assert Path(tree, ".env").exists()
