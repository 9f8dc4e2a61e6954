"""Enlarge the window of a session while its screen is read or typed into, and give it back to its viewers.

A window has the size of the terminal that shows it (tmux's `window-size`), and panes beside Claude's take their part:
on a phone or in a narrow split Claude Code draws neither its box nor a dialog whole. While a window is enlarged, who
looks at it sees a part of it. What has to be restored is an option of the window, so that the next command can restore
it when this one is killed.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from dev_sessions.claude.screen import rows
from dev_sessions.claude.tmux import RESTORE_OPTION, Snapshot, Tmux
from dev_sessions.errors import ProtocolError
from dev_sessions.system.file_locks import locked

#: The least size at which Claude Code draws its box and its dialogs readably, and takes a message of three lines for
#: typed text (2.1.332).
_MIN_WIDTH, _MIN_HEIGHT = 40, 12
#: The rows and the least columns of an enlarged window. It has another width each time: when a window grows, tmux joins
#: the parts of wrapped rows again, and only a rule of a new width is certainly drawn since then.
_ROWS, _COLUMNS, _WIDTHS = 50, 201, 50
_WIDTH_OPTION = "@dev_sessions_width"
#: Whether a pane is zoomed, how many there are, the active one, this one, their layout, and the window's size.
_FORMAT = (
    "#{window_zoomed_flag} #{window_panes} #{P:#{?pane_active,#{pane_id},}} #{pane_id} #{window_layout}"
    " #{window_width} #{window_height}"
)


class WindowSize:
    """The size of a session's window during one command. Only one command at a time may enlarge a window.

    A command that does not hold the sender lock of the session names it as `lock`; while another has it, the window is
    left as it is.
    """

    def __init__(self, lock: Path | None = None) -> None:
        self._lock = lock
        self._cleanup = contextlib.ExitStack()
        self._is_done = False

    def fit(self, snapshot: Snapshot, tmux: Tmux, target: str) -> bool:
        """Enlarge the window of a pane that may be too small for what Claude Code draws; return whether it was."""
        is_small = snapshot.width < _MIN_WIDTH or snapshot.height < _MIN_HEIGHT
        if self._is_done or not (is_small or snapshot.is_enlarged):
            return False
        self._is_done = True
        try:
            if self._lock is not None:
                self._cleanup.enter_context(locked(self._lock, 0))
        except TimeoutError:
            return False
        # If it is enlarged already, that command was killed.
        self._cleanup.callback(_restore, tmux, target)
        if is_small:
            _enlarge(tmux, target)
        return is_small

    def restore(self) -> None:
        """Restore the window if it was enlarged."""
        with contextlib.suppress(ProtocolError, TimeoutError):
            self._cleanup.close()


def is_drawn(snapshot: Snapshot) -> bool:
    """Return whether Claude has drawn its screen at its present width: its box and its dialogs have rules of that."""
    return any(row in ("─" * snapshot.width, "▔" * snapshot.width) for row in rows(snapshot.screen))


def _enlarge(tmux: Tmux, target: str) -> None:
    """Give a pane more than 200 columns, until `_restore`. Raises ProtocolError."""
    window = ["-t", target]
    # The value of its own, if the window has one, is on a line of its own.
    state, kept, last, *own_size = tmux.ask(
        *["display-message", "-p", *window, _FORMAT, ";", "display-message", "-p", *window, f"#{{{RESTORE_OPTION}}}"],
        *[";", "display-message", "-p", *window, f"#{{{_WIDTH_OPTION}}}"],
        *[";", "show-options", "-w", "-q", "-v", *window, "window-size"],
    )
    zoomed, count, active, pane, layout, width, height = state.split(" ")
    alone, shown = int(count) == 1, zoomed == "1" and active == pane
    unzoom = ["resize-pane", "-Z", *window]
    command: list[list[str]] = []
    restore: list[list[str]] = []
    if not alone and not shown:
        command += [unzoom] * (2 if zoomed == "1" else 1)
        restore += [unzoom]
    columns = str(_COLUMNS + (int(last) + 1 - _COLUMNS) % _WIDTHS if last.isdigit() else _COLUMNS)
    command += [["resize-window", *window, "-x", columns, "-y", str(_ROWS)]]
    command += [["set-option", "-w", *window, _WIDTH_OPTION, columns]]
    if own_size:
        restore += [["resize-window", *window, "-x", width, "-y", height]]
        restore += [["set-option", "-w", *window, "window-size", own_size[0]]]
    else:
        restore += [["set-option", "-w", "-u", *window, "window-size"]]
    if not alone and not shown:
        restore += [["select-layout", *window, layout], ["select-pane", "-t", active]]
        restore += [["resize-pane", "-Z", "-t", active]] if zoomed == "1" else []
    if not kept:
        command = [["set-option", "-w", *window, RESTORE_OPTION, json.dumps(restore)], *command]
    tmux.ask(*_sequence(command))


def _restore(tmux: Tmux, target: str) -> None:
    """Undo `_enlarge`, also that of a killed command. What its viewers have changed meanwhile is left."""
    (kept,) = tmux.ask("display-message", "-p", "-t", target, f"#{{{RESTORE_OPTION}}}")
    if kept:
        tmux.ask(*_sequence([["set-option", "-w", "-u", "-t", target, RESTORE_OPTION], *json.loads(kept)]))


def _sequence(commands: list[list[str]]) -> list[str]:
    """Return commands of tmux as the arguments of one call."""
    return [word for command in commands for word in (*command, ";")][:-1]
