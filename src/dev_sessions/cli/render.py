"""Results as text for people. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from dev_sessions.models import Goal, JsonObject, Listed, LogTurn, Receipt, Standing, session_to_json

_HEADER = ("ID", "CLI", "MODE", "HOST", "STATUS", "PATH", "DESCRIPTION", "LAST USED")


def json_text(value: object) -> str:
    """A result as JSON, lossless, on several lines."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def listed(row: Listed) -> JsonObject:
    """A row of `list --json`: the record, and beside the kept `status` the `state`."""
    record = session_to_json(row.session)
    return {**record, "status": "inactive" if row.standing.state == "lost" else "active", **standing(row.standing)}


def standing(what: Standing) -> JsonObject:
    """What a session does, in the JSON of `status` and `list`."""
    waiting = {"waitingFor": what.waiting_for} if what.waiting_for else {}
    return {"state": what.state, **waiting, **({"background": True} if what.background else {})}


def sessions_table(rows: Iterable[Listed]) -> str:
    """The table of `list`."""
    lines = [
        (s.id, s.cli, s.mode, s.host or "-", row.standing.state, s.path, _one_line(s.description or "-"), s.last_used)
        for row in rows
        for s in [row.session]
    ]
    return table([_HEADER, *lines])


def table(lines: Sequence[Sequence[str]]) -> str:
    """Columns two spaces apart, each as wide as its widest cell."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    padded = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(line.rstrip() for line in padded)


def conversation(turns: Iterable[LogTurn]) -> str:
    """The text form of `logs`: who, on a line of its own, then what, then a blank line."""
    labels = {"human": "[HUMAN]", "assistant": "[ASSISTANT]"}
    return "\n\n".join(f"{labels[turn.role]}\n{turn.text}" for turn in turns)


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


def receipt(sent: Receipt) -> JsonObject:
    """The proof of `send --json`."""
    return {"state": sent.state, **({"turnId": sent.turn_id} if sent.turn_id else {})}
