"""One deadline for a wait of many steps, and the one polling loop."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Self, TypeVar

T = TypeVar("T")

_is_given_up: ContextVar[Callable[[], bool] | None] = ContextVar("_is_given_up", default=None)
#: Seconds that a wait blocks at most before it looks whether it was given up.
_GIVEN_UP_LOOK = 1.0


def seconds_text(seconds: float) -> str:
    """Seconds as a command line or a query takes them. Version 0.4 takes whole ones without a point alone."""
    return str(int(seconds)) if seconds == int(seconds) else repr(seconds)


@contextmanager
def given_up_when(is_given_up: Callable[[], bool]) -> Iterator[None]:
    """Inside, a caller's deadline passes at once when the caller has gone."""
    token = _is_given_up.set(is_given_up)
    try:
        yield
    finally:
        _is_given_up.reset(token)


class Deadline:
    """A point in monotonic time, handed down through every step of one wait."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._is_given_up: Callable[[], bool] | None = None

    @classmethod
    def of_caller(cls, seconds: float) -> Self:
        """The deadline of a wait that means nothing once its caller has gone (see `given_up_when`)."""
        deadline = cls(seconds)
        deadline._is_given_up = _is_given_up.get()
        return deadline

    def remaining(self) -> float:
        """Seconds left, never negative."""
        if self._is_given_up is not None and self._is_given_up():
            return 0.0
        return max(0.0, self._end - time.monotonic())

    def step(self) -> float:
        """Seconds to block at most before asking again how many are left."""
        return self.remaining() if self._is_given_up is None else min(self.remaining(), _GIVEN_UP_LOOK)

    @property
    def expired(self) -> bool:
        """Whether no time is left."""
        return self.remaining() == 0.0

    def pause(self, seconds: float) -> None:
        """Sleep, but not beyond the deadline."""
        time.sleep(min(seconds, self.remaining()))


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def duration(text: str) -> float:
    """`30m`, `72h`, `7d`, `90s` in seconds. ValueError for anything else."""
    match = re.fullmatch(r"(\d+)([smhd])", text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a duration such as 30m, 72h or 7d")
    return int(match[1]) * _UNITS[match[2]]


def poll(probe: Callable[[], T | None], deadline: Deadline, interval: float = 0.02) -> T | None:
    """Call `probe` every `interval` seconds until it gives something; None when the deadline passes first.

    The probe runs at least once, and once more after the deadline, so that a result that came during the
    last pause is not missed.
    """
    while True:
        expired = deadline.expired
        result = probe()
        if result is not None or expired:
            return result
        deadline.pause(interval)
