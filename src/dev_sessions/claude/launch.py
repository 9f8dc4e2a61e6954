"""Becomes the agent, inside its tmux pane: `python launch.py FILE`, FILE being `{"argv", "env", "path"}` as JSON.

The agent's environment is that of whoever created the session, not that of a tmux server which was started elsewhere;
and it must not stand in any process's arguments, where every user of the machine could read an API key. So it comes
in a private file, which is removed before anything else happens. Standard library only, no import of ours: this starts
with `-I -S`, for speed.

The agent holds a lock for as long as it lives: by that it is known to live where its pid means nothing. Claude Code
keeps the file open and hands it to none of its children (2.1.250, 2.1.332).
"""

import contextlib
import fcntl
import json
import os
import sys

#: What the pane itself knows better than the creator's terminal.
_PANE_VARIABLES = ("TERM", "TMUX", "TMUX_PANE", "TERM_PROGRAM", "TERM_PROGRAM_VERSION", "COLORTERM")


#: The lowest number of the lock's descriptor: the first ones are those that programs play with.
_LOWEST_LOCK_FD = 100


def main() -> None:
    """Read and remove the file, then exec."""
    with open(sys.argv[1], encoding="utf-8", errors="surrogateescape") as stream:
        spec = json.load(stream)
    os.unlink(sys.argv[1])
    with contextlib.suppress(OSError):  # some file systems have no locks
        lock = os.open(spec["lock"], os.O_RDWR | os.O_NOFOLLOW)
        fcntl.flock(lock, fcntl.LOCK_EX)
        fcntl.fcntl(lock, fcntl.F_DUPFD, _LOWEST_LOCK_FD)  # the copy stays open in the program that this becomes
    environment = {name: value for name, value in spec["env"].items() if name not in _PANE_VARIABLES}
    environment.update({name: os.environ[name] for name in _PANE_VARIABLES if name in os.environ})
    os.chdir(spec["path"])
    # Some programs trust PWD more than the kernel; the creator's would point elsewhere.
    environment["PWD"] = spec["path"]
    os.execve(spec["argv"][0], spec["argv"], environment)


if __name__ == "__main__":
    main()
