"""Tell whether a program is stopped or suspended. Linux only; elsewhere it is not known."""

from __future__ import annotations

import os

from dev_sessions.system.pid_namespace import ON_LINUX
from dev_sessions.system.proc_stat import read_stat


def is_suspended(pid: int) -> bool:
    """Return whether a program that reads single keys is suspended: it is stopped, or has given its terminal back.

    Claude Code runs without a shell, so Ctrl-Z does not stop it: it restores the terminal's line mode, and sleeps until
    a SIGCONT (2.1.332).
    """
    return is_stopped(pid) or (ON_LINUX and _has_line_mode(pid))


def is_stopped(pid: int) -> bool:
    """Return whether a process is stopped by a signal."""
    try:
        return read_stat(pid).state == "T"
    except OSError:
        return False


def _has_line_mode(pid: int) -> bool:
    """Return whether the terminal of a process's standard input collects lines."""
    import termios

    try:
        terminal = os.open(f"/proc/{pid}/fd/0", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        return bool(termios.tcgetattr(terminal)[3] & termios.ICANON)
    except termios.error:
        return False
    finally:
        os.close(terminal)
