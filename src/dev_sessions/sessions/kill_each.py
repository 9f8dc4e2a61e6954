"""Kill selected sessions one after the other, on this machine or elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from dev_sessions.errors import DevSessionsError
from dev_sessions.models import KillReport, Listed, Session, parse_timestamp
from dev_sessions.operations import KillMany
from dev_sessions.system.deadline import duration


def kill_each(request: KillMany, rows: Iterable[Listed], kill: Callable[[Session], Iterable[str]]) -> KillReport:
    """Kill those of some sessions that a request selects, one after the other; continue after a failure.

    `kill` returns a line for everything that it left.
    """
    before = time.time() - duration(request.older_than) if request.older_than else None
    killed: list[str] = []
    errors: list[str] = []
    notes: list[str] = []
    for session in [row.session for row in rows]:
        if before is not None and parse_timestamp(session.last_used) >= before:
            continue
        try:
            notes += kill(session)
            killed.append(session.id)
        except (DevSessionsError, OSError) as error:
            errors.append(f"{session.id}: {error}")
    return KillReport(tuple(killed), tuple(errors), tuple(notes))
