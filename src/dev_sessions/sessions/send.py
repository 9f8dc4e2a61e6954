"""Deliver messages to sessions: one sender at a time, with the record changed before and after."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator

from dev_sessions.attempt import Attempt, after_arrival, delivering, summary_of
from dev_sessions.errors import AfterArrival, DevSessionsError, InvalidRequest, SessionNotFound, StoreError
from dev_sessions.models import FieldChanges, Receipt, Reply, Session, timestamp, undo_changes
from dev_sessions.operations import Ask, Send
from dev_sessions.sessions.context import Context
from dev_sessions.sessions.wait import outcome_or_raise
from dev_sessions.system.deadline import Deadline

#: Characters of a question that a warning quotes.
_MAX_QUOTE = 200


def send(context: Context, request: Send) -> Receipt:
    """Deliver a message. Only one command at a time sends to a session."""
    deadline = Deadline.cancellable(math.inf)
    receipt = _deliver(context, request.session_id, request.message, deadline, discard_draft=request.discard_draft)[1]
    if not request.receipt:
        _warn_of_answer(context, request.session_id, receipt)
    return receipt


def ask(context: Context, request: Ask) -> Reply:
    """Deliver a message, wait for its turn to end and return the last text of the reply."""
    deadline = Deadline.cancellable(request.timeout)
    session, receipt = _deliver(context, request.session_id, request.message, deadline)
    _warn_of_answer(context, session.id, receipt)
    with after_arrival(session.id):
        backend = context.backends(session.cli)
        ended, answer = backend.answer(session, deadline, through_limits=request.through_limits)
        outcome = outcome_or_raise(context, session, ended)
        if outcome == "waiting_for_input":
            return Reply("", outcome)
        return Reply(answer.texts[-1] if answer.texts else "", outcome, answer.messages)


def _deliver(
    context: Context, session_id: str, text: str, deadline: Deadline, *, discard_draft: bool = False
) -> tuple[Session, Receipt]:
    if not text.strip():
        raise InvalidRequest("Message is required. Use <message> or --file <path>.")
    with delivering(session_id) as attempt, context.sending(session_id):
        session = context.created_session(session_id)
        with context.backends(session.cli).prepare(session, text, discard_draft=discard_draft) as message:
            changes: FieldChanges = {**message.changes, "last_used": timestamp(time.time())}
            with _reverted_unless_begun(context, session, changes, attempt):
                session = context.store.update(session_id, changes)
                sent = message.send(session, attempt, deadline)
        if sent.changes:
            try:
                session = context.store.update(session_id, sent.changes)
            except (StoreError, SessionNotFound) as error:
                raise AfterArrival(session_id, summary_of(error)) from error
    return session, sent.receipt


@contextlib.contextmanager
def _reverted_unless_begun(
    context: Context, session: Session, changes: FieldChanges, attempt: Attempt
) -> Iterator[None]:
    """Revert changes to a record if the send inside fails before it begins: a wait then follows the send before."""
    try:
        yield
    except BaseException:
        if not attempt.has_begun:
            with contextlib.suppress(DevSessionsError):
                context.store.update(session.id, undo_changes(session, changes))
        raise


def _warn_of_answer(context: Context, session_id: str, receipt: Receipt) -> None:
    if receipt.question is not None:
        line = " ".join(receipt.question.split())
        quoted = line if len(line) <= _MAX_QUOTE else f"{line[:_MAX_QUOTE]}…"
        context.warn(f"{session_id} was asking, and the message answered it: {quoted}")
