"""The tmux side of a Claude session: one tmux session, always addressed exactly, one pane.

A tmux client gives its environment to whoever listens on the socket, and starts what it is told to there. tmux itself
looks whose directory it is only where neither `-S` nor TMUX names the socket (3.3a), so that is done here before every
call: `Tmux._server`.

tmux's words for "there is none" (3.3a) are matched here and nowhere else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Literal, TypeAlias

from dev_sessions.errors import NotOurs, ProcessesUnseen, ProtocolError
from dev_sessions.models import Terminal
from dev_sessions.system import pid_namespace
from dev_sessions.system.fast_dataclass import fast_dataclass
from dev_sessions.system.private_files import own_socket
from dev_sessions.system.process import Completed, listens_here, run

Liveness: TypeAlias = Literal["alive", "dead", "no server", "unknown"]

#: Whole lines: a tmux that does not even start may say "No such file or directory" of one of its libraries.
_UNREACHED = re.compile(r"^(no server running on |error connecting to )", re.MULTILINE)
_NO_SERVER = re.compile(
    r"^(no server running on |error connecting to .* \((No such file or directory|Connection refused)\)$)", re.MULTILINE
)
#: The last is said by a server that has lost its last session and not ended yet.
_NOT_FOUND = re.compile(r"^(can't find (session|pane|window)|no current target)", re.MULTILINE)
#: A server that loses its last session in the moment when another one starts.
_DYING_SERVER = ("server exited unexpectedly", "lost server")
COMMAND_TIMEOUT = 10.0
#: Characters of a condition in one command, of which tmux takes 16 KB (3.3a).
_LONGEST_CONDITION = 8000
#: What `_pane` reads.
_PANE = "#{socket_path}\t#{pane_id}\t#{pane_pid}\t#{pid}"


def session_name(session_id: str) -> str:
    """The tmux session of a dev session."""
    return f"dev-{session_id}"


@fast_dataclass(frozen=True)
class Pane:
    """Where an agent runs: the server's socket, the pane's id there, the process that tmux started in it, and the
    server. Pids are those of the server's pid namespace."""

    socket: str
    pane: str
    pid: int
    server: int

    def require_here(self) -> None:
        """ProcessesUnseen when the server is one of another pid namespace: its pids are other processes' here."""
        if not listens_here(self.socket, self.server):
            raise ProcessesUnseen(
                f"The tmux server of {self.socket} runs in another pid namespace (of a container or sandbox); run this"
                " there, or use another server: TMUX= TMUX_TMPDIR=FOLDER dev-sessions …"
            )


@fast_dataclass(frozen=True)
class Occupant:
    """A pane of a session as the server lists it: whether its process has ended, and what tmux was told to start."""

    pane: Pane
    ended: bool
    command: str


@fast_dataclass(frozen=True)
class Snapshot:
    """One look at a pane: the process that tmux started there, the title that it gave its terminal, and the screen with
    its colours as escape sequences, its width, and where its cursor is (column, row)."""

    process_ended: bool
    pid: int
    title: str
    screen: str
    width: int
    cursor: tuple[int, int]


class NameTaken(Exception):
    """A tmux session of this name exists."""


