"""The agent that runs this command, by the variables of its environment."""

from __future__ import annotations

import os


def session_id() -> str | None:
    """Return the id of the session in which this command runs; None outside of any."""
    return os.environ.get("DEV_SESSIONS_ID") or None


def created_at() -> str:
    """Return when that session was created (ISO 8601), "" if unknown: an older session may have had its id."""
    return os.environ.get("DEV_SESSIONS_CREATED_AT", "")


def identity() -> str | None:
    """Return the calling session's id, or the conversation of another agent (`claude:ID`); None for a person."""
    if own := session_id():
        return own
    variables = {"codex": "CODEX_THREAD_ID", "claude": "CLAUDE_CODE_SESSION_ID"}
    found = (f"{cli}:{value}" for cli, name in variables.items() if (value := os.environ.get(name)))
    return next(found, None)
