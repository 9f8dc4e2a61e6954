"""Stop a session: archive its thread."""

from __future__ import annotations

from dev_sessions.codex import protocol
from dev_sessions.codex.client import CallRefused, Client, ConnectionLost
from dev_sessions.models import CodexSession


def stop(client: Client, session: CodexSession) -> None:
    """Archive the thread, which ends what runs in it. A thread that is gone already is fine."""
    try:
        # Codex ends the process group of a command with the command, and with this request (0.150 to 0.171); a
        # command with a group of its own (`setsid`) keeps running.
        client.call("thread/archive", {"threadId": session.internal_id})
    except ConnectionLost:
        return
    except CallRefused as refusal:
        if not protocol.has_nothing_to_archive(refusal.error):
            raise
