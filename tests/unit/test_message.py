"""What a text is typed as for Claude Code."""

from __future__ import annotations

import sys
import unicodedata

import pytest

from dev_sessions.claude.message import INVISIBLE, answer_text, compose
from dev_sessions.claude.transcript import PREAMBLE, digest
from dev_sessions.errors import DeliveryFailed

NEW = (2, 1, 332)
OLD = (2, 1, 250)
#: Format characters that are drawn, such as the sign of a number in Arabic, and so are not ignorable.
SHOWN = ("ARABIC", "SYRIAC ABBREVIATION MARK", "KAITHI NUMBER SIGN")


ENDS = "exit| quit|:q|:q!|:wq|:wq!|/exit|/quit|/exit foo|/quit please| /exit x|/exit\tx|/logout|/logout now"
HIDDEN_ENDS = ["ex\u2060it", "\u200d/exit", "/ex\ufe0fit", "exit\u3164", "/exit\u00a0x"]


@pytest.mark.parametrize("text", [*ENDS.split("|"), *HIDDEN_ENDS])
def test_what_ends_the_program_is_refused(text: str) -> None:
    """Whatever ends Claude Code, with words behind it or hidden behind what shows nothing, is refused by its name."""
    with pytest.raises(DeliveryFailed, match="ends Claude Code; use dev-sessions kill for that"):
        compose(text, NEW)


@pytest.mark.parametrize("text", ["exit.", "quit please", "EXIT", "/exit-plan", "/exits", "please /exit", "/exit\nnow"])
def test_what_only_looks_like_an_end_is_sent(text: str) -> None:
    """Only what ends the program is refused."""
    assert compose(text, NEW).digest == digest(text)


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        ("/clear", "/clear\u00a0"),
        (" /clear \n", "/clear\u00a0"),
        ("\u2060/cl\u200dear", "/clear\u00a0"),
        ("/greet me and  you", "/greet\u00a0me and  you"),
        ("/greet\u00a0me", "/greet\u00a0me"),
        ("/greet \U0001f469\u200d\U0001f4bb", "/greet\u00a0\U0001f469\u200d\U0001f4bb"),
        ("/plugin:do_it", "/plugin:do_it\u00a0"),
        ("/v1.2", "/v1.2\u00a0"),
        ("/greet a\\", "/greet\u00a0a\\ "),
        ("/greet see @REA", "/greet\u00a0see @REA "),
    ],
)
def test_a_command_is_typed_without_its_menu(text: str, typed: str) -> None:
    """Behind the name stands white space that closes the menu from which Enter would choose another command."""
    found = compose(text, NEW)
    assert (found.typed, found.preamble) == (typed, None)
    assert found.command == typed.partition("\u00a0")[0]
    assert found.digest == digest(text)
    assert found.fallback is not None
    assert (found.fallback.command, found.fallback.preamble) == (None, f"{PREAMBLE}\n")


def test_long_arguments_are_a_paste_of_their_own() -> None:
    """Where the program would take the whole for a pasted text, the name is typed apart from what follows it."""
    found = compose("/greet " + "x" * 800, NEW)
    assert (found.preamble, found.typed) == ("/greet\u00a0", "x" * 800)


NO_NAMES = ["/", "/ hello", "\u2060/ x", "/2fa", "/_x", "/-x", "/.x", "/cl.", "/x.png"]
NO_COMMANDS = ["/cost\nis what I mean", "/clear\u2028x", "/api\u2029x", "/etc\u2060/hosts is", f"{PREAMBLE}\nsay hi"]


@pytest.mark.parametrize("text", [*NO_NAMES, *NO_COMMANDS])
@pytest.mark.parametrize("version", [OLD, NEW])
def test_what_looks_like_a_command_and_is_none_stands_below_a_line_that_says_so(
    text: str, version: tuple[int, ...]
) -> None:
    """The program never sees it at the beginning of its box."""
    found = compose(text, version)
    assert (found.command, found.preamble) == (None, f"{PREAMBLE}\n")
    assert found.digest == digest(text)


@pytest.mark.parametrize("text", ["/etc/hosts is a file", "/usr/bin", "// a comment", "/what? yes", "say /clear", "a"])
def test_a_path_is_typed_as_it_is(text: str) -> None:
    """What the program itself tells from a command needs no line above it."""
    found = compose(text, NEW)
    assert (found.command, found.preamble, found.typed.rstrip()) == (None, None, text)


def test_a_name_in_another_alphabet_is_left_to_the_program() -> None:
    """It opens no menu for such a name, and knows its own commands."""
    found = compose("/pr\u00fcfen alles", NEW)
    assert (found.command, found.typed, found.fallback) == ("/pr\u00fcfen", "/pr\u00fcfen alles", None)


@pytest.mark.parametrize("text", ["!ls", "\u2060!ls", " \ufe0f !ls"])
def test_no_text_runs_as_a_shell_command(text: str) -> None:
    """A leading exclamation mark has a space before it, also where something invisible hid it."""
    assert compose(text, NEW).typed == " !ls"


@pytest.mark.parametrize("word", ["@REA", ":smi", "/cl", "#gen", "@./do"])
def test_enter_completes_nothing(word: str) -> None:
    """A space closes the menu in which the program offers to complete the last word."""
    assert compose(f"say {word}", NEW).typed == f"say {word} "
    assert compose(f"say {word} now", NEW).typed == f"say {word} now"
    assert compose('say @"my fi', NEW).typed == 'say @"my fi '


@pytest.mark.parametrize("text", ["see /tmp/a.PNG", "'/tmp/b c.jpeg'", "x.webp?", "/tmp/a.gif"])
def test_enter_waits_for_images(text: str) -> None:
    """What may name an image is submitted only when the program has looked for it."""
    assert compose(text, NEW).has_image_path
    assert not compose("a png", NEW).has_image_path


def test_what_shows_nothing_is_refused() -> None:
    """A message of any characters that show nothing, alone or together, is refused as one of which nothing is seen."""
    invisible = [character for character in map(chr, range(sys.maxunicode + 1)) if INVISIBLE.match(character)]
    for text in (*invisible, "".join(invisible), " \n".join(invisible), "\x07\u2028 \u3000"):
        with pytest.raises(DeliveryFailed, match="The message has no visible characters; write it as text"):
            compose(text, NEW)
        with pytest.raises(DeliveryFailed):
            answer_text(text)


def test_what_shows_nothing_is_known_by_its_property() -> None:
    """The table holds every format character and variation selector of this Python's Unicode, and Hangul's fillers, and
    no other letter, digit, sign or symbol."""
    for character in map(chr, range(sys.maxunicode + 1)):
        name, category = unicodedata.name(character, ""), unicodedata.category(character)
        is_filler = "HANGUL" in name and "FILLER" in name
        if (category == "Cf" and not name.startswith(SHOWN)) or "VARIATION SELECTOR" in name or is_filler:
            assert INVISIBLE.match(character), f"{character!a} {name}"
        elif category[0] in "LNPS":
            assert not INVISIBLE.match(character), f"{character!a} {name}"


@pytest.mark.parametrize(("text", "typed"), [("a\\", "a\\ "), ("/clear", "/clear"), ("exit", "exit"), ("!ls", "!ls")])
def test_an_answer_is_no_command(text: str, typed: str) -> None:
    """In the field of an answer everything is text; only a backslash at the end would make a new line of Enter."""
    assert answer_text(text) == typed
