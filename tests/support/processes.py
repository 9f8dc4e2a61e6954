"""Processes that are known by a variable in their environment, which children inherit however they detach."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from dev_sessions.system.deadline import Deadline, poll

#: Where the environment begins in a line of `ps`, as far as that can be told.
_FIRST_VARIABLE = re.compile(r" (?=[A-Z_][A-Z0-9_]*=)")

#: A program in Python whose first thread ends, and its other one goes on.
HEADLESS = """
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(600,)).start()
ctypes.CDLL(None).pthread_exit(None)
"""


def marked(variable: str, value: str) -> dict[int, str]:
    """Return the running processes with `variable=value` in their environment: their pids and command lines."""
    mark = f"{variable}={value}"
    if sys.platform == "linux":
        return _marked_by_proc(mark.encode())
    # Otherwise ps itself would have the variable, in a test that takes a home's environment for its own.
    return _marked_by_ps(mark, {name: value for name, value in os.environ.items() if name != variable})


def end_marked(variable: str, value: str, patience: float = 3.0) -> None:
    """End them: SIGTERM, and after `patience` seconds SIGKILL, which a busy machine has more time for. Those that are
    born meanwhile too."""
    for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 10 * patience)):
        signalled: set[int] = set()

        def gone(number: int = number, signalled: set[int] = signalled) -> bool | None:
            living = marked(variable, value)
            for pid in living.keys() - signalled:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            signalled |= living.keys()
            # A second look: in the middle of an exec a process shows no environment.
            return None if living or marked(variable, value) else True

        if poll(gone, Deadline(seconds), 0.05):
            return


def _marked_by_proc(mark: bytes) -> dict[int, str]:
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            # It may end while it is looked at, or belong to someone else.
            with contextlib.suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
                    found[int(entry.name)] = command.decode(errors="replace").strip()
    return found


def _marked_by_ps(mark: str, environment: dict[str, str]) -> dict[int, str]:
    """Search the output of `ps`, which prints the environment after the command without a separator."""
    argv = ["ps", "-A", "-E", "-ww", "-o", "pid=,command="]
    listing = subprocess.run(argv, env=environment, capture_output=True, check=True).stdout
    found = {}
    for line in filter(None, listing.decode(errors="replace").split("\n")):  # a variable may hold other line breaks
        pid, _, command = line.strip().partition(" ")
        if mark in command.split(" "):
            found[int(pid)] = _FIRST_VARIABLE.split(command, maxsplit=1)[0].strip()
    return found
