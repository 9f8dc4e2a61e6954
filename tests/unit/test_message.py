"""Build the keystrokes that type a message into Claude Code."""

from __future__ import annotations

import re
import sys
import unicodedata

import pytest

from dev_sessions.claude.message import INVISIBLE, answer_text, compose
from dev_sessions.claude.message_text import PREAMBLE, digest, visible
from dev_sessions.errors import DeliveryFailed

NEW = (2, 1, 332)
OLD = (2, 1, 250)
#: Format characters that are drawn, such as the sign of a number in Arabic, and so are not ignorable.
SHOWN = ("ARABIC", "SYRIAC ABBREVIATION MARK", "KAITHI NUMBER SIGN")


ENDS = "exit| quit|:q|:q!|:wq|:wq!|/exit|/quit|/exit foo|/quit please| /exit x|/exit\tx|/logout|/logout now"
HIDDEN_ENDS = ["ex\u2060it", "\u200d/exit", "/ex\ufe0fit", "exit\u3164", "/exit\u00a0x"]


@pytest.mark.parametrize("text", [*ENDS.split("|"), *HIDDEN_ENDS])
def test_commands_that_end_the_program_are_refused(text: str) -> None:
    """A command that ends Claude Code is refused by name, also with arguments or with invisible characters in it."""
    with pytest.raises(DeliveryFailed, match="ends Claude Code; use dev-sessions kill for that"):
        compose(text, NEW)


@pytest.mark.parametrize("text", ["exit.", "quit please", "EXIT", "/exit-plan", "/exits", "please /exit", "/exit\nnow"])
def test_texts_like_an_exit_command_are_sent(text: str) -> None:
    """A text that does not end the program is sent."""
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
    """White space after the name closes the menu, from which Enter would choose another command."""
    found = compose(text, NEW)
    assert (found.typed, found.preamble) == (typed, None)
    assert found.command == typed.partition("\u00a0")[0]
    assert found.digest == digest(text)
    assert found.fallback is not None
    assert (found.fallback.command, found.fallback.preamble) == (None, f"{PREAMBLE}\n")


def test_long_arguments_are_pasted_separately() -> None:
    """A command with long arguments is pasted in two pieces, because the program would take a single one for text."""
    found = compose("/greet " + "x" * 800, NEW)
    assert (found.preamble, found.typed) == ("/greet\u00a0", "x" * 800)


NO_NAMES = ["/", "/ hello", "\u2060/ x", "/2fa", "/_x", "/-x", "/.x", "/cl.", "/x.png"]
NO_COMMANDS = ["/cost\nis what I mean", "/clear\u2028x", "/api\u2029x", "/etc\u2060/hosts is", f"{PREAMBLE}\nsay hi"]


@pytest.mark.parametrize("text", [*NO_NAMES, *NO_COMMANDS])
@pytest.mark.parametrize("version", [OLD, NEW])
def test_text_like_a_command_has_a_preamble(text: str, version: tuple[int, ...]) -> None:
    """A text that looks like a command is typed below the preamble."""
    found = compose(text, version)
    assert (found.command, found.preamble) == (None, f"{PREAMBLE}\n")
    assert found.digest == digest(text)


@pytest.mark.parametrize("text", ["/etc/hosts is a file", "/usr/bin", "// a comment", "/what? yes", "say /clear", "a"])
def test_a_path_is_typed_as_it_is(text: str) -> None:
    """A text that the program does not take for a command needs no preamble."""
    found = compose(text, NEW)
    assert (found.command, found.preamble, found.typed.rstrip()) == (None, None, text)


def test_a_name_in_another_alphabet_is_left_to_the_program() -> None:
    """A command with a name in other letters is typed as it is: the program opens no menu for it."""
    found = compose("/pr\u00fcfen alles", NEW)
    assert (found.command, found.typed, found.fallback) == ("/pr\u00fcfen", "/pr\u00fcfen alles", None)


@pytest.mark.parametrize("text", ["!ls", "\u2060!ls", " \ufe0f !ls"])
def test_no_text_runs_as_a_shell_command(text: str) -> None:
    """A leading exclamation mark is typed after a space, also if an invisible character precedes it."""
    assert compose(text, NEW).typed == " !ls"


@pytest.mark.parametrize("word", ["@REA", ":smi", "/cl", "#gen", "@./do"])
def test_enter_completes_nothing(word: str) -> None:
    """A space closes the menu in which the program offers to complete the last word."""
    assert compose(f"say {word}", NEW).typed == f"say {word} "
    assert compose(f"say {word} now", NEW).typed == f"say {word} now"
    assert compose('say @"my fi', NEW).typed == 'say @"my fi '


@pytest.mark.parametrize("text", ["1", "0", "é", "x"])
def test_a_message_of_one_character_is_no_answer_to_a_survey(text: str) -> None:
    """A message of one character is typed with a space after it, so that no survey takes it for its answer."""
    assert (compose(text, NEW).typed, compose(text, NEW).digest) == (f"{text} ", digest(text))
    assert compose(f"{text}{text}", NEW).typed == f"{text}{text}"


@pytest.mark.parametrize("text", ["see /tmp/a.PNG", "'/tmp/b c.jpeg'", "x.webp?", "/tmp/a.gif"])
def test_enter_waits_for_images(text: str) -> None:
    """A message that may name an image is submitted only once the program has looked for the image."""
    assert compose(text, NEW).has_image_path
    assert not compose("a png", NEW).has_image_path


