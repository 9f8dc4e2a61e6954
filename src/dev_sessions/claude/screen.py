"""Read what only Claude's screen shows: the text in the input box, and dialogs before the start. Pure.

Measured on 2.1.250 to 2.1.332: the box lies between two rules, and its first line starts with `❯` and a no-break space
in the first column, while a plain space follows the `❯` of a message or of a dialog's option. In fullscreen mode, a
text that takes more than half of the window is scrolled, and the rules say so. `dialogs` reads what is in a dialog.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Literal, TypeAlias

TypedCommand: TypeAlias = Literal["known", "unknown", "no colours"]

_ESCAPES = r"\x1b\[[0-9;:?]*[a-zA-Z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"
_SGR = r"\x1b\[([0-9;:]*)m"
_RULE = r"^[─━╭╰╮╯-]{20,}\s*$"
_LONG_RULE = r"([─━])\1{40,}"
#: The rule above the box, which holds the conversation's name; a long name leaves nothing of its beginning (2.1.332).
_UPPER_RULE = rf"{_RULE}|^[─━]* \S.* [─━]+$"
#: The rule above and below a box that shows only a part of its text: `─── ↑ 30 more ───…`, or with the conversation's
#: name `─── ↑ 30 more ───… fizz-top ──`.
_SCROLLED_ABOVE = r"^─{2,} ↑ \d+ more ─.*─$"
_SCROLLED_BELOW = r"^─{2,} ↓ \d+ more ─.*─$"
#: The beginning of the box; `!` when Enter runs a shell command.
_BOX = r"^[❯>!]\u00a0"
#: A command without arguments in the box, and the cursor behind it.
_COMMAND_AND_CURSOR = r"^[❯>]\u00a0/\S+\s+$"
_SELECTED_OPTION = r"(?m)^\s+❯ \S"
_ESCAPE_HINT = r"\bEsc to [a-z]+"
#: Number of lines at the end of a screen in which a dialog shows how to leave it.
_FOOTER_LINES = 3
#: The beginning of a row that Claude prints when Ctrl+Z suspends it.
_SUSPENDED = "Claude Code is suspended."
#: Frames of the spinner at the beginning of the terminal's title while Claude works.
_SPINNER = r"[\u2800-\u28ff]"
_WAITING_FOR_AGENTS = r"\S Waiting for \d+ background agents? to finish"
#: The hint in an empty box while messages are queued. It stays until the hooks of the last one have ended, also when
#: the turn before has ended and Claude reports that it is idle (2.1.332).
_QUEUED_MESSAGES = r"[❯>]\u00a0Press up to edit queued messages$"
_BACKGROUND_SHELLS = r"\b\d+ shells? · ↓"


def rows(screen: str) -> list[str]:
    """Return the rows of a screen, without colours and trailing blanks."""
    return [re.sub(_ESCAPES, "", row).rstrip(" ") for row in screen.split("\n")]


def plain(screen: str) -> str:
    """Return the screen without colours, trailing blanks and surrounding empty lines, and with its rules shortened."""
    text = re.sub(_LONG_RULE, lambda rule: rule[1] * 40, re.sub(_ESCAPES, "", screen).replace("\u00a0", " "))
    lines = [line.rstrip() for line in text.split("\n")]
    return "\n".join(lines).strip("\n")


def box_text(screen: str) -> str | None:
    """Return the text that the input box shows, "" if it is empty, or None if there is no box."""
    if not (place := _box_rows(screen)):
        return None
    coloured = screen.split("\n")
    first, *more = (_typed_text(coloured[number]) for number in place)
    first = first if first.startswith("!") else first[1:]
    text = "\n".join(line.rstrip() for line in (first, *more)).replace("\u00a0", " ").strip()
    return f"!{text[1:].lstrip()}" if text.startswith("!") else text


def shows_queued_messages(screen: str) -> bool:
    """Return whether the input box is empty and says that messages are queued."""
    drawn = box_rows(screen)
    return bool(drawn) and box_text(screen) == "" and re.match(_QUEUED_MESSAGES, drawn[0]) is not None


def is_box_cut(screen: str) -> bool:
    """Return whether the screen may show only a part of the text in the input box.

    Outside of fullscreen mode nothing says so: the box fills the screen, and its beginning is above it (2.1.332).
    """
    lines = rows(screen)
    if place := _box_rows(screen):
        below = lines[place.stop] if place.stop < len(lines) else ""
        return bool(re.match(_SCROLLED_ABOVE, lines[place.start - 1]) or re.match(_SCROLLED_BELOW, below))
    end = next((at for at in range(len(lines) - 1, 0, -1) if re.match(_RULE, lines[at])), 0)
    return end > 0 and all(not line or line.startswith("  ") for line in lines[:end])


def box_rows(screen: str) -> list[str]:
    """Return the rows of the input box, without colours and trailing blanks; none if there is no box."""
    lines = rows(screen)
    return [lines[number] for number in _box_rows(screen)]


def _box_rows(screen: str) -> range:
    lines = rows(screen)
    for number in range(len(lines) - 1, 0, -1):
        above = lines[number - 1]
        if (re.match(_BOX, lines[number]) and re.match(_UPPER_RULE, above)) or re.match(_SCROLLED_ABOVE, above):
            ends = range(number + 1, len(lines))
            below = (end for end in ends if re.match(_RULE, lines[end]) or re.match(_SCROLLED_BELOW, lines[end]))
            return range(number, next(below, len(lines)))
    return range(0)


def typed_command(screen: str, name: str) -> TypedCommand | None:
    """Return whether the program has the command in the input box; None if the box does not hold it.

    The box gives `/name` a colour of its own when there is a command of exactly that name (2.1.250 to 2.1.332, at
    rest and at work, in every theme)::

        ESC[38;5;246m❯ ESC[38;5;153m/clearESC[39m

    Without colours (`NO_COLOR`) the box does not tell.
    """
    if not "".join((box_text(screen) or "").split()).startswith(name):
        return None
    lines = screen.split("\n")
    number = max(at for at, line in enumerate(lines) if re.match(r"[❯>][ \u00a0]/", re.sub(_ESCAPES, "", line)))
    above = "\n".join(lines[: number - 1])
    before_name = lines[number].partition("/")[0]
    if _is_coloured("\n".join(lines[:number]) + before_name):
        return "known"
    has_colours = any(_is_coloured(escape[0]) for escape in re.compile(_SGR).finditer(screen, len(above)))
    return "unknown" if has_colours or _is_coloured(above) else "no colours"


def foregrounds(screen: str) -> list[list[str]]:
    """Return the foreground colour of each character of each row, "" for the default one.

    What tmux switches on in one row is on in the next, too.
    """
    found, colour = [], ""
    for row in screen.split("\n"):
        colours: list[str] = []
        position = 0
        for escape in re.finditer(_ESCAPES, row):
            colours += [colour] * (escape.start() - position)
            position = escape.end()
            if (style := re.fullmatch(_SGR, escape[0])) is not None:
                colour = _foreground(style[1], colour)
        found.append(colours + [colour] * (len(row) - position))
    return found


def bold_rows(screen: str) -> set[int]:
    """Return the numbers of the rows whose first visible character is bold."""
    found, bold = set(), False
    for number, row in enumerate(screen.split("\n")):
        position, is_blank = 0, True
        for escape in [*re.finditer(_SGR, row), None]:
            text = re.sub(_ESCAPES, "", row[position : escape.start() if escape else len(row)])
            if text.strip() and is_blank:
                is_blank = False
                if bold:
                    found.add(number)
            if escape is not None:
                position = escape.end()
                for code in _codes(escape[1]):
                    bold = code == "1" or (bold and code not in ("", "0", "22"))
    return found


def _foreground(parameters: str, before: str) -> str:
    """Return the foreground colour after an SGR sequence, "" for the default one."""
    for code in _codes(parameters):
        if code in ("", "0", "39"):
            before = ""
        elif re.fullmatch("38;.*|[39][0-7]", code):
            before = code
    return before


def _codes(parameters: str) -> Iterator[str]:
    """Yield the codes of an SGR sequence such as `1;38;5;153`: `1`, and the colour as a whole."""
    codes = iter(parameters.replace(":", ";").split(";"))
    for code in codes:
        if code in ("38", "48", "58"):
            # 5;N or 2;R;G;B.
            kind = next(codes, "")
            yield ";".join([code, kind, *islice(codes, 1 if kind == "5" else 3)])
        else:
            yield code


def _is_coloured(text: str) -> bool:
    """Return whether text after these escape sequences has a colour."""
    colour = ""
    for escape in re.finditer(_SGR, text):
        colour = _foreground(escape[1], colour)
    return bool(colour)


def _typed_text(row: str) -> str:
    """Return a row without hints: they are behind the cursor (inverse), or it is on their first letter.

    They are dim, but that for the arguments of a command has a colour of its own, and shortly stays behind the next
    command (2.1.332)::

        ESC[39m❯ ESC[38;5;153m/compactESC[39m ESC[7m ESC[0mESC[38;5;246mESC[49m<optional custom summarization i…
    """
    typed, cursor_at = "", -1
    dim = inverse = False
    colour = ""
    position = 0
    for escape in [*re.finditer(_SGR, row), None]:
        text = re.sub(_ESCAPES, "", row[position : escape.start() if escape else len(row)])
        if inverse and len(text) == 1:
            cursor_at = len(typed)
        elif dim and text and cursor_at == len(typed) - 1 >= 0:
            typed = typed[:-1]
        elif colour and text and cursor_at == len(typed) - 1 and re.match(_COMMAND_AND_CURSOR, typed):
            break
        typed += "" if dim else text
        if escape is not None:
            dim, inverse = _attributes(escape[1], dim, inverse)
            colour = _foreground(escape[1], colour)
            position = escape.end()
    return typed


def _attributes(parameters: str, dim: bool, inverse: bool) -> tuple[bool, bool]:
    for code in _codes(parameters):
        match code:
            case "" | "0":
                dim = inverse = False
            case "2":
                dim = True
            case "22":
                dim = False
            case "7":
                inverse = True
            case "27":
                inverse = False
    return dim, inverse


def is_suspended(screen: str) -> bool:
    """Return whether Claude waits to be continued after Ctrl-Z, which shows only on its screen (2.1.332)::

    Claude Code is suspended. Run `fg` to bring it back.
    """
    return any(row.startswith(_SUSPENDED) for row in rows(screen)) and box_text(screen) is None


def startup_dialog_text(screen: str) -> str | None:
    """Return the text of a dialog that is shown before the program starts, or None."""
    text = plain(screen)
    return text if re.search(_SELECTED_OPTION, text) and box_text(screen) is None else None


def is_dialog_open(screen: str) -> bool:
    """Return whether a dialog has replaced the input box."""
    return box_text(screen) is None and bool(
        re.search(_SELECTED_OPTION, plain(screen)) or re.search(_ESCAPE_HINT, _footer(screen))
    )


def shows_work(title: str, screen: str) -> bool:
    """Return whether Claude works, by the terminal's title or by the screen.

    In tmux, the title of 2.1.300 and newer always shows Claude as idle.
    """
    if re.match(_SPINNER, title) or "esc to interrupt" in _footer(screen):
        return True
    return re.match(_WAITING_FOR_AGENTS, _last_conversation_line(screen)) is not None


def shows_background_shells(screen: str) -> bool:
    """Return whether the line below the box shows shell commands in the background (2.1.250, 2.1.332)."""
    return bool(re.search(_BACKGROUND_SHELLS, _footer(screen)))


def _last_conversation_line(screen: str) -> str:
    """Return the last line of the conversation, which is above the box and begins in the first column."""
    lines = rows(screen)
    box = max(
        (at for at, line in enumerate(lines) if re.match(_BOX, line) and re.match(_UPPER_RULE, lines[at - 1])),
        default=1,
    )
    return next((line for line in reversed(lines[: box - 1]) if line[:1].strip()), "")


def _footer(screen: str) -> str:
    return "\n".join([line for line in plain(screen).split("\n") if line][-_FOOTER_LINES:])
