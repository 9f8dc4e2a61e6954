"""End a command from outside: signals, and ssh clients that disconnect."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator

from dev_sessions.system.deadline import cancel_when


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
    output = select.poll()
    output.register(sys.stdout, 0)  # POLLERR and POLLHUP, the closed other end, are always reported
    with cancel_when(lambda: bool(output.poll(0))):
        yield
