"""Version numbers are found in what programs print, and compared as numbers."""

from __future__ import annotations

import pytest

from dev_sessions.system.version import parse_version, version_text


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("codex-cli 0.169.0\n", (0, 169, 0)),
        ("2.1.332 (Claude Code)", (2, 1, 332)),
        ("tmux 3.5a", (3, 5)),
        ("tmux next-3.6", (3, 6)),
        ("0.5.0-beta.1", (0, 5, 0)),
        ("", ()),
        ("tmux master", ()),
        ("exit code 1", ()),
    ],
)
def test_a_version_is_found_in_what_a_program_prints(text: str, version: tuple[int, ...]) -> None:
    """The first dotted number counts; without one the version is unknown."""
    assert parse_version(text) == version


def test_a_newer_version_compares_as_greater() -> None:
    """Parts are numbers: 0.150 is newer than 0.99."""
    assert parse_version("0.150.0") > parse_version("0.99.3")


def test_a_version_is_shown_as_it_is_written() -> None:
    """Errors name it as its program does."""
    assert version_text((0, 169, 0)) == "0.169.0"
