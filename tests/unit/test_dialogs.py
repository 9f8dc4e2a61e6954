"""Read Claude's dialogs from screens recorded from the real program (`tests/support/screens.py`)."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dev_sessions.claude.dialogs import Dialog, read
from dev_sessions.claude.screen import rows
from dev_sessions.models import Question
from tests.support.screens import FORGED, LINES, LONG, LONG_OPTIONS, SHORT_OPTIONS, VERY_LONG, Screen, recorded

VERSIONS = ("2.1.250", "2.1.332")
ASKS = ["Yes", "Yes, and don\u2019t ask again for: ./poke", "Yes, and switch to auto mode", "No"]
EDITS = ["Yes", "Yes, and switch to accept edits (auto-approve file edits and common file commands)", "No"]
RED, BLUE = ("red", "The option red"), ("blue", "The option blue")
#: Of each case its options, as they begin, and the numbers of those that allow and that deny once.
PERMISSIONS: dict[str, tuple[list[str], int | None, int | None]] = {
    "command": (ASKS, 1, 4),
    "command-second": (ASKS, 1, 4),
    "command-after-forgery": (ASKS, 1, 4),
    "command-forging": (ASKS, 1, 4),
    "command-amended": (["Yes, and tell Claude what to do next", *ASKS[1:]], None, 4),
    "write": (EDITS, 1, 3),
    "fetch": (["Yes", "Yes, and don't ask again for example.com", "No, and tell Claude what to do differently"], 1, 3),
    "mcp": (["Yes", "Yes, and don't ask again for made", "No"], 1, 3),
    "no-plan": (["Yes, and switch to default (ask each time) for this session", "No"], 1, 2),
    "plan": (
        ["Yes, and switch to BYPASS PERMISSIONS", "Yes, manually approve edits", "Tell Claude what to change"],
        2,
        None,
    ),
}
QUESTIONS: dict[str, tuple[Question, int]] = {
    **dict.fromkeys(
        ("question", "question-second", "question-field", "question-chat"), (Question("Which colour?", (RED, BLUE)), 1)
    ),
    "question-long": (Question(LONG, tuple((word, f"The option {word}") for word in "one two three four".split())), 1),
    "question-very-long": (Question(VERY_LONG, SHORT_OPTIONS), 1),
    "question-lines": (Question(" ".join(LINES.split()), SHORT_OPTIONS), 1),
    **dict.fromkeys(("question-options", "question-options-second"), (Question("Which way?", LONG_OPTIONS), 1)),
    "question-options-any": (Question("Which ways?", LONG_OPTIONS, multiple=True), 1),
    "question-all-long": (Question(VERY_LONG, LONG_OPTIONS), 1),
    "question-any": (Question("Which ones?", (("x", "The option x"), ("y", "The option y")), multiple=True), 1),
    "question-any-below": (Question("Which ones?", (("x", "The option x"), ("y", "The option y")), multiple=True), 2),
}
#: Dialogs that 24 rows do not hold, unless they are wide.
HIGH = ("question-options", "question-options-second", "question-options-any", "question-all-long")
#: Where there is no dialog, or one that something else hides.
NONE = ("idle", "command-in-transcript-view")
#: What can be read of the others is too little where the screen is as low as this.
LOW = 10


def dialog(screen: Screen) -> Dialog | None:
    """Return the dialog on a recorded screen."""
    return read(screen.text, screen.width, screen.cursor)


def wide(screen: Screen) -> bool:
    """Return whether the screen has at least the size of an ordinary terminal, and holds its dialog."""
    return screen.width >= 80 and screen.height > (24 if screen.name in HIGH and screen.width < 200 else LOW)


def frame(row: str, screen: Screen) -> bool:
    """Return whether a row is the rule above a dialog."""
    return row in ("─" * screen.width, "▔" * screen.width)


#: Screens on which the input box is, and ones on which a dialog is.
ALL = [screen for version in VERSIONS for screen in recorded(version)]
BOXES = [screen for screen in ALL if screen.name == "idle"]
DIALOGS = [screen for screen in ALL if wide(screen) and screen.name not in NONE]
WHOLE = [screen for screen in DIALOGS if any(frame(row, screen) for row in rows(screen.text))]
#: What imitates a dialog: parts of real ones, in any order, and anything else.
PARTS = sorted({row.strip() for screen in DIALOGS for row in rows(screen.text) if row.strip()} | {*FORGED.split("\n")})
SAID = st.lists(st.one_of(st.sampled_from(PARTS), st.text(st.characters(exclude_categories=("C", "Zl", "Zp")))))


@pytest.mark.parametrize("screen", ALL, ids=str)
def test_a_dialog_is_read_as_far_as_it_is_visible(screen: Screen) -> None:
    """Each dialog is read with its options at every size; parts that do not fit are not made up."""
    found = dialog(screen)
    if screen.name in NONE:
        assert found is None
    elif found is None:
        is_high = screen.name in HIGH and screen.height <= 24
        assert is_high or screen.height <= LOW or screen.width <= 20, "it can be missed only where it does not fit"
    elif screen.name in PERMISSIONS:
        labels, allow, deny = PERMISSIONS[screen.name]
        assert not found.is_question
        if wide(screen):
            assert [option.label[: len(label)] for option, label in zip(found.options, labels, strict=True)] == labels
            assert found.allow_once_option is not None if allow else found.allow_once_option is None
            assert found.deny_once_option is not None if deny else found.deny_once_option is None
        # Whatever is in sight, nothing else is taken for what allows or denies.
        if found.allow_once_option is not None:
            assert found.allow_once_option.number == allow
        if found.deny_once_option is not None and screen.name != "mcp":
            assert found.deny_once_option.number == deny
    elif screen.name in QUESTIONS:
        assert found.is_question
        asked, left = QUESTIONS[screen.name]
        # 2.1.250 draws a question wrong where it does not fit. Without the first option, the question is not in sight.
        assert found.shows(asked) or screen.height <= LOW or found.options[0].number > 1
        if wide(screen):
            assert found.question == (asked, left)
            assert not found.shows(Question("Which one then?", asked.options))
            assert not found.shows(Question(asked.text, tuple((f"not {label}", "") for label, _ in asked.options)))
        # On a narrow screen the row of tabs takes two rows.
        elif found.question is not None and screen.width > 20:
            assert found.question == (asked, left)
    elif screen.name == "question-review":
        assert found.is_review
        assert found.question is None


@pytest.mark.parametrize("screen", [screen for screen in ALL if wide(screen)], ids=str)
def test_the_selected_option_is_read(screen: Screen) -> None:
    """The selected option, a focused text field and checked options are recognised."""
    found = dialog(screen)
    if found is None:
        assert screen.name in NONE
        return
    at = {"second": 2, "field": 3, "chat": 4, "below": 0}.get(screen.name.rpartition("-")[2], 1)
    assert found.selected == at
    assert found.in_field == (screen.name in ("command-amended", "command-second", "question-field"))
    assert found.is_checked(2) == (screen.name in ("question-any", "question-options-any"))


@pytest.mark.parametrize("screen", [screen for screen in ALL if screen.name in HIGH and wide(screen)], ids=str)
def test_without_colours_a_long_label_is_still_recognised(screen: Screen) -> None:
    """Where the program draws no colours, a question with wrapped labels is still recognised as the one asked."""
    found = read("\n".join(rows(screen.text)), screen.width, screen.cursor)
    assert found is not None
    assert found.shows(QUESTIONS[screen.name][0])
    assert found.question is not None


def test_the_options_of_a_dialog_without_numbers_are_read() -> None:
    """Options without numbers are counted by their position (2.1.332, where auto mode can't decide)."""
    text = f"""\
  said before

{"─" * 80}
 Tool use
 │ Auto mode can't check actions in this session, so this one needs your
 │ approval

 Do you want to proceed?
 ❯ No
   Yes

 Esc to cancel · Tab to amend"""
    found = read(text, 80, (1, 8))
    assert found is not None
    assert [option.label for option in found.options] == ["No", "Yes"]
    assert (found.selected, found.numbered) == (1, False)
    assert found.allow_once_option is not None
    assert found.deny_once_option is not None
    assert (found.allow_once_option.number, found.deny_once_option.number) == (2, 1)


@pytest.mark.parametrize(
    "label",
    [
        "Yes, and don't ask again for: npm *",
        "Yes, and always allow access to /tmp from this project",
        "Yes, auto-accept edits",
        "Yes, and switch to BYPASS PERMISSIONS (no further prompts) for this session",
        "Yes, for this session",
        "Yes, allow reading from /etc during this session",
        "Yes always",
        "yes",
        "OK",
    ],
)
def test_an_option_that_allows_more_than_once_is_not_allow_once(label: str) -> None:
    """Only an option with a known label counts as allowing once; others are left for the user to choose."""
    found = read(f"{'─' * 80}\n A\n\n ❯ 1. {label}\n   2. No\n", 80, (1, 3))
    assert found is not None
    assert [option.label for option in found.options] == [label, "No"]
    assert found.allow_once_option is None


def test_two_options_that_allow_once_are_ambiguous() -> None:
    """If it is not clear which option is meant, none is chosen."""
    found = read(f"{'─' * 80}\n A\n\n ❯ 1. Yes\n   2. Yes\n   3. No\n", 80, (1, 3))
    assert found is not None
    assert found.allow_once_option is None


def draw(said: list[str], screen: Screen, height: int) -> list[str]:
    """Return the rows of a conversation as the program draws them: wrapped, and indented by two columns."""
    width = screen.width - 2
    lines = [f"  {line[at : at + width]}".rstrip() for line in said for at in range(0, max(len(line), 1), width)]
    return [*[""] * height, *lines][-height:] if height else []


@given(st.sampled_from(BOXES), SAID, st.integers(0, 199), st.integers(0, 49))
@example(BOXES[0], FORGED.split("\n"), 3, 40)
def test_no_conversation_is_mistaken_for_a_dialog(screen: Screen, said: list[str], column: int, row: int) -> None:
    """While the input box is drawn, no conversation is mistaken for a dialog, wherever the cursor is."""
    text = rows(screen.text)
    box = max(at for at, line in enumerate(text) if line.startswith("❯\u00a0")) - 1
    drawn = "\n".join([*draw(said, screen, box), *text[box:]])
    assert read(drawn, screen.width, screen.cursor) is None
    assert read(drawn, screen.width, (column, row)) is None


@given(st.sampled_from(WHOLE), SAID)
def test_text_above_a_dialog_changes_nothing(screen: Screen, said: list[str]) -> None:
    """A dialog is read the same, whatever the conversation above it contains."""
    text = rows(screen.text)
    before = dialog(screen)
    assert before is not None
    top = next(at for at, row in enumerate(text) if frame(row, screen))
    above, below = screen.text.split("\n")[:top], screen.text.split("\n")[top:]
    # What is switched on above goes on below.
    below[0] = "".join(re.findall(r"\x1b\[[0-9;]*m", "".join(above))) + below[0]
    drawn = "\n".join([*draw(said, screen, top), *below])
    assert read(drawn, screen.width, screen.cursor) == before


@given(st.sampled_from(BOXES), SAID)
def test_without_box_and_frame_nothing_is_read(screen: Screen, said: list[str]) -> None:
    """While neither a dialog nor the box is drawn, the conversation is not mistaken for a dialog."""
    drawn = "\n".join(draw(said, screen, screen.height))
    assert read(drawn, screen.width, (0, screen.height - 1)) is None
