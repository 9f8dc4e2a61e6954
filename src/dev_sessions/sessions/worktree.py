"""A git worktree for a session alone: `<repository>.worktrees/<id>`, made by `create --worktree`, and removed by `kill`
when nothing in it would be lost.

The repository's hooks run as they do when somebody types `git worktree add` (post-checkout). Variables of the git that
may have called us, from a hook, are not passed on. Everything has a time limit, and nothing is ever forced on a
worktree in which a session has been.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator

from dev_sessions.errors import DevSessionsError, IdInUse, InvalidRequest, ProcessesUnseen, ProtocolError
from dev_sessions.models import Session
from dev_sessions.sessions.store import exclusive
from dev_sessions.system import paths
from dev_sessions.system.deadline import Deadline, poll
from dev_sessions.system.fast_dataclass import fast_dataclass
from dev_sessions.system.private_files import is_shared
from dev_sessions.system.process import Completed, command_lines, identify, run_apart, terminate

#: Seconds for a question to git; for all that are asked before a removal; for a removal; for a checkout with its hooks.
_ASK, INSPECT_TIMEOUT, _REMOVE, ADD_TIMEOUT = 10.0, 20.0, 60.0, 600.0
#: Beside a repository lies the folder with its sessions' worktrees.
#: `git rev-parse --local-env-vars` (2.39), and what receiving hooks get besides.
_OF_ANOTHER_GIT = frozenset(
    {
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_COMMON_DIR",
        "GIT_CONFIG",
        "GIT_CONFIG_COUNT",
        "GIT_CONFIG_PARAMETERS",
        "GIT_DIR",
        "GIT_GRAFT_FILE",
        "GIT_IMPLICIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_INTERNAL_SUPER_PREFIX",
        "GIT_NO_REPLACE_OBJECTS",
        "GIT_OBJECT_DIRECTORY",
        "GIT_PREFIX",
        "GIT_QUARANTINE_PATH",
        "GIT_REPLACE_REF_BASE",
        "GIT_SHALLOW_FILE",
        "GIT_WORK_TREE",
    }
)
#: Files in a worktree's git directory while something is half done there.
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
    """There is a branch or a folder of the session's name already; another name may do."""

    def __init__(self, message: str) -> None:
        DevSessionsError.__init__(self, message)


class GitRefused(DevSessionsError):
    """git did not do what it was asked for; the message is its own words."""


