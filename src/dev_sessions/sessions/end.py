"""End sessions of this machine: stop the agent, remove the worktree and the record, and clean up shared resources."""

from __future__ import annotations

import contextlib

from dev_sessions.errors import DevSessionsError, LivenessUnknown, NotOwned, StoreError
from dev_sessions.models import SESSION_TYPES, Cli, Session
from dev_sessions.sessions.context import Context
from dev_sessions.system import paths
from dev_sessions.system.file_locks import hold_lock
from dev_sessions.system.process import owner_is_alive


def end_session(context: Context, session: Session) -> tuple[str, ...]:
    """End a session and delete its record. Return a line for everything that was left running or on disk.

    Raises StoreError, with nothing ended, if the record cannot be deleted.
    """
    from dev_sessions.sessions.process_tree import SessionProcesses

    context.store.require_writable()
    backend = context.backends(session.cli)
    processes = SessionProcesses(session, context.sessions())
    processes.find()
    # The agent first: it ends the commands that it started, and starts no new ones.
    backend.stop(session)
    notes = processes.end()
    if session.worktree is not None:
        from dev_sessions.sessions import worktree_removal

        notes += worktree_removal.remove_if_clean(session, context.sessions())
    with contextlib.suppress(OSError):
        paths.sender_lock(session.id).unlink()
    # The record last: as long as it exists, an interrupted kill can be repeated.
    context.store.remove(session.id)
    release(context, session.cli)
    return notes


def end_abandoned(context: Context) -> None:
    """End what killed `create` commands left behind. No caller has received the id of such a session."""
    for session in context.sessions():
        if session.claimed_by is None or owner_is_alive(session.claimed_by):
            continue
        if session.host is None:
            drop(context, session)
        else:
            # It may exist on its host; the next command that asks the host finds out.
            context.store.update(session.id, {"claimed_by": None})


def drop(context: Context, session: Session) -> bool:
    """End a session that holds nothing worth keeping, unless another command uses it or has changed its record.

    Return whether it was ended. Warn if it could not be, but not where a sandbox, a lock or the store is in the way, as
    a later command may end it then.
    """
    try:
        with hold_lock(paths.sender_lock(session.id), 0, f"Another command has been using {session.id}"):
            if context.store.read().sessions.get(session.id) == session:
                for note in end_session(context, session):
                    context.warn(note)
                return True
    except (DevSessionsError, OSError) as error:
        is_in_the_way = isinstance(error, StoreError | LivenessUnknown) and not isinstance(error, NotOwned)
        if not is_in_the_way:
            context.warn(f"Could not remove what is left of {session.id}: {error}")
    return False


def release_all(context: Context) -> None:
    """Do what `release` does for each agent that has files here. An interrupted kill may have left its server."""
    for cli in SESSION_TYPES:
        if any(found.is_dir() for found in paths.state_dir().glob(f"{cli}*")):
            release(context, cli)


def release(context: Context, cli: Cli) -> None:
    """After a session was removed, stop its agent's server if no session uses it, and end orphans."""
    backend = context.backends(cli)
    backend.release(context.sessions)
    backend.end_orphans(context.sessions)
