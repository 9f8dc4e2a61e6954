"""Run functions in threads: daemon threads, so that an interrupted command does not wait for one that hangs.

`concurrent.futures` would do the same, but takes 14 ms to load (3.11).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from dev_sessions.system.deadline import Deadline, cancel_when, cancellation

T = TypeVar("T")

NO_TIMEOUT = 1e9


@contextlib.contextmanager
def gather(functions: Iterable[Callable[[], T]], timeout: float = NO_TIMEOUT) -> Iterator[list[T]]:
    """Run functions concurrently while the block runs, and at its end wait up to `timeout` seconds for them.

    The list then has the results of those that have ended, in any order. An error of one is raised then.
    """
    results: list[T] = []
    errors: list[Exception] = []

    def collect(run: Callable[[], T]) -> None:
        try:
            results.append(run())
        except Exception as error:
            errors.append(error)

    threads = _start(collect, functions)
    yield results
    _join(threads, timeout)
    if errors:
        raise errors[0]


@contextlib.contextmanager
def background(functions: Iterable[Callable[[], object]], over: threading.Event, timeout: float) -> Iterator[None]:
    """Run functions while the block runs.

    However it ends, `over` is set, which also cancels the waits of the functions (see `cancel_when`), and they have up
    to `timeout` seconds to end. What cancels the waits of the caller cancels theirs as well.
    """
    is_cancelled = cancellation()

    def cancellable(run: Callable[[], object]) -> None:
        with cancel_when(lambda: over.is_set() or is_cancelled()):
            run()

    threads = _start(cancellable, functions)
    try:
        yield
    finally:
        over.set()
        _join(threads, timeout)


def _start(run: Callable[[Callable[[], T]], None], functions: Iterable[Callable[[], T]]) -> list[threading.Thread]:
    threads = [threading.Thread(target=run, args=(function,), daemon=True) for function in functions]
    for thread in threads:
        thread.start()
    return threads


def _join(threads: Iterable[threading.Thread], timeout: float) -> None:
    deadline = Deadline(timeout)
    for thread in threads:
        thread.join(deadline.remaining())
