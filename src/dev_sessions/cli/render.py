"""Results as text for people. Pure."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator, Sequence

from dev_sessions.models import Goal, Listed, parse_timestamp

#: Of a terminal that does not tell its size; and the least that is left of a text that is cut.
_COLUMNS, _LEAST = 80, 12
_HEADER = ("ID", "CLI", "MODE", "HOST", "STATUS", "PATH", "DESCRIPTION", "LAST USED")


def json_text(value: object) -> str:
    """A result as JSON, lossless, on several lines."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def separated(texts: Iterable[str], between: str, *, empty: str) -> Iterator[str]:
    """Texts as they come, with something between two of them; `empty` when there are none."""
    none = True
    for text in texts:
        yield text if none else between + text
        none = False
    if none:
        yield empty


def json_array(values: Iterable[object]) -> Iterator[str]:
    """The same text for an array, in pieces: a value each, as they come, then the end."""
    before = "["
    for value in values:
        yield f"{before}\n{textwrap.indent(json_text(value), '  ')}"
        before = ","
    yield "[]" if before == "[" else "\n]"


def sessions_table(rows: Iterable[Listed]) -> str:
    """The table of `list`."""
    lines = [
        (s.id, s.cli, s.mode, s.host or "-", state, s.path, _one_line(s.description or "-"), s.last_used)
        for row in rows
        for s, state in [(row.session, row.standing.state if row.standing else row.session.status)]
    ]
    return table([_HEADER, *lines])


def sessions_at_terminal(rows: Iterable[Listed], columns: int, home: str, now: float) -> str:
    """The table of `list` for a person: as wide as the terminal, with `~` for the home and the time since the last use.

    What does not fit is cut: first the end of the descriptions, then the beginning of the paths.
    """
    lines = [
        [
            *(s.id, s.cli, s.mode, s.host or "-", row.standing.state if row.standing else s.status),
            "~" + s.path[len(home) :] if f"{s.path}/".startswith(f"{home}/") else s.path,
            _one_line(s.description or "-"),
            f"{age(now - parse_timestamp(s.last_used))} ago",
        ]
        for row in rows
        for s in [row.session]
    ]
    lines.insert(0, list(_HEADER))
    path, description = _HEADER.index("PATH"), _HEADER.index("DESCRIPTION")
    for column in (description, path):
        widths = [max(len(line[at]) for line in lines) for at in range(len(_HEADER))]
        over = sum(widths) + 2 * (len(_HEADER) - 1) - (columns or _COLUMNS)
        most = max(widths[column] - over, _LEAST)
        if over > 0:
            for line in lines:
                if len(text := line[column]) > most:
                    line[column] = f"{text[: most - 1]}…" if column == description else f"…{text[1 - most :]}"
    return table(lines)


def hanging(head: str, text: str, columns: int | None) -> str:
    """A head with a text that is broken beside it where a terminal has so many columns; None: in one line."""
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
    """How long ago something was, in its largest unit: `5s`, `12m`, `3h`, `8d`."""
    whole = max(0, int(seconds))
    for unit, name in ((86400, "d"), (3600, "h"), (60, "m")):
        if whole >= unit:
            return f"{whole // unit}{name}"
    return f"{whole}s"


def table(lines: Sequence[Sequence[str]]) -> str:
    """Columns two spaces apart, each as wide as its widest cell. A line break in a cell is shown as one."""
    lines = [[cell.replace("\n", "\\n").replace("\r", "\\r") for cell in line] for line in lines]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    padded = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(line.rstrip() for line in padded)


def goal(what: Goal) -> str:
    """A goal, a line for each thing that is known of it; its objective may have more."""
    lines = (
        ("objective", what.objective),
        ("status", what.status),
        ("tokens used", what.tokens_used),
        ("token budget", "none" if what.token_budget is None else what.token_budget),
        ("time used", f"{what.time_used_seconds}s"),
    )
    return "\n".join(f"{name}: {value}" for name, value in lines)


def _one_line(text: str) -> str:
    return " ".join(text.split())
