"""Functions that run side by side."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


@contextlib.contextmanager
def gather(functions: Iterable[Callable[[], T]]) -> Iterator[list[T]]:
    """Run functions in threads while the block runs; at its end the list has the result of each, in any order.

    `concurrent.futures` would do the same, but loads 9 ms of modules (3.11). Functions report their errors as results.
    """
    results: list[T] = []
    # As daemons: a command that is interrupted does not wait for a host that does not answer.
    threads = [
        threading.Thread(target=lambda run=function: results.append(run()), daemon=True) for function in functions
    ]
    for thread in threads:
        thread.start()
    yield results
    for thread in threads:
        thread.join()
