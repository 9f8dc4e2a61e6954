"""Another user of the machine, and what that user may not see."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="plays another user, which only root can")


@contextlib.contextmanager
def assert_not_in_arguments(secret: str) -> Iterator[None]:
    """Watch the arguments of all processes that start meanwhile, and assert that the secret is not among them."""
    # To look at all of them takes a whole CPU, and so long that a short process is missed.
    older = set(os.listdir("/proc"))
    seen: set[bytes] = set()
    looks = 0
    stop = threading.Event()

    def watch() -> None:
        nonlocal looks, older
        while not stop.wait(0.003):
            looks += 1
            listed = set(os.listdir("/proc"))
            older &= listed  # a number may be given to another process
            for pid in listed - older:
                with contextlib.suppress(OSError):
                    seen.add(Path(f"/proc/{pid}/cmdline").read_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()
    assert looks > 10
    assert not [line for line in seen if secret.encode() in line]