@fast_dataclass(frozen=True)
class Repository:
    """Where a worktree comes from: a `folder`, which is `prefix` ("" or "a/b/") below the root of its working tree, the
    `root` of the repository's main working tree, and what all its worktrees share, `common`."""

    folder: str
    prefix: str
    root: str
    common: str

    def site(self, session_id: str, branch: str) -> NewWorktree:
        """The place for a session's worktree: on `branch`, or when that is "" on a new one named after the session.

        InvalidRequest when there can be none; SiteTaken when the session's name is used there already.
        """
        name = branch or session_id
        path = os.path.join(f"{self.root}{paths.WORKTREES_SUFFIX}", session_id)
        _require_owned(os.path.dirname(path))
        _require_branch_name(self.folder, name)
        exists = _holds(self.folder, "show-ref", "--verify", "--quiet", f"refs/heads/{name}")
        if exists and not branch:
            raise WorktreeExists(
                f"There is a branch {name} already; use it with --worktree={name}, or name another one"
            )
        if os.path.lexists(path) or f"worktree {path}" in _ask(self.folder, "worktree", "list", "--porcelain").split(
            "\n"
        ):
            raise WorktreeExists(
                f"There is a worktree {path} already; remove it with git worktree remove, or use another id"
            )
        remote = [] if exists or not branch else _remote_branches(self.folder, name)
        if exists or remote:
            return NewWorktree(self, path, name, remote[0] if remote else None, takes=True)
        try:
            head = _ask(self.folder, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
        except GitRefused as error:
            raise InvalidRequest(f"The repository {self.root} has no commit yet; make one, then try again") from error
        return NewWorktree(self, path, name, head, takes=False)


@fast_dataclass(frozen=True)
class NewWorktree:
    """Where a session's worktree is to be, and on which branch.

    `base` is the commit of a branch that is made for it; `takes` says that git finds the branch, here or on a remote.
    """

    repository: Repository
    path: str
    branch: str
    base: str | None
    takes: bool

    @property
    def folder(self) -> str:
        """What the repository's folder is in the worktree."""
        return os.path.join(self.path, self.repository.prefix).rstrip(os.sep)

    def make(self) -> None:
        """Make the worktree, with its branch. InvalidRequest in git's words; then `discard` what there may be of it."""
        new = ["--", self.path, self.branch]
        if not self.takes and self.base:
            new = ["--no-track", "-b", self.branch, "--", self.path, self.base]
        try:
            _make_folder(os.path.dirname(self.path))
            _ask(self.repository.folder, "worktree", "add", "--quiet", *new, timeout=ADD_TIMEOUT)
        except (GitRefused, TimeoutError) as error:
            raise InvalidRequest(f"git could not make a worktree in {self.path}: {error}") from error
        if not os.path.isdir(self.folder):
            raise InvalidRequest(
                f"There is no folder {self.repository.prefix} on the branch {self.branch}; choose another --path"
            )

    def discard(self) -> None:
        """Take back what `make` has made. Nobody has worked there, so that nothing can be lost."""
        _discard(self.repository.root, self.path, self.branch, self.base)


@contextlib.contextmanager
def alone(common: str, patience: float = ADD_TIMEOUT) -> Iterator[None]:
    """Keep other commands of ours from a repository's worktrees: where one is added, git's look at all of them fails
    at times (2.39: "failed to read .git/worktrees/…/commondir")."""
    name = hashlib.sha256(os.fsencode(os.path.realpath(common))).hexdigest()[:16]
    lock = paths.worktree_lock(name)
    with exclusive(lock, patience, f"Another command has been busy with the worktrees of {common}"):
        yield


def find(folder: str) -> Repository:
    """The repository that a folder lies in. InvalidRequest when it is none that a worktree can be made beside."""
    try:
        top = _ask(folder, "rev-parse", "--show-toplevel")
    except GitRefused as error:
        raise InvalidRequest(
            f"{folder} is not in a git repository with files, as --worktree needs it: {error}"
        ) from error
    if _ask(folder, "rev-parse", "--show-superproject-working-tree"):
        raise InvalidRequest(f"{top} is a submodule; --worktree works in the repository around it, or in a clone")
    prefix = _ask(folder, "rev-parse", "--show-prefix")
    common = _common_dir(folder)
    if os.path.realpath(_ask(folder, "rev-parse", "--absolute-git-dir")) == os.path.realpath(common):
        return Repository(folder, prefix, top, common)
    root, name = os.path.split(os.path.realpath(common))
    if name != ".git" or _ask(common, "rev-parse", "--is-bare-repository") == "true":
        raise InvalidRequest(
            f"{top} is a worktree of {common}, which has no files of its own beside which another could be made; make"
            " one with git worktree add, and give its --path"
        )
    return Repository(folder, prefix, root, common)


def remove_if_clean(session: Session, everybody: Iterable[Session]) -> tuple[str, ...]:
    """Remove the worktree of a session that has ended, if nothing in it would be lost; else a line that says where it
    is and why."""
    if session.worktree is None or session.worktree_branch is None:
        return ()
    inside = os.path.join(os.path.realpath(session.worktree), "")
    others = [
        other.id
        for other in everybody
        if other.id != session.id
        and other.host is None
        and os.path.join(os.path.realpath(other.path), "").startswith(inside)
    ]
    if others:
        reason: str | None = f"{others[0]} works there, too"
    elif session.claimed_by is not None:
        reason = _take_back(session.worktree, session.worktree_branch, session.worktree_base)
    else:
        reason = remove(session.worktree, session.worktree_branch)
        if reason and _ended_by_itself(session.worktree):
            reason = None
    return (f"The worktree of {session.id} was left in {session.worktree}: {reason}",) if reason else ()


def remove(path: str, branch: str) -> str | None:
    """Remove a worktree in which nothing would be lost, never its branch; else why it was left. No worktree is fine."""
    if not os.path.lexists(path):
        return None
    try:
        _require_owned(os.path.dirname(path))
        common = _common_dir(path)
        with alone(common, INSPECT_TIMEOUT):
            reason = _what_would_be_lost(path, branch, Deadline(INSPECT_TIMEOUT))
            if reason is None:
                # From the outside: what is in there goes.
                _ask(common, "worktree", "remove", "--", path, timeout=_REMOVE)
                _remove_if_empty(os.path.dirname(path))
    except (DevSessionsError, OSError) as error:
        return str(error)
    return reason


def _make_folder(folder: str) -> None:
    """Make the folder of a repository's worktrees. InvalidRequest when somebody else was faster, as may be in /tmp."""
    try:
        os.mkdir(folder, 0o775)
    except FileExistsError:
        _require_owned(folder)
    except OSError as error:
        raise InvalidRequest(f"Cannot make {folder}: {error.strerror}; make the folder around it writable") from error


def _require_owned(folder: str) -> None:
    """Raise InvalidRequest when another user could swap the worktrees in a folder. One that is not there is fine.

    Nothing is asked of the folders above it: who can swap those can swap the repository itself.
    """
    with contextlib.suppress(FileNotFoundError):
        for look in (os.lstat, os.stat):  # at a link, and at what it leads to
            found = look(folder)
            if found.st_uid not in (0, os.geteuid()):
                what = f"belongs to user {found.st_uid}, not to you (user {os.geteuid()})"
            elif is_shared(found) and not found.st_mode & stat.S_ISVTX and not stat.S_ISLNK(found.st_mode):
                what = f"can be written to by other users (mode {stat.S_IMODE(found.st_mode):04o})"
            else:
                continue
            raise InvalidRequest(
                f"{folder} {what}, so that others could swap a worktree in it, and it is not used; move it away, or"
                " make a worktree elsewhere with git worktree add and give its --path"
            )


def _take_back(path: str, branch: str, base: str | None) -> str | None:
    """Remove what a create that was killed has made, its branch too if that is where it began; else why it was left."""
    root = paths.repository_of(path)
    try:
        if not _end_git(path) and not _is_unfinished(root, path) and (reason := remove(path, branch)):
            return reason
    except (DevSessionsError, OSError) as error:
        return str(error) if os.path.lexists(path) else None
    _discard(root, path, branch, base)
    return None


def _end_git(path: str) -> bool:
    """End the git that makes a worktree, and goes on with it though nobody waits for it any more; whether it did.
    ProtocolError, ProcessesUnseen."""
    found = _at_work("add", path)
    for pid in found:
        process = identify(pid)
        if process is not None and not terminate(process, group=True):
            raise ProtocolError(f"git (process {pid}) still makes it, and does not end")
    return bool(found)


def _ended_by_itself(path: str) -> bool:
    """Whether a worktree is gone that a kill that was killed has begun to remove: its git goes on with that."""
    with contextlib.suppress(ProcessesUnseen):
        poll(lambda: None if _at_work("remove", path) else True, Deadline(_REMOVE), 0.1)
    return not os.path.lexists(path)


def _at_work(what: str, path: str) -> list[int]:
    """The gits that add or remove a worktree right now. ProcessesUnseen."""
    listed = command_lines().items()
    return [pid for pid, line in listed if f" worktree {what} " in line and f" -- {path} " in f"{line} "]


def _is_unfinished(root: str, path: str) -> bool:
    """Whether git was ended before it had filled a worktree: until then it keeps it locked."""
    entries = [entry.split("\n") for entry in _ask(root, "worktree", "list", "--porcelain").split("\n\n")]
    return any(f"worktree {path}" in entry and "locked initializing" in entry for entry in entries)


def _discard(root: str, path: str, branch: str, base: str | None) -> None:
    """Remove a worktree whatever is in it, and its branch if that is at `base`."""
    with contextlib.suppress(DevSessionsError, OSError), alone(_common_dir(root), INSPECT_TIMEOUT):
        with contextlib.suppress(GitRefused):
            # Twice: what was cut short is locked.
            _ask(root, "worktree", "remove", "--force", "--force", "--", path, timeout=_REMOVE)
        if base and _ask(root, "rev-parse", "--verify", f"refs/heads/{branch}") == base:
            _ask(root, "branch", "--quiet", "-D", "--", branch)
    _remove_if_empty(os.path.dirname(path))


def _what_would_be_lost(path: str, branch: str, deadline: Deadline) -> str | None:
    def ask(*arguments: str) -> str:
        if deadline.expired:
            raise TimeoutError(f"git did not say within {INSPECT_TIMEOUT:g} s what is in it")
        return _ask(path, "-c", "core.fsmonitor=false", *arguments, timeout=deadline.remaining())

    if os.path.realpath(ask("rev-parse", "--show-toplevel")) != os.path.realpath(path):
        return "it is no worktree any more"
    git_dir = ask("rev-parse", "--absolute-git-dir")
    if os.path.realpath(git_dir) == os.path.realpath(_common_dir(path)):
        return "it is no worktree any more, but a repository"
    for name, what in _UNFINISHED.items():
        if os.path.lexists(os.path.join(git_dir, name)):
            return f"{what} is not finished there"
    status = ask(
        "status",
        "--porcelain",
        "-z",
        "--no-renames",
        "--untracked-files=normal",
        "--ignored=traditional",
        "--ignore-submodules=none",
    )
    entries = [entry for entry in status.split("\0") if entry]
    if entries:
        ignored = all(entry.startswith("!!") for entry in entries)
        return f"it holds {'ignored' if ignored else 'uncommitted'} files ({_some([entry[3:] for entry in entries])})"
    overlooked = [line[2:] for line in ask("ls-files", "-v", "-z").split("\0") if line[:1].islower() or line[:1] == "S"]
    present = [name for name in overlooked if os.path.lexists(os.path.join(path, name))]
    if present:
        return f"it holds files whose changes git was told to overlook ({_some(present)})"
    if ask("rev-list", "--max-count=1", *_heads(path, branch), "--"):
        return f"its branch {branch} has commits that are on no other branch"
    return None


def _heads(path: str, branch: str) -> list[str]:
    """Arguments of rev-list: what is at work in the worktree, less what other branches and remotes have."""
    heads, own = ["HEAD"], {branch}
    with contextlib.suppress(GitRefused):
        own.add(_ask(path, "symbolic-ref", "--quiet", "--short", "HEAD"))
    if _holds(path, "show-ref", "--verify", "--quiet", f"refs/heads/{branch}"):
        heads.append(f"refs/heads/{branch}")
    return [*heads, "--not", *(f"--exclude={name}" for name in own), "--branches", "--remotes"]


def _require_branch_name(folder: str, name: str) -> None:
    try:
        # "@" is another name of HEAD, which only newer versions refuse.
        if name != "@" and _ask(folder, "check-ref-format", "--branch", name) == name:
            return
    except (GitRefused, ValueError):
        pass
    raise InvalidRequest(f"{name!r} is no name for a branch: git check-ref-format --help says what is")


def _remote_branches(folder: str, name: str) -> list[str]:
    """The commits of the remotes' branches of this name. If there is one, git takes it up, as `git switch` does."""
    return _ask(folder, "for-each-ref", "--format=%(objectname)", f"refs/remotes/*/{name}").split()


def _common_dir(folder: str) -> str:
    return os.path.join(folder, _ask(folder, "rev-parse", "--git-common-dir"))


def _holds(folder: str, *question: str) -> bool:
    try:
        _ask(folder, *question)
    except GitRefused:
        return False
    return True


def _ask(folder: str, *arguments: str, timeout: float = _ASK) -> str:
    """What a git command in a folder printed. GitRefused, TimeoutError."""
    done = _git(folder, arguments, timeout)
    if done.code != 0:
        raise GitRefused(_words(done))
    return done.stdout.removesuffix("\n")


def _git(folder: str, arguments: tuple[str, ...], timeout: float) -> Completed:
    environment = {
        name: value for name, value in paths.independent_environment().items() if name not in _OF_ANOTHER_GIT
    }
    # No question to the terminal, and nothing written where something is only looked at.
    environment |= {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}
    return run_apart(["git", "-C", folder, *arguments], env=environment, timeout=timeout)


def _words(done: Completed) -> str:
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    fatal = [line.partition(": ")[2] for line in lines if line.startswith(("fatal: ", "error: "))]
    return (fatal or lines or [f"exit code {done.code}, and no word"])[0 if fatal else -1]


def _some(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _remove_if_empty(folder: str) -> None:
    with contextlib.suppress(OSError):
        os.rmdir(folder)
