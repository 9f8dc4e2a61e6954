"""What a process is given by whoever started it: its standard streams, and the signals that end it."""

from __future__ import annotations

import contextlib
import io
import os
import re
import select
import signal
import sys
from collections.abc import Callable, Iterator
from typing import TextIO

from dev_sessions.deadline import given_up_when

#: What a terminal takes for a command, or for a change of direction in the lines around it: all control characters but
#: tab and line feed (C0, DEL, C1), and Unicode's bidirectional embeddings, overrides and isolates.
_COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def harmless(text: str) -> str:
    r"""A text with what a terminal would obey written as `\uXXXX`, which in JSON is the same character."""
    return _COMMANDS.sub(lambda match: f"\\u{ord(match[0]):04x}", text.replace("\r\n", "\n"))


class OutputLost(OSError):
    """Nobody takes the output any more: its reader has gone, or the disk is full."""


class Output(io.TextIOWrapper):
    """Standard output or standard error: the one place where all that is printed passes.

    On a terminal it shows control characters instead of sending them, since most of what is printed was said by agents
    and named by others; anywhere else text stays as it is. A lone surrogate becomes `\\udXXX`, which in JSON is what it
    was. Where the output is lost, OutputLost is raised, or what is told besides (`is_needed` False) goes nowhere.
    """

    def __init__(self, number: int, *, is_needed: bool) -> None:
        raw = open(number, "wb", closefd=False)  # noqa: SIM115 - it lasts as long as the process
        super().__init__(raw, encoding="utf-8", errors="backslashreplace")
        self._is_needed = is_needed
        self._is_terminal = self.isatty()

    def write(self, text: str) -> int:
        """Print a text. OutputLost."""
        return self.draw(harmless(text) if self._is_terminal else text)

    def draw(self, text: str) -> int:
        """Print a text with the escape sequences that this program itself has put into it. OutputLost."""
        with self._unless_lost():
            super().write(text)
            super().flush()
        return len(text)

    def flush(self) -> None:
        """Have it printed by now. OutputLost."""
        with self._unless_lost():
            super().flush()

    @contextlib.contextmanager
    def _unless_lost(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            # What is still held would be tried again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            if self._is_needed:
                raise OutputLost(error.errno, error.strerror) from error


def draw(stream: TextIO, text: str) -> None:
    """Print a text with escape sequences of our own."""
    if isinstance(stream, Output):
        stream.draw(text)
    else:
        stream.write(text)
        stream.flush()


def prepare_streams() -> None:
    """Make of the standard streams what everything else takes them for: open, UTF-8, harmless.

    One that was closed goes nowhere, instead of into the first file that happens to be opened. (`sys.stdin` stays None:
    a message that is to come from there is an error.)
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free: this one
    sys.stdout, sys.stderr = Output(1, is_needed=True), Output(2, is_needed=False)


def when_ended(end: Callable[[int], None]) -> None:
    """Have `end` called with the number of a signal that ends this process from outside.

    What the caller has us ignore (`nohup` does so with SIGHUP) is ignored. From here on Ctrl-C is an exception, too.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda received, _: end(received))


@contextlib.contextmanager
def while_heard() -> Iterator[None]:
    """Inside, a wait that was asked for over ssh is given up when nobody reads its output any more.

    A command without a terminal is told nothing else when its caller has hung up; here Ctrl-C ends it, or its parent.
    """
    if "SSH_CONNECTION" not in os.environ or sys.stdout.isatty():
        yield
        return
    output = select.poll()
    output.register(sys.stdout, 0)  # what is always told: that the other end is closed
    with given_up_when(lambda: bool(output.poll(0))):
        yield
