"""Git worktrees of sessions: `<repository>.worktrees/<id>`, created by `create --worktree`, and removed by `kill` if
nothing in them would be lost. One that was kept is taken over by the next `create --worktree=BRANCH` on its branch.

The repository's post-checkout hook and its filters run as they do with `git worktree add` in a shell. Agents have
worked in the repository since, so every other git command runs nothing that it names: no hook, filter or monitor.
Variables of a git whose hook may be our caller are not passed on. Every command has a timeout, and a worktree in which
a session has worked is never removed by force.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import stat
from collections.abc import Iterable, Iterator
from functools import partial

from dev_sessions.errors import DevSessionsError, IdInUse, InvalidRequest, ProcessesUnseen, ProtocolError
from dev_sessions.models import Session
from dev_sessions.sessions import worktree_files
from dev_sessions.sessions.store import exclusive
from dev_sessions.system import paths
from dev_sessions.system.deadline import Deadline, poll
from dev_sessions.system.environment import independent_environment
from dev_sessions.system.fast_dataclass import fast_dataclass
from dev_sessions.system.private_files import is_shared
from dev_sessions.system.process import Completed, command_lines, identify, run_apart, terminate

#: Timeouts in seconds: of a query; of all queries before a removal; of a removal; of a checkout with its hooks.
_QUERY_TIMEOUT, INSPECT_TIMEOUT, _REMOVE_TIMEOUT, ADD_TIMEOUT = 10.0, 20.0, 60.0, 600.0
#: The settings among the variables of `git rev-parse --local-env-vars` (git 2.39). `independent_environment` leaves out
#: the others, which name a repository.
_SETTINGS = frozenset({"GIT_CONFIG", "GIT_CONFIG_COUNT", "GIT_NO_REPLACE_OBJECTS", "GIT_REPLACE_REF_BASE"})
#: Files in a worktree's git directory while an operation is in progress.
_UNFINISHED = {
    "MERGE_HEAD": "a merge",
    "CHERRY_PICK_HEAD": "a cherry-pick",
    "REVERT_HEAD": "a revert",
    "BISECT_LOG": "a bisection",
    "rebase-merge": "a rebase",
    "rebase-apply": "a rebase",
    "sequencer": "a cherry-pick or revert",
}


class WorktreeExists(IdInUse):
    """Raised when a branch or folder of the session's name exists; another name may be free."""

    def __init__(self, message: str) -> None:
        DevSessionsError.__init__(self, message)


