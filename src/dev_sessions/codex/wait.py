"""The ways to wait for a thread: each looks, and sleeps until the app-server tells of a change.

Between two turns of a goal the thread is idle for some milliseconds. So it rests only when its goal is not active, and
that has to be asked before the status: else a last turn may have begun in between. And a goal can be active with
nobody working on it: its turn was interrupted elsewhere, the app-server ended, or another client put the thread into
plan mode.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Self

from dev_sessions.codex import goals, turns
from dev_sessions.codex.history import ConversationGone, back_to, has_conversation, history
from dev_sessions.codex.protocol import ThreadStatus, Turn
from dev_sessions.codex.thread import TURNS_BACK, Thread
from dev_sessions.errors import InvalidRequest, TurnFailed, WaitTimedOut
from dev_sessions.models import Answer, CodexSession, Goal, Outcome
from dev_sessions.system.deadline import Deadline

#: Seconds between a failure's place in the status and its place in the turn (measured: milliseconds), and between two
#: looks meanwhile: no event tells those who are not subscribed.
_SETTLE_TIMEOUT, _SETTLE_INTERVAL = 1.0, 0.02
#: Seconds without a turn after which nobody works on an active goal (measured between two of its turns: up to 0.05).
STANDSTILL_TIMEOUT = 5.0
#: Seconds between two looks into the store for the thread that a first message has made.
_RENEWAL_INTERVAL = 0.5
_NOT_TAKEN = Outcome("failed", "Codex ended the turn without taking in the message; send it again")
_PASSED_OVER = Outcome("failed", "Codex ended the turn before it answered the message; ask again")


class TurnWait:
    """One wait for a session. It may go on over another connection when one is lost: `on` takes that."""

    def __init__(self, session: CodexSession) -> None:
        self._session = session
        self._settling: Deadline | None = None
        self._standstill: Deadline | None = None
        # No goal goes on with the thread: asked before the latest look at its status.
        self._over = False
        self._had_goal = False
        # The turn before the one that is waited for, from the beginning of the wait on.
        self._before: tuple[str | None] | None = None

    def on(self, thread: Thread) -> Self:
        """Go on over the thread's connection."""
        self._thread = thread
        return self

    def for_turn(self, deadline: Deadline) -> Outcome:
        """Until the turn of the last send has ended, whatever goes on after it. WaitTimedOut."""
        own = self._session.codex_active_turn_id
        while True:
            status = self._thread.status()
            if status is not None and turns.runs(status):
                if own is not None:
                    recent = back_to(own, self._thread, self._session, "notLoaded")
                    ended = turns.ended(recent, own)
                    if ended is not None:
                        return ended
                self._sleep(deadline)
                continue
            outcome = self._judge(status, own, deadline)
            if outcome is not None:
                return outcome

    def for_rest(self, deadline: Deadline) -> Outcome:
        """Until the turn of the last send has ended, and nothing goes on after it. WaitTimedOut."""
        while True:
            status = self._thread.status()
            if status is not None and turns.runs(status):
                self._sleep(deadline)
                continue
            asks = status is not None and status.waiting_for is not None
            if status is not None and not asks and not self._rests(status, deadline):
                continue
            outcome = self._judge(status, self._session.codex_active_turn_id, deadline)
            if outcome is not None:
                return outcome

    def for_answer(self, deadline: Deadline) -> tuple[Outcome, Answer]:
        """Until the last send is answered, and its turn has ended. WaitTimedOut."""
        outcome = self.for_turn(deadline)
        found = self._answer()
        if found is not None and found.passed_over and outcome.status == "completed":
            # Another message may begin a turn in which both are answered.
            self.for_rest(deadline)
            found = self._answer()
        if found is None:
            return (_NOT_TAKEN if outcome.status == "completed" else outcome), Answer()
        if found.passed_over and outcome.status == "completed":
            return _PASSED_OVER, found.answer
        # Whatever became of the turn after that was no answer to this message.
        return (Outcome("completed") if found.whole else outcome), found.answer

    def for_goal(self, deadline: Deadline) -> tuple[Outcome, Goal | None]:
        """Until the goal is over and nothing runs; with the outcome of the last turn. WaitTimedOut, TurnFailed."""
        while True:
            goal = goals.read(self._thread, self._session)
            if goal is None and not self._had_goal:
                raise InvalidRequest(f"No goal set for {self._session.id}")
            self._had_goal = True
            status = self._thread.status()
            if status is not None and turns.runs(status):
                self._sleep(deadline)
                continue
            # A goal is complete while its last turn is still running, and blocked once a turn of it fails.
            asks = status is not None and status.waiting_for is not None
            if asks or goal is None or not goal.active:
                outcome = self._judge(status, None, deadline)
                if outcome is not None:
                    return outcome, goal
            elif status is None or status.kind == "notLoaded":
                raise self._abandoned("the app-server ended while it was worked on")
            elif self._stands_still(deadline):
                raise self._abandoned("nothing works on it")

    def for_next_turn(self, deadline: Deadline, record: Callable[[], CodexSession]) -> Outcome:
        """Until a turn has ended since the wait began: the one that runs, or the next to begin. WaitTimedOut.

        A thread that Codex dropped before its first message is made anew by that: `record` tells.
        """
        if self._before is None:
            self._before = (self._last_ended(deadline),)
        while True:
            status = self._thread.status()
            if status is None:
                self._renew(record(), deadline)
                continue
            since = self._since(self._before[0])
            first = since[-1] if since else None
            ended = turns.ended(since, first.id) if first is not None else None
            if status.kind == "active" and first is not None and ended is not None:
                # The status may be older than the turns.
                if len(since) > 1 or self._thread.probe().turn_id not in (None, first.id):
                    return ended
                self._thread.client.next_event(Deadline(_SETTLE_INTERVAL))
            elif turns.runs(status):
                self._sleep(deadline)
            elif first is None and status.waiting_for is None:
                if deadline.expired:
                    raise self._timed_out()
                self._hear(deadline)
            else:
                outcome = self._judge_among(status, since, first.id if first is not None else None, deadline)
                if outcome is not None:
                    return outcome

    def _renew(self, session: CodexSession, deadline: Deadline) -> None:
        """Go on with the session's new thread, or sleep while it has none yet. ConversationGone, WaitTimedOut."""
        if session.internal_id != self._thread.id:
            self._session = session
            self._thread = Thread(self._thread.client, session)
        elif has_conversation(session):
            raise ConversationGone(session, self._thread.client)
        elif deadline.expired:
            raise self._timed_out()
        else:
            self._thread.client.next_event(Deadline(min(_RENEWAL_INTERVAL, deadline.remaining())))

    def _answer(self) -> turns.Found | None:
        """The answer to the last send, as far as it is there; None when its turn lacks the message."""
        own, client_id = self._session.codex_active_turn_id, self._session.codex_send_id
        recent = back_to(own, self._thread, self._session, "full")
        found = turns.answer(recent, client_id) if client_id is not None else None
        turn = turns.judged(recent, own)
        if found is not None or turn is None:
            return found or turns.Found(Answer())
        # An answer to a question is no message.
        return turns.Found(turns.last_answer(turn)) if client_id is None else None

    def _rests(self, status: ThreadStatus, deadline: Deadline) -> bool:
        """Whether no goal goes on with a thread that does not run. When it is False, it is time for another look."""
        if self._over:
            return True
        goal = goals.read_if_any(self._thread, self._session)
        if goal is not None and goal.active:
            return status.kind == "notLoaded" or self._stands_still(deadline)
        self._over = True
        return goal is None

    def _stands_still(self, deadline: Deadline) -> bool:
        """Whether no turn of an active goal has begun for long; sleeps until something changes. WaitTimedOut."""
        self._standstill = self._standstill or Deadline(STANDSTILL_TIMEOUT)
        if self._standstill.expired:
            return True
        if not self._hear(Deadline(min(self._standstill.remaining(), deadline.remaining()))) and deadline.expired:
            raise self._timed_out()
        return False

    def _judge(self, status: ThreadStatus | None, turn_id: str | None, deadline: Deadline) -> Outcome | None:
        """How a turn ended, or the newest for None, on a thread that does not run; None: look again."""
        if status is None:
            if has_conversation(self._session):
                raise ConversationGone(self._session, self._thread.client)
            return Outcome("completed")
        recent = [] if status.waiting_for else back_to(turn_id, self._thread, self._session, "notLoaded")
        return self._judge_among(status, recent, turn_id, deadline)

    def _judge_among(
        self, status: ThreadStatus, recent: list[Turn], turn_id: str | None, deadline: Deadline
    ) -> Outcome | None:
        settled = self._settling is not None and self._settling.expired
        outcome = turns.outcome(status, recent, turn_id, settled=settled)
        if outcome is None and status.kind == "unknown":
            self._sleep(deadline)
        elif outcome is None:
            self._settling = self._settling or Deadline(_SETTLE_TIMEOUT)
            self._thread.client.next_event(Deadline(_SETTLE_INTERVAL))
        return outcome

    def _sleep(self, deadline: Deadline) -> None:
        """Until the thread, which runs, is told to do something else. WaitTimedOut."""
        if deadline.expired:
            raise self._timed_out()
        # At the deadline, too, it is looked once more: what happened while this process was frozen is told late.
        self._thread.await_change(deadline)
        self._settling = self._standstill = None
        self._over = False

    def _hear(self, deadline: Deadline) -> bool:
        """Whether the status of the thread, which does not run, changes before the deadline."""
        while (event := self._thread.client.next_event(deadline)) is not None:
            status = turns.status_change(event, self._thread.id)
            if status is not None:
                if turns.runs(status):
                    self._standstill = None
                return True
        return False

    def _last_ended(self, deadline: Deadline) -> str | None:
        """The newest turn, or the one before it when it runs."""
        newest = list(islice(history(self._thread, self._session, "notLoaded"), 2))
        running = self._thread.running(deadline)
        ended = [turn.id for turn in newest if turn.id != running]
        return ended[0] if ended else None

    def _since(self, turn_id: str | None) -> list[Turn]:
        """The turns after a turn, newest first; all for None."""
        found: list[Turn] = []
        for turn in islice(history(self._thread, self._session, "notLoaded"), TURNS_BACK):
            if turn.id == turn_id:
                break
            found.append(turn)
        return found

    def _abandoned(self, what: str) -> TurnFailed:
        return TurnFailed(
            f"The goal of {self._session.id} is active, but {what}; go on with it:"
            f" dev-sessions goal {self._session.id} --resume"
        )

    def _timed_out(self) -> WaitTimedOut:
        return WaitTimedOut(f"Timed out waiting for {self._session.id}")
