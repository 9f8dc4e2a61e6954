"""Creating worktrees of sessions in real repositories, and removing them after an error."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dev_sessions.errors import InvalidRequest
from dev_sessions.sessions import worktree
from dev_sessions.sessions.worktree import WorktreeExists
from dev_sessions.sessions.worktree_files import copy_included
from dev_sessions.sessions.worktree_removal import remove
from tests.support.git import choose, git, new_repository, new_worktree

OTHER = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="plays another user, which only root can")

pytestmark = pytest.mark.usefixtures("own_configuration")


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """Provide a repository."""
    return new_repository(tmp_path / "repo")


def state(repo: Path) -> tuple[str, str, list[str]]:
    """Return the repository's branches and worktrees, and the folders beside it."""
    return (
        git(repo, "for-each-ref"),
        git(repo, "worktree", "list", "--porcelain"),
        sorted(str(path) for path in repo.parent.glob("*.worktrees/*")),
    )


def test_a_worktree_lies_beside_its_repository_on_a_branch_of_the_sessions_name(repo: Path) -> None:
    """A worktree has all files of the repository, whose own working tree stays unchanged."""
    tree = new_worktree(repo)
    assert (tree.path, tree.folder, tree.branch) == (f"{repo}.worktrees/fizz-top",) * 2 + ("fizz-top",)
    assert Path(tree.path, "sub", "deep", "file").read_text() == "one\n"
    assert git(tree.path, "symbolic-ref", "--short", "HEAD") == "fizz-top"
    assert git(repo, "symbolic-ref", "--short", "HEAD") == "main"
    assert git(repo, "status", "--porcelain", "--ignored") == ""


def test_the_session_works_in_the_folder_that_was_named(repo: Path, tmp_path: Path) -> None:
    """For a subfolder of the repository, the session works in that subfolder of its worktree, also through a link."""
    (tmp_path / "link").symlink_to(repo / "sub")
    for name, folder in (("a", repo / "sub" / "deep"), ("b", tmp_path / "link" / "deep")):
        assert new_worktree(folder, name).folder == f"{repo}.worktrees/{name}/sub/deep"


def test_a_worktree_of_a_worktree_begins_where_that_is(repo: Path) -> None:
    """A worktree created from another one starts at its commit, and is beside the main repository."""
    first = new_worktree(repo)
    Path(first.path, "more").write_text("two\n")
    git(first.path, "add", ".")
    git(first.path, "commit", "-q", "-m", "second")
    second = new_worktree(Path(first.path, "sub"), "zed-mid")
    assert second.folder == f"{repo}.worktrees/zed-mid/sub"
    assert (
        git(second.path, "rev-parse", "HEAD") == git(first.path, "rev-parse", "HEAD") != git(repo, "rev-parse", "HEAD")
    )


def test_a_branch_that_is_named_is_used_or_made(repo: Path, tmp_path: Path) -> None:
    """An existing branch is used, also one of a remote; one that is checked out elsewhere is refused by git."""
    git(repo, "branch", "old")
    git(repo, "switch", "-q", "-c", "theirs/one")
    git(repo, "commit", "-q", "--allow-empty", "-m", "theirs")
    git(repo, "switch", "-q", "main")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(repo), str(clone))
    assert new_worktree(repo, "a", "old").base is None
    assert new_worktree(repo, "b", "brand/new").base == git(repo, "rev-parse", "HEAD")
    theirs = new_worktree(clone, "c", "theirs/one")
    assert git(theirs.path, "rev-parse", "HEAD") == git(repo, "rev-parse", "theirs/one")
    theirs.discard()
    assert git(clone, "branch", "--format", "%(refname:short)") == "main"
    tree = choose(str(repo), "d", "main")
    with pytest.raises(InvalidRequest, match=r"'main' is already (checked out|used by worktree) at"):
        tree.create()
    before = state(repo)
    tree.discard()
    assert state(repo) == before


