"""Processes: look them up, identify them by pid and start time, and end them."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextvars import ContextVar
from datetime import UTC, datetime

from dev_sessions.errors import LivenessUnknown, ProgramMissing
from dev_sessions.system import pid_namespace
from dev_sessions.system.deadline import Deadline, wait_until
from dev_sessions.system.proc_stat import read_stat
from dev_sessions.system.process_id import ProcessId

#: Seconds for a process to end when it is told to.
_TIMEOUT = 3.0
#: Seconds for which an answer of `ps` about a process holds, and its last answers: when, and what, by pid. They are of
#: one thread, such as that of a request to the gateway, so that no command gets the answer of another one.
PS_INTERVAL = 1.0
_last_look_ups: ContextVar[dict[int, tuple[float, tuple[str, int] | None]]] = ContextVar("_last_look_ups")


def start_time(pid: int) -> str | None:
    """Return the start time of a process of this pid namespace, in the system's own notation.

    Returns None when there is no such process, or it has exited and was not reaped yet. Raises LivenessUnknown when
    that is unknown. Source: field 22 of /proc/PID/stat on Linux (clock ticks since boot), elsewhere `ps -o lstart` in
    seconds. Those suffice: macOS gives pids in ascending order up to 99999, so none comes again within the second in
    which its process was started. Claude's session files have the same seconds. `proc_pidinfo` would give microseconds
    without a process, but belongs to the interfaces that Apple's libproc.h calls private and subject to change.
    """
    found = _look_up(pid)
    return None if found is None else found[0]


def parent(pid: int) -> int:
    """Return the parent's pid of a live process; 0 when there is no such process. Raises LivenessUnknown."""
    found = _look_up(pid)
    return 0 if found is None else found[1]


def command_line(pid: int) -> str | None:
    """Return the command line of a process of this user, joined by spaces; None for any other process.

    Raises LivenessUnknown when it is unknown.
    """
    if not pid_namespace.ON_LINUX:
        return command_lines().get(pid)
    _require_proc()
    return _command_line(pid)


def _command_line(pid: int) -> str | None:
    # The process may end in between.
    with contextlib.suppress(OSError):
        if os.stat(f"/proc/{pid}").st_uid == os.getuid():
            with open(f"/proc/{pid}/cmdline", "rb") as words:
                return words.read().replace(b"\0", b" ").decode(errors="replace").strip()
    return None


def command_lines() -> dict[int, str]:
    """Return the command lines of this user's processes in this namespace, joined by spaces, by pid.

    Raises LivenessUnknown when they are unknown.
    """
    found = {}
    if pid_namespace.ON_LINUX:
        _require_proc()
        pids = [int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit()]
        found = {pid: line for pid in pids if (line := _command_line(pid)) is not None}
    else:
        for line in ps("-ww", "-U", str(os.getuid()), "-o", "pid=,command="):
            pid, _, command = line.strip().partition(" ")
            found[int(pid) if pid.isdigit() else 0] = command.strip()
    if os.getpid() not in found:
        raise LivenessUnknown("The system does not list this user's processes; see what it says: ps -A")
    return found


def environment_of(pid: int) -> dict[str, str]:
    """Return the environment with which a process was started; empty where that is unknown (it needs /proc)."""
    try:
        with open(f"/proc/{pid}/environ", encoding="utf-8", errors="surrogateescape") as stream:
            pairs = stream.read().split("\0")
    except OSError:
        return {}
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def _look_up(pid: int) -> tuple[str, int] | None:
    """Return the start time and the parent of a process; None when there is none. Raises LivenessUnknown."""
    if not pid_namespace.ON_LINUX:
        return _look_up_by_ps(pid)
    _require_proc()
    try:
        stat = read_stat(pid)
    except (FileNotFoundError, ProcessLookupError):
        return None
    except OSError as error:
        raise LivenessUnknown(f"Cannot determine whether process {pid} is running: {error}; try again") from error
    return None if stat.has_ended else (stat.started, stat.parent)


def _look_up_by_ps(pid: int) -> tuple[str, int] | None:
    """Return the same as `_look_up` from the output of `ps`, which must also list this process: else `ps` has failed.

    A wait asks many times a second; for as long as the pid exists, an answer holds for `PS_INTERVAL`. A list asks for
    many processes; from the second one on, `ps` is asked for all.
    """
    last_look_ups = _last_look_ups.get({})
    at, known = last_look_ups.get(pid, (0.0, None))
    if known is not None and time.monotonic() - at < PS_INTERVAL and _exists(pid):
        return known
    found: dict[int, tuple[str, int] | None] = {}
    which = ["-A"] if last_look_ups.keys() - {pid, os.getpid()} else ["-p", f"{pid},{os.getpid()}"]
    for line in ps("-o", "pid=,ppid=,stat=,lstart=", *which):
        try:
            number, above, state, *started = line.split()
            found[int(number)] = None if state.startswith("Z") else (parse_lstart(started), int(above))
        except ValueError as error:
            raise LivenessUnknown(
                f"Cannot determine whether process {pid} is running: ps says {line!r}; try again"
            ) from error
    if os.getpid() not in found:
        raise LivenessUnknown(
            f"Cannot determine whether process {pid} is running: ps does not list this command either; see: ps -p {pid}"
        )
    now = time.monotonic()
    _last_look_ups.set({each: (now, answer) for each, answer in found.items()} | {pid: (now, found.get(pid))})
    return found.get(pid)


