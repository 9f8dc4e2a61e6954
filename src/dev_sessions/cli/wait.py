"""`wait`: until a turn has ended."""

from __future__ import annotations

import click

from dev_sessions.cli.app import Application
from dev_sessions.cli.params import interval_option, session_argument, timeout_option
from dev_sessions.operations import Wait

#: The exit code of a wait for a session that asks something.
WAITING_FOR_INPUT = 3


@click.command("wait")
@session_argument
@timeout_option
@interval_option
@click.pass_obj
def wait_command(application: Application, session_id: str, timeout: float, interval: float | None) -> int:
    """Wait until the turn of the last message has ended; prints completed.

    Exits 1 when the turn failed or was interrupted, 3 (and prints waiting_for_input) when the session asks
    something, 124 after the timeout: the same wait can then be run again.

    \b
    Example: dev-sessions wait fizz-top --timeout 1800 && dev-sessions last-message fizz-top
    """
    result = application.execute(Wait(session_id=session_id, timeout=timeout, interval=interval))
    click.echo(result.outcome)
    return WAITING_FOR_INPUT if result.outcome == "waiting_for_input" else 0
