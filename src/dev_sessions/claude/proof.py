"""Prove that a message arrived: by the transcript, or a command by what it does to the state and the input box."""

from __future__ import annotations

import contextlib
import math
import time

from dev_sessions.claude import docker
from dev_sessions.claude.message import Message, holds_text
from dev_sessions.claude.message_text import visible
from dev_sessions.claude.pane import SLOW_POLL_INTERVAL, AgentPane
from dev_sessions.claude.process import ClaudeProcess
from dev_sessions.claude.session_file import NOT_WORKING
from dev_sessions.claude.transcript import Entry, parse
from dev_sessions.claude.transcript_file import MAX_FLUSH_DELAY, Tail, find_transcript
from dev_sessions.claude.turn import Turn
from dev_sessions.claude.wait import CLOCK_TOLERANCE
from dev_sessions.errors import ProtocolError
from dev_sessions.models import Receipt, parse_timestamp
from dev_sessions.system.deadline import Deadline

#: Seconds for a submitted command to have an effect that can be observed, if it has one.
_COMMAND_TIMEOUT = 5.0
#: Seconds of work after which a command counts as accepted: an unknown one is worked on for a moment, too (2.1.332).
_LONG_COMMAND = 1.0
#: Seconds after the end of the work on a message that left no trace, after which it will leave none.
_INTERRUPTED_DELAY = 5.0
#: Kinds of entries that Claude writes only after a prompt before them, unlike those of a command such as `/clear`,
#: which may be late.
_AFTER_PROMPT = ("reply", "tool_result", "turn_end", "interrupted", "prompt")


class Proof:
    """The proof that a typed message has arrived: the transcript, else Claude's state and screen."""

    def __init__(self, process: ClaudeProcess, pane: AgentPane, message: Message) -> None:
        self.message = message
        self._process = process
        self._pane = pane
        self._state_before = self._state = process.state()
        self._last_busy_at = self._last_queued_at = -math.inf
        self._next_poll = Deadline(0)
        self._lacks_transcript = docker.lacks_transcript(process.session)
        self._search = _TranscriptSearch(process, message)
        self._command_deadline = Deadline(_COMMAND_TIMEOUT)

    @property
    def merged(self) -> str | None:
        """The prompt that contains the message and more, if there is one."""
        return self._search.merged

    @property
    def is_unknown_command(self) -> bool:
        """Return whether Claude answered that it has no such command."""
        return self._search.turn.is_unknown_command

    @property
    def blocked_by(self) -> str | None:
        """The words of the hook that blocked the message, if one did."""
        return self._search.turn.blocked_by

    @property
    def is_waiting(self) -> bool:
        """Return whether Claude waited for somebody at the last poll."""
        return self._state.status == "waiting"

    def receipt(self) -> Receipt | None:
        """Return the receipt, once the message is proved to have arrived."""
        if (receipt := self._search.receipt()) is not None:
            return receipt
        self._state = self._process.state()
        is_busy, was_busy = self._state.status == "busy", self._state_before.status == "busy"
        if is_busy:
            self._last_busy_at = time.monotonic()
        # The box was empty before, so the queued prompt is this message, alone or with text typed into it.
        if was_busy and self._search.queued_without_text and self._box_is_empty():
            return Receipt("queued")
        if self.message.command is None:
            return None
        # A command may leave no trace in the transcript: it opens a dialog, begins a new conversation, or takes long.
        if self._state.session_id != self._state_before.session_id or self.is_waiting:
            return Receipt("command")
        is_at_work = is_busy and not was_busy and time.time() - self._state.status_since > _LONG_COMMAND
        if is_at_work and self._box_is_empty():
            return Receipt("command")
        # Or it opens a dialog or an editor while Claude works, or only prints to the screen.
        is_known = self.message.fallback is not None
        return Receipt("command") if is_known and self._command_deadline.expired and self._has_left_box() else None

    def may_still_arrive(self) -> bool:
        """Return whether Claude is doing something that it has not written yet, or has just done so."""
        if self._lacks_transcript:
            return False
        works = time.monotonic() - self._last_busy_at < MAX_FLUSH_DELAY
        if works and not self._search.is_past_message:
            return True
        if self._is_queued():
            self._last_queued_at = time.monotonic()
        return time.monotonic() - self._last_queued_at < MAX_FLUSH_DELAY

    def _is_queued(self) -> bool:
        """Return whether the box says that messages are queued; it was empty before, so this one is among them."""
        with contextlib.suppress(ProtocolError, TimeoutError):
            return self._pane.shows_queued_messages()
        return False

    def enter_was_lost(self) -> bool:
        """Return whether nothing has happened since the message was typed, and the box still holds it."""
        return not self.is_waiting and not self._has_changed and self._is_in_box()

    def was_interrupted(self) -> bool:
        """Return whether somebody interrupted it: Claude worked, is idle now, and the message is back in the box, or
        was cleared by `interrupt`."""
        rest = time.monotonic() - self._last_busy_at
        if self._state.status not in NOT_WORKING or not self._has_changed or rest <= MAX_FLUSH_DELAY:
            return False
        was_cleared = _INTERRUPTED_DELAY < rest < math.inf and self._state_before.status in NOT_WORKING
        return (was_cleared and not self._is_queued()) or self._is_in_box()

    @property
    def _has_changed(self) -> bool:
        found, before = self._state, self._state_before
        return (found.status, found.status_since) != (before.status, before.status_since)

    def _is_in_box(self) -> bool:
        return holds_text(self._box() or "", self.message.typed, self.message.preamble)

    def _box_is_empty(self) -> bool:
        return self._is_poll_due() and self._box() == ""

    def _has_left_box(self) -> bool:
        return self._is_poll_due() and not self._box()

    def _is_poll_due(self) -> bool:
        if not self._next_poll.expired:
            return False
        self._next_poll = Deadline(SLOW_POLL_INTERVAL)
        return True

    def _box(self) -> str | None:
        with contextlib.suppress(ProtocolError, TimeoutError):
            return self._pane.box()
        return None


