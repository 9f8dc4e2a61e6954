"""Following the turn of a session's last send, in its session file and its transcript."""

from __future__ import annotations

import time
from pathlib import Path

from dev_sessions.claude.process import ClaudeProcess
from dev_sessions.claude.session_file import NOT_WORKING, SessionFile
from dev_sessions.claude.transcript import Kind, digest, parse
from dev_sessions.claude.transcript_file import (
    Tail,
    find_transcript,
    line_begins_at,
    newer_entries,
    newest_turn,
    size,
)
from dev_sessions.claude.turn import Turn
from dev_sessions.errors import WaitTimedOut
from dev_sessions.models import Outcome, SessionState, parse_timestamp, timestamp
from dev_sessions.system.deadline import Deadline

#: Seconds between two looks at the files.
_POLL_INTERVAL = 0.02
#: Seconds in which the transcript follows the state in the session file (measured: at most 0.11).
_FLUSH = 0.3
#: Seconds after which nothing comes of what did not begin: a command's turn, a queued message that was taken back.
_NOTHING_COMES = 1.0
#: Seconds after which an idle Claude writes no answer any more (on a busy machine one came after more than 0.3).
_NO_ANSWER_COMES = 2.0
#: Seconds without a written word after which an idle is believed whose time tells nothing.
_LONG_SILENCE = 10.0
#: Seconds by which the times of this program and of Claude may differ: they have one clock.
ONE_CLOCK = 0.5
_WAITING = Outcome("waiting_for_input")
_MESSAGES: frozenset[Kind] = frozenset({"prompt"})


