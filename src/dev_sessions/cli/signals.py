"""What ends a command from outside: signals, and a caller over ssh that hangs up."""

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

    A signal that the caller has us ignore (as `nohup` does with SIGHUP) stays ignored. From here on Ctrl-C raises
    KeyboardInterrupt.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda received, _: handler(received))


@contextlib.contextmanager
def cancel_on_hangup() -> Iterator[None]:
    """Cancel a wait that was requested over ssh when nobody reads its output any more.

    sshd tells a command without a terminal nothing when its caller has hung up. A local one is ended by Ctrl-C or by
    its parent.
    """
    if "SSH_CONNECTION" not in os.environ or sys.stdout.isatty():
        yield
        return
    output = select.poll()
    output.register(sys.stdout, 0)  # POLLERR and POLLHUP, the closed other end, are always reported
    with cancel_when(lambda: bool(output.poll(0))):
        yield
