"""Following the turn of a session's last send, in its session file and its transcript."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from dev_sessions.claude.presence import Presence
from dev_sessions.claude.tail import Tail, find_transcript, lines_backward, size
from dev_sessions.claude.transcript import Entry, Turn, digest, parse
from dev_sessions.deadline import Deadline
from dev_sessions.errors import WaitTimedOut
from dev_sessions.models import ClaudeSession, Outcome, State, parse_timestamp

#: Seconds between two looks at the files.
_LOOK = 0.02
#: Seconds in which the transcript follows the state in the session file (measured: at most 0.11).
_FLUSH = 0.3
_NOT_WORKING = frozenset({"idle", "shell"})


class Follower:
    """One reader of one session. `alive` gives what the process says of itself and raises when there is none."""

    def __init__(self, session: ClaudeSession, config_dir: Path, alive: Callable[[], Presence | None]) -> None:
        self._session = session
        self._config_dir = config_dir
        self._alive = alive
        self._tail: Tail | None = None
        self._turn: Turn | None = None
        self._changed = time.monotonic()

    def turn(self) -> Turn:
        """The turn of the last send, as far as it is written by now."""
        if self._turn is None:
            self._turn = self._open()
        if self._tail is None:
            transcript = self._transcript()
            if transcript is not None:
                self._tail = Tail(transcript, self._session.claude_send_offset or 0)
        if self._tail is not None:
            for line in self._tail.lines():
                self._turn.feed(parse(line))
                self._changed = time.monotonic()
        return self._turn

    def wait(self, deadline: Deadline, interval: float | None) -> Outcome:
        """Block until the turn has ended. WaitTimedOut; what `alive` raises."""
        while True:
            expired = deadline.expired
            outcome = self._outcome()
            if outcome is not None:
                return outcome
            if expired:
                raise WaitTimedOut(f"Timed out waiting for {self._session.id}")
            deadline.pause(min(_LOOK, interval or _LOOK))

    def state(self) -> State:
        """What the session does right now."""
        found = self._alive()
        if found is None or found.status is None:
            turn = self.turn()
            if turn.question:
                return "waiting_for_input"
            return "idle" if not turn.arrived or turn.end or turn.seems_ended else "working"
        if found.status == "waiting":
            return "waiting_for_input"
        if found.status not in _NOT_WORKING:
            return "working"
        # The file's `idle` may be older than the last message, and is a moment older than what was said last.
        fresh = time.time() - found.status_since < _FLUSH or found.status_since <= parse_timestamp(
            self._session.last_used
        )
        if not fresh or self._session.claude_send_digest is None:
            return "idle"
        turn = self.turn()
        over = turn.end or not turn.arrived or self._is_left_idle(found, turn)
        return "idle" if over else "working"

    def _outcome(self) -> Outcome | None:
        found = self._alive()
        turn = self.turn()
        if found is not None and found.status is not None:
            return self._reported_outcome(found, turn)
        if not turn.arrived and self._session.claude_send_digest is None:
            return Outcome("completed")
        if turn.end is not None and turn.started:
            return turn.end
        if not self._is_quiet():
            return None
        if turn.question:
            return Outcome("waiting_for_input")
        return Outcome("completed") if turn.seems_ended and turn.started else None

    def _reported_outcome(self, found: Presence, turn: Turn) -> Outcome | None:
        """For versions that report their state: idle, and the transcript says how it got there."""
        if found.status == "waiting":
            return Outcome("waiting_for_input")
        if found.status not in _NOT_WORKING:
            return None
        if not turn.digest:
            return Outcome("completed")
        if turn.started and turn.end is not None:
            return turn.end
        if not self._is_quiet():
            return None
        if not turn.arrived:
            return Outcome("failed", "the message never arrived; send it again")
        if not turn.started or not self._is_left_idle(found, turn):
            return None
        if turn.seems_ended:
            return Outcome("completed")
        return Outcome("interrupted", "Claude is idle and gave no answer")

    def _is_quiet(self) -> bool:
        return time.monotonic() - self._changed > _FLUSH

    def _is_left_idle(self, found: Presence, turn: Turn) -> bool:
        """Whether Claude went idle after the message was taken up, and long enough ago to have written why."""
        if not turn.started_at:
            return False
        return found.status_since > parse_timestamp(turn.started_at) and time.time() - found.status_since > _FLUSH

    def _transcript(self) -> Path | None:
        return find_transcript(self._config_dir, self._session.claude_send_transcript or self._session.internal_id)

    def _open(self) -> Turn:
        """The turn to follow: the last send's; for a session that remembers none, the last prompt's."""
        if self._session.claude_send_digest is not None:
            return Turn(self._session.claude_send_digest)
        transcript = self._transcript()
        if transcript is None:
            return Turn("")
        self._tail = Tail(transcript, size(transcript))
        entries: list[Entry] = []
        for line in lines_backward(transcript):
            entries.append(parse(line))
            if entries[-1].kind == "prompt":
                break
        turn = Turn(digest(entries[-1].text) if entries and entries[-1].kind == "prompt" else "")
        for entry in reversed(entries):
            turn.feed(entry)
        return turn
