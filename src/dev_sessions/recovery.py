"""Bringing lost sessions back, each with its conversation.

Whoever brings a session back holds its sender lock: no message goes there meanwhile, and of two at once the second
finds it alive. The lock vanishes with its holder, so one that is killed is in nobody's way; what it had started by then
is taken over by the next (`Backend.recovery`).
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dev_sessions import paths
from dev_sessions.backends.base import Backends, Recovery
from dev_sessions.errors import DevSessionsError, InvalidRequest
from dev_sessions.models import RecoverRow, Session, timestamp
from dev_sessions.store import Store, exclusive

#: Seconds that a recover waits for another one, or for a send, on the same session.
_PATIENCE = 60.0


def row(store: Store, backends: Backends, session_id: str, *, yes: bool) -> RecoverRow:
    """Bring one session back, or say what that would take. An error is in the row, so that others go on."""
    try:
        session = store.get(session_id)  # an unknown name must not leave a lock file
        if not yes:
            plan = _plan(backends, session)
            return RecoverRow(session_id, action=plan.action if plan else None)
        with exclusive(paths.sender_lock(session_id), _PATIENCE, f"Another command has been busy with {session_id}"):
            return _bring_back(store, backends, session_id)
    except (DevSessionsError, OSError) as error:
        return RecoverRow(session_id, error=named(session_id, error))


def named(session_id: str, error: Exception) -> str:
    """An error as a line among those of other sessions."""
    return str(error) if session_id in str(error) else f"{session_id}: {error}"


def _plan(backends: Backends, session: Session) -> Recovery | None:
    if session.claimed_by is not None:
        raise InvalidRequest(f"{session.id} is still being created; if its create was killed, kill it too")
    if session.host is not None:
        raise InvalidRequest(f"{session.id} lives on {session.host}; recover it there")
    plan = backends(session.cli).recovery(session)
    if plan is not None and not os.path.isdir(session.path):
        raise InvalidRequest(
            f"Workspace path does not exist: {session.path}; make that folder again, or forget the session:"
            f" dev-sessions kill {session.id}"
        )
    return plan


def _bring_back(store: Store, backends: Backends, session_id: str) -> RecoverRow:
    session = store.get(session_id)
    plan = _plan(backends, session)
    if plan is None:
        return RecoverRow(session_id)
    backend = backends(session.cli)
    noted = store.update(session_id, plan.changes)
    with contextlib.ExitStack() as undo:
        undo.callback(_forget, store, backends, session, plan)
        changes = backend.recover(noted)
        undo.callback(_put_back, backends, noted, changes)
        store.update(session_id, {**changes, "last_used": timestamp(time.time())})
        undo.pop_all()
    return RecoverRow(session_id, action=plan.action, done=True)


def _forget(store: Store, backends: Backends, session: Session, plan: Recovery) -> None:
    """Have the record as it was before. Nothing here may hide what went wrong."""
    with contextlib.suppress(DevSessionsError, OSError):
        store.update(session.id, {name: getattr(session, name) for name in plan.changes})
    with contextlib.suppress(DevSessionsError, OSError):
        backends(session.cli).release(lambda: any(s.cli == session.cli for s in store.read().sessions.values()))


def _put_back(backends: Backends, session: Session, changes: Mapping[str, Any]) -> None:
    with contextlib.suppress(DevSessionsError, OSError):
        backends(session.cli).put_back(replace(session, **changes))
