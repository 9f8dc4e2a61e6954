"""A progress line on a terminal: what a command waits for, and for how long."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import click

from dev_sessions.cli.app import Application
from dev_sessions.cli.output import draw, escape_controls
from dev_sessions.errors import DevSessionsError
from dev_sessions.operations import Status
from dev_sessions.system.threads import NO_TIMEOUT, background

T = TypeVar("T")

#: Seconds between two drawings, and between two polls of the sessions' states.
_TICK = 1.0
#: Seconds for a poll of another machine to end after the wait is over.
_JOIN_TIMEOUT = 1.5
#: Width of a terminal that does not report it.
_COLUMNS = 80


class Line:
    """The line on standard error, redrawn in place; `describe` returns the text before the elapsed time."""

    def __init__(self, describe: Callable[[], str]) -> None:
        self._describe = describe
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._drawn = 0
        self._is_hidden = False

    def draw(self) -> None:
        """Draw the line. The cursor returns to its beginning, so that a warning replaces it."""
        columns = os.get_terminal_size(sys.stderr.fileno()).columns or _COLUMNS
        text = escape_controls(f"{self._describe()} {elapsed(time.monotonic() - self._began)}")[: columns - 1]
        with self._lock:
            if not self._is_hidden:
                self._write(text.ljust(self._drawn))
                self._drawn = len(text)

    def clear(self) -> None:
        """Erase the line."""
        with self._lock:
            if self._drawn:
                self._write(" " * self._drawn)
                self._drawn = 0

    def hidden_between(self, items: Iterable[T]) -> Iterator[T]:
        """Yield the items as they come, with the line hidden while the caller prints one."""
        for item in items:
            self._is_hidden = True
            self.clear()
            yield item
            self._is_hidden = False

    def _write(self, text: str) -> None:
        draw(sys.stderr, f"\r{text}\r")


@contextlib.contextmanager
def progress(describe: Callable[[], str], *, quiet: bool) -> Iterator[Line]:
    """Draw a progress line while the block runs; nothing without a terminal, or when `quiet`."""
    line = Line(describe)
    if quiet or not sys.stderr.isatty():
        yield line
        return
    over = threading.Event()

    def draw() -> None:
        with contextlib.suppress(OSError):  # the terminal is gone
            while not over.wait(_TICK):
                line.draw()

    try:
        with background([draw], over, NO_TIMEOUT):
            yield line
    finally:
        with contextlib.suppress(OSError):
            line.clear()


@contextlib.contextmanager
def waiting_for(application: Application, session_ids: tuple[str, ...], *, quiet: bool) -> Iterator[Line]:
    """Draw a progress line with the states of some sessions while the block runs."""
    states: dict[str, str] = {}
    over = threading.Event()

    def poll_states() -> None:
        while not over.is_set():
            for session_id in session_ids:
                try:
                    states[session_id] = application.execute(Status(session_id=session_id)).state
                except (DevSessionsError, OSError):
                    states.pop(session_id, None)  # if that is fatal, the wait itself reports it
            over.wait(_TICK)

    def describe() -> str:
        return ", ".join(f"{session_id} {states.get(session_id, '…')}" for session_id in session_ids)

    if quiet or not sys.stderr.isatty():
        yield Line(describe)
        return
    with background([poll_states], over, _JOIN_TIMEOUT), progress(describe, quiet=quiet) as line:
        yield line


def show_next_step(outcome: str, session_id: str, *, quiet: bool) -> None:
    """On a terminal, print how to go on with a session that asks something."""
    if outcome == "waiting_for_input" and not quiet and sys.stderr.isatty():
        click.echo(f"{session_id} asks something; to read it: dev-sessions last-message {session_id}", err=True)


def elapsed(seconds: float) -> str:
    """Format a duration for people: `12 s`, `2 min 05 s`, `1 h 02 min`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