def test_the_variables_of_another_git_do_not_confuse(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Variables of a git hook that calls dev-sessions do not affect the worktree."""
    other = new_repository(tmp_path / "other")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))
    tree = choose(str(repo), "fizz-top", "")
    tree.create()
    assert tree.path == f"{repo}.worktrees/fizz-top"
    assert remove(tree.path, tree.branch) is None
    assert not os.path.exists(tree.path)


def no_repository(where: Path) -> Path:
    """Create a folder without a repository."""
    where.mkdir()
    return where


def inside_git_dir(where: Path) -> Path:
    """Return the git directory of a repository."""
    return new_repository(where) / ".git"


def bare(where: Path) -> Path:
    """Create a bare repository."""
    git(where.parent, "init", "-q", "--bare", str(where))
    return where


def worktree_of_bare(where: Path) -> Path:
    """Create a worktree of a bare repository."""
    new_repository(where)
    git(where.parent, "clone", "-q", "--bare", str(where), f"{where}.bare")
    git(f"{where}.bare", "worktree", "add", "-q", f"{where}.tree", "main")
    return Path(f"{where}.tree")


def submodule(where: Path) -> Path:
    """Create a submodule."""
    new_repository(where)
    new_repository(Path(f"{where}.inner"))
    git(where, "submodule", "--quiet", "add", f"{where}.inner", "part")
    return where / "part"


def without_commit(where: Path) -> Path:
    """Create a repository without a commit."""
    where.mkdir()
    git(where, "init", "-q")
    return where


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (no_repository, "needs a git repository with a working tree, and .* is not in one.*not a git repository"),
        (
            inside_git_dir,
            "needs a git repository with a working tree, and .* is not in one.*must be run in a work tree",
        ),
        (bare, "needs a git repository with a working tree, and .* is not in one.*must be run in a work tree"),
        (worktree_of_bare, "which has no working tree of its own"),
        (submodule, "is a submodule"),
        (without_commit, "has no commit yet; make one"),
    ],
)
def test_where_no_worktree_can_be_made_the_error_says_so(
    build: Callable[[Path], Path], words: str, tmp_path: Path
) -> None:
    """If no worktree is possible, the error says why, and nothing is created."""
    folder = build(tmp_path / "it")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InvalidRequest, match=words):
        choose(str(folder), "fizz-top", "")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "name",
    [
        "-x",
        "--force",
        "-",
        "a b",
        "a..b",
        "../up",
        "/abs",
        "a\nb",
        "a\x01b",
        "a\0b",
        "HEAD",
        "@",
        "@{-1}",
        "x.lock",
        "a~1",
    ],
)
def test_what_is_no_branch_name_is_refused(repo: Path, name: str) -> None:
    """An invalid branch name is refused before anything is created, and never taken for an option."""
    before = state(repo)
    with pytest.raises(InvalidRequest, match="is not a valid branch name"):
        choose(str(repo), "fizz-top", name)
    assert state(repo) == before


def test_a_name_that_is_used_already_is_distinguished(repo: Path) -> None:
    """A name is in use if a branch, a folder or a worktree without its folder has it; the error says so."""
    git(repo, "branch", "zed-mid")
    with pytest.raises(WorktreeExists, match="Branch zed-mid already exists; use it with --worktree=zed-mid"):
        choose(str(repo), "zed-mid", "")
    tree = new_worktree(repo)
    git(tree.path, "switch", "-q", "-c", "other")
    git(repo, "branch", "-D", "fizz-top")
    with pytest.raises(WorktreeExists, match=r"^Worktree .* already exists"):
        choose(str(repo), "fizz-top", "")
    subprocess.run(["rm", "-r", tree.path], check=True)
    with pytest.raises(WorktreeExists, match=r"^Worktree .* already exists"):
        choose(str(repo), "fizz-top", "")


def test_a_folder_that_the_branch_does_not_have_is_an_error(repo: Path) -> None:
    """A subfolder that the branch lacks is refused."""
    (repo / "new").mkdir()
    (repo / "new" / "file").touch()
    before = state(repo)
    tree = choose(str(repo / "new"), "fizz-top", "")
    with pytest.raises(InvalidRequest, match="There is no folder new/ on the branch fizz-top"):
        tree.create()
    tree.discard()
    assert state(repo) == before


@pytest.mark.parametrize(
    "hook",
    [
        *("exit 3", "echo sorry >&2; exit 1", "sleep 1000", "touch made; touch more.log"),
        *("head -c 70000000 /dev/zero", "head -c 70000000 /dev/zero >&2"),
    ],
)
def test_what_cannot_be_used_is_taken_back(repo: Path, monkeypatch: pytest.MonkeyPatch, hook: str) -> None:
    """Worktree and branch are removed after a hook failed, hung, printed without end or left files."""
    monkeypatch.setattr(worktree, "ADD_TIMEOUT", 2.0)
    file = repo / ".git" / "hooks" / "post-checkout"
    file.write_text(f"#!/bin/sh\ntouch '{repo}.hooked'\n{hook}\n")
    file.chmod(0o755)
    before = state(repo)
    tree = choose(str(repo), "fizz-top", "")
    if "made" in hook:
        tree.create()
    else:
        reasons = r"exit code 3|sorry|within 2 s|git printed more than 64 MiB, and was ended"
        with pytest.raises(InvalidRequest, match=rf"git could not create a worktree.*({reasons})"):
            tree.create()
    assert Path(f"{repo}.hooked").exists()
    tree.discard()
    assert state(repo) == before
    assert not Path(f"{repo}.worktrees").exists()
    if sys.platform == "linux":
        assert b"sleep\x001000\x00" not in [
            path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if tree.path in _cwd(path.parent)
        ]


def _cwd(process: Path) -> str:
    try:
        return os.readlink(process / "cwd")
    except OSError:
        return ""


def test_taking_back_keeps_a_branch_that_was_there(repo: Path) -> None:
    """Discarding a worktree removes only what was created for it."""
    git(repo, "branch", "old")
    before = state(repo)
    new_worktree(repo, "a", "old").discard()
    assert state(repo) == before
    used = new_worktree(repo, "b")
    git(used.path, "commit", "-q", "--allow-empty", "-m", "by a hook")
    used.discard()
    assert git(repo, "rev-parse", "b") != git(repo, "rev-parse", "main")


@as_root
@pytest.mark.parametrize(
    "how", ["theirs", "theirs for all", "a link of theirs", "a link to theirs", "open to all", "open to a group"]
)
def test_worktrees_that_others_could_swap_are_refused(repo: Path, how: str) -> None:
    """If another user can change the folder of the worktrees, nothing is created or removed there."""
    folder, elsewhere = Path(f"{repo}.worktrees"), repo.parent / "elsewhere"
    tree = new_worktree(repo)
    folder.rename(elsewhere)
    if how.startswith("a link"):
        folder.symlink_to(elsewhere)
    else:
        elsewhere.rename(folder)
    if how in ("theirs for all", "open to all"):
        folder.chmod(0o777)
    if how == "open to a group":
        os.chown(folder, os.getuid(), OTHER)
        folder.chmod(0o2775)
    elif how != "open to all":
        os.chown(folder, OTHER, OTHER, follow_symlinks=how != "a link of theirs")
    before = state(repo)
    refusal = re.escape(f"{folder} ") + ("can be written to by other users" if "open" in how else "belongs to")
    with pytest.raises(InvalidRequest, match=refusal):
        choose(str(repo), "zed-mid", "")
    assert re.match(refusal, str(remove(tree.path, tree.branch)))
    assert state(repo) == before


@as_root
def test_somebody_is_faster_with_the_folder_for_worktrees(repo: Path) -> None:
    """A folder that another user creates just before the worktree is refused, too."""
    tree = choose(str(repo), "zed-mid", "")
    folder = Path(tree.path).parent
    folder.mkdir(0o777)
    os.chown(folder, OTHER, OTHER)
    before = state(repo)
    with pytest.raises(InvalidRequest, match=rf"{folder} belongs to user {OTHER}, not to you"):
        tree.create()
    assert state(repo) == before


@as_root
def test_a_folder_for_worktrees_that_nobody_else_can_swap_is_used(repo: Path) -> None:
    """A shared folder is accepted if it is sticky, as /tmp is, and so is the user's own link."""
    folder = Path(f"{repo}.worktrees")
    (repo.parent / "mine").mkdir()
    folder.symlink_to(repo.parent / "mine")
    assert Path(new_worktree(repo).path).is_dir()
    (repo.parent / "mine").chmod(0o1777)
    assert Path(new_worktree(repo, "zed-mid").path).is_dir()


def test_ignored_files_that_are_named_are_copied(repo: Path, tmp_path: Path) -> None:
    """.worktreeinclude names files as .gitignore does; copied are those that git ignores, as they are, and no links."""
    (repo / ".gitignore").write_text("*.log\n.env*\nmodules/\nbuild/\n/linked\n")
    (repo / ".worktreeinclude").write_text("# comment\n.env*\n!.env.skip\nmodules/\nbuild/keep/\nuntracked\nlinked/\n")
    git(repo, "add", ".")
    git(repo, "commit", "-q", "-m", "ignore")
    names = [".env", ".env.skip", "sub/.env", "modules/a/b", "build/keep/k", "build/drop", "untracked", "linked/x"]
    for name in (*names, "x.log"):
        (repo / name).parent.mkdir(parents=True, exist_ok=True)
        (repo / name).write_text(name)
    (repo / ".env.link").symlink_to(tmp_path)
    (repo / "modules" / "a" / "b").chmod(0o755)
    new_repository(repo / "modules" / "inner")
    # In the branch, this folder is a link to the outside: nothing is written through it.
    (tmp_path / "outside").mkdir()
    git(repo, "switch", "-q", "-c", "other")
    (repo / "linked").rename(tmp_path / "linked")
    (repo / "linked").symlink_to(tmp_path / "outside")
    git(repo, "add", "--force", "linked")
    git(repo, "commit", "-q", "-m", "link")
    git(repo, "switch", "-q", "main")
    (tmp_path / "linked").rename(repo / "linked")
    tree = Path(new_worktree(repo, branch="other").path)
    ignored = git(tree, "ls-files", "--others").splitlines()
    assert ignored == [".env", "build/keep/k", "modules/a/b", "sub/.env"]
    assert (tree / "modules" / "a" / "b").read_text() == "modules/a/b"
    assert os.access(tree / "modules" / "a" / "b", os.X_OK)
    assert list((tmp_path / "outside").iterdir()) == []


@pytest.mark.skipif(sys.platform == "darwin", reason="names of files are UTF-8 there")
def test_a_file_whose_name_is_not_utf8_is_copied(repo: Path) -> None:
    """.worktreeinclude copies a file whatever bytes its name has."""
    name = os.fsdecode(b"caf\xe9\n.log")
    (repo / name).write_text("one")
    (repo / ".worktreeinclude").write_text("*.log\n")
    tree = new_worktree(repo)
    assert Path(tree.path, name).read_text() == "one"
    assert remove(tree.path, tree.branch) is None


def test_a_file_that_is_removed_meanwhile_is_left_out(repo: Path) -> None:
    """A temporary file that ends between its listing and its copy stops no worktree from being made."""
    for name in ("a.log", "b.log"):
        (repo / name).write_text("one")
    (repo / ".worktreeinclude").write_text("*.log\n")
    tree = repo / "sub"

    def listing(_: str, *arguments: str) -> str:
        if "--exclude-standard" in arguments:
            (repo / "a.log").unlink()
        return "a.log\0b.log\0"

    copy_included(listing, str(repo), str(tree), str(repo / ".git"))
    assert sorted(path.name for path in tree.glob("*.log")) == ["b.log"]


def test_a_folder_with_a_line_feed_has_worktrees(tmp_path: Path) -> None:
    """The kept worktree of a repository in such a folder is found, and taken over."""
    repo = new_repository(tmp_path / "two\nlines")
    kept = new_worktree(repo)
    assert choose(str(repo), "other", kept.branch).path == kept.path


def test_a_filter_that_is_not_installed_is_named(repo: Path) -> None:
    """If git-lfs is missing, the error says so, and nothing is left."""
    (repo / ".gitattributes").write_text("*.bin filter=lfs\n")
    (repo / "a.bin").write_text("pointer\n")
    git(repo, "add", ".")
    git(repo, "commit", "-q", "-m", "large")
    for key, value in (("process", "git-lfs-missing filter-process"), ("required", "true")):
        git(repo, "config", f"filter.lfs.{key}", value)
    planned = choose(str(repo), "fizz-top", "")
    with pytest.raises(InvalidRequest, match=r": [a-z].* \(git-lfs-missing.*not found\); fix that"):
        planned.create()
    planned.discard()
