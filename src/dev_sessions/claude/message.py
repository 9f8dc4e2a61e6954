"""Turn a text into what is typed into Claude Code, so that it arrives unchanged. Pure.

The program changes pasted text (measured on 2.1.250 to 2.1.332; differences that a reader may notice):

* Control characters are lost. They are dropped here first (all but line feed and tab; CR, CRLF and the line and
  paragraph separators count as line feeds), because an escape sequence could end the paste and press keys.
* Zero-width spaces, byte order marks and bidirectional control characters are dropped by 2.1.332, the last ones
  together with the Enter that follows. They are dropped here for all versions.
* A tab becomes four spaces; white space at the end is stripped.
* Characters are composed (NFC), except in a single long paste of 2.1.332, and `<pasted_content` is escaped with a
  backslash (2.1.330; `logs` removes it again).
* A trailing backslash would turn Enter into a new line, and a last word such as `:smi` or `@REA` would be completed by
  it. A space is typed after them, which the program strips.
* A survey over the box takes a single digit for its answer, and `&` or `é` for the digit on the same key: all that is
  typed is one character, and nothing for 0.4 s. A space is typed after that, too (2.1.332).
* A leading `!` would run the rest as a shell command. A space is typed before it.
* `/name` on one line is a command if the program has one of exactly that name; `send` checks that, and the receipt says
  so. While the menu of commands is open, Enter runs the first one with this prefix: `/cl` runs `/clear`. A no-break
  space after the name closes the menu, and still separates the arguments (2.1.250 to 2.1.332).
* A text of several lines that starts like a command, or `/` followed by a space, is a message: it is typed below a line
  that says so, the preamble.
* From 2.1.328 on a paste of more than three lines or some 800 characters may reach the model inside a `pasted_content`
  mark, which the model reads as foreign text. Whether it does depends on a flag of the program's server and on the
  user's settings, so nothing tells before. A text is therefore typed as several short pastes, which are never marked,
  and of 5,000 characters take 0.1 s. Only a very long one is a single paste, and the preamble says whose words these
  are: 100,000 characters take 3 to 4 s in short pastes, and 300,000 take 30 s (2.1.330, 2.1.332).
* The path of an image is replaced by the image if it is the whole text, and in older versions (2.1.250) also at the end
  of a sentence. While the program reads the image, Enter is lost.
"""

from __future__ import annotations

import json
import re
import unicodedata

from dev_sessions.claude.message_text import FIRST_WRAPPING_PASTES, PREAMBLE, digest, end_digest, visible
from dev_sessions.errors import DeliveryFailed
from dev_sessions.jsonl import LONGEST_LINE
from dev_sessions.models import ClaudeSession
from dev_sessions.system.fast_dataclass import fast_dataclass

#: Limits of what is pasted without a mark (measured: 3 newlines and 804 characters are wrapped, 2 and 700 are not).
_UNWRAPPED_NEWLINES = 2
_UNWRAPPED_LENGTH = 700

#: Limits of each of several short pastes; a character may count twice (UTF-16).
_PIECE_LENGTH = 350
#: Limits of a text that is typed in short pastes: the box shows it whole in a large window (162 of 245 rows).
_MAX_PIECES_LENGTH, _MAX_PIECES_NEWLINES = 8000, 120
#: The joiner of emoji, after which no paste ends.
_JOINER = "\u200d"

#: Maximum bytes of a prompt in the transcript. The middle of a longer line is not read, so the message could not be
#: proved to arrive. The other fields of such a line take less than 4 KB.
_MAX_PROMPT_BYTES = LONGEST_LINE - (1 << 16)

