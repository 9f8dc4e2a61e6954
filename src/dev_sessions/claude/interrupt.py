"""Interrupt a session: press Escape until its turn has ended."""

from __future__ import annotations

from dev_sessions.claude.pane import POLL_INTERVAL
from dev_sessions.claude.process import ClaudeProcess
from dev_sessions.claude.send import Delivery
from dev_sessions.claude.wait import TurnWait
from dev_sessions.errors import InvalidRequest, ProtocolError
from dev_sessions.system import paths
from dev_sessions.system.deadline import Deadline, poll

#: Seconds before an Escape that had no effect is pressed again.
_ESCAPE_TIMEOUT = 2.0


def interrupt(process: ClaudeProcess, deadline: Deadline) -> None:
    """Press Escape until it has an effect, and no more: on an idle Claude a second one opens a dialog.

    On a Claude that waits for the end of a usage limit, it cancels the continuation. Raises InvalidRequest when nothing
    runs, ProtocolError when the turn still runs at the deadline.
    """
    session, pane, turn_wait = process.session, process.pane(), TurnWait(process)

    def is_idle() -> bool | None:
        if turn_wait.state().state != "idle":
            return None
        ended = turn_wait.ended()
        return ended is None or ended.continues_at is None or None

    if is_idle():
        raise InvalidRequest(f"{session.id} is idle; there is nothing to interrupt")
    while not deadline.expired:
        pane.press("Escape")
        timeout = Deadline(min(_ESCAPE_TIMEOUT, deadline.remaining()))
        if poll(is_idle, timeout, POLL_INTERVAL):
            if session.claude_send_command is not None and turn_wait.turn().arrived != "command":
                with process.readable_window(paths.sender_lock(session.id)):
                    Delivery(process).clear_restored_command()
            return
    raise ProtocolError(f"{session.id} does not stop; attach with: {pane.attach}")
