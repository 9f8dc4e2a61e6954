"""Kill many sessions of this machine."""

from __future__ import annotations

from functools import partial

from dev_sessions.models import KillReport
from dev_sessions.operations import KillMany, List
from dev_sessions.sessions.context import Context
from dev_sessions.sessions.end import end_session, release_all
from dev_sessions.sessions.kill_each import kill_each
from dev_sessions.sessions.listing import list_sessions
from dev_sessions.sessions.process_tree import running_in
from dev_sessions.system import pid_namespace


def kill_many(context: Context, request: KillMany) -> KillReport:
    """End all running sessions, or those not used recently; continue after a failure. The caller's own is last."""
    pid_namespace.require_unsandboxed("No session was killed")
    rows = list_sessions(context, List()).rows
    own = running_in(row.session for row in rows) | {request.caller}
    rows = tuple(sorted(rows, key=lambda row: row.session.id in own))
    report = kill_each((row.session for row in rows), partial(end_session, context), request.older_than)
    release_all(context)
    return report
