"""Interrupt a session: press Escape until its turn has ended, and clear the messages that Claude has put back.

One Escape ends the running turn; what is queued behind it is taken up at once, on 2.1.332 all of it in one turn. A turn
that is interrupted before its reply has begun is taken back: its messages are put back into the input box, one below
the other, and the model never gets them (2.1.250 to 2.1.332). So is a message whose hook is interrupted.
"""

from __future__ import annotations

import re
from functools import partial

from dev_sessions.claude.message import is_last_command, is_last_message
from dev_sessions.claude.message_text import PREAMBLE, visible
from dev_sessions.claude.pane import POLL_INTERVAL, AgentPane
from dev_sessions.claude.process import ClaudeProcess
from dev_sessions.claude.transcript_file import unanswered_messages
from dev_sessions.claude.wait import TurnWait
from dev_sessions.errors import InvalidRequest, ProtocolError
from dev_sessions.models import Interrupted
from dev_sessions.system import paths
from dev_sessions.system.deadline import Deadline, poll

#: Seconds before an Escape that had no effect is pressed again.
_ESCAPE_TIMEOUT = 2.0
#: Seconds for which Claude may be idle before it takes up what is queued (measured: 0.03).
_PAUSE = 0.2
#: Seconds for the box to show what Escape has put back, and for the transcript to be written (measured: 0.1).
_RESTORE_TIMEOUT = 1.0
#: How the box shows a long paste, in visible characters.
_PLACEHOLDER = re.compile(r"\[Pastedtext#\d+(?:\+\d+lines)?\]")
#: The length from which a text may be shown so.
_LONG_TEXT = 800


def interrupt(process: ClaudeProcess, deadline: Deadline) -> Interrupted:
    """Press Escape until it has an effect, and no more: on an idle Claude a second one opens a dialog.

    On a Claude that waits for the end of a usage limit, it cancels the continuation. Returns the messages that were not
    delivered. Raises InvalidRequest when nothing runs, ProtocolError when the turn still runs at the deadline.
    """
    session, pane, turn_wait = process.session, process.pane(), TurnWait(process)

    def is_idle() -> bool | None:
        if turn_wait.state().state != "idle":
            return None
        ended = turn_wait.ended()
        return ended is None or ended.continues_at is None or None

    def goes_on() -> bool | None:
        return True if not is_idle() else None

    if is_idle():
        raise InvalidRequest(f"{session.id} is idle; there is nothing to interrupt")
    while not deadline.expired:
        pane.press("Escape")
        timeout = Deadline(min(_ESCAPE_TIMEOUT, deadline.remaining()))
        if poll(is_idle, timeout, POLL_INTERVAL) and not poll(goes_on, Deadline(_PAUSE), POLL_INTERVAL):
            with process.readable_window(paths.sender_lock(session.id)):
                return Interrupted(tuple(_clear_restored(process)))
    raise ProtocolError(f"{session.id} does not stop; attach with: {pane.attach}")


def _clear_restored(process: ClaudeProcess) -> list[str]:
    """Clear the input box if Claude has put back messages; return them. A box with a person's words in it stays."""
    pane = process.pane()
    found = poll(partial(_restored, process, pane), Deadline(_RESTORE_TIMEOUT), POLL_INTERVAL)
    if found is None:
        return []
    box, messages = found
    if box and (is_last_command(box, process.session) or holds_only(box, messages)):
        pane.clear_box()
    return messages


def _is_undelivered(box: str, process: ClaudeProcess) -> bool:
    """Return whether a box holds the last message, of which nothing is written: a hook has run until now (2.1.332)."""
    is_message = is_last_message(box, process.session) or not _PLACEHOLDER.sub("", _without_preamble(visible(box)))
    return is_message and process.session.claude_send_digest is not None and not TurnWait(process).turn().arrived


def _without_preamble(shown: str) -> str:
    return shown.removeprefix(visible(PREAMBLE))


def _restored(process: ClaudeProcess, pane: AgentPane) -> tuple[str, list[str]] | None:
    """Return the text in the input box, if Claude has put it back, and the messages in it.

    None while something may still be put back.
    """
    box = pane.box() or ""
    if box and is_last_command(box, process.session):
        return box, []
    if box and _is_undelivered(box, process):
        return box, [box.removeprefix(PREAMBLE).lstrip()]
    transcript = process.transcript()
    unanswered = unanswered_messages(transcript) if transcript is not None else []
    shown = visible(box)
    messages = [text for text in unanswered if _holds(shown, text)]
    if messages:
        return box, messages
    return None if unanswered or process.session.claude_send_command is not None else ("", [])


def holds_only(box: str, messages: list[str]) -> bool:
    """Return whether a box holds nothing but messages."""
    rest = visible(box)
    for text in (PREAMBLE, *messages):
        rest = rest.replace(visible(text), "")
    return not _PLACEHOLDER.sub("", rest)


def _holds(shown: str, text: str) -> bool:
    """Return whether the visible characters of a box hold a text, or the placeholder for a long one."""
    is_long = text.count("\n") > 2 or len(text) > _LONG_TEXT
    return visible(text) in shown or (is_long and _PLACEHOLDER.search(shown) is not None)
