"""The backend for Claude Code, which runs in a tmux pane and is read by its files.

A session's state comes from its session file (`session_file`), then its transcript (`transcript`), and from tmux only
if neither has it.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from dev_sessions.agent import Backend, PreparedMessage, Recovery, Sent
from dev_sessions.attempt import Attempt
from dev_sessions.claude import docker, session_file
from dev_sessions.claude.process import ClaudeProcess
from dev_sessions.claude.session_file import SessionFile
from dev_sessions.claude.transcript import activity, last_texts, log_turns
from dev_sessions.claude.transcript_file import Tail, file_size, find_transcript
from dev_sessions.claude.wait import TurnWait
from dev_sessions.errors import (
    DevSessionsError,
    InvalidRequest,
    MovedToBackground,
    NotOwned,
    ProcessesUnseen,
    ProtocolError,
    SessionLost,
)
from dev_sessions.jsonl import last_activity, lines_backward
from dev_sessions.models import (
    Answer,
    ClaudeSession,
    FieldChanges,
    LogTurn,
    Outcome,
    Pending,
    Receipt,
    SessionState,
    Terminal,
    timestamp,
)
from dev_sessions.system import paths, pid_namespace
from dev_sessions.system.deadline import Deadline, poll
from dev_sessions.system.process import identify, terminate

if TYPE_CHECKING:
    from dev_sessions.claude.message import Message
    from dev_sessions.claude.questions import PendingPrompt
    from dev_sessions.claude.send import Delivery
    from dev_sessions.claude.tmux import PaneInfo

#: Seconds before an Escape that had no effect is pressed again.
_ESCAPE_TIMEOUT = 2.0


class ClaudeBackend(Backend[ClaudeSession]):
    """Sessions of Claude Code on this user's tmux. `warn` prints a warning of one line."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn

    def initial_fields(self) -> FieldChanges:
        """Return the tmux server, Claude's configuration directory, and the pid namespace of its processes."""
        from dev_sessions.claude.tmux import Tmux

        return {
            "tmux_socket": Tmux.current_socket(),
            "claude_config_dir": str(paths.claude_config_dir()),
            "claude_pid_domain": pid_namespace.domain(),
        }

    def start(self, session: ClaudeSession) -> FieldChanges:
        """Start Claude and wait until it is ready; see `start.start`."""
        from dev_sessions.claude import start

        return start.start(session, self._warn)

    def prepare(
        self, session: ClaudeSession, text: str, *, discard_draft: bool = False
    ) -> PreparedMessage[ClaudeSession]:
        """Refuse what can't be delivered, require that the input box is free, and note where the transcript ends.

        While a question is open, a message is its answer, and belongs to the turn that asks.
        """
        from dev_sessions.claude.message import answer_text, compose
        from dev_sessions.claude.preflight import require_supported

        process = ClaudeProcess(session)
        found = process.state()
        require_supported(found.version)
        pending = _pending(process, found)
        if pending is not None:
            _questions(process).require_text(pending)
            return _PreparedAnswer(process, pending, answer_text(text))
        outgoing = compose(text, found.version)
        _delivery(process).ensure_box_is_free(outgoing, TurnWait(process).turn, discard_draft=discard_draft)
        return _PreparedPrompt(process, found, outgoing)

    def wait(self, session: ClaudeSession, deadline: Deadline, interval: float | None) -> Outcome:
        """Follow the session file and the transcript until the turn has ended."""
        docker.require_transcript(session)
        return TurnWait(ClaudeProcess(session)).wait(deadline, interval)

    def answer(self, session: ClaudeSession, deadline: Deadline) -> tuple[Outcome, Answer]:
        """Follow the turn to its own end, and return the texts of that turn."""
        docker.require_transcript(session)
        turn_wait = TurnWait(ClaudeProcess(session))
        return turn_wait.wait(deadline, own_turn=True), turn_wait.turn().answer

    def respond(self, session: ClaudeSession, answers: Sequence[str], attempt: Attempt, *, allow: bool | None) -> None:
        """Answer by pressing keys, and verify the answer in the transcript."""
        docker.require_transcript(session)
        process = ClaudeProcess(session)
        pending = _pending(process, process.state())
        if pending is None:
            raise InvalidRequest(f"{session.id} asks nothing; to say something: dev-sessions send {session.id}")
        _questions(process, attempt).respond(pending, answers, allow)

    def interrupt(self, session: ClaudeSession, deadline: Deadline) -> None:
        """Press Escape until it has an effect, and no more: on an idle Claude a second one opens a dialog."""
        from dev_sessions.claude.pane import POLL_INTERVAL

        process = ClaudeProcess(session)
        pane, turn_wait = process.pane(), TurnWait(process)

        def is_idle() -> bool | None:
            return turn_wait.state().state == "idle" or None

        if is_idle():
            raise InvalidRequest(f"{session.id} is idle; there is nothing to interrupt")
        while not deadline.expired:
            pane.press("Escape")
            timeout = Deadline(min(_ESCAPE_TIMEOUT, deadline.remaining()))
            if poll(is_idle, timeout, POLL_INTERVAL):
                if session.claude_send_command is not None and turn_wait.turn().arrived != "command":
                    _delivery(process).clear_restored_command()
                return
        raise ProtocolError(f"{session.id} does not stop; attach with: {pane.attach}")

    def pending(self, session: ClaudeSession) -> Pending | None:
        """Return the questions, or of a permission or another dialog its name and the options on the screen."""
        return _pending_or_none(ClaudeProcess(session))

    def last_messages(self, session: ClaudeSession, count: int) -> list[str]:
        """Read the transcript backwards, so that the cost does not grow with the conversation."""
        docker.require_transcript(session)
        process = ClaudeProcess(session)
        pending = _pending_or_none(process)
        asked = [pending.text] if pending is not None else []
        transcript = process.require_transcript()
        if transcript is None or count <= len(asked):
            return asked[:count]
        texts, skipped_causes = last_texts(lines_backward(transcript), count - len(asked))
        if skipped_causes:
            causes = "; ".join(dict.fromkeys(skipped_causes[::-1]))
            self._warn(
                f"what {session.id} said last answers somebody else ({causes}) and is left out; to see it:"
                f" dev-sessions logs {session.id}"
            )
        return [*texts[::-1], *asked]

    def logs(self, session: ClaudeSession) -> Iterable[LogTurn]:
        """Return all texts of the conversation, without the program's own markup."""
        docker.require_transcript(session)
        transcript = ClaudeProcess(session).require_transcript()
        return log_turns(Tail(transcript, 0).lines()) if transcript is not None else ()

    def states(
        self, sessions: Iterable[ClaudeSession], *, detail: bool = False
    ) -> dict[str, SessionState | ProcessesUnseen]:
        """Read each session's state from its files; ask tmux only if they do not have it."""
        return {session.id: _state_or_lost(ClaudeProcess(session), detail=detail) for session in sessions}

    def changed_fields(self, session: ClaudeSession) -> FieldChanges:
        """Return the new session id after /clear, with which the same process continues."""
        return ClaudeProcess(session).changed_fields()

    def terminal(self, session: ClaudeSession) -> Terminal:
        """Attach with tmux: switch the current client if it is on the same server, else start a new one."""
        from dev_sessions.claude.pane import AgentPane
        from dev_sessions.claude.tmux import Tmux, session_name

        ClaudeProcess(session).require_alive()
        if pid_namespace.place(session.claude_pid_domain) == "other namespace":
            AgentPane(session).snapshot()
        target = session.tmux_pane or f"={session_name(session.id)}"
        return Tmux(session.tmux_socket).terminal(target, os.environ.get("TMUX"))

    def stop(self, session: ClaudeSession) -> None:
        """Kill the tmux session and end all processes of the session, including those that the record does not have.

        An interrupted create or recover may have left some, and Claude's background may have the conversation. A
        container may outlive the `docker run` in the pane, so Claude is asked to exit first.

        Raises ProcessesUnseen, before anything is ended, when the session may run where its processes can't be seen.
        """
        from dev_sessions.claude import background, start
        from dev_sessions.claude.pane import AgentPane
        from dev_sessions.claude.tmux import Tmux, session_name

        own = session_file.local_process(session)
        if session.mode == "docker":
            AgentPane(session).quit()
        job = background.find(session, session_file.for_session(session))
        tmux, name = Tmux(session.tmux_socket), session_name(session.id)
        access_error: NotOwned | None = None
        panes: list[PaneInfo] = []
        try:
            panes = start.list_panes(session.id, tmux, require_here=True)
        except NotOwned as error:
            if session.claude_pid is None:
                raise
            access_error = error
        repair = AgentPane(session).socket_repair_command() if access_error is None else None
        if session.claimed_by is not None and not any(start.is_started_for(session.id, pane) for pane in panes):
            # An interrupted create: if there is a tmux session of this name, it belongs to somebody else.
            panes = []
        processes = {identify(pane.pane.pid) for pane in panes} | {own}
        if access_error is None and (panes or own is not None or session.claimed_by is None):
            tmux.kill(name)
            for pane in panes:
                if pane.session != name:  # the session was renamed, or its pane moved to another
                    tmux.kill_pane(pane.pane.id)
        for process in processes:
            if process is not None and not terminate(process):
                raise ProtocolError(
                    f"Process {process.pid} of {session.id} does not end; end it yourself: kill -9 {process.pid}"
                )
        # The conversation could move to the background until the process had ended.
        job = background.find(session, None) or job
        if job is not None:
            background.stop_job(session, job)
        if access_error is not None:
            self._warn(
                f"Claude was ended, but an empty tmux session {name} may remain, which can't be checked: {access_error}"
            )
        start.remove_files(session.id)
        if repair is not None:
            self._warn(
                f"the socket of tmux is gone, so an empty session {name} remains there; end it with: {repair} &&"
                f" dev-sessions kill {session.id}"
            )

    def orphan(self, session_id: str) -> FieldChanges | None:
        """Return the tmux server with a session that was started for this name, although no record has it.

        The record was lost, or the server could not be reached when the session was killed.
        """
        from dev_sessions.claude import start
        from dev_sessions.claude.tmux import Tmux

        for socket in (Tmux.current_socket(), Tmux.default_socket()):
            # A server that is gone or gives no clear answer is no reason to fail: no record has the name.
            with contextlib.suppress(DevSessionsError):
                if os.path.exists(socket) and start.has_agent(session_id, Tmux(socket), require_here=True):
                    return {"tmux_socket": socket}
        return None

    def recovery(self, session: ClaudeSession) -> Recovery | None:
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
        return session.claude_send_digest is not None or ClaudeProcess(session).transcript() is not None


