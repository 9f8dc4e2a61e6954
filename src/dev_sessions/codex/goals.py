"""A thread's goal over one connection: to read, set, pause and clear it.

To make a goal active begins a turn within milliseconds, whoever is subscribed. On a thread that is not loaded it does
nothing until the thread is: that goes on with an active goal and leaves a paused one alone (measured: 0.150 to 0.169).
"""

from __future__ import annotations

from dev_sessions.codex import goal_protocol, protocol, turns
from dev_sessions.codex.client import CallRefused
from dev_sessions.codex.history import ConversationGone, has_conversation
from dev_sessions.codex.thread import Thread
from dev_sessions.errors import DeliveryFailed, InvalidRequest, ProgramMissing, ProtocolError
from dev_sessions.models import CodexSession, Goal, GoalChange, JsonObject
from dev_sessions.system.deadline import Deadline

#: Seconds between a goal's activation and the beginning of its turn (measured: 0.05, on a busy machine 0.3).
BEGIN_TIMEOUT = 10.0
#: Seconds in which a turn begins that was about to when its goal was paused (measured: up to 0.05).
_LATE_TURN = 0.5


def read(thread: Thread, session: CodexSession) -> Goal | None:
    """The goal. ProgramMissing when this Codex has goals switched off."""
    try:
        return goal_protocol.goal(_call(thread, session, "get", {"threadId": thread.id}))
    except CallRefused as refusal:
        if not protocol.is_unknown_thread(refusal.error):
            raise
        return None


def read_if_any(thread: Thread, session: CodexSession) -> Goal | None:
    """The goal; None also when this Codex has goals switched off."""
    try:
        return read(thread, session)
    except ProgramMissing:
        return None


def clear(thread: Thread, session: CodexSession) -> bool:
    """Forget the goal; whether there was one."""
    try:
        return goal_protocol.is_cleared(_call(thread, session, "clear", {"threadId": thread.id}))
    except CallRefused as refusal:
        if not protocol.is_unknown_thread(refusal.error):
            raise
        return False


def change(
    thread: Thread, session: CodexSession, objective: str | None, status: GoalChange | None, token_budget: int | None
) -> Goal:
    """Set or change the goal, and see the work begin on one that is made active; it may be on another thread then."""
    running = thread.running(Deadline(BEGIN_TIMEOUT))
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
        if running is None and not _begins(thread, BEGIN_TIMEOUT):
            raise DeliveryFailed(
                f"Codex took the goal of {session.id}, but was not seen to work on it for {BEGIN_TIMEOUT:g} s;"
                f" look: dev-sessions goal {session.id}"
            )
    return goal


def interrupt(thread: Thread, session: CodexSession, deadline: Deadline) -> bool:
    """End what runs; False when nothing does. An active goal is paused first: else it would stay active with nothing
    working on it, and come back to life with the next message (measured: 0.150 to 0.169)."""
    goal = read_if_any(thread, session)
    if goal is None or not goal.active:
        return thread.interrupt(deadline)
    thread.client.forget_events()
    _set(thread, session, None, "paused", None)
    if not thread.interrupt(deadline) and _begins(thread, min(_LATE_TURN, deadline.remaining())):
        thread.interrupt(deadline)
    return True


def _begin(thread: Thread, session: CodexSession, objective: str, token_budget: int | None) -> Goal:
    """Set an objective and make it active.

    It takes the place of that of a goal which is active or paused. Where the goal is over, it is a goal of its own:
    what the old one has used does not count.
    """
    old = read(thread, session)
    if old is not None and not old.active and old.status != "paused":
        # First paused: should Codex refuse it, the old one is still there.
        _set(thread, session, objective, "paused", token_budget)
        clear(thread, session)
    try:
        goal = _set(thread, session, objective, "active", token_budget)
    except CallRefused as refusal:
        if not protocol.is_unknown_thread(refusal.error):
            raise
        # The app-server lost it before its first message.
        thread.renew()
        goal = _set(thread, session, objective, "active", token_budget)
    if not goal.active:
        # A new objective keeps the tokens that the goal has used, and so may stay budgetLimited.
        # The budget is less than what the goal had used for the objective before.
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
        longest = goal_protocol.longest_objective(refusal.error)
        if longest is None or objective is None:
            raise
        raise InvalidRequest(
            f"The objective for {session.id} has {len(objective)} characters and Codex takes {longest};"
            " write it to a file and name that file in the objective"
        ) from refusal
    if goal is None:
        raise ProtocolError("Codex's app-server took a goal and gave none back; try another version of Codex")
    return goal


def _call(thread: Thread, session: CodexSession, what: str, params: JsonObject) -> JsonObject:
    try:
        return thread.client.call(f"thread/goal/{what}", params)
    except CallRefused as refusal:
        if goal_protocol.is_switched_off(refusal.error):
            raise ProgramMissing(goal_protocol.switched_off(session.id)) from refusal
        if protocol.is_unknown_thread(refusal.error) and has_conversation(session):
            raise ConversationGone(session, thread.client) from refusal
        raise


def _no_goal(session: CodexSession) -> InvalidRequest:
    return InvalidRequest(f"No goal set for {session.id}")


def _begins(thread: Thread, seconds: float) -> bool:
    """Whether a turn begins, or has since the connection was made or its events were forgotten."""
    deadline = Deadline(seconds)
    while (event := thread.client.next_event(deadline)) is not None:
        if turns.begins(event, thread.id, ""):
            return True
    return False
