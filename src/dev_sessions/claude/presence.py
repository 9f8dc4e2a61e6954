"""Claude Code's own record of a running session: `<config>/sessions/<pid>.json`.

Measured: from 2.1.200 it holds `status` (idle, busy, waiting, shell), from 2.1.100 `pid` and `sessionId`; 2.1.0 writes
none. It appears only when no start-up dialog is open, first without `status`. After `kill -9` it stays behind, so the
pid has to live. `sessionId` changes with `/clear`.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from dev_sessions.claude.transcript import version_tuple
from dev_sessions.deadline import Deadline, poll
from dev_sessions.process import is_alive


@dataclass(frozen=True)
class Presence:
    """What a running Claude says of itself. `status_since` is in seconds since the epoch, by its own clock."""

    pid: int
    session_id: str
    status: str | None
    status_since: float
    waiting_for: str | None
    version: tuple[int, ...]


def read(config_dir: Path, pid: int) -> Presence | None:
    """The record of one process; None when there is none."""
    return _read_file(config_dir / "sessions" / f"{pid}.json")


def find(config_dir: Path, session_id: str) -> Presence | None:
    """The record of the living process that runs a session; None when no process does."""
    try:
        names = os.listdir(config_dir / "sessions")
    except OSError:
        return None
    for name in names:
        if name.endswith(".json"):
            found = _read_file(config_dir / "sessions" / name)
            if found is not None and found.session_id == session_id and is_alive(found.pid):
                return found
    return None


def _read_file(path: Path) -> Presence | None:
    def attempt() -> tuple[Presence | None] | None:
        try:
            return (_parse(json.loads(path.read_bytes())),)
        except ValueError:
            return None  # caught in the middle of being written; the next look will be whole
        except OSError:
            return (None,)

    found = poll(attempt, Deadline(0.2), 0.005)
    return found[0] if found else None


def _parse(record: object) -> Presence | None:
    if not isinstance(record, dict):
        return None
    pid, session_id = record.get("pid"), record.get("sessionId")
    if not isinstance(pid, int) or not isinstance(session_id, str):
        return None
    since = record.get("statusUpdatedAt")
    return Presence(
        pid=pid,
        session_id=session_id,
        status=_text(record.get("status")),
        status_since=since / 1000 if isinstance(since, int | float) else 0.0,
        waiting_for=_text(record.get("waitingFor")),
        version=version_tuple(_text(record.get("version")) or ""),
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
