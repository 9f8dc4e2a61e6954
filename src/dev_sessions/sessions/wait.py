"""Wait for turns and goals to end, and record how they ended."""

from __future__ import annotations

import contextlib
import time

from dev_sessions import failures
from dev_sessions.errors import InvalidRequest, SessionNotFound, StoreError, WaitTimedOut
from dev_sessions.models import FieldChanges, Goal, Outcome, Session, WaitOutcome, WaitResult, with_changes
from dev_sessions.operations import Wait, timeout_message
from dev_sessions.sessions.context import Context
from dev_sessions.system import pid_namespace
from dev_sessions.system.deadline import Deadline


def wait(context: Context, request: Wait) -> WaitResult:
    """Wait for the turn of the last send and everything queued behind it, for a goal, or for the next turn.

    Raises TurnFailed if the turn failed or was interrupted, WaitTimedOut.
    """
    began = time.monotonic()
    session = context.created_session(request.session_id)
    deadline = Deadline.cancellable(request.timeout)
    goal: Goal | None = None
    if request.goal and request.next_turn:
        raise InvalidRequest("Wait for the goal or for the next turn, not for both")
    try:
        if request.goal:
            outcome, goal = _wait_for_goal(context, session, deadline)
        elif request.next_turn:
            outcome = _wait_for_next_turn(context, session, deadline)
        else:
            outcome = _wait_for_turn(context, session, deadline, request)
    except WaitTimedOut as error:
        raise WaitTimedOut(timeout_message(request)) from error
    return WaitResult(outcome, round((time.monotonic() - began) * 1000), goal)


def _wait_for_turn(context: Context, session: Session, deadline: Deadline, request: Wait) -> WaitOutcome:
    backend = context.backends(session.cli)
    outcome = backend.wait(session, deadline, request.interval, through_limits=request.through_limits)
    if outcome.status == "failed" and (changed := _changed_record(context, session)) is not None:
        session = changed
        outcome = backend.wait(session, deadline, request.interval, through_limits=request.through_limits)
    if changes := backend.changed_fields(session):
        session = _record_changes(context, session, changes)
    if outcome.status == "completed" and not backend.has_conversation(session):
        context.warn(f"no message has been sent to {session.id} yet; completed means only that it is idle")
    return outcome_or_raise(context, session, outcome)


def _changed_record(context: Context, session: Session) -> Session | None:
    """Return the record of the same message if it has changed: an `interrupt` may have taken the message back."""
    with contextlib.suppress(StoreError, SessionNotFound):
        found = context.store.get(session.id)
        if found != session and found.last_used == session.last_used:
            return found
    return None


def _wait_for_next_turn(context: Context, session: Session, deadline: Deadline) -> WaitOutcome:
    from dev_sessions.sessions.goals import goal_backend

    backend = goal_backend(context, session, "--next-turn waits")
    outcome = backend.wait_for_next_turn(session, deadline, lambda: context.store.get(session.id))
    return outcome_or_raise(context, session, outcome)


def _wait_for_goal(context: Context, session: Session, deadline: Deadline) -> tuple[WaitOutcome, Goal | None]:
    """Wait for a goal to end. A failed last turn is not an error, as the goal's status shows it; it is a warning."""
    from dev_sessions.sessions.goals import goal_backend

    outcome, goal = goal_backend(context, session).wait_for_goal(session, deadline)
    if outcome.status == "waiting_for_input":
        return outcome.status, goal
    if outcome.status == "failed":
        _record_outcome(context, session, outcome)
        context.warn(f"the last turn of {session.id} failed: {failures.summary(outcome)}")
    return "completed", goal


def outcome_or_raise(context: Context, session: Session, outcome: Outcome) -> WaitOutcome:
    """Return the outcome of a wait. Raises TurnFailed, and records it, if the turn failed or was interrupted."""
    if outcome.status == "completed" or outcome.status == "waiting_for_input":
        return outcome.status
    _record_outcome(context, session, outcome)
    raise failures.turn_failed(session, outcome)


def _record_outcome(context: Context, session: Session, outcome: Outcome) -> None:
    if outcome.status == "waiting_for_input":
        return
    if (session.last_turn_status, session.last_turn_error) != (outcome.status, outcome.error):
        _record_changes(context, session, {"last_turn_status": outcome.status, "last_turn_error": outcome.error})


def _record_changes(context: Context, session: Session, changes: FieldChanges) -> Session:
    """Store what a wait has observed. A sandbox may deny that; a later command outside then observes the same."""
    try:
        return context.store.update(session.id, changes)
    except StoreError:
        if not pid_namespace.is_sandboxed():
            raise
        return with_changes(session, changes)
