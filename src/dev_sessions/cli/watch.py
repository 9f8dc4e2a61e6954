"""`list --watch`: a live view of all sessions."""

from __future__ import annotations

import os
import sys
import time
from functools import partial

import click

from dev_sessions.cli.app import Application
from dev_sessions.cli.mine import is_mine
from dev_sessions.cli.output import draw, uses_colour
from dev_sessions.cli.render import age, coloured, room, shorten, shown_state, table
from dev_sessions.errors import DevSessionsError
from dev_sessions.models import Listed, parse_timestamp
from dev_sessions.operations import LastMessage, List
from dev_sessions.system.threads import gather

_HEADER = ("ID", "CLI", "HOST", "STATUS", "FOR", "DESCRIPTION", "ASKS OR SAID LAST")
_HOST = _HEADER.index("HOST")
#: Columns of a description at most, beside the text.
_MAX_DESCRIPTION = 30
#: Seconds between two refreshes.
_REFRESH_INTERVAL = 1.0
#: Size of a terminal that does not report it.
_COLUMNS, _LINES = 80, 24
_HOME, _REST_OF_LINE, _REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"
_ALTERNATE_SCREEN, _MAIN_SCREEN = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"


def watch(application: Application, *, everything: bool, mine: bool = False) -> None:
    """Show the sessions, or the caller's, until Ctrl-C, redrawn in place on a terminal; elsewhere, once.

    The last table stays on the terminal.
    """
    view = _View(application.without_warnings(), everything=everything, mine=mine)
    if not sys.stdout.isatty():
        click.echo("\n".join(view.lines(None)))
        return
    lines: list[str] = []
    try:
        draw(sys.stdout, _ALTERNATE_SCREEN)
        while True:
            size = os.get_terminal_size(sys.stdout.fileno())
            lines = view.lines(size.columns or _COLUMNS)
            visible = lines[: (size.lines or _LINES) - 1]
            draw(sys.stdout, _HOME + "".join(f"{line}{_REST_OF_LINE}\n" for line in visible) + _REST_OF_SCREEN)
            time.sleep(_REFRESH_INTERVAL)
    except KeyboardInterrupt:
        return
    finally:
        draw(sys.stdout, _MAIN_SCREEN + "".join(f"{line}\n" for line in lines))


class _View:
    """The table; it remembers each session's last text with the state in which it was asked for that."""

    def __init__(self, application: Application, *, everything: bool, mine: bool) -> None:
        self._application = application
        self._everything = everything
        self._mine = mine
        self._texts: dict[str, tuple[object, str]] = {}

    def lines(self, columns: int | None) -> list[str]:
        """Return the lines of the table; None: for a pipe, where they are not truncated."""
        rows = self._application.execute(List(everything=self._everything, detail=True)).rows
        if self._mine:
            rows = tuple(row for row in rows if is_mine(row.session))
        if not rows:
            return ["No active sessions"]
        with gather(partial(self._read, row) for row in rows if self._is_outdated(row)):
            pass
        now = time.time()
        lines = [list(_HEADER), *(self._cells(row, now) for row in rows)]
        if columns is None:
            return table(lines).splitlines()
        if all(row.session.host is None for row in rows):
            for line in lines:
                del line[_HOST]
        text = len(lines[0]) - 1
        # The text is what is looked for, so most of the line is left to it.
        shorten(lines, text - 1, min(_MAX_DESCRIPTION, room(lines, (text - 1, text), columns) // 3))
        shorten(lines, text, room(lines, (text,), columns))
        return coloured(table(lines).splitlines(), rows, columns, colour=uses_colour())

    def _is_outdated(self, row: Listed) -> bool:
        """Return whether a session may have said or asked something since. What a working one said is old."""
        return shown_state(row) != "working" and self._texts.get(row.session.id, (None,))[0] != _fingerprint(row)

    def _read(self, row: Listed) -> None:
        """Fetch what a session asks, or the last line that it said."""
        try:
            blocks = self._application.execute(LastMessage(session_id=row.session.id))
        except DevSessionsError:
            return
        lines = [line.strip() for block in blocks for line in block.splitlines() if line.strip()]
        text = " ".join(lines) if shown_state(row) == "waiting" else lines[-1] if lines else ""
        self._texts[row.session.id] = (_fingerprint(row), text)

    def _cells(self, row: Listed, now: float) -> list[str]:
        session = row.session
        since = parse_timestamp((row.state and row.state.since) or session.last_used)
        text = "" if shown_state(row) == "working" else self._texts.get(session.id, (None, ""))[1]
        cells = [session.id, session.cli, session.host or "-", shown_state(row), age(now - since)]
        return [*cells, _printable(session.description or "-"), _printable(text)]


def _fingerprint(row: Listed) -> object:
    """Return a value that changes with every new text: it includes the time of the last activity."""
    return row.state, row.session.last_used


def _printable(text: str) -> str:
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())
