"""Results as text for people. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from dev_sessions.models import Goal, Listed

_HEADER = ("ID", "CLI", "MODE", "HOST", "STATUS", "PATH", "DESCRIPTION", "LAST USED")


def json_text(value: object) -> str:
    """A result as JSON, lossless, on several lines."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def sessions_table(rows: Iterable[Listed]) -> str:
    """The table of `list`."""
    lines = [
        (s.id, s.cli, s.mode, s.host or "-", state, s.path, _one_line(s.description or "-"), s.last_used)
        for row in rows
        for s, state in [(row.session, row.standing.state if row.standing else row.session.status)]
    ]
    return table([_HEADER, *lines])


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
