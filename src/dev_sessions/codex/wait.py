"""Wait for a thread: read its status, then block until the app-server reports a change.

Between two turns of a goal the thread is idle for some milliseconds. So it has stopped only when its goal is not
active, and the goal has to be read before the status: else a last turn may begin in between. A goal can also be active
with no turn: its turn was interrupted elsewhere, the app-server ended, or another client put the thread into plan mode.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice, takewhile
from typing import Self

from dev_sessions.codex import goals, turns
from dev_sessions.codex.history import ConversationGone, has_conversation, history, turns_back_to, with_limit_reset
from dev_sessions.codex.protocol import ThreadStatus, Turn
from dev_sessions.codex.thread import MAX_TURNS, POLL_INTERVAL, Thread
from dev_sessions.errors import InvalidRequest, TurnFailed, WaitTimedOut
from dev_sessions.models import Answer, CodexSession, Goal, Outcome, Reason
from dev_sessions.system.deadline import Deadline

#: Seconds between a failure's appearance in the status and in the turn (measured: milliseconds). In that time it is
#: polled: clients without a subscription get no event.
_SETTLE_TIMEOUT = 1.0
#: Seconds without a turn after which an active goal is stalled (measured between two of its turns: up to 0.05).
STALL_TIMEOUT = 5.0
#: Seconds between two reads of the store for the thread that a first message starts.
_RECORD_POLL_INTERVAL = 0.5
_NOT_READ = Outcome("failed", "Codex ended the turn without reading the message; send it again")
_UNANSWERED = Outcome("failed", "Codex ended the turn before it answered the message; ask again")


class TurnWait:
    """One wait for a session. After a lost connection it can continue over another one, which `use` sets.

    Methods raise WaitTimedOut at the deadline.
    """

    def __init__(self, session: CodexSession) -> None:
        self._session = session
        self._settle_deadline: Deadline | None = None
        self._stall_deadline: Deadline | None = None
        # No active goal starts another turn: read before the latest status.
        self._goal_stopped = False
        self._had_goal = False
        # The last turn that had ended when the wait began (None if there was none), in a tuple.
        self._last_before: tuple[str | None] | None = None

    def use(self, thread: Thread) -> Self:
        """Set the thread, with its connection, and return this wait."""
        self._thread = thread
        return self

    def for_turn(self, deadline: Deadline) -> Outcome:
        """Wait until the turn of the last send has ended, whatever runs after it."""
        own = self._session.codex_active_turn_id
        while True:
            status = self._thread.status()
            if status is not None and turns.is_running(status):
                if own is not None:
                    recent = turns_back_to(own, self._thread, self._session, "notLoaded")
                    ended = turns.ended(recent, own)
                    if ended is not None:
                        return with_limit_reset(ended, status)
                self._await_stop(deadline)
                continue
            outcome = self._outcome(status, own, deadline)
            if outcome is not None:
                return outcome

    def until_idle(self, deadline: Deadline) -> Outcome:
        """Wait until the turn of the last send has ended, and nothing runs after it."""
        while True:
            status = self._thread.status()
            if status is not None and turns.is_running(status):
                self._await_stop(deadline)
                continue
            asks = status is not None and status.waiting_for is not None
            if status is not None and not asks and not self._has_goal_stopped(status, deadline):
                continue
            outcome = self._outcome(status, self._session.codex_active_turn_id, deadline)
            if outcome is not None:
                return outcome

    def for_answer(self, deadline: Deadline) -> tuple[Outcome, Answer]:
        """Wait until the last send is answered, and its turn has ended."""
        outcome = self.for_turn(deadline)
        found = self._answer()
        if found is not None and found.unanswered and outcome.status == "completed":
            # Another message may begin a turn in which both are answered.
            self.until_idle(deadline)
            found = self._answer()
        if found is None:
            return (_NOT_READ if outcome.status == "completed" else outcome), Answer()
        if found.unanswered and outcome.status == "completed":
            return _UNANSWERED, found.answer
        # What happened in the turn after the answer does not concern this message.
        return (Outcome("completed") if found.complete else outcome), found.answer

    def for_goal(self, deadline: Deadline) -> tuple[Outcome, Goal | None]:
        """Wait until the goal is over and nothing runs; return the outcome of the last turn, and the goal.

        Raises InvalidRequest when there was no goal, TurnFailed when it is active and no turn runs.
        """
        while True:
            goal = goals.read(self._thread, self._session)
            if goal is None and not self._had_goal:
                raise InvalidRequest(f"No goal set for {self._session.id}")
            self._had_goal = True
            status = self._thread.status()
            if status is not None and turns.is_running(status):
                self._await_stop(deadline)
                continue
            # A goal is complete while its last turn is still running, and blocked once a turn of it fails.
            asks = status is not None and status.waiting_for is not None
            if asks or goal is None or not goal.active:
                outcome = self._outcome(status, None, deadline)
                if outcome is not None:
                    return outcome, goal
            elif status is None or status.kind == "notLoaded":
                raise self._stalled("the app-server ended in one of its turns", "died")
            elif self._is_stalled(deadline):
                raise self._stalled("no turn runs for it")

    def for_next_turn(self, deadline: Deadline, record: Callable[[], CodexSession]) -> Outcome:
        """Wait until a turn has ended since the wait began: the running one, or the next to begin.

        If Codex dropped the thread before its first message, that message starts a new one, whose id `record` reads.
        """
        if self._last_before is None:
            self._last_before = (self._last_ended(deadline),)
        while True:
            status = self._thread.status()
            if status is None:
                self._await_new_thread(record(), deadline)
                continue
            since = self._turns_since(self._last_before[0])
            first = since[-1] if since else None
            ended = turns.ended(since, first.id) if first is not None else None
            if status.kind == "active" and first is not None and ended is not None:
                # The status may be older than the turns.
                if len(since) > 1 or self._thread.probe().turn_id not in (None, first.id):
                    return with_limit_reset(ended, status)
                self._thread.client.next_event(Deadline(POLL_INTERVAL))
            elif turns.is_running(status):
                self._await_stop(deadline)
            elif first is None and status.waiting_for is None:
                if deadline.expired:
                    raise self._timed_out()
                self._await_status_change(deadline)
            else:
                outcome = self._outcome_of(status, since, first.id if first is not None else None, deadline)
                if outcome is not None:
                    return outcome

    def _await_new_thread(self, session: CodexSession, deadline: Deadline) -> None:
        """Use the thread that a session's record names if it is a new one, else pause. Raises ConversationGone."""
        if session.internal_id != self._thread.id:
            self._session = session
            self._thread = Thread(self._thread.client, session)
        elif has_conversation(session):
            raise ConversationGone(session, self._thread.client)
        elif deadline.expired:
            raise self._timed_out()
        else:
            self._thread.client.next_event(Deadline(min(_RECORD_POLL_INTERVAL, deadline.remaining())))

    def _answer(self) -> turns.AnswerInTurn | None:
        """Return the answer to the last send, as far as it is written; None when its turn does not have the message."""
        own, client_id = self._session.codex_active_turn_id, self._session.codex_send_id
        recent = turns_back_to(own, self._thread, self._session, "full")
        found = turns.answer(recent, client_id) if client_id is not None else None
        turn = turns.find_or_newest(recent, own)
        if found is not None or turn is None:
            return found or turns.AnswerInTurn(Answer())
        # A send that answered a question has no message in the turn.
        return turns.AnswerInTurn(turns.last_answer(turn)) if client_id is None else None

    def _has_goal_stopped(self, status: ThreadStatus, deadline: Deadline) -> bool:
        """Return True when no goal starts another turn on a thread that does not run; False to read the status again.

        Blocks until the status changes while an active goal may start a turn.
        """
        if self._goal_stopped:
            return True
        goal = goals.read_if_any(self._thread, self._session)
        if goal is not None and goal.active:
            return status.kind == "notLoaded" or self._is_stalled(deadline)
        self._goal_stopped = True
        return goal is None

    def _is_stalled(self, deadline: Deadline) -> bool:
        """Return whether an active goal has started no turn for too long; blocks until the status changes."""
        self._stall_deadline = self._stall_deadline or Deadline(STALL_TIMEOUT)
        if self._stall_deadline.expired:
            return True
        timeout = min(self._stall_deadline.remaining(), deadline.remaining())
        if not self._await_status_change(Deadline(timeout)) and deadline.expired:
            raise self._timed_out()
        return False

    def _outcome(self, status: ThreadStatus | None, turn_id: str | None, deadline: Deadline) -> Outcome | None:
        """Return the outcome of a turn (None: the newest) on a thread that does not run; None to read it again."""
        if status is None:
            if has_conversation(self._session):
                raise ConversationGone(self._session, self._thread.client)
            return Outcome("completed")
        recent = [] if status.waiting_for else turns_back_to(turn_id, self._thread, self._session, "notLoaded")
        return self._outcome_of(status, recent, turn_id, deadline)

    def _outcome_of(
        self, status: ThreadStatus, recent: list[Turn], turn_id: str | None, deadline: Deadline
    ) -> Outcome | None:
        settled = self._settle_deadline is not None and self._settle_deadline.expired
        outcome = turns.outcome(status, recent, turn_id, settled=settled)
        if outcome is None and status.kind == "unknown":
            self._await_stop(deadline)
        elif outcome is None:
            self._settle_deadline = self._settle_deadline or Deadline(_SETTLE_TIMEOUT)
            self._thread.client.next_event(Deadline(POLL_INTERVAL))
        return outcome and with_limit_reset(outcome, status)

    def _await_stop(self, deadline: Deadline) -> None:
        """Block until the app-server reports that the thread does not work any more."""
        if deadline.expired:
            raise self._timed_out()
        # The caller reads the status once more after the deadline: events may be late, as after a suspend.
        self._thread.await_change(deadline)
        self._settle_deadline = self._stall_deadline = None
        self._goal_stopped = False

    def _await_status_change(self, deadline: Deadline) -> bool:
        """Block until the status of a thread that does not run changes; return False at the deadline."""
        while (event := self._thread.client.next_event(deadline)) is not None:
            status = turns.status_change(event, self._thread.id)
            if status is not None:
                if turns.is_running(status):
                    self._stall_deadline = None
                return True
        return False

    def _last_ended(self, deadline: Deadline) -> str | None:
        """Return the id of the newest turn that does not run."""
        newest = list(islice(history(self._thread, self._session, "notLoaded"), 2))
        running = self._thread.running(deadline)
        return next((turn.id for turn in newest if turn.id != running), None)

    def _turns_since(self, turn_id: str | None) -> list[Turn]:
        """Return the turns after a turn, newest first; all for None."""
        newest_first = islice(history(self._thread, self._session, "notLoaded"), MAX_TURNS)
        return list(takewhile(lambda turn: turn.id != turn_id, newest_first))

    def _stalled(self, why: str, reason: Reason = "unknown") -> TurnFailed:
        return TurnFailed(
            f"The goal of {self._session.id} is active, but {why}; continue it with:"
            f" dev-sessions goal {self._session.id} --resume",
            reason,
        )

    def _timed_out(self) -> WaitTimedOut:
        return WaitTimedOut(f"Timed out waiting for {self._session.id}")
