"""`last-message`, `status`, `inspect`: read a session."""

from __future__ import annotations

import click

from dev_sessions.cli.app import Application
from dev_sessions.cli.params import json_option, session_argument
from dev_sessions.cli.render import json_text
from dev_sessions.operations import Inspect, LastMessage, Status
from dev_sessions.record_json import to_json


@click.command("last-message")
@session_argument
@click.option(
    "-n", "--count", metavar="N", type=click.IntRange(min=1), default=1, show_default=True, help="Text blocks to print."
)
@json_option
@click.pass_obj
def last_message_command(application: Application, session_id: str, count: int, as_json: bool) -> None:
    """Print the agent's last text blocks.

    Prints nothing and exits 0 if there are none yet. If the session is asking a question, that is its last text, with
    the options. --json prints an array of strings.

    Replies to a scheduled job, or to a message of another session of Claude Code, are skipped with a note on standard
    error.

    \b
    Example: dev-sessions last-message fizz-top
             dev-sessions last-message fizz-top -n 3
    """
    blocks = application.execute(LastMessage(session_id=session_id, count=count))
    if as_json:
        click.echo(json_text(blocks))
    elif blocks:
        click.echo("\n\n".join(blocks))


@click.command("status")
@session_argument
@json_option
@click.pass_obj
def status_command(application: Application, session_id: str, as_json: bool) -> None:
    """Print the state of a session.

    The state is idle, working or waiting_for_input. Exits 1 if the session is lost. --json adds details: what it is
    waiting for, since when, the time of the last activity, the conversation's length in tokens, and why the last turn
    failed (reason, and after a usage limit resetsAt and continuesAt), and suspended if somebody has pressed Ctrl-Z.

    \b
    Example: dev-sessions status fizz-top
             dev-sessions status fizz-top --json
    """
    status = application.execute(Status(session_id=session_id, detail=as_json))
    click.echo(json_text(to_json(status)) if as_json else status.state)


@click.command("inspect")
@session_argument
@click.pass_obj
def inspect_command(application: Application, session_id: str) -> None:
    """Print the stored record of a session as JSON.

    \b
    Example: dev-sessions inspect fizz-top
    """
    click.echo(json_text(application.execute(Inspect(session_id=session_id))))
