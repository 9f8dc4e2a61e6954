"""Remove the worktrees of ended sessions if nothing in them would be lost, and find those that were left.

A worktree in which a session has worked is never removed by force.
"""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Iterable, Iterator

from dev_sessions.errors import DevSessionsError, LivenessUnknown, ProtocolError
from dev_sessions.models import Session
from dev_sessions.sessions import git, worktree_files
from dev_sessions.sessions.worktree import (
    INSPECT_TIMEOUT,
    REMOVE_TIMEOUT,
    find_repository,
    force_remove,
    lock,
    remove_if_empty,
    require_owned,
    sessions_in,
)
from dev_sessions.system import paths
from dev_sessions.system.deadline import Deadline, wait_until
from dev_sessions.system.fast_dataclass import fast_dataclass
from dev_sessions.system.process import command_lines, identify, terminate

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


@fast_dataclass(frozen=True)
class Leftover:
    """A worktree without a session: its size in bytes, and what would be lost with it, None if nothing would."""

    path: str
    size: int
    reason: str | None


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
    # Another command, or the git of an interrupted kill, may be removing it, too.
    if reason and not others and _removal_finished(session.worktree):
        reason = None
    if reason is None:
        return ()
    text = f"The worktree of {session.id} was left in {session.worktree}: {reason}"
    return (text if others else f"{text}; {kept_advice(session.worktree)}",)


def kept_advice(path: str) -> str:
    """Return how to use a worktree that was kept, and how to remove it with what is in it."""
    root = paths.repository_of(path)
    place = f"--path {shlex.quote(path)}"
    with contextlib.suppress(DevSessionsError, OSError):
        branch = git.output(path, "symbolic-ref", "--quiet", "--short", "HEAD")
        place = f"--path {shlex.quote(root)} {shlex.quote(f'--worktree={branch}')}"
    remove_it = f"git -C {shlex.quote(root)} worktree remove --force {shlex.quote(path)}"
    return f"to go on in it: dev-sessions create {place}; to throw it away: {remove_it}"


def remove(path: str, branch: str) -> str | None:
    """Remove a worktree, but not its branch, if it exists and nothing in it would be lost; else return why not."""
    if not os.path.lexists(path):
        return None
    try:
        require_owned(os.path.dirname(path))
        common = git.common_dir(path)
        with lock(common, INSPECT_TIMEOUT):
            reason = _reason_to_keep(path, branch, Deadline(INSPECT_TIMEOUT))
            if reason is None:
                # Run outside the worktree, which is going away.
                git.output(common, *git.without_filters(path), "worktree", "remove", "--", path, timeout=REMOVE_TIMEOUT)
                remove_if_empty(os.path.dirname(path))
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
        for entry in git.worktrees(root):
            path = entry["worktree"]
            ours = os.path.dirname(path) == f"{root}{paths.WORKTREES_SUFFIX}" and os.path.isdir(path)
            if ours and os.path.realpath(path) not in used:
                branch = entry.get("branch", "").removeprefix("refs/heads/") or "HEAD"
                try:
                    reason = _reason_to_keep(path, branch, Deadline(INSPECT_TIMEOUT))
                except (DevSessionsError, OSError) as error:
                    reason = str(error)
                yield Leftover(path, _size(path), reason)


