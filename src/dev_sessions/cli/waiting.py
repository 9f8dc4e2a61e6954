"""Waiting for several sessions at once: a thread for each, so that none waits for another."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from dev_sessions.cli.app import Application
from dev_sessions.deadline import given_up_when
from dev_sessions.models import WaitResult
from dev_sessions.operations import Wait

#: The exit code of a wait for a session that asks something.
WAITING_FOR_INPUT = 3
#: Seconds for the waits that were given up to end.
_PATIENCE = 3.0


@dataclass(frozen=True)
class Waited:
    """How the wait for one session ended: with a result, or with an error."""

    session_id: str
    result: WaitResult | None = None
    error: Exception | None = None

    @property
    def exit_code(self) -> int:
        """What the wait for this session alone would exit with."""
        if self.result is None:
            return getattr(self.error, "exit_code", 1)
        return WAITING_FOR_INPUT if self.result.outcome == "waiting_for_input" else 0


@contextmanager
def waiting(application: Application, requests: Sequence[Wait]) -> Iterator[Iterator[Waited]]:
    """The ends of some waits, in the order in which they come. Those left when the block ends are given up."""
    ended: queue.Queue[Waited] = queue.Queue()
    given_up = threading.Event()

    def wait(request: Wait) -> None:
        with given_up_when(given_up.is_set):
            try:
                done = Waited(request.session_id, application.execute(request))
            except Exception as error:  # whatever it is, somebody waits to be told
                done = Waited(request.session_id, error=error)
        ended.put(done)

    threads = [threading.Thread(target=wait, args=(request,), daemon=True) for request in requests]
    for thread in threads:
        thread.start()
    try:
        yield (ended.get() for _ in requests)
    finally:
        given_up.set()
        for thread in threads:
            thread.join(_PATIENCE)
