"""Send messages to a thread."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager

from dev_sessions.agent import PreparedMessage, Sent
from dev_sessions.attempt import Attempt
from dev_sessions.codex import protocol, questions
from dev_sessions.codex.client import CallRefused, time_limit
from dev_sessions.codex.history import has_conversation
from dev_sessions.codex.start import load
from dev_sessions.codex.thread import Thread
from dev_sessions.errors import InvalidRequest, ProtocolError
from dev_sessions.models import CodexSession, FieldChanges, Receipt
from dev_sessions.system.deadline import Deadline

#: The fields of a record when a turn has begun, whose outcome is not known yet.
TURN_BEGUN: FieldChanges = {"codex_turn_in_progress": True, "last_turn_status": None, "last_turn_error": None}


class PreparedPrompt(PreparedMessage[CodexSession]):
    """A message that Codex accepts. If its send is cut short, the newest turn counts as the turn of the send."""

    def __init__(
        self,
        session: CodexSession,
        text: str,
        connect: Callable[[CodexSession], AbstractContextManager[Thread]],
    ) -> None:
        """Check the text, which may be up to `protocol.MAX_INPUT` characters of UTF-8. Raises InvalidRequest.

        To half of a surrogate pair, Codex does not respond at all.
        """
        if len(text) > protocol.MAX_INPUT:
            raise InvalidRequest(
                f"The message for {session.id} has {len(text)} characters and Codex takes {protocol.MAX_INPUT};"
                " write it to a file and send the path of that file"
            )
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidRequest(f"The message for {session.id} is not UTF-8 text; convert it and send it") from error
        self._text = text
        self._connect = connect
        self.changes = {
            "codex_active_turn_id": None,
            "codex_send_id": os.urandom(16).hex(),
            "codex_turn_in_progress": has_conversation(session),
        }

    def send(self, session: CodexSession, attempt: Attempt, deadline: Deadline) -> Sent:
        """Send it. Codex takes a message at once, so the deadline is only for an app-server that hangs."""
        with contextlib.ExitStack() as stack:
            with time_limit(deadline):
                thread = stack.enter_context(self._connect(session))
            return send(thread, session, self._text, attempt)


def send(thread: Thread, session: CodexSession, text: str, attempt: Attempt) -> Sent:
    """Start a turn, steer the running one, or answer its question; return when the turn has begun or took the answer.

    Raises DeliveryFailed.
    """
    probe = thread.probe()
    if not probe.loaded:
        load(thread, session)
        # Loading makes an active goal continue: a turn may run now.
        probe = thread.probe()
    open_request = thread.open_request() if probe.turn_id is not None else None
    changes: FieldChanges = {}
    if open_request is not None:
        questions.answer_with_text(thread, session, open_request, text, attempt)
        receipt = Receipt("answered", probe.turn_id, open_request.pending.text)
        changes = {"codex_send_id": None}
    else:
        try:
            receipt = thread.deliver(text, session.codex_send_id, probe.turn_id, attempt)
        except CallRefused:
            # Codex has unloaded the thread since the probe, as it does after half an hour of silence.
            load(thread, session)
            receipt = thread.deliver(text, session.codex_send_id, thread.probe().turn_id, attempt)
        if not has_conversation(session):
            # Not before: naming a thread without a message would store it, in a second (0.150).
            with contextlib.suppress(ProtocolError):
                thread.set_name()
    return Sent(receipt, {**changes, **TURN_BEGUN, "internal_id": thread.id, "codex_active_turn_id": receipt.turn_id})
