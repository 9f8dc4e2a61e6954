"""What a message for Claude Code is typed as, so that it arrives as the sender's own words. Pure.

What the program itself makes of pasted text (measured on 2.1.0 to 2.1.330; the difference that a reader may notice):

* Control characters are not taken as text. They are dropped here already (all but line feed and tab; CR and CRLF
  count as line feeds), because an escape sequence could end the paste and press keys.
* Zero-width spaces and byte order marks are dropped by 2.1.300 and newer. Here they are dropped for all versions alike.
* Each tab becomes four spaces; white space at the end is stripped.
* Characters are composed (NFC), and `<pasted_content` gets a backslash (2.1.330; `logs` takes it out again).
* A trailing backslash would turn Enter into a new line: one space is typed behind it, which is stripped again.
* A leading `!` would run the rest as a shell command: one space is typed before it.
* `/name` on one line is a command of the program and runs as one; so says the receipt. A text of several lines that
  starts like one, or `/` with a space behind it, is a message: it is typed below a line that says so.
* From 2.1.328 on a paste of more than three lines or some 800 characters reaches the model inside a `pasted_content`
  mark, which it is told to read as something found elsewhere. There, too, the line above says whose words follow.
"""

from __future__ import annotations

import json
import re

from dev_sessions.activity import LONGEST_LINE
from dev_sessions.claude.transcript import FIRST_MARKING, LEAD, digest, end_digest
from dev_sessions.dataclass import dataclass
from dev_sessions.errors import DeliveryFailed

#: Pastes of more than either are wrapped (measured: 3 newlines and 804 characters are, 2 and 700 are not).
_PLAIN_NEWLINES = 2
_PLAIN_LENGTH = 700

#: Bytes of a prompt in the transcript: of a longer line the middle is not read, so that nothing would prove that it
#: arrived. The rest of such a line has less than 4 KB.
_MAX_WRITTEN = LONGEST_LINE - (1 << 16)

_EXIT_WORDS = frozenset({"exit", "quit", ":q", ":q!", ":wq", ":wq!", "/exit", "/quit"})
#: Commands that move the conversation to another process, with and without arguments (2.1.250 to 2.1.332). Without
#: them they are taken in capital letters, too.
_BACKGROUND_COMMANDS = frozenset({"/background", "/bg"})
_COMMAND = re.compile(r"(/[A-Za-z][\w:-]*)(?:[ \t].*)?")
_LIKE_A_COMMAND = re.compile(r"\s*/(?:\s|[A-Za-z][\w:-]*(?:\s|$))")
_DROPPED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\ufeff]")


@dataclass(frozen=True)
class Message:
    """A text that can be typed: `lead` above it says that it is a message, `command` names the command that it is.

    `lead_apart`: the line above is a paste of its own, so that the program's mark does not go around it.
    """

    typed: str
    digest: str
    end_digest: str
    command: str | None = None
    lead: str | None = None
    lead_apart: bool = False


def cleaned(text: str) -> str:
    """A text without what presses keys or is not taken, and without white space at its end."""
    return _DROPPED.sub("", text.replace("\r\n", "\n").replace("\r", "\n")).rstrip()


def message(text: str, version: tuple[int, ...]) -> Message:
    """What to type for a text. DeliveryFailed when it is none that can be delivered."""
    text = cleaned(text)
    word = text.strip()
    if word in _EXIT_WORDS:
        raise DeliveryFailed(f"{word!r} alone ends Claude Code, so it was not sent; use dev-sessions kill for that")
    if not word:
        raise DeliveryFailed(
            "Nothing of the message is left without its control characters, so it was not sent; write it as text"
        )
    written = len(json.dumps(text.replace("\t", "    "), ensure_ascii=False).encode("utf-8", "surrogatepass"))
    if written > _MAX_WRITTEN:
        raise DeliveryFailed(
            f"The message takes {written} bytes in Claude Code's transcript, where the arrival of {_MAX_WRITTEN} can be"
            " proved, so it was not sent; write it to a file and send the path of that file"
        )
    command = _COMMAND.fullmatch(word)
    if command is not None and command[1].lower() in _BACKGROUND_COMMANDS:
        raise DeliveryFailed(
            f"{command[1]} moves the conversation to Claude's background, so it was not sent; a session works on"
            " without a terminal anyway"
        )
    if command is not None:
        return Message(word, digest(word), end_digest(word), command=command[1])
    typed = f"{text} " if text.endswith("\\") else text
    typed = f" {typed}" if typed.startswith("!") else typed
    wrapped = version >= FIRST_MARKING and (text.count("\n") > _PLAIN_NEWLINES or len(text) > _PLAIN_LENGTH)
    lead = LEAD if wrapped or _LIKE_A_COMMAND.match(text) else None
    # Where nothing is marked, one paste it is: of two in a row with an Enter 2.1.200 may lose the second.
    return Message(typed, digest(text), end_digest(text), lead=lead, lead_apart=version >= FIRST_MARKING)
