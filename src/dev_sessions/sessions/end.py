"""Ending sessions of this machine: their agent, their worktree, their record, and what nobody needs any more."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from dev_sessions.agent import Backends
from dev_sessions.errors import DevSessionsError
from dev_sessions.models import Cli, Session
from dev_sessions.sessions.store import Store, exclusive
from dev_sessions.system import paths
from dev_sessions.system.process import owner_is_alive


class Ending:
    """Ends sessions, and forgets them. `warn` takes a line for the user."""

    def __init__(self, store: Store, backends: Backends, warn: Callable[[str], None]) -> None:
        self._store = store
        self._backends = backends
        self._warn = warn

    def end(self, session: Session) -> tuple[str, ...]:
        """End and forget a session; what is to be said of what was left of it."""
        from dev_sessions.sessions import worktree
        from dev_sessions.sessions.process_tree import SessionProcesses

        backend = self._backends(session.cli)
        processes = SessionProcesses(session, self._store.read().sessions.values())
        processes.find()
        # The agent first: it ends commands of its own, and starts none any more.
        backend.stop(session)
        notes = (*processes.end(), *worktree.remove_if_clean(session, self._store.read().sessions.values()))
        with contextlib.suppress(OSError):
            paths.sender_lock(session.id).unlink()
        # What is cut short before this can be ended again.
        self._store.remove(session.id)
        self.release(session.cli)
        return notes

    def end_abandoned(self) -> None:
        """End what creates that were killed have left: nobody was ever told its name."""
        for session in self._store.read().sessions.values():
            if session.claimed_by is None or owner_is_alive(session.claimed_by):
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
        backend.end_orphans(lambda: self._store.read().sessions.values())

    def _in_use(self, cli: Cli) -> bool:
        return any(session.cli == cli for session in self._store.read().sessions.values())
