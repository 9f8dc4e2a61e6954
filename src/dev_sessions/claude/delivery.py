"""Delivering one message to Claude: looked at before, typed once, proved after.

Nothing is typed before everything that can be checked was checked, and what was typed is never typed again.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dev_sessions.claude import container
from dev_sessions.claude.follow import ONE_CLOCK
from dev_sessions.claude.message import Message
from dev_sessions.claude.pane import AgentPane
from dev_sessions.claude.presence import Presence
from dev_sessions.claude.tail import Tail, find_transcript
from dev_sessions.claude.transcript import LEAD, Entry, digest, end_digest, own_words, parse, visible
from dev_sessions.claude.turn import Turn
from dev_sessions.deadline import Deadline, poll
from dev_sessions.errors import DeliveryFailed
from dev_sessions.models import ClaudeSession, Receipt, parse_timestamp

#: Seconds between two looks at the transcript.
_LOOK = 0.015
#: Seconds that the input box may be out of sight, as it is while Claude draws anew.
_BOX = 2.0
#: Seconds that a message may stand in the box before its Enter comes to its effect (measured: 0.3 for 40 lines).
_TAKEN = 5.0
#: Seconds that Claude has to take a message, and to digest each further MB of it (measured: 1 MB in 1 s).
_PROOF = 15.0
_PROOF_PER_MB = 20.0
#: From this version on an Enter right after the paste submits it. 2.1.100 ignores one that comes too early.
_ENTER_AT_ONCE = (2, 1, 200)


class Delivery:
    """The way of one message into one pane. `now` gives what the process does."""

    def __init__(self, session: ClaudeSession, config_dir: Path, now: Callable[[], Presence]) -> None:
        self._session = session
        self._config_dir = config_dir
        self._now = now
        self._pane = AgentPane(session)

    def clear_the_way(self, last: Callable[[], Turn], *, discard_draft: bool) -> None:
        """Look before anything is typed: DeliveryFailed when somebody's draft is in the way.

        `last` gives the turn of the send before. A prompt of ours that Escape has put back into the box is no draft.
        """
        draft = self._pane.box(_BOX)
        if draft is None:
            raise DeliveryFailed(
                f"{self._session.id} shows no input box; nothing was sent. Look: {self._pane.attach}. "
                f"It shows:\n{self._pane.shown()}"
            )
        if draft and self._may_be_on_its_way(draft, last) and poll(self._is_empty, Deadline(_TAKEN), _LOOK):
            return
        if not draft:
            return
        if not discard_draft and not _is_put_back(draft, self._session, last):
            raise DeliveryFailed(
                f"Somebody has typed into the box of {self._session.id} ({_short(draft)!r}); nothing was sent. "
                f"Look: {self._pane.attach}, or clear it with --discard-draft"
            )
        if not self._pane.clear_box():
            raise DeliveryFailed(
                f"The draft in the box of {self._session.id} could not be cleared; nothing was sent. "
                f"Clear it yourself: {self._pane.attach}"
            )

    def deliver(self, message: Message) -> Receipt:
        """Type, Enter, proof. DeliveryFailed says what was typed and what was seen."""
        before = self._now()
        at_once = before.version >= _ENTER_AT_ONCE
        self._pane.type(message, enter=at_once)
        proof_in = Deadline(_PROOF + _PROOF_PER_MB * len(message.typed) / 1e6)
        if not at_once:
            poll(lambda: True if self._pane.box() else None, proof_in, 0.1)
            self._pane.press("Enter")
        search = _Search(self._session, self._config_dir, message)
        receipt = poll(lambda: search.receipt() or self._command_taken(message, before), Deadline(_PROOF / 2), _LOOK)
        if receipt is None:
            if self._is_still_in_the_box():
                self._pane.press("Enter")
            receipt = poll(lambda: search.receipt() or self._command_taken(message, before), proof_in, _LOOK)
        if receipt is None:
            raise DeliveryFailed(self._no_proof(search))
        return receipt

    def _may_be_on_its_way(self, draft: str, last: Callable[[], Turn]) -> bool:
        """Whether a send that was killed, or is drawn late, may have typed this with its Enter."""
        if " ".join(draft.split()).startswith(LEAD):
            return True
        return self._session.claude_send_digest is not None and not last().arrived

    def _is_empty(self) -> bool | None:
        return True if self._pane.box() == "" else None

    def _command_taken(self, message: Message, before: Presence) -> Receipt | None:
        """A command may leave nothing in the transcript: it opens a dialog, or begins a new conversation."""
        if not message.command:
            return None
        now = self._now()
        taken = now.session_id != before.session_id or now.status == "waiting"
        return Receipt("command") if taken else None

    def _is_still_in_the_box(self) -> bool:
        """Whether Enter was lost. With a dialog open it would choose something there."""
        return self._now().status != "waiting" and bool(self._pane.box())

    def _no_proof(self, search: _Search) -> str:
        if search.merged is not None:
            return (
                f"The message to {self._session.id} arrived together with something that somebody typed at the same "
                f"moment ({_short(search.merged)!r}); it will not be sent again"
            )
        if container.is_unseen(self._session):
            return (
                f"The message was typed into {self._session.id} once, and nothing proves that it arrived: "
                f"{container.reason(self._session)}. Look before you send it again: {self._pane.attach}"
            )
        return (
            f"The message was typed into {self._session.id} once, but it has not shown up in the transcript. "
            f"Look before you send it again: {self._pane.attach}. It shows:\n{self._pane.shown()}"
        )


class _Search:
    """Looks for a message in what was written since the send began."""

    def __init__(self, session: ClaudeSession, config_dir: Path, message: Message) -> None:
        self._session = session
        self._config_dir = config_dir
        self._turn = Turn(message.digest, message.command)
        self._visible = visible(message.typed)
        self._tail: Tail | None = None
        self.merged: str | None = None

    def receipt(self) -> Receipt | None:
        """The proof, if it is there by now. DeliveryFailed when the program knows no such command."""
        for entry in self._entries():
            self._turn.feed(entry)
            self._notice_merged(entry)
        if self._turn.is_unknown_command:
            raise DeliveryFailed(
                f"{self._session.id} knows no command {self._turn.command}; nothing was sent; put a word before it"
            )
        return Receipt(self._turn.arrived) if self._turn.arrived else None

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
        # It begins with a copy of what was said before, the same words perhaps.
        since = self._session.sent_at - ONE_CLOCK
        return [entry for entry in entries if not entry.at or parse_timestamp(entry.at) >= since]

    def _notice_merged(self, entry: Entry) -> None:
        if entry.kind in ("prompt", "enqueue", "queued") and self._turn.arrived is None:
            seen = visible(entry.text)
            if self._visible in seen and len(self._visible) < len(seen):
                self.merged = entry.text


def is_last_message(draft: str, session: ClaudeSession) -> bool:
    """Whether what stands in the box is the last message; of a long one only the end can be seen."""
    whole = digest(own_words(draft)) == session.claude_send_digest
    return whole or end_digest(draft) == session.claude_send_end_digest


def _is_put_back(draft: str, session: ClaudeSession, last: Callable[[], Turn]) -> bool:
    """Whether a draft is the last message, which Escape took back before anything was answered.

    A long message may be shown as `[Pasted text #1 +9 lines]`: then what became of its turn decides.
    """
    if is_last_message(draft, session):
        return True
    if "[Pasted text #" not in draft:
        return False
    turn = last()
    return turn.started and not turn.reply and (turn.end is None or turn.end.status == "interrupted")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 40 else f"{line[:40]}…"
