"""Find a session's processes by their ancestors and their environment, and end them.

A process belongs to a session if it descends from the session's own process (`Session.root_process`), if it was started
with the session's variables (`Session.environment_marks`), or if it descends from such a process. A detached process
(`nohup … &`, `setsid`, a double fork) has lost its parent but keeps its environment; a process with another environment
keeps its parent, as long as that is running. So all are found before the first one is ended, and a process that was
found once stays the session's.

Not found are processes that another program started for the session (in a container, as a service, in a window of a
tmux server that was running already), and detached processes with another environment or whose title overwrites it, as
with some daemons.

Never ended are this process and its ancestors, other sessions with their processes and ancestors (a session may run in
a container that another one started), and servers that others may use, as a server has the environment of whoever
happened to start it. Claude's daemon passes its environment to every background agent (2.1.332), so while a daemon with
the session's variables is running, they prove nothing.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import partial

from dev_sessions.errors import InvalidRequest, LivenessUnknown
from dev_sessions.models import ClaudeSession, Session
from dev_sessions.system.deadline import Deadline, wait_until
from dev_sessions.system.fast_dataclass import fast_dataclass
from dev_sessions.system.pid_namespace import place, sandbox_error
from dev_sessions.system.proc_stat import read_stat
from dev_sessions.system.process import forget_look_ups, parse_lstart, ps
from dev_sessions.system.process_id import ProcessId

#: Seconds for all processes to end after a signal, and between two scans.
_TIMEOUT = 3.0
_POLL_INTERVAL = 0.05
#: The beginning of a line of `ps` that begins a process: three ids, the state and the start time.
_PS_LINE = r"\s*\d+\s+\d+\s+\d+\s+\S+\s+[A-Z]\w\w [A-Z]\w\w [ \d]\d \d\d:\d\d:\d\d \d{4}\b"
#: The flag of kernel threads, which are most processes of a large machine, and have no environment (linux/sched.h).
_PF_KTHREAD = 0x00200000
#: Maximum length of a command line in a message.
_MAX_COMMAND_LENGTH = 80
#: Titles of one word with spaces, which macOS's `ps` does not tell from several words: those of the spare processes of
#: Claude's daemon (2.1.332), and of ssh with a shared connection, after which `ps` adds the program's name.
_SPARE = r"claude (bg-[\w-]+) --\1( |$)"
_SSH_MASTER = r"ssh: .*\[mux\]( \(ssh\))?$"
#: GnuPG's servers, one of each per user; git starts them to sign.
_GNUPG = ("gpg-agent", "keyboxd", "dirmngr", "scdaemon")


@fast_dataclass(frozen=True)
class Process:
    r"""A running process. `group` is its process group, `started` its `process.start_time`, `name` the kernel's name.

    `environment` is its initial environment, `\0NAME=value\0…\0`, empty if it cannot be read. `command` is its command
    line; None to read it when needed.
    """

    pid: int
    parent: int
    group: int
    started: str
    name: str
    environment: bytes
    command: tuple[str, ...] | None = None

    @property
    def identity(self) -> ProcessId:
        """Return a key that a later process with the same pid does not have."""
        return ProcessId(self.pid, self.started)

    @property
    def words(self) -> tuple[str, ...]:
        """Return the words of its command line; empty if it has ended.

        A process that was just forked has its parent's until it executes another program.
        """
        if self.command is not None:
            return self.command
        line = _read(self.pid, "cmdline") or _read(_other_thread(self.pid), "cmdline")
        return tuple(os.fsdecode(line).rstrip("\0").split("\0"))

    def __str__(self) -> str:
        command = " ".join(" ".join(self.words).split()) or self.name
        if len(command) > _MAX_COMMAND_LENGTH:
            command = f"{command[: _MAX_COMMAND_LENGTH - 1]}…"
        return f"{self.pid} ({command})"

    def is_main_process_of(self, session: Session) -> bool:
        """Return whether it is the session's own process.

        A pid that was recorded in another pid namespace, or before a reboot, means another process here.
        """
        domain = session.claude_pid_domain if isinstance(session, ClaudeSession) else None
        return session.root_process == self.identity and place(domain) in ("here", "unknown")

    def is_marked_by(self, session: Session) -> bool:
        """Return whether it was started with the variables of a session."""
        return any(
            all(os.fsencode(f"\0{name}={value}\0") in self.environment for name, value in mark.items())
            for mark in session.environment_marks
        )

    @property
    def is_app_server(self) -> bool:
        """Return whether it is an app-server of Codex or its launcher: each of its commands has the variables of the
        session that runs it."""
        words = self.words
        return "app-server" in words and any(os.path.basename(word) in ("codex", "codex.js") for word in words[:2])

    @property
    def ends_by_itself(self) -> bool:
        """Return whether it is Claude's daemon for background agents or one of its spare processes: they end some
        seconds after the last agent (2.1.332)."""
        words = self.words
        program = words[0] if words else ""
        return ("claude" in program and words[1:3] == ("daemon", "run")) or bool(re.match(_SPARE, " ".join(words)))

    @property
    def is_server(self) -> bool:
        """Return whether others may use it: a tmux server, an app-server, a gateway, Claude's daemon for background
        agents or one of its spare processes (2.1.332), a shared connection of ssh, a server of GnuPG."""
        words = self.words
        program, arguments = words[0] if words else "", words[1:]
        return (
            self.name == "tmux: server"
            or (sys.platform != "linux" and os.path.basename(program) == "tmux")
            or self.is_app_server
            or any(
                following == "gateway" and os.path.basename(word) in ("dev-sessions", "dev_sessions")
                for word, following in zip(words, arguments, strict=False)
            )
            or self.ends_by_itself
            or bool(re.match(_SSH_MASTER, " ".join(words)))
            or os.path.basename(program) in _GNUPG
        )


class SessionProcesses:
    """The processes of a session that is being ended. Those of the sessions `others` are left alone."""

    def __init__(self, session: Session, others: Iterable[Session]) -> None:
        self._session = session
        self._others = [other for other in others if other.id != session.id and other.host is None]
        self._living: dict[int, Process] = {}
        self._servers: dict[int, Process] = {}
        #: Processes that have its variables, but possibly from Claude's daemon.
        self._unproved: dict[int, Process] = {}
        self._daemon_has_marks = False
        self._contains_this_process = False

    def find(self) -> None:
        """Find them before anything is ended. Raises InvalidRequest if this process is one of them."""
        self._scan()
        if self._contains_this_process:
            raise InvalidRequest(
                f"{self._session.id} runs this very command, which would be ended first, so nothing was done; run it"
                f" from elsewhere: dev-sessions kill {self._session.id}"
            )

    def end(self) -> tuple[str, ...]:
        """End them, and those that they start until then, with SIGTERM, then SIGKILL. Return lines about the rest."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if wait_until(partial(self._signal, number, set()), Deadline(_TIMEOUT), _POLL_INTERVAL):
                break
        notes = []
        if self._servers:
            notes.append(
                f"{self._session.id} started servers that others may be using, so they were left running:"
                f" {_joined(self._servers)}; if nobody does, end them: kill {' '.join(map(str, self._servers))}"
            )
        if self._unproved:
            notes.append(
                f"{self._session.id} or another background agent of Claude started processes that were left running:"
                f" {_joined(self._unproved)}; if they are no longer needed, end them:"
                f" kill {' '.join(map(str, self._unproved))}"
            )
        if self._living:
            notes.append(
                f"{self._session.id} started processes that could not be ended: {_joined(self._living)}; inspect them"
                f" with: ps -fp {','.join(map(str, self._living))}"
            )
        return tuple(notes)

    def _scan(self) -> None:
        """Find those that are running. A process that was found before stays the session's, even without its parent."""
        table = _processes()
        children: defaultdict[int, list[Process]] = defaultdict(list)
        for process in table.values():
            children[process.parent].append(process)
        lineage = list(_ancestry(os.getpid(), table))
        self._daemon_has_marks |= any(
            process.is_marked_by(self._session) and process.ends_by_itself for process in table.values()
        )
        self._unproved = {}
        pending = [process for process in table.values() if self._is_known(process) or self._is_marked(process, table)]
        if not lineage:
            raise sandbox_error("Cannot determine which processes are the session's")
        this_process, *ancestors = lineage
        self._contains_this_process = any(ancestor in pending for ancestor in ancestors) or (
            this_process in pending and not _is_detached(this_process, table)
        )
        spared = {process.pid for process in lineage}
        living: dict[int, Process] = {}
        servers = {pid: server for pid, server in self._servers.items() if _is_same(server, table.get(pid))}
        while pending:
            process = pending.pop()
            if process.pid in living or process.pid in spared or self._is_of_another(process):
                continue
            if not process.is_main_process_of(self._session):
                runs_another = self._runs_another(process, children)
                is_server = process.is_server and _is_detached(process, table)
                if is_server or runs_another:
                    if not process.ends_by_itself and not (is_server and runs_another):
                        servers[process.pid] = process
                    continue
            living[process.pid] = process
            pending += children[process.pid]
        self._living, self._servers = living, servers

    def _signal(self, number: int, signalled: set[int]) -> bool:
        """Signal each of them once. Return whether none is left that may be signalled."""
        self._scan()
        refused = 0
        for pid in self._living:
            try:
                os.kill(pid, 0 if pid in signalled else number)
            except PermissionError:
                refused += 1  # it changed its user
            except ProcessLookupError:
                pass
        signalled |= self._living.keys()
        forget_look_ups()
        return len(self._living) == refused

    def _is_known(self, process: Process) -> bool:
        return process.is_main_process_of(self._session) or _is_same(process, self._living.get(process.pid))

    def _is_marked(self, process: Process, table: Mapping[int, Process]) -> bool:
        """Return whether its variables are the session's own, and not passed on by a server or another session.

        Codex gives each command the variables of its own thread.
        """
        if not process.is_marked_by(self._session) or self._is_of_another_tmux(process):
            return False
        for ancestor in _ancestry(process.parent, table):
            if self._is_known(ancestor):
                return True
            if self._is_of_another(ancestor) or (ancestor.is_server and not ancestor.is_app_server):
                return False
        if self._daemon_has_marks and not process.ends_by_itself:
            self._unproved[process.pid] = process
            return False
        return True

    def _is_of_another_tmux(self, process: Process) -> bool:
        """Return whether a process runs in a tmux server that the session started.

        The server passes on its variables to the processes of everyone who uses it.
        """
        own = getattr(self._session, "tmux_socket", None)
        found = re.search(rb"\0TMUX=([^,\0]+)", process.environment)
        return own is not None and found is not None and os.fsdecode(found[1]) != own

    def _is_of_another(self, process: Process) -> bool:
        if process.is_main_process_of(self._session):
            return False
        return any(process.is_main_process_of(other) or process.is_marked_by(other) for other in self._others)

    def _runs_another(self, server: Process, children: Mapping[int, list[Process]]) -> bool:
        """Return whether another session descends from a process."""
        return any(
            self._is_of_another(child) or self._runs_another(child, children) for child in children.get(server.pid, ())
        )


