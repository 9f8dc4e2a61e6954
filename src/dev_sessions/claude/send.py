"""Delivering one message to Claude: looked at before, typed once, proved after.

Nothing is typed before everything that can be checked was checked, and what was typed is never typed again.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import time
from collections.abc import Callable
from functools import partial

from dev_sessions.attempt import Attempt
from dev_sessions.claude import docker
from dev_sessions.claude.message import Message, is_last_command, is_last_message
from dev_sessions.claude.pane import POLL_INTERVAL, AgentPane
from dev_sessions.claude.process import ClaudeProcess
from dev_sessions.claude.screen import TypedCommand
from dev_sessions.claude.session_file import NOT_WORKING
from dev_sessions.claude.transcript import LEAD, Entry, digest, end_digest, parse, visible
from dev_sessions.claude.transcript_file import Tail, find_transcript
from dev_sessions.claude.turn import Turn
from dev_sessions.claude.wait import ONE_CLOCK
from dev_sessions.errors import DeliveryFailed, ProtocolError
from dev_sessions.models import ClaudeSession, Receipt, parse_timestamp
from dev_sessions.system.deadline import Deadline, poll

#: Seconds between two looks at the transcript, and at the box.
_POLL_INTERVAL, _LOOK_AT_BOX = 0.015, 0.2
#: Seconds that the input box may be out of sight, as it is while Claude draws anew.
_BOX = 2.0
#: Seconds that a message may stand in the box before its Enter comes to its effect (measured: 0.3 for 40 lines).
TAKEN_TIMEOUT = 5.0
#: Seconds in which the message of an earlier send arrives that tmux held up, once tmux answers again.
_HELD_UP = 5.0
#: Seconds that Claude has to take a message, and to digest each further MB of it (measured: 1 MB in 1 s).
PROOF_TIMEOUT = 15.0
_PROOF_PER_MB = 20.0
#: Seconds for what was typed to be drawn, and after which it is drawn as it stays.
_DRAWN, _SETTLED = 5.0, 0.15
#: Seconds after which a command that was submitted has left its traces, if it leaves any.
_TRACES = 5.0
#: Seconds after which a command that is worked on is taken for one that takes its time. One that is not known is
#: worked on for a moment, too (2.1.332).
_AT_WORK = 1.0
#: Seconds in which the transcript follows the end of the work (measured: 0.1, and above 1 on a busy machine).
_WRITTEN = 2.0
#: Seconds in which the box shows what Escape put back (measured: 0.1).
_PUT_BACK = 1.0

#: How the box shows a text that is too long for it.
_PASTED = "[Pasted text #"


class Delivery:
    """The way of one message into one pane. `attempt` is told when it begins."""

    def __init__(self, process: ClaudeProcess, attempt: Attempt | None = None) -> None:
        self._process = process
        self._session = process.session
        self._attempt = attempt or Attempt()
        self._pane = process.pane(self._attempt)

    def clear_the_way(self, message: Message, last: Callable[[], Turn], *, discard_draft: bool) -> None:
        """Look before anything is typed: DeliveryFailed when somebody's draft is in the way.

        `last` gives the turn of the send before. A prompt of ours that Escape has put back into the box is no draft.
        """
        draft = self._look_at_box()
        if (
            draft
            and self._may_be_on_its_way(draft, last)
            and poll(self._is_empty, Deadline(TAKEN_TIMEOUT), _POLL_INTERVAL)
        ):
            draft = ""
        if not draft:
            self._require_gone(message, last)
            return
        if not discard_draft and not _is_put_back(draft, self._session, last):
            raise DeliveryFailed(
                f"Somebody has typed into the box of {self._session.id} ({_short(draft)!r})",
                f"look: {self._pane.attach}, or clear it with --discard-draft",
            )
        if not self._pane.clear_box():
            raise DeliveryFailed(
                f"The draft in the box of {self._session.id} could not be cleared",
                f"clear it yourself: {self._pane.attach}",
            )

    def clear_put_back_command(self) -> None:
        """Clear the command of the last send that Escape has put back into the box, and nothing else."""

        def is_put_back() -> bool | None:
            draft = self._pane.box()
            return (draft is not None and is_last_command(draft, self._session)) or None

        if poll(is_put_back, Deadline(_PUT_BACK), POLL_INTERVAL):
            self._pane.clear_box()

    def deliver(self, message: Message, deadline: Deadline) -> tuple[Receipt, Message]:
        """Type, Enter, proof; return what was submitted, too. DeliveryFailed says what was seen.

        The proof may take until the deadline while Claude works on something that it has not written, such as a hook.
        """
        message, typed_box = self._type_ahead(message)
        proof = _Proof(self._process, self._pane, message)
        soon = Deadline(PROOF_TIMEOUT + _PROOF_PER_MB * len(message.typed) / 1e6)
        failure: ProtocolError | TimeoutError | None = None
        try:
            if typed_box is not None:
                if not poll(lambda: self._pane.submit(typed_box) or None, Deadline(TAKEN_TIMEOUT), _LOOK_AT_BOX):
                    raise self._mixed(typed_box)
            else:
                self._pane.type(message, enter=True)
        except (ProtocolError, TimeoutError) as error:
            if not self._attempt.has_begun:
                raise
            # It may have been typed all the same: then the transcript tells.
            failure, soon = error, Deadline(TAKEN_TIMEOUT)
        next_look, was_pressed_again = Deadline(TAKEN_TIMEOUT), False
        while True:
            expired = soon.expired and (failure is not None or deadline.expired or not proof.may_follow())
            receipt = proof.receipt()
            if proof.is_unknown_command:
                self._attempt.refused()
                raise self._unknown_command(message)
            if receipt is not None:
                return receipt, message
            if expired:
                raise failure or self._no_proof(proof)
            if failure is None and next_look.expired:
                next_look = Deadline(_LOOK_AT_BOX)
                if proof.was_taken_back():
                    raise self._no_proof(proof)
                # A second Enter would submit a message that somebody interrupted and that is back in the box; so only
                # where the session file has not changed since the paste.
                if not was_pressed_again and proof.enter_was_lost():
                    self._pane.press("Enter")
                    was_pressed_again = True
            time.sleep(_LOOK_AT_BOX if soon.expired else _POLL_INTERVAL)

    def _type_ahead(self, message: Message) -> tuple[Message, str | None]:
        """Type what may be submitted only when the program is seen to make of it what it should.

        Return what the message is then, and what stands in the box; None when nothing was typed. A command that the
        program does not have is cleared again: DeliveryFailed, unless it is a path.
        """
        if message.otherwise is not None:
            name = message.command or ""
            match self._type_command(message, name):
                case "known":
                    return message, self._require_own(message)
                case "no colours":
                    # Only the program's own words tell.
                    return _unproved(message), self._require_own(message)
            if "." not in name and not os.path.exists(name):
                raise self._unknown_command(message)
            return self._type_ahead(message.otherwise)
        if not message.names_image:
            return message, None
        self._pane.type(message, enter=False)
        box = self._settled_box()
        return _as_shown(message, box), box

    def _type_command(self, message: Message, name: str) -> TypedCommand:
        """Type a command; return whether the program has it. One that it does not have is cleared again."""
        self._pane.type(message, enter=False)
        shown: TypedCommand | None = poll(lambda: self._pane.typed_command(name), Deadline(_DRAWN), POLL_INTERVAL)
        if shown == "unknown" and poll(partial(self._shows_known, name), Deadline(_SETTLED), POLL_INTERVAL):
            return "known"
        # At rest the program says at once that it has no such command, at work when the turn is over.
        if shown == "known" or (shown == "no colours" and self._process.state().status in NOT_WORKING):
            return shown
        self._require_own(message)
        if not self._pane.clear_box():
            raise DeliveryFailed(f"{name} stands in the input box, was not submitted, and could not be cleared")
        self._attempt.refused()
        if shown == "unknown":
            return shown
        if shown == "no colours":
            raise DeliveryFailed(
                f"{self._session.id} works, and without colours it does not show whether it has a command {name}",
                f"send it when the turn is over: dev-sessions wait {self._session.id}",
            )
        raise DeliveryFailed(f"{self._session.id} does not take {name} as a command", f"look: {self._pane.attach}")

    def _require_own(self, message: Message) -> str:
        """Return what stands in the box. DeliveryFailed when that is more than the command that was typed."""
        box = self._pane.box(_BOX) or ""
        # In a small terminal the box may not hold all of it.
        if _PASTED not in box and not visible((message.lead or "") + message.typed).startswith(visible(box)):
            raise self._mixed(box)
        return box

    def _mixed(self, box: str) -> DeliveryFailed:
        return DeliveryFailed(
            f"Somebody types in the input box of {self._session.id}, which holds {_short(box)!r} now, so it was not"
            " submitted",
            f"look, and clear it or submit it: {self._pane.attach}",
        )

    def _shows_known(self, name: str) -> bool | None:
        return self._pane.typed_command(name) == "known" or None

    def _settled_box(self) -> str:
        """What the program has made of a text that was typed, as soon as it shows the same twice."""
        shown: list[str] = []

        def is_settled() -> bool | None:
            shown.append(self._pane.box() or "")
            return shown[-2:] == [shown[-1]] * 2 != ["", ""] or None

        poll(is_settled, Deadline(PROOF_TIMEOUT), POLL_INTERVAL)
        return shown[-1]

    def _unknown_command(self, message: Message) -> DeliveryFailed:
        return DeliveryFailed(
            f"Claude Code has no command {message.command} in {self._session.id}",
            "to send it as a message, put a word before it",
        )

    def _look_at_box(self) -> str:
        box = self._pane.box(_BOX)
        if box is None:
            raise DeliveryFailed(
                f"{self._session.id} shows no input box", f"look: {self._pane.attach}", self._pane.shown()
            )
        return box

    def _may_be_on_its_way(self, draft: str, last: Callable[[], Turn]) -> bool:
        """Whether a send that was killed, or is drawn late, may have typed this with its Enter."""
        if " ".join(draft.split()).startswith(LEAD):
            return True
        return self._session.claude_send_digest is not None and not last().arrived

    def _require_gone(self, message: Message, last: Callable[[], Turn]) -> None:
        """DeliveryFailed when the last send was of the same message, was not proved, and it arrives after all.

        A tmux server that goes on after a stop types what it was given before it answers; Claude may be in a hook.
        """
        session = self._session
        is_other = message.digest != session.claude_send_digest or message.command is not None
        if is_other or docker.is_unseen(session) or last().arrived:
            return
        has_arrived = poll(lambda: True if last().arrived else None, Deadline(_HELD_UP), _POLL_INTERVAL)
        if has_arrived or self._process.state().status == "busy":
            what = "has arrived after all" if has_arrived else "may still arrive"
            raise DeliveryFailed(
                f"The same message was sent to {session.id} before, and {what}",
                f"wait for its reply: dev-sessions wait {session.id}",
            )

    def _is_empty(self) -> bool | None:
        return True if self._pane.box() == "" else None

    def _no_proof(self, proof: _Proof) -> DeliveryFailed:
        box, screen = "", ""
        with contextlib.suppress(ProtocolError, TimeoutError):
            box, screen = self._pane.box() or "", self._pane.shown()
        if proof.merged is not None:
            text = f"something that somebody typed at the same moment went with it ({_short(proof.merged)!r})"
        elif docker.is_unseen(self._session):
            text, screen = f"nothing proves it, since {docker.reason(self._session)}", ""
        elif is_exactly(box, proof.message):
            text = "it stands in the input box, and was not submitted"
        elif box:
            text = f"it is not in the transcript, and {_short(box)!r} stands in the input box"
        elif proof.is_waiting:
            text = f"it is not in the transcript, and {self._session.id} waits for an answer"
        else:
            text = "it is not in the transcript"
        return DeliveryFailed(text, screen=screen)


class _Proof:
    """What proves that a message which was typed has arrived: the transcript, else what Claude does and shows."""

    def __init__(self, process: ClaudeProcess, pane: AgentPane, message: Message) -> None:
        self.message = message
        self._process = process
        self._pane = pane
        self._before = self._found = process.state()
        self._worked_at = -math.inf
        self._next_look = Deadline(0)
        self._is_unseen = docker.is_unseen(process.session)
        self._search = _Search(process, message)
        self._traces_by = Deadline(_TRACES)

    @property
    def merged(self) -> str | None:
        """A prompt that holds the message, and something else besides."""
        return self._search.merged

    @property
    def is_unknown_command(self) -> bool:
        """Whether Claude said that it knows no such command."""
        return self._search.turn.is_unknown_command

    @property
    def is_waiting(self) -> bool:
        """Whether Claude waited for somebody when it was looked at last."""
        return self._found.status == "waiting"

    def receipt(self) -> Receipt | None:
        """The proof, if it is there by now."""
        if (receipt := self._search.receipt()) is not None:
            return receipt
        self._found = self._process.state()
        is_busy, was_busy = self._found.status == "busy", self._before.status == "busy"
        if is_busy:
            self._worked_at = time.monotonic()
        # Of what was queued the box was empty before: it is this message, alone or with what was typed to it.
        if was_busy and self._search.queued_without_text and self._box_is_empty():
            return Receipt("queued")
        if self.message.command is None:
            return None
        # A command may leave nothing in the transcript: it opens a dialog, begins a new conversation, or is not done.
        if self._found.session_id != self._before.session_id or self.is_waiting:
            return Receipt("command")
        is_at_work = is_busy and not was_busy and time.time() - self._found.status_since > _AT_WORK
        if is_at_work and self._box_is_empty():
            return Receipt("command")
        # Or it opens a dialog while Claude works, or an editor, or only says something on the screen.
        is_known = self.message.otherwise is not None
        return Receipt("command") if is_known and self._traces_by.expired and self._has_left_box() else None

    def may_follow(self) -> bool:
        """Whether Claude works on something that it has not written, or has just done so."""
        works = time.monotonic() - self._worked_at < _WRITTEN
        return works and not self._search.is_behind and not self._is_unseen

    def enter_was_lost(self) -> bool:
        """Whether nothing has happened since the message was typed, and it stands in the box as it was typed."""
        return not self.is_waiting and not self._has_changed and self._is_in_box()

    def was_taken_back(self) -> bool:
        """Whether Claude worked and rests now, and the message is back in the box: somebody interrupted it."""
        rests = self._found.status in NOT_WORKING and time.monotonic() - self._worked_at > _WRITTEN
        return rests and self._has_changed and self._is_in_box()

    @property
    def _has_changed(self) -> bool:
        found, before = self._found, self._before
        return (found.status, found.status_since) != (before.status, before.status_since)

    def _is_in_box(self) -> bool:
        return is_exactly(self._box() or "", self.message)

    def _box_is_empty(self) -> bool:
        return self._looks_again() and self._box() == ""

    def _has_left_box(self) -> bool:
        return self._looks_again() and not self._box()

    def _looks_again(self) -> bool:
        if not self._next_look.expired:
            return False
        self._next_look = Deadline(_LOOK_AT_BOX)
        return True

    def _box(self) -> str | None:
        with contextlib.suppress(ProtocolError, TimeoutError):
            return self._pane.box()
        return None


class _Search:
    """Looks for a message in what was written since the send began."""

    def __init__(self, process: ClaudeProcess, message: Message) -> None:
        self._session = process.session
        self._config_dir = process.config_dir
        self.turn = Turn(message.digest, message.command)
        self._is_known_command = message.otherwise is not None
        self._visible = visible(message.typed)
        self._began = time.time()
        self._tail: Tail | None = None
        self.merged: str | None = None
        #: During a hook or a command 2.1.332 writes that a message was queued, and not which.
        self.queued_without_text = False
        #: Whether Claude has written what came after the message, and not the message.
        self.is_behind = False

    def receipt(self) -> Receipt | None:
        """The proof, if it is there by now."""
        for entry in self._entries():
            self.turn.feed(entry)
            self._notice(entry)
        if self.turn.arrived is None:
            return None
        # `/compact` is written as a prompt (2.1.250), and so are commands that work in the background (2.1.332).
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
        # It begins with a copy of what was said before, the same words perhaps.
        since = self._session.sent_at - ONE_CLOCK
        return [entry for entry in entries if not entry.at or parse_timestamp(entry.at) >= since]

    def _notice(self, entry: Entry) -> None:
        is_new = bool(entry.at) and parse_timestamp(entry.at) > self._began
        if entry.kind == "enqueue":
            self.queued_without_text |= is_new and not entry.texts
        elif entry.kind not in ("other", "unqueue"):
            self.is_behind |= is_new
        if entry.kind in ("prompt", "enqueue", "queued") and self.turn.arrived is None:
            found = visible(entry.text)
            if self._visible in found and len(self._visible) < len(found):
                self.merged = entry.text


def is_exactly(box: str, message: Message) -> bool:
    """Whether the box holds a message and nothing else: as text, or as Claude shows a paste in short.

    `[Pasted text #1 +9 lines]`, without the lines when there is one (2.1.250 to 2.1.332): of three line feeds or more,
    and of more than 800 characters.
    """
    lead = visible(message.lead or "")
    shown = visible(box)
    if shown == lead + visible(message.typed):
        return True
    feeds = message.typed.count("\n")
    in_short = r"\[Pastedtext#\d+" + (rf"\+{feeds}lines" if feeds else "") + r"\]"
    return re.fullmatch(re.escape(lead) + in_short, shown) is not None


def _unproved(command: Message) -> Message:
    """A command of which it is not known whether the program has it."""
    return Message(
        command.typed,
        command.digest,
        command.end_digest,
        command=command.command,
        lead=command.lead,
    )


def _as_shown(message: Message, box: str) -> Message:
    """A message as it arrives, by what the program has made of it in the box: `[Image #1]` in place of a path.

    That is what the transcript holds of it, too, and where it was queued nothing else.
    """
    words = visible(box).removeprefix(visible(message.lead or ""))
    if "[Image#" not in words:
        return message
    return Message(words, digest(words), end_digest(words), lead=message.lead, names_image=True)


def _is_put_back(draft: str, session: ClaudeSession, last: Callable[[], Turn]) -> bool:
    """Whether a draft is the last message, which Escape took back before anything was answered.

    A long message may be shown as `[Pasted text #1 +9 lines]`: then what became of its turn decides.
    """
    if is_last_message(draft, session):
        return True
    if _PASTED not in draft:
        return False
    turn = last()
    return turn.started and not turn.reply and (turn.end is None or turn.end.status == "interrupted")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 40 else f"{line[:40]}…"
