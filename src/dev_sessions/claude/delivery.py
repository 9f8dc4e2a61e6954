"""Delivering one message to Claude: looked at before, pasted once, proved after.

Nothing is typed before everything that can be checked was checked, and what was typed is never typed again.
"""

from __future__ import annotations

from pathlib import Path

from dev_sessions import paths
from dev_sessions.claude.presence import Presence
from dev_sessions.claude.screen import box_text, plain
from dev_sessions.claude.tail import Tail, find_transcript
from dev_sessions.claude.tmux import Look, Tmux, session_name
from dev_sessions.claude.transcript import Turn, parse
from dev_sessions.deadline import Deadline, poll
from dev_sessions.errors import DeliveryFailed
from dev_sessions.models import ClaudeSession, Receipt

#: Seconds between two looks at the transcript.
_LOOK = 0.015
#: Seconds that the input box may be out of sight, as it is while Claude draws anew.
_BOX = 2.0
#: Seconds that Claude has to take a message, and to digest each further MB of it (measured: 1 MB in 1 s).
_PROOF = 5.0
_PROOF_PER_MB = 20.0
#: From this version on an Enter right after the paste submits it. 2.1.100 ignores one that comes too early.
_ENTER_AT_ONCE = (2, 1, 200)
_EXIT_WORDS = frozenset({"exit", "quit", ":q"})


def checked(text: str) -> None:
    """DeliveryFailed when a text is no message for Claude."""
    word = text.strip()
    if word in _EXIT_WORDS:
        raise DeliveryFailed(f"{word!r} alone ends Claude Code, so it was not sent; use dev-sessions kill for that")


def keystrokes(text: str) -> str:
    """A message as it has to be pasted so that it is taken as one.

    A trailing backslash would turn Enter into a new line: a space behind it is stripped again by the program. A
    leading `!` would run the rest as a shell command. White space at the end is stripped by the program in any case.
    """
    text = text.rstrip()
    if text.endswith("\\"):
        text += " "
    return f" {text}" if text.startswith("!") else text


class Delivery:
    """One message's way into one pane. `found` is the session file, None where the version writes none."""

    def __init__(self, session: ClaudeSession, found: Presence | None) -> None:
        self._session = session
        self._found = found
        self._tmux = Tmux(session.tmux_socket)
        self._pane = session.tmux_pane or f"={session_name(session.id)}:"

    def check(self) -> None:
        """Look before anything is typed: DeliveryFailed when a dialog or somebody's draft is in the way."""
        if self._found is not None and self._found.status == "waiting":
            what = self._found.waiting_for or "an answer"
            raise DeliveryFailed(
                f"{self._session.id} waits for input ({what}); nothing was sent. Answer it: {self._attach()}"
            )
        draft = poll(lambda: box_text(self._look().screen), Deadline(_BOX), 0.1)
        if draft is None:
            raise DeliveryFailed(
                f"{self._session.id} shows no input box; nothing was sent. Look: {self._attach()}. "
                f"It shows:\n{plain(self._look().screen)}"
            )
        if draft:
            raise DeliveryFailed(
                f"Somebody has typed into the box of {self._session.id} ({_short(draft)!r}); nothing was sent. "
                f"Submit or clear it first: {self._attach()}"
            )

    def deliver(self, text: str) -> Receipt:
        """Paste, Enter, proof. DeliveryFailed says what was typed and what was seen."""
        at_once = self._found is not None and self._found.version >= _ENTER_AT_ONCE
        self._tmux.paste(self._pane, keystrokes(text), enter=at_once)
        proof_in = Deadline(_PROOF + _PROOF_PER_MB * len(text) / 1e6)
        if not at_once:
            poll(lambda: bool(box_text(self._look().screen)) or None, proof_in, 0.1)
            self._tmux.press(self._pane, "Enter")
        turn = Turn(self._session.claude_send_digest or "")
        tail: Tail | None = None
        entered_again = False
        once_more = Deadline(_PROOF / 2)

        def arrived() -> bool | None:
            nonlocal tail, entered_again
            if tail is None:
                transcript = self._transcript()
                tail = Tail(transcript, self._session.claude_send_offset or 0) if transcript else None
            for line in tail.lines() if tail else ():
                turn.feed(parse(line))
            if turn.arrived is None and once_more.expired and not entered_again:
                entered_again = True
                if box_text(self._look().screen):
                    self._tmux.press(self._pane, "Enter")
            return True if turn.arrived else None

        poll(arrived, proof_in, _LOOK)
        if turn.arrived is None:
            raise DeliveryFailed(
                f"The message was typed into {self._session.id} once, but it has not shown up in the transcript. "
                f"Look before you send it again: {self._attach()}. It shows:\n{plain(self._look().screen)}"
            )
        return Receipt(turn.arrived)

    def _transcript(self) -> Path | None:
        config_dir = self._session.claude_config_dir
        return find_transcript(
            Path(config_dir) if config_dir else paths.claude_config_dir(),
            self._session.claude_send_transcript or self._session.internal_id,
        )

    def _look(self) -> Look:
        look = self._tmux.look(self._pane)
        if look is None or look.process_ended:
            raise DeliveryFailed(
                f"The pane of {self._session.id} is gone; nothing was sent: dev-sessions status says more"
            )
        if self._session.claude_pid is not None and look.pid != self._session.claude_pid:
            raise DeliveryFailed(f"The pane of {self._session.id} now belongs to another program; nothing was sent")
        return look

    def _attach(self) -> str:
        socket = f" -S {self._session.tmux_socket}" if self._session.tmux_socket else ""
        return f"tmux{socket} attach -t ={session_name(self._session.id)}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 40 else f"{line[:40]}…"
