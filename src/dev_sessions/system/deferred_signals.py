"""Defer the signals that end a command, while it starts a program that it has to end then."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def deferred_signals() -> Iterator[None]:
    """Inside, defer the exceptions of Ctrl-C, SIGTERM and SIGHUP to the end of the block.

    Raised within `subprocess.Popen`, they would leave a program running whose pid nobody knows. Only the main thread
    gets them. The program gets the signals as always.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers: dict[int, Any] = {number: signal.getsignal(number) for number in numbers}
    # Those that are ignored or have the default action raise nothing, and the program inherits what is ignored.
    handlers = {number: handler for number, handler in handlers.items() if callable(handler)}
    try:
        for number in handlers:
            signal.signal(number, lambda number, _: received.append(number))
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number in received[:1]:
            handlers[number](number, None)
