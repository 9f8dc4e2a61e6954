"""Ending sessions of this machine: their agent, their worktree, their record, and what nobody needs any more."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable

from dev_sessions import paths
from dev_sessions.backends.base import Backends
from dev_sessions.deadline import duration
from dev_sessions.errors import DevSessionsError
from dev_sessions.models import Cli, KillReport, Listed, Session, parse_timestamp
from dev_sessions.operations import KillMany
from dev_sessions.process import mark_is_alive
from dev_sessions.store import Store, exclusive


def kill_each(request: KillMany, rows: Iterable[Listed], kill: Callable[[Session], Iterable[str]]) -> KillReport:
    """Kill what a request means of some live sessions, one after the other; goes on after a failure.

    `kill` gives lines about what it left.
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


class Ending:
    """Ends sessions, and forgets them. `warn` takes a line for the user."""

    def __init__(self, store: Store, backends: Backends, warn: Callable[[str], None]) -> None:
        self._store = store
        self._backends = backends
        self._warn = warn

    def end(self, session: Session) -> tuple[str, ...]:
        """End and forget a session; what is to be said of what was left of it."""
        from dev_sessions import worktree

        backend = self._backends(session.cli)
        backend.stop(session)
        notes = worktree.clear_away(session, self._store.read().sessions.values())
        with contextlib.suppress(OSError):
            paths.sender_lock(session.id).unlink()
        # What is cut short before this can be ended again.
        self._store.remove(session.id)
        self.release(session.cli)
        return notes

    def end_abandoned(self) -> None:
        """End what creates that were killed have left: nobody was ever told its name."""
        for session in self._store.read().sessions.values():
            if session.claimed_by is None or mark_is_alive(session.claimed_by):
                continue
            if session.host is None:
                self.drop(session)
            else:
                # It may be there. Who asks its host will know.
                self._store.update(session.id, {"claimed_by": None})

    def drop(self, session: Session) -> None:
        """End and forget a session of which nothing is worth keeping, unless somebody is busy with it or was since."""
        with (
            contextlib.suppress(DevSessionsError, OSError),
            exclusive(paths.sender_lock(session.id), 0, f"Another command has been busy with {session.id}"),
        ):
            if self._store.read().sessions.get(session.id) == session:
                for note in self.end(session):
                    self._warn(note)

    def release(self, cli: Cli) -> None:
        """A session was forgotten: stop what nobody needs any more, and what nobody has."""
        backend = self._backends(cli)
        backend.release(lambda: self._in_use(cli))
        backend.end_strangers(lambda: self._store.read().sessions.values())

    def _in_use(self, cli: Cli) -> bool:
        return any(session.cli == cli for session in self._store.read().sessions.values())
