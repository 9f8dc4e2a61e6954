"""The backend for Claude Code, which runs in a tmux pane and is read by its files.

A session's state comes from its session file (`session_file`), then its transcript (`transcript`), and from tmux only
if neither has it.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterable, Sequence

from dev_sessions.agent import Backend, Forked, PreparedMessage, Recovery
from dev_sessions.attempt import Attempt
from dev_sessions.claude import docker
from dev_sessions.claude.process import ClaudeProcess
from dev_sessions.errors import LivenessUnknown, MovedToBackground, SessionLost
from dev_sessions.models import (
    Answer,
    ClaudeSession,
    FieldChanges,
    Interrupted,
    LogTurn,
    Outcome,
    Pending,
    SessionState,
    Terminal,
)
from dev_sessions.system import paths, pid_namespace
from dev_sessions.system.deadline import Deadline


class ClaudeBackend(Backend[ClaudeSession]):
    """Sessions of Claude Code on this user's tmux. `warn` prints a warning of one line."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn

    def initial_fields(self) -> FieldChanges:
        """Return the conversation's id, the tmux server, Claude's configuration directory, and its pid namespace."""
        from dev_sessions.claude.tmux import Tmux

        return {
            "internal_id": str(uuid.uuid4()),
            "tmux_socket": Tmux.current_socket(),
            "claude_config_dir": str(paths.claude_config_dir()),
            "claude_pid_domain": pid_namespace.domain(),
        }

    def initial_fork_fields(self, source: ClaudeSession) -> FieldChanges:
        """Return Claude's configuration directory, in which the transcript is."""
        from dev_sessions.claude import session_file

        return {"claude_config_dir": str(session_file.config_dir(source))}

    def start(self, session: ClaudeSession, *, trust: bool = False) -> FieldChanges:
        """Start Claude and wait until it is ready; see `start.start`."""
        from dev_sessions.claude import start

        return start.start(session, self._warn, trust=trust)

    def fork(self, session: ClaudeSession, source: ClaudeSession) -> Forked:
        """Start Claude with a copy of the other session's transcript."""
        from dev_sessions.claude import fork

        return fork.fork(session, source, self._warn)

    def prepare(
        self, session: ClaudeSession, text: str, *, discard_draft: bool = False
    ) -> PreparedMessage[ClaudeSession]:
        """Prepare a prompt; while a question is open, a message is its answer, and belongs to the turn that asks."""
        from dev_sessions.claude import preflight, send

        process = ClaudeProcess(session)
        found = process.state()
        preflight.require_supported(found.version)
        with contextlib.ExitStack() as cleanup:
            cleanup.enter_context(process.readable_window())
            prepared: PreparedMessage[ClaudeSession]
            if found.status == "waiting":
                from dev_sessions.claude import questions

                prepared = questions.PreparedAnswer(process, found, text)
            else:
                prepared = send.PreparedPrompt(process, found, text, self._warn, discard_draft=discard_draft)
            prepared.cleanup = cleanup.pop_all()
        return prepared

    def wait(
        self, session: ClaudeSession, deadline: Deadline, interval: float | None, *, through_limits: bool = False
    ) -> Outcome:
        """Follow the session file and the transcript until the turn has ended."""
        from dev_sessions.claude.wait import TurnWait

        return TurnWait(_readable(session)).wait(deadline, interval, through_limits=through_limits)

    def answer(
        self, session: ClaudeSession, deadline: Deadline, *, through_limits: bool = False
    ) -> tuple[Outcome, Answer]:
        """Follow the turn to its own end, and return the texts of that turn."""
        from dev_sessions.claude.wait import TurnWait

        turn_wait = TurnWait(_readable(session))
        outcome = turn_wait.wait(deadline, own_turn=True, through_limits=through_limits)
        return outcome, turn_wait.turn().answer

    def respond(self, session: ClaudeSession, answers: Sequence[str], attempt: Attempt, *, allow: bool | None) -> None:
        """Answer by pressing keys, and verify the answer in the transcript."""
        from dev_sessions.claude import questions

        process = _readable(session)
        with process.readable_window():
            questions.respond(process, answers, attempt, allow=allow)

    def cancel(self, session: ClaudeSession, attempt: Attempt) -> None:
        """Press Escape, and verify that the dialog is closed."""
        from dev_sessions.claude import questions

        process = _readable(session)
        with process.readable_window():
            questions.cancel(process, attempt)

    def interrupt(self, session: ClaudeSession, deadline: Deadline) -> tuple[Interrupted, FieldChanges]:
        """Press Escape until the turn has ended, and clear what Claude has put back into its input box."""
        from dev_sessions.claude import interrupt

        return interrupt.interrupt(ClaudeProcess(session), deadline)

    def pending(self, session: ClaudeSession) -> Pending | None:
        """Return the questions, or of a permission or another dialog its name and the options on the screen."""
        return _pending(ClaudeProcess(session))

    def last_messages(self, session: ClaudeSession, count: int) -> list[str]:
        """Read the transcript backwards; what the session asks is the last message."""
        from dev_sessions.claude import history

        process = _readable(session)
        return history.last_messages(process, _pending(process), count, self._warn)

    def logs(self, session: ClaudeSession) -> Iterable[LogTurn]:
        """Return all texts of the conversation."""
        from dev_sessions.claude import history

        return history.logs(_readable(session))

    def states(
        self, sessions: Iterable[ClaudeSession], *, detail: bool = False
    ) -> dict[str, SessionState | LivenessUnknown]:
        """Read each session's state from its files; ask tmux only if they do not have it."""
        from dev_sessions.claude import states

        return {session.id: states.state(ClaudeProcess(session), detail=detail) for session in sessions}

    def declared_gone(self, session: ClaudeSession) -> FieldChanges:
        """Record that the pid namespace of the process has ended."""
        from dev_sessions.claude import states

        is_unseen = isinstance(states.state(ClaudeProcess(session), detail=False), LivenessUnknown)
        if is_unseen or session.claimed_by == pid_namespace.ENDED:
            return {"claude_pid_domain": pid_namespace.ENDED}
        return {}

    def changed_fields(self, session: ClaudeSession) -> FieldChanges:
        """Return the new session id after /clear, with which the same process continues."""
        return ClaudeProcess(session).changed_fields()

    def terminal(self, session: ClaudeSession) -> Terminal:
        """Attach with tmux: switch the current client if it is on the same server, else start a new one."""
        from dev_sessions.claude import terminal

        return terminal.terminal(ClaudeProcess(session))

    def stop(self, session: ClaudeSession) -> None:
        """End all processes of the session, in its tmux session and elsewhere; see `stop.stop`.

        What a killed fork has copied goes, too.
        """
        from dev_sessions.claude import stop

        stop.stop(session, self._warn)
        if session.claimed_by is not None:
            from dev_sessions.claude import fork

            fork.remove_unused_copy(session)

    def find_orphan(self, session_id: str) -> FieldChanges | None:
        """Return the tmux server with a session that was started for this name, although no record has it."""
        from dev_sessions.claude import orphans

        return orphans.find(session_id)

    def plan_recovery(self, session: ClaudeSession) -> Recovery | None:
        """Return a plan, or refuse unless everything that could have the conversation is gone."""
        from dev_sessions.claude import recover

        return recover.plan(ClaudeProcess(session))

    def recover(self, session: ClaudeSession) -> FieldChanges:
        """Start Claude again, with its conversation."""
        from dev_sessions.claude import recover

        return recover.recover(session, self._warn)

    def undo_recover(self, session: ClaudeSession) -> None:
        """End the session again; the transcript stays."""
        self.stop(session)

    def has_conversation(self, session: ClaudeSession) -> bool:
        """Return whether anybody has sent a message."""
        from dev_sessions.claude import history

        return history.has_conversation(session)


def _pending(process: ClaudeProcess) -> Pending | None:
    """Return what a session asks; None when it asks nothing or its state is not known."""
    try:
        found = process.state()
        if found.status == "waiting":
            from dev_sessions.claude import questions

            with process.readable_window(paths.sender_lock(process.session.id)):
                return questions.pending(process, found)
    except (SessionLost, MovedToBackground, LivenessUnknown):
        pass
    return None


def _readable(session: ClaudeSession) -> ClaudeProcess:
    """Return the process of a session. Raises ProtocolError when its transcript is not visible here."""
    docker.require_transcript(session)
    return ClaudeProcess(session)