def running_in(sessions: Iterable[Session]) -> set[str]:
    """Return the ids of those sessions of this machine in which this process runs."""
    lineage = list(_ancestry(os.getpid(), _processes() if sys.platform != "linux" else None))
    return {
        session.id
        for session in sessions
        if session.host is None
        and any(process.is_main_process_of(session) or process.is_marked_by(session) for process in lineage)
    }


def _is_detached(process: Process, table: Mapping[int, Process]) -> bool:
    """Return whether a process may outlive the command that started it.

    A command of Codex is the app-server's child, and ends with its whole process group (0.150 to 0.171).
    """
    parent = table.get(process.parent)
    return process.group == process.pid and not (parent is not None and parent.is_app_server)


def _is_same(process: Process, other: Process | None) -> bool:
    return other is not None and process.identity == other.identity


def _joined(processes: Mapping[int, Process]) -> str:
    return ", ".join(map(str, processes.values()))


def _ancestry(pid: int, table: Mapping[int, Process] | None) -> Iterator[Process]:
    """Yield a process and its ancestors, from a table of all processes, or from /proc if that is None."""
    while (process := _process(pid) if table is None else table.get(pid)) is not None:
        yield process
        pid = process.parent


def _processes() -> dict[int, Process]:
    """Return all running processes by pid. Raises LivenessUnknown."""
    if sys.platform != "linux":
        found = parse_ps(ps("-A", "-E", "-ww", "-o", "pid=,ppid=,pgid=,stat=,lstart=,command="))
        if os.getpid() not in found:
            raise LivenessUnknown("Cannot list processes: ps does not list this command itself; see: ps -A")
        return found
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return {pid: process for pid in pids if (process := _process(pid)) is not None}


