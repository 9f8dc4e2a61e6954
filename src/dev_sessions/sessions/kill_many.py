"""Kill many sessions of this machine."""

from __future__ import annotations

from functools import partial

from dev_sessions.models import SESSION_TYPES, KillReport
from dev_sessions.operations import KillMany, List
from dev_sessions.sessions.context import Context
from dev_sessions.sessions.end import end_session, release
from dev_sessions.sessions.kill_each import kill_each
from dev_sessions.sessions.listing import list_sessions
from dev_sessions.sessions.process_tree import running_in
from dev_sessions.system import paths, pid_namespace


def kill_many(context: Context, request: KillMany) -> KillReport:
    """End all running sessions, or those not used recently; continue after a failure. The caller's own is last."""
    pid_namespace.require_outlasting("No session was killed")
    rows = list_sessions(context, List()).rows
    own = running_in(row.session for row in rows) | {request.caller}
    rows = tuple(sorted(rows, key=lambda row: row.session.id in own))
    report = kill_each(request, rows, partial(end_session, context))
    for cli in SESSION_TYPES:
        if any(found.is_dir() for found in paths.state_dir().glob(f"{cli}*")):
            # An interrupted kill may have left running what its sessions share.
            release(context, cli)
    return report