def _size(folder: str) -> int:
    """Return the bytes of the files below a folder."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(path, name)).st_size
    return total


def _remove_unfinished(path: str, branch: str, base: str | None) -> str | None:
    """Remove the worktree of a killed create, and its branch if that has no new commits; else return why not."""
    root = paths.repository_of(path)
    try:
        if not _terminate_git_add(path) and not _is_initializing(root, path) and (reason := remove(path, branch)):
            return reason
    except (DevSessionsError, OSError) as error:
        return str(error) if os.path.lexists(path) else None
    force_remove(root, path, branch, base)
    return None


def _terminate_git_add(path: str) -> bool:
    """Terminate the git that a killed create left creating a worktree. Return whether there was one.

    Raises ProtocolError if it does not end, LivenessUnknown.
    """
    pids = _git_pids("add", path)
    for pid in pids:
        process = identify(pid)
        if process is not None and not terminate(process, group=True):
            raise ProtocolError(f"git (process {pid}) is still creating it and does not end; end it: kill -9 {pid}")
    return bool(pids)


def _removal_finished(path: str) -> bool:
    """Wait for the git that an interrupted kill left removing a worktree. Return whether the worktree is gone."""
    with contextlib.suppress(LivenessUnknown):
        wait_until(lambda: not _git_pids("remove", path), Deadline(REMOVE_TIMEOUT), 0.1)
    return not os.path.lexists(path)


def _git_pids(action: str, path: str) -> list[int]:
    """Return the processes that run `git worktree add` or `remove` on a path. Raises LivenessUnknown."""
    lines = command_lines().items()
    return [pid for pid, line in lines if f" worktree {action} " in line and f" -- {path} " in f"{line} "]


def _is_initializing(root: str, path: str) -> bool:
    """Return whether git was killed during the checkout of a worktree, which it keeps locked until that is done."""
    return any(entry["worktree"] == path and entry.get("locked") == "initializing" for entry in git.worktrees(root))


def _reason_to_keep(path: str, branch: str, deadline: Deadline) -> str | None:
    """Return everything that would be lost with a worktree; None if nothing would.

    `git worktree remove` itself removes ignored files, unmerged commits and an unfinished rebase without asking.
    """

    def ask(*arguments: str) -> str:
        if deadline.expired:
            raise TimeoutError(f"git did not answer within {INSPECT_TIMEOUT:g} s")
        return git.output(path, *arguments, timeout=deadline.remaining())

    if os.path.realpath(ask("rev-parse", "--show-toplevel")) != os.path.realpath(path):
        return "it is no longer a worktree"
    git_dir = ask("rev-parse", "--absolute-git-dir")
    if os.path.realpath(git_dir) == os.path.realpath(git.common_dir(path)):
        return "it is no longer a worktree, but a repository"
    for name, operation in _UNFINISHED.items():
        if os.path.lexists(os.path.join(git_dir, name)):
            return f"{operation} is not finished there"
    status = ask(
        *git.without_filters(path),
        "status",
        "--porcelain",
        "-z",
        "--no-renames",
        "--untracked-files=normal",
        "--ignored=traditional",
        # A submodule has a configuration of its own; `git worktree remove` refuses a worktree that has one.
        "--ignore-submodules=all",
    )
    ignored: Iterator[str] = (entry[3:] for entry in git.entries(status) if entry.startswith("!!"))
    if worktree_files.has_copies(git_dir):
        ignored = worktree_files.changed(lambda _, *arguments: ask(*arguments), path, git_dir)
    uncommitted = (entry[3:] for entry in git.entries(status) if not entry.startswith("!!"))
    held = [
        f"{kind} files ({names})"
        for kind, names in (("uncommitted", _abbreviated(uncommitted)), ("ignored", _abbreviated(ignored)))
        if names
    ]
    # With assume-unchanged (lower case) or skip-worktree (S), `git status` does not report changes.
    tracked = git.entries(ask("ls-files", "-v", "-z"))
    unchecked = (entry[2:] for entry in tracked if entry[:1].islower() or entry[:1] == "S")
    if present := _abbreviated(name for name in unchecked if os.path.lexists(os.path.join(path, name))):
        held.append(f"files whose changes git was told to ignore ({present})")
    reasons = [f"it holds {' and '.join(held)}"] if held else []
    if count := int(ask("rev-list", "--count", *_heads(path, branch), "--")):
        commits = "1 commit that is" if count == 1 else f"{count} commits that are"
        reasons.append(f"its branch {branch} has {commits} on no other branch")
    return " and ".join(reasons) or None


def _heads(path: str, branch: str) -> list[str]:
    """Return the arguments of rev-list for the worktree's commits that are on no other branch and no remote."""
    heads, own = ["HEAD"], {branch}
    with contextlib.suppress(git.GitError):
        own.add(git.output(path, "symbolic-ref", "--quiet", "--short", "HEAD"))
    if git.succeeds(path, "show-ref", "--verify", "--quiet", f"refs/heads/{branch}"):
        heads.append(f"refs/heads/{branch}")
    return [*heads, "--not", *(f"--exclude={name}" for name in own), "--branches", "--remotes"]


def _abbreviated(names: Iterator[str]) -> str | None:
    """Return the first of some names, and how many more there are; None if there are none."""
    first = next(names, None)
    more = sum(1 for _ in names)
    return f"{first} and {more} more" if more else first
