"""Claude's screen: the box and the dialogs, as real versions draw them (captured with colours by tmux)."""

from __future__ import annotations

import pytest

from dev_sessions.claude.dialogs import dialog, options
from dev_sessions.claude.screen import box_text, plain, start_dialog

RULE = "\x1b[38;5;244m" + "─" * 80
FOOT = f"\x1b[0m\x1b[38;5;244m\x1b[49m{'─' * 80}\n\x1b[39m  \x1b[38;5;211m⏵⏵ bypass permissions on"
ABOVE = "\x1b[48;5;237m❯ \x1b[38;5;231msay hello\x1b[39m\n\n\x1b[38;5;231m\x1b[49m●\x1b[39m hello\n"

TRUST = """\
\x1b[38;5;220m────────────────────────────────────────
\x1b[39m \x1b[1m\x1b[38;5;220mAccessing\x1b[0m\x1b[39m\x1b[49m \x1b[1m\x1b[38;5;220mworkspace:

 \x1b[1m/home/user/project

 Quick safety check: Is this a project you created or one you trust?

\x1b[39m \x1b[38;5;153m❯\x1b[39m \x1b[38;5;153mNo,\x1b[39m \x1b[38;5;153mexit
\x1b[39m   Yes, I trust this folder

 \x1b[38;5;246mEnter\x1b[39m \x1b[38;5;246mto\x1b[39m \x1b[38;5;246mconfirm"""

QUESTION = """\
❯ ask Which one? | red | blue
────────────────────────────────────────
 ☐ Scripted

Which one?

❯ 1. red
     The option red
  2. blue
     The option blue
  3. Type something.
────────────────────────────────────────
  4. Chat about this

Enter to select · ↑/↓ to navigate · Esc to cancel
"""


def boxed(row: str) -> str:
    """A screen with this row in its box."""
    return f"{ABOVE}\x1b[39m   ◐ medium · /effort\n{RULE}\n{row}\n{FOOT}"


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ("\x1b[39m❯\u00a0\x1b[7m ", ""),
        ("\x1b[39m❯\u00a0after 5 say hello there\x1b[7m ", "after 5 say hello there"),
        ("\x1b[39m❯\u00a0draft one\n  draft two \x1b[7m ", "draft one\n  draft two"),
        ("\x1b[39m❯\u00a0[Pasted text #1 +4 lines]\x1b[7m ", "[Pasted text #1 +4 lines]"),
        ("\x1b[38;5;246m❯\u00a0\x1b[7m\x1b[39mP\x1b[0;2m\x1b[39m\x1b[49mress up to edit queued messages", ""),
        ("\x1b[39m❯\u00a0\x1b[0;2mOnce fixed, resend your message", ""),
        ("\x1b[39m❯\u00a0a\x1b[7mb\x1b[0mc", "abc"),
        ("\x1b[39m❯\u00a0\x1b[7mx", "x"),
        ("\x1b[39m❯\u00a0\x1b[38;5;2mgreen\x1b[38;2;2;2;2mtext", "greentext"),
        ("> old prompt", "old prompt"),
    ],
)
def test_a_draft_is_told_from_a_hint(row: str, text: str) -> None:
    """What somebody typed into the box is seen, and what the program shows there as a hint is not taken for it."""
    assert box_text(boxed(row)) == text


def test_no_box_is_no_empty_box() -> None:
    """Where no box is drawn, nothing is taken for one, neither a message above nor the cursor of a dialog."""
    assert box_text(ABOVE) is None
    assert box_text(TRUST) is None
    assert box_text(QUESTION) is None
    assert box_text("") is None


def test_a_start_dialog_is_recognised_and_shown() -> None:
    """A dialog before the start is shown as a person would read it; an input box is none."""
    shown = start_dialog(TRUST)
    assert shown is not None
    assert "Accessing workspace:" in shown
    assert " ❯ No, exit\n   Yes, I trust this folder" in shown
    assert "\x1b" not in shown
    assert start_dialog(boxed("❯\u00a0")) is None
    assert start_dialog("starting…") is None


def test_the_open_question_is_found_below_the_conversation() -> None:
    """The same words further up in the conversation are not the question."""
    assert dialog(QUESTION).startswith(" ☐ Scripted")
    assert "Which one?" in dialog(QUESTION)
    assert dialog("❯ ask Which one?\n ☐ x\n") == ""
    assert options(QUESTION) == [(1, "red"), (2, "blue"), (3, "Type something."), (4, "Chat about this")]


def test_a_screen_is_shown_without_colours_and_empty_lines() -> None:
    """What an error quotes is plain text."""
    assert plain("\n\n\x1b[1mA\x1b[0m  \n\u00a0b\n\n") == "A\n b"
