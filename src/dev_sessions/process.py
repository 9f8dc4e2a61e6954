"""Other programs: finding, running, spawning and recognising them.

`subprocess` is imported inside the functions that start something: reading commands never pay for it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from dev_sessions import paths
from dev_sessions.dataclass import dataclass
from dev_sessions.deadline import Deadline, poll
from dev_sessions.errors import ProgramMissing

_INSTALL_HINTS = {
    "tmux": "install it with your package manager (apt install tmux, brew install tmux)",
    "claude": "install it with: npm install -g @anthropic-ai/claude-code",
    "codex": "install it with: npm install -g @openai/codex",
    "git": "install it with your package manager (apt install git, brew install git)",
    "clauded": "docker mode needs a wrapper of this name on PATH that starts Claude Code in a container; "
    "a shell function is not enough, README.md shows a script that calls one",
}


@dataclass(frozen=True)
class Completed:
    """What a finished program left: its exit code and what it printed."""

    code: int
    stdout: str
    stderr: str


def _missing(name: str) -> str:
    return f"{name} was not found on PATH; {_INSTALL_HINTS.get(name, 'install it first')}"


def find_program(name: str) -> str:
    """The absolute path of a program on PATH; ProgramMissing, with how to install it, when there is none."""
    import shutil

    found = shutil.which(name)
    if found is None:
        raise ProgramMissing(_missing(name))
    return os.path.abspath(found)


def run(argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 10.0) -> Completed:
    """Run a program to its end. Raises ProgramMissing when it can't be started, TimeoutError when it hangs.

    A server that it leaves running (tmux does) is no part of the session in which this command may run.
    """
    import subprocess

    env = paths.independent_environment()
    try:
        done = subprocess.run(argv, input=stdin, env=env, capture_output=True, timeout=timeout, check=False)
    except FileNotFoundError as error:
        raise ProgramMissing(_missing(argv[0])) from error
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(f"{argv[0]} did not answer within {timeout:g} s") from error
    return Completed(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


def run_apart(argv: Sequence[str], *, env: Mapping[str, str], timeout: float) -> Completed:
    """Run a program that runs others in its turn (hooks, filters) to its own end.

    What those leave in the background is not waited for. When it hangs (TimeoutError), or we are interrupted, it is
    ended with all of its process group. ProgramMissing when it can't be started.
    """
    import subprocess
    import tempfile

    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        try:
            child = subprocess.Popen(
                argv, env=dict(env), stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, start_new_session=True
            )
        except FileNotFoundError as error:
            raise ProgramMissing(_missing(argv[0])) from error
        started = start_time(child.pid)
        try:
            code = child.wait(timeout)
        except BaseException as error:
            terminate(child.pid, started or "", group=True)
            child.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                raise TimeoutError(f"{argv[0]} did not answer within {timeout:g} s") from error
            raise
        texts = []
        for stream in (stdout, stderr):
            stream.seek(0)
            texts.append(stream.read().decode(errors="replace"))
    return Completed(code, *texts)


def spawn_detached(argv: Sequence[str], *, env: Mapping[str, str], log: int, cwd: Path) -> int:
    """Start a program in a session (and process group) of its own, its output going to the open file `log`. Its pid."""
    import subprocess

    child = subprocess.Popen(
        argv, cwd=cwd, env=dict(env), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
    )
    # The child outlives us on purpose. Without this, Popen's destructor warns about it.
    child.returncode = 0
    return child.pid


def start_time(pid: int) -> str | None:
    """When a process started, in the system's own notation: with the pid it names one process for ever.

    None when there is no such process, or it has exited and only waits to be reaped.
    Source: field 22 of /proc/PID/stat on Linux, `ps -o lstart` elsewhere.
    """
    if sys.platform == "linux":
        try:
            with open(f"/proc/{pid}/stat", "rb") as stat:
                fields = stat.read().rpartition(b")")[2].split()
        except OSError:
            return None
        return None if fields[0] in (b"Z", b"X") else fields[19].decode()
    done = run(["ps", "-o", "stat=,lstart=", "-p", str(pid)])
    state, _, started = done.stdout.strip().partition(" ")
    return None if done.code != 0 or state.startswith("Z") else " ".join(started.split())


def command_line(pid: int) -> str | None:
    """Return the command line of a process of our user, its words with a space between; None for any other process."""
    if sys.platform == "linux":
        # It may end while it is looked at.
        with contextlib.suppress(OSError):
            if os.stat(f"/proc/{pid}").st_uid == os.getuid():
                with open(f"/proc/{pid}/cmdline", "rb") as words:
                    return words.read().replace(b"\0", b" ").decode(errors="replace").strip()
        return None
    user, _, command = run(["ps", "-ww", "-o", "uid=,command=", "-p", str(pid)]).stdout.strip().partition(" ")
    return command.strip() if user == str(os.getuid()) else None


def command_lines() -> dict[int, str]:
    """The command lines of our user's processes, their words with a space between."""
    if sys.platform == "linux":
        pids = [int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit()]
        return {pid: line for pid in pids if (line := command_line(pid)) is not None}
    found = {}
    for line in run(["ps", "-ww", "-U", str(os.getuid()), "-o", "pid=,command="]).stdout.splitlines():
        pid, _, command = line.strip().partition(" ")
        found[int(pid)] = command.strip()
    return found


