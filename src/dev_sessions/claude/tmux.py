"""Run tmux for Claude sessions: each has one tmux session with one pane, always addressed by its exact name.

A tmux client sends its environment to whoever listens on the socket, and obeys that server. tmux itself checks the
owner of the socket's directory only when neither `-S` nor TMUX names the socket (3.3a), so `Tmux._server_options`
checks it before every call.

tmux's error messages (3.3a) are matched only here, and in `tmux_windows` those about opening a window.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, TypeAlias

from dev_sessions.errors import LivenessUnknown, NotOwned, ProtocolError, StartFailed
from dev_sessions.models import Terminal
from dev_sessions.system import pid_namespace
from dev_sessions.system.fast_dataclass import fast_dataclass
from dev_sessions.system.listeners import listens_here
from dev_sessions.system.private_files import own_socket
from dev_sessions.system.programs import Completed, run
from dev_sessions.system.version import parse_version

Liveness: TypeAlias = Literal["alive", "dead", "no server", "unknown"]

#: Matched as whole lines: a tmux that fails to start may say "No such file or directory" about one of its libraries.
_UNREACHABLE = r"(?m)^(no server running on |error connecting to )"
_NO_SERVER = r"(?m)^(no server running on |error connecting to .* \((No such file or directory|Connection refused)\)$)"
#: "no current target" comes from a server that has lost its last session and is about to exit.
_NOT_FOUND = r"(?m)^((can't find|no such) (session|pane|window)|no current target)"
#: Messages of a server that exits with its last session just when another one is to start.
_DYING_SERVER = ("server exited unexpectedly", "lost server")
#: Said of a session that is gone although nothing has ended in it.
CLOSED_BY_TMUX = (
    "tmux closed the session while it started: a hook or an option in its configuration may do that, or somebody ended"
    " it; to check the configuration: dev-sessions doctor"
)
UNCLEAR_ADVICE = "try again, and see whether a hook in its configuration prints that: dev-sessions doctor"
#: What tmux's answers about a socket cannot hold: tabs and line breaks separate their fields, 3.5a prints other control
#: characters in its own way, and they are UTF-8.
_UNREADABLE_PATH = r"[\x00-\x1f\x7f-\x9f\udc80-\udcff]"
#: Bytes that the path of a unix socket may have.
_MAX_PATH = 107 if pid_namespace.ON_LINUX else 103
#: Seconds for a command of tmux.
COMMAND_TIMEOUT = 10.0
#: Has tmux print UTF-8, and tabs, whatever the locale; in others than UTF-8 it prints `_` in place of them (3.3a).
_UTF8 = ("-u",)
#: Runs in a session until the agent's window has replaced its own, or this command was killed.
PLACEHOLDER = ("sh", "-c", "exec sleep 20")
#: The window's option with what restores it after it was enlarged.
RESTORE_OPTION = "@dev_sessions_restore"
#: The process of a pane; once it has ended, it is 0 in 3.8, and its old pid in older versions.
_PID_FORMAT = "#{?pane_pid,#{pane_pid},0}"
#: The format that `parse_pane` reads: `/tmp/tmux-1000/default`, `%0`, `4711` and `4700`, separated by tabs.
PANE_FORMAT = f"#{{socket_path}}\t#{{pane_id}}\t{_PID_FORMAT}\t#{{pid}}"


def session_name(session_id: str) -> str:
    """Return the name of a session's tmux session."""
    return f"dev-{session_id}"


class PaneClosed(StartFailed):
    """Raised when the pane of an agent that starts is gone although nothing has ended in it."""

    def __init__(self) -> None:
        super().__init__(CLOSED_BY_TMUX)


@fast_dataclass(frozen=True)
class Pane:
    """A pane: the server's socket, the pane's id, the process that tmux started in it, and the server's process.

    Pids are those of the server's pid namespace.
    """

    socket: str
    id: str
    pid: int
    server: int

    def require_here(self) -> None:
        """Raise LivenessUnknown when the server runs in another pid namespace, where its pids are meaningless here."""
        if not listens_here(self.socket, self.server):
            raise LivenessUnknown(
                f"The tmux server of {self.socket} runs in another pid namespace (of a container or sandbox); run this"
                " there, or use another server: TMUX= TMUX_TMPDIR=FOLDER dev-sessions …"
            )