LONG = {
    "many lines": "say " + "\n".join(f"line {number}" for number in range(100)),
    "one line": "say " + "word " * 1000,
    "no blanks": "\u6f22" * 2000,
    "empty lines": "a" + "\n" * 100 + "b",
    "tabs": "a\tb\n" * 100 + "c",
    "emoji": "\U0001f469\u200d\U0001f4bb" * 300,
    "combining": "q\u0301" * 1000,
}


@pytest.mark.parametrize("text", LONG.values(), ids=LONG.keys())
def test_a_long_message_is_typed_in_pieces(text: str) -> None:
    """A long message is typed as several pastes that are too short to be marked as pasted, and cut no character."""
    found = compose(text, NEW)
    assert "".join(found.pieces).rstrip() == text.replace("\t", "    ").rstrip()
    assert found.preamble is None
    for piece in found.pieces:
        assert piece.count("\n") <= 2
        assert len(piece.encode("utf-16-le")) // 2 <= 700
        assert not unicodedata.combining(piece[0])
        assert not piece.startswith("\u200d")
        assert not piece.endswith("\u200d")
    assert compose(text, OLD).pieces == ()


@pytest.mark.parametrize("text", ["x" * 9000, "x\n" * 200 + "x", "see /tmp/a.png\n" * 5, "e\u0301" * 1000])
def test_a_very_long_message_has_a_preamble(text: str) -> None:
    """A message that takes too long in pieces, names an image, or would be composed, is pasted once, below the
    preamble."""
    found = compose(text, NEW)
    assert (found.pieces, found.preamble) == ((), f"{PREAMBLE}\n")
    assert compose(text, OLD).preamble is None


def test_enter_completes_nothing_after_pieces() -> None:
    """A space closes the menu for the last word of a long message, too."""
    assert compose("say\na\nb\nc\n@REA", NEW).pieces[-1].endswith("@REA ")


def test_invisible_messages_are_refused() -> None:
    """A message without visible characters is refused."""
    invisible = [character for character in map(chr, range(sys.maxunicode + 1)) if re.match(INVISIBLE, character)]
    for text in (*invisible, "".join(invisible), " \n".join(invisible), "\x07\u2028 \u3000"):
        with pytest.raises(DeliveryFailed, match="The message has no visible characters; write it as text"):
            compose(text, NEW)
        with pytest.raises(DeliveryFailed):
            answer_text(text)


def test_invisible_characters_are_complete() -> None:
    """The table holds all format characters and variation selectors of this Python's Unicode, and Hangul fillers."""
    for character in map(chr, range(sys.maxunicode + 1)):
        name, category = unicodedata.name(character, ""), unicodedata.category(character)
        is_filler = "HANGUL" in name and "FILLER" in name
        if (category == "Cf" and not name.startswith(SHOWN)) or "VARIATION SELECTOR" in name or is_filler:
            assert re.match(INVISIBLE, character), f"{character!a} {name}"
        elif category[0] in "LNPS":
            assert not re.match(INVISIBLE, character), f"{character!a} {name}"


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("\U0001f44d\U0001f3fd", "\U0001f44d"),
        ("a\U0001f469\U0001f3fd\u200d\U0001f680b", "a\U0001f469b"),
        (
            "\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 x",
            "\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d x",
        ),
        ("\u2764\ufe0f\u200d\U0001f525", "\u2764\ufe0f\u200d\U0001f525"),
        ("q" + 30 * "\u0301" + "a\u0323", "q" + 8 * "\u0301" + "a\u0323"),
    ],
)
def test_a_text_is_recognised_by_what_tmux_draws_of_it(text: str, drawn: str) -> None:
    """A message with an emoji of several parts is recognised, although tmux (3.3a) draws only some of them."""
    assert visible(text) == visible(drawn) != ""
    assert digest(text) == digest(drawn)


@pytest.mark.parametrize("text", ["\ue0b0", "\U0001fae9", "\U0010fffd", "\u0301", "\u20e3"])
def test_one_character_is_told_from_another(text: str) -> None:
    """A message of a single character is recognised by it, even if it is an icon, a mark, or newer than Python's
    Unicode."""
    assert visible(text) == text
    assert compose(text, NEW).digest != digest("")


def test_a_replacement_character_alone_is_refused() -> None:
    """A message of which nothing could be recognised is refused."""
    with pytest.raises(DeliveryFailed, match="no visible characters"):
        compose("\ufffd\ufffd", NEW)


@pytest.mark.parametrize("text", ["\U0001f3fd", "\u0928\u092e\u0938\u094d\u0924\u0947", "\U0001f467\u200d\u65e5"])
def test_a_text_is_recognised_by_all_that_is_drawn(text: str) -> None:
    """A skin tone alone, and letters that are joined, are part of what a message is recognised by."""
    assert len(visible(text)) == len([each for each in text if each != "\u200d"])


@pytest.mark.parametrize(("text", "typed"), [("a\\", "a\\ "), ("/clear", "/clear"), ("exit", "exit"), ("!ls", "!ls")])
def test_an_answer_is_not_a_command(text: str, typed: str) -> None:
    """An answer to a question is always text; only a backslash at its end needs a space."""
    assert answer_text(text) == typed
