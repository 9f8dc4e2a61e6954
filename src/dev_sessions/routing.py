"""Where an operation is done: on this machine, or on the host that its session lives on."""

from __future__ import annotations

from typing import TypeVar

from dev_sessions.errors import InvalidRequest
from dev_sessions.manager import SessionManager
from dev_sessions.operations import Operation
from dev_sessions.store import Store

R = TypeVar("R")


class Router:
    """The transport of a machine that has sessions of its own."""

    def __init__(self, store: Store, manager: SessionManager) -> None:
        self._store = store
        self._manager = manager

    def execute(self, operation: Operation[R]) -> R:
        """Run it here. A session that the store places on another machine is refused by name."""
        session_id = getattr(operation, "session_id", None)
        session = self._store.read().sessions.get(session_id) if session_id else None
        if session is not None and session.host is not None:
            raise InvalidRequest(
                f"{session_id} lives on {session.host}, and this version cannot reach other machines yet: "
                f"run dev-sessions there"
            )
        return operation.run(self._manager)
