"""Signals that arrive at a given moment."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

from dev_sessions.system.deadline import Deadline, wait_until


@contextlib.contextmanager
def signal_at_start(number: signal.Signals) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Inside, raise a signal in the moment in which a program is started; its handler ends the command. Yield the
    programs."""
    started: list[subprocess.Popen[bytes]] = []

    def end(received: int, _: object) -> None:
        raise SystemExit(received)

    def interrupt(frame: FrameType, event: str, function: Any) -> None:
        if event == "c_return" and function.__name__ == "fork_exec":
            started.append(frame.f_locals["self"])
            signal.raise_signal(number)

    before = signal.signal(number, end)
    sys.setprofile(interrupt)
    try:
        yield started
    finally:
        sys.setprofile(None)
        assert signal.signal(number, before) is end


def stop_group(group: int) -> None:
    """Stop a process group, and wait until it has stopped: until then, its processes may still answer."""
    os.killpg(group, signal.SIGSTOP)

    def is_stopped() -> bool:
        listed = subprocess.run(["ps", "-A", "-o", "pgid=,stat="], capture_output=True, text=True, check=True).stdout
        states = [state for pgid, state in map(str.split, listed.splitlines()) if int(pgid) == group]
        return all(state[0] in "TZ" for state in states)

    assert wait_until(is_stopped, Deadline(30)), group
