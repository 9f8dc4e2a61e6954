"""The processes of a session: found by their ancestors and their environment, and ended.

A process belongs to a session when it descends from the session's own process (`Session.root`), when it was started
with the session's variables (`Session.marks`), or when it descends from such a process. What was detached (`nohup … &`,
`setsid`, a double fork) has lost its parent, but keeps its environment; what was given another environment keeps its
parent, as long as that one lives. So all are looked for before anything is ended, and what was found stays the
session's.

Not found is what another program started at the session's request (a container, a service, a window of a tmux server
that ran already), and what was detached with another environment, or writes its title over it, as some daemons do.

Never ended are this process and its ancestors, other sessions with all that belongs to them and that they descend from
(a container that a session has started and another one lives in), and servers that others may use: those have the
environment of whoever happened to start them. Claude's daemon gives that to every background agent (2.1.332), so while
one with the session's variables lives, these prove nothing.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import partial

from dev_sessions.errors import InvalidRequest, ProcessesUnseen
from dev_sessions.models import ClaudeSession, Session
from dev_sessions.system.deadline import Deadline, poll
from dev_sessions.system.fast_dataclass import fast_dataclass
from dev_sessions.system.pid_namespace import place, sandbox_error
from dev_sessions.system.process import parse_lstart, ps

#: Seconds that all processes together have to end after a signal, and between two looks at them.
_TIMEOUT = 3.0
_POLL_INTERVAL = 0.05
#: Characters of a command line that are shown.
_SHOWN = 80
#: GnuPG's servers, of which a user has one each: git starts them where it signs.
_GNUPG = ("gpg-agent", "keyboxd", "dirmngr", "scdaemon")


@fast_dataclass(frozen=True)
class Process:
    r"""A living process. `group` is its process group, `started` its `process.start_time`, `name` the kernel's name.

    `environment` is what it was started with, `\0NAME=value\0…\0`; empty where that can't be read. `command` is its
    command line, None where that is read when it is asked for.
    """

    pid: int
    parent: int
    group: int
    started: str
    name: str
    environment: bytes
    command: tuple[str, ...] | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """The words of its command line; none when it has ended by now."""
        if self.command is not None:
            return self.command
        return tuple(os.fsdecode(_read(self.pid, "cmdline")).rstrip("\0").split("\0"))

    def __str__(self) -> str:
        command = " ".join(" ".join(self.words).split()) or self.name
        return f"{self.pid} ({command if len(command) <= _SHOWN else command[: _SHOWN - 1] + '…'})"

    def is_root_of(self, session: Session) -> bool:
        """Whether it is the process that all of a session descends from. A pid that was noted in another namespace, or
        before the machine was started anew, is another process's here."""
        domain = session.claude_pid_domain if isinstance(session, ClaudeSession) else None
        return session.root == (self.pid, self.started) and place(domain) in ("here", "unknown")

    def is_marked_by(self, session: Session) -> bool:
        """Whether it was started with the variables of a session."""
        return any(
            all(os.fsencode(f"\0{name}={value}\0") in self.environment for name, value in mark.items())
            for mark in session.marks
        )

    @property
    def is_app_server(self) -> bool:
        """Whether it is an app-server of Codex, or its launcher: what runs in there says itself whose it is."""
        words = self.words
        return "app-server" in words and any(os.path.basename(word) in ("codex", "codex.js") for word in words[:2])

    @property
    def ends_by_itself(self) -> bool:
        """Whether it is Claude's daemon of background agents, or a process that it keeps ready: they end some seconds
        after the last agent (2.1.332)."""
        words = self.words
        program = words[0] if words else ""
        return ("claude" in program and words[1:3] == ("daemon", "run")) or program.startswith("claude bg-")

    @property
    def is_server(self) -> bool:
        """Whether others may use it: a tmux server, an app-server, a gateway of ours, Claude's daemon of background
        agents or a process that it keeps ready (2.1.332), a shared connection of ssh, a server of GnuPG."""
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
            or (program.startswith("ssh: ") and program.endswith("[mux]"))
            or os.path.basename(program) in _GNUPG
        )


