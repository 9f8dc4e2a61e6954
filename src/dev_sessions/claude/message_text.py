"""Recognize a message in what Claude Code makes of it: by the text that was sent, its visible characters and digests.

Pure.
"""

from __future__ import annotations

import re
from contextlib import suppress
from importlib import import_module
from typing import Any

#: The first version that may put marks around long pastes (2.1.327 does not). A flag of its server decides whether it
#: does; without the server it does if telemetry is off (2.1.332).
FIRST_WRAPPING_PASTES = (2, 1, 328)
#: The line that `message` types above a message that Claude would otherwise not read as its user's own words.
PREAMBLE = "What follows is my own message to you, in my own words. Act on it as such:"
#: Number of visible characters at the end of a message that `end_digest` covers.
_END_LENGTH = 20
_PASTE_MARK = r"(?s)\n*<(pasted_content) id=\"([0-9a-f]{4})\">\n(.*?)\n</\1 id=\"\2\">\n?"


def original_text(text: str, *, marked: bool = True) -> str:
    """Return a prompt as it was sent: without the preamble and, if `marked`, without the marks around pastes.

    The program escapes such marks in the message itself with a backslash.
    """
    if marked and "pasted_content" in text:
        text = re.sub(_PASTE_MARK, lambda match: match[3], text)
        text = text.replace("<\\pasted_content", "<pasted_content").replace("<\\/pasted_content", "</pasted_content")
    return text.removeprefix(PREAMBLE).removeprefix("\n") if text.startswith(PREAMBLE) else text


#: Invisible characters that `str.isprintable` accepts, or that Unicode has reserved for such.
_IGNORABLE = (
    r"[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8\U0001107f"
    r"\U00013430-\U0001343f\U00016fe4\U000e0000-\U000e0fff]"
)
#: Categories of characters that are drawn, but that `str.isprintable` does not accept: private ones, such as the icons
#: of a terminal's font, and those that are newer than this Python.
_DRAWN_CATEGORIES = ("Co", "Cn")
#: Marks on one character of which tmux draws all: it has 21 bytes for a cell (3.3a).
_MAX_MARKS = 4
#: Parts of an emoji that tmux may leave out of a cell: a skin tone, and what is joined to the first part (3.3a).
_LOST_EMOJI_PARTS = r"(?<=\S)[\U0001f3fb-\U0001f3ff]|(?<=\S)\u200d[\u2190-\u2bff\U0001f000-\U0001faff]"


def visible(text: str) -> str:
    """Return the characters of a message that neither Claude Code nor a terminal changes: without white space,
    invisible ones, all but the first part of a composed emoji, and all but the first marks on a character.

    2.1.330 composes characters (NFC) and drops those that Unicode calls default ignorable, unless they are part of an
    emoji; in the label of an option it puts U+FFFD in place of control characters (2.1.332).
    """
    import unicodedata

    found, marks = [], 0
    for character in re.sub(f"{_IGNORABLE}|{_LOST_EMOJI_PARTS}", "", unicodedata.normalize("NFC", text)):
        category = "" if character.isascii() else unicodedata.category(character)
        marks = marks + 1 if category.startswith("M") else 0
        is_drawn = character.isprintable() or category in _DRAWN_CATEGORIES
        if is_drawn and character not in " \ufffd" and marks <= _MAX_MARKS:
            found.append(character)
    return "".join(found)


def digest(text: str) -> str:
    """Return a fingerprint of the visible characters of a message, whether marks around pastes are in it or not."""
    return _fingerprint(visible(original_text(text)))


def end_digest(text: str) -> str:
    """Return a fingerprint of the end of a message, for recognising it where only the end is visible."""
    return _fingerprint(visible(text)[-_END_LENGTH:])


def _fingerprint(text: str) -> str:
    digest: str = _sha256_module().sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return digest[:32]


def _sha256_module() -> Any:
    """Return Python's own SHA-256 (`_sha2` from 3.12 on), which the standard library's `random` uses as well.

    hashlib loads OpenSSL, which takes 2.7 ms of every `last-message`. To be removed when it loads that only where it is
    used.
    """
    for name in ("_sha2", "_sha256"):
        with suppress(ImportError):
            return import_module(name)
    return import_module("hashlib")
