"""The dependencies that the functions of this package share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator

from dev_sessions.agent import Backends
from dev_sessions.errors import InvalidRequest
from dev_sessions.models import Session
from dev_sessions.sessions.store import Store
from dev_sessions.system import paths
from dev_sessions.system.fast_dataclass import fast_dataclass
from dev_sessions.system.file_locks import hold_lock

#: Seconds to wait for another command that is sending to the same session.
_SENDER_TIMEOUT = 120.0


@fast_dataclass(frozen=True)
class Context:
    """The session store, the backends (created on first use), and a function that prints a warning for the user."""

    store: Store
    backends: Backends
    warn: Callable[[str], None]

    def sessions(self) -> Collection[Session]:
        """Read the sessions of the store."""
        return self.store.read().sessions.values()

    def created_session(self, session_id: str) -> Session:
        """Return a session. Raises SessionNotFound, and InvalidRequest if it is still being created."""
        session = self.store.get(session_id)
        require_created(session)
        return session

    @contextlib.contextmanager
    def sending(self, session_id: str) -> Iterator[None]:
        """Hold the sender lock of a session: only one command at a time sends to it. Raises StoreError."""
        self.created_session(session_id)  # first, so that an unknown id leaves no lock file
        busy = f"Another command has been sending to {session_id}"
        with hold_lock(paths.sender_lock(session_id), _SENDER_TIMEOUT, busy):
            yield


def require_created(session: Session) -> None:
    """Raise InvalidRequest if a session is still being created."""
    if session.claimed_by is not None:
        raise InvalidRequest(
            f"{session.id} is still being created; if its create was killed, end it: dev-sessions kill {session.id}"
        )
