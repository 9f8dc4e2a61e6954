"""Claude's screen: the box and the dialogs, as real versions draw them (captured with colours by tmux)."""

from __future__ import annotations

import pytest

from dev_sessions.claude.screen import (
    box_text,
    is_dialog_open,
    plain,
    shows_background_shells,
    shows_work,
    startup_dialog_text,
    typed_command,
)
from tests.support.screens import recorded

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

PERMISSIONS = [screen.text for screen in recorded("2.1.250") if screen.name == "command" and screen.width == 80]
CONFIG = """\
────────────────────────────────────────
   Status   Config   Usage   Stats
    Theme                                     Dark mode
  \x1b[38;5;246m↓ 3 more below
\x1b[39m  \x1b[38;5;246mType to filter · Enter/↓ to select · ↑ to tabs · Esc to clear
"""
DETAILED = """\
\x1b[38;5;239m\x1b[48;5;237m❯ \x1b[38;5;231mrun touch made; echo done\x1b[39m
\x1b[2m────────────────────────────────────────
\x1b[0m\x1b[39m\x1b[49m  \x1b[38;5;246mShowing detailed transcript · ctrl+o to toggle · ctrl+e to show all\x1b[39m
"""


EMPTY_BOX = f"{RULE}\n❯\u00a0\n{FOOT}"


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
    ],
)
def test_a_draft_is_told_from_a_hint(row: str, text: str) -> None:
    """What somebody typed into the box is seen, and what the program shows there as a hint is not taken for it."""
    assert box_text(boxed(row)) == text


def test_the_box_of_a_conversation_with_a_name_is_found() -> None:
    """A name, which the program draws into the rule above the box, does not hide what stands in it."""
    for name in ("my name", "n" * 90, "── x ─"):
        rule = f"\x1b[38;5;244m{'─' * max(2, 76 - len(name))} {name} ─\n"
        assert box_text(f"{ABOVE}{rule}\x1b[39m❯\u00a0draft\x1b[7m \n{FOOT}") == "draft"
    assert box_text(f"{ABOVE}● a line ─\n❯\u00a0words\n") is None


def test_no_box_is_no_empty_box() -> None:
    """Where no box is drawn, nothing is taken for one, neither a message above nor the cursor of a dialog."""
    assert box_text(ABOVE) is None
    assert box_text(TRUST) is None
    assert box_text(QUESTION) is None
    assert box_text(f"{RULE}\n❯ 4. Chat about this\n{FOOT}") is None
    assert box_text(f"  {RULE}\n❯ a message\n{FOOT}") is None
    assert box_text("") is None


def test_a_start_dialog_is_recognised_and_shown() -> None:
    """A dialog before the start is shown as a person would read it; an input box is none."""
    shown = startup_dialog_text(TRUST)
    assert shown is not None
    assert "Accessing workspace:" in shown
    assert " ❯ No, exit\n   Yes, I trust this folder" in shown
    assert "\x1b" not in shown
    assert startup_dialog_text(boxed("❯\u00a0")) is None
    assert startup_dialog_text("starting…") is None


@pytest.mark.parametrize("screen", [*PERMISSIONS, QUESTION, CONFIG])
def test_a_dialog_in_place_of_the_box_is_seen(screen: str) -> None:
    """A request, a question and a dialog of settings are told from a session that can be written to."""
    assert is_dialog_open(screen)
    assert not is_dialog_open(f"{screen}\n" + boxed("❯\u00a0"))


def test_what_a_person_reads_there_is_no_dialog() -> None:
    """The conversation that a person has opened in full asks nothing."""
    assert not is_dialog_open(DETAILED)
    assert not is_dialog_open("")


@pytest.mark.parametrize(
    ("title", "foot", "works"),
    [
        ("⠂ Claude Code", "", True),
        ("⠐ a name of one's own", "", True),
        ("✳ Claude Code", "", False),
        ("✳ Claude Code", " · esc to interrupt", True),
        ("host", " · esc to interrupt", True),
        ("host", "", False),
    ],
)
def test_work_is_told_by_the_title(title: str, foot: str, works: bool) -> None:
    """The title of the terminal tells whether Claude works; without one its words below the box do."""
    assert shows_work(title, boxed("❯\u00a0") + foot) == works


@pytest.mark.parametrize(
    ("screen", "works"),
    [
        (boxed("❯\u00a0") + " · esc to interrupt", True),
        (boxed("❯\u00a0"), False),
        ("● it said: esc to interrupt\n" + boxed("❯\u00a0"), False),
        ("✻ Waiting for 1 background agent to finish\n   hint\n" + EMPTY_BOX, True),
        ("✻ Waiting for 2 background agents to finish\n● Agent finished\n✻ Worked for 5s\n" + EMPTY_BOX, False),
    ],
)
def test_work_is_told_by_the_words_where_the_title_rests(screen: str, works: bool) -> None:
    """Where the title is always at rest, the words below the box tell, and what stands last above it."""
    assert shows_work("✳ Claude Code", screen) == works
    assert shows_work("⠂ Claude Code", screen)


