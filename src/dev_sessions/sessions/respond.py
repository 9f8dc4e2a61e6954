"""Answer what a session of this machine asks, and interrupt its turn."""

from __future__ import annotations

from dev_sessions.attempt import delivering
from dev_sessions.models import Interrupted
from dev_sessions.operations import Interrupt, Respond
from dev_sessions.sessions.context import Context
from dev_sessions.system.deadline import Deadline


def respond(context: Context, request: Respond) -> None:
    """Answer what the session asks, or close it. Only one command at a time sends to a session."""
    with delivering(request.session_id, "answer") as attempt, context.sending(request.session_id):
        session = context.created_session(request.session_id)
        backend = context.backends(session.cli)
        if request.cancel:
            backend.cancel(session, attempt)
        else:
            backend.respond(session, request.answers, attempt, allow=request.allow)


def interrupt(context: Context, request: Interrupt) -> Interrupted:
    """Interrupt the running turn and wait until it has ended."""
    session = context.created_session(request.session_id)
    interrupted, changes = context.backends(session.cli).interrupt(session, Deadline(request.timeout))
    if changes:
        context.store.update(session.id, changes)
    return interrupted
