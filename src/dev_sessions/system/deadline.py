"""Deadlines that are passed through the steps of a wait, a polling loop, and durations as text."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Self, TypeVar

T = TypeVar("T")

_is_cancelled: ContextVar[Callable[[], bool] | None] = ContextVar("_is_cancelled", default=None)
#: Seconds between two checks whether a wait was cancelled.
_CANCEL_POLL_INTERVAL = 1.0


def seconds_text(seconds: float) -> str:
    """Return seconds as text for a command line or a query: whole ones without a point, as version 0.4 requires."""
    return str(int(seconds)) if seconds == int(seconds) else repr(seconds)


@contextmanager
def cancel_when(is_cancelled: Callable[[], bool]) -> Iterator[None]:
    """Inside, make cancellable deadlines expire as soon as `is_cancelled()` is true."""
    token = _is_cancelled.set(is_cancelled)
    try:
        yield
    finally:
        _is_cancelled.reset(token)


def cancellation() -> Callable[[], bool]:
    """Return whether the surrounding wait was cancelled, as a function for a thread, which does not inherit that."""
    return _is_cancelled.get() or (lambda: False)


class Deadline:
    """A point in monotonic time, passed down through every step of one wait."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._is_cancelled: Callable[[], bool] | None = None

    @classmethod
    def cancellable(cls, seconds: float) -> Self:
        """Return a deadline that also expires when the wait is cancelled (see `cancel_when`)."""
        deadline = cls(seconds)
        deadline._is_cancelled = _is_cancelled.get()
        return deadline

    def remaining(self) -> float:
        """Return the seconds left, never negative."""
        if self._is_cancelled is not None and self._is_cancelled():
            return 0.0
        return max(0.0, self._end - time.monotonic())

    def poll_timeout(self) -> float:
        """Return the most seconds to block before checking `remaining` again."""
        return self.remaining() if self._is_cancelled is None else min(self.remaining(), _CANCEL_POLL_INTERVAL)

    @property
    def expired(self) -> bool:
        """True when no time is left."""
        return self.remaining() == 0.0

    def pause(self, seconds: float) -> None:
        """Sleep, but not past the deadline."""
        time.sleep(min(seconds, self.remaining()))


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def duration(text: str) -> float:
    """Parse a duration such as `90s`, `30m`, `72h` or `7d` into seconds. Raises ValueError for anything else."""
    match = re.fullmatch(r"([0-9]{1,9})([smhd])", text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a duration such as 30m, 72h or 7d")
    return int(match[1]) * _UNITS[match[2]]


def wait_until(condition: Callable[[], bool], deadline: Deadline, interval: float = 0.02) -> bool:
    """Call `condition` every `interval` seconds until it is true; return False at the deadline. As `poll` otherwise."""
    return poll(lambda: condition() or None, deadline, interval) is not None


def poll(probe: Callable[[], T | None], deadline: Deadline, interval: float = 0.02) -> T | None:
    """Call `probe` every `interval` seconds and return its first result that is not None; None at the deadline.

    The probe runs at least once, and once more after the deadline, so that a result which came during the last pause
    is not missed.
    """
    while True:
        expired = deadline.expired
        result = probe()
        if result is not None or expired:
            return result
        deadline.pause(interval)
