"""Render results as text for people. Pure."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator, Sequence

from dev_sessions.models import Goal, Listed, parse_timestamp

#: Columns of a terminal that does not report its size, and the minimum width of a truncated cell.
_COLUMNS, _MIN_WIDTH = 80, 12
_HEADER = ("ID", "CLI", "MODE", "HOST", "STATUS", "PATH", "DESCRIPTION", "LAST USED")


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
        yield f"{before}\n{textwrap.indent(json_text(value), '  ')}"
        before = ","
    yield "[]" if before == "[" else "\n]"


def sessions_table(rows: Iterable[Listed]) -> str:
    """Return the table of `list`."""
    return table([_HEADER, *(_cells(row, row.session.path, row.session.last_used) for row in rows)])


def sessions_at_terminal(rows: Iterable[Listed], columns: int, home: str, now: float) -> str:
    """Return the table of `list` for a terminal of a width, with `~` for the home and relative times.

    Descriptions are truncated at their end first, then paths at their beginning.
    """
    lines = [list(_HEADER)]
    for row in rows:
        path, last_used = row.session.path, parse_timestamp(row.session.last_used)
        short = "~" + path[len(home) :] if f"{path}/".startswith(f"{home}/") else path
        lines.append(_cells(row, short, f"{age(now - last_used)} ago"))
    description = _HEADER.index("DESCRIPTION")
    for column in (description, _HEADER.index("PATH")):
        widths = [max(len(line[at]) for line in lines) for at in range(len(_HEADER))]
        over = sum(widths) + 2 * (len(_HEADER) - 1) - (columns or _COLUMNS)
        most = max(widths[column] - over, _MIN_WIDTH)
        if over > 0:
            for line in lines:
                if len(text := line[column]) > most:
                    line[column] = f"{text[: most - 1]}…" if column == description else f"…{text[1 - most :]}"
    return table(lines)


def _cells(row: Listed, path: str, last_used: str) -> list[str]:
    s = row.session
    state = row.state.state if row.state else s.status
    return [s.id, s.cli, s.mode, s.host or "-", state, path, " ".join((s.description or "-").split()), last_used]


def hanging(head: str, text: str, columns: int | None) -> str:
    """Return a text with a hanging indent after `head`, wrapped to the columns of a terminal; None: on one line."""
    if columns is None:
        return head + text
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
