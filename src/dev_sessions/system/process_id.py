"""The identity of a process."""

from __future__ import annotations

from typing import NamedTuple


class ProcessId(NamedTuple):
    """A pid and the start time of its process (see `process.start_time`): a pid alone is reused by other processes."""

    pid: int
    started: str