def forget_look_ups() -> None:
    """Discard cached `ps` results: after a signal they may name processes that have ended."""
    _last_look_ups.set({})


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def parse_lstart(words: Sequence[str]) -> str:
    """Parse the output of `ps -o lstart` in the C locale in UTC, `Sun Nov 29 05:11:09 2026`, into a start time.

    Raises ValueError.
    """
    moment = datetime.strptime(" ".join(words), "%a %b %d %H:%M:%S %Y").replace(tzinfo=UTC)
    return str(int(moment.timestamp()))


def ps(*arguments: str) -> list[str]:
    """Run `ps`, with times of the C locale in UTC, and return its output's lines. Raises LivenessUnknown.

    Names are in UTF-8: in the C locale, macOS escapes what is not ASCII.
    """
    from dev_sessions.system.programs import run

    locale = {"LC_ALL": "", "LANG": "C", "LC_TIME": "C", "LC_CTYPE": "UTF-8" if sys.platform == "darwin" else "C.UTF-8"}
    try:
        done = run(["ps", *arguments], env={**os.environ, **locale, "TZ": "UTC"})
    except (ProgramMissing, OSError) as error:
        raise LivenessUnknown(f"Cannot list processes: {error}; see: ps -A") from error
    # ps may exit 0 although it failed: callers require a line that must be there, such as that of this process.
    return done.stdout.splitlines()


def _require_proc() -> None:
    if not pid_namespace.sees_own_processes():
        raise pid_namespace.sandbox_error("Cannot list processes")


def identify(pid: int) -> ProcessId | None:
    """Return the process that has a pid now. Returns None and raises LivenessUnknown as `start_time` does."""
    started = start_time(pid)
    return ProcessId(pid, started) if started is not None else None


def is_alive(pid: int) -> bool:
    """Return whether any process of this pid namespace has a pid. Raises LivenessUnknown when that is unknown."""
    return start_time(pid) is not None


def is_running(process: ProcessId) -> bool:
    """Return whether a process of this pid namespace is still running. Raises LivenessUnknown when that is unknown."""
    pid, started = process
    found = start_time(pid)
    if found is not None and found != started and started and not started.isdigit():
        # An older version recorded what `ps` printed in the language and time zone of its caller.
        raise LivenessUnknown(f"Cannot tell whether process {pid} is the one started at {started}; see: ps -p {pid}")
    return found == started


def this_process() -> str:
    """Return the mark of this process, `PID:START TIME:DOMAIN`, for records that are valid while it runs."""
    pid = os.getpid()
    return f"{pid}:{start_time(pid)}:{pid_namespace.domain()}"


def mark_is_local(mark: str) -> bool:
    """Return whether the mark of a process (`this_process`) is of this pid namespace."""
    return pid_namespace.place("".join(mark.split(":", 2)[2:]) or None) in ("here", "unknown")


def owner_is_alive(mark: str | None) -> bool:
    """Return whether the process that left a mark of `this_process` may be running: nothing proves that it ended.

    Without a mark there is no such process.
    """
    if mark is None:
        return False
    pid, started, domain = [*mark.split(":", 2), "", ""][:3]
    where = pid_namespace.place(domain or None)
    if where == "ended" or not pid.isdigit():
        return False
    if where == "here" or (where == "unknown" and not pid_namespace.is_sandboxed()):
        with contextlib.suppress(LivenessUnknown):
            return is_running(ProcessId(int(pid), started))
    return True


def terminate(process: ProcessId, *, group: bool = False, timeout: float = _TIMEOUT) -> bool:
    """End a process of this pid namespace: SIGTERM, then SIGKILL after `timeout` seconds. Return whether it is gone.

    With `group`, the signals go to the process group that it leads. A pid that now belongs to another process is never
    signalled. Raises LivenessUnknown when that is unknown.
    """
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not is_running(process):
            return True
        try:
            if group:
                os.killpg(process.pid, number)
            else:
                os.kill(process.pid, number)
        except ProcessLookupError:
            return True
        except PermissionError:
            # macOS says so of a group that has only processes which have exited and were not reaped.
            if not group:
                raise
        from dev_sessions.system.process_exit import wait_for_exit

        deadline = Deadline(timeout)
        wait_for_exit(process.pid, timeout)
        if wait_until(lambda: _has_ended(process), deadline):
            return True
    return False


def _has_ended(process: ProcessId) -> bool:
    forget_look_ups()
    return not is_running(process)
