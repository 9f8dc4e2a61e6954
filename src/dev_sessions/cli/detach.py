"""Going on in a process of its own, which the end of the caller does not end."""

from __future__ import annotations

import contextlib
import os
import signal

_status: int | None = None


def detach() -> int | None:
    """Go on in another process, and return None there; here, wait for its end and return its exit code.

    The other one is nobody's child and has a session of its own, so that nothing that ends the caller with all that
    it started finds it. It prints where this one would, as long as somebody reads that.
    """
    global _status
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        os.waitpid(child, 0)
        with open(reading, "rb") as stream:
            code = stream.read()
        return code[0] if code else 1
    os.close(reading)
    if os.fork():
        os._exit(0)
    os.setsid()
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        # Not SIG_IGN, which the programs that are started would inherit.
        signal.signal(number, lambda *_: None)
    _status = writing
    return None


def report_exit(code: int) -> None:
    """Report the exit code to the process that waits in `detach`, if one does."""
    if _status is not None:
        with contextlib.suppress(BrokenPipeError):  # it has been ended
            os.write(_status, bytes([code]))