class TurnWait:
    """One reader of one session."""

    def __init__(self, process: ClaudeProcess) -> None:
        self._process = process
        self._session = process.session
        self._tail: Tail | None = None
        self._turn: Turn | None = None
        self._found: SessionFile | None = None
        self._changed = time.monotonic()

    def turn(self) -> Turn:
        """The turn of the last send, as far as it is written by now."""
        if self._tail is not None and (self._tail.is_replaced or self._has_moved(self._tail)):
            self._turn = self._tail = None
            self._changed = time.monotonic()
        if self._turn is None:
            self._turn = self._open()
        if self._tail is None:
            self._tail = self._begin(self._turn)
        if self._tail is not None:
            for line in self._tail.lines():
                self._turn.feed(parse(line))
                self._changed = time.monotonic()
        return self._turn

    def wait(self, deadline: Deadline, interval: float | None = None, *, own: bool = False) -> Outcome:
        """Block until the turn has ended, with what is queued behind it unless only its `own` end is wanted.

        Raises WaitTimedOut, and what `ClaudeProcess.state` raises.
        """
        while True:
            expired = deadline.expired
            outcome = self._outcome(own=own)
            if outcome is not None:
                return outcome
            if expired:
                raise WaitTimedOut(f"Timed out waiting for {self._session.id}")
            deadline.pause(min(_POLL_INTERVAL, interval or _POLL_INTERVAL))

    def state(self) -> SessionState:
        """What the session does right now."""
        found = self._look()
        since = timestamp(found.status_since) if found.status_since else None
        if found.status == "waiting":
            return SessionState("waiting_for_input", found.waiting_for, since=since)
        if found.status not in NOT_WORKING:
            return SessionState("working", since=since)
        if self._is_about_to_work(found):
            return SessionState("working", background=found.status == "shell")
        return SessionState("idle", background=found.status == "shell", since=since)

    def _look(self) -> SessionFile:
        self._found = self._process.state()
        return self._found

    def _has_moved(self, tail: Tail) -> bool:
        """Whether the conversation goes on in another transcript by now."""
        moved = self._found is not None and self._found.moved_from is not None
        return moved and self._transcript() not in (None, tail.path)

    def _has_died(self, found: SessionFile) -> bool:
        """Whether the turn began in an earlier process than the one that lives: the session was brought back."""
        began = self.turn().started_at
        if self._session.claude_send_process is not None:
            return bool(began) and self._session.claude_send_process != self._session.claude_proc_start
        return bool(began) and parse_timestamp(began) < found.began

    def _is_about_to_work(self, found: SessionFile) -> bool:
        """Whether an `idle` is older than the last message, or so fresh that what was said last is not written yet."""
        if self._session.claude_send_digest is None:
            return False
        sent = parse_timestamp(self._session.last_used)
        if time.time() - found.status_since >= _FLUSH and found.status_since > sent:
            return False
        turn = self.turn()
        if self._has_died(found):
            return False
        if turn.is_over or not turn.arrived or (turn.arrived == "command" and turn.seems_ended):
            return False
        return not self._is_left_idle(found, turn)

    def _outcome(self, *, own: bool) -> Outcome | None:
        found = self._look()
        turn = self.turn()
        if own and turn.own_end is not None:
            return turn.own_end
        if turn.is_over:
            return turn.end
        if self._has_died(found):
            seems = Outcome("completed") if turn.seems_ended else None
            return turn.end or seems or Outcome("interrupted", "Claude ended while the turn ran")
        if found.status == "waiting":
            return _WAITING
        if found.status not in NOT_WORKING:
            # What it is quiet about counts from the moment when it goes idle: a long tool is quiet, too.
            self._changed = time.monotonic()
            return None
        if not turn.digest:
            return Outcome("completed")
        if turn.command and turn.arrived in ("command", None):
            # Most commands leave it at that; the turn that some begin is seen by now.
            return Outcome("completed") if self._is_quiet(_NOTHING_COMES) else None
        if not turn.started:
            return self._never_started(found, turn)
        if not self._is_quiet(_FLUSH) or not self._is_left_idle(found, turn):
            return None
        if turn.end is not None or turn.seems_ended:
            return turn.end or Outcome("completed")
        if turn.own_end is not None:
            return turn.own_end  # what was queued behind it did not come
        return Outcome("interrupted", "Claude is idle and gave no answer") if self._is_quiet(_NO_ANSWER_COMES) else None

    def _never_started(self, found: SessionFile, turn: Turn) -> Outcome | None:
        if not self._is_quiet(_NOTHING_COMES):
            return None
        if turn.command is not None and found.session_id != self._session.claude_send_transcript:
            # `/clear` was queued, and is written in the conversation that it has begun.
            return Outcome("completed")
        if turn.arrived is None:
            return Outcome("failed", "the message is not in the transcript; look before you send it again")
        return Outcome("interrupted", "Claude is idle and has not taken up the queued message")

    def _is_quiet(self, seconds: float) -> bool:
        return time.monotonic() - self._changed > seconds

    def _is_left_idle(self, found: SessionFile, turn: Turn) -> bool:
        """Whether Claude went idle after the message was taken up, and long enough ago to have written why.

        Where the clock was set back meanwhile, the times tell nothing, and a long silence does.
        """
        if not turn.started_at:
            return False
        if found.status_since > parse_timestamp(turn.started_at) and time.time() - found.status_since > _FLUSH:
            return True
        return self._is_quiet(_LONG_SILENCE) or self._was_written_long_ago()

    def _was_written_long_ago(self) -> bool:
        """Whether the transcript is old; what has a time to come was written before the clock was set back."""
        transcript = self._transcript()
        try:
            age = time.time() - transcript.stat().st_mtime if transcript is not None else 0.0
        except FileNotFoundError:
            return False
        return age > _LONG_SILENCE or age < -_FLUSH

    def _transcript(self) -> Path | None:
        """That of the last send; where the conversation moved since, the one in which it goes on, once there is one."""
        conversation = self._session.claude_send_transcript or self._session.internal_id
        moved = None
        if self._found is not None and self._found.moved_from == conversation:
            moved = find_transcript(self._process.config_dir, self._found.session_id)
        return moved or find_transcript(self._process.config_dir, conversation)

    def _begin(self, turn: Turn) -> Tail | None:
        """What is written from the last send on. Of a transcript that was cut off or replaced since, or that is a copy,
        only the times tell what that is: it is given to the turn at once."""
        transcript = self._transcript()
        if transcript is None:
            return None
        offset = self._session.claude_send_offset
        is_its = transcript.stem == self._session.claude_send_transcript
        if is_its and offset is not None and line_begins_at(transcript, offset):
            return Tail(transcript, offset)
        tail = Tail(transcript, size(transcript))
        for entry in newer_entries(transcript, self._session.sent_at - ONE_CLOCK):
            turn.feed(entry)
        return tail

    def _open(self) -> Turn:
        """The turn to follow: the last send's; for a session that remembers none, the last prompt's."""
        if self._session.claude_send_digest is not None:
            return Turn(self._session.claude_send_digest, self._session.claude_send_command)
        transcript = self._transcript()
        if transcript is None:
            return Turn("")
        self._tail = Tail(transcript, size(transcript))
        entries = newest_turn(transcript, _MESSAGES)
        prompts = [entry for entry in entries if entry.kind == "prompt"]
        turn = Turn(digest(prompts[-1].text) if prompts else "")
        for entry in entries:
            turn.feed(entry)
        return turn