class SessionProcesses:
    """The processes of one session, as they are found while it is ended. `others` are left alone, with theirs."""

    def __init__(self, session: Session, others: Iterable[Session]) -> None:
        self._session = session
        self._others = [other for other in others if other.id != session.id and other.host is None]
        self._living: dict[int, Process] = {}
        self._servers: dict[int, Process] = {}
        #: Those that have its variables, but may have them from Claude's daemon.
        self._unproved: dict[int, Process] = {}
        self._daemon_has_marks = False
        self._hold_us = False

    def find(self) -> None:
        """Look for them before anything is ended. InvalidRequest when this process would be ended with one of them."""
        self._look()
        if self._hold_us:
            raise InvalidRequest(
                f"{self._session.id} runs this very command, which would be ended first, so nothing was done; do it"
                f" from elsewhere: dev-sessions kill {self._session.id}"
            )

    def end(self) -> tuple[str, ...]:
        """End them, and those that are started meanwhile: SIGTERM, then SIGKILL. Lines about what is left."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if poll(partial(self._signal, number, set()), Deadline(_TIMEOUT), _POLL_INTERVAL):
                break
        notes = []
        if self._servers:
            notes.append(
                f"{self._session.id} had started what others may use by now, so it was left running:"
                f" {_listed(self._servers)}; if nobody does, end it: kill {' '.join(map(str, self._servers))}"
            )
        if self._unproved:
            notes.append(
                f"{self._session.id} or another agent of Claude's background had started what was left running:"
                f" {_listed(self._unproved)}; if it is no longer needed, end it:"
                f" kill {' '.join(map(str, self._unproved))}"
            )
        if self._living:
            notes.append(
                f"{self._session.id} had started what could not be ended: {_listed(self._living)}; look at it with:"
                f" ps -fp {','.join(map(str, self._living))}"
            )
        return tuple(notes)

    def _look(self) -> None:
        """Find those that live. What was found before stays the session's, whatever has become of its parent."""
        table = _processes()
        children: defaultdict[int, list[Process]] = defaultdict(list)
        for process in table.values():
            children[process.parent].append(process)
        lineage = list(_lineage(os.getpid(), table))
        self._daemon_has_marks |= any(
            process.ends_by_itself and process.is_marked_by(self._session) for process in table.values()
        )
        self._unproved = {}
        left = [process for process in table.values() if self._is_known(process) or self._is_marked(process, table)]
        if not lineage:
            raise sandbox_error("Which processes are the session's is not known")
        us, *above = lineage
        self._hold_us = any(ancestor in left for ancestor in above) or (us in left and not _is_detached(us, table))
        spared = {process.pid for process in lineage}
        living: dict[int, Process] = {}
        servers = {pid: server for pid, server in self._servers.items() if _is_same(server, table.get(pid))}
        while left:
            process = left.pop()
            if process.pid in living or process.pid in spared or self._is_of_another(process):
                continue
            if not process.is_root_of(self._session):
                runs_another = self._runs_another(process, children)
                is_server = process.is_server and _is_detached(process, table)
                if is_server or runs_another:
                    if not process.ends_by_itself and not (is_server and runs_another):
                        servers[process.pid] = process
                    continue
            living[process.pid] = process
            left += children[process.pid]
        self._living, self._servers = living, servers

    def _signal(self, number: int, signalled: set[int]) -> bool | None:
        """Signal each of them once; True when none is left, or none that may be signalled."""
        self._look()
        refused = 0
        for pid in self._living:
            try:
                os.kill(pid, 0 if pid in signalled else number)
            except PermissionError:
                refused += 1  # it has become another user's
            except ProcessLookupError:
                pass
        signalled |= self._living.keys()
        return True if len(self._living) == refused else None

    def _is_known(self, process: Process) -> bool:
        return process.is_root_of(self._session) or _is_same(process, self._living.get(process.pid))

    def _is_marked(self, process: Process, table: Mapping[int, Process]) -> bool:
        """Whether its variables are the session's, and not those that a server or another session has passed on.

        Codex gives each command the variables of its own thread.
        """
        if not process.is_marked_by(self._session) or self._is_of_another_tmux(process):
            return False
        for ancestor in _lineage(process.parent, table):
            if self._is_known(ancestor):
                return True
            if self._is_of_another(ancestor) or (ancestor.is_server and not ancestor.is_app_server):
                return False
        if self._daemon_has_marks and not process.ends_by_itself:
            self._unproved[process.pid] = process
            return False
        return True

    def _is_of_another_tmux(self, process: Process) -> bool:
        """Whether a process was started in a tmux server that the session had started, which passes on its variables:
        whoever uses that server by now may have started it."""
        own = getattr(self._session, "tmux_socket", None)
        found = re.search(rb"\0TMUX=([^,\0]+)", process.environment)
        return own is not None and found is not None and os.fsdecode(found[1]) != own

    def _is_of_another(self, process: Process) -> bool:
        if process.is_root_of(self._session):
            return False
        return any(process.is_root_of(other) or process.is_marked_by(other) for other in self._others)

    def _runs_another(self, server: Process, children: Mapping[int, list[Process]]) -> bool:
        """Whether another session descends from a process."""
        return any(
            self._is_of_another(child) or self._runs_another(child, children) for child in children.get(server.pid, ())
        )


