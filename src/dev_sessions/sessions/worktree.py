"""Create the git worktree of a session: `<repository>.worktrees/<id>`.

`kill` removes it if nothing in it would be lost (`worktree_removal`). One that was kept is taken over by the next
`create --worktree=BRANCH` on its branch.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from functools import partial

from dev_sessions.errors import DevSessionsError, IdInUse, InvalidRequest
from dev_sessions.models import Session
from dev_sessions.sessions import git, worktree_files
from dev_sessions.system import paths
from dev_sessions.system.fast_dataclass import fast_dataclass
from dev_sessions.system.file_locks import hold_lock
from dev_sessions.system.private_files import is_shared

#: Timeouts in seconds: of all queries before a removal; of a removal; of a checkout with its hooks.
INSPECT_TIMEOUT, REMOVE_TIMEOUT, ADD_TIMEOUT = 20.0, 60.0, 600.0


class WorktreeExists(IdInUse):
    """Raised when a branch or folder of the session's name exists; another name may be free."""

    def __init__(self, message: str) -> None:
        DevSessionsError.__init__(self, message)


@fast_dataclass(frozen=True)
class Repository:
    """The git repository of a folder.

    `folder` is `prefix` ("" or "a/b/") below the root of its working tree; `root` is the repository's main working
    tree, `common_dir` the git directory that all its worktrees share.
    """

    folder: str
    prefix: str
    root: str
    common_dir: str

    def new_worktree(self, session_id: str, branch: str) -> NewWorktree:
        """Plan a session's worktree on `branch`, or on a new branch named after the session if that is "".

        A worktree of an ended session that has the branch checked out is taken over. Raises InvalidRequest if it cannot
        be created, WorktreeExists if the session's name is in use.
        """
        name = branch or session_id
        path = os.path.join(f"{self.root}{paths.WORKTREES_SUFFIX}", session_id)
        require_owned(os.path.dirname(path))
        _require_branch_name(self.folder, name)
        if branch and (kept := self._kept_worktree(name)):
            return NewWorktree(self, kept, name, None, branch_exists=True, is_kept=True)
        exists = git.succeeds(self.folder, "show-ref", "--verify", "--quiet", f"refs/heads/{name}")
        if exists and not branch:
            raise WorktreeExists(f"Branch {name} already exists; use it with --worktree={name}, or name another one")
        self._require_spelling(name)
        if os.path.lexists(path) or any(entry["worktree"] == path for entry in git.worktrees(self.folder)):
            raise WorktreeExists(
                f"Worktree {path} already exists; remove it with git worktree remove, or use another id"
            )
        # If there is exactly one remote branch of the name, git tracks it, as in git switch.
        query = "for-each-ref", "--count=1", "--format=%(objectname)", f"refs/remotes/*/{name}"
        remote = [] if exists or not branch else git.output(self.folder, *query).split()
        if exists or remote:
            return NewWorktree(self, path, name, remote[0] if remote else None, branch_exists=True)
        try:
            head = git.output(self.folder, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
        except git.GitError as error:
            raise InvalidRequest(f"The repository {self.root} has no commit yet; make one, then try again") from error
        return NewWorktree(self, path, name, head, branch_exists=False)

    def _require_spelling(self, branch: str) -> None:
        """Raise InvalidRequest if a branch's name differs from another one's in case only, where that is one file.

        git (2.39) lets two worktrees have it then, and both move it.
        """
        if not git.succeeds(self.folder, "config", "--type=bool", "--get", "core.ignorecase", "true"):
            return
        query = "for-each-ref", "--ignore-case", "--format=%(refname)", f"refs/heads/{branch}"
        for reference in git.output(self.folder, *query).split():
            if (found := reference.removeprefix("refs/heads/")) != branch and found.lower() == branch.lower():
                raise InvalidRequest(
                    f"Branch {branch} is {found} in this file system; use it with --worktree={found}, or name another"
                    " one"
                )

    def _kept_worktree(self, branch: str) -> str | None:
        """Return the worktree with this branch that a session was created with, if there is one."""
        parent = os.path.realpath(f"{self.root}{paths.WORKTREES_SUFFIX}")
        for entry in git.worktrees(self.folder):
            path = entry["worktree"]
            is_ours = os.path.realpath(os.path.dirname(path)) == parent and os.path.isdir(path)
            if is_ours and entry.get("branch") == f"refs/heads/{branch}":
                return path
        return None


@fast_dataclass(frozen=True)
class NewWorktree:
    """A worktree that is to be created.

    `base` is the commit at which a new local branch starts; `branch_exists`: here or on a remote. `is_kept`: it is the
    worktree of an ended session, which is neither created nor discarded.
    """

    repository: Repository
    path: str
    branch: str
    base: str | None
    branch_exists: bool
    is_kept: bool = False

    @property
    def folder(self) -> str:
        """The worktree's counterpart of the repository's folder."""
        return os.path.join(self.path, self.repository.prefix).rstrip(os.sep)

    def create(self) -> None:
        """Create the worktree and its branch. Raises InvalidRequest; then call `discard`, as part of it may exist."""
        if self.is_kept:
            self._require_folder()
            return
        new = ["--", self.path, self.branch]
        if not self.branch_exists and self.base:
            new = ["--no-track", "-b", self.branch, "--", self.path, self.base]
        try:
            _make_folder(os.path.dirname(self.path))
            git.output(self.repository.folder, "worktree", "add", "--quiet", *new, timeout=ADD_TIMEOUT, inert=False)
        except (git.GitError, TimeoutError) as error:
            raise InvalidRequest(
                f"git could not create a worktree in {self.path}: {error}; fix that, then try again"
            ) from error
        self._require_folder()

    def discard(self) -> None:
        """Remove what `create` has created. No session has worked there, so nothing can be lost."""
        if not self.is_kept:
            force_remove(self.repository.root, self.path, self.branch, self.base)

    def _require_folder(self) -> None:
        if not os.path.isdir(self.folder):
            raise InvalidRequest(
                f"There is no folder {self.repository.prefix} on the branch {self.branch}; choose another --path"
            )
        try:
            source = git.output(self.repository.folder, "rev-parse", "--show-toplevel")
            git_dir = git.output(self.path, "rev-parse", "--absolute-git-dir")
            worktree_files.copy_included(partial(git.output, timeout=ADD_TIMEOUT), source, self.path, git_dir)
        except (git.GitError, TimeoutError, OSError) as error:
            raise InvalidRequest(
                f"Cannot copy the files that {worktree_files.INCLUDE_FILE} names into {self.path}: {error}; fix that,"
                " then try again"
            ) from error


@contextlib.contextmanager
def lock(common_dir: str, timeout: float = ADD_TIMEOUT) -> Iterator[None]:
    """Lock a repository's worktrees against other dev-sessions commands.

    While one is added, git may fail to list them (2.39: "failed to read .git/worktrees/…/commondir").
    """
    name = hashlib.sha256(os.fsencode(os.path.realpath(common_dir))).hexdigest()[:16]
    with hold_lock(
        paths.worktree_lock(name), timeout, f"Another command has been changing the worktrees of {common_dir}"
    ):
        yield


def find_repository(folder: str) -> Repository:
    """Return the repository of a folder. Raises InvalidRequest if no worktree can be created beside it."""
    try:
        top = git.output(folder, "rev-parse", "--show-toplevel")
    except git.GitError as error:
        raise InvalidRequest(
            f"--worktree needs a git repository with a working tree, and {folder} is not in one: {error}; choose"
            " another --path, or leave it out"
        ) from error
    if git.output(folder, "rev-parse", "--show-superproject-working-tree"):
        raise InvalidRequest(f"{top} is a submodule; --worktree works in the repository around it, or in a clone")
    prefix = git.output(folder, "rev-parse", "--show-prefix")
    common = git.common_dir(folder)
    if os.path.realpath(git.output(folder, "rev-parse", "--absolute-git-dir")) == os.path.realpath(common):
        return Repository(folder, prefix, top, common)
    root, name = os.path.split(os.path.realpath(common))
    if name != ".git" or git.output(common, "rev-parse", "--is-bare-repository") == "true":
        raise InvalidRequest(
            f"{top} is a worktree of {common}, which has no working tree of its own; create one with git worktree add"
            " and use its --path"
        )
    return Repository(folder, prefix, root, common)


def sessions_in(path: str, session_id: str, sessions: Iterable[Session]) -> list[str]:
    """Return the ids of the other sessions of this machine that work in a worktree."""
    inside = os.path.join(os.path.realpath(path), "")
    return [
        other.id
        for other in sessions
        if other.id != session_id
        and other.host is None
        and os.path.join(os.path.realpath(other.path), "").startswith(inside)
    ]


def _make_folder(folder: str) -> None:
    """Create the folder of a repository's worktrees. Raises InvalidRequest if it is another user's, as in /tmp."""
    try:
        os.mkdir(folder, 0o775)
    except FileExistsError:
        require_owned(folder)
    except OSError as error:
        raise InvalidRequest(f"Cannot create {folder}: {error.strerror}; make its parent writable") from error


def require_owned(folder: str) -> None:
    """Raise InvalidRequest if a folder exists in which another user could replace worktrees.

    The folders above it are not checked: who can replace those can replace the repository itself.
    """
    with contextlib.suppress(FileNotFoundError):
        for stat_function in (os.lstat, os.stat):  # a link, and its target
            status = stat_function(folder)
            if status.st_uid not in (0, os.geteuid()):
                problem = f"belongs to user {status.st_uid}, not to you (user {os.geteuid()})"
            elif is_shared(status) and not status.st_mode & stat.S_ISVTX and not stat.S_ISLNK(status.st_mode):
                problem = f"can be written to by other users (mode {stat.S_IMODE(status.st_mode):04o})"
            else:
                continue
            raise InvalidRequest(
                f"{folder} {problem}, so other users could replace a worktree in it; move it away, or create a worktree"
                " elsewhere with git worktree add and use its --path"
            )


def force_remove(root: str, path: str, branch: str, base: str | None) -> None:
    """Remove a worktree whatever is in it, and its branch if that is at `base`."""
    with contextlib.suppress(DevSessionsError, OSError), lock(git.common_dir(root), INSPECT_TIMEOUT):
        with contextlib.suppress(git.GitError):
            # A second --force also removes one that is still locked.
            git.output(root, "worktree", "remove", "--force", "--force", "--", path, timeout=REMOVE_TIMEOUT)
        if base and git.output(root, "rev-parse", "--verify", f"refs/heads/{branch}") == base:
            git.output(root, "branch", "--quiet", "-D", "--", branch)
    remove_if_empty(os.path.dirname(path))


def _require_branch_name(folder: str, name: str) -> None:
    try:
        # "@" means HEAD; older versions of git accept it as a branch name.
        if name != "@" and git.output(folder, "check-ref-format", "--branch", name) == name:
            return
    except (git.GitError, ValueError):
        pass
    raise InvalidRequest(f"{name!r} is not a valid branch name; for the rules: git check-ref-format --help")


def remove_if_empty(folder: str) -> None:
    """Remove the folder of a repository's worktrees once it has none."""
    with contextlib.suppress(OSError):
        os.rmdir(folder)
