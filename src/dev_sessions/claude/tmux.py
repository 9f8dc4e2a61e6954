"""Run tmux for Claude sessions: each has one tmux session with one pane, always addressed by its exact name.

A tmux client sends its environment to whoever listens on the socket, and obeys that server. tmux itself checks the
owner of the socket's directory only when neither `-S` nor TMUX names the socket (3.3a), so `Tmux._server_options`
checks it before every call.

tmux's error messages (3.3a) are matched only here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal, TypeAlias

from dev_sessions.errors import NotOwned, ProcessesUnseen, ProtocolError
from dev_sessions.models import Terminal
from dev_sessions.system import pid_namespace
from dev_sessions.system.deadline import Deadline, poll
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
    " it; to see what harms in the configuration: dev-sessions doctor"
)
_UNCLEAR_ADVICE = "try again, and see whether a hook in its configuration prints that: dev-sessions doctor"
#: What tmux's answers about a socket cannot hold: tabs and line breaks separate their fields, 3.5a prints other control
#: characters in its own way, and they are UTF-8.
_UNREADABLE_PATH = r"[\x00-\x1f\x7f-\x9f\udc80-\udcff]"
#: Bytes that the path of a unix socket may have.
_MAX_PATH = 107 if pid_namespace.ON_LINUX else 103
COMMAND_TIMEOUT = 10.0
#: Seconds for a server to exit once it has begun to; on a busy machine more than one.
_EXIT_TIMEOUT = 5.0
#: The first version in which a global `window-size manual` is harmless.
_FIRST_WITH_MANUAL_SIZE = (3, 8)
#: Has tmux print UTF-8, and tabs, whatever the locale; in others than UTF-8 it prints `_` in place of them (3.3a).
_UTF8 = ("-u",)
#: Lines that tmux keeps of a session; one of 190 coloured characters takes 5 KB of its memory (3.3a).
_MAX_HISTORY = 10_000
#: Runs in a session until the agent's window has replaced its own, or this command was killed.
PLACEHOLDER = ("sh", "-c", "exec sleep 20")
#: The size of a new session's window, as options of tmux.
SIZE = ("-x", "200", "-y", "50")
#: The window's option with what restores it after it was enlarged.
RESTORE_OPTION = "@dev_sessions_restore"
#: Characters of the condition in one command; tmux takes 16 KB (3.3a).
_MAX_CONDITION = 8000
#: The process of a pane; once it has ended, it is 0 in 3.8, and its old pid in older versions.
_PID_FORMAT = "#{?pane_pid,#{pane_pid},0}"
#: The format that `_parse_pane` reads: `/tmp/tmux-1000/default`, `%0`, `4711` and `4700`, separated by tabs.
_PANE_FORMAT = f"#{{socket_path}}\t#{{pane_id}}\t{_PID_FORMAT}\t#{{pid}}"


def session_name(session_id: str) -> str:
    """Return the name of a session's tmux session."""
    return f"dev-{session_id}"


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
        """Raise ProcessesUnseen when the server runs in another pid namespace, where its pids are meaningless here."""
        if not listens_here(self.socket, self.server):
            raise ProcessesUnseen(
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


class NameTaken(Exception):
    """Raised when a tmux session of this name exists."""


class UnknownAnswer(ProtocolError):
    """Raised when tmux did as it was told, but its answer is not understood."""


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

    def new_session(self, name: str, argv: Sequence[str], path: str) -> Pane:
        """Start a detached session that runs `argv`, and return its pane.

        Raises NameTaken, or ProtocolError with tmux's own message.
        """
        opening = ["new-session", "-d", "-s", name, *SIZE]
        history_limit = self._require_usable_options()
        try:
            if history_limit is not None and history_limit <= _MAX_HISTORY:
                return self._open(opening, f"={name}:", argv, path)
            return self._open_with_bounded_history(opening, name, argv, path)
        except UnknownAnswer:
            self.kill(name)
            raise

    def _open_with_bounded_history(self, opening: Sequence[str], name: str, argv: Sequence[str], path: str) -> Pane:
        """Open a session as `_open` does, with a window that replaces a first one: only then is its option in force."""
        # With the agent's last word it is found as what was started for it (`list_panes`).
        placeholder = self._open(opening, f"={name}:", [*PLACEHOLDER, argv[-1]], path, _bound_history)
        done = self._query(["display-message", "-p", "-t", placeholder.id, "#{window_id}"])
        window = done.stdout.strip()
        if not window:
            raise ProtocolError(CLOSED_BY_TMUX) if _is_gone(done) else _failed("tmux could not start a session", done)
        try:
            return self._open(["new-window", "-k", "-t", window], f"={name}:", argv, path)
        except ProtocolError:
            self.kill_pane(placeholder.id)
            raise

    def new_window(self, name: str, argv: Sequence[str], path: str) -> Pane:
        """Start a window that runs `argv` in an existing session, and return its pane. Raises ProtocolError."""
        self._require_usable_options()
        return self._open(["new-window", "-t", f"={name}:"], f"={name}:", argv, path)

    def _open(
        self,
        opening: Sequence[str],
        window: str,
        argv: Sequence[str],
        path: str,
        options: Callable[[str], list[str]] | None = None,
    ) -> Pane:
        """Run a command of tmux that opens a window for `argv` (at least two words, so that no shell sees them).

        `options` returns the command that sets the options of a window. By default, the pane stays after the process
        has ended, so that its output can be read, until `close_on_exit` is called.
        """
        set_options = options or _keep
        # tmux expands formats in the start directory, where "##" is a plain "#", and takes a ";" at the end of any
        # argument as a command separator.
        where = path.replace("#", "##")
        where = f"{where[:-1]}\\;" if where.endswith(";") else where
        format_ = f"{_PANE_FORMAT}\t#{{exit-unattached}}"
        command = [*opening, "-P", "-F", format_, "-c", where, "--", *argv]
        done = self._query([*command, ";", *set_options(window)])
        # One that no client understands runs on; one that a hook has ended is gone in a moment.
        if _is_dying(done) and poll(lambda: self.liveness("") == "no server" or None, Deadline(_EXIT_TIMEOUT), 0.05):
            raise ProtocolError(CLOSED_BY_TMUX)
        if "duplicate session" in done.stderr:
            raise NameTaken(window)
        place, _, exits = done.stdout.partition("\n")[0].rpartition("\t")
        pane = _parse_pane(place)
        if exits == "1":
            raise ProtocolError(
                "tmux can't keep a session: its option exit-unattached ends the server when nobody is attached; turn it"
                " off in your tmux.conf, and in a running server with: tmux set-option -s exit-unattached off"
            )
        if pane is not None and done.code != 0:  # a hook may have renamed or closed it before the options were set
            done = self._run(set_options(pane.id))
            if done.code != 0 and _is_gone(done):
                raise ProtocolError(CLOSED_BY_TMUX)
        if done.code != 0:
            raise _failed("tmux could not start a session", done, "check that tmux works: tmux")
        if pane is None:  # a tmux that can't make its socket prints why, and exits with 0 (3.3a)
            output = (done.stdout + done.stderr).strip() or "nothing"
            raise UnknownAnswer(f"tmux could not start a session: it printed {output}; check that tmux works: tmux")
        return pane

    def _require_usable_options(self) -> int | None:
        """Return the running server's history-limit, or None if that is unknown.

        Raises ProtocolError if a new window would crash the server, with all that runs in it (3.3a, 3.5a).
        """
        done = self._run(
            ["show-options", "-g", "-w", "-v", "window-size", ";", "show-options", "-g", "-v", "history-limit"]
        )
        window_size, _, history_limit = done.stdout.strip().partition("\n")
        if window_size == "manual":
            version = parse_version(run(["tmux", "-V"], timeout=COMMAND_TIMEOUT).stdout)
            if version < _FIRST_WITH_MANUAL_SIZE:
                raise ProtocolError(
                    "tmux's option window-size is manual, with which this version crashes when a window is opened; set"
                    " another in your tmux.conf, and in the running server with: tmux set-option -gw window-size latest"
                )
        return int(history_limit) if history_limit.isdigit() else None

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

        Raises ProtocolError when tmux gives no clear answer, and with `require_here` ProcessesUnseen when the server
        runs in another pid namespace.
        """
        shared = "#{?window_linked,1,#{session_grouped}}"
        format_ = f"{_PANE_FORMAT}\t#{{session_name}}\t{shared}\t#{{pane_dead}}\t#{{pane_start_command}}"
        try:
            done = self._query(["list-panes", "-a", "-F", format_, ";", "has-session", "-t", f"={name}"])
        except TimeoutError as error:
            raise ProtocolError(f"Could not list the panes of {name}: {error}; try again") from error
        if done.code != 0 and not _is_gone(done):
            raise _failed(f"Could not list the panes of {name}", done)
        found: dict[str, PaneInfo] = {}
        for line in filter(None, done.stdout.split("\n")):  # a path may hold other line breaks
            *place, session, is_shared, dead, command = [*line.split("\t", 7), "", "", "", ""][:8]
            pane = _parse_pane("\t".join(place))
            if pane is None or dead not in ("0", "1"):
                raise ProtocolError(f"Could not list the panes of {name}: tmux printed {line!r}; {_UNCLEAR_ADVICE}")
            # A window may be in several sessions.
            if session == name or (started_with and started_with in command and pane.id not in found):
                found[pane.id] = PaneInfo(pane, session, is_shared == "1", dead == "1" or pane.pid == 0, command)
        if done.code == 0 and all(pane_info.session != name for pane_info in found.values()):
            raise ProtocolError(f"Could not list the panes of {name}: tmux printed {done.stdout!r}; {_UNCLEAR_ADVICE}")
        if require_here and found:
            next(iter(found.values())).pane.require_here()
        return list(found.values())

    def list_sessions(self, timeout: float) -> list[str]:
        """Return the names of all sessions; none without a server. Raises TimeoutError, ProtocolError."""
        done = self._run(["list-sessions", "-F", "#{session_name}"], timeout=timeout)
        if done.code != 0 and not _is_gone(done):
            raise _failed("Could not list the tmux sessions", done)
        return done.stdout.splitlines() if done.code == 0 else []

    def close_on_exit(self, target: str) -> None:
        """Have the pane close when its process exits, but stay with its output when that fails or is killed.

        Raises ProtocolError when the pane is gone, or tmux gives no clear answer.
        """
        done = self._run(["set-option", "-w", "-t", target, "remain-on-exit", "failed"])
        if done.code != 0:
            printed = f"tmux could not set an option: it printed {done.stderr.strip()!r}; try again"
            raise ProtocolError(CLOSED_BY_TMUX if _is_gone(done) else printed)

    def liveness(self, name: str) -> Liveness:
        """Return whether a session exists; `unknown` when tmux gives no clear answer."""
        try:
            done = self._query(["has-session", "-t", f"={name}"])
        except (TimeoutError, NotOwned):
            return "unknown"
        if done.code == 0:
            return "alive"
        if not _is_gone(done):
            return "unknown"
        return "no server" if re.search(_NO_SERVER, done.stderr) else "dead"

    def snapshot(self, target: str) -> Snapshot | None:
        """Return the state of a pane, or None if it is gone. Raises ProtocolError when tmux gives no clear answer."""
        place = f"{_PID_FORMAT} #{{pane_width}} #{{pane_height}} #{{cursor_x}} #{{cursor_y}}"
        head = f"#{{pane_dead}} {place} #{{?{RESTORE_OPTION},1,0}} #{{pane_title}}"
        status = ["display-message", "-p", "-t", target, head]
        done = self._query([*status, ";", "capture-pane", "-e", "-p", "-t", target])
        if done.code != 0:
            if _is_gone(done):
                return None
            raise _failed(f"Could not read pane {target}", done)
        head, _, screen = done.stdout.partition("\n")
        dead, *numbers, title = [*head.split(" ", 7), *[""] * 7][:8]
        if dead not in ("0", "1") or not all(number.isdigit() for number in numbers):
            raise ProtocolError(f"Could not read pane {target}: tmux printed {head!r}; {_UNCLEAR_ADVICE}")
        pid, width, height, column, row, is_enlarged = map(int, numbers)
        return Snapshot(dead == "1", pid, title, screen, width, height, (column, row), is_enlarged == 1)

    def output(self, *commands: str) -> list[str]:
        """Run commands of tmux, separated by ";", and return the lines of their output. Raises ProtocolError."""
        done = self._run(commands)
        if done.code != 0:
            raise _failed(f"tmux could not run {commands[0]}", done)
        return done.stdout.split("\n")[:-1]

    def scrollback(self, target: str) -> str:
        """Return all output of a process that has ended. tmux's own line may have scrolled its beginning away."""
        done = self._run(["capture-pane", "-p", "-S", "-", "-t", target])
        return "\n".join(line for line in done.stdout.split("\n") if not line.startswith("Pane is dead ("))

    def load(self, text: str, buffer: str) -> None:
        """Put a text into a named tmux buffer. Raises ProtocolError.

        The text travels on standard input: no process's arguments show it, and its size is not limited. It is pasted by
        a separate call: if this command were killed while it writes, tmux would paste the part that it has.
        """
        done = self._run(["load-buffer", "-b", buffer, "-"], stdin=text.encode("utf-8", "surrogateescape"))
        if done.code != 0:
            raise _failed("tmux could not take the text", done)

    def raw_paste(self) -> list[str]:
        """Return the options with which `paste-buffer` sends the bytes of a buffer as they are.

        From 3.7 on, it writes control characters as `^[` otherwise; before, it has no such option. Raises ProtocolError
        when tmux does not say which it is.
        """
        done = self._run(["list-commands", "-F", "#{command_list_usage}", "paste-buffer"])
        if done.code != 0:
            raise _failed("tmux does not say how it pastes", done)
        return ["-r", "-S"] if re.match(r"\[-[a-z]*S", done.stdout) else ["-r"]

    def paste(
        self,
        target: str,
        buffer: str,
        *,
        enter: bool,
        preamble: str | None = None,
        options: Sequence[str] = ("-p",),
    ) -> None:
        """Paste a loaded buffer in one piece, and press Enter if `enter` is set.

        By default it is bracketed if the program asks for it. `preamble` is pasted before it, as a paste of its own.
        After a ProtocolError or TimeoutError it may have been pasted: a server that hangs runs the command later, even
        if its client was killed (3.3a).
        """
        paste, first = ["paste-buffer", "-p", "-d", "-t", target, "-b"], f"{buffer}-preamble"
        command = ["paste-buffer", *options, "-d", "-t", target, "-b", buffer]
        if preamble is not None:
            command = ["set-buffer", "-b", first, "--", preamble, ";", *paste, first, ";", *command]
        if enter:
            command += [";", "send-keys", "-t", target, "Enter"]
        done = self._run([*_ready_for_keys(target), *command])
        if done.code != 0:
            self._run(["delete-buffer", "-b", buffer])
            raise ProtocolError(f"tmux could not paste: {done.stderr.strip() or f'exit code {done.code}'}; try again")

    def press(self, target: str, *keys: str) -> None:
        """Press keys, by tmux's names for them."""
        self._run([*_ready_for_keys(target), "send-keys", "-t", target, *keys])

    def press_if(self, target: str, rows: Sequence[str], cursor: tuple[int, int], *keys: str) -> bool:
        """Press keys if the screen shows these rows and this cursor; return whether they were pressed."""
        return self._run_if(target, rows, cursor, ["send-keys", "-t", target, *keys])

    def paste_if(self, target: str, rows: Sequence[str], cursor: tuple[int, int], buffer: str) -> bool:
        """Paste a loaded buffer if the screen shows these rows and this cursor; return whether it was pasted.

        Newlines are pasted as they are: the field of a question keeps the carriage return that tmux has for them
        otherwise (2.1.332).
        """
        if self._run_if(target, rows, cursor, ["paste-buffer", "-p", "-r", "-d", "-t", target, "-b", buffer]):
            return True
        self._run(["delete-buffer", "-b", buffer])
        return False

    def _run_if(self, target: str, rows: Sequence[str], cursor: tuple[int, int], command: Sequence[str]) -> bool:
        """Run a tmux command if the screen shows these rows and this cursor; return whether it ran.

        Its words have no quotation marks. tmux checks and runs it in one step, so nothing can be drawn in between.
        """
        column, row = cursor
        conditions = [f"#{{==:#{{cursor_x}},{column}}}", f"#{{==:#{{cursor_y}},{row}}}"]
        conditions += [f"#{{C/r:{pattern}}}" for pattern in _patterns(rows)]
        then = _quoted(_unaliased([*command, ";", "display-message", "-p", "done"]))
        done = self._run([*_ready_for_keys(target), "if-shell", "-F", "-t", target, _all_of(conditions), then])
        if done.code != 0:
            raise _failed("tmux could not press a key", done)
        return done.stdout.strip() == "done"

    def kill_pane(self, pane: str) -> None:
        """Close a pane, with its window and session if it is the last one; it may be gone already."""
        done = self._query(["kill-pane", "-t", pane])
        self._require_killed(done, pane, "kill-pane -t ")

    def kill(self, name: str) -> None:
        """Kill a session and all that runs in it, and delete the buffer of a killed paste; it may be gone already."""
        # A buffer that does not exist can't be deleted, so it is set first.
        forget = ["set-buffer", "-b", name, "--", "x", ";", "delete-buffer", "-b", name, ";"]
        # A server exits with its last session; asked again, it is gone.
        done = self._query([*forget, "kill-session", "-t", f"={name}"])
        self._require_killed(done, name, "kill-session -t =")

    @staticmethod
    def _require_killed(done: Completed, name: str, command: str) -> None:
        if done.code != 0 and not _is_gone(done):
            raise _failed(f"tmux could not end {name}", done, f"end it with: tmux {command}{name}")

    def _query(self, arguments: Sequence[str]) -> Completed:
        done = self._run(arguments)
        return self._run(arguments) if _is_dying(done) else done

    def _run(self, arguments: Sequence[str], *, stdin: bytes = b"", timeout: float | None = None) -> Completed:
        if (server := self._server_options()) is None:
            return Completed(1, "", f"no server running on {self.path}")
        seconds = (COMMAND_TIMEOUT if timeout is None else timeout) + len(stdin) / 1e5
        return _require_reachable(run(["tmux", *_UTF8, *server, *_unaliased(arguments)], stdin=stdin, timeout=seconds))

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


def _keep(window: str) -> list[str]:
    """Return the tmux command that has a new window keep its size and its output, and its session live unattached."""
    target = ["-t", window]
    # Clients of other sessions and a user's `default-size` would decide otherwise, with some values of `window-size`;
    # from now on it is for the clients of this session.
    command = ["resize-window", *target, *SIZE, ";", "set-option", "-w", "-u", *target, "window-size"]
    command += [";", "set-option", "-w", *target, "remain-on-exit", "on"]
    return [*command, ";", *_stay_unattached(target)]


def _bound_history(window: str) -> list[str]:
    """Return the tmux command that bounds the history of a session's further windows, and has it live unattached."""
    target = ["-t", window]
    return [*_stay_unattached(target), ";", "set-option", *target, "history-limit", str(_MAX_HISTORY)]


def _stay_unattached(target: Sequence[str]) -> list[str]:
    # tmux looks at this option when a client is gone: at the earliest, after this command.
    return ["set-option", *target, "destroy-unattached", "off"]


def _ready_for_keys(target: str) -> list[str]:
    """Return the beginning of a tmux command that has the keys in the rest of it reach the program in this pane alone.

    A mode of tmux's own, which would take the keys, is left: copy mode, after somebody scrolled, or view mode, with the
    errors of a tmux.conf (3.2a to 3.7). With `synchronize-panes`, other panes of the window would get them, too.
    """
    own_keys = ["set-option", "-p", "-q", "-t", target, "synchronize-panes", "off"]
    return ["copy-mode", "-q", "-t", target, ";", *own_keys, ";"]


def _unaliased(commands: Sequence[str]) -> list[str]:
    """Return commands of tmux, separated by ";", whose names lack their last letter.

    A user may have redefined a name (`command-alias`). What begins only one name is that command itself (3.3a to 3.8).
    """
    return [word[:-1] if before == ";" else word for before, word in pairwise([";", *commands])]


def _quoted(commands: Sequence[str]) -> str:
    """Return commands of tmux as the one argument of another command."""
    return " ".join(word if word == ";" else f"'{word}'" for word in commands)


def _all_of(conditions: Sequence[str]) -> str:
    """Return a format that is true when all conditions are.

    `&&` takes two, and formats nest at most 100 deep.
    """
    if len(conditions) == 1:
        return conditions[0]
    half = len(conditions) // 2
    return f"#{{&&:{_all_of(conditions[:half])},{_all_of(conditions[half:])}}}"


def _patterns(rows: Sequence[str]) -> list[str]:
    """Return regular expressions that match rows of a screen: the last rows, as many as fit in one tmux command.

    They contain no character that is special in a format or a regular expression, and none that depends on the server's
    locale.
    """
    found: list[str] = []
    size = 0
    for row in reversed(rows):
        if row.strip():
            pattern = re.sub(r"[^\x00-\x7f]+", "\0", row.rstrip(" "))
            pattern = re.sub(r"[^A-Za-z0-9 \0]", ".", pattern).replace("\0", ".+")
            size += len(pattern)
            if size > _MAX_CONDITION:
                break
            found.append(f"^{pattern}$")
    return found


def _parse_pane(line: str) -> Pane | None:
    """Parse a line of the format `_PANE_FORMAT`; return None if it is none."""
    match line.split("\t"):
        case [socket, pane, pid, server] if pid.isdigit() and server.isdigit():
            return Pane(socket, pane, int(pid), int(server))
    return None


def _is_dying(done: Completed) -> bool:
    """Return whether the server is about to exit, or a client of another version does not understand it (3.3a, 3.8)."""
    return done.code != 0 and any(words in done.stderr for words in _DYING_SERVER)


def _failed(what: str, done: Completed, advice: str = "try again") -> ProtocolError:
    if _is_dying(done):
        advice = "the tmux on PATH may be of another version than the running server; use the server's version"
    words = done.stderr.strip() or f"nothing, and ended with {done.code}"
    return ProtocolError(f"{what}: tmux printed {words!r}; {advice}")


def _require_reachable(done: Completed) -> Completed:
    """Return an answer of tmux. Raises InSandbox when the server may run outside of the sandbox of this command."""
    if done.code != 0 and re.search(_UNREACHABLE, done.stderr):
        pid_namespace.require_outlasting("tmux can't be asked")
    return done


def _is_gone(done: Completed) -> bool:
    """Return whether tmux itself says that the session, pane or server does not exist."""
    return done.code == 1 and bool(re.search(_NO_SERVER, done.stderr) or re.search(_NOT_FOUND, done.stderr))
