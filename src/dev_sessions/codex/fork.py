"""Fork a thread up to the end of its last finished turn."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from dev_sessions.agent import Forked, nothing_to_fork
from dev_sessions.codex import protocol
from dev_sessions.codex.client import CallRefused
from dev_sessions.codex.history import ConversationArchived, history
from dev_sessions.codex.protocol import Turn
from dev_sessions.codex.thread import Thread
from dev_sessions.models import CodexSession, FieldChanges


def fork(thread: Thread, session: CodexSession, source: CodexSession) -> Forked:
    """Start a thread with the history of another one, loaded or not, but without its goal.

    Raises InvalidRequest without a finished turn, ConversationGone.
    """
    turns: Iterator[Turn] = history(thread, source, "notLoaded")
    newest = next(turns, None)
    finished = newest
    while finished is not None and finished.state == "inProgress":
        finished = next(turns, None)
    if newest is None or finished is None:
        raise nothing_to_fork(source)
    forked = Thread(thread.client, session)
    try:
        forked.start_fork(thread.id, finished.id)
    except CallRefused as refusal:
        if not protocol.is_archived(refusal.error):
            raise
        raise ConversationArchived(source, thread.client) from refusal
    with contextlib.suppress(CallRefused):
        forked.set_name()
    # With these, the record shows that the thread has a conversation: a lost one is never replaced by a new one.
    fields: FieldChanges = {
        "internal_id": forked.id,
        "last_turn_status": "completed",
    }
    return Forked(fields, is_cut=finished is not newest)
