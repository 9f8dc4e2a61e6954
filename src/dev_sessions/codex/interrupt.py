"""Interrupt a session: end its running turn, and pause its goal."""

from __future__ import annotations

from dev_sessions.codex import goals
from dev_sessions.codex.thread import Thread
from dev_sessions.errors import InvalidRequest
from dev_sessions.models import CodexSession
from dev_sessions.system.deadline import Deadline

#: Seconds in which a turn may still begin after its goal was paused (measured: up to 0.05).
_LATE_TURN_TIMEOUT = 0.5


def interrupt(thread: Thread, session: CodexSession, deadline: Deadline) -> None:
    """End the running turn and pause an active goal. Raises InvalidRequest when there is neither.

    The goal is paused first: else it would stay active without a turn, and continue with the next message (0.150 to
    0.169).
    """
    was_paused = goals.pause(thread, session)
    was_running = thread.interrupt(deadline)
    if not was_paused and not was_running:
        raise InvalidRequest(f"{session.id} is idle; there is nothing to interrupt")
    if not was_running and goals.turn_begins(thread, min(_LATE_TURN_TIMEOUT, deadline.remaining())):
        thread.interrupt(deadline)
