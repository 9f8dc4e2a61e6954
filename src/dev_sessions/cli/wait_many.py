"""Wait for several sessions in parallel, with a thread for each."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import click

from dev_sessions.cli.app import Application
from dev_sessions.cli.output import error_text
from dev_sessions.cli.render import json_text
from dev_sessions.errors import WAITING_FOR_INPUT_EXIT_CODE, WaitTimedOut, is_not_found
from dev_sessions.models import JsonObject, Reply, WaitResult
from dev_sessions.operations import Ask, Wait
from dev_sessions.record_json import failure_to_json, to_json
from dev_sessions.system.fast_dataclass import fast_dataclass
from dev_sessions.system.threads import background

#: Seconds for cancelled waits to end.
_JOIN_TIMEOUT = 3.0


@fast_dataclass(frozen=True)
class Waited:
    """A wait or an ask that has ended, with a result or with an error."""

    request: Wait | Ask
    result: WaitResult | Reply | None = None
    error: Exception | None = None

    @property
    def exit_code(self) -> int:
        """The exit code of this wait by itself."""
        if self.result is None:
            return getattr(self.error, "exit_code", 1)
        return WAITING_FOR_INPUT_EXIT_CODE if self.result.outcome == "waiting_for_input" else 0

    @property
    def label(self) -> str:
        """The output of this wait by itself, or the kind of its failure."""
        if self.result is None:
            if is_not_found(self.error):
                return "not_found"
            return "timed_out" if self.exit_code == WaitTimedOut.exit_code else "failed"
        is_goal = isinstance(self.request, Wait) and self.request.goal
        if isinstance(self.result, WaitResult) and is_goal and self.result.outcome == "completed":
            return self.result.goal.status if self.result.goal is not None else "cleared"
        return self.result.outcome


def print_as_they_end(ended: Iterable[Waited]) -> int:
    """Print each wait as it ends; return the highest exit code."""
    worst = 0
    for done in ended:
        click.echo(f"{done.request.session_id} {done.label}")
        if done.error is not None:
            click.echo(error_text(done.error), err=True)
        worst = max(worst, done.exit_code)
    return worst


def print_first(ended: Iterator[Waited], order: Sequence[str]) -> int:
    """Print the id of the session that ends first; return its exit code. After a timeout, none has ended."""
    done = next(ended)
    if done.exit_code == WaitTimedOut.exit_code:
        raise WaitTimedOut(f"Timed out waiting for {', '.join(order)}")
    click.echo(done.request.session_id)
    if done.error is not None:
        click.echo(error_text(done.error), err=True)
    return done.exit_code


def print_json(ended: Iterable[Waited], count: int) -> int:
    """Print each of several waits as it ends, as an object on a line of its own; return the highest exit code.

    A single one is printed as an array with one object.
    """
    worst = 0
    for done in ended:
        if count == 1:
            click.echo(json_text([row_of(done)]))
            return done.exit_code
        click.echo(json.dumps(row_of(done), ensure_ascii=False))
        worst = max(worst, done.exit_code)
    return worst


def row_of(done: Waited) -> JsonObject:
    """Return the object that --json prints for a wait or an ask."""
    row: JsonObject = {"id": done.request.session_id, "outcome": done.label, "exitCode": done.exit_code}
    if done.error is not None:
        return {**row, "error": str(done.error), **failure_to_json(done.error)}
    return {**row, **{name: value for name, value in to_json(done.result).items() if name != "outcome"}}


@contextmanager
def waiting(application: Application, requests: Sequence[Wait]) -> Iterator[Iterator[Waited]]:
    """Run waits in parallel and yield them as they end. Those still running when the block ends are cancelled."""
    import queue

    ended: queue.Queue[Waited] = queue.Queue()

    def wait(request: Wait) -> None:
        try:
            done = Waited(request, application.execute(request))
        except Exception as error:  # of any kind, to be reported in the main thread
            done = Waited(request, error=error)
        ended.put(done)

    with background((partial(wait, request) for request in requests), threading.Event(), _JOIN_TIMEOUT):
        yield (ended.get() for _ in requests)
