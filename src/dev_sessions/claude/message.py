"""What a message for Claude Code is typed as, so that it arrives as the sender's own words. Pure.

What the program itself makes of pasted text (measured on 2.1.250 to 2.1.332; the difference that a reader may notice):

* Control characters are not taken as text. They are dropped here already (all but line feed and tab; CR, CRLF and the
  line and paragraph separators count as line feeds), because an escape sequence could end the paste and press keys.
* Zero-width spaces, byte order marks and marks that embed a direction are dropped by 2.1.332, the latter with the Enter
  behind them. Here they are dropped for all versions alike.
* Each tab becomes four spaces; white space at the end is stripped.
* Characters are composed (NFC), and `<pasted_content` gets a backslash (2.1.330; `logs` takes it out again).
* A trailing backslash would turn Enter into a new line, and a last word such as `:smi` or `@REA` would be completed by
  it: one space is typed behind them, which is stripped again.
* A leading `!` would run the rest as a shell command: one space is typed before it.
* `/name` on one line is a command of the program when it has one of exactly that name (`delivery` finds that out), and
  so says the receipt. As long as the menu of commands is open, Enter runs the first one that begins like it: `/cl` runs
  `/clear`. A no-break space behind the name closes the menu, and is white space to what runs the command (2.1.250 to
  2.1.332).
* A text of several lines that starts like a command, or `/` with a space behind it, is a message: it is typed below a
  line that says so.
* From 2.1.328 on a paste of more than three lines or some 800 characters reaches the model inside a `pasted_content`
  mark, which it is told to read as something found elsewhere. There, too, the line above says whose words follow.
* The path of an image alone is taken for the image, and in older versions (2.1.250) one at the end of a sentence, too.
  While the program looks for it, Enter is lost.
"""

from __future__ import annotations

import json
import re
import unicodedata

from dev_sessions.claude.transcript import FIRST_WRAPPING_PASTES, PREAMBLE, digest, end_digest, original_text
from dev_sessions.errors import DeliveryFailed
from dev_sessions.jsonl import LONGEST_LINE
from dev_sessions.models import ClaudeSession
from dev_sessions.system.fast_dataclass import fast_dataclass

#: Pastes of more than either are wrapped (measured: 3 newlines and 804 characters are, 2 and 700 are not).
_UNWRAPPED_NEWLINES = 2
_UNWRAPPED_LENGTH = 700

#: Bytes of a prompt in the transcript: of a longer line the middle is not read, so that nothing would prove that it
#: arrived. The rest of such a line has less than 4 KB.
_MAX_PROMPT_BYTES = LONGEST_LINE - (1 << 16)

_EXIT_WORDS = frozenset({"exit", "quit", ":q", ":q!", ":wq", ":wq!"})
#: Commands that end Claude Code, with and without arguments; the last one logs its user out as well, everywhere.
_EXIT_COMMANDS = frozenset({"/exit", "/quit", "/logout"})
#: Commands that move the conversation to another process, with and without arguments (2.1.250 to 2.1.332). Without
#: them they are taken in capital letters, too.
_BACKGROUND_COMMANDS = frozenset({"/background", "/bg"})
#: A command on one line: its name, and what stands behind it. The program splits them at any white space.
_COMMAND = re.compile(r"(/[^\W\d_][\w.:-]*)(?<!\.)(?:[^\S\n]+(.*))?")
#: What may be the beginning of a command's name, for which the program opens its menu of commands.
_OPENS_MENU = re.compile(r"/[A-Za-z0-9.:_-]*(?:\s|$)")
#: A last word for which the program may offer to complete it: a file, an emoji, a command, a channel.
_COMPLETABLE = re.compile(r'(?:^|\s)(?:[@:/#]\S*|@"[^"]*)$')
_IMAGE = re.compile(r"\.(?:png|jpe?g|gif|webp)", re.IGNORECASE)
_NEW_LINE = re.compile("\r\n?|[\u2028\u2029]")
_DROPPED_CHARACTERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069\ufeff]")
#: What shows nothing: Default_Ignorable_Code_Point (Unicode 17; the ranges include what is reserved for it), and what
#: 2.1.332 takes for invisible besides.
INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
    "\ufff9-\ufffb\U0001107f\U00013430-\U0001343f\U00016fe4]"
)
_HIDDEN_START = re.compile(rf"(?:\s|{INVISIBLE.pattern})+")
#: What Claude draws behind a command that takes arguments: `/compact  <optional custom summarization instructions>`.
_ARGUMENT_HINT = re.compile(r"  (?:<[^>]*>|\[[^\]]*\])$")


@fast_dataclass(frozen=True)
class Message:
    """A text that can be typed: `lead` above it says that it is a message, `command` names the command that it is.

    The `lead` is a paste of its own, so that the program's mark does not go around it.
    `otherwise`: the same text as a message, of a command that has to be looked for before it is sent.
    `names_image`: Enter has to wait until the program has looked for the image.
    """

    typed: str
    digest: str
    end_digest: str
    command: str | None = None
    preamble: str | None = None
    fallback: Message | None = None
    has_image_path: bool = False


