"""Recover a session whose thread the app-server has not loaded."""

from __future__ import annotations

from dev_sessions.agent import Recovery
from dev_sessions.codex.history import ConversationArchived, ConversationGone, has_conversation
from dev_sessions.codex.start import load
from dev_sessions.codex.thread import Thread
from dev_sessions.models import CodexSession, FieldChanges


def plan(thread: Thread, session: CodexSession) -> Recovery | None:
    """Return what would bring a session back; None when its thread is loaded.

    Raises ConversationGone, ConversationArchived.

    A session that never had a message is not lost: its first message starts a new thread.
    """
    status = thread.status()
    if status is None:
        if has_conversation(session):
            raise ConversationGone(session, thread.client)
        return None
    if status.archived:
        raise ConversationArchived(session, thread.client)
    if status.kind != "notLoaded":
        return None
    return Recovery("have Codex load its thread again; a goal that is active continues")


def recover(thread: Thread, session: CodexSession) -> FieldChanges:
    """Load the thread, which stays loaded when this connection ends; return the changed fields."""
    load(thread, session)
    return {"internal_id": thread.id}
