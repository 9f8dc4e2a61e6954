"""Files that git ignores, copied into a new worktree as `.worktreeinclude` in the repository's root names them.

The file has patterns as in `.gitignore`. As `claude --worktree` does (2.1.250 to 2.1.332), files are copied that match
them and that git ignores: no tracked or merely untracked ones, no links, and nothing from a repository inside.

What was copied is recorded in git's folder of the worktree, so that `kill` recognizes copies that nobody has changed::

    {".env": [2279716, 41, 1795966707123456789, 1795966709987654321], …}
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from dev_sessions.sessions.git import entries
from dev_sessions.system.json_object import read_object

INCLUDE_FILE = ".worktreeinclude"
#: In git's folder of the worktree, which is removed with it.
_RECORD = "dev-sessions-copies.json"
#: A git command in a folder: returns its output.
Git = Callable[..., str]


def copy_included(git: Git, source: str, worktree: str, git_dir: str) -> None:
    """Copy the files that the patterns of a working tree name into its new worktree. Raises OSError.

    A file that the worktree has, or whose folder there is a link to the outside, is left out.
    """
    patterns = os.path.join(source, INCLUDE_FILE)
    if not os.path.isfile(patterns):
        return
    named = set(entries(git(source, "ls-files", "--others", "--ignored", f"--exclude-from={patterns}", "-z")))
    if not named:
        return
    ignored = entries(git(source, "ls-files", "--others", "--ignored", "--exclude-standard", "-z"))
    copies: dict[str, list[int]] = {}
    inside = os.path.join(os.path.realpath(worktree), "")
    for path in ignored:
        file, target = os.path.join(source, path), os.path.join(worktree, path)
        # It may be removed at any moment: what is running in the source goes on.
        with contextlib.suppress(FileNotFoundError):
            if path not in named or not stat.S_ISREG(os.lstat(file).st_mode) or os.path.lexists(target):
                continue
            if not os.path.join(os.path.realpath(os.path.dirname(target)), "").startswith(inside):
                continue
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copy2(file, target)
            copies[path] = _version(target)
    if copies:
        Path(git_dir, _RECORD).write_text(json.dumps(copies))


def changed(git: Git, worktree: str, git_dir: str) -> Iterator[str]:
    """Yield the ignored files of a worktree that are not unchanged copies."""
    copies = read_object(Path(git_dir, _RECORD))
    ignored = entries(git(worktree, "ls-files", "--others", "--ignored", "--exclude-standard", "-z"))
    return (path for path in ignored if not _is_unchanged(os.path.join(worktree, path), copies.get(path)))


def has_copies(git_dir: str) -> bool:
    """Return whether files were copied into a worktree."""
    return os.path.lexists(os.path.join(git_dir, _RECORD))


def _is_unchanged(file: str, version: object) -> bool:
    try:
        return version is not None and _version(file) == version
    except OSError:
        return False


def _version(file: str) -> list[int]:
    """Return a key of a file that every change of it changes: its time of change cannot be set."""
    status = os.lstat(file)
    return [status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