@fast_dataclass(frozen=True)
class PaneInfo:
    """A pane as `list-panes` prints it: its session, whether other sessions show it, too, whether its process has
    ended, and the command that tmux was told to start."""

    pane: Pane
    session: str
    is_shared: bool
    ended: bool
    command: str


@fast_dataclass(frozen=True)
class Snapshot:
    """The state of a pane: its process, terminal title, screen (with colours as escape sequences) and its size, the
    position of the cursor (column, row), and whether its window is enlarged (`window_size`)."""

    process_ended: bool
    pid: int
    title: str
    screen: str
    width: int
    height: int
    cursor: tuple[int, int]
    is_enlarged: bool


@fast_dataclass(frozen=True)
class Tmux:
    """A tmux server. With `socket` None it is the one that tmux chooses by itself."""

    socket: str | None = None

    def terminal(self, target: str, inside: str | None) -> Terminal:
        """Return the command that attaches a person to a session. `inside` is the TMUX variable of their terminal.

        `target` is a pane of it, which is known whatever the session is called now, or its name after "=".

        A client inside another server would be nested, which tmux refuses; so TMUX is unset for it. Raises NotOwned.
        """
        if (options := self._server_options()) is None:
            raise ProtocolError(f"There is no tmux server at {self.path} any more; try again")
        server = ["tmux", *options]
        if inside and self.socket and _socket_of(inside) == self.socket:
            return Terminal((*server, "switch-client", "-t", target))
        return Terminal((*server, "attach-session", "-t", target), env={"TMUX": None})

    @property
    def path(self) -> str:
        """The path of the server's socket, running or not."""
        return self.socket or self.current_socket()

    def require_owned(self) -> None:
        """Raise NotOwned when the server belongs to another user, or another user could replace it."""
        self._server_options()

    def require_usable(self) -> None:
        """Raise NotOwned as `require_owned`, and ProtocolError if no server can have this socket, or if tmux's answers
        about it could not be read."""
        self.require_owned()
        if re.search(_UNREADABLE_PATH, self.path):
            problem = f"tmux's socket {self.path!r} has a control character or no UTF-8 in its path"
        elif len(os.fsencode(self.path)) > _MAX_PATH:
            problem = f"The path of tmux's socket, {self.path!r}, is too long for one"
        else:
            return
        raise ProtocolError(f"{problem}; set TMUX_TMPDIR to another directory")

    @staticmethod
    def current_socket() -> str:
        """Return the socket of the server that a plain `tmux` uses here, running or not."""
        return _socket_of(os.environ.get("TMUX", "")) or Tmux.default_socket()

    @staticmethod
    def default_socket() -> str:
        """Return the socket of the server that a plain `tmux` uses outside of any tmux session."""
        base = os.environ.get("TMUX_TMPDIR", "")
        base = os.path.realpath(base if base and os.path.exists(base) else "/tmp")
        return os.path.join(base, f"tmux-{os.getuid()}", "default")

    def list_panes(self, name: str, started_with: str = "", *, require_here: bool = False) -> list[PaneInfo]:
        """Return all panes of a session, in any window; none if the session or its server is proved to be gone.

        With `started_with`, also the panes elsewhere whose command contains that text: a person or a hook may have
        renamed the session, or moved its pane.

        Raises ProtocolError when tmux gives no clear answer, and with `require_here` LivenessUnknown when the server
        runs in another pid namespace.
        """
        shared = "#{?window_linked,1,#{session_grouped}}"
        format_ = f"{PANE_FORMAT}\t#{{session_name}}\t{shared}\t#{{pane_dead}}\t#{{pane_start_command}}"
        try:
            done = self.query(["list-panes", "-a", "-F", format_, ";", "has-session", "-t", f"={name}"])
        except TimeoutError as error:
            raise ProtocolError(f"Could not list the panes of {name}: {error}; try again") from error
        if done.code != 0 and not is_gone(done):
            raise failed(f"Could not list the panes of {name}", done)
        found: dict[str, PaneInfo] = {}
        for line in filter(None, done.stdout.split("\n")):  # a path may hold other line breaks
            *place, session, is_shared, dead, command = [*line.split("\t", 7), "", "", "", ""][:8]
            pane = parse_pane("\t".join(place))
            if pane is None or dead not in ("0", "1"):
                raise ProtocolError(f"Could not list the panes of {name}: tmux printed {line!r}; {UNCLEAR_ADVICE}")
            # A window may be in several sessions.
            if session == name or (started_with and started_with in command and pane.id not in found):
                found[pane.id] = PaneInfo(pane, session, is_shared == "1", dead == "1" or pane.pid == 0, command)
        if done.code == 0 and all(pane_info.session != name for pane_info in found.values()):
            raise ProtocolError(f"Could not list the panes of {name}: tmux printed {done.stdout!r}; {UNCLEAR_ADVICE}")
        if require_here and found:
            next(iter(found.values())).pane.require_here()
        return list(found.values())

    def list_sessions(self, timeout: float) -> list[str]:
        """Return the names of all sessions; none without a server. Raises TimeoutError, ProtocolError."""
        done = self.run(["list-sessions", "-F", "#{session_name}"], timeout=timeout)
        if done.code != 0 and not is_gone(done):
            raise failed("Could not list the tmux sessions", done)
        return done.stdout.splitlines() if done.code == 0 else []

    def liveness(self, name: str) -> Liveness:
        """Return whether a session exists; `unknown` when tmux gives no clear answer."""
        try:
            done = self.query(["has-session", "-t", f"={name}"])
        except (TimeoutError, NotOwned):
            return "unknown"
        if done.code == 0:
            return "alive"
        if not is_gone(done):
            return "unknown"
        return "no server" if re.search(_NO_SERVER, done.stderr) else "dead"

    def snapshot(self, target: str) -> Snapshot | None:
        """Return the state of a pane, or None if it is gone. Raises ProtocolError when tmux gives no clear answer."""
        place = f"{_PID_FORMAT} #{{pane_width}} #{{pane_height}} #{{cursor_x}} #{{cursor_y}}"
        head = f"#{{pane_dead}} {place} #{{?{RESTORE_OPTION},1,0}} #{{pane_title}}"
        status = ["display-message", "-p", "-t", target, head]
        done = self.query([*status, ";", "capture-pane", "-e", "-p", "-t", target])
        if done.code != 0:
            if is_gone(done):
                return None
            raise failed(f"Could not read pane {target}", done)
        head, _, screen = done.stdout.partition("\n")
        dead, *numbers, title = [*head.split(" ", 7), *[""] * 7][:8]
        if dead not in ("0", "1") or not all(number.isdigit() for number in numbers):
            raise ProtocolError(f"Could not read pane {target}: tmux printed {head!r}; {UNCLEAR_ADVICE}")
        pid, width, height, column, row, is_enlarged = map(int, numbers)
        return Snapshot(dead == "1", pid, title, screen, width, height, (column, row), is_enlarged == 1)

    def output(self, *commands: str) -> list[str]:
        """Run commands of tmux, separated by ";", and return the lines of their output. Raises ProtocolError."""
        done = self.run(commands)
        if done.code != 0:
            raise failed(f"tmux could not run {commands[0]}", done)
        return done.stdout.split("\n")[:-1]

    def scrollback(self, target: str) -> str:
        """Return all output of a process that has ended. tmux's own line may have scrolled its beginning away."""
        done = self.run(["capture-pane", "-p", "-S", "-", "-t", target])
        return "\n".join(line for line in done.stdout.split("\n") if not line.startswith("Pane is dead ("))

    def kill_pane(self, pane: str) -> None:
        """Close a pane, with its window and session if it is the last one; it may be gone already."""
        done = self.query(["kill-pane", "-t", pane])
        self._require_killed(done, pane, "kill-pane -t ")

    def kill(self, name: str) -> None:
        """Kill a session and all that runs in it, and delete the buffer of a killed paste; it may be gone already."""
        # A buffer that does not exist can't be deleted, so it is set first.
        forget = ["set-buffer", "-b", name, "--", "x", ";", "delete-buffer", "-b", name, ";"]
        # A server exits with its last session; asked again, it is gone.
        done = self.query([*forget, "kill-session", "-t", f"={name}"])
        self._require_killed(done, name, "kill-session -t =")

    @staticmethod
    def _require_killed(done: Completed, name: str, command: str) -> None:
        if done.code != 0 and not is_gone(done):
            raise failed(f"tmux could not end {name}", done, f"end it with: tmux {command}{name}")

    @staticmethod
    def client_version() -> tuple[int, ...]:
        """Return the version of the tmux on PATH, () if it does not print one. Raises ProgramMissing, TimeoutError."""
        return parse_version(run(["tmux", "-V"], timeout=COMMAND_TIMEOUT).stdout)

    def query(self, arguments: Sequence[str]) -> Completed:
        """Run a command of tmux as `run` does, and once more if the server was about to exit."""
        done = self.run(arguments)
        return self.run(arguments) if is_dying(done) else done

    def run(self, arguments: Sequence[str], *, stdin: bytes = b"", timeout: float | None = None) -> Completed:
        """Run commands of tmux, separated by ";", and return their output.

        Raises NotOwned, TimeoutError, and InSandbox when the server may run outside of the sandbox of this command.
        """
        if (server := self._server_options()) is None:
            return Completed(1, "", f"no server running on {self.path}")
        seconds = (COMMAND_TIMEOUT if timeout is None else timeout) + len(stdin) / 1e5
        return _require_reachable(run(["tmux", *_UTF8, *server, *unaliased(arguments)], stdin=stdin, timeout=seconds))

    def _server_options(self) -> list[str] | None:
        """Return tmux's options that name this server, or None if this user can have no server there.

        Raises NotOwned.
        """
        named = self.socket or _socket_of(os.environ.get("TMUX", ""))
        try:
            found = own_socket(self.path)
        except NotOwned as error:
            advice = "correct that, or set TMUX_TMPDIR to a directory of your own for new sessions"
            if named and named == _socket_of(os.environ.get("TMUX", "")):
                advice = "unset TMUX to use a server of your own"
            raise NotOwned(f"The tmux server at {self.path} is not used: {error}; {advice}") from error
        # tmux creates the directory of its default server itself, and refuses another user's.
        if not named:
            return []
        return ["-S", found] if found is not None else None


