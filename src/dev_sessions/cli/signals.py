"""End a command from outside: signals, and ssh clients that disconnect; and survive the end of the caller."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator

from dev_sessions.system.deadline import cancel_when

#: In the detached process, the pipe for its exit code.
_status: int | None = None


def on_termination(handler: Callable[[int], None]) -> None:
    """Call `handler` with the number of a signal that ends this process from outside (SIGTERM, SIGHUP).

    A signal that the caller ignores (as `nohup` does with SIGHUP) stays ignored. Ctrl-C raises KeyboardInterrupt from
    now on.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda received, _: handler(received))


@contextlib.contextmanager
def cancel_on_hangup() -> Iterator[None]:
    """Cancel a wait that was started over ssh when the client disconnects.

    sshd does not signal a command without a terminal. A local command is ended by Ctrl-C or by its parent.
    """
    if "SSH_CONNECTION" not in os.environ or sys.stdout.isatty():
        yield
        return

    def is_hung_up() -> bool:
        output = select.poll()  # a new one, because several threads may ask at the same time
        # The closed other end is reported in any case on Linux; macOS says nothing of what was not asked for.
        output.register(sys.stdout, select.POLLHUP)
        return bool(output.poll(0))

    with cancel_when(is_hung_up):
        yield


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