def clean(text: str) -> str:
    """A text without what presses keys or is not taken, and without white space at its end."""
    return _DROPPED_CHARACTERS.sub("", _NEW_LINE.sub("\n", text)).rstrip()


def answer_text(text: str) -> str:
    """What to type for a text into the field of an answer, where nothing is a command. DeliveryFailed as `message`."""
    text = _visible_text(text)
    return f"{text} " if text.endswith("\\") else text


def compose(text: str, version: tuple[int, ...]) -> Message:
    """What to type for a text. DeliveryFailed when it is none that can be delivered."""
    text = _visible_text(text)
    plain = _plain(text)
    if plain.startswith(("/", "!")):
        # What the program finds only once it has removed what hides it holds up the Enter (2.1.332).
        text = text[_visible_start(text) :]
    one_line = "\n" not in plain
    first_word = plain.split(maxsplit=1)[0]
    if one_line and (plain in _EXIT_WORDS or first_word in _EXIT_COMMANDS):
        raise DeliveryFailed(f"{plain!r} ends Claude Code", "use dev-sessions kill for that")
    if one_line and first_word.lower() in _BACKGROUND_COMMANDS:
        raise DeliveryFailed(
            f"{first_word} moves the conversation to Claude's background",
            "leave it where it is: a session works on without a terminal anyway",
        )
    written = len(json.dumps(text.replace("\t", "    "), ensure_ascii=False).encode("utf-8", "surrogatepass"))
    if written > _MAX_PROMPT_BYTES:
        raise DeliveryFailed(
            f"The message takes {written} bytes in Claude Code's transcript, where the arrival of {_MAX_PROMPT_BYTES} can be"
            " proved",
            "write it to a file and send the path of that file",
        )
    command = _COMMAND.fullmatch(plain) if one_line else None
    if command is None or _IMAGE.search(command[1]):
        return _as_message(text, plain, version)
    return _as_command(command[1], text, plain, version)


def _as_message(text: str, plain: str, version: tuple[int, ...]) -> Message:
    """A message to the model."""
    wrapped = text.count("\n") > _UNWRAPPED_NEWLINES or len(text) > _UNWRAPPED_LENGTH
    typed = _guard_enter(text) if not wrapped or text.endswith("\\") else text
    typed = f" {typed}" if typed.startswith("!") else typed
    looks_like_command = plain.startswith("/") and (_OPENS_MENU.match(plain) or INVISIBLE.search(text))
    # What begins with the line itself would lose it.
    needs_lead = looks_like_command or plain.startswith(PREAMBLE) or (wrapped and version >= FIRST_WRAPPING_PASTES)
    return Message(
        typed,
        digest(text),
        end_digest(text),
        preamble=f"{PREAMBLE}\n" if needs_lead else None,
        has_image_path=_IMAGE.search(text) is not None,
    )


def _as_command(name: str, text: str, plain: str, version: tuple[int, ...]) -> Message:
    """A command, if the program has it."""
    arguments = text.split(maxsplit=1)[1:]
    as_message = _as_message(text, plain, version)
    if not name.isascii():
        # There is no menu for such a name: whether it is a command's the program finds out by itself.
        return Message(as_message.typed, as_message.digest, as_message.end_digest, command=name)
    head, tail = f"{name}\u00a0", _guard_enter(" ".join(arguments))
    is_split = len(tail) > _UNWRAPPED_LENGTH
    return Message(
        tail if is_split else head + tail,
        as_message.digest,
        as_message.end_digest,
        command=name,
        # In one paste with them, the program would take it for a text.
        preamble=head if is_split else None,
        fallback=as_message,
    )


def _visible_text(text: str) -> str:
    text = clean(text)
    if not _plain(text):
        raise DeliveryFailed("Nothing of the message can be seen", "write it as text")
    return text


def _plain(text: str) -> str:
    """A text as the program has it when it looks for commands: composed, and without what shows nothing."""
    return unicodedata.normalize("NFC", INVISIBLE.sub("", text)).strip()


def _visible_start(text: str) -> int:
    """Where what can be seen of a text begins."""
    hidden = _HIDDEN_START.match(text)
    return hidden.end() if hidden else 0


def _guard_enter(text: str) -> str:
    """A text with a space behind it where Enter would do something else than submit it."""
    return f"{text} " if text.endswith("\\") or _COMPLETABLE.search(text) else text


def is_last_message(draft: str, session: ClaudeSession) -> bool:
    """Whether what stands in the box is the last message; of a long one only the end can be seen."""
    whole = digest(original_text(draft)) == session.claude_send_digest
    return whole or end_digest(draft) == session.claude_send_end_digest or is_last_command(draft, session)


def is_last_command(draft: str, session: ClaudeSession) -> bool:
    """Whether what stands in the box is the command that was sent last."""
    command = _ARGUMENT_HINT.sub("", draft)
    return session.claude_send_command is not None and digest(command) == session.claude_send_digest
