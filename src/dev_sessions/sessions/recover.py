"""Bringing lost sessions back, each with its conversation.

Whoever brings a session back holds its sender lock: no message goes there meanwhile, and of two at once the second
finds it alive. The lock vanishes with its holder, so one that is killed is in nobody's way; what it had started by then
is taken over by the next (`Backend.recovery`).
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable

from dev_sessions.agent import Backends, Recovery
from dev_sessions.errors import DevSessionsError, InvalidRequest, ProcessesUnseen
from dev_sessions.models import (
    ClaudeSession,
    FieldChanges,
    Listed,
    RecoverReport,
    RecoverRow,
    Session,
    parse_timestamp,
    timestamp,
    undo_changes,
    with_changes,
)
from dev_sessions.operations import Recover
from dev_sessions.sessions.store import Store, exclusive
from dev_sessions.system import paths, pid_namespace
from dev_sessions.system.process import mark_is_of_here

#: Seconds that a recover waits for another one, or for a send, on the same session.
_PATIENCE = 60.0
#: Seconds since its last use after which a lost session may be forgotten.
_KEPT_FOR = 30 * 86400.0


def recover(store: Store, backends: Backends, request: Recover) -> RecoverReport:
    """Bring back the sessions that are named, or all lost ones that hold a conversation."""
    names = dict.fromkeys(request.session_ids or _held(store, backends))
    rows = [_row(store, backends, session_id, yes=request.yes, gone=request.gone) for session_id in names]
    # Of those that nobody named, the living ones are not worth a word.
    return RecoverReport(tuple(row for row in rows if request.session_ids or row.action or row.error))


def declared_gone(backends: Backends, session: Session) -> FieldChanges:
    """The fields that note of a session that what ran it is gone, on its user's word; none where that is known without
    it, one way or the other. InSandbox: from there nobody can know."""
    pid_namespace.require_outlasting(f"{session.id} was left alone")
    changes: FieldChanges = {}
    if session.claimed_by is not None and not mark_is_of_here(session.claimed_by):
        changes["claimed_by"] = pid_namespace.ENDED
    if isinstance(session, ClaudeSession):
        unseen = isinstance(backends(session.cli).states([session])[session.id], ProcessesUnseen)
        if changes or unseen:
            changes["claude_pid_domain"] = pid_namespace.ENDED
    return changes


def prune(listed: Iterable[Listed], end: Callable[[Session], Iterable[str]], *, yes: bool) -> RecoverReport:
    """Forget the sessions that are lost and were not used for long. `end` gives a line for what it left of one."""
    rows: list[RecoverRow] = []
    notes: list[str] = []
    before = time.time() - _KEPT_FOR
    for found in listed:
        session = found.session
        if found.state is None or found.state.state != "lost" or parse_timestamp(session.last_used) >= before:
            continue
        action = f"forget it: it is lost, and was last used on {session.last_used[:10]}"
        try:
            if yes:
                notes += end(session)
            rows.append(RecoverRow(session.id, action, done=yes))
        except (DevSessionsError, OSError) as error:
            rows.append(RecoverRow(session.id, action, error=_named(session.id, error)))
    return RecoverReport(tuple(rows), tuple(notes))


def _held(store: Store, backends: Backends) -> list[str]:
    """The sessions of this machine that hold a conversation, last used first."""
    sessions = [s for s in store.read().sessions.values() if s.claimed_by is None and s.host is None]
    sessions.sort(key=lambda session: session.last_used, reverse=True)
    return [session.id for session in sessions if backends(session.cli).has_conversation(session)]


def _row(store: Store, backends: Backends, session_id: str, *, yes: bool, gone: bool) -> RecoverRow:
    """Bring one session back, or say what that would take. An error is in the row, so that others go on."""
    try:
        session = store.get(session_id)  # an unknown name must not leave a lock file
        declared = declared_gone(backends, session) if gone else FieldChanges()
        if not yes:
            plan = _plan(backends, with_changes(session, declared))
            return RecoverRow(session_id, action=plan.action if plan else None)
        with exclusive(paths.sender_lock(session_id), _PATIENCE, f"Another command has been busy with {session_id}"):
            if declared:
                store.update(session_id, declared)
            return _bring_back(store, backends, session_id)
    except (DevSessionsError, OSError) as error:
        return RecoverRow(session_id, error=_named(session_id, error))


def _named(session_id: str, error: Exception) -> str:
    """An error as a line among those of other sessions."""
    return str(error) if session_id in str(error) else f"{session_id}: {error}"


def _plan(backends: Backends, session: Session) -> Recovery | None:
    if session.claimed_by is not None:
        raise InvalidRequest(f"{session.id} is still being created; if its create was killed, kill it too")
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
    if plan.proved:
        session = store.update(session_id, plan.proved)
    backend = backends(session.cli)
    noted = store.update(session_id, plan.changes)
    with contextlib.ExitStack() as undo:
        undo.callback(_forget, store, backends, session, plan)
        changes = backend.recover(noted)
        if changes:  # else it was running, and is only shown again
            undo.callback(_undo_recover, backends, noted, changes)
        store.update(session_id, {**changes, "last_used": timestamp(time.time())})
        undo.pop_all()
    return RecoverRow(session_id, action=plan.action, done=True)


def _forget(store: Store, backends: Backends, session: Session, plan: Recovery) -> None:
    """Have the record as it was before. Nothing here may hide what went wrong."""
    with contextlib.suppress(DevSessionsError, OSError):
        store.update(session.id, undo_changes(session, plan.changes))
    with contextlib.suppress(DevSessionsError, OSError):
        backends(session.cli).release(lambda: any(s.cli == session.cli for s in store.read().sessions.values()))


def _undo_recover(backends: Backends, session: Session, changes: FieldChanges) -> None:
    with contextlib.suppress(DevSessionsError, OSError):
        backends(session.cli).undo_recover(with_changes(session, changes))
