"""The states of sessions, as the app-server reports them."""

from __future__ import annotations

from pathlib import Path

from dev_sessions.codex import rollout, turns
from dev_sessions.codex.history import ConversationGone, has_conversation, turns_back_to, with_limit_reset
from dev_sessions.codex.protocol import ThreadStatus
from dev_sessions.codex.thread import Thread
from dev_sessions.jsonl import last_activity
from dev_sessions.models import CodexSession, Outcome, SessionState


def state(thread: Thread, session: CodexSession, *, detail: bool) -> SessionState:
    """Return the state of a session; with `detail`, its activity, tokens and failure, too.

    A thread that the app-server does not know is lost, unless it never had a message: Codex drops such a thread from
    memory after a minute, and the first message starts a new one.
    """
    status = thread.status()
    if status is None:
        return SessionState("lost" if has_conversation(session) else "idle")
    found = turns.state(status)
    if detail and found.state == "idle":
        found = found.with_outcome(_ended(thread, session, status))
    if detail and status.rollout is not None:
        return found.with_activity(last_activity(Path(status.rollout), rollout.activity))
    return found


def _ended(thread: Thread, session: CodexSession, status: ThreadStatus) -> Outcome | None:
    """Return how the turn of the last send ended; None if that is not known, or is not in the history yet."""
    own = session.codex_active_turn_id
    try:
        outcome = turns.outcome(status, turns_back_to(own, thread, session, "notLoaded"), own)
    except ConversationGone:
        return None
    return outcome and with_limit_reset(outcome, status)
