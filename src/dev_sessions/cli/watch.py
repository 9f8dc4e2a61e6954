"""`list --watch`: a live view of all sessions."""

from __future__ import annotations

import os
import sys
import time
import unicodedata
from collections.abc import Iterable
from functools import partial

import click

from dev_sessions.cli.app import Application
from dev_sessions.cli.output import draw, escape_controls
from dev_sessions.cli.render import age, table
from dev_sessions.errors import DevSessionsError
from dev_sessions.models import Listed, parse_timestamp
from dev_sessions.operations import LastMessage, List
from dev_sessions.system.threads import gather

_HEADER = ("ID", "CLI", "HOST", "STATUS", "FOR", "SAID LAST")
#: Seconds between two refreshes.
_REFRESH_INTERVAL = 1.0
#: Size of a terminal that does not report it.
_COLUMNS, _LINES = 80, 24
_HOME, _REST_OF_LINE, _REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"
_ALTERNATE_SCREEN, _MAIN_SCREEN = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"


def watch(application: Application, *, everything: bool) -> None:
    """Show the sessions until Ctrl-C: redrawn in place on a terminal, else printed whenever one changes."""
    silent = application.without_warnings()
    said: dict[str, tuple[object, str]] = {}  # each session's fingerprint when last asked, and its last line
    on_screen = sys.stdout.isatty()
    before: object = None
    try:
        if on_screen:
            draw(sys.stdout, _ALTERNATE_SCREEN)
        while True:
            rows = application.execute(List(everything=everything, detail=True)).rows
            _update_last_lines(silent, rows, said)
            lines = _lines(rows, {session_id: text for session_id, (_, text) in said.items()}, time.time())
            if on_screen:
                _draw(lines)
            elif (now := [_shown_state(row, said) for row in rows]) != before:
                before = now
                click.echo("\n".join(lines) + "\n")
            time.sleep(_REFRESH_INTERVAL)
    except KeyboardInterrupt:
        return
    finally:
        if on_screen:
            draw(sys.stdout, _MAIN_SCREEN)


def _update_last_lines(application: Application, rows: Iterable[Listed], said: dict[str, tuple[object, str]]) -> None:
    """Fetch, in parallel, the last line of each session that may have said something."""

    def ask(row: Listed) -> None:
        try:
            blocks = application.execute(LastMessage(session_id=row.session.id))
        except DevSessionsError:
            return
        lines = [line for block in blocks for line in block.splitlines() if line.strip()]
        said[row.session.id] = (_fingerprint(row), lines[-1].strip() if lines else "")

    with gather(
        partial(ask, row)
        for row in rows
        if (row.state and row.state.state == "working") or said.get(row.session.id, (None,))[0] != _fingerprint(row)
    ):
        pass


def _fingerprint(row: Listed) -> object:
    """Return a value that changes with every new text: it includes the time of the last activity."""
    return row.state, row.session.last_used


def _shown_state(row: Listed, said: dict[str, tuple[object, str]]) -> object:
    return row.session.id, row.state and row.state.state, said.get(row.session.id, ("", ""))[1]


def _lines(rows: Iterable[Listed], said: dict[str, str], now: float) -> list[str]:
    shown = [
        (
            row.session.id,
            row.session.cli,
            row.session.host or "-",
            row.state.state if row.state else row.session.status,
            age(now - parse_timestamp((row.state and row.state.since) or row.session.last_used)),
            "".join(character if character.isprintable() else " " for character in said.get(row.session.id, "")),
        )
        for row in rows
    ]
    return table([_HEADER, *shown]).splitlines() if shown else ["No active sessions"]


def _draw(lines: list[str]) -> None:
    size = os.get_terminal_size(sys.stdout.fileno())
    visible = [
        _truncate(escape_controls(line), size.columns or _COLUMNS) for line in lines[: (size.lines or _LINES) - 1]
    ]
    draw(sys.stdout, _HOME + "".join(f"{line}{_REST_OF_LINE}\n" for line in visible) + _REST_OF_SCREEN)


def _truncate(line: str, columns: int) -> str:
    """Truncate a line to a number of columns; East Asian characters and emoji take two."""
    width = 0
    for position, character in enumerate(line):
        width += 2 if unicodedata.east_asian_width(character) in "WF" else not unicodedata.combining(character)
        if width > columns:
            return line[:position]
    return line
