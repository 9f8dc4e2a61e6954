"""Fork a session: start another one with its conversation. The forked session is only read."""

from __future__ import annotations

import os

from dev_sessions.errors import InvalidRequest
from dev_sessions.models import FieldChanges, Session
from dev_sessions.operations import Create, Fork
from dev_sessions.sessions import create
from dev_sessions.sessions.context import Context, require_created
from dev_sessions.sessions.end import end_abandoned
from dev_sessions.system import pid_namespace
from dev_sessions.system.fast_dataclass import replace


def fork(context: Context, request: Fork) -> Session:
    """Start a session with the conversation of another one. On any error nothing is left behind."""
    source = context.store.get(request.session_id)
    require_created(source)
    if not os.path.isdir(source.path):
        raise InvalidRequest(f"Workspace path does not exist: {source.path}; create it again, then fork {source.id}")
    pid_namespace.require_unsandboxed("Nothing was started")
    end_abandoned(context)

    def start_fork(session: Session) -> FieldChanges:
        forked = context.backends(source.cli).fork(session, source)
        if forked.is_cut:
            context.warn(f"the last turn of {source.id} has not finished; {session.id} has the conversation before it")
        return forked.changes

    def start(session: Session) -> Session:
        # Recorded before anything is copied, so that the next command can clean up if this one is killed.
        claimed = context.store.update(session.id, context.backends(source.cli).initial_fork_fields(source))
        return create.start(context, claimed, request.worktree, start_fork)

    return create.claim_and_start(
        context,
        replace(as_create(request, source), host=None),
        source.path,
        start,
        lambda session, error: create.unclaim(context, session, error),
    )


def as_create(request: Fork, source: Session) -> Create:
    """Return the request to create a session like the forked one."""
    return Create(
        path=source.path,
        host=source.host,
        cli=source.cli,
        mode=source.mode,
        description=f"fork of {source.id}" if request.description is None else request.description,
        model=source.model,
        id=request.id,
        args=source.agent_args or (),
        created_by=request.created_by,
    )
