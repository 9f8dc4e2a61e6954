"""Standard output and standard error, through which everything is printed."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Iterator
from typing import TextIO

from dev_sessions.errors import SessionNotFound

#: Characters that control a terminal or reorder a line: all control characters but tab and line feed (C0, DEL, C1),
#: and Unicode's bidirectional embeddings, overrides and isolates. Compiled when first needed, which takes 0.3 ms.
_CONTROLS = "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"

_SEE_LIST = " (see: dev-sessions list)"


def escape_controls(text: str) -> str:
    r"""Return a text with control characters written as `\uXXXX`, which is equivalent in JSON."""
    return re.sub(_CONTROLS, lambda match: f"\\u{ord(match[0]):04x}", text.replace("\r\n", "\n"))


def error_text(error: object) -> str:
    """Return the text of an error for the command line, with advice that is not part of what others match on."""
    text = str(error)
    # An error of another machine may have it already.
    is_bare = text.startswith(SessionNotFound.START) and not text.endswith(_SEE_LIST)
    return f"{text}{_SEE_LIST}" if is_bare else text


class OutputLost(OSError):
    """Raised when output cannot be written: its reader has closed it, or the disk is full."""


class Output(io.TextIOWrapper):
    """A standard stream that is safe to print untrusted text on.

    All output goes through it. On a terminal, control characters are escaped, since agents wrote most of the text; our
    own escape sequences go through `draw`. Elsewhere, text is printed unchanged. A lone surrogate becomes `\\udXXX`,
    which is equivalent in JSON. A failing write raises OutputLost if `required`; otherwise all further output is
    discarded.
    """

    def __init__(self, number: int, *, required: bool) -> None:
        raw = open(number, "wb", closefd=False)  # noqa: SIM115 - it lasts as long as the process
        super().__init__(raw, encoding="utf-8", errors="backslashreplace")
        self._required = required
        self._is_terminal = self.isatty()

    def write(self, text: str) -> int:
        """Print a text. Raises OutputLost."""
        return self.draw(escape_controls(text) if self._is_terminal else text)

    def draw(self, text: str) -> int:
        """Print a text with escape sequences of our own. Raises OutputLost."""
        with self._checked():
            super().write(text)
            super().flush()
        return len(text)

    def flush(self) -> None:
        """Flush the stream. Raises OutputLost."""
        with self._checked():
            super().flush()

    @contextlib.contextmanager
    def _checked(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            # Otherwise the buffer would be written again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            if self._required:
                raise OutputLost(error.errno, error.strerror) from error


def uses_colour() -> bool:
    """Return whether to print colour on standard output; see https://no-color.org."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def draw(stream: TextIO, text: str) -> None:
    """Print a text with escape sequences of our own."""
    if isinstance(stream, Output):
        stream.draw(text)
    else:
        stream.write(text)
        stream.flush()


def prepare_streams() -> None:
    """Open standard streams that the caller has closed, and replace stdout and stderr by `Output`.

    A closed stream becomes the null device; otherwise the first file that is opened would take its number. `sys.stdin`
    stays None, so that reading a message from it is an error.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # gets the lowest free number: this one
    sys.stdout, sys.stderr = Output(1, required=True), Output(2, required=False)
