"""Start a session's thread, and load it again."""

from __future__ import annotations

from dev_sessions.codex import protocol
from dev_sessions.codex.client import CallRefused, Client
from dev_sessions.codex.history import ConversationArchived, ConversationGone, has_conversation
from dev_sessions.codex.thread import Thread
from dev_sessions.models import CodexSession, FieldChanges


def start(client: Client, session: CodexSession) -> FieldChanges:
    """Start a new thread, and return the changed fields. Codex keeps it only in memory until its first message."""
    thread = Thread(client, session)
    thread.start_new()
    return {"internal_id": thread.id}


def load(thread: Thread, session: CodexSession) -> None:
    """Load the thread, or start a new one when the app-server lost it before its first message.

    Loading makes an active goal continue. Raises ConversationGone, ConversationArchived.
    """
    try:
        thread.load()
    except CallRefused as refusal:
        if protocol.is_archived(refusal.error):
            raise ConversationArchived(session, thread.client) from refusal
        if not protocol.is_unknown_thread(refusal.error):
            raise
        if has_conversation(session):
            raise ConversationGone(session, thread.client) from refusal
        thread.start_new()
