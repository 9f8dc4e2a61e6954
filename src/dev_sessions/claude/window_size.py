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
#: The least rows and columns of an enlarged pane, and the greatest size of a window. The pane has another width each
#: time: when a window grows, tmux joins the parts of wrapped rows again, and only a rule of a new width is certainly
#: drawn since then. So a counter modulo 50 is added.
_ROWS, _COLUMNS, _MAX_SIZE, _WIDTH_COUNTS = 50, 201, 9000, 50
#: Rows for a dialog that is longer than the window, such as a request with a long command or a plan.
LONG_DIALOG_ROWS = 500
_WIDTH_COUNTER_OPTION = "@dev_sessions_turn"
#: The window, whether a pane is zoomed, the layout of the panes, their number, and the sizes of the window and of
#: Claude's pane.
_FORMAT = (
    "#{window_id} #{window_zoomed_flag} #{window_layout} #{window_panes} #{window_width} #{window_height} #{pane_width}"
    " #{pane_height}"
)


class WindowSize:
    """The size of a session's window during one command. Only one command at a time may enlarge a window.

    A command that does not hold the sender lock of the session names it as `lock`; while another has it, the window is
    left as it is.
    """

    def __init__(self, lock: Path | None = None) -> None:
        self._lock = lock
        self._cleanup = contextlib.ExitStack()
        self._rows = 0
        #: The window that was enlarged; a person may move the pane into another one.
        self._window = ""

    def fit(self, snapshot: Snapshot, tmux: Tmux, target: str, *, rows: int = 0) -> bool:
        """Enlarge the window of a pane that may be too small for what Claude Code draws; return whether it was.

        `rows` is the number of rows that are needed, if more than usual. If tmux refuses, or the lock can't be had, the
        window is left as it is. Raises TimeoutError when tmux hangs.
        """
        from dev_sessions.claude.menus import is_cut

        if is_cut(snapshot.screen, snapshot.width, snapshot.height):
            rows = max(rows, LONG_DIALOG_ROWS)
        is_small = snapshot.width < _MIN_WIDTH or snapshot.height < max(_MIN_HEIGHT, rows)
        rows = max(rows, _ROWS)
        if self._rows >= rows or not (is_small or snapshot.is_enlarged):
            return False
        if self._rows == 0:
            self._rows = _MAX_SIZE
            try:
                if self._lock is not None:
                    self._cleanup.enter_context(locked(self._lock, 0))
            except OSError:
                return False
            # If it is enlarged already, that command was killed.
            self._cleanup.callback(lambda: _restore(tmux, self._window or target))
        self._rows = rows
        try:
            if is_small:
                self._window = _enlarge(tmux, target, rows)
        except (ProtocolError, ValueError):
            return False
        return is_small

    def restore(self) -> None:
        """Restore the window if it was enlarged."""
        with contextlib.suppress(ProtocolError, TimeoutError, ValueError):
            self._cleanup.close()


def is_drawn(snapshot: Snapshot) -> bool:
    """Return whether Claude has drawn its screen at its present width: its box and its dialogs have rules of that."""
    return any(row in [rule * snapshot.width for rule in "─▔╌"] for row in rows(snapshot.screen))


def _enlarge(tmux: Tmux, target: str, rows: int) -> str:
    """Give a pane at least 200 columns and so many rows, until `_restore` of its window, which is returned.

    Raises ProtocolError, and ValueError when tmux's answer is not understood.

    The window grows, and its panes with it. Zooming the pane would make it the active one, which gets what a person is
    typing in the pane beside it.
    """
    window = ["-t", target]
    # A resize in one of tmux's modes can hang the whole server (customize mode, 3.3a).
    leave_mode = ["copy-mode", "-q", *window, ";"]
    # The value of its own, if the window has one, is on a line of its own.
    state, kept, last, *own_size = tmux.output(
        *[*leave_mode, "display-message", "-p", *window, _FORMAT],
        *[";", "display-message", "-p", *window, f"#{{{RESTORE_OPTION}}}"],
        *[";", "display-message", "-p", *window, f"#{{{_WIDTH_COUNTER_OPTION}}}"],
        *[";", "show-options", "-w", "-q", "-v", *window, "window-size"],
    )
    window_id, zoomed, layout, *numbers = state.split(" ")
    window = ["-t", window_id]
    panes, width, height, pane_width, pane_height = map(int, numbers)
    counter = (int(last) + 1) % _WIDTH_COUNTS if last.isdigit() else 0
    # tmux gives each pane of a row or a column the same part of what is added.
    columns = width + panes * (max(_COLUMNS, pane_width + 1) + counter - pane_width)
    lines = height + panes * max(rows - pane_height, 0)
    command = [["resize-window", *window, "-x", str(min(columns, _MAX_SIZE)), "-y", str(min(lines, _MAX_SIZE))]]
    command += [["set-option", "-w", *window, _WIDTH_COUNTER_OPTION, str(counter)]]
    restore = [["set-option", "-w", "-u", *window, "window-size"]]
    if own_size:
        restore = [["resize-window", *window, "-x", str(width), "-y", str(height)]]
        restore += [["set-option", "-w", *window, "window-size", own_size[0]]]
    if panes > 1 and zoomed == "0":
        restore += [["select-layout", *window, layout]]
    if not kept:
        command = [["set-option", "-w", *window, RESTORE_OPTION, json.dumps(restore)], *command]
    tmux.output(*_sequence(command))
    return window_id


def _restore(tmux: Tmux, target: str) -> None:
    """Undo `_enlarge`, also that of a killed command. What its viewers have changed meanwhile is left."""
    (kept,) = tmux.output("display-message", "-p", "-t", target, f"#{{{RESTORE_OPTION}}}")
    if kept:
        tmux.output(*_sequence([["set-option", "-w", "-u", "-t", target, RESTORE_OPTION], *_commands(kept)]))


def _commands(kept: str) -> list[list[str]]:
    """Return the commands that `_enlarge` has kept; none if the option holds anything else."""
    try:
        found = json.loads(kept)
    except (ValueError, RecursionError):
        return []
    is_valid = isinstance(found, list) and all(isinstance(words, list) and words for words in found)
    return found if is_valid and all(isinstance(word, str) for words in found for word in words) else []


def _sequence(commands: list[list[str]]) -> list[str]:
    """Return commands of tmux as the arguments of one call."""
    return [word for command in commands for word in (*command, ";")][:-1]
