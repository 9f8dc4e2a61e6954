"""What an interrupted Claude has put back into its input box."""

from __future__ import annotations

import pytest

from dev_sessions.claude.interrupt import holds_only
from dev_sessions.claude.message_text import PREAMBLE


@pytest.mark.parametrize(
    ("box", "holds"),
    [
        ("say one", True),
        ("say one\n  say two", True),
        (f"{PREAMBLE}\n  [Pasted text #1 +9 lines]\n  say two", True),
        ("say one and", False),
        ("no, say one", False),
        ("[Pasted text #2]x", False),
        ("[Pasted text #1 +8 lines]\n  say one\n  say two", False),
        ("[Pasted text #1 +8 lines]\n  [Pasted text #2 +9 lines]\n  say two", False),
    ],
)
def test_a_box_with_a_persons_words_is_left_alone(box: str, holds: bool) -> None:
    """The box is cleared only if it holds nothing but messages that were not delivered."""
    assert holds_only(box, ["say one", "say two"]) is holds
