"""`interrupt`: end the running turn of a session."""

from __future__ import annotations

import click

from dev_sessions.cli.app import Application
from dev_sessions.cli.params import Seconds, json_option, session_argument
from dev_sessions.cli.render import json_text
from dev_sessions.operations import Interrupt


@click.command("interrupt")
@session_argument
@click.option(
    "-t",
    "--timeout",
    metavar="DURATION",
    type=Seconds(),
    default=30.0,
    help="Give up after this time: seconds, or 90s, 5m, 2h.  [default: 30]",
)
@json_option
@click.pass_obj
def interrupt_command(application: Application, session_id: str, timeout: float, as_json: bool) -> None:
    """Interrupt the running turn of a session.

    Returns when the turn has ended. The session keeps running; an active goal is paused, and a continuation after a
    usage limit is cancelled. Exits 1 if no turn is running.

    Claude Code takes up the messages that are queued, and they are interrupted, too. It takes back those to which it
    has not begun to reply: the model never gets them. Standard error names them; --json prints an object with their
    texts as undelivered.

    \b
    Example: dev-sessions interrupt fizz-top
    """
    report = application.execute(Interrupt(session_id=session_id, timeout=timeout))
    if as_json:
        click.echo(json_text({"undelivered": list(report.undelivered)}))
        return
    click.echo(f"Interrupted {session_id}")
    for message in report.undelivered:
        click.echo(f"Not delivered to {session_id}: {message}", err=True)