@fast_dataclass(frozen=True)
class Tmux:
    """One tmux server; `socket` None is the one that tmux itself would choose."""

    socket: str | None = None

    def terminal(self, name: str, inside: str | None) -> Terminal:
        """The command that shows a session to a person; `inside` is the TMUX variable of the terminal that it is for.

        A client of another server than this one is nested: tmux refuses that unless it does not notice. NotOurs.
        """
        if (options := self._server()) is None:
            raise ProtocolError(f"There is no tmux server at {self.path} any more; try again")
        server = ["tmux", *options]
        if inside and self.socket and _socket_of(inside) == self.socket:
            return Terminal((*server, "switch-client", "-t", f"={name}"))
        return Terminal((*server, "attach-session", "-t", f"={name}"), env={"TMUX": None})

    def open(self, name: str, argv: Sequence[str], path: str) -> Pane:
        """Start a detached session that runs `argv` (at least two words, so that no shell sees them).

        The pane stays when the process ends, so that its last words can be read, until `close_on_exit`.
        Raises NameTaken, or ProtocolError with tmux's own words.
        """
        # In the start directory tmux expands formats, where "##" is a plain "#"; and it takes a ";" at the end of any
        # argument for its own.
        where = path.replace("#", "##")
        where = f"{where[:-1]}\\;" if where.endswith(";") else where
        command = ["new-session", "-d", "-P", "-F", _PANE, "-s", name, "-x", "200", "-y", "50", "-c", where, "--"]
        command += [*argv, ";", "set-option", "-w", "-t", f"={name}:", "remain-on-exit", "on"]
        done = self._ask(command)
        if "duplicate session" in done.stderr:
            raise NameTaken(name)
        if done.code != 0:
            raise ProtocolError(f"tmux could not start a session: {done.stderr.strip()}; see if it does by hand: tmux")
        pane = _pane(done.stdout.partition("\n")[0])
        if pane is None:  # one that can't make its socket says why, and exits with 0 (3.3a)
            said = (done.stdout + done.stderr).strip() or "nothing"
            raise ProtocolError(f"tmux could not start a session, it says: {said}; see if it does by hand: tmux")
        return pane

    @property
    def path(self) -> str:
        """The server's socket, running or not."""
        return self.socket or self.here()

    def require_owned(self) -> None:
        """Raise NotOurs when the server is another user's, or may become one's."""
        self._server()

    @staticmethod
    def here() -> str:
        """The socket of the server that a plain `tmux` talks to, running or not: that of the caller, or the default."""
        return _socket_of(os.environ.get("TMUX", "")) or Tmux.default()

    @staticmethod
    def default() -> str:
        """The socket of the server that a plain `tmux` outside of any talks to."""
        base = os.environ.get("TMUX_TMPDIR", "")
        base = os.path.realpath(base if base and os.path.exists(base) else "/tmp")
        return os.path.join(base, f"tmux-{os.getuid()}", "default")

    def occupants(self, name: str, *, here: bool = False) -> list[Occupant]:
        """The panes of a session, whatever window they are in; none when the session or its server is provably gone.

        ProtocolError when tmux gives no clear answer; with `here`, ProcessesUnseen from a server of another pid
        namespace.
        """
        format_ = f"{_PANE}\t#{{pane_dead}}\t#{{pane_start_command}}"
        try:
            # Where a window or pane is meant, only `=NAME:` is exact; `=NAME` matches by prefix. A pane id is found
            # even if the session named before it is another one (3.3a).
            done = self._ask(["list-panes", "-s", "-t", f"={name}:", "-F", format_])
        except TimeoutError as error:
            raise ProtocolError(f"It is not known what is in {name}: {error}; try again") from error
        if done.code != 0:
            if _is_gone(done):
                return []
            raise ProtocolError(
                f"It is not known what is in {name}: tmux says {done.stderr.strip()!r}; look, then try again"
            )
        found = []
        for line in done.stdout.splitlines():
            *place, dead, command = [*line.split("\t", 5), "", ""][:6]
            pane = _pane("\t".join(place))
            if pane is None or dead not in ("0", "1"):
                raise ProtocolError(f"It is not known what is in {name}: tmux says {line!r}; look, then try again")
            found.append(Occupant(pane, dead == "1", command))
        if not found:  # a session has a pane
            raise ProtocolError(f"It is not known what is in {name}: tmux says nothing; look, then try again")
        if here:
            found[0].pane.require_here()
        return found

    def names(self, timeout: float) -> list[str]:
        """The names of all sessions; none without a server, which this does not start. TimeoutError, ProtocolError."""
        done = self._run(["list-sessions", "-F", "#{session_name}"], timeout=timeout)
        if done.code != 0 and not _is_gone(done):
            raise ProtocolError(f"It is not known which sessions tmux has: it says {done.stderr.strip()!r}")
        return done.stdout.splitlines() if done.code == 0 else []

    def close_on_exit(self, target: str) -> None:
        """From now on the pane closes when its process ends, unless it was killed or failed: then its words stay."""
        self._run(["set-option", "-w", "-t", target, "remain-on-exit", "failed"])

    def liveness(self, name: str) -> Liveness:
        """Whether a session exists; `unknown` when tmux gives no clear answer."""
        try:
            done = self._ask(["has-session", "-t", f"={name}"])
        except (TimeoutError, NotOurs):
            return "unknown"
        if done.code == 0:
            return "alive"
        if not _is_gone(done):
            return "unknown"
        return "no server" if _NO_SERVER.search(done.stderr) else "dead"

    def look(self, target: str) -> Snapshot | None:
        """What is in a pane right now; None when it is gone. ProtocolError when tmux gives no clear answer."""
        head = "#{pane_dead} #{pane_pid} #{pane_width} #{cursor_x} #{cursor_y} #{pane_title}"
        status = ["display-message", "-p", "-t", target, head]
        done = self._ask([*status, ";", "capture-pane", "-e", "-p", "-t", target])
        if done.code != 0:
            if _is_gone(done):
                return None
            raise ProtocolError(
                f"It is not known what is in pane {target}: tmux says {done.stderr.strip()!r}; try again"
            )
        head, _, screen = done.stdout.partition("\n")
        dead, *numbers, title = [*head.split(" ", 5), *[""] * 5][:6]
        if dead not in ("0", "1") or not all(number.isdigit() for number in numbers):
            raise ProtocolError(f"It is not known what is in pane {target}: tmux says {head!r}; try again")
        pid, width, column, row = map(int, numbers)
        return Snapshot(dead == "1", pid, title, screen, width, (column, row))

    def last_words(self, target: str) -> str:
        """All that a process which has ended has left in its pane; tmux's own line pushed the first ones upwards."""
        done = self._run(["capture-pane", "-p", "-S", "-", "-t", target])
        return "\n".join(line for line in done.stdout.split("\n") if not line.startswith("Pane is dead ("))

    def load(self, text: str, buffer: str) -> None:
        """Put a text into the tmux buffer of this name. ProtocolError.

        The text travels on standard input: it stands in no process's arguments and has no size limit. It is pasted by a
        call of its own: were we killed while we write, tmux would take what it got by then for the whole.
        """
        done = self._run(["load-buffer", "-b", buffer, "-"], stdin=text.encode("utf-8", "surrogateescape"))
        if done.code != 0:
            raise ProtocolError(f"tmux could not take the text: {done.stderr.strip()}; try again")

    def paste(self, target: str, buffer: str, *, enter: bool, lead: str | None = None) -> None:
        """Paste a loaded buffer in one piece (bracketed where the program asks for it), and press Enter if told to.

        `lead` is pasted before it, as a piece of its own. ProtocolError, TimeoutError: it may have been pasted; a
        command that a hanging server was given is done when it goes on, though its client was killed (3.3a).
        """
        first, head = ["paste-buffer", "-p", "-d", "-t", target], f"{buffer}-lead"
        command = ["set-buffer", "-b", head, "--", lead, ";", *first, "-b", head, ";"] if lead is not None else []
        command += [*first, "-b", buffer]
        if enter:
            command += [";", "send-keys", "-t", target, "Enter"]
        done = self._run(command)
        if done.code != 0:
            self._run(["delete-buffer", "-b", buffer])
            raise ProtocolError(f"tmux could not paste: {done.stderr.strip() or f'exit code {done.code}'}")

    def press(self, target: str, *keys: str) -> None:
        """Press keys, by tmux's names for them."""
        self._run(["send-keys", "-t", target, *keys])

    def press_while(self, target: str, rows: Sequence[str], cursor: tuple[int, int], *keys: str) -> bool:
        """Press keys if these rows are on the screen and the cursor is there, in one step; return whether they were."""
        return self._do_while(target, rows, cursor, f"send-keys -t '{target}' {' '.join(keys)}")

    def paste_while(self, target: str, rows: Sequence[str], cursor: tuple[int, int], buffer: str) -> bool:
        """Paste a loaded buffer if these rows are on the screen and the cursor is there; return whether it did."""
        if self._do_while(target, rows, cursor, f"paste-buffer -p -d -t '{target}' -b '{buffer}'"):
            return True
        self._run(["delete-buffer", "-b", buffer])
        return False

    def _do_while(self, target: str, rows: Sequence[str], cursor: tuple[int, int], command: str) -> bool:
        """Run a tmux command if the screen is still so. tmux looks at it and acts in one step, so that nothing that it
        has drawn in between is missed. A mode of tmux's own, which would take the keys, is left before."""
        column, row = cursor
        conditions = [f"#{{==:#{{cursor_x}},{column}}}", f"#{{==:#{{cursor_y}},{row}}}"]
        conditions += [f"#{{C/r:{pattern}}}" for pattern in _patterns(rows)]
        then = f"{command} ; display-message -p done"
        leave_mode = ["copy-mode", "-q", "-t", target, ";"]
        done = self._run([*leave_mode, "if-shell", "-F", "-t", target, _all_of(conditions), then])
        if done.code != 0:
            raise ProtocolError(f"tmux could not press a key: {done.stderr.strip()}; try again")
        return done.stdout.strip() == "done"

    def kill(self, name: str) -> None:
        """End a session with all that runs in it, and the buffer that a killed paste left; one that is gone is fine."""
        # Only a buffer that exists can be deleted.
        forget = ["set-buffer", "-b", name, "--", "x", ";", "delete-buffer", "-b", name, ";"]
        done = self._run([*forget, "kill-session", "-t", f"={name}"])
        if done.code != 0 and not _is_gone(done) and not any(words in done.stderr for words in _DYING_SERVER):
            raise ProtocolError(
                f"tmux could not end {name}: {done.stderr.strip()}; end it yourself: tmux kill-session -t ={name}"
            )

    def _ask(self, arguments: Sequence[str]) -> Completed:
        done = self._run(arguments)
        dying = done.code != 0 and any(words in done.stderr for words in _DYING_SERVER)
        return self._run(arguments) if dying else done

    def _run(self, arguments: Sequence[str], *, stdin: bytes = b"", timeout: float | None = None) -> Completed:
        if (server := self._server()) is None:
            return Completed(1, "", f"no server running on {self.path}")
        seconds = (COMMAND_TIMEOUT if timeout is None else timeout) + len(stdin) / 1e5
        return _reached(run(["tmux", *server, *arguments], stdin=stdin, timeout=seconds))

    def _server(self) -> list[str] | None:
        """Return tmux's options that name this server, or None when none of this user's can run there.

        Raises NotOurs.
        """
        named = self.socket or _socket_of(os.environ.get("TMUX", ""))
        try:
            found = own_socket(self.path)
        except NotOurs as error:
            advice = "correct that, or set TMUX_TMPDIR to a directory of your own for new sessions"
            if named and named == _socket_of(os.environ.get("TMUX", "")):
                advice = "unset TMUX to use a server of your own"
            raise NotOurs(f"The tmux server at {self.path} is not used: {error}; {advice}") from error
        # tmux itself makes the directory of its default server, or refuses another user's.
        if not named:
            return []
        return ["-S", found] if found is not None else None


