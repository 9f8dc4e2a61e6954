"""Rendering results as text for people."""

from __future__ import annotations

import pytest

from dev_sessions.cli.render import age, hanging, sessions_at_terminal, sessions_table
from dev_sessions.models import ClaudeSession, Listed, SessionState, parse_timestamp

THEN = "2026-01-02T03:04:05.678Z"
NOW = parse_timestamp(THEN) + 130


def listed(path: str, description: str | None) -> Listed:
    """Return a session that was used a little more than two minutes ago."""
    session = ClaudeSession(
        id="fizz-top", internal_id="x", path=path, description=description, created_at=THEN, last_used=THEN
    )
    return Listed(session, SessionState("idle"))


def test_the_list_fits_a_terminal() -> None:
    """On a terminal, no line of the list wraps: the home is ~, times are relative, and long texts are truncated."""
    rows = [
        listed("/home/me/work/a-project/with/a/deep/folder", "fix the login page, so that all can log in again"),
        listed("/home/melissa", None),
    ]
    narrow = sessions_at_terminal(rows, 90, "/home/me", NOW).splitlines()
    assert max(map(len, narrow)) <= 90
    assert narrow[0].split() == ["ID", "CLI", "MODE", "HOST", "STATUS", "PATH", "DESCRIPTION", "LAST", "USED"]
    assert narrow[1].split() == [
        *("fizz-top", "claude", "native", "-", "idle", "…oject/with/a/deep/folder", "fix", "the", "log…", "2m", "ago"),
    ]
    assert "/home/melissa" in narrow[2]
    wide = sessions_at_terminal(rows, 200, "/home/me", NOW)
    assert "  ~/work/a-project/with/a/deep/folder  fix the login page, so that all can log in again  2m ago" in wide


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
