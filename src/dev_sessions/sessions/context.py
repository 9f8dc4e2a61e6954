"""The dependencies that the functions of this package share."""

from __future__ import annotations

from collections.abc import Callable, Collection

from dev_sessions.agent import Backends
from dev_sessions.errors import InvalidRequest
from dev_sessions.models import Session
from dev_sessions.sessions.store import Store
from dev_sessions.system.fast_dataclass import fast_dataclass


@fast_dataclass(frozen=True)
class Context:
    """The session store, the backends (created on first use), and a function that prints a warning for the user."""

    store: Store
    backends: Backends
    warn: Callable[[str], None]

    def sessions(self) -> Collection[Session]:
        """Read the sessions of the store."""
        return self.store.read().sessions.values()


def require_created(session: Session) -> None:
    """Raise InvalidRequest if a session is still being created."""
    if session.claimed_by is not None:
        raise InvalidRequest(
            f"{session.id} is still being created; if its create was killed, end it: dev-sessions kill {session.id}"
        )