def _socket_of(variable: str) -> str:
    """Return the socket in a TMUX variable: `/tmp/tmux-1000/default,4711,0`."""
    return variable.partition(",")[0]


def _all_of(conditions: Sequence[str]) -> str:
    """A format that is true when all of these are. `&&` takes two, and formats nest to a depth of 100 at most."""
    if len(conditions) == 1:
        return conditions[0]
    half = len(conditions) // 2
    return f"#{{&&:{_all_of(conditions[:half])},{_all_of(conditions[half:])}}}"


def _patterns(rows: Sequence[str]) -> list[str]:
    """Regular expressions that find rows on a screen, from the last row on as many as one tmux command takes.

    They hold nothing that a format or a regular expression could read as a sign of its own, and nothing that depends on
    the server's locale.
    """
    found: list[str] = []
    size = 0
    for row in reversed(rows):
        if row.strip():
            pattern = re.sub(r"[^\x00-\x7f]+", "\0", row.rstrip(" "))
            pattern = re.sub(r"[^A-Za-z0-9 \0]", ".", pattern).replace("\0", ".+")
            size += len(pattern)
            if size > _LONGEST_CONDITION:
                break
            found.append(f"^{pattern}$")
    return found


def _pane(line: str) -> Pane | None:
    """A line of the format `_PANE`; None when it is none."""
    match line.split("\t"):
        case [socket, pane, pid, server] if pid.isdigit() and server.isdigit():
            return Pane(socket, pane, int(pid), int(server))
    return None


def _reached(done: Completed) -> Completed:
    """An answer of tmux. InSandbox when its server may run outside of the sandbox that we are in."""
    if done.code != 0 and _UNREACHED.search(done.stderr):
        pid_namespace.require_outlasting("tmux can't be asked")
    return done


def _is_gone(done: Completed) -> bool:
    """Whether tmux itself says that there is no such thing."""
    return done.code == 1 and bool(_NO_SERVER.search(done.stderr) or _NOT_FOUND.search(done.stderr))
