"""Claude's screen: the box and the dialogs, as real versions draw them (captured with colours by tmux)."""

from __future__ import annotations

import pytest

from dev_sessions.claude.screen import (
    box_text,
    foregrounds,
    is_box_cut,
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


def scrolled(above: str, below: str) -> str:
    """Return the box of 2.1.332 with a text of many lines."""
    rules = [f"\x1b[38;5;244m{rule}{'─' * (80 - len(rule))}\x1b[39m" for rule in (above, below)]
    return f"● hello\n\n{rules[0]}\n  line 30\n  line 31 end\n{rules[1]}\n  ⏵⏵ bypass permissions on"


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


#: A command in the box, and behind the cursor the hint for its arguments, which may be that of the command before.
COMMAND = "\x1b[39m❯\u00a0\x1b[38;5;153m"
ARGUMENTS = "\x1b[0m\x1b[38;5;246m\x1b[49m<optional custom summarization i…"


def boxed(row: str) -> str:
    """Return a screen with this row in its box."""
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
        (f"{COMMAND}/compact\x1b[39m \x1b[7m {ARGUMENTS}", "/compact"),
        (f"{COMMAND}/clear\x1b[7m\x1b[39m {ARGUMENTS}", "/clear"),
        (f"{COMMAND}/clear\x1b[39m\x1b[7m \x1b[0m\x1b[39m\x1b[49mwords", "/clear words"),
        (f"{COMMAND}/goal\x1b[39m a\x1b[7m \x1b[0m\x1b[38;5;211mcolour", "/goal a colour"),
        ("\x1b[39m❯\u00a0\x1b[38;5;2mgreen\x1b[38;2;2;2;2mtext", "greentext"),
    ],
)
def test_a_draft_is_distinguished_from_a_hint(row: str, text: str) -> None:
    """Text that somebody typed into the box is read, and the program's hints are not."""
    assert box_text(boxed(row)) == text


def test_the_box_of_a_conversation_with_a_name_is_found() -> None:
    """A conversation's name in the rule above the box does not hide the box."""
    for name in ("my name", "n" * 90, "── x ─"):
        rule = f"\x1b[38;5;244m{'─' * max(2, 76 - len(name))} {name} ─\n"
        assert box_text(f"{ABOVE}{rule}\x1b[39m❯\u00a0draft\x1b[7m \n{FOOT}") == "draft"
    assert box_text(f"{ABOVE}● a line ─\n❯\u00a0words\n") is None


def test_a_missing_box_is_not_an_empty_box() -> None:
    """If no box is drawn, neither a message nor the cursor of a dialog is mistaken for one."""
    assert box_text(ABOVE) is None
    assert box_text(TRUST) is None
    assert box_text(QUESTION) is None
    assert box_text(f"{RULE}\n❯ 4. Chat about this\n{FOOT}") is None
    assert box_text(f"  {RULE}\n❯ a message\n{FOOT}") is None
    assert box_text("") is None


def test_a_startup_dialog_is_recognised() -> None:
    """A dialog before the start is read as it is displayed; an input box is not mistaken for one."""
    shown = startup_dialog_text(TRUST)
    assert shown is not None
    assert "Accessing workspace:" in shown
    assert " ❯ No, exit\n   Yes, I trust this folder" in shown
    assert "\x1b" not in shown
    assert startup_dialog_text(boxed("❯\u00a0")) is None
    assert startup_dialog_text("starting…") is None


@pytest.mark.parametrize("screen", [*PERMISSIONS, QUESTION, CONFIG])
def test_a_dialog_in_place_of_the_box_is_recognised(screen: str) -> None:
    """A permission, a question and a settings dialog are distinguished from a session that can be written to."""
    assert is_dialog_open(screen)
    assert not is_dialog_open(f"{screen}\n" + boxed("❯\u00a0"))


def test_the_full_conversation_is_not_a_dialog() -> None:
    """The full conversation that a person has opened is not a dialog."""
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
def test_work_is_recognised_by_the_title(title: str, foot: str, works: bool) -> None:
    """The terminal's title shows whether Claude works, and without a title the text below the box does."""
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
def test_work_is_recognised_by_the_screen_if_the_title_is_idle(screen: str, works: bool) -> None:
    """If the title always shows Claude as idle, the text below the box and the last line above it decide."""
    assert shows_work("✳ Claude Code", screen) == works
    assert shows_work("⠂ Claude Code", screen)


