"""Wait until a process exits, without polling."""

from __future__ import annotations

import contextlib
import os
import select
import sys


def wait_for_exit(pid: int, seconds: float) -> bool:
    """Wait until a process has exited, at most so many seconds, and return True.

    Return False at once if the system would not tell. Linux does, by a pidfd, but old kernels, some sandboxes and a
    Python that was built for old kernels have none. Polling is late: 10 ms on average, and `subprocess` up to 50.
    """
    if sys.platform == "linux" and hasattr(os, "pidfd_open"):
        with contextlib.suppress(OSError):
            descriptor = os.pidfd_open(pid)
            try:
                poller = select.poll()
                poller.register(descriptor, select.POLLIN)
                poller.poll(seconds * 1000)
            finally:
                os.close(descriptor)
            return True
    return False
