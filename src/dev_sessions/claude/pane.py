"""Read and type into a session's tmux pane, only while it provably shows this session's process."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from functools import partial

from dev_sessions.attempt import Attempt
from dev_sessions.claude import session_file
from dev_sessions.claude.message import Message
from dev_sessions.claude.pane_input import PaneInput
from dev_sessions.claude.screen import (
    TypedCommand,
    box_rows,
    box_text,
    is_box_cut,
    plain,
    shows_queued_messages,
    typed_command,
)
from dev_sessions.claude.tmux import Snapshot, Tmux, session_name
from dev_sessions.claude.window_size import LONG_DIALOG_ROWS, WindowSize, is_drawn
from dev_sessions.errors import DeliveryFailed, ProtocolError, SessionLost
from dev_sessions.models import ClaudeSession
from dev_sessions.system import pid_namespace
from dev_sessions.system.deadline import Deadline, poll, wait_until
from dev_sessions.system.process import parent

#: Seconds between two polls of the screen, and where a delay matters less.
POLL_INTERVAL, SLOW_POLL_INTERVAL = 0.05, 0.2
#: Seconds for Claude to redraw its screen at another size.
_REDRAW_TIMEOUT = 5.0
#: What a terminal sends before and after a paste, and a new line in it.
_PASTE_BEGINS, _PASTE_ENDS, _LF, _CR = "\x1b[200~", "\x1b[201~", "\n", "\r"
#: The keys that end Claude in any state, each with the seconds to wait after it. Ctrl-C interrupts, clears, and has to
#: be pressed again to exit, once more if tasks run in the background; a question reacts to Escape alone (2.1.330),
#: which a terminal in between may delay by half a second.
_QUIT_KEYS = (("C-c", 0.4),) * 3 + (("Escape", 1.0),) + (("C-c", 0.4),) * 4


class AgentPane:
    """A session's pane, to be read and typed into. `attempt` is marked as begun before the first key.

    With `window_size`, a window that is too small to be read is enlarged.
    """

    def __init__(
        self, session: ClaudeSession, attempt: Attempt | None = None, window_size: WindowSize | None = None
    ) -> None:
        self._session = session
        self._window_size = window_size
        self._attempt = attempt or Attempt()
        self._tmux = Tmux(session.tmux_socket)
        self._target = session.tmux_pane or f"={session_name(session.id)}:"
        # The buffer is the same for every command: a paste that was killed leaves it, and the next one replaces it.
        self._input = PaneInput(self._tmux, self._target, session_name(session.id))

    @property
    def attach_command(self) -> str:
        """The command that attaches a person's terminal."""
        return f"dev-sessions attach {self._session.id}"

    def failure(self, what: str) -> DeliveryFailed:
        """Return the error for keys that did not have their effect, with how to see why."""
        return DeliveryFailed(what, f"attach with: {self.attach_command}")

    def snapshot(self, rows: int = 0) -> Snapshot:
        """Return the current state of the pane. Its window is enlarged if it has less than this number of rows.

        Raises SessionLost when it is gone or holds another program, ProtocolError when tmux gives no clear answer, and
        LivenessUnknown when a tmux server of another pid namespace has it.
        """
        try:
            snapshot = self._own_snapshot()
            size = self._window_size
            if size is not None and size.fit(snapshot, self._tmux, self._target, rows=rows):
                # Until it is redrawn, Claude takes a paste as in the small window, where it may not be text (2.1.332).
                wait_until(lambda: is_drawn(self._own_snapshot()), Deadline(_REDRAW_TIMEOUT), POLL_INTERVAL)
                snapshot = self._own_snapshot()
            return snapshot
        except SessionLost as error:
            if pid_namespace.place(self._session.claude_pid_domain) in ("other namespace", "other machine"):
                raise session_file.other_namespace_error(self._session) from error
            raise

    def _own_snapshot(self) -> Snapshot:
        snapshot = self._tmux.snapshot(self._target)
        if snapshot is None:
            self._require_socket()
        if snapshot is None or snapshot.process_ended:
            raise SessionLost(self._session.id, "its pane is gone")
        if self._session.claude_pid is not None and snapshot.pid != self._session.claude_pid:
            raise SessionLost(self._session.id, "its pane holds another program")
        return snapshot

    def socket_repair_command(self) -> str | None:
        """Return the command that has the tmux server recreate its socket, or None if the socket is not missing.

        Whatever cleans up /tmp may remove the socket of a live server.
        """
        socket = self._session.tmux_socket
        if socket is None or os.path.exists(socket) or (process := session_file.local_process(self._session)) is None:
            return None
        return f"{_mkdir_prefix(os.path.dirname(socket))}kill -USR1 {parent(process.pid)}"

    def _require_socket(self) -> None:
        if (command := self.socket_repair_command()) is not None:
            raise ProtocolError(
                f"The tmux server of {self._session.id} is alive, but its socket {self._session.tmux_socket} is gone;"
                f" recreate it with: {command}"
            )

    def screen_text(self) -> str:
        """Return the text on the screen."""
        return plain(self.snapshot().screen)

    def box(self, timeout: float = 0.0) -> str | None:
        """Return the text in the input box, waiting up to `timeout` seconds for a box; None if there is none."""
        return poll(self._box, Deadline(timeout), POLL_INTERVAL)

    def shows_queued_messages(self) -> bool:
        """Return whether the input box is empty and says that messages are queued."""
        return shows_queued_messages(self.snapshot().screen)

    def _box(self) -> str | None:
        screen = self.snapshot().screen
        if is_box_cut(screen):
            screen = self.snapshot(rows=LONG_DIALOG_ROWS).screen
        return box_text(screen)

    @property
    def has_begun(self) -> bool:
        """Return whether a key of this delivery has been pressed."""
        return self._attempt.has_begun

    def press_if(self, rows: Sequence[str], cursor: tuple[int, int], *keys: str) -> bool:
        """Press keys if the screen still shows these rows and this cursor; return whether they were pressed."""
        return self._attempt_press(lambda: self._input.press_if(rows, cursor, *keys))

    def paste_if(self, rows: Sequence[str], cursor: tuple[int, int], text: str) -> bool:
        """Paste a text if the screen still shows these rows and this cursor; return whether it was pasted."""
        self._input.load(text)
        return self._attempt_press(lambda: self._input.paste_if(rows, cursor))

    def _attempt_press(self, press: Callable[[], bool]) -> bool:
        """Press or paste; return whether that happened. The delivery has begun unless tmux says that it did not."""
        had_begun = self._attempt.has_begun
        self._attempt.begin()
        pressed = press()
        if not pressed and not had_begun:
            self._attempt.mark_rejected()
        return pressed

    def submit(self, expected: str) -> bool:
        """Press Enter if the input box holds exactly this text; return whether it was pressed."""
        snapshot = self.snapshot()
        if box_text(snapshot.screen) != expected:
            return False
        return self.press_if(box_rows(snapshot.screen), snapshot.cursor, "Enter")

    def typed_command(self, name: str) -> TypedCommand | None:
        """Return whether the program has the command in the input box; None if the box does not hold it."""
        return typed_command(self.snapshot().screen, name)

    def press(self, *keys: str) -> None:
        """Press keys."""
        self._attempt.begin()
        self._input.press(*keys)

    def type(self, message: Message, *, enter: bool) -> None:
        """Type a message, and press Enter if `enter` is set."""
        pieces = "".join(f"{_PASTE_BEGINS}{piece.replace(_LF, _CR)}{_PASTE_ENDS}" for piece in message.pieces)
        options = self._input.raw_paste() if pieces else ["-p"]
        self._input.load(pieces or message.typed)
        self._attempt.begin()
        self._input.paste(enter=enter, preamble=message.preamble, options=options)

    def clear_box(self) -> bool:
        """Clear the input box; return whether it is empty.

        Ctrl-U deletes the line before the cursor, and Backspace joins it with the one above. Ctrl-C and Escape clear
        the box as well, but may interrupt or end the program.
        """
        for _ in range(60):
            text = self.box(1.0)
            if not text:
                return text == ""
            self.press("C-e", *(["C-u", "BSpace"] * (text.count("\n") + 1)))
            wait_until(partial(self._box_differs, text), Deadline(0.5), POLL_INTERVAL)
        return False

    def quit(self) -> None:
        """Have Claude end itself, if keys can do that; it may have ended already."""
        for key, seconds in _QUIT_KEYS:
            if self._has_ended():
                return
            self.press(key)
            wait_until(self._has_ended, Deadline(seconds), POLL_INTERVAL)

    def _has_ended(self) -> bool:
        try:
            self.snapshot()
        except SessionLost:
            return True
        return False

    def _box_differs(self, text: str) -> bool:
        return self.box() != text


def _mkdir_prefix(folder: str) -> str:
    """Return the beginning of a shell command that creates a missing folder, or "".

    It fails if another user creates the folder first; `mkdir -p` would silently use theirs.
    """
    if os.path.isdir(folder):
        return ""
    parent = os.path.dirname(folder)
    above = "" if os.path.isdir(parent) else f"mkdir -p {shlex.quote(parent)} && "
    return f"{above}mkdir -m 700 {shlex.quote(folder)} && "