def _socket_of(variable: str) -> str:
    """Return the socket in a TMUX variable: `/tmp/tmux-1000/default,4711,0`."""
    return variable.partition(",")[0]


def unaliased(commands: Sequence[str]) -> list[str]:
    """Return commands of tmux, separated by ";", whose names lack their last letter.

    A user may have redefined a name (`command-alias`). What begins only one name is that command itself (3.3a to 3.8).
    """
    return [word[:-1] if before == ";" else word for before, word in pairwise([";", *commands])]


def parse_pane(line: str) -> Pane | None:
    """Parse a line of the format `PANE_FORMAT`; return None if it is none."""
    match line.split("\t"):
        case [socket, pane, pid, server] if pid.isdigit() and server.isdigit():
            return Pane(socket, pane, int(pid), int(server))
    return None


def is_dying(done: Completed) -> bool:
    """Return whether the server is about to exit, or a client of another version does not understand it (3.3a, 3.8)."""
    return done.code != 0 and any(words in done.stderr for words in _DYING_SERVER)


def failed(what: str, done: Completed, advice: str = "try again") -> ProtocolError:
    """Return the error for a command of tmux that failed: what it was for, what tmux printed, and what to do."""
    if is_dying(done):
        advice = "the tmux on PATH may be of another version than the running server; use the server's version"
    words = done.stderr.strip() or f"nothing, and ended with {done.code}"
    return ProtocolError(f"{what}: tmux printed {words!r}; {advice}")


def _require_reachable(done: Completed) -> Completed:
    """Return an answer of tmux. Raises InSandbox when the server may run outside of the sandbox of this command."""
    if done.code != 0 and re.search(_UNREACHABLE, done.stderr):
        pid_namespace.require_unsandboxed("tmux can't be asked")
    return done


def is_gone(done: Completed) -> bool:
    """Return whether tmux itself says that the session, pane or server does not exist."""
    return done.code == 1 and bool(re.search(_NO_SERVER, done.stderr) or re.search(_NOT_FOUND, done.stderr))