def _process(pid: int) -> Process | None:
    """Return a process from /proc; None if it has ended, reaped or not."""
    try:
        stat = read_stat(pid)
    except OSError:
        return None
    if stat.has_ended:
        return None
    reader = _other_thread(pid) if stat.state == "Z" else pid
    environment = b"" if stat.flags & _PF_KTHREAD else b"\0" + _read(reader, "environ")
    return Process(pid, stat.parent, stat.group, stat.started, stat.name, environment)


def _other_thread(pid: int) -> int:
    """Return a thread of a process beside its first, or the first if there is no other.

    After the end of the first one, Linux shows the process's command line and environment only under another.
    """
    try:
        threads = map(int, os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return pid
    return next((thread for thread in threads if thread != pid), pid)


def _read(pid: int, file: str) -> bytes:
    """Return a file of a process in /proc; empty if the process has ended or the file cannot be read."""
    try:
        with open(f"/proc/{pid}/{file}", "rb") as stream:
            return stream.read()
    except OSError:
        return b""


def _whole_lines(lines: Iterable[str]) -> list[str]:
    """Return the lines that begin a process, each with those that continue its command."""
    joined: list[str] = []
    for line in lines:
        if joined and not re.match(_PS_LINE, line):
            joined[-1] += f" {line}"
        else:
            joined.append(line)
    return joined


def parse_ps(lines: Iterable[str]) -> dict[int, Process]:
    """Parse the output of `ps` on systems without /proc (macOS), which has lines such as

    `31655     1 31655 S    Sun Nov 29 05:11:09 2026     sleep 1002 HOME=/Users/me DEV_SESSIONS_ID=fizz-top`

    Only processes of this user have an environment. It is taken to begin at the first word with an equals sign that is
    not an option. A line of another form continues the one above, whose command has a line break. Raises
    LivenessUnknown if the first line is of another form.
    """
    found: dict[int, Process] = {}
    for line in _whole_lines(lines):
        try:
            pid, parent, group, state, *rest = line.split()
            started, words = parse_lstart(rest[:5]), rest[5:]
            variables = (at for at, word in enumerate(words) if "=" in word and not word.startswith("-"))
            end = next(variables, len(words))
            environment = os.fsencode("\0".join(("", *words[end:], "")))
            if not state.startswith("Z"):
                ids = int(pid), int(parent), int(group)
                found[int(pid)] = Process(*ids, started, words[0], environment, tuple(words[:end]))
        except (ValueError, IndexError) as error:
            raise LivenessUnknown(f"Cannot list processes: ps says {line!r}; try again") from error
    return found
