"""Waiting for several sessions at once: a thread for each, so that none waits for another."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import click

from dev_sessions.cli.app import Application
from dev_sessions.cli.render import json_text
from dev_sessions.dataclass import dataclass
from dev_sessions.deadline import Deadline, given_up_when
from dev_sessions.errors import WAITING_FOR_INPUT_EXIT_CODE, WaitTimedOut
from dev_sessions.models import JsonObject, WaitResult
from dev_sessions.operations import Wait
from dev_sessions.records import to_json

#: Seconds for the waits that were given up to end.
_PATIENCE = 3.0


@dataclass(frozen=True)
class Waited:
    """How a wait ended: with a result, or with an error."""

    request: Wait
    result: WaitResult | None = None
    error: Exception | None = None

    @property
    def exit_code(self) -> int:
        """What this wait alone would exit with."""
        if self.result is None:
            return getattr(self.error, "exit_code", 1)
        return WAITING_FOR_INPUT_EXIT_CODE if self.result.outcome == "waiting_for_input" else 0

    @property
    def word(self) -> str:
        """What this wait alone would print, or what kind of failure it is."""
        if self.result is None:
            return "timed_out" if self.exit_code == WaitTimedOut.exit_code else "failed"
        if self.request.goal and self.result.outcome == "completed":
            return self.result.goal.status if self.result.goal is not None else "cleared"
        return self.result.outcome


def one_by_one(ended: Iterable[Waited]) -> int:
    """Print the end of each wait as it comes; the worst exit code."""
    worst = 0
    for done in ended:
        click.echo(f"{done.request.session_id} {done.word}")
        if done.error is not None:
            click.echo(str(done.error), err=True)
        worst = max(worst, done.exit_code)
    return worst


def the_first(ended: Iterator[Waited]) -> int:
    """Print who ends first."""
    done = next(ended)
    click.echo(done.request.session_id)
    if done.error is not None:
        click.echo(str(done.error), err=True)
    return done.exit_code


def objects(ended: Iterable[Waited], order: Sequence[str]) -> int:
    """Print an object for each, in the order in which they were named; the worst exit code."""
    by_id = {done.request.session_id: done for done in ended}
    rows = [by_id[session_id] for session_id in order if session_id in by_id]
    click.echo(json_text([_row(done) for done in rows]))
    return max(done.exit_code for done in rows)


def _row(done: Waited) -> JsonObject:
    row: JsonObject = {"id": done.request.session_id, "outcome": done.word, "exitCode": done.exit_code}
    if done.error is not None:
        return {**row, "error": str(done.error)}
    return {**row, **{name: value for name, value in to_json(done.result).items() if name != "outcome"}}


@contextmanager
def waiting(application: Application, requests: Sequence[Wait]) -> Iterator[Iterator[Waited]]:
    """The ends of some waits, in the order in which they come. Those left when the block ends are given up."""
    ended: queue.Queue[Waited] = queue.Queue()
    given_up = threading.Event()

    def wait(request: Wait) -> None:
        with given_up_when(given_up.is_set):
            try:
                done = Waited(request, application.execute(request))
            except Exception as error:  # whatever it is, somebody waits to be told
                done = Waited(request, error=error)
        ended.put(done)

    threads = [threading.Thread(target=wait, args=(request,), daemon=True) for request in requests]
    for thread in threads:
        thread.start()
    try:
        yield (ended.get() for _ in requests)
    finally:
        given_up.set()
        patience = Deadline(_PATIENCE)
        for thread in threads:
            thread.join(patience.remaining())
