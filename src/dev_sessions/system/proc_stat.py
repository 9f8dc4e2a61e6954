"""Read /proc/PID/stat, the line in which Linux describes a process."""

from __future__ import annotations

import os


class ProcStat:
    """The description of a process, parsed from its line: `4711 (sleep) S 4700 4711 4700 34816 …`.

    `name` is the kernel's, `state` such as `S`, `T` or `Z`, `started` in clock ticks since boot.
    """

    def __init__(self, line: bytes) -> None:
        head, _, tail = line.rpartition(b")")
        fields = tail.decode().split()
        self.name = os.fsdecode(head.partition(b"(")[2])
        self.state = fields[0]
        self.parent, self.group = int(fields[1]), int(fields[2])
        self.flags = int(fields[6])
        self.threads = int(fields[17])
        self.started = fields[19]

    @property
    def has_ended(self) -> bool:
        """Return whether the process has ended, reaped or not.

        The state is that of its first thread, which may end before the others. While a process exits, Linux frees its
        memory and closes its files with the last one: 12 to 24 ms later for Claude Code.
        """
        return self.state in ("Z", "X") and self.threads < 2


def read_stat(pid: int) -> ProcStat:
    """Return the description of a process. Raises OSError if there is none."""
    with open(f"/proc/{pid}/stat", "rb") as stream:
        return ProcStat(stream.read())
