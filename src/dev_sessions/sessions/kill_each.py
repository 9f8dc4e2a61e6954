"""Kill sessions one after the other, on this machine or elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from dev_sessions.errors import DevSessionsError
from dev_sessions.models import KillReport, Session, parse_timestamp
from dev_sessions.system.deadline import duration


def kill_each(
    sessions: Iterable[Session], kill: Callable[[Session], Iterable[str]], older_than: str | None = None
) -> KillReport:
    """Kill sessions, or those that have not been used for the duration `older_than`; continue after a failure.

    `kill` returns a line for everything that it left.
    """
    before = time.time() - duration(older_than) if older_than else None
    killed: list[str] = []
    errors: list[str] = []
    notes: list[str] = []
    for session in list(sessions):
        if before is not None and parse_timestamp(session.last_used) >= before:
            continue
        try:
            notes += kill(session)
            killed.append(session.id)
        except (DevSessionsError, OSError) as error:
            errors.append(f"{session.id}: {error}")
    return KillReport(tuple(killed), tuple(errors), tuple(notes))
