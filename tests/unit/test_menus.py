"""Read Claude's menus and forms from screens recorded from the real program (`tests/support/screens.py`)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dev_sessions.claude.dialogs import Option
from dev_sessions.claude.menus import Field, Menu, is_cut, read
from dev_sessions.claude.screen import rows
from tests.support.screens import FORGED, Screen, recorded

SCREENS = recorded("2.1.332-menus")
#: The others are enlarged before they are read.
WIDE = [
    screen
    for screen in SCREENS
    if screen.height == 50 or not (screen.height < 20 or is_cut(screen.text, screen.width, screen.height))
]
FORMS = [screen for screen in SCREENS if screen.name.startswith("form") and screen.width == 200]
BOXES = [screen for screen in recorded("2.1.332") if screen.name == "idle"]
#: Of each menu its title, its labels, as they begin, and the number of the selected option.
MENUS: dict[str, tuple[str, list[str], int]] = {
    "model": ("Select model", ["Default (recommended)", "Opus", "Fable", "Sonnet", "Haiku"], 1),
    "model-second": ("Select model", ["Default (recommended)", "Opus", "Fable", "Sonnet", "Haiku"], 2),
    "theme": (
        "Theme",
        ["Auto (match", "Dark mode", "Light mode", "Dark mode (c", "Light mode (c", "Dark mode (A", "Light", "New"],
        3,
    ),
    "effort": ("Effort", ["low", "medium", "high", "xhigh", "max"], 2),
    "export": ("Export conversation", ["Copy to clipboard", "Save to file"], 1),
    "export-file": ("Export conversation", [], 0),
    "permissions": ("Permissions", ["Add a new rule…"], 0),
    "memory": ("Memory", ["Auto-memory", "User instructions", "Project instructions", "Open auto-memory folder"], 2),
    "mcp": ("MCP servers", ["made"], 1),
    "mcp-server": ("made", ["View tools", "Reconnect", "Disable in this project", "Back"], 1),
    "cd": ("Moving to a new directory:", ["No, stay put", "Yes, move here"], 1),
    "add-dir": ("Add directory to workspace", [], 0),
    "rewind-second": (
        "Rewind",
        ["Restore conversation", "Summarize from here: add context", "Summarize up to here", "Never mind"],
        2,
    ),
    "resume": ("Resume session", ["say n0"], 1),
    "status": ("Settings", [], 0),
    "help": ("Help", [], 0),
    "login": ("Login", ["Claude account", "Anthropic Console account", "3rd-party platform"], 1),
    "confirm": ("MCP server “made” requests your input", ["Accept", "Decline"], 2),
    "url": ("MCP server “made” wants to open a URL", ["Accept", "Decline"], 1),
}


def menu(screen: Screen) -> Menu:
    """Return the menu on a recorded screen."""
    found = read(screen.text, screen.width, screen.cursor)
    assert found is not None
    return found


@pytest.mark.parametrize("screen", [screen for screen in WIDE if screen.name in MENUS], ids=str)
def test_a_menu_is_read_with_all_of_its_options(screen: Screen) -> None:
    """Each menu is read with its title, its options and the selected one, with and without numbers."""
    title, labels, selected = MENUS[screen.name]
    found = menu(screen)
    assert (found.title, found.selected) == (title, selected)
    assert [option.label[: len(label)] for option, label in zip(found.options, labels, strict=True)] == labels
    assert not found.is_cut


@pytest.mark.parametrize("screen", [screen for screen in WIDE if screen.name in MENUS], ids=str)
def test_a_menu_is_read_outside_of_fullscreen_mode(screen: Screen) -> None:
    """A menu is read as well where Claude Code draws its other rule above it, and one with the conversation's name
    below it, as it does without fullscreen mode."""
    expected = menu(screen)
    for below in ("", "─" * 12 + " fizz-top ─", " a long name of a conversation ─", "─" * 40):
        found = read(f"{screen.text.rstrip().replace('▔', '─')}\n{below}\n\n", screen.width, screen.cursor)
        assert found is not None
        assert (found.title, found.options) == (expected.title, expected.options)
        assert (found.text, found.hint) == (expected.text, expected.hint)


def test_every_menu_is_read_at_some_size() -> None:
    """No recorded menu is left out of these tests."""
    assert {screen.name for screen in WIDE} >= set(MENUS)


@pytest.mark.parametrize("screen", [screen for screen in SCREENS if screen.name in ("config", "hooks")], ids=str)
def test_a_list_that_does_not_fit_says_how_much_is_hidden(screen: Screen) -> None:
    """The options in sight and those hidden are all that there are, at every size, or the screen counts as cut."""
    found = menu(screen)
    whole = {"config": 39, "hooks": 34}[screen.name]
    assert len(found.options) + sum(found.hidden) == whole or screen.width < 60
    assert is_cut(screen.text, screen.width, screen.height) == (len(found.options) < whole)


def test_descriptions_and_present_values_belong_to_their_options() -> None:
    """What stands beside or below a label, and the mark of the present choice, is its description."""
    by_name = {screen.name: menu(screen) for screen in SCREENS if screen.width == 200}
    assert by_name["export"].options[1].description == "Save the conversation to a file in the current directory"
    assert by_name["theme"].options[1] == Option(2, "Dark mode", "✔")
    assert by_name["effort"].options[1] == Option(2, "medium", "✔")
    assert by_name["rewind"].options[0] == Option(1, "say n5", "No code changes")
    assert by_name["rewind"].hidden == (6, 0)
    assert by_name["mcp"].options == (Option(1, "made", "✔ 1 tool"),)
    assert "User MCPs" in by_name["mcp"].text
    assert "workspace" in by_name["resume"].text
    assert by_name["resume"].options[0].description.endswith("KB")
    thinking = next(option for option in by_name["config"].options if option.label == "Thinking mode")
    assert thinking.description == "on Thinking can't be turned off for Opus 5.5"


def test_what_confirms_a_choice_is_read() -> None:
    """A setting is switched by Space, and everything else chosen by Enter."""
    by_name = {screen.name: menu(screen) for screen in SCREENS if screen.width == 200}
    assert by_name["config-list"].confirm_key == "Space"
    assert {by_name[name].confirm_key for name in ("model", "effort", "rewind-second", "mcp")} == {"Enter"}


def test_a_field_with_the_cursor_is_read() -> None:
    """The text in a field can be replaced; a search field takes no answer."""
    by_name = {screen.name: menu(screen) for screen in SCREENS if screen.width == 200}
    assert by_name["add-dir"].field_text == "../other-project"
    assert (by_name["export-file"].field_text or "").endswith(".txt")
    assert {by_name[name].field_text for name in ("config", "resume", "permissions", "model")} == {None}


@pytest.mark.parametrize("screen", FORMS, ids=str)
def test_a_form_is_read_with_its_fields(screen: Screen) -> None:
    """Each field of a form is read with its value, the choices of an expanded one, and why it was rejected."""
    found = menu(screen)
    assert found.is_form
    assert [field.label for field in found.fields] == ["Your name", "Colour", "Sure?", "Count", "Many"]
    name, colour, *_ = found.fields
    if screen.name == "form-expanded":
        assert name == Field("Your name", "A", "✔", "As on the badge")
        assert (colour.choices, colour.marked, colour.multiple) == (
            (("red", False), ("blue", False), ("green", False)),
            2,
            False,
        )
        assert found.selected_field == 2
    else:
        assert name.is_empty_text
        assert (name.is_rejected, name.is_required) == (screen.name == "form-rejected", screen.name == "form")
        assert ("This field is required" in colour.note) == name.is_rejected
        assert found.selected_field == 1


def test_a_notice_in_the_rule_hides_no_menu() -> None:
    """A menu is read while the program shows a notice in the rule above it (2.1.332, after Ctrl-U in a field)."""
    screen = next(screen for screen in WIDE if screen.name == "export-file")
    notice = " ctrl+y to paste deleted text ▔"
    text = screen.text.replace("▔" * screen.width, "▔" * (screen.width - len(notice)) + notice)
    assert read(text, screen.width, screen.cursor) == Menu(
        **{**vars(menu(screen)), "rows": tuple(row for row in rows(text)[_top(text) :] if row)}
    )


def _top(text: str) -> int:
    return next(at for at, row in enumerate(rows(text)) if row.startswith("▔"))


PARTS = sorted({row for screen in SCREENS for row in rows(screen.text) if row} | {*FORGED.split("\n")})


@given(st.sampled_from(BOXES), st.lists(st.sampled_from(PARTS)))
def test_no_conversation_is_mistaken_for_a_menu(screen: Screen, said: list[str]) -> None:
    """What a model says is never read as a menu, whether the input box is drawn or not."""
    width = screen.width - 2
    drawn = [f"  {line[at : at + width]}" for line in said for at in range(0, max(len(line), 1), width)]
    assert read("\n".join(drawn[-screen.height :]), screen.width, (0, screen.height - 1)) is None
    box = next(at for at, line in enumerate(rows(screen.text)) if line.startswith("❯\u00a0")) - 1
    text = "\n".join([*drawn, *screen.text.split("\n")[box:]])
    assert read(text, screen.width, screen.cursor) is None
