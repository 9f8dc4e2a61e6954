"""Read JSON objects that another program wrote, and that may be malformed, cut off or nested without end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dev_sessions.system.foreign_files import read_regular


def parse_object(text: bytes | str) -> dict[str, Any] | None:
    """Return the JSON object in a text; None if it is anything else."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def objects(value: object) -> list[dict[str, Any]]:
    """Return the objects in a JSON array; none if the value is anything else."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def string(value: object) -> str | None:
    """Return a JSON value that is a string, else None."""
    return value if isinstance(value, str) else None


def read_object(file: Path) -> dict[str, Any]:
    """Return the JSON object in a file; an empty one if it cannot be read or is anything else."""
    try:
        return parse_object(read_regular(file)) or {}
    except OSError:
        return {}
