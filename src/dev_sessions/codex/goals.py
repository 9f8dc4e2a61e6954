"""The goal of a thread: read, set, pause and clear it.

A turn begins within milliseconds of a goal's activation, with or without subscribers. On a thread that is not loaded
nothing happens until it is loaded, which makes an active goal continue and leaves a paused one alone (0.150 to 0.169).
"""

from __future__ import annotations

import contextlib

from dev_sessions.codex import goal_protocol, protocol, turns
from dev_sessions.codex.client import CallRefused, NoAnswer
from dev_sessions.codex.history import ConversationGone, has_conversation
from dev_sessions.codex.thread import Thread
from dev_sessions.errors import DeliveryFailed, InvalidRequest, ProgramMissing, ProtocolError
from dev_sessions.models import CodexSession, Goal, GoalChange, JsonObject
from dev_sessions.system.deadline import Deadline

#: Seconds between a goal's activation and the beginning of its turn (measured: 0.05, on a busy machine 0.3).
BEGIN_TIMEOUT = 10.0


def read(thread: Thread, session: CodexSession) -> Goal | None:
    """Return the goal; None when there is none. Raises ProgramMissing when this Codex has goals disabled."""
    try:
        return goal_protocol.goal(_call(thread, session, "get", {"threadId": thread.id}))
    except CallRefused as refusal:
        if not protocol.is_unknown_thread(refusal.error):
            raise
        return None


def read_if_any(thread: Thread, session: CodexSession) -> Goal | None:
    """Return the goal; None also when this Codex has goals disabled."""
    try:
        return read(thread, session)
    except ProgramMissing:
        return None


def get_request(thread_id: str) -> tuple[str, JsonObject]:
    """Return the request for the goal of a thread."""
    return "thread/goal/get", {"threadId": thread_id}


def goal_in(answer: JsonObject | CallRefused | NoAnswer) -> Goal | None:
    """Return the goal in the answer to `get_request`; None also when this Codex has goals disabled. Raises NoAnswer."""
    if isinstance(answer, NoAnswer):
        raise answer
    return None if isinstance(answer, CallRefused) else goal_protocol.goal(answer)


def clear(thread: Thread, session: CodexSession) -> bool:
    """Clear the goal, and return whether there was one."""
    try:
        return goal_protocol.is_cleared(_call(thread, session, "clear", {"threadId": thread.id}))
    except CallRefused as refusal:
        if not protocol.is_unknown_thread(refusal.error):
            raise
        return False


def change(
    thread: Thread, session: CodexSession, objective: str | None, status: GoalChange | None, token_budget: int | None
) -> Goal:
    """Set or change the goal, and wait until work begins on one that becomes active.

    A thread that was lost before its first message is replaced by a new one. Raises InvalidRequest when there is no
    goal to change, DeliveryFailed when no work begins.
    """
    running = thread.running(Deadline(BEGIN_TIMEOUT))
    is_first = not has_conversation(session)
    if objective is not None:
        goal = _begin(thread, session, objective, token_budget)
    else:
        try:
            goal = _set(thread, session, None, status, token_budget)
        except CallRefused as refusal:
            if not protocol.is_unknown_thread(refusal.error):
                raise
            raise _no_goal(session) from refusal
    if goal.active and (objective is not None or status == "active"):
        if not thread.probe().loaded:
            thread.load()
        if running is None and not turn_begins(thread, BEGIN_TIMEOUT):
            raise DeliveryFailed(
                f"Codex accepted the goal of {session.id}, but did not begin to work on it within {BEGIN_TIMEOUT:g} s;"
                f" see its status: dev-sessions goal {session.id}"
            )
    if is_first:
        with contextlib.suppress(ProtocolError):
            thread.set_name()
    return goal


def pause(thread: Thread, session: CodexSession) -> bool:
    """Pause an active goal, and return whether there was one.

    The connection's events are forgotten before, so that `turn_begins` sees a turn that begins nevertheless.
    """
    goal = read_if_any(thread, session)
    if goal is None or not goal.active:
        return False
    thread.client.forget_events()
    _set(thread, session, None, "paused", None)
    return True


def turn_begins(thread: Thread, timeout: float) -> bool:
    """Return whether a turn begins within `timeout` seconds, or has since the connection's events were forgotten."""
    deadline = Deadline(timeout)
    while (event := thread.client.next_event(deadline)) is not None:
        if turns.is_turn_start(event, thread.id, ""):
            return True
    return False


def _begin(thread: Thread, session: CodexSession, objective: str, token_budget: int | None) -> Goal:
    """Set an objective and make the goal active.

    It replaces the objective of an active or paused goal. After a goal that is over it is a new goal, which does not
    count the tokens of the old one.
    """
    old = read(thread, session)
    if old is not None and not old.active and old.status != "paused":
        # As paused first: if Codex refuses the objective, the old goal is kept.
        _set(thread, session, objective, "paused", token_budget)
        clear(thread, session)
    try:
        goal = _set(thread, session, objective, "active", token_budget)
    except CallRefused as refusal:
        if not protocol.is_unknown_thread(refusal.error):
            raise
        # The app-server lost the thread before its first message.
        thread.start_new()
        goal = _set(thread, session, objective, "active", token_budget)
    if not goal.active:
        # A new objective keeps the tokens that the goal has used: that may be more than its budget.
        clear(thread, session)
        goal = _set(thread, session, objective, "active", token_budget)
    return goal


def _set(
    thread: Thread, session: CodexSession, objective: str | None, status: GoalChange | None, token_budget: int | None
) -> Goal:
    try:
        goal = goal_protocol.goal(
            _call(thread, session, "set", goal_protocol.goal_set(thread.id, objective, status, token_budget))
        )
    except CallRefused as refusal:
        if goal_protocol.has_no_goal(refusal.error):
            raise _no_goal(session) from refusal
        max_length = goal_protocol.max_objective_length(refusal.error)
        if max_length is None or objective is None:
            raise
        raise InvalidRequest(
            f"The objective for {session.id} has {len(objective)} characters and Codex takes {max_length};"
            " write it to a file and name that file in the objective"
        ) from refusal
    if goal is None:
        raise ProtocolError("Codex's app-server accepted a goal and returned none; try another version of Codex")
    return goal


def _call(thread: Thread, session: CodexSession, action: str, params: JsonObject) -> JsonObject:
    try:
        return thread.client.call(f"thread/goal/{action}", params)
    except CallRefused as refusal:
        if goal_protocol.is_disabled(refusal.error):
            raise ProgramMissing(
                f"Goals are disabled in the Codex of {session.id}: set `goals = true` under [features] in its"
                " config.toml, and restart its app-server (it ends with the last session)"
            ) from refusal
        if protocol.is_unknown_thread(refusal.error) and has_conversation(session):
            raise ConversationGone(session, thread.client) from refusal
        raise


def _no_goal(session: CodexSession) -> InvalidRequest:
    return InvalidRequest(f"No goal set for {session.id}")