def port_owners(port: int) -> set[int]:
    """Return the users who listen on a TCP port of this machine, as far as the system tells.

    Source: /proc/net/tcp on Linux, where listening sockets (`0A`) come first::

        0: 0100007F:1A2B 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000  0 568851 1 …

    `lsof` elsewhere, which is part of macOS and names our own user's only.
    """
    if sys.platform != "linux":
        argv = ["lsof", "-nP", "-a", "-t", "-u", str(os.getuid()), f"-iTCP:{port}", "-sTCP:LISTEN"]
        return {os.getuid()} if run(argv).stdout.strip() else set()
    owners: set[int] = set()
    # One of IPv6 takes connections of IPv4 only where none of IPv4 does.
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if owners:
            break
        with contextlib.suppress(OSError), open(table, encoding="ascii") as lines:
            next(lines)
            for line in lines:
                _, local, _, state, _, _, _, owner, *_ = line.split()
                if state != "0A":
                    break
                if int(local.rpartition(":")[2], 16) == port:
                    owners.add(int(owner))
    return owners


def parent(pid: int) -> int:
    """The process that a living one is a child of; 0 when there is no such process."""
    done = run(["ps", "-o", "ppid=", "-p", str(pid)])
    return int(done.stdout.strip() or 0)


def is_alive(pid: int, started: str | None = None) -> bool:
    """Whether the process lives; with `started` (see `start_time`), whether it is still that very one."""
    if started is not None:
        return start_time(pid) == started
    if sys.platform == "linux":
        return start_time(pid) is not None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def this_process() -> str:
    """`pid:start time` of this process, for marks that must not outlive it."""
    pid = os.getpid()
    return f"{pid}:{start_time(pid)}"


def mark_is_alive(mark: str) -> bool:
    """Whether the process that left a mark of `this_process` still runs."""
    pid, _, started = mark.partition(":")
    return pid.isdigit() and is_alive(int(pid), started)


def terminate(pid: int, started: str, *, group: bool = False, patience: float = 3.0) -> bool:
    """End a process that is known by pid and start time: SIGTERM, then SIGKILL. Whether it is gone.

    With `group` the signals go to the process group that it leads. A pid that now belongs to another
    process is never signalled.
    """
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not is_alive(pid, started):
            return True
        try:
            if group:
                os.killpg(pid, number)
            else:
                os.kill(pid, number)
        except ProcessLookupError:
            return True
        if poll(lambda: None if is_alive(pid, started) else True, Deadline(patience)):
            return True
    return False