class _TranscriptSearch:
    """The search for a message in the transcript, among the entries since the send began."""

    def __init__(self, process: ClaudeProcess, message: Message) -> None:
        self._session = process.session
        self._config_dir = process.config_dir
        self.turn = Turn(message.digest, message.command)
        self._is_known_command = message.fallback is not None
        self._visible = visible(message.typed)
        self._began = time.time()
        self._tail: Tail | None = None
        self.merged: str | None = None
        #: During a hook or a command, 2.1.332 writes that a message was queued, but not which.
        self.queued_without_text = False
        #: Claude has written something of a turn later than the message, but not the message.
        self.is_past_message = False

    def receipt(self) -> Receipt | None:
        """Return the receipt, once the message is in the transcript."""
        for entry in self._entries():
            self.turn.feed(entry)
            self._note(entry)
        if self.turn.arrived is None:
            return None
        # `/compact` is written as a prompt (2.1.250), as are commands that run in the background (2.1.332).
        began = self._is_known_command and self.turn.arrived == "submitted"
        return Receipt("command" if began else self.turn.arrived)

    def _entries(self) -> list[Entry]:
        if self._tail is None:
            session_id = self._session.claude_send_transcript or self._session.internal_id
            transcript = find_transcript(self._config_dir, session_id)
            if transcript is None:
                return []
            self._tail = Tail(transcript, self._session.claude_send_offset or 0)
        entries = [parse(line) for line in self._tail.lines()]
        if self._session.claude_send_offset is not None:
            return entries
        # The transcript begins with a copy of the old conversation, which may contain the same message.
        since = self._session.sent_at - CLOCK_TOLERANCE
        return [entry for entry in entries if not entry.at or parse_timestamp(entry.at) >= since]

    def _note(self, entry: Entry) -> None:
        is_new = bool(entry.at) and parse_timestamp(entry.at) > self._began
        if entry.kind == "enqueue":
            self.queued_without_text |= is_new and not entry.texts
        elif entry.kind in _AFTER_PROMPT and is_new:
            # The turn that ends may have been running before; what Claude does next may be the message.
            self.is_past_message = not entry.ends_turn
        if entry.kind in ("prompt", "enqueue", "queued") and self.turn.arrived is None:
            found = visible(entry.text)
            if self._visible in found and len(self._visible) < len(found):
                self.merged = entry.text
