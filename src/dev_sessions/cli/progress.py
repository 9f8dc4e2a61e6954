"""One line on a terminal that says that a command lives: what is waited for, and for how long by now."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from dev_sessions.cli.app import Application
from dev_sessions.cli.surroundings import draw, harmless
from dev_sessions.deadline import given_up_when
from dev_sessions.errors import DevSessionsError
from dev_sessions.operations import Status

T = TypeVar("T")

#: Seconds between two drawings, and two questions what the sessions do.
_TICK = 1.0
#: Seconds for a question to another machine to end when nobody wants its answer any more.
_PATIENCE = 1.5
#: Of a terminal that does not tell its size.
_COLUMNS = 80


class Line:
    """The line, drawn over itself on standard error; `tell` gives the text before the time."""

    def __init__(self, tell: Callable[[], str]) -> None:
        self._tell = tell
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._drawn = 0
        self._is_aside = False

    def draw(self) -> None:
        """Write it as it is now. The cursor goes back to its beginning, so that a warning stands in its place."""
        columns = os.get_terminal_size(sys.stderr.fileno()).columns or _COLUMNS
        text = harmless(f"{self._tell()} {elapsed(time.monotonic() - self._began)}")[: columns - 1]
        with self._lock:
            if not self._is_aside:
                self._write(text.ljust(self._drawn))
                self._drawn = len(text)

    def clear(self) -> None:
        """Leave the terminal as it was."""
        with self._lock:
            if self._drawn:
                self._write(" " * self._drawn)
                self._drawn = 0

    def between(self, things: Iterable[T]) -> Iterator[T]:
        """The things as they come, with the line out of the way while one is printed."""
        for thing in things:
            self._is_aside = True
            self.clear()
            yield thing
            self._is_aside = False

    def _write(self, text: str) -> None:
        draw(sys.stderr, f"\r{text}\r")


@contextlib.contextmanager
def progress(tell: Callable[[], str], *, quiet: bool) -> Iterator[Line]:
    """Draw a line once a second while the block runs, and clear it. Nothing where nobody looks: on no terminal, or when
    `quiet`."""
    line = Line(tell)
    if quiet or not sys.stderr.isatty():
        yield line
        return
    over = threading.Event()

    def draw() -> None:
        with contextlib.suppress(OSError):  # the terminal is gone: then nobody looks any more
            while not over.wait(_TICK):
                line.draw()

    thread = threading.Thread(target=draw, daemon=True)
    thread.start()
    try:
        yield line
    finally:
        over.set()
        thread.join()
        with contextlib.suppress(OSError):
            line.clear()


@contextlib.contextmanager
def waiting_for(application: Application, session_ids: tuple[str, ...], *, quiet: bool) -> Iterator[Line]:
    """As `progress`, with what each of some sessions does."""
    states: dict[str, str] = {}
    over = threading.Event()

    def ask() -> None:
        with given_up_when(over.is_set):
            while True:
                for session_id in session_ids:
                    try:
                        states[session_id] = application.execute(Status(session_id=session_id)).state
                    except (DevSessionsError, OSError):
                        states.pop(session_id, None)  # whether that is the end, the wait itself will say
                if over.wait(_TICK):
                    return

    def tell() -> str:
        return ", ".join(f"{session_id} {states.get(session_id, '…')}" for session_id in session_ids)

    if quiet or not sys.stderr.isatty():
        yield Line(tell)
        return
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    try:
        with progress(tell, quiet=quiet) as line:
            yield line
    finally:
        over.set()
        thread.join(_PATIENCE)


def elapsed(seconds: float) -> str:
    """A time as people read it: `12 s`, `2 min 05 s`, `1 h 02 min`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
