"""Every error that the program can report, as tests/support/error_list.py lists them."""

from __future__ import annotations

import re

from tests.support.error_list import reported

#: Words after which an error says what to do.
ADVICE = re.compile(
    r"; |dev-sessions |: (run|set|install|use|check|move|correct|update|root|chmod|ps|now)\b|try again|, or |: chmod"
    r"|\buse (--watch|only|either|ids|the)\b|\bgive\b|advice|\bneeds an id\b|cannot be combined|go after|--json$"
)
#: Texts that others match on, or that say what to do in other words.
KEPT = (
    "Timed out waiting for ",
    "No goal set for ",
    "Provide either <{what}> or --file, not both",
    "{what.capitalize()} is required. Use <{what}> or --file <path>.",
    "Message is required. Use <message> or --file <path>.",
    "Objective is required. Use <objective> or --file <path>.",
    "Workspace path ",
    "{paths.HOST_PATH} is required when running in sandbox mode",
    "Champion ID already in use: ",
)
#: The rest of the text, or what was refused, tells it.
TELLING = (
    "none of the options",
    "_DASH_HINT",
    "{reason}",
    "{error}",
    "of codex cannot be given",
    "Wait for the goal or for the next turn, not for both",
    "_holder_advice",
    "other users can replace what is in",
    "cannot be accessed",
)


def test_every_error_says_what_to_do() -> None:
    """Each error says what happened and what to do."""
    errors = list(reported())
    assert len(errors) > 200
    silent = [
        error
        for error in errors
        if not ADVICE.search(error.text)
        and not error.text.startswith(KEPT)
        and not any(words in error.text for words in TELLING)
    ]
    assert silent == []


def test_every_error_is_one_line_in_one_form() -> None:
    """An error has no prefix and no full stop, and is one line, but for the end of what another program printed."""
    for error in reported():
        assert not error.text.lower().startswith(("error", "warning")), error
        assert not error.text.endswith(".") or error.text.startswith(KEPT), error
        if "\n" in error.text:
            assert re.search(r"(log says|It printed|shows):\n\{.*\}$", error.text), error
