"""`list --watch`: what all sessions do, for a person who looks on."""

from __future__ import annotations

import os
import sys
import threading
import time
import unicodedata
from collections.abc import Iterable

import click

from dev_sessions.cli.app import Application
from dev_sessions.cli.render import age, table
from dev_sessions.cli.surroundings import draw, harmless
from dev_sessions.errors import DevSessionsError
from dev_sessions.models import Listed, parse_timestamp
from dev_sessions.operations import LastMessage, List

_HEADER = ("ID", "CLI", "HOST", "STATUS", "FOR", "SAID LAST")
#: Seconds between two looks.
_LOOK = 1.0
#: Of a terminal that does not tell its size.
_COLUMNS, _LINES = 80, 24
_HOME, _REST_OF_LINE, _REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"
_OTHER_SCREEN, _OWN_SCREEN = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"


def watch(application: Application, *, everything: bool) -> None:
    """Show the sessions until Ctrl-C: redrawn in place, or on no terminal, each time that one does something else."""
    listener = application.without_warnings()
    said: dict[str, tuple[object, str]] = {}  # what it did when it was asked, and its last line
    on_screen = sys.stdout.isatty()
    before: object = None
    try:
        if on_screen:
            draw(sys.stdout, _OTHER_SCREEN)
        while True:
            rows = application.execute(List(everything=everything, detail=True)).rows
            _listen(listener, rows, said)
            lines = _lines(rows, {session_id: text for session_id, (_, text) in said.items()}, time.time())
            if on_screen:
                _draw(lines)
            elif (now := [_news(row, said) for row in rows]) != before:
                before = now
                click.echo("\n".join(lines) + "\n")
            time.sleep(_LOOK)
    except KeyboardInterrupt:
        return
    finally:
        if on_screen:
            draw(sys.stdout, _OWN_SCREEN)


def _listen(application: Application, rows: Iterable[Listed], said: dict[str, tuple[object, str]]) -> None:
    """Ask for the last line of those that may have said something, all at once."""

    def ask(row: Listed) -> None:
        try:
            blocks = application.execute(LastMessage(session_id=row.session.id))
        except DevSessionsError:
            return
        lines = [line for block in blocks for line in block.splitlines() if line.strip()]
        said[row.session.id] = (_doing(row), lines[-1].strip() if lines else "")

    threads = [
        threading.Thread(target=ask, args=(row,), daemon=True)
        for row in rows
        if (row.standing and row.standing.state == "working") or said.get(row.session.id, (None,))[0] != _doing(row)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _doing(row: Listed) -> object:
    """What changes whenever something was said: its time is that of the conversation, to the millisecond."""
    return row.standing, row.session.last_used


def _news(row: Listed, said: dict[str, tuple[object, str]]) -> object:
    return row.session.id, row.standing and row.standing.state, said.get(row.session.id, ("", ""))[1]


def _lines(rows: Iterable[Listed], said: dict[str, str], now: float) -> list[str]:
    shown = [
        (
            row.session.id,
            row.session.cli,
            row.session.host or "-",
            row.standing.state if row.standing else row.session.status,
            age(now - parse_timestamp((row.standing and row.standing.since) or row.session.last_used)),
            "".join(character if character.isprintable() else " " for character in said.get(row.session.id, "")),
        )
        for row in rows
    ]
    return table([_HEADER, *shown]).splitlines() if shown else ["No active sessions"]


def _draw(lines: list[str]) -> None:
    size = os.get_terminal_size(sys.stdout.fileno())
    visible = [_cut(harmless(line), size.columns or _COLUMNS) for line in lines[: (size.lines or _LINES) - 1]]
    draw(sys.stdout, _HOME + "".join(f"{line}{_REST_OF_LINE}\n" for line in visible) + _REST_OF_SCREEN)


def _cut(line: str, columns: int) -> str:
    """As much of a line as fits; East Asian characters and emoji take two columns."""
    width = 0
    for position, character in enumerate(line):
        width += 2 if unicodedata.east_asian_width(character) in "WF" else not unicodedata.combining(character)
        if width > columns:
            return line[:position]
    return line
