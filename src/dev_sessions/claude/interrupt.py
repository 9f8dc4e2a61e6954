"""Interrupt a session: press Escape until its turn has ended, and clear the messages that Claude has put back.

One Escape ends the running turn; what is queued behind it is taken up at once, on 2.1.332 all of it in one turn. A turn
that is interrupted before its reply has begun is taken back: its messages are put back into the input box, one below
the other, and the model never gets them (2.1.250 to 2.1.332). So is a message whose hook is interrupted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial

from dev_sessions.claude.message import is_last_command, is_last_message
from dev_sessions.claude.message_text import PREAMBLE, digest, visible
from dev_sessions.claude.pane import POLL_INTERVAL, AgentPane
from dev_sessions.claude.process import ClaudeProcess
from dev_sessions.claude.transcript_file import unanswered_messages
from dev_sessions.claude.wait import TurnWait
from dev_sessions.errors import InvalidRequest, ProtocolError
from dev_sessions.models import FieldChanges, Interrupted
from dev_sessions.system import paths
from dev_sessions.system.deadline import Deadline, poll, wait_until
from dev_sessions.system.fast_dataclass import fast_dataclass

#: Seconds before an Escape that had no effect is pressed again.
_ESCAPE_TIMEOUT = 2.0
#: Seconds for which Claude may be idle before it takes up what is queued (measured: 0.03).
_PAUSE = 0.2
#: Seconds for the box to show what Escape has put back, and for the transcript to be written (measured: 0.1).
_RESTORE_TIMEOUT = 1.0
#: How the box shows a long paste, in visible characters.
_PLACEHOLDER = r"\[Pastedtext#\d+(?:\+\d+lines)?\]"
#: The length from which a text may be shown so.
_LONG_TEXT = 800


@fast_dataclass(frozen=True)
class Restored:
    """What Claude has put back: the text in its input box, and the messages in that.

    `is_unwritten`: it is the last message, of which the transcript has nothing.
    """

    box: str = ""
    messages: tuple[str, ...] = ()
    is_unwritten: bool = False


def interrupt(process: ClaudeProcess, deadline: Deadline) -> tuple[Interrupted, FieldChanges]:
    """Press Escape until it has an effect, and no more: on an idle Claude a second one opens a dialog.

    On a Claude that waits for the end of a usage limit, it cancels the continuation. Returns the messages that were not
    delivered, and the changed fields. Raises InvalidRequest when nothing runs, ProtocolError when the turn still runs
    at the deadline.
    """
    session, pane, turn_wait = process.session, process.pane(), TurnWait(process)

    def is_idle() -> bool:
        # While a hook runs that outlasts the turn before, only the screen shows that there is work (2.1.332).
        if turn_wait.state().state != "idle" or pane.shows_queued_messages():
            return False
        ended = turn_wait.ended()
        return ended is None or ended.continues_at is None

    if is_idle():
        raise InvalidRequest(f"{session.id} is idle; there is nothing to interrupt")
    draft = pane.box() or ""
    while not deadline.expired:
        pane.press("Escape")
        timeout = Deadline(min(_ESCAPE_TIMEOUT, deadline.remaining()))
        if wait_until(is_idle, timeout, POLL_INTERVAL) and not wait_until(
            lambda: not is_idle(), Deadline(_PAUSE), POLL_INTERVAL
        ):
            with process.readable_window(paths.sender_lock(session.id)):
                restored = _clear_restored(process, draft)
            taken_back: FieldChanges = {"claude_taken_back_send": session.claude_send_time}
            return Interrupted(restored.messages), taken_back if restored.is_unwritten else {}
    raise ProtocolError(f"{session.id} does not stop; attach with: {pane.attach_command}")


def _clear_restored(process: ClaudeProcess, draft: str) -> Restored:
    """Clear the input box if Claude has put back messages; return them. A box with a person's words in it stays.

    `draft` is what was in the box before; Claude puts the messages below it (2.1.332).
    """
    pane = process.pane()
    found = poll(partial(_restored, process, pane, draft), Deadline(_RESTORE_TIMEOUT), POLL_INTERVAL)
    if found is None:
        return Restored()
    if found.box and (is_last_command(found.box, process.session) or holds_only(found.box, found.messages)):
        pane.clear_box()
    return found


def _undelivered(box: str, process: ClaudeProcess, draft: str) -> str | None:
    """Return the last message if a box holds it and nothing of it is written: a hook has run until now (2.1.332)."""
    session = process.session
    if session.claude_send_digest is None or TurnWait(process).turn().arrived:
        return None
    lines = box.split("\n")
    parts = ("\n".join(lines[start:]).lstrip() for start in range(len(lines)))
    whole = next((part for part in parts if digest(part) == session.claude_send_digest), None)
    if whole is not None or draft:
        return whole
    # The box shows only the end of a very long message, some emoji in part, and a long paste as a placeholder.
    is_message = is_last_message(box, session) or re.fullmatch(_PLACEHOLDER, _without_preamble(visible(box)))
    return box if is_message else None


def _without_preamble(shown: str) -> str:
    return shown.removeprefix(visible(PREAMBLE))


def _restored(process: ClaudeProcess, pane: AgentPane, draft: str) -> Restored | None:
    """Return what Claude has put back into its input box; None while something may still be put back."""
    box = pane.box() or ""
    if box and is_last_command(box, process.session):
        return Restored(box)
    if box and (message := _undelivered(box, process, draft)) is not None:
        return Restored(box, (message.removeprefix(PREAMBLE).lstrip(),), is_unwritten=True)
    transcript = process.transcript()
    unanswered = unanswered_messages(transcript) if transcript is not None else []
    shown = visible(box)
    messages = tuple(text for text in unanswered if _holds(shown, text))
    if messages:
        return Restored(box, messages)
    # The box is empty before it shows what is put back, and the transcript is behind both.
    return None if box or unanswered or process.session.claude_send_command is not None else Restored()


def holds_only(box: str, messages: Sequence[str]) -> bool:
    """Return whether a box holds nothing but messages, and no more placeholders than messages that it does not show."""
    shown = visible(box)
    rest = shown.replace(visible(PREAMBLE), "")
    for text in messages:
        rest = rest.replace(visible(text), "")
    hidden = sum(visible(text) not in shown for text in messages)
    return not re.sub(_PLACEHOLDER, "", rest) and len(re.findall(_PLACEHOLDER, rest)) <= hidden


def _holds(shown: str, text: str) -> bool:
    """Return whether the visible characters of a box hold a text, or the placeholder for a long one."""
    is_long = text.count("\n") > 2 or len(text) > _LONG_TEXT
    return visible(text) in shown or (is_long and re.search(_PLACEHOLDER, shown) is not None)
