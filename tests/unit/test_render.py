"""Rendering results as text for people."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from dev_sessions.cli.render import age, hanging, sessions_at_terminal, sessions_table
from dev_sessions.models import ClaudeSession, Listed, SessionState, State, parse_timestamp

THEN = "2026-01-02T03:04:05.678Z"
NOW = parse_timestamp(THEN) + 130


def listed(path: str, description: str | None, state: State = "idle") -> Listed:
    """Return a session that was used a little more than two minutes ago."""
    session = ClaudeSession(
        id="fizz-top", internal_id="x", path=path, description=description, created_at=THEN, last_used=THEN
    )
    return Listed(session, SessionState(state))


def test_the_list_fits_a_terminal() -> None:
    """On a terminal, each session is one line: the home is ~, times are relative, and long texts are truncated."""
    rows = [
        listed("/home/me/work/a-project/with/a/deep/folder", "fix the login page, so that all can log in again"),
        listed("/home/melissa", None, "waiting_for_input"),
    ]
    for columns in (60, *range(70, 82), 160):
        lines = sessions_at_terminal(rows, columns, "/home/me", NOW)
        assert len(lines) == 3
        assert max(map(len, lines)) <= columns
        assert lines[0].endswith("  LAST USED") == (columns > 60), columns
    narrow = sessions_at_terminal(rows, 80, "/home/me", NOW)
    assert narrow[0].split() == ["ID", "CLI", "STATUS", "PATH", "DESCRIPTION", "LAST", "USED"]
    assert narrow[1].split() == [
        *("fizz-top", "claude", "idle", "…/with/a/deep/folder", "fix", "the", "login", "page,…", "2m", "ago"),
    ]
    assert "waiting" in narrow[2].split()
    assert "/home/melissa" in narrow[2]
    (_, wide, _) = sessions_at_terminal(rows, 200, "/home/me", NOW)
    assert "  ~/work/a-project/with/a/deep/folder  fix the login page, so that all can log in again  2m ago" in wide
    wide_characters = sessions_at_terminal([listed("/", "漢" * 60)], 80, "/home/me", NOW)
    assert "漢" * 10 in wide_characters[1]
    assert sum(1 + (character == "漢") for character in wide_characters[1]) <= 80


def test_a_column_is_shown_where_it_tells_something() -> None:
    """On a terminal, MODE and HOST are shown if a session has another than most have."""
    plain = listed("/", None)
    elsewhere = replace(plain, session=replace(plain.session, host="build-box"))
    in_docker = replace(plain, session=replace(plain.session, mode="docker"))
    assert sessions_at_terminal([plain, elsewhere], 160, "/h", NOW)[0].split()[2] == "HOST"
    assert sessions_at_terminal([plain, in_docker], 160, "/h", NOW)[0].split()[2] == "MODE"


def test_what_needs_somebody_is_coloured() -> None:
    """With colour, a session that waits is yellow and a lost one red; the text is the same without."""
    rows = [listed("/", None), listed("/", None, "waiting_for_input"), listed("/", "\x1b[31m", "lost")]
    coloured = sessions_at_terminal(rows, 80, "/h", NOW, colour=True)
    plain = sessions_at_terminal(rows, 80, "/h", NOW)
    assert [line[:5] if line[0] == "\x1b" else "" for line in coloured] == ["", "", "\x1b[33m", "\x1b[31m"]
    assert [re.sub("\x1b\\[\\d+m", "", line) for line in coloured] == plain
    assert not any("\x1b" in line for line in plain)


def test_the_list_is_whole_for_programs() -> None:
    """The list is not truncated in a pipe."""
    table = sessions_table([listed("/home/me/" + "x" * 200, "y" * 200)])
    assert "/home/me/" + "x" * 200 in table
    assert "y" * 200 in table
    assert THEN in table


def test_a_long_text_stays_beside_its_head() -> None:
    """On a terminal, a long text is wrapped between words, never within a path; elsewhere it is one line."""
    text = "asks something: run claude in /a/folder-with-a-name-that/is/longer/than/it/should/be once"
    assert hanging("! claude  ", text, None) == f"! claude  {text}"
    broken = hanging("! claude  ", text, 40).splitlines()
    assert broken[0] == "! claude  asks something: run claude in"
    assert broken[1] == "          /a/folder-with-a-name-that/is/longer/than/it/should/be"
    assert " ".join(line[10:] for line in broken) == text


@pytest.mark.parametrize(("seconds", "text"), [(-1, "0s"), (59.9, "59s"), (60, "1m"), (7300, "2h"), (200000, "2d")])
def test_an_age_is_shown_in_its_largest_unit(seconds: float, text: str) -> None:
    """An age is shown in seconds, minutes, hours or days."""
    assert age(seconds) == text