def test_a_command_in_the_background_is_seen() -> None:
    """The line below the box tells of commands that run on."""
    assert shows_background_shells(
        boxed("❯\u00a0") + "\x1b[38;5;246m · \x1b[38;5;44m1 shell\x1b[38;5;246m · ↓ to manage"
    )
    assert not shows_background_shells(boxed("❯\u00a0"))


def test_a_screen_is_shown_without_colours_and_empty_lines() -> None:
    """What an error quotes is plain text."""
    assert plain("\n\n\x1b[1mA\x1b[0m  \n\u00a0b\n\n") == "A\n b"


#: Boxes that a command was typed into, with the line above: by version, theme, what the session does, width.
TYPED = {
    "2.1.332": (
        "\x1b[39m            \x1b[38;5;246m◐ medium · /effort\n"
        "\x1b[38;5;244m────────────────────────────────────────\n"
        "\x1b[39m❯\xa0\x1b[38;5;153m/clear\x1b[39m\xa0\x1b[7m\n"
        "\x1b[0m\x1b[38;5;244m\x1b[49m────────────────────────────────────────\n"
        "\x1b[39m  \x1b[38;5;211m⏵⏵ bypass permissions on\x1b[38;5;246m (shift+tab to cycle)\x1b[39m"
    ),
    "2.1.332 at work": (
        "\x1b[39m            \x1b[38;5;246m◐ medium · /effort\n"
        "\x1b[38;5;244m────────────────────────────────────────\n"
        "\x1b[38;5;246m❯\xa0\x1b[38;5;153m/clear\x1b[39m\xa0x\x1b[7m \x1b[0m\x1b[39m\x1b[49m\n"
        "\x1b[38;5;244m────────────────────────────────────────\n"
        "\x1b[39m  \x1b[38;5;211m⏵⏵ bypass permissions on\x1b[38;5;246m (shift+tab to cycle)\x1b[39m"
    ),
    "2.1.250 in dark-ansi": (
        "\x1b[39m            \x1b[37m● high · /effort\n"
        "────────────────────────────────────────\n"
        "\x1b[39m❯\xa0\x1b[94m/clear\x1b[39m\xa0\x1b[7m\n"
        "\x1b[0m\x1b[37m\x1b[49m────────────────────────────────────────\n"
        "\x1b[39m  \x1b[91m⏵⏵ bypass permissions on\x1b[37m (shift+tab to cycle)\x1b[39m"
    ),
    "2.1.332 in 20 columns": (
        "  \x1b[38;5;246m◐ medium · /eff…\n\x1b[38;5;244m────────────────────\n"
        "\x1b[39m❯\xa0\x1b[38;5;153m/fewer-permissio\x1b[39m\n  \x1b[38;5;153mn-prompts\x1b[39m\xa0\x1b[7m\n"
        "\x1b[0m\x1b[38;5;244m\x1b[49m────────────────────\n\x1b[39m  \x1b[38;5;211m⏵⏵ bypass \x1b[39m"
    ),
}


@pytest.mark.parametrize("screen", TYPED.values(), ids=TYPED.keys())
def test_a_command_that_the_program_has_is_told_by_its_colour(screen: str) -> None:
    """The program's own colour says that it has a command of exactly the name in its box."""
    name = "/fewer-permission-prompts" if "fewer" in screen else "/clear"
    assert typed_command(screen, name) == "known"
    for colour in ("\x1b[38;5;153m/", "\x1b[94m/"):
        screen = screen.replace(colour, "\x1b[39m/")
    assert typed_command(screen, name) == "unknown"


def test_a_command_is_told_only_when_it_is_drawn_whole() -> None:
    """What is not in the box yet, or not any more, is neither known nor unknown."""
    screen = TYPED["2.1.332"]
    assert typed_command(screen, "/clearly") is None
    assert typed_command(screen.replace("\x1b[38;5;153m/clear\x1b[39m\xa0", ""), "/clear") is None


def test_without_colours_a_command_is_not_told() -> None:
    """Who has set NO_COLOR sees no difference (2.1.332), and that is not taken for a command that there is not."""
    screen = (
        "            ◐ medium · /effort\n────────────────────────────────────────\n❯\xa0/clear\xa0\x1b[7m\n"
        "\x1b[0m\x1b[39m\x1b[49m────────────────────────────────────────\n"
        "  ⏵⏵ bypass permissions on (shift+tab to cycle)"
    )
    assert typed_command(screen, "/clear") == "no colours"
