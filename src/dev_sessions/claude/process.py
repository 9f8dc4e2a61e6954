"""The Claude process of a session: its session file, transcript, pane and current state.

The state comes from the session file (`session_file`), then the transcript (`transcript_file`), and from the terminal
only if neither has it (`terminal_state`). All files may lag behind the last message: `wait.TurnWait` compares them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dev_sessions.attempt import Attempt
from dev_sessions.claude import session_file
from dev_sessions.claude.session_file import SessionFile
from dev_sessions.claude.transcript_file import find_transcript
from dev_sessions.errors import LivenessUnknown, ProtocolError, SessionLost
from dev_sessions.models import ClaudeSession, FieldChanges

if TYPE_CHECKING:
    from dev_sessions.claude.pane import AgentPane
    from dev_sessions.claude.terminal_state import TerminalState
    from dev_sessions.claude.window_size import WindowSize

_LOST_REASONS = {"dead": "its tmux session is gone", "no server": "its tmux server is gone"}


class ClaudeProcess:
    """A session's Claude process. `session` is its record, which a send replaces by a newer one."""

    def __init__(self, session: ClaudeSession) -> None:
        self.session = session
        self.config_dir = session_file.config_dir(session)
        self._terminal_state: TerminalState | None = None
        self._window_size: WindowSize | None = None

    def use_record(self, session: ClaudeSession) -> None:
        """Continue with a record that was stored since: the terminal is interpreted by the last message in it."""
        self.session = session
        self._terminal_state = None

    def pane(self, attempt: Attempt | None = None) -> AgentPane:
        """Return its pane. `attempt` is marked as begun before the first key."""
        from dev_sessions.claude.pane import AgentPane

        return AgentPane(self.session, attempt, self._window_size)

    @contextlib.contextmanager
    def readable_window(self, lock: Path | None = None) -> Iterator[None]:
        """While the context lasts, enlarge the window if its screen is too small to be read; see `window_size`.

        `lock` is the sender lock of the session if this command does not hold it.
        """
        from dev_sessions.claude.window_size import WindowSize

        self._window_size = WindowSize(lock)
        try:
            yield
        finally:
            self._window_size.restore()
            self._window_size = None

    def state(self) -> SessionFile:
        """Return the state that the live process reports in its session file, else the one its terminal shows.

        Raises SessionLost, MovedToBackground, LivenessUnknown.
        """
        found = self.require_foreground()
        if found is not None and found.status is not None:
            return found
        if self._terminal_state is None:
            from dev_sessions.claude.terminal_state import TerminalState

            self._terminal_state = TerminalState(self.session, self.config_dir)
        return self._terminal_state.current(found)

    def require_foreground(self) -> SessionFile | None:
        """Return the session file of the process that has the conversation, or None if it is not visible here.

        Raises MovedToBackground when the pane does not show the conversation, and what `require_alive` raises.
        """
        try:
            found = self.require_alive()
        except SessionLost:
            from dev_sessions.claude import background

            background.require_ended(self.session)
            raise
        if found is None or (found.parked_job_id is None and found.job is None):
            return found
        from dev_sessions.claude import background

        return background.foreground_state(self.session, found)

    def require_alive(self) -> SessionFile | None:
        """Return the session file of the live process, or None if it is not visible here.

        Raises SessionLost, naming what is gone, and LivenessUnknown. If tmux gives no clear answer, the process counts
        as alive: a session is never given up on a guess.
        """
        session = self.session
        found = session_file.for_session(session)
        if session.process is not None:
            if session_file.is_process_alive(session, session.process):
                return found
        elif found is not None and session.mode == "native":
            return found
        else:
            session_file.require_visible(session)
        from dev_sessions.claude.tmux import Tmux, session_name

        liveness = Tmux(session.tmux_socket).liveness(session_name(session.id))
        if session.claude_pid is None and liveness in ("alive", "unknown"):
            return found
        raise SessionLost(session.id, _LOST_REASONS.get(liveness, "its Claude process has ended"))

    def conversation_id(self) -> str:
        """Return the id of the current conversation: /clear begins a new one."""
        session = self.session
        try:
            found = session_file.for_session(session)
        except LivenessUnknown:
            return session_file.last_session_id(session)
        if found is None or found.parked_job_id is not None or found.job is not None:
            from dev_sessions.claude import background

            if (job := background.find(session, found)) is not None:
                return job.conversation
        session_id = found.session_id if found is not None else session.internal_id
        if found is not None and found.status is not None:
            return session_id
        from dev_sessions.claude.terminal_state import current_conversation

        return current_conversation(self.config_dir, session_id, session.created_at)

    def changed_fields(self) -> FieldChanges:
        """Return the record's fields that /clear has changed: the process continues under another session id."""
        current = self.conversation_id()
        return {"internal_id": current} if current != self.session.internal_id else {}

    def transcript(self) -> Path | None:
        """Return the transcript of the current conversation, or None while nothing is written."""
        return find_transcript(self.config_dir, self.conversation_id())

    def require_transcript(self) -> Path | None:
        """Return the transcript. Raises ProtocolError when it is missing although a message was written to it."""
        session, transcript = self.session, self.transcript()
        sent = session.claude_send_digest is not None and session.claude_send_command is None
        if transcript is None and sent and session.claude_send_transcript == self.conversation_id():
            where = self.config_dir / "projects"
            never = "" if session.claude_send_offset else " (or never existed, because no message has arrived)"
            raise ProtocolError(
                f"The transcript of {session.id} is missing: {session.claude_send_transcript}.jsonl in a folder of"
                f" {where}{never}; restore it, or attach with: {self.pane().attach_command}"
            )
        return transcript
