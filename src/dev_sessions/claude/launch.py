"""Become the agent inside its tmux pane: `python launch.py FILE`.

FILE holds the launch spec as JSON: `{"argv": […], "env": {…}, "path": "/work", "lock": "/home/…"}`.

The agent gets the environment of the session's creator, not that of the tmux server, which was started elsewhere. It
must not be passed in a process's arguments, where every user of the machine could read an API key, so it comes in a
private file, which is removed first. Standard library only, since this runs with `-I -S`, for speed.

The agent holds a lock while it is alive, which proves that where its pid is meaningless. Claude Code keeps the file
open and does not pass it to its children (2.1.250, 2.1.332).
"""

import contextlib
import fcntl
import json
import os
import sys

#: Variables that describe the pane and not the creator's terminal.
_PANE_VARIABLES = ("TERM", "TMUX", "TMUX_PANE", "TERM_PROGRAM", "TERM_PROGRAM_VERSION", "COLORTERM")


#: The lowest number of the lock's file descriptor; programs may close or reuse the first ones.
_LOWEST_LOCK_FD = 100


def main() -> None:
    """Read and remove the launch spec, then execute the agent."""
    try:
        with open(sys.argv[1], encoding="utf-8", errors="surrogateescape") as stream:
            spec = json.load(stream)
    except FileNotFoundError:
        # tmux hung, and its client has given up meanwhile.
        os.execvp("tmux", ["tmux", "kill-pane", "-t", os.environ["TMUX_PANE"]])
    os.unlink(sys.argv[1])
    with contextlib.suppress(OSError):  # some file systems have no locks
        lock = os.open(spec["lock"], os.O_RDWR | os.O_NOFOLLOW)
        fcntl.flock(lock, fcntl.LOCK_EX)
        fcntl.fcntl(lock, fcntl.F_DUPFD, _LOWEST_LOCK_FD)  # the copy stays open in the agent
    environment = {name: value for name, value in spec["env"].items() if name not in _PANE_VARIABLES}
    environment.update({name: os.environ[name] for name in _PANE_VARIABLES if name in os.environ})
    os.chdir(spec["path"])
    # Some programs trust PWD more than the kernel, and the creator's may name another directory.
    environment["PWD"] = spec["path"]
    os.execve(spec["argv"][0], spec["argv"], environment)


if __name__ == "__main__":
    main()
