"""Continue a command in a detached process, which survives when its caller is ended."""

from __future__ import annotations

import contextlib
import os
import signal

#: In the detached process, the pipe for its exit code.
_status: int | None = None


def detach() -> int | None:
    """Continue in a detached process, where this returns None; here, wait for it and return its exit code.

    The detached process has init as its parent and a session of its own, so that it is not found by whatever ends the
    caller with its children. It shares the standard streams.
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
        with contextlib.suppress(BrokenPipeError):  # that process has ended
            os.write(_status, bytes([code]))
