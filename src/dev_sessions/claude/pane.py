"""The pane of one session: looked at and typed into only while it is provably this session's."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from functools import partial

from dev_sessions.attempt import Attempt
from dev_sessions.claude import session_file
from dev_sessions.claude.message import Message
from dev_sessions.claude.screen import TypedCommand, box_rows, box_text, plain, typed_command
from dev_sessions.claude.tmux import Snapshot, Tmux, session_name
from dev_sessions.errors import ProtocolError, SessionLost
from dev_sessions.models import ClaudeSession
from dev_sessions.system import pid_namespace
from dev_sessions.system.deadline import Deadline, poll
from dev_sessions.system.process import parent

#: Seconds between two looks at the screen.
POLL_INTERVAL = 0.05
#: What ends Claude, whatever it does, with the seconds to wait after each key: Ctrl-C interrupts, clears, asks to be
#: pressed again, and again where tasks run in the background; a question takes Escape alone (2.1.330), which a terminal
#: on the way may hold back for half a second.
_LEAVE = (("C-c", 0.4),) * 3 + (("Escape", 1.0),) + (("C-c", 0.4),) * 4


def attach_command(socket: str | None, session_id: str) -> str:
    """The command with which a person looks into a session themselves."""
    server = f" -S {socket}" if socket else ""
    return f"tmux{server} attach -t ={session_name(session_id)}"


class AgentPane:
    """What a person at the terminal could do with a session. `attempt` is told before the first key of a delivery."""

    def __init__(self, session: ClaudeSession, attempt: Attempt | None = None) -> None:
        self._session = session
        self._attempt = attempt or Attempt()
        self._tmux = Tmux(session.tmux_socket)
        self._target = session.tmux_pane or f"={session_name(session.id)}:"
        # A paste that was killed leaves it to the next one.
        self._buffer = session_name(session.id)

    @property
    def attach(self) -> str:
        """The command with which a person looks for themselves."""
        return attach_command(self._session.tmux_socket, self._session.id)

    def look(self) -> Snapshot:
        """The pane as it is now. SessionLost when it is gone, or holds another program; ProtocolError when tmux does
        not tell; ProcessesUnseen when it is not the tmux of this pid namespace that has it."""
        try:
            return self._look()
        except SessionLost as error:
            if pid_namespace.place(self._session.claude_pid_domain) in ("other namespace", "other machine"):
                raise session_file.runs_elsewhere(self._session) from error
            raise

    def _look(self) -> Snapshot:
        look = self._tmux.look(self._target)
        if look is None:
            self._require_socket()
        if look is None or look.process_ended:
            raise SessionLost(self._session.id, "its pane is gone")
        if self._session.claude_pid is not None and look.pid != self._session.claude_pid:
            raise SessionLost(self._session.id, "its pane holds another program")
        return look

    def new_socket(self) -> str | None:
        """What has the tmux server make another socket, when only that is gone: whoever sweeps /tmp may take it, and
        the server lives on."""
        socket = self._session.tmux_socket
        if socket is None or os.path.exists(socket) or (process := session_file.process_here(self._session)) is None:
            return None
        return f"{_make_folder(os.path.dirname(socket))}kill -USR1 {parent(process.pid)}"

    def _require_socket(self) -> None:
        if (command := self.new_socket()) is not None:
            raise ProtocolError(
                f"The tmux server of {self._session.id} lives, but its socket {self._session.tmux_socket} is gone; have"
                f" it make another: {command}"
            )

    def shown(self) -> str:
        """The text on the screen."""
        return plain(self.look().screen)

    def box(self, patience: float = 0.0) -> str | None:
        """What stands in the input box, waiting so many seconds for one to be drawn; None when there is none."""
        return poll(lambda: box_text(self.look().screen), Deadline(patience), POLL_INTERVAL)

    @property
    def has_begun(self) -> bool:
        """Whether a key of this delivery has been pressed."""
        return self._attempt.has_begun

    def press_while(self, rows: Sequence[str], cursor: tuple[int, int], *keys: str) -> bool:
        """Press keys if the screen still shows these rows and the cursor is there; return whether they were pressed."""
        return self._begun_if(lambda: self._tmux.press_while(self._target, rows, cursor, *keys))

    def paste_while(self, rows: Sequence[str], cursor: tuple[int, int], text: str) -> bool:
        """Paste a text if the screen still shows these rows and the cursor is there; return whether it was pasted."""
        self._tmux.load(text, self._buffer)
        return self._begun_if(lambda: self._tmux.paste_while(self._target, rows, cursor, self._buffer))

    def _begun_if(self, press: Callable[[], bool]) -> bool:
        """Press, and return whether that was done; a first key counts as pressed unless tmux says that it was not."""
        had_begun = self._attempt.has_begun
        self._attempt.begin()
        pressed = press()
        if not pressed and not had_begun:
            self._attempt.refused()
        return pressed

    def submit(self, expected: str) -> bool:
        """Press Enter if the input box still holds exactly a text; return whether it was pressed."""
        look = self.look()
        if box_text(look.screen) != expected:
            return False
        return self.press_while(box_rows(look.screen), look.cursor, "Enter")

    def typed_command(self, name: str) -> TypedCommand | None:
        """Tell whether the program has the command that was typed; None when it is not in the input box."""
        return typed_command(self.look().screen, name)

    def press(self, *keys: str) -> None:
        """Press keys."""
        self._attempt.begin()
        self._tmux.press(self._target, *keys)

    def type(self, message: Message, *, enter: bool) -> None:
        """Type a message, and press Enter if told to."""
        self._tmux.load(message.typed, self._buffer)
        self._attempt.begin()
        self._tmux.paste(self._target, self._buffer, enter=enter, lead=message.lead)

    def clear_box(self) -> bool:
        """Empty the input box, whatever is in it; whether it is empty now.

        Ctrl-U takes the line before the cursor, Backspace joins it with the one above: unlike Ctrl-C and Escape, which
        clear too, they never interrupt and never end the program.
        """
        for _ in range(60):
            text = self.box(1.0)
            if not text:
                return text == ""
            self.press("C-e", *(["C-u", "BSpace"] * (text.count("\n") + 1)))
            poll(partial(self._differs, text), Deadline(0.5), POLL_INTERVAL)
        return False

    def leave(self) -> None:
        """Have Claude end itself, as far as keys do that; one that has ended is fine."""
        for key, seconds in _LEAVE:
            if self._has_ended():
                return
            self.press(key)
            poll(lambda: self._has_ended() or None, Deadline(seconds), POLL_INTERVAL)

    def _has_ended(self) -> bool:
        try:
            self.look()
        except SessionLost:
            return True
        return False

    def _differs(self, text: str) -> bool | None:
        return self.box() != text or None


def _make_folder(folder: str) -> str:
    """Return a command for a shell, to go before others, that makes a folder which is not there.

    It fails where another user was faster: `mkdir -p` would take that one's folder without a word.
    """
    if os.path.isdir(folder):
        return ""
    parent = os.path.dirname(folder)
    above = "" if os.path.isdir(parent) else f"mkdir -p {shlex.quote(parent)} && "
    return f"{above}mkdir -m 700 {shlex.quote(folder)} && "
