"""What can only be seen on Claude's screen: the input box, and dialogs that stand before everything else. Pure.

Everything that the program tells in a file is read there. Two things it does not tell: what somebody has typed into
the box, and which dialog keeps it from starting. Measured on 2.1.0 to 2.1.330: the box lies between two rules and its
first line starts with `❯` or `>` in the first column; the cursor of a dialog's options is an indented `❯`.
"""

from __future__ import annotations

import re

_ESCAPES = re.compile(r"\x1b\[[0-9;:?]*[a-zA-Z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
#: A suggestion that the program shows in an empty box: dim, and not submitted by Enter.
_GHOST = re.compile(r"\x1b\[(?:0;)?2m[^\x1b\n]*")
_RULE = re.compile(r"^\s*[─━╭╰╮╯-]{20,}\s*$")
_BOX = re.compile(r"^[❯>](?:[ \u00a0]|$)")
_CURSOR = re.compile(r"^\s+❯ \S", re.MULTILINE)


def plain(screen: str) -> str:
    """The screen without colours, trailing blanks and the empty lines around it."""
    lines = [line.rstrip() for line in _ESCAPES.sub("", screen).replace("\u00a0", " ").split("\n")]
    return "\n".join(lines).strip("\n")


def box_text(screen: str) -> str | None:
    """What stands in the input box, "" when it is empty; None when no box is to be seen."""
    lines = [_ESCAPES.sub("", line).rstrip() for line in _GHOST.sub("", screen).split("\n")]
    for number in range(len(lines) - 1, 0, -1):
        if _BOX.match(lines[number]) and _RULE.match(lines[number - 1]):
            box = [lines[number][1:]]
            for line in lines[number + 1 :]:
                if _RULE.match(line):
                    break
                box.append(line)
            return "\n".join(box).replace("\u00a0", " ").strip()
    return None


def start_dialog(screen: str) -> str | None:
    """The text of a dialog that waits for a choice before the program starts; None when there is none."""
    text = plain(screen)
    return text if _CURSOR.search(text) and box_text(screen) is None else None
