"""Open the windows of tmux in which agents run: with a size, a history and options that a user's configuration may not
have, and left in place when the agent ends, so that its output can be read."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

from dev_sessions.claude.tmux import (
    CLOSED_BY_TMUX,
    PANE_FORMAT,
    PLACEHOLDER,
    Pane,
    Tmux,
    failed,
    is_dying,
    is_gone,
    parse_pane,
)
from dev_sessions.errors import ProtocolError
from dev_sessions.system.deadline import Deadline, wait_until
from dev_sessions.system.programs import Completed

#: Seconds for a server to exit once it has begun to; on a busy machine more than one.
_EXIT_TIMEOUT = 5.0
#: The first version in which a global `window-size manual` is harmless.
_FIRST_WITH_MANUAL_SIZE = (3, 8)
#: Lines that tmux keeps of a session; one of 190 coloured characters takes 5 KB of its memory (3.3a).
_MAX_HISTORY = 10_000
#: The size of a new session's window, as options of tmux.
_SIZE = ("-x", "200", "-y", "50")


class NameTaken(Exception):
    """Raised when a tmux session of this name exists."""


class UnknownAnswer(ProtocolError):
    """Raised when tmux did as it was told, but its answer is not understood."""


def new_session(tmux: Tmux, name: str, argv: Sequence[str], path: str) -> Pane:
    """Start a detached session that runs `argv`, and return its pane.

    Raises NameTaken, or ProtocolError with tmux's own message.
    """
    opening = ["new-session", "-d", "-s", name, *_SIZE]
    history_limit = _require_usable_options(tmux)
    try:
        if history_limit is not None and history_limit <= _MAX_HISTORY:
            return _open(tmux, opening, f"={name}:", argv, path)
        return _open_with_bounded_history(tmux, opening, name, argv, path)
    except UnknownAnswer:
        tmux.kill(name)
        raise


def _open_with_bounded_history(tmux: Tmux, opening: Sequence[str], name: str, argv: Sequence[str], path: str) -> Pane:
    """Open a session as `_open` does, with a window that replaces a first one: only then is its option in force."""
    # With the agent's last word it is found as what was started for it (`list_panes`).
    placeholder = _open(tmux, opening, f"={name}:", [*PLACEHOLDER, argv[-1]], path, _bound_history)
    done = tmux.query(["display-message", "-p", "-t", placeholder.id, "#{window_id}"])
    window = done.stdout.strip()
    if not window:
        raise (
            ProtocolError(CLOSED_BY_TMUX) if _is_closed(tmux, done) else failed("tmux could not start a session", done)
        )
    try:
        return _open(tmux, ["new-window", "-k", "-t", window], f"={name}:", argv, path)
    except ProtocolError:
        with contextlib.suppress(ProtocolError):
            tmux.kill_pane(placeholder.id)
        raise


def new_window(tmux: Tmux, name: str, argv: Sequence[str], path: str) -> Pane:
    """Start a window that runs `argv` in an existing session, and return its pane. Raises ProtocolError."""
    _require_usable_options(tmux)
    return _open(tmux, ["new-window", "-t", f"={name}:"], f"={name}:", argv, path)


def _open(
    tmux: Tmux,
    opening: Sequence[str],
    window: str,
    argv: Sequence[str],
    path: str,
    options: Callable[[str], list[str]] | None = None,
) -> Pane:
    """Run a command of tmux that opens a window for `argv` (at least two words, so that no shell sees them).

    `options` returns the command that sets the options of a window. By default, the pane stays after the process has
    ended, so that its output can be read, until `close_on_exit` is called.
    """
    set_options = options or _keep
    # tmux expands formats in the start directory, where "##" is a plain "#", and takes a ";" at the end of any
    # argument as a command separator.
    where = path.replace("#", "##")
    where = f"{where[:-1]}\\;" if where.endswith(";") else where
    format_ = f"{PANE_FORMAT}\t#{{exit-unattached}}"
    command = [*opening, "-P", "-F", format_, "-c", where, "--", *argv]
    done = tmux.query([*command, ";", *set_options(window)])
    if "duplicate session" in done.stderr:
        raise NameTaken(window)
    place, _, exits = done.stdout.partition("\n")[0].rpartition("\t")
    pane = parse_pane(place)
    if exits == "1":
        raise ProtocolError(
            "tmux can't keep a session: its option exit-unattached ends the server when nobody is attached; turn it"
            " off in your tmux.conf, and in a running server with: tmux set-option -s exit-unattached off"
        )
    if pane is not None and done.code != 0:  # a hook may have renamed or closed it before the options were set
        done = tmux.run(set_options(pane.id))
    if (pane is None or done.code != 0) and _is_closed(tmux, done):
        raise ProtocolError(CLOSED_BY_TMUX)
    if done.code != 0:
        raise failed("tmux could not start a session", done, "check that tmux works: tmux")
    if pane is None:  # a tmux that can't make its socket prints why, and exits with 0 (3.3a)
        output = (done.stdout + done.stderr).strip() or "nothing"
        raise UnknownAnswer(f"tmux could not start a session: it printed {output}; check that tmux works: tmux")
    return pane


def _require_usable_options(tmux: Tmux) -> int | None:
    """Return the running server's history-limit, or None if that is unknown.

    Raises ProtocolError if a new window would crash the server, with all that runs in it (3.3a, 3.5a).
    """
    done = tmux.run(["show-options", "-g", "-w", "-v", "window-size", ";", "show-options", "-g", "-v", "history-limit"])
    window_size, _, history_limit = done.stdout.strip().partition("\n")
    if window_size == "manual" and tmux.client_version() < _FIRST_WITH_MANUAL_SIZE:
        raise ProtocolError(
            "tmux's option window-size is manual, with which this version crashes when a window is opened; set"
            " another in your tmux.conf, and in the running server with: tmux set-option -gw window-size latest"
        )
    return int(history_limit) if history_limit.isdigit() else None


def close_on_exit(tmux: Tmux, target: str) -> None:
    """Have the pane close when its process exits, but stay with its output when that fails or is killed.

    Raises ProtocolError when the pane is gone, or tmux gives no clear answer.
    """
    done = tmux.run(["set-option", "-w", "-t", target, "remain-on-exit", "failed"])
    if done.code != 0:
        printed = f"tmux could not set an option: it printed {done.stderr.strip()!r}; try again"
        raise ProtocolError(CLOSED_BY_TMUX if _is_closed(tmux, done) else printed)


def _is_closed(tmux: Tmux, done: Completed) -> bool:
    """Return whether the session that a failed command was for is gone, or its server, which takes a moment to exit."""
    # A server that no client understands runs on. Of one that exits, a client may say nothing (3.3a), or that it has no
    # session (3.8), and exit with 0.
    if is_dying(done) or (done.code == 0 and (done.stdout + done.stderr).strip() in ("", "no current target")):
        return wait_until(lambda: tmux.liveness("") == "no server", Deadline(_EXIT_TIMEOUT), 0.05)
    return is_gone(done)


def _keep(window: str) -> list[str]:
    """Return the tmux command that has a new window keep its size and its output, and its session live unattached."""
    target = ["-t", window]
    # Clients of other sessions and a user's `default-size` would decide otherwise, with some values of `window-size`;
    # from now on it is for the clients of this session.
    command = ["resize-window", *target, *_SIZE, ";", "set-option", "-w", "-u", *target, "window-size"]
    command += [";", "set-option", "-w", *target, "remain-on-exit", "on"]
    return [*command, ";", *_stay_unattached(target)]


def _bound_history(window: str) -> list[str]:
    """Return the tmux command that bounds the history of a session's further windows, and has it live unattached."""
    target = ["-t", window]
    return [*_stay_unattached(target), ";", "set-option", *target, "history-limit", str(_MAX_HISTORY)]


def _stay_unattached(target: Sequence[str]) -> list[str]:
    # tmux looks at this option when a client is gone: at the earliest, after this command.
    return ["set-option", *target, "destroy-unattached", "off"]
