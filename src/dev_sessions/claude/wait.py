"""Wait for the end of the turn of a session's last message, by its session file and its transcript."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from dev_sessions.claude.message_text import digest
from dev_sessions.claude.process import ClaudeProcess
from dev_sessions.claude.session_file import FILE_POLL_INTERVAL, NOT_WORKING, SessionFile
from dev_sessions.claude.transcript import Kind, parse
from dev_sessions.claude.transcript_file import (
    FLUSH_DELAY,
    MAX_FLUSH_DELAY,
    Tail,
    entries_since,
    file_size,
    find_transcript,
    is_line_start,
    last_turn,
)
from dev_sessions.claude.turn import Turn
from dev_sessions.errors import DevSessionsError, WaitTimedOut
from dev_sessions.models import Outcome, SessionState, parse_timestamp, timestamp
from dev_sessions.system.deadline import Deadline
from dev_sessions.system.fast_dataclass import replace

#: Seconds after which what has not begun never will: a command's turn, a queued message that was taken back.
_NO_START_TIMEOUT = 1.0
#: Seconds without a new entry after which `idle` counts although its time proves nothing.
_SILENCE_TIMEOUT = 10.0
#: Seconds after a usage limit within which Claude continues by itself, if it does: at most 120 after the first limit,
#: 330 after another one (2.1.332). If the machine slept meanwhile, Claude waits for somebody to press Enter instead.
_CONTINUATION_TIMEOUT = 420.0
#: Seconds between two polls until then.
_CONTINUATION_POLL_INTERVAL = 0.5
#: Seconds by which the time of a file may be too early: a tick of the kernel.
_MTIME_RESOLUTION = 0.01
#: Seconds by which the times of this program and of Claude may differ; both use the same clock.
CLOCK_TOLERANCE = 0.5
#: Seconds by which Claude may take a message before it first writes its session file.
_LATE_REGISTRATION = 10.0
_WAITING = Outcome("waiting_for_input")
#: What a session waits for that shows neither a question nor a permission request.
_DIALOG = "dialog open"
_MESSAGES: frozenset[Kind] = frozenset({"prompt"})


class TurnWait:
    """The turn of a session's last message, read from its files until it has ended."""

    def __init__(self, process: ClaudeProcess) -> None:
        self._process = process
        self._session = process.session
        self._conversation = process.session.claude_send_transcript or process.session.internal_id
        self._tail: Tail | None = None
        self._turn: Turn | None = None
        self._state: SessionFile | None = None
        #: The conversations of the process since this wait began, each begun by a /clear in the one before.
        self._conversations: dict[str, None] = {}
        self._changed_at = time.monotonic()
        self._is_held_up = False

    def turn(self) -> Turn:
        """Return the turn of the last message, as far as it is written."""
        if self._tail is not None and (self._tail.is_replaced or self._has_new_transcript(self._tail)):
            self._turn = self._tail = None
            self._changed_at = time.monotonic()
        if self._turn is None:
            self._turn = self._open_turn()
        if self._tail is None:
            self._tail = self._open_tail(self._turn)
        if self._tail is not None:
            for line in self._tail.lines():
                self._turn.feed(parse(line))
                self._changed_at = time.monotonic()
        return self._turn

    def wait(
        self,
        deadline: Deadline,
        interval: float | None = None,
        *,
        own_turn: bool = False,
        through_limits: bool = False,
    ) -> Outcome:
        """Block until the turn has ended, and those of the messages queued after it unless `own_turn` is set.

        With `through_limits`, a turn that Claude will continue after a usage limit has not ended. Raises WaitTimedOut,
        and what `ClaudeProcess.state` raises.
        """
        while True:
            expired = deadline.expired
            outcome = self._outcome(own_turn=own_turn)
            if outcome is not None and outcome.reason == "usage_limit" and not self._unchanged_for(FLUSH_DELAY):
                outcome = None  # whether Claude will continue is written after the error
            will_continue = through_limits and outcome is not None and outcome.continues_at is not None
            if outcome is not None and not will_continue:
                return outcome
            if expired:
                raise WaitTimedOut(f"Timed out waiting for {self._session.id}")
            pause = _CONTINUATION_POLL_INTERVAL if will_continue else FILE_POLL_INTERVAL
            deadline.pause(min(pause, interval or pause))

    def state(self) -> SessionState:
        """Return the current state of the session."""
        found = self._poll_state()
        since = timestamp(found.status_since) if found.status_since else None
        if found.status == "waiting":
            return SessionState("waiting_for_input", found.waiting_for, since=since)
        if found.status not in NOT_WORKING:
            return SessionState("working", since=since)
        if self._is_stale_idle(found):
            return SessionState("working", background=found.status == "shell")
        return SessionState("idle", background=found.status == "shell", since=since)

    def ended(self) -> Outcome | None:
        """Return how the last turn of an idle session ended, if that is certain by now; to be called after `state`."""
        self.turn()
        transcript = self._transcript()
        if self._state is None or transcript is None:
            return None
        try:
            written_at = transcript.stat().st_mtime
        except FileNotFoundError:
            return None
        # Nobody has waited yet, so the silence so far is that of the files.
        self._changed_at -= max(0.0, time.time() - max(written_at, self._state.status_since))
        return self._outcome(own_turn=False)

    def _poll_state(self) -> SessionFile:
        self._state = self._process.state()
        self._conversations[self._state.session_id] = None
        return self._state

    def _has_new_transcript(self, tail: Tail) -> bool:
        """Return whether the conversation has moved to another transcript."""
        moved = self._state is not None and self._state.moved_from is not None
        return moved and self._transcript() not in (None, tail.path)

    def _began_in_earlier_process(self, found: SessionFile) -> bool:
        """Return whether the turn began in an earlier process, before the session was recovered."""
        began = self.turn().started_at
        if self._session.claude_send_process is not None:
            return bool(began) and self._session.claude_send_process != self._session.claude_proc_start
        return bool(began) and parse_timestamp(began) < found.registered_at - _LATE_REGISTRATION

    def _is_stale_idle(self, found: SessionFile) -> bool:
        """Return whether `idle` is older than the last message, or so recent that the transcript may lag behind."""
        if self._session.claude_send_digest is None:
            return False
        sent = parse_timestamp(self._session.last_used)
        age = time.time() - found.status_since
        # The turn before may have ended while the message was typed; then the message is written after that.
        may_be_earlier = age < _SILENCE_TIMEOUT and self._is_written_after(found.status_since)
        if age >= FLUSH_DELAY and found.status_since > sent and not may_be_earlier:
            return False
        turn = self.turn()
        if self._began_in_earlier_process(found):
            return False
        if turn.is_over or not turn.arrived or (turn.arrived == "command" and turn.seems_ended):
            return False
        return not self._went_idle_after_start(found, turn)

    def _is_written_after(self, moment: float) -> bool:
        transcript = self._transcript()
        try:
            return transcript is not None and transcript.stat().st_mtime > moment - _MTIME_RESOLUTION
        except FileNotFoundError:
            return False

    def _outcome(self, *, own_turn: bool) -> Outcome | None:
        outcome = self._turn_outcome(own_turn=own_turn)
        if outcome is None or outcome.continues_at is None or self._state is None:
            return outcome
        limit = max(parse_timestamp(outcome.continues_at), self._state.status_since)
        if self._began_in_earlier_process(self._state) or time.time() > limit + _CONTINUATION_TIMEOUT:
            return replace(outcome, continues_at=None)
        return outcome

    def _turn_outcome(self, *, own_turn: bool) -> Outcome | None:
        found = self._poll_state()
        turn = self.turn()
        if own_turn and turn.own_end is not None:
            return turn.own_end
        if turn.is_over:
            return self._asks_after(turn.end)
        if self._began_in_earlier_process(found):
            seems = Outcome("completed") if turn.seems_ended else None
            return turn.end or seems or Outcome("interrupted", "Claude ended while the turn ran", "died")
        if found.status == "waiting":
            # After a usage limit, a dialog is open before the error is written (2.1.250).
            is_new = found.waiting_for == _DIALOG and time.time() - found.status_since < FLUSH_DELAY
            return None if is_new else _WAITING
        if found.status not in NOT_WORKING:
            # A long tool call writes nothing either, so the silence counts only from the moment when Claude goes idle.
            self._changed_at = time.monotonic()
            return None
        if not turn.digest:
            return Outcome("completed")
        if turn.command and turn.arrived in ("command", None):
            # Most commands begin no turn; if this one did, the session file would say so by now.
            if not self._unchanged_for(_NO_START_TIMEOUT):
                return None
            was_cancelled = turn.command_began and turn.arrived is None
            return Outcome("interrupted", f"{turn.command} was cancelled") if was_cancelled else Outcome("completed")
        if not turn.started:
            return self._never_started(found, turn)
        if not self._unchanged_for(FLUSH_DELAY) or not self._went_idle_after_start(found, turn):
            return None
        if turn.end is not None or turn.seems_ended:
            # A subagent's report begins another turn, on a busy machine more than two seconds later.
            if turn.awaits_agents and not self._unchanged_for(_SILENCE_TIMEOUT):
                return None
            return turn.end or turn.stopped or Outcome("completed")
        if turn.own_end is not None:
            return turn.own_end  # the message queued after it never began
        if not self._unchanged_for(MAX_FLUSH_DELAY):
            return None
        if turn.is_unanswered:
            return Outcome("interrupted", "the message was not delivered, because no answer had begun")
        return Outcome("interrupted", "Claude is idle and gave no answer")

    def _asks_after(self, end: Outcome | None) -> Outcome | None:
        """Return how the session's turn ended, or that it asks something now, such as about another session's message.

        After a turn that did not end well, that is what the caller needs to know first: the dialog may be about it, as
        after a usage limit.
        """
        if end is None or end.status != "completed" or self._state is None or self._state.status != "waiting":
            return end
        # The state may be older than the end of the turn.
        return _WAITING if self._poll_state().status == "waiting" else end

    def _never_started(self, found: SessionFile, turn: Turn) -> Outcome | None:
        if not self._unchanged_for(_NO_START_TIMEOUT) or (turn.arrived == "queued" and self._has_continued()):
            return None
        was_held_up, self._is_held_up = self._is_held_up, turn.arrived is None and self._shows_queued_messages()
        if was_held_up or self._is_held_up:
            # Claude says that it is idle while a hook of a message runs that was sent during the turn before (2.1.332).
            self._changed_at = time.monotonic()
            return None
        if turn.command is not None and found.session_id != self._session.claude_send_transcript:
            # A queued `/clear` is written to the conversation that it begins.
            return Outcome("completed")
        taken_back = self._session.claude_taken_back_send
        if turn.arrived is None and taken_back is not None and taken_back == self._session.claude_send_time:
            return Outcome("interrupted", "the message was not delivered, because a hook still held it up")
        if turn.arrived is None:
            return Outcome("failed", "the message is not in the transcript; check before you send it again")
        return Outcome("interrupted", "the queued message was not delivered: Claude is idle and has not taken it up")

    def _has_continued(self) -> bool:
        """Return whether the message, queued behind a `/clear`, is in a later conversation, to be followed there."""
        for conversation in self._conversations:
            transcript = find_transcript(self._process.config_dir, conversation)
            if transcript is None or conversation == self._conversation:
                continue
            turn = self._open_turn()
            tail = self._feed_since_sent(transcript, turn)
            if turn.started:
                self._conversation, self._turn, self._tail = conversation, turn, tail
                self._changed_at = time.monotonic()
                return True
        return False

    def _shows_queued_messages(self) -> bool:
        """Return whether the screen says that messages are queued; False if it can't be read."""
        with contextlib.suppress(DevSessionsError, TimeoutError):
            return self._process.pane().shows_queued_messages()
        return False

    def _unchanged_for(self, seconds: float) -> bool:
        return time.monotonic() - self._changed_at > seconds

    def _went_idle_after_start(self, found: SessionFile, turn: Turn) -> bool:
        """Return whether Claude went idle after the turn had started, and long enough ago to have written its end.

        If the clock was set back in between, the times prove nothing, but a long silence does.
        """
        if not turn.started_at:
            return False
        if found.status_since > parse_timestamp(turn.started_at) and time.time() - found.status_since > FLUSH_DELAY:
            return True
        return self._unchanged_for(_SILENCE_TIMEOUT) or self._has_old_transcript()

    def _has_old_transcript(self) -> bool:
        """Return whether the transcript is old. A time in the future was written before the clock was set back."""
        transcript = self._transcript()
        try:
            age = time.time() - transcript.stat().st_mtime if transcript is not None else 0.0
        except FileNotFoundError:
            return False
        return age > _SILENCE_TIMEOUT or age < -FLUSH_DELAY

    def _transcript(self) -> Path | None:
        """Return the transcript of the last message, or the one to which its conversation has moved since."""
        moved = None
        if self._state is not None and self._state.moved_from == self._conversation:
            moved = find_transcript(self._process.config_dir, self._state.session_id)
        return moved or find_transcript(self._process.config_dir, self._conversation)

    def _open_tail(self, turn: Turn) -> Tail | None:
        """Return the lines written since the last message.

        If the transcript was truncated or replaced, or is a copy, the offset is useless: then the entries since the
        time of the message are fed to `turn` at once.
        """
        transcript = self._transcript()
        if transcript is None:
            return None
        offset = self._session.claude_send_offset
        is_sent_to = transcript.stem == self._session.claude_send_transcript
        if is_sent_to and offset is not None and is_line_start(transcript, offset):
            return Tail(transcript, offset)
        return self._feed_since_sent(transcript, turn)

    def _feed_since_sent(self, transcript: Path, turn: Turn) -> Tail:
        """Feed a turn with the entries since the time of the message, and return the lines that will follow."""
        tail = Tail(transcript, file_size(transcript))
        for entry in entries_since(transcript, self._session.sent_at - CLOCK_TOLERANCE):
            turn.feed(entry)
        return tail

    def _open_turn(self) -> Turn:
        """Return the turn to follow: that of the last message, or of the last prompt if no message is recorded."""
        if self._session.claude_send_digest is not None:
            return Turn(self._session.claude_send_digest, self._session.claude_send_command)
        transcript = self._transcript()
        if transcript is None:
            return Turn("")
        self._tail = Tail(transcript, file_size(transcript))
        entries = last_turn(transcript, _MESSAGES)
        prompts = [entry for entry in entries if entry.kind == "prompt"]
        turn = Turn(digest(prompts[-1].text) if prompts else "")
        for entry in entries:
            turn.feed(entry)
        return turn