def test_background_shells_are_recognised() -> None:
    """The line below the box shows commands that run in the background."""
    assert shows_background_shells(
        boxed("❯\u00a0") + "\x1b[38;5;246m · \x1b[38;5;44m1 shell\x1b[38;5;246m · ↓ to manage"
    )
    assert not shows_background_shells(boxed("❯\u00a0"))


def test_a_screen_is_shown_without_colours_and_empty_lines() -> None:
    """A screen that an error quotes is plain text."""
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
def test_a_known_command_is_recognised_by_its_colour(screen: str) -> None:
    """The colour of a name in the box shows that the program has a command of exactly that name."""
    name = "/fewer-permission-prompts" if "fewer" in screen else "/clear"
    assert typed_command(screen, name) == "known"
    for colour in ("\x1b[38;5;153m/", "\x1b[94m/"):
        screen = screen.replace(colour, "\x1b[39m/")
    assert typed_command(screen, name) == "unknown"


def test_a_command_is_recognised_once_it_is_drawn_completely() -> None:
    """A name that is not in the box is neither known nor unknown."""
    screen = TYPED["2.1.332"]
    assert typed_command(screen, "/clearly") is None
    assert typed_command(screen.replace("\x1b[38;5;153m/clear\x1b[39m\xa0", ""), "/clear") is None


def test_without_colours_a_command_is_not_recognised() -> None:
    """With NO_COLOR there is no difference in colour (2.1.332), and the command does not count as unknown."""
    screen = (
        "            ◐ medium · /effort\n────────────────────────────────────────\n❯\xa0/clear\xa0\x1b[7m\n"
        "\x1b[0m\x1b[39m\x1b[49m────────────────────────────────────────\n"
        "  ⏵⏵ bypass permissions on (shift+tab to cycle)"
    )
    assert typed_command(screen, "/clear") == "no colours"


def test_the_colour_of_each_character_is_read() -> None:
    """Colours are read in each form that tmux writes, and go on in the next row until they are switched off."""
    screen = "a\x1b[1;38;5;246mb\nc\x1b[39md\x1b[31;4me\x1b[38;2;1;2;3mf\x1b[48;5;31mg\x1b[0mh\x1b[97mi\x1b[mj"
    assert foregrounds(screen) == [
        ["", "38;5;246"],
        ["38;5;246", "", "31", "38;2;1;2;3", "38;2;1;2;3", "", "97", ""],
    ]


@pytest.mark.parametrize(
    ("above", "below"),
    [("─── ↑ 30 more ", ""), ("─── ↑ 30 more ", "─── ↓ 5 more "), ("─── ↑ 30 more ─── fizz-top ", "")],
    ids=["end", "middle", "named"],
)
def test_a_scrolled_box_shows_a_part_of_its_text(above: str, below: str) -> None:
    """A box that shows only a part of a long text is a box, and is known to be scrolled."""
    assert box_text(scrolled(above, below)) == "line 30\n  line 31 end"
    assert is_box_cut(scrolled(above, below))


def test_a_box_that_shows_only_its_beginning_is_scrolled() -> None:
    """A box that shows the beginning of a long text is known to be scrolled; a whole one is not."""
    beginning = scrolled("", "─── ↓ 5 more ").replace("  line 30", "❯\u00a0line 30")
    assert box_text(beginning) == "line 30\n  line 31 end"
    assert is_box_cut(beginning)
    whole = scrolled("", "").replace("  line 30", "❯\u00a0line 30")
    assert box_text(whole) == "line 30\n  line 31 end"
    assert not is_box_cut(whole)
    assert not is_box_cut("nothing\nof it")


def test_a_box_that_fills_the_screen_is_cut() -> None:
    """A box whose beginning is above the screen is told from a dialog and from a conversation."""
    filling = "\n".join(["  line 30", "", "  line 31 end", "─" * 80, "  ⏵⏵ bypass permissions on"])
    assert box_text(filling) is None
    assert is_box_cut(filling)
    assert not is_box_cut(f"● hello\n{filling}")
    assert not is_box_cut(QUESTION)