class GitError(DevSessionsError):
    """Raised when a git command failed; the message is git's."""


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
        _require_owned(os.path.dirname(path))
        _require_branch_name(self.folder, name)
        if branch and (kept := self._kept_worktree(name)):
            return NewWorktree(self, kept, name, None, branch_exists=True, is_kept=True)
        exists = _git_succeeds(self.folder, "show-ref", "--verify", "--quiet", f"refs/heads/{name}")
        if exists and not branch:
            raise WorktreeExists(f"Branch {name} already exists; use it with --worktree={name}, or name another one")
        if os.path.lexists(path) or f"worktree {path}" in _git_output(
            self.folder, "worktree", "list", "--porcelain"
        ).split("\n"):
            raise WorktreeExists(
                f"Worktree {path} already exists; remove it with git worktree remove, or use another id"
            )
        # If there is exactly one remote branch of the name, git tracks it, as in git switch.
        query = "for-each-ref", "--format=%(objectname)", f"refs/remotes/*/{name}"
        remote = [] if exists or not branch else _git_output(self.folder, *query).split()
        if exists or remote:
            return NewWorktree(self, path, name, remote[0] if remote else None, branch_exists=True)
        try:
            head = _git_output(self.folder, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
        except GitError as error:
            raise InvalidRequest(f"The repository {self.root} has no commit yet; make one, then try again") from error
        return NewWorktree(self, path, name, head, branch_exists=False)

    def _kept_worktree(self, branch: str) -> str | None:
        """Return the worktree with this branch that a session was created with, if there is one."""
        parent = os.path.realpath(f"{self.root}{paths.WORKTREES_SUFFIX}")
        for entry in _git_output(self.folder, "worktree", "list", "--porcelain").split("\n\n"):
            lines = entry.strip().split("\n")
            path = lines[0].removeprefix("worktree ")
            is_ours = os.path.realpath(os.path.dirname(path)) == parent and os.path.isdir(path)
            if is_ours and f"branch refs/heads/{branch}" in lines:
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
            _git_output(self.repository.folder, "worktree", "add", "--quiet", *new, timeout=ADD_TIMEOUT, inert=False)
        except (GitError, TimeoutError) as error:
            raise InvalidRequest(f"git could not create a worktree in {self.path}: {error}") from error
        self._require_folder()

    def discard(self) -> None:
        """Remove what `create` has created. No session has worked there, so nothing can be lost."""
        if not self.is_kept:
            _discard(self.repository.root, self.path, self.branch, self.base)

    def _require_folder(self) -> None:
        if not os.path.isdir(self.folder):
            raise InvalidRequest(
                f"There is no folder {self.repository.prefix} on the branch {self.branch}; choose another --path"
            )
        try:
            source = _git_output(self.repository.folder, "rev-parse", "--show-toplevel")
            git_dir = _git_output(self.path, "rev-parse", "--absolute-git-dir")
            worktree_files.copy_included(partial(_git_output, timeout=ADD_TIMEOUT), source, self.path, git_dir)
        except (GitError, TimeoutError, OSError) as error:
            raise InvalidRequest(
                f"Cannot copy the files that {worktree_files.INCLUDE_FILE} names into {self.path}: {error}"
            ) from error


@fast_dataclass(frozen=True)
class Leftover:
    """A worktree without a session: its size in bytes, and what would be lost with it, None if nothing would."""

    path: str
    root: str
    size: int
    reason: str | None


@contextlib.contextmanager
def lock(common_dir: str, timeout: float = ADD_TIMEOUT) -> Iterator[None]:
    """Lock a repository's worktrees against other dev-sessions commands.

    While one is added, git may fail to list them (2.39: "failed to read .git/worktrees/…/commondir").
    """
    name = hashlib.sha256(os.fsencode(os.path.realpath(common_dir))).hexdigest()[:16]
    with exclusive(
        paths.worktree_lock(name), timeout, f"Another command has been changing the worktrees of {common_dir}"
    ):
        yield


def find_repository(folder: str) -> Repository:
    """Return the repository of a folder. Raises InvalidRequest if no worktree can be created beside it."""
    try:
        top = _git_output(folder, "rev-parse", "--show-toplevel")
    except GitError as error:
        raise InvalidRequest(
            f"--worktree needs a git repository with a working tree, and {folder} is not in one: {error}"
        ) from error
    if _git_output(folder, "rev-parse", "--show-superproject-working-tree"):
        raise InvalidRequest(f"{top} is a submodule; --worktree works in the repository around it, or in a clone")
    prefix = _git_output(folder, "rev-parse", "--show-prefix")
    common = _common_dir(folder)
    if os.path.realpath(_git_output(folder, "rev-parse", "--absolute-git-dir")) == os.path.realpath(common):
        return Repository(folder, prefix, top, common)
    root, name = os.path.split(os.path.realpath(common))
    if name != ".git" or _git_output(common, "rev-parse", "--is-bare-repository") == "true":
        raise InvalidRequest(
            f"{top} is a worktree of {common}, which has no working tree of its own; create one with git worktree add"
            " and use its --path"
        )
    return Repository(folder, prefix, root, common)


def remove_if_clean(session: Session, sessions: Iterable[Session]) -> tuple[str, ...]:
    """Remove the worktree of an ended session if nothing in it would be lost; else return a line that says why not.

    `sessions` are all sessions in the store.
    """
    if session.worktree is None or session.worktree_branch is None:
        return ()
    others = sessions_in(session.worktree, session.id, sessions)
    if others:
        reason: str | None = f"{others[0]} works there, too"
    elif session.claimed_by is not None:
        reason = _remove_unfinished(session.worktree, session.worktree_branch, session.worktree_base)
    else:
        reason = remove(session.worktree, session.worktree_branch)
        # The git of an interrupted kill may be removing it, too.
        if reason and _removal_finished(session.worktree):
            reason = None
    if reason is None:
        return ()
    text = f"The worktree of {session.id} was left in {session.worktree}: {reason}"
    return (text if others else f"{text}; {_how_to_go_on(session.worktree)}",)


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


def _how_to_go_on(path: str) -> str:
    """Return how to use a worktree that was kept, and how to remove it with what is in it."""
    root = paths.repository_of(path)
    place = f"--path {shlex.quote(path)}"
    with contextlib.suppress(DevSessionsError, OSError):
        branch = _git_output(path, "symbolic-ref", "--quiet", "--short", "HEAD")
        place = f"--path {shlex.quote(root)} {shlex.quote(f'--worktree={branch}')}"
    remove_it = f"git -C {shlex.quote(root)} worktree remove --force {shlex.quote(path)}"
    return f"to go on in it: dev-sessions create {place}; to throw it away: {remove_it}"


def remove(path: str, branch: str) -> str | None:
    """Remove a worktree, but not its branch, if it exists and nothing in it would be lost; else return why not."""
    if not os.path.lexists(path):
        return None
    try:
        _require_owned(os.path.dirname(path))
        common = _common_dir(path)
        with lock(common, INSPECT_TIMEOUT):
            reason = _reason_to_keep(path, branch, Deadline(INSPECT_TIMEOUT))
            if reason is None:
                # Run outside the worktree, which is going away.
                _git_output(common, *_without_filters(path), "worktree", "remove", "--", path, timeout=_REMOVE_TIMEOUT)
                _remove_if_empty(os.path.dirname(path))
    except (DevSessionsError, OSError) as error:
        return str(error)
    return reason


def left_behind(folders: Iterable[str], sessions: Iterable[Session]) -> Iterator[Leftover]:
    """Yield the worktrees of sessions that have ended, in the repositories of some folders."""
    used = {os.path.realpath(session.worktree) for session in sessions if session.worktree is not None}
    roots: set[str] = set()
    for folder in folders:
        with contextlib.suppress(DevSessionsError, OSError):
            roots.add(find_repository(folder).root)
    for root in sorted(roots):
        for entry in _git_output(root, "worktree", "list", "--porcelain").split("\n\n"):
            fields = dict(line.partition(" ")[::2] for line in entry.split("\n"))
            path = fields.get("worktree", "")
            ours = os.path.dirname(path) == f"{root}{paths.WORKTREES_SUFFIX}" and os.path.isdir(path)
            if ours and os.path.realpath(path) not in used:
                branch = fields.get("branch", "").removeprefix("refs/heads/") or "HEAD"
                try:
                    reason = _reason_to_keep(path, branch, Deadline(INSPECT_TIMEOUT))
                except (DevSessionsError, OSError) as error:
                    reason = str(error)
                yield Leftover(path, root, _size(path), reason)


def _size(folder: str) -> int:
    """Return the bytes of the files below a folder."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(path, name)).st_size
    return total


def _make_folder(folder: str) -> None:
    """Create the folder of a repository's worktrees. Raises InvalidRequest if it is another user's, as in /tmp."""
    try:
        os.mkdir(folder, 0o775)
    except FileExistsError:
        _require_owned(folder)
    except OSError as error:
        raise InvalidRequest(f"Cannot create {folder}: {error.strerror}; make its parent writable") from error


def _require_owned(folder: str) -> None:
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


def _remove_unfinished(path: str, branch: str, base: str | None) -> str | None:
    """Remove the worktree of a killed create, and its branch if that has no new commits; else return why not."""
    root = paths.repository_of(path)
    try:
        if not _terminate_git_add(path) and not _is_initializing(root, path) and (reason := remove(path, branch)):
            return reason
    except (DevSessionsError, OSError) as error:
        return str(error) if os.path.lexists(path) else None
    _discard(root, path, branch, base)
    return None


def _terminate_git_add(path: str) -> bool:
    """Terminate the git that a killed create left creating a worktree. Return whether there was one.

    Raises ProtocolError if it does not end, ProcessesUnseen.
    """
    pids = _git_pids("add", path)
    for pid in pids:
        process = identify(pid)
        if process is not None and not terminate(process, group=True):
            raise ProtocolError(f"git (process {pid}) is still creating it and does not end")
    return bool(pids)


def _removal_finished(path: str) -> bool:
    """Wait for the git that an interrupted kill left removing a worktree. Return whether the worktree is gone."""
    with contextlib.suppress(ProcessesUnseen):
        poll(lambda: None if _git_pids("remove", path) else True, Deadline(_REMOVE_TIMEOUT), 0.1)
    return not os.path.lexists(path)


def _git_pids(action: str, path: str) -> list[int]:
    """Return the processes that run `git worktree add` or `remove` on a path. Raises ProcessesUnseen."""
    lines = command_lines().items()
    return [pid for pid, line in lines if f" worktree {action} " in line and f" -- {path} " in f"{line} "]


def _is_initializing(root: str, path: str) -> bool:
    """Return whether git was killed during the checkout of a worktree, which it keeps locked until that is done."""
    entries = [entry.split("\n") for entry in _git_output(root, "worktree", "list", "--porcelain").split("\n\n")]
    return any(f"worktree {path}" in entry and "locked initializing" in entry for entry in entries)


def _discard(root: str, path: str, branch: str, base: str | None) -> None:
    """Remove a worktree whatever is in it, and its branch if that is at `base`."""
    with contextlib.suppress(DevSessionsError, OSError), lock(_common_dir(root), INSPECT_TIMEOUT):
        with contextlib.suppress(GitError):
            # A second --force also removes one that is still locked.
            _git_output(root, "worktree", "remove", "--force", "--force", "--", path, timeout=_REMOVE_TIMEOUT)
        if base and _git_output(root, "rev-parse", "--verify", f"refs/heads/{branch}") == base:
            _git_output(root, "branch", "--quiet", "-D", "--", branch)
    _remove_if_empty(os.path.dirname(path))


def _reason_to_keep(path: str, branch: str, deadline: Deadline) -> str | None:
    """Return everything that would be lost with a worktree; None if nothing would.

    `git worktree remove` itself removes ignored files, unmerged commits and an unfinished rebase without asking.
    """

    def ask(*arguments: str) -> str:
        if deadline.expired:
            raise TimeoutError(f"git did not answer within {INSPECT_TIMEOUT:g} s")
        return _git_output(path, *arguments, timeout=deadline.remaining())

    if os.path.realpath(ask("rev-parse", "--show-toplevel")) != os.path.realpath(path):
        return "it is no worktree any more"
    git_dir = ask("rev-parse", "--absolute-git-dir")
    if os.path.realpath(git_dir) == os.path.realpath(_common_dir(path)):
        return "it is no worktree any more, but a repository"
    for name, operation in _UNFINISHED.items():
        if os.path.lexists(os.path.join(git_dir, name)):
            return f"{operation} is not finished there"
    status = ask(
        *_without_filters(path),
        "status",
        "--porcelain",
        "-z",
        "--no-renames",
        "--untracked-files=normal",
        "--ignored=traditional",
        # A submodule has a configuration of its own; `git worktree remove` refuses a worktree that has one.
        "--ignore-submodules=all",
    )
    entries = [entry for entry in status.split("\0") if entry]
    ignored = [entry[3:] for entry in entries if entry.startswith("!!")]
    if ignored and worktree_files.has_copies(git_dir):
        ignored = worktree_files.changed(lambda _, *arguments: ask(*arguments), path, git_dir)
    uncommitted = [entry[3:] for entry in entries if not entry.startswith("!!")]
    kinds = {"uncommitted": uncommitted, "ignored": ignored}
    held = [f"{kind} files ({_abbreviated(names)})" for kind, names in kinds.items() if names]
    # With assume-unchanged (lower case) or skip-worktree (S), `git status` does not report changes.
    unchecked = [line[2:] for line in ask("ls-files", "-v", "-z").split("\0") if line[:1].islower() or line[:1] == "S"]
    present = [name for name in unchecked if os.path.lexists(os.path.join(path, name))]
    if present:
        held.append(f"files whose changes git was told to ignore ({_abbreviated(present)})")
    reasons = [f"it holds {' and '.join(held)}"] if held else []
    if count := int(ask("rev-list", "--count", *_heads(path, branch), "--")):
        commits = "1 commit that is" if count == 1 else f"{count} commits that are"
        reasons.append(f"its branch {branch} has {commits} on no other branch")
    return " and ".join(reasons) or None


def _heads(path: str, branch: str) -> list[str]:
    """Return the arguments of rev-list for the worktree's commits that are on no other branch and no remote."""
    heads, own = ["HEAD"], {branch}
    with contextlib.suppress(GitError):
        own.add(_git_output(path, "symbolic-ref", "--quiet", "--short", "HEAD"))
    if _git_succeeds(path, "show-ref", "--verify", "--quiet", f"refs/heads/{branch}"):
        heads.append(f"refs/heads/{branch}")
    return [*heads, "--not", *(f"--exclude={name}" for name in own), "--branches", "--remotes"]


def _require_branch_name(folder: str, name: str) -> None:
    try:
        # "@" means HEAD; older versions of git accept it as a branch name.
        if name != "@" and _git_output(folder, "check-ref-format", "--branch", name) == name:
            return
    except (GitError, ValueError):
        pass
    raise InvalidRequest(f"{name!r} is not a valid branch name; for the rules: git check-ref-format --help")


def _common_dir(folder: str) -> str:
    return os.path.join(folder, _git_output(folder, "rev-parse", "--git-common-dir"))


def _git_succeeds(folder: str, *arguments: str) -> bool:
    try:
        _git_output(folder, *arguments)
    except GitError:
        return False
    return True


def _without_filters(folder: str) -> list[str]:
    """Return the options that keep git from running the filters of a repository's own configuration.

    Then a file that would have to be filtered counts as changed. The user's own filters stay, such as those of Git LFS.
    Raises GitError, TimeoutError.
    """
    try:
        fields = _git_output(folder, "config", "-z", "--list", "--name-only", "--show-scope").split("\0")
        names = [name for scope, name in zip(fields[::2], fields[1::2], strict=False) if scope in ("local", "worktree")]
    except GitError:  # before git 2.26
        names = _git_output(folder, "config", "-z", "--list", "--name-only").split("\0")
    filters = {name.rpartition(".")[0] for name in names if name.startswith("filter.")}
    if unusual := [name for name in filters if "=" in name]:
        raise GitError(f"the repository has a filter {unusual[0]!r}, which could not be turned off")
    settings = [f"{name}.{key}" for name in sorted(filters) for key in ("clean=", "process=", "required=false")]
    return [word for setting in settings for word in ("-c", setting)]


def _git_output(folder: str, *arguments: str, timeout: float = _QUERY_TIMEOUT, inert: bool = True) -> str:
    """Run a git command in a folder and return its output. Raises GitError, TimeoutError.

    `inert`: without the repository's hooks.
    """
    environment = {name: value for name, value in independent_environment().items() if name not in _SETTINGS}
    # No prompts on the terminal, and no locks or index updates by queries.
    environment |= {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1"}
    options = ["-c", "core.fsmonitor=false", *(["-c", f"core.hooksPath={os.devnull}"] if inert else [])]
    done = run_apart(["git", "-C", folder, *options, *arguments], env=environment, timeout=timeout)
    if done.code != 0:
        raise GitError(_error_text(done))
    return done.stdout.removesuffix("\n")


def _error_text(done: Completed) -> str:
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    fatal = [line.partition(": ")[2] for line in lines if line.startswith(("fatal: ", "error: "))]
    # Only the shell's line names the program of a filter that is missing: `…: 1: git-lfs: not found`.
    missing = [line for line in lines if line.endswith("not found") and not line.startswith(("fatal: ", "error: "))]
    if fatal and missing:
        return f"{fatal[-1]} ({missing[0]})"
    return (fatal or lines or [f"exit code {done.code}, without a message"])[0 if fatal else -1]


def _abbreviated(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _remove_if_empty(folder: str) -> None:
    with contextlib.suppress(OSError):
        os.rmdir(folder)
