"""Create a session: claim its id before anything starts, and undo everything on an error."""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Callable, Set

from dev_sessions.errors import DevSessionsError, IdInUse, InvalidRequest, MayBeRunning
from dev_sessions.models import (
    DROPPED_MODELS,
    SESSION_TYPES,
    FieldChanges,
    Session,
    timestamp,
    with_changes,
)
from dev_sessions.operations import Create
from dev_sessions.sessions import champion_ids
from dev_sessions.sessions.context import Context
from dev_sessions.sessions.end import end_abandoned, release
from dev_sessions.system import paths, pid_namespace
from dev_sessions.system.process import this_process


def create(context: Context, request: Create) -> Session:
    """Start a session. On any error neither a process nor a record is left behind."""
    path = paths.as_on_disk(request.path or os.curdir)
    if not os.path.exists(path):
        raise InvalidRequest(f"Workspace path does not exist: {path}")
    if not os.path.isdir(path):
        raise InvalidRequest(f"Workspace path is not a directory: {path}")
    pid_namespace.require_unsandboxed("Nothing was started")
    context.backends(request.cli).require_mode(request.mode)
    end_abandoned(context)
    return claim_and_start(
        context,
        request,
        path,
        lambda session: start(
            context,
            session,
            request.worktree,
            lambda claimed: context.backends(claimed.cli).start(claimed, trust=request.trust),
        ),
        lambda session, error: unclaim(context, session, error),
    )


def claim_and_start(
    context: Context,
    request: Create,
    path: str,
    start: Callable[[Session], Session],
    undo: Callable[[Session, BaseException], None],
) -> Session:
    """Claim an id and return what `start` makes of the record; if that raises IdInUse, try again with another id.

    `undo` is called with the record and the error whenever `start` raises.
    """
    refused: set[str] = set()
    while True:
        session = claim(context, request, path, refused)
        try:
            return start(session)
        except BaseException as error:
            undo(session, error)
            if not isinstance(error, IdInUse) or request.id is not None:
                raise
        refused.add(session.id)


def claim(context: Context, request: Create, path: str, refused: Set[str] = frozenset()) -> Session:
    """Write the record of a new session before anything starts, with an id that is in neither the store nor `refused`.

    Raises IdInUse if the requested id is taken, InvalidRequest if it is not a valid id.
    """
    if request.id is not None and not champion_ids.is_valid(request.id):
        raise InvalidRequest(f"{request.id!r} is not a valid session id: use lower-case letters, digits and dashes")
    with context.store.edit() as content:
        taken = content.taken_ids()
        if request.id is not None and request.id in taken:
            raise IdInUse(request.id)
        now = timestamp(time.time())
        session = SESSION_TYPES[request.cli](
            id=request.id or champion_ids.allocate(taken | refused, random.SystemRandom()),
            internal_id="",
            cli=request.cli,
            mode=request.mode,
            path=path,
            host=request.host,
            description=request.description,
            model=None if request.model in DROPPED_MODELS else request.model,
            agent_args=request.args or None,
            created_at=now,
            last_used=now,
            claimed_by=this_process(),
            created_by=request.created_by,
        )
        session = with_changes(session, context.backends(request.cli).initial_fields())
        content.sessions[session.id] = session
    return session


def start(
    context: Context, session: Session, branch: str | None, start_agent: Callable[[Session], FieldChanges]
) -> Session:
    """Create the worktree of a claimed session, unless `branch` is None, and start its agent; return the record."""
    with contextlib.ExitStack() as undo:
        if branch is not None:
            from dev_sessions.sessions import worktree

            repository = worktree.find_repository(session.path)
            with worktree.lock(repository.common_dir):
                new = repository.new_worktree(session.id, branch)
                if users := worktree.sessions_in(new.path, session.id, context.sessions()):
                    raise InvalidRequest(
                        f"{users[0]} works in {new.path}, on the branch {new.branch}; send it the work, or kill it"
                    )
                fields: FieldChanges = {
                    "path": new.folder,
                    "worktree": new.path,
                    "worktree_branch": new.branch,
                    "worktree_base": new.base,
                }
                # Recorded before it is created, so that the next command can clean up if this one is killed.
                session = context.store.update(session.id, fields)
                undo.callback(new.discard)
                new.create()
        changes = start_agent(session)
        undo.callback(_stop, context, with_changes(session, changes))
        created = context.store.update(session.id, {**changes, "claimed_by": None, "worktree_base": None})
        undo.pop_all()
    return created


def _stop(context: Context, session: Session) -> None:
    """Stop the agent of a session whose creation failed. An error here must not replace the original one."""
    with contextlib.suppress(DevSessionsError, OSError):
        context.backends(session.cli).stop(session)


def unclaim(context: Context, session: Session, error: BaseException) -> None:
    """Remove the record of a session whose creation failed. An error here must not replace the original one.

    If the agent may be running, the record is left, as that of a killed create, for the next command to end it.
    """
    with contextlib.suppress(DevSessionsError):
        if not isinstance(error, MayBeRunning):
            context.store.remove(session.id)
    with contextlib.suppress(DevSessionsError):
        release(context, session.cli)
