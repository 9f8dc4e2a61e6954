"""Set, show and clear the goals of sessions whose agent supports them."""

from __future__ import annotations

import time
from typing import Any

from dev_sessions.agent import SupportsGoals
from dev_sessions.errors import InvalidRequest
from dev_sessions.models import SESSION_TYPES, Goal, Session, timestamp
from dev_sessions.operations import ClearGoal, GetGoal, SetGoal
from dev_sessions.sessions.context import Context


def get_goal(context: Context, request: GetGoal) -> Goal | None:
    """Return the goal of a session, without starting anything."""
    session = context.created_session(request.session_id)
    return goal_backend(context, session).get_goal(session)


def set_goal(context: Context, request: SetGoal) -> Goal:
    """Set or change a goal. Only one command at a time sends to a session."""
    objective = request.objective.strip() if request.objective is not None else None
    if objective == "":
        raise InvalidRequest("Objective is required. Use <objective> or --file <path>.")
    with context.sending(request.session_id):
        session = context.created_session(request.session_id)
        backend = goal_backend(context, session)
        goal, changes = backend.set_goal(session, objective, request.status, request.token_budget)
        context.store.update(session.id, {**changes, "last_used": timestamp(time.time())})
    if request.status == "active" and not goal.active:
        context.warn(
            f"the goal of {session.id} stays {goal.status}; if it has used its budget, raise that:"
            f" dev-sessions goal {session.id} --resume --budget TOKENS"
        )
    return goal


def clear_goal(context: Context, request: ClearGoal) -> bool:
    """Remove the goal of a session. Return whether it had one."""
    session = context.created_session(request.session_id)
    return goal_backend(context, session).clear_goal(session)


def goal_backend(context: Context, session: Session, what: str = "Goals") -> SupportsGoals[Any]:
    """Return the backend of a session whose agent supports goals. Raises InvalidRequest; `what` is not supported."""
    backend = context.backends(session.cli)
    if not isinstance(backend, SupportsGoals):
        able = " and ".join(cli for cli in SESSION_TYPES if isinstance(context.backends(cli), SupportsGoals))
        raise InvalidRequest(f"{what} are only supported for {able} sessions; {session.id} is a {session.cli} session")
    return backend
