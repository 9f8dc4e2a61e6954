"""Deliver one message to Claude: check first, type it once, then prove that it arrived.

Nothing is typed before every possible check, and nothing is ever typed a second time.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from functools import partial

from dev_sessions.agent import PreparedMessage, Sent
from dev_sessions.attempt import Attempt
from dev_sessions.claude import docker, preflight, session_file
from dev_sessions.claude.message import Message, compose, holds_text, is_last_command, is_last_message
from dev_sessions.claude.message_text import PREAMBLE, digest, end_digest, visible
from dev_sessions.claude.pane import POLL_INTERVAL, SLOW_POLL_INTERVAL
from dev_sessions.claude.process import ClaudeProcess
from dev_sessions.claude.proof import Proof
from dev_sessions.claude.screen import TypedCommand, is_suspended
from dev_sessions.claude.session_file import FILE_POLL_INTERVAL, NOT_WORKING, SessionFile
from dev_sessions.claude.transcript_file import file_size, find_transcript
from dev_sessions.claude.turn import Turn
from dev_sessions.claude.wait import TurnWait
from dev_sessions.errors import DeliveryFailed, HookBlocked, ProtocolError
from dev_sessions.models import ClaudeSession, FieldChanges, Receipt, timestamp
from dev_sessions.system import suspension
from dev_sessions.system.deadline import Deadline, poll, wait_until

#: Seconds for which the input box may be missing while Claude redraws its screen.
_BOX_TIMEOUT = 2.0
#: Seconds that a message may stay in the box before its Enter takes effect (measured: 0.3 for 40 lines).
TAKEN_TIMEOUT = 5.0
#: Seconds in which a message that tmux has held back arrives, once tmux answers again.
_DELAYED_ARRIVAL_TIMEOUT = 5.0
#: Seconds for Claude to take a message, and for each further MB of it (measured: 1 MB in 1 s).
PROOF_TIMEOUT = 15.0
_PROOF_TIMEOUT_PER_MB = 20.0
#: Seconds for typed text to be drawn, and for its colours to follow.
_DRAW_TIMEOUT, _RECHECK_TIMEOUT = 5.0, 0.15
#: Seconds for the box to show what Escape has restored (measured: 0.1).
_RESTORE_TIMEOUT = 1.0
#: Seconds for Claude to draw an empty box after it has taken up what was in it.
_SUBMITTED_TIMEOUT = 0.5

#: How the box shows a long paste, up to its number.
_PASTE_PLACEHOLDER = "[Pasted text #"


class PreparedPrompt(PreparedMessage[ClaudeSession]):
    """A message for the input box. `found` is the state of the process."""

    def __init__(
        self,
        process: ClaudeProcess,
        found: SessionFile,
        text: str,
        warn: Callable[[str], None],
        *,
        discard_draft: bool,
    ) -> None:
        """Refuse what can't be delivered, require that the input box is free, and note where the transcript ends.

        `warn` is told of a message that was put back into the box, and is now discarded.
        """
        if (file := preflight.rebound_enter(process.config_dir)) is not None:
            raise DeliveryFailed(
                f"Enter does not submit in {process.session.id}: {file} binds it to something else",
                "remove that binding, which Claude Code notices at once",
            )
        message = compose(text, found.version)
        draft = Delivery(process).free_box(message, TurnWait(process).turn, discard_draft=discard_draft)
        is_again = message.digest == process.session.claude_send_digest
        if draft and not discard_draft and not is_again and not is_last_command(draft, process.session):
            warn(
                f"what was in the input box of {process.session.id} is discarded, and its model never got it:"
                f" {_shorten(draft)!r}"
            )
        self._process = process
        self._message = message
        transcript = find_transcript(process.config_dir, found.session_id)
        self.changes = {
            "last_turn_status": None,
            "last_turn_error": None,
            **_message_fields(message),
            "internal_id": found.session_id,
            "claude_send_transcript": found.session_id,
            # A background job's new transcript will begin with a copy of the old one.
            "claude_send_offset": None if transcript is None and found.job is not None else file_size(transcript),
            "claude_send_process": process.session.claude_proc_start,
            "claude_send_time": timestamp(time.time()),
        }

    def send(self, session: ClaudeSession, attempt: Attempt, deadline: Deadline) -> Sent:
        """Type the message, press Enter once, and find it in the transcript."""
        self._process.use_record(session)
        receipt, sent = Delivery(self._process, attempt).deliver(self._message, deadline)
        changes = self._process.changed_fields()
        return Sent(receipt, {**changes, **_message_fields(sent)} if sent != self._message else changes)


class Delivery:
    """The delivery of one message into one pane. `attempt` is marked as begun before the first key."""

    def __init__(self, process: ClaudeProcess, attempt: Attempt | None = None) -> None:
        self._process = process
        self._session = process.session
        self._attempt = attempt or Attempt()
        self._pane = process.pane(self._attempt)

    def free_box(self, message: Message, last: Callable[[], Turn], *, discard_draft: bool) -> str:
        """Clear the input box, and return what was in it. Raises DeliveryFailed when somebody's draft is.

        `last` returns the turn of the previous message. A message that Escape has restored to the box is not a draft.
        """
        draft = self._require_box()
        is_somebodys = bool(draft) and not discard_draft and not _is_restored_message(draft, self._session, last)
        if draft:
            # Somebody may just have submitted it: Claude takes it up before it draws the empty box.
            timeout = _SUBMITTED_TIMEOUT if is_somebodys else 0.0
            if self._may_be_in_delivery(draft, last):
                timeout = TAKEN_TIMEOUT
            if wait_until(self._is_empty, Deadline(timeout), FILE_POLL_INTERVAL):
                draft = ""
        if not draft:
            self._require_not_in_delivery(message, last)
            return ""
        if is_somebodys:
            raise DeliveryFailed(
                f"Somebody has typed into the box of {self._session.id} ({_shorten(draft)!r})",
                f"attach with: {self._pane.attach_command}, or clear it with --discard-draft",
            )
        if not self._pane.clear_box():
            raise DeliveryFailed(
                f"The draft in the box of {self._session.id} could not be cleared",
                f"clear it yourself: {self._pane.attach_command}",
            )
        return draft

    def _clear_restored(self, message: Message) -> None:
        """Clear a message that Claude has put back into the input box, as 2.1.332 does with one that a hook blocked."""
        found = poll(
            lambda: holds_text(self._pane.box() or "", message.typed, message.preamble) or None,
            Deadline(_RESTORE_TIMEOUT),
            POLL_INTERVAL,
        )
        if found:
            self._pane.clear_box()

    def deliver(self, message: Message, deadline: Deadline) -> tuple[Receipt, Message]:
        """Type the message, press Enter, and prove that it arrived; return the receipt and what was submitted.

        The proof may take until the deadline while Claude does something that it has not written yet, such as a hook.
        Raises DeliveryFailed, which says what was observed.
        """
        message, drawn_box = self._type_and_check(message)
        proof = Proof(self._process, self._pane, message)
        proof_deadline = Deadline(PROOF_TIMEOUT + _PROOF_TIMEOUT_PER_MB * len(message.typed) / 1e6)
        failure: ProtocolError | TimeoutError | None = None
        try:
            if drawn_box is not None:
                if not wait_until(lambda: self._pane.submit(drawn_box), Deadline(TAKEN_TIMEOUT), SLOW_POLL_INTERVAL):
                    raise self._mixed_input_error(drawn_box)
            else:
                self._pane.type(message, enter=True)
        except (ProtocolError, TimeoutError) as error:
            if not self._attempt.has_begun:
                raise
            # It may have been typed nevertheless; the transcript tells.
            failure, proof_deadline = error, Deadline(TAKEN_TIMEOUT)
        next_poll, was_pressed_again = Deadline(TAKEN_TIMEOUT), False
        while True:
            expired = proof_deadline.expired and (
                failure is not None or deadline.expired or not proof.may_still_arrive()
            )
            receipt = proof.receipt()
            if proof.is_unknown_command:
                self._attempt.mark_rejected()
                raise self._unknown_command_error(message)
            if proof.blocked_by is not None:
                self._clear_restored(message)
                self._attempt.mark_rejected()
                raise HookBlocked(self._session.id, proof.blocked_by)
            if receipt is not None:
                return receipt, message
            if expired:
                raise failure or self._not_proved_error(proof)
            if failure is None and next_poll.expired:
                next_poll = Deadline(SLOW_POLL_INTERVAL)
                if proof.was_interrupted():
                    raise self._not_proved_error(proof)
                if proof.enter_was_lost():
                    # A hook may have blocked it while Claude works, which is written only after the turn (2.1.332).
                    if was_pressed_again:
                        raise self._not_proved_error(proof)
                    self._pane.press("Enter")
                    next_poll, was_pressed_again = Deadline(TAKEN_TIMEOUT), True
            time.sleep(SLOW_POLL_INTERVAL if proof_deadline.expired else FILE_POLL_INTERVAL)

    def _type_and_check(self, message: Message) -> tuple[Message, str | None]:
        """Type a message that may be submitted only once the box shows that the program understood it.

        Return the message as it will arrive, and the text in the box, or None if nothing was typed. A command that the
        program does not have is cleared again, and a path is typed as a message; else DeliveryFailed is raised.
        """
        if message.fallback is not None:
            name = message.command or ""
            match self._type_command(message, name):
                case "known":
                    return message, self._require_only_command(message)
                case "no colours":
                    # Only the program's own answer tells whether it has the command.
                    return _as_unverified_command(message), self._require_only_command(message)
            if "." not in name and not os.path.exists(name):
                raise self._unknown_command_error(message)
            return self._type_and_check(message.fallback)
        if not message.has_image_path:
            return message, None
        self._pane.type(message, enter=False)
        box = self._await_stable_box()
        return _as_drawn(message, box), box

    def _type_command(self, message: Message, name: str) -> TypedCommand:
        """Type a command; return whether the program has it. An unknown one is cleared again."""
        self._pane.type(message, enter=False)
        find = partial(self._pane.typed_command, name)
        shown: TypedCommand | None = poll(find, Deadline(_DRAW_TIMEOUT), POLL_INTERVAL)
        recheck = Deadline(_RECHECK_TIMEOUT)
        if shown == "unknown" and wait_until(lambda: find() == "known", recheck, POLL_INTERVAL):
            return "known"
        # While idle the program reports an unknown command at once, while busy only after the turn.
        if shown == "known" or (shown == "no colours" and self._process.state().status in NOT_WORKING):
            return shown
        self._require_only_command(message)
        if not self._pane.clear_box():
            raise DeliveryFailed(
                f"{name} is in the input box, was not submitted, and could not be cleared",
                f"clear it yourself: {self._pane.attach_command}",
            )
        self._attempt.mark_rejected()
        if shown == "unknown":
            return shown
        if shown == "no colours":
            raise DeliveryFailed(
                f"{self._session.id} is working, and without colours it does not show whether it has a command {name}",
                f"send it when the turn is over: dev-sessions wait {self._session.id}",
            )
        raise DeliveryFailed(
            f"{self._session.id} does not take {name} as a command", f"attach with: {self._pane.attach_command}"
        )

    def _require_only_command(self, message: Message) -> str:
        """Return the text in the box. Raises DeliveryFailed when it is more than the typed command."""
        box = self._pane.box(_BOX_TIMEOUT) or ""
        # A box in a small terminal may show only its beginning.
        whole = visible((message.preamble or "") + message.typed)
        if _PASTE_PLACEHOLDER not in box and not whole.startswith(visible(box)):
            raise self._mixed_input_error(box)
        return box

    def _mixed_input_error(self, box: str) -> DeliveryFailed:
        return DeliveryFailed(
            f"Somebody is typing in the input box of {self._session.id}, which now holds {_shorten(box)!r}, so it was"
            " not submitted",
            f"attach and clear or submit it: {self._pane.attach_command}",
        )

    def _await_stable_box(self) -> str:
        """Return what the program shows for a typed text, as soon as two polls show the same."""
        shown: list[str] = []

        def is_stable() -> bool:
            shown.append(self._pane.box() or "")
            return shown[-2:] == [shown[-1]] * 2 != ["", ""]

        wait_until(is_stable, Deadline(PROOF_TIMEOUT), POLL_INTERVAL)
        return shown[-1]

    def _unknown_command_error(self, message: Message) -> DeliveryFailed:
        return DeliveryFailed(
            f"Claude Code has no command {message.command} in {self._session.id}",
            "to send it as a message, put a word before it",
        )

    def _require_box(self) -> str:
        box = self._pane.box(_BOX_TIMEOUT)
        if box is None and self._continue_suspended():
            box = self._pane.box(_BOX_TIMEOUT)
        if box is None:
            raise DeliveryFailed(
                f"{self._session.id} shows no input box",
                f"attach with: {self._pane.attach_command}",
                self._pane.screen_text(),
            )
        return box

    def _continue_suspended(self) -> bool:
        """Bring Claude back if somebody has pressed Ctrl-Z; return whether that was tried.

        No shell holds it as a job, so a person can't; the signal of `fg` does it.
        """
        process = session_file.local_process(self._session)
        if process is None or not (suspension.is_suspended(process.pid) or is_suspended(self._pane.snapshot().screen)):
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGCONT)
        return True

    def _may_be_in_delivery(self, draft: str, last: Callable[[], Turn]) -> bool:
        """Return whether an earlier send, killed or drawn late, may have typed this draft and submitted it."""
        if " ".join(draft.split()).startswith(PREAMBLE):
            return True
        return self._session.claude_send_digest is not None and not last().arrived

    def _require_not_in_delivery(self, message: Message, last: Callable[[], Turn]) -> None:
        """Raise DeliveryFailed when the previous send had the same message, was not proved, and may still arrive.

        A tmux server that continues after a stop types what it was sent before it answers; or Claude runs a hook.
        """
        session = self._session
        is_other = message.digest != session.claude_send_digest or message.command is not None
        if is_other or docker.lacks_transcript(session) or last().arrived:
            return
        has_arrived = wait_until(
            lambda: last().arrived is not None, Deadline(_DELAYED_ARRIVAL_TIMEOUT), FILE_POLL_INTERVAL
        )
        if has_arrived or self._process.state().status == "busy" or self._pane.shows_queued_messages():
            what = "has arrived after all" if has_arrived else "may still arrive"
            raise DeliveryFailed(
                f"The same message was sent to {session.id} before, and {what}",
                f"wait for its reply: dev-sessions wait {session.id}",
            )

    def _is_empty(self) -> bool:
        return self._pane.box() == ""

    def _not_proved_error(self, proof: Proof) -> DeliveryFailed:
        box, screen = "", ""
        with contextlib.suppress(ProtocolError, TimeoutError):
            box, screen = self._pane.box() or "", self._pane.screen_text()
        if proof.merged is not None:
            text = (
                f"it was submitted together with text that somebody typed at that moment ({_shorten(proof.merged)!r})"
            )
        elif docker.lacks_transcript(self._session):
            text, screen = f"nothing proves it, since {docker.missing_transcript_reason(self._session)}", ""
        elif holds_text(box, proof.message.typed, proof.message.preamble):
            text = "it is in the input box, and was not submitted"
        elif box:
            text = f"it is not in the transcript, and {_shorten(box)!r} is in the input box"
        elif proof.is_waiting:
            text = f"it is not in the transcript, and {self._session.id} waits for an answer"
        else:
            text = "it is not in the transcript"
        return DeliveryFailed(text, screen=screen)


def _as_unverified_command(command: Message) -> Message:
    """Return a command as one that the program may not have."""
    return Message(
        command.typed,
        command.digest,
        command.end_digest,
        command=command.command,
        preamble=command.preamble,
    )


def _as_drawn(message: Message, box: str) -> Message:
    """Return a message as the box shows it, with `[Image #1]` in place of a path.

    The transcript shows it in the same way; of a queued message it has nothing else.
    """
    words = visible(box).removeprefix(visible(message.preamble or ""))
    if "[Image#" not in words:
        return message
    return Message(words, digest(words), end_digest(words), preamble=message.preamble, has_image_path=True)


def _is_restored_message(draft: str, session: ClaudeSession, last: Callable[[], Turn]) -> bool:
    """Return whether a draft is the last message, restored by Escape before anything was answered.

    A long message is shown as `[Pasted text #1 +9 lines]`; then the state of its turn decides.
    """
    if is_last_message(draft, session):
        return True
    if _PASTE_PLACEHOLDER not in draft:
        return False
    turn = last()
    return turn.started and not turn.reply and (turn.end is None or turn.end.status == "interrupted")


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 40 else f"{line[:40]}…"


def _message_fields(message: Message) -> FieldChanges:
    """Return the record's fields by which the message is found in the transcript."""
    return {
        "claude_send_digest": message.digest,
        "claude_send_end_digest": message.end_digest,
        "claude_send_command": message.command,
    }