def _pending_or_none(process: ClaudeProcess) -> Pending | None:
    try:
        return _pending(process, process.state())
    except (SessionLost, MovedToBackground, ProcessesUnseen):
        return None


def _state_or_lost(process: ClaudeProcess, *, detail: bool) -> SessionState | ProcessesUnseen:
    try:
        state = TurnWait(process).state()
    except SessionLost:
        return SessionState("lost")
    except MovedToBackground as moved:
        state = SessionState("waiting_for_input", "its return from Claude's background", moved_to=moved.job)
    except ProcessesUnseen as error:
        return error
    return state.with_activity(last_activity(process.transcript(), activity)) if detail else state


class _PreparedPrompt(PreparedMessage[ClaudeSession]):
    """A message for the input box. `found` is the state of the process when it was prepared."""

    def __init__(self, process: ClaudeProcess, found: SessionFile, message: Message) -> None:
        self._process = process
        self._message = message
        transcript = find_transcript(process.config_dir, found.session_id)
        self.changes = {
            "last_turn_status": None,
            "last_turn_error": None,
            **_message_fields(message),
            "internal_id": found.session_id,
            "claude_send_transcript": found.session_id,
            # A background job's new transcript will begin with a copy of the old one.
            "claude_send_offset": None if transcript is None and found.job is not None else file_size(transcript),
            "claude_send_process": process.session.claude_proc_start,
            "claude_send_time": timestamp(time.time()),
        }

    def send(self, session: ClaudeSession, attempt: Attempt, deadline: Deadline) -> Sent:
        """Type the message, press Enter once, and find it in the transcript."""
        self._process.use_record(session)
        receipt, sent = _delivery(self._process, attempt).deliver(self._message, deadline)
        changes = self._process.changed_fields()
        return Sent(receipt, {**changes, **_message_fields(sent)} if sent != self._message else changes)


