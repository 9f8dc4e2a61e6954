"""Run git in repositories in which agents have worked.

The repository's post-checkout hook and its filters run as they do with `git worktree add` in a shell. Every other git
command runs nothing that the repository names: no hook, filter or monitor. Variables of a git whose hook may be our
caller are not passed on. Every command has a timeout, and a limit of what it may print.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from dev_sessions.errors import DevSessionsError
from dev_sessions.system.environment import independent_environment
from dev_sessions.system.programs import Completed, TooMuchOutput, run_in_own_group

#: Seconds for a query.
QUERY_TIMEOUT = 10.0
#: The settings among the variables of `git rev-parse --local-env-vars` (git 2.39). `independent_environment` leaves out
#: the others, which name a repository.
_SETTINGS = frozenset({"GIT_CONFIG", "GIT_CONFIG_COUNT", "GIT_NO_REPLACE_OBJECTS", "GIT_REPLACE_REF_BASE"})


class GitError(DevSessionsError):
    """Raised when a git command failed; the message is git's."""


def common_dir(folder: str) -> str:
    """Return the git directory that all worktrees of a repository share."""
    return os.path.join(folder, output(folder, "rev-parse", "--git-common-dir"))


def succeeds(folder: str, *arguments: str) -> bool:
    """Return whether a git command exits with 0. Raises TimeoutError."""
    try:
        output(folder, *arguments)
    except GitError:
        return False
    return True


def worktrees(folder: str) -> list[dict[str, str]]:
    """Return the fields of each worktree of a repository, of which git prints::

        worktree /code/app.worktrees/fizz-top
        HEAD 553a9a3f0c4d2b1e8a7f6c5d4e3b2a190f8e7d6c
        branch refs/heads/fizz-top
        locked initializing

    All have `worktree`.
    """
    query = "worktree", "list", "--porcelain"
    try:
        printed = output(folder, *query, "-z")
    except GitError:  # before git 2.36
        printed = output(folder, *query).replace("\n", "\0")
    found = [entry.strip("\0") for entry in printed.split("\0\0")]
    return [dict(line.partition(" ")[::2] for line in entry.split("\0")) for entry in found if entry]


def without_filters(folder: str) -> list[str]:
    """Return the options that keep git from running the filters of a repository's own configuration.

    Then a file that would have to be filtered counts as changed. The user's own filters stay, such as those of Git LFS.
    Raises GitError, TimeoutError.
    """
    try:
        fields = output(folder, "config", "-z", "--list", "--name-only", "--show-scope").split("\0")
        names = [name for scope, name in zip(fields[::2], fields[1::2], strict=False) if scope in ("local", "worktree")]
    except GitError:  # before git 2.26
        names = output(folder, "config", "-z", "--list", "--name-only").split("\0")
    filters = {name.rpartition(".")[0] for name in names if name.startswith("filter.")}
    if unusual := [name for name in filters if "=" in name]:
        raise GitError(f"the repository has a filter {unusual[0]!r}, which could not be turned off")
    settings = [f"{name}.{key}" for name in sorted(filters) for key in ("clean=", "process=", "required=false")]
    return [word for setting in settings for word in ("-c", setting)]


def output(folder: str, *arguments: str, timeout: float = QUERY_TIMEOUT, inert: bool = True) -> str:
    """Run a git command in a folder and return its output. Raises GitError, TimeoutError.

    `inert`: without the repository's hooks, and without fetching anything.
    """
    environment = {name: value for name, value in independent_environment().items() if name not in _SETTINGS}
    # No prompts on the terminal, and no locks or index updates by queries.
    environment |= {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1"}
    if inert:
        # Before 2.39.4 and 2.45.1, git fetches missing objects all the same, with the repository's core.sshCommand.
        environment["GIT_ALLOW_PROTOCOL"] = "none"
    options = ["-c", "core.fsmonitor=false", *(["-c", f"core.hooksPath={os.devnull}"] if inert else [])]
    command = ["git", "-C", folder, *options, *arguments]
    try:
        # It may print names of files.
        done = run_in_own_group(command, env=environment, timeout=timeout, decode=os.fsdecode)
    except TooMuchOutput as error:
        raise GitError(str(error)) from error
    if done.code != 0:
        raise GitError(_error_text(done))
    return done.stdout.removesuffix("\n")


def entries(printed: str) -> Iterator[str]:
    """Yield the entries of an output with `-z`, one at a time: a repository may have millions of files."""
    return (match[0] for match in re.finditer(r"[^\0]+", printed))


def _error_text(done: Completed) -> str:
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    fatal = [line.partition(": ")[2] for line in lines if line.startswith(("fatal: ", "error: "))]
    # Only the shell's line names the program of a filter that is missing: `…: 1: git-lfs: not found`.
    missing = [line for line in lines if line.endswith("not found") and not line.startswith(("fatal: ", "error: "))]
    if fatal and missing:
        return f"{fatal[-1]} ({missing[0]})"
    return (fatal or lines or [f"exit code {done.code}, without a message"])[0 if fatal else -1]