_EXIT_WORDS = frozenset({"exit", "quit", ":q", ":q!", ":wq", ":wq!"})
#: Commands that end Claude Code, with or without arguments; the last one also logs its user out, everywhere.
_EXIT_COMMANDS = frozenset({"/exit", "/quit", "/logout"})
#: Commands that move the conversation to another process, with or without arguments (2.1.250 to 2.1.332). Without
#: arguments they work in capital letters, too.
_BACKGROUND_COMMANDS = frozenset({"/background", "/bg"})
#: A command on one line: its name and its arguments, which the program splits at any white space.
_COMMAND = r"(/[^\W\d_][\w.:-]*)(?<!\.)(?:[^\S\n]+(.*))?"
#: The beginning of a text for which the program may open its menu of commands.
_OPENS_MENU = r"/[A-Za-z0-9.:_-]*(?:\s|$)"
#: A last word that the program may offer to complete: a file, an emoji, a command, a channel.
_COMPLETABLE = r'(?:^|\s)(?:[@:/#]\S*|@"[^"]*)$'
_IMAGE = r"(?i)\.(?:png|jpe?g|gif|webp)"
_NEW_LINE = "\r\n?|[\u2028\u2029]"
_DROPPED_CHARACTERS = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069\ufeff]"
#: Invisible characters: Default_Ignorable_Code_Point (Unicode 17, including reserved ranges), and those that 2.1.332
#: also treats as invisible.
INVISIBLE = (
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
    "\ufff9-\ufffb\U0001107f\U00013430-\U0001343f\U00016fe4]"
)
_HIDDEN_START = rf"(?:\s|{INVISIBLE})+"
#: The hint after a command that takes arguments: `/compact  <optional custom summarization instructions>`.
_ARGUMENT_HINT = r"  (?:<[^>]*>|\[[^\]]*\])$"


@fast_dataclass(frozen=True)
class Message:
    """The keystrokes for a text. `command` is the name of the command, if the text is one.

    `preamble`: text that is pasted before it, as a paste of its own, so that a paste's mark does not include it.
    `fallback`: for a possible command, the same text as a message, in case the program does not have it.
    `pieces`: the same text in several short pastes, if it is not to be marked as pasted.
    `has_image_path`: Enter has to wait until the program has read the image.
    """

    typed: str
    digest: str
    end_digest: str
    command: str | None = None
    preamble: str | None = None
    pieces: tuple[str, ...] = ()
    fallback: Message | None = None
    has_image_path: bool = False


def clean(text: str) -> str:
    """Return a text without control characters, and without white space at its end."""
    return re.sub(_DROPPED_CHARACTERS, "", re.sub(_NEW_LINE, "\n", text)).rstrip()


def answer_text(text: str) -> str:
    """Return what to type into the text field of a question, which has no commands. Raises DeliveryFailed."""
    text = _visible_text(text)
    return f"{text} " if text.endswith("\\") else text


def compose(text: str, version: tuple[int, ...]) -> Message:
    """Return what to type for a text. Raises DeliveryFailed when it can't be delivered."""
    text = _visible_text(text)
    plain = _plain(text)
    if plain.startswith(("/", "!")):
        # Invisible characters before a command delay the Enter, because the program removes them first (2.1.332).
        text = text[_visible_start(text) :]
    one_line = "\n" not in plain
    first_word = plain.split(maxsplit=1)[0]
    if one_line and (plain in _EXIT_WORDS or first_word in _EXIT_COMMANDS):
        raise DeliveryFailed(f"{plain!r} ends Claude Code", "use dev-sessions kill for that")
    if one_line and first_word.lower() in _BACKGROUND_COMMANDS:
        raise DeliveryFailed(
            f"{first_word} moves the conversation to Claude's background",
            "that is not needed: a session works without a terminal anyway",
        )
    written = len(json.dumps(text.replace("\t", "    "), ensure_ascii=False).encode("utf-8", "surrogatepass"))
    if written > _MAX_PROMPT_BYTES:
        raise DeliveryFailed(
            f"The message takes {written} bytes in Claude Code's transcript; only up to {_MAX_PROMPT_BYTES} can be"
            " proved to arrive",
            "write it to a file and send the path of that file",
        )
    command = re.fullmatch(_COMMAND, plain) if one_line else None
    if command is None or re.search(_IMAGE, command[1]):
        return _as_message(text, plain, version)
    return _as_command(command[1], text, plain, version)


def _as_message(text: str, plain: str, version: tuple[int, ...]) -> Message:
    """Return a text as a message to the model."""
    newlines, has_image_path = text.count("\n"), re.search(_IMAGE, text) is not None
    is_long = newlines > _UNWRAPPED_NEWLINES or len(text) > _UNWRAPPED_LENGTH
    may_be_marked = is_long and version >= FIRST_WRAPPING_PASTES
    fits_pieces = newlines <= _MAX_PIECES_NEWLINES and len(text) <= _MAX_PIECES_LENGTH
    in_pieces = may_be_marked and fits_pieces and not has_image_path and unicodedata.is_normalized("NFC", text)
    typed = _guard_enter(text) if not is_long or in_pieces or text.endswith("\\") else text
    typed = f" {typed}" if typed.startswith("!") else typed
    looks_like_command = plain.startswith("/") and (re.match(_OPENS_MENU, plain) or re.search(INVISIBLE, text))
    # A text that begins with the preamble itself would lose it.
    needs_lead = looks_like_command or plain.startswith(PREAMBLE) or (may_be_marked and not in_pieces)
    return Message(
        typed,
        digest(text),
        end_digest(text),
        preamble=f"{PREAMBLE}\n" if needs_lead else None,
        pieces=_split(typed.replace("\t", "    ")) if in_pieces else (),
        has_image_path=has_image_path,
    )


