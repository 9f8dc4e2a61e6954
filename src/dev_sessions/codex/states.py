"""The states of sessions, as the app-server reports them."""

from __future__ import annotations

from pathlib import Path

from dev_sessions.codex import rollout, turns
from dev_sessions.codex.history import has_conversation
from dev_sessions.codex.thread import Thread
from dev_sessions.jsonl import last_activity
from dev_sessions.models import CodexSession, SessionState


def state(thread: Thread, session: CodexSession, *, detail: bool) -> SessionState:
    """Return the state of a session; with `detail`, its activity and tokens, too.

    A thread that the app-server does not know is lost, unless it never had a message: Codex drops such a thread from
    memory after a minute, and the first message starts a new one.
    """
    status = thread.status()
    if status is None:
        return SessionState("lost" if has_conversation(session) else "idle")
    found = turns.state(status)
    if detail and status.rollout is not None:
        return found.with_activity(last_activity(Path(status.rollout), rollout.activity))
    return found