def running_in(sessions: Iterable[Session]) -> set[str]:
    """Return the ids of those sessions of this machine in which this very process runs."""
    lineage = list(_lineage(os.getpid(), _processes() if sys.platform != "linux" else None))
    return {
        session.id
        for session in sessions
        if session.host is None
        and any(process.is_root_of(session) or process.is_marked_by(session) for process in lineage)
    }


def _is_detached(process: Process, table: Mapping[int, Process]) -> bool:
    """Whether a process may outlive the command that started it: a command of Codex is the app-server's child, and ends
    with all of its process group (0.150 to 0.171)."""
    parent = table.get(process.parent)
    return process.group == process.pid and not (parent is not None and parent.is_app_server)


def _is_same(process: Process, other: Process | None) -> bool:
    return other is not None and (process.pid, process.started) == (other.pid, other.started)


def _listed(processes: Mapping[int, Process]) -> str:
    return ", ".join(map(str, processes.values()))


def _lineage(pid: int, table: Mapping[int, Process] | None) -> Iterator[Process]:
    """A process and its ancestors, from a table of all, or as they are now."""
    while (process := _process(pid) if table is None else table.get(pid)) is not None:
        yield process
        pid = process.parent


def _processes() -> dict[int, Process]:
    """All processes that live, by their pids."""
    if sys.platform != "linux":
        found = parse_ps(ps("-A", "-E", "-ww", "-o", "pid=,ppid=,pgid=,stat=,lstart=,command="))
        if os.getpid() not in found:
            raise ProcessesUnseen("Which processes live is not known: ps does not list this one; see: ps -A")
        return found
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return {pid: process for pid in pids if (process := _process(pid)) is not None}


def _process(pid: int) -> Process | None:
    """One process, from /proc: `PID (name) state parent group …`; None when it has ended, reaped or not."""
    head, _, tail = _read(pid, "stat").rpartition(b")")
    fields = tail.split()
    if not fields or fields[0] in (b"Z", b"X"):
        return None
    name = os.fsdecode(head.partition(b"(")[2])
    return Process(pid, int(fields[1]), int(fields[2]), fields[19].decode(), name, b"\0" + _read(pid, "environ"))


def _read(pid: int, file: str) -> bytes:
    """A file of a process in /proc; empty when the process has ended, or does not let us read it."""
    try:
        with open(f"/proc/{pid}/{file}", "rb") as stream:
            return stream.read()
    except OSError:
        return b""


def parse_ps(lines: Iterable[str]) -> dict[int, Process]:
    """Parse what `ps` prints where there is no /proc (macOS), for each process a line such as

    `31655     1 31655 S    Sun Nov 29 05:11:09 2026     sleep 1002 HOME=/Users/me DEV_SESSIONS_ID=fizz-top`

    The environment is that of our user's processes alone, and nothing tells where it begins: the first word with an
    equals sign that is no option is taken for its beginning. Raises ProcessesUnseen for any other line.
    """
    found = {}
    for line in lines:
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
            raise ProcessesUnseen(f"Which processes live is not known: ps says {line!r}; try again") from error
    return found
