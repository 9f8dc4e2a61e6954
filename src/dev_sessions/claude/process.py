"""The Claude process of one session: its session file, its transcript, its pane, and what it does right now.

Asked in this order: the session file (`session_file`), the transcript (`transcript_file`), and the terminal only where
neither can tell (`terminal_state`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dev_sessions.attempt import Attempt
from dev_sessions.claude import session_file
from dev_sessions.claude.pane import AgentPane
from dev_sessions.claude.session_file import SessionFile
from dev_sessions.claude.tmux import Tmux, session_name
from dev_sessions.claude.transcript_file import find_transcript
from dev_sessions.errors import ProcessesUnseen, ProtocolError, SessionLost
from dev_sessions.models import ClaudeSession, FieldChanges

if TYPE_CHECKING:
    from dev_sessions.claude.terminal_state import TerminalState

_GONE = {"dead": "its tmux session is gone", "no server": "its tmux server is gone"}


class ClaudeProcess:
    """What is known of a session's Claude. `session` is its record, which a send replaces by a newer one."""

    def __init__(self, session: ClaudeSession) -> None:
        self.session = session
        self.config_dir = session_file.config_dir(session)
        self._terminal_state: TerminalState | None = None

    def pane(self, attempt: Attempt | None = None) -> AgentPane:
        """Return its pane. `attempt` is told before the first key of a delivery."""
        return AgentPane(self.session, attempt)

    def state(self) -> SessionFile:
        """Return what the living process does right now, as its session file says it, or as its terminal shows it.

        Raises SessionLost, MovedToBackground, ProcessesUnseen.
        """
        found = self.require_here()
        if found is not None and found.status is not None:
            return found
        if self._terminal_state is None:
            from dev_sessions.claude.terminal_state import TerminalState

            self._terminal_state = TerminalState(self.session, self.config_dir)
        return self._terminal_state.complete(found)

    def require_here(self) -> SessionFile | None:
        """Return the session file of the process that has the conversation, None where that leaves none here.

        Raises MovedToBackground when the pane does not show it, and what `require_alive` raises.
        """
        try:
            found = self.require_alive()
        except SessionLost:
            from dev_sessions.claude import background

            background.require_over(self.session)
            raise
        if found is None or (found.parked is None and found.job is None):
            return found
        from dev_sessions.claude import background

        return background.shown(self.session, found)

    def require_alive(self) -> SessionFile | None:
        """Return the session file of the living process, None where its container leaves none here.

        Raises SessionLost, saying what is gone, and ProcessesUnseen. An unclear answer of tmux counts as alive: nothing
        is given up on a guess.
        """
        session = self.session
        found = session_file.of(session)
        if session.process is not None:
            if session_file.lives(session, session.process):
                return found
        elif found is not None and session.mode == "native":
            return found
        else:
            session_file.require_seen(session)
        liveness = Tmux(session.tmux_socket).liveness(session_name(session.id))
        if session.claude_pid is None and liveness in ("alive", "unknown"):
            return found
        raise SessionLost(session.id, _GONE.get(liveness, "its Claude process has ended"))

    def conversation(self) -> str:
        """Return the id of the conversation in which the session is now: /clear begins another one."""
        session = self.session
        try:
            found = session_file.of(session)
        except ProcessesUnseen:
            return session_file.last_session_id(session)
        if found is None or found.parked is not None or found.job is not None:
            from dev_sessions.claude import background

            if (job := background.find(session, found)) is not None:
                return job.conversation
        began = found.session_id if found is not None else session.internal_id
        if found is not None and found.status is not None:
            return began
        from dev_sessions.claude.terminal_state import conversation

        return conversation(self.config_dir, began, session.created_at)

    def changed_fields(self) -> FieldChanges:
        """Return what /clear has changed: the same process goes on under another session id."""
        current = self.conversation()
        return {"internal_id": current} if current != self.session.internal_id else {}

    def transcript(self) -> Path | None:
        """Return the transcript of the conversation; None while nothing is written."""
        return find_transcript(self.config_dir, self.conversation())

    def require_transcript(self) -> Path | None:
        """Return the same. Raises ProtocolError when it is missing though a message was in it."""
        session, transcript = self.session, self.transcript()
        sent = session.claude_send_digest is not None and session.claude_send_command is None
        if transcript is None and sent and session.claude_send_transcript == self.conversation():
            where = self.config_dir / "projects"
            never = "" if session.claude_send_offset else " (or none was ever written: no message has arrived)"
            raise ProtocolError(
                f"The transcript of {session.id} is missing: {session.claude_send_transcript}.jsonl below"
                f" {where}{never}; put it back, or look: {self.pane().attach}"
            )
        return transcript
