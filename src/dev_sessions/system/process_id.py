"""What names one process for ever."""

from __future__ import annotations

from typing import NamedTuple


class ProcessId(NamedTuple):
    """A pid, and the start time of the process that had it when it was noted (see `process.start_time`).

    A pid alone is given to another process after a while.
    """

    pid: int
    started: str
