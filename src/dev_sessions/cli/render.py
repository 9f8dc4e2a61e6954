"""Render results as text for people. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

from dev_sessions.cli.output import escape_controls
from dev_sessions.models import Goal, Listed, parse_timestamp

#: Columns of a terminal that does not report its size, and the minimum width of a truncated cell.
_COLUMNS, _MIN_WIDTH = 80, 12
_HEADER = ("ID", "CLI", "MODE", "HOST", "STATUS", "PATH", "DESCRIPTION", "LAST USED")
_STATUS = _HEADER.index("STATUS")
#: Columns that a terminal shows only if a session has another value.
_USUAL = (("MODE", "native"), ("HOST", "-"))
#: Of the states that need somebody: yellow, red.
_COLOURS = {"waiting": "\x1b[33m", "lost": "\x1b[31m"}
_PLAIN = "\x1b[0m"


def json_text(value: object) -> str:
    """Return a result as indented JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def separated(texts: Iterable[str], between: str, *, empty: str) -> Iterator[str]:
    """Yield texts as they come, separated by `between`; yield `empty` if there are none."""
    none = True
    for text in texts:
        yield text if none else between + text
        none = False
    if none:
        yield empty


def json_array(values: Iterable[object]) -> Iterator[str]:
    """Yield the text of `json_text` for an array in pieces, one per value, as the values come."""
    before = "["
    for value in values:
        indented = json_text(value).replace("\n", "\n  ")
        yield f"{before}\n  {indented}"
        before = ","
    yield "[]" if before == "[" else "\n]"


def sessions_table(rows: Iterable[Listed]) -> str:
    """Return the table of `list`."""
    return table([_HEADER, *(_cells(row, row.session.path, row.session.last_used) for row in rows)])


def sessions_at_terminal(
    rows: Sequence[Listed], columns: int, home: str, now: float, *, colour: bool = False
) -> list[str]:
    """Return the lines of `list` for a terminal, none wider than it, with `~` for the home and relative times.

    MODE and HOST are shown only if a session is not a native one of this machine. Descriptions are truncated at their
    end, and paths at their beginning.
    """
    lines = [list(_HEADER)]
    for row in rows:
        path, last_used = row.session.path, parse_timestamp(row.session.last_used)
        short = "~" + path[len(home) :] if f"{path}/".startswith(f"{home}/") else path
        lines.append(_cells(row, short, f"{age(now - last_used)} ago"))
        lines[-1][_STATUS] = shown_state(row)
    usual = {_HEADER.index(name): value for name, value in _USUAL}
    needless = {at for at, value in usual.items() if all(line[at] == value for line in lines[1:])}
    header = [name for at, name in enumerate(_HEADER) if at not in needless]
    lines = [[cell for at, cell in enumerate(line) if at not in needless] for line in lines]
    width = columns or _COLUMNS
    shared = header.index("PATH"), header.index("DESCRIPTION")
    available = room(lines, shared, width)
    longest_path, longest_description = (max(len(line[at]) for line in lines) for at in shared)
    widest_path = available - min(longest_description, available // 2)
    shorten(lines, shared[0], widest_path, from_start=True)
    shorten(lines, shared[1], available - min(longest_path, widest_path))
    return coloured(table(lines).splitlines(), rows, width, colour=colour)


def shown_state(row: Listed) -> str:
    """Return the state of a session as people see it."""
    state = row.state.state if row.state else row.session.status
    return "waiting" if state == "waiting_for_input" else state


def room(lines: Sequence[Sequence[str]], shared: Sequence[int], columns: int) -> int:
    """Return how many of the `columns` of a terminal a table leaves for the cells of the columns at `shared`."""
    others = (at for at in range(len(lines[0])) if at not in shared)
    return columns - 2 * (len(lines[0]) - 1) - sum(max(len(line[at]) for line in lines) for at in others)


def shorten(lines: Sequence[list[str]], column: int, most: int, *, from_start: bool = False) -> None:
    """Truncate the cells of a column to a number of characters, but not so far that they cannot be read."""
    most = max(most, _MIN_WIDTH)
    for line in lines:
        if len(text := line[column]) > most:
            line[column] = f"…{text[1 - most :]}" if from_start else f"{text[: most - 1]}…"


def coloured(lines: Sequence[str], rows: Sequence[Listed], columns: int, *, colour: bool) -> list[str]:
    """Return the lines of a table, with a header, truncated to `columns`; with the rows that need somebody coloured."""
    shown = [truncate(escape_controls(line), columns) for line in lines]
    if not colour:
        return shown
    colours = [_COLOURS.get(shown_state(row)) for row in rows]
    return [shown[0], *(f"{on}{line}{_PLAIN}" if on else line for line, on in zip(shown[1:], colours, strict=True))]


def truncate(line: str, columns: int) -> str:
    """Truncate a line to a number of columns; East Asian characters and emoji take two."""
    if line.isascii():
        return line[:columns]
    import unicodedata

    width = 0
    for position, character in enumerate(line):
        width += 2 if unicodedata.east_asian_width(character) in "WF" else not unicodedata.combining(character)
        if width > columns:
            return line[:position]
    return line


def _cells(row: Listed, path: str, last_used: str) -> list[str]:
    s = row.session
    state = row.state.state if row.state else s.status
    return [s.id, s.cli, s.mode, s.host or "-", state, path, " ".join((s.description or "-").split()), last_used]


def hanging(head: str, text: str, columns: int | None) -> str:
    """Return a text with a hanging indent after `head`, wrapped to the columns of a terminal; None: on one line."""
    if columns is None:
        return head + text
    import textwrap

    return textwrap.fill(
        text,
        columns or _COLUMNS,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )


def age(seconds: float) -> str:
    """Return an age in its largest unit: `5s`, `12m`, `3h`, `8d`."""
    whole = max(0, int(seconds))
    for unit, name in ((86400, "d"), (3600, "h"), (60, "m")):
        if whole >= unit:
            return f"{whole // unit}{name}"
    return f"{whole}s"


def table(lines: Sequence[Sequence[str]]) -> str:
    """Return lines of cells as a table whose columns are two spaces apart; line breaks in a cell are shown as `\\n`."""
    lines = [[cell.replace("\n", "\\n").replace("\r", "\\r") for cell in line] for line in lines]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    padded = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(line.rstrip() for line in padded)


def goal(what: Goal) -> str:
    """Return a goal as text, one line per field; an objective may take several."""
    lines = (
        ("objective", what.objective),
        ("status", what.status),
        ("tokens used", what.tokens_used),
        ("token budget", "none" if what.token_budget is None else what.token_budget),
        ("time used", f"{what.time_used_seconds}s"),
    )
    return "\n".join(f"{name}: {value}" for name, value in lines)
