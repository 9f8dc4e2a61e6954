"""Recognize a message in what Claude Code makes of it: by the text that was sent, its visible characters and digests.

Pure.
"""

from __future__ import annotations

import re

#: The first version that may put marks around long pastes (2.1.327 does not). A flag of its server decides whether it
#: does; without the server it does if telemetry is off (2.1.332).
FIRST_WRAPPING_PASTES = (2, 1, 328)
#: The line that `message` types above a message that Claude would otherwise not read as its user's own words.
PREAMBLE = "What follows is my own message to you, in my own words. Act on it as such:"
#: Number of visible characters at the end of a message that `end_digest` covers.
_END_LENGTH = 20
_PASTE_MARK = re.compile(r"\n*<(pasted_content) id=\"([0-9a-f]{4})\">\n(.*?)\n</\1 id=\"\2\">\n?", re.DOTALL)


def original_text(text: str, *, marked: bool = True) -> str:
    """Return a prompt as it was sent: without the preamble and, if `marked`, without the marks around pastes.

    The program escapes such marks in the message itself with a backslash.
    """
    if marked:
        text = _PASTE_MARK.sub(lambda match: match[3], text)
        text = text.replace("<\\pasted_content", "<pasted_content").replace("<\\/pasted_content", "</pasted_content")
    return text.removeprefix(PREAMBLE).removeprefix("\n") if text.startswith(PREAMBLE) else text


#: Invisible characters that `str.isprintable` accepts.
_PRINTABLE_IGNORABLE = re.compile(
    r"[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U0001107f\U00016fe4"
    r"\U000e0100-\U000e01ef]"
)


def visible(text: str) -> str:
    """Return the characters of a message that Claude Code never changes: without white space and invisible ones.

    2.1.330 composes characters (NFC) and drops those that Unicode calls default ignorable, unless they are part of an
    emoji; in the label of an option it puts U+FFFD in place of control characters (2.1.332).
    """
    import unicodedata

    composed = unicodedata.normalize("NFC", text)
    return "".join(
        character
        for character in composed
        if character.isprintable() and character not in " \ufffd" and not _PRINTABLE_IGNORABLE.match(character)
    )


def digest(text: str) -> str:
    """Return a fingerprint of the visible characters of a message, whether marks around pastes are in it or not."""
    return _fingerprint(visible(original_text(text)))


def end_digest(text: str) -> str:
    """Return a fingerprint of the end of a message, for recognising it where only the end is visible."""
    return _fingerprint(visible(text)[-_END_LENGTH:])


def _fingerprint(text: str) -> str:
    import hashlib

    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