def _split(text: str) -> tuple[str, ...]:
    """Return a text in pieces that are not marked as pasted; characters that belong together stay together."""
    pieces = []
    while text:
        head = "\n".join(text.split("\n", _UNWRAPPED_NEWLINES + 1)[: _UNWRAPPED_NEWLINES + 1])
        end = len(head)
        if end > _PIECE_LENGTH:
            end = next((at for at in range(_PIECE_LENGTH, 0, -1) if _can_be_split(text, at)), _PIECE_LENGTH)
        pieces.append(text[:end])
        text = text[end:]
    return tuple(pieces)


def _can_be_split(text: str, at: int) -> bool:
    """Return whether the character at an index is neither composed nor joined with the one before."""
    character = text[at]
    return not (unicodedata.combining(character) or re.match(INVISIBLE, character) or text[at - 1] == _JOINER)


def _as_command(name: str, text: str, plain: str, version: tuple[int, ...]) -> Message:
    """Return a text as a command, with the message that it is if the program does not have that command."""
    arguments = text.split(maxsplit=1)[1:]
    as_message = _as_message(text, plain, version)
    if not name.isascii():
        # The menu has no such names; only the program's answer tells whether it has the command.
        return Message(as_message.typed, as_message.digest, as_message.end_digest, command=name)
    head, tail = f"{name}\u00a0", _guard_enter(" ".join(arguments))
    is_split = len(tail) > _UNWRAPPED_LENGTH
    return Message(
        tail if is_split else head + tail,
        as_message.digest,
        as_message.end_digest,
        command=name,
        # In one paste with long arguments, the program would take the command for text.
        preamble=head if is_split else None,
        fallback=as_message,
    )


def _visible_text(text: str) -> str:
    text = clean(text)
    if not _plain(text) or not visible(text):
        raise DeliveryFailed("The message has no visible characters", "write it as text")
    return text


def _plain(text: str) -> str:
    """Return a text as the program checks it for commands: composed, and without invisible characters."""
    return unicodedata.normalize("NFC", re.sub(INVISIBLE, "", text)).strip()


def _visible_start(text: str) -> int:
    """Return the index of the first visible character."""
    hidden = re.match(_HIDDEN_START, text)
    return hidden.end() if hidden else 0


def _guard_enter(text: str) -> str:
    """Append a space to a text if Enter would otherwise not submit it, or a survey take it."""
    return f"{text} " if len(text) == 1 or text.endswith("\\") or re.search(_COMPLETABLE, text) else text


def holds_text(box: str, text: str, preamble: str | None = None) -> bool:
    """Return whether the input box holds exactly a text, below a preamble if there is one, or the placeholder for it.

    The placeholder is `[Pasted text #1 +9 lines]`, or `[Pasted text #1]` for a single line. It stands for a paste of
    three line feeds or more, or of more than 800 characters (2.1.250 to 2.1.332).
    """
    above = visible(preamble or "")
    shown = visible(box)
    if shown == above + visible(text):
        return True
    feeds = text.count("\n")
    in_short = r"\[Pastedtext#\d+" + (rf"\+{feeds}lines" if feeds else "") + r"\]"
    return re.fullmatch(re.escape(above) + in_short, shown) is not None


def is_last_message(draft: str, session: ClaudeSession) -> bool:
    """Return whether the box holds the last message; of a long one, only the end is visible."""
    whole = digest(draft) == session.claude_send_digest
    return whole or end_digest(draft) == session.claude_send_end_digest or is_last_command(draft, session)


def is_last_command(draft: str, session: ClaudeSession) -> bool:
    """Return whether the box holds the last command."""
    command = re.sub(_ARGUMENT_HINT, "", draft)
    return session.claude_send_command is not None and digest(command) == session.claude_send_digest