class _PreparedAnswer(PreparedMessage[ClaudeSession]):
    """A message that answers the only open question."""

    def __init__(self, process: ClaudeProcess, pending: Pending, text: str) -> None:
        self._process = process
        self._pending = pending
        self._text = text
        self.changes = {"last_turn_status": None, "last_turn_error": None}

    def send(self, session: ClaudeSession, attempt: Attempt, deadline: Deadline) -> Sent:
        """Answer the question. The answer belongs to the turn that asks."""
        del deadline
        self._process.use_record(session)
        _questions(self._process, attempt).answer(self._pending, [self._text])
        return Sent(Receipt("answered"))


def _message_fields(message: Message) -> FieldChanges:
    """Return the record's fields by which the message is found in the transcript."""
    return {
        "claude_send_digest": message.digest,
        "claude_send_end_digest": message.end_digest,
        "claude_send_command": message.command,
    }


def _questions(process: ClaudeProcess, attempt: Attempt | None = None) -> PendingPrompt:
    from dev_sessions.claude.questions import PendingPrompt

    return PendingPrompt(process, attempt)


def _delivery(process: ClaudeProcess, attempt: Attempt | None = None) -> Delivery:
    from dev_sessions.claude.send import Delivery

    return Delivery(process, attempt)


def _pending(process: ClaudeProcess, found: SessionFile) -> Pending | None:
    return _questions(process).pending(found) if found.status == "waiting" else None
