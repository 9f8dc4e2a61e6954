"""`last-message`, `logs`, `status`, `inspect`: what a session said and does."""

from __future__ import annotations

import click

from dev_sessions.cli.app import Application
from dev_sessions.cli.params import json_option, session_argument
from dev_sessions.cli.render import json_array, json_text, separated
from dev_sessions.models import paragraph
from dev_sessions.operations import Inspect, LastMessage, Logs, Status
from dev_sessions.records import to_json


@click.command("last-message")
@session_argument
@click.option("-n", "--count", metavar="N", type=click.IntRange(min=1), default=1, show_default=True, help="How many.")
@json_option
@click.pass_obj
def last_message_command(application: Application, session_id: str, count: int, as_json: bool) -> None:
    """Print the last text blocks that the agent wrote.

    Nothing, with exit code 0, when it wrote none yet. What a session asks, with its options, is its last text. --json
    prints an array of strings, lossless.

    What it said last to nobody here is left out, and standard error says so: to the message of another session of
    Claude Code, or because of a scheduled job.

    \b
    Example: dev-sessions last-message fizz-top
             dev-sessions last-message fizz-top -n 3
    """
    blocks = application.execute(LastMessage(session_id=session_id, count=count))
    if as_json:
        click.echo(json_text(blocks))
    elif blocks:
        click.echo("\n\n".join(blocks))


@click.command("logs")
@session_argument
@json_option
@click.pass_obj
def logs_command(application: Application, session_id: str, as_json: bool) -> None:
    """Print the whole conversation.

    What nobody typed, such as a scheduled job or the message of another session, stands there with its cause.

    --json prints an array of objects: role (human or assistant), text, and the cause where there is one.

    \b
    Example: dev-sessions logs fizz-top | less
    """
    turns = application.execute(Logs(session_id=session_id))
    if as_json:
        pieces = json_array(map(to_json, turns))
    else:
        pieces = separated(map(paragraph, turns), "\n\n", empty="No conversation history available")
    for piece in pieces:
        click.echo(piece, nl=False)
    click.echo()


@click.command("status")
@session_argument
@json_option
@click.pass_obj
def status_command(application: Application, session_id: str, as_json: bool) -> None:
    """Print what a session does.

    One word: idle, working or waiting_for_input. Exits 1 when the session is lost. --json says besides what it waits
    for, since when, when something was last said or done, and how many tokens the conversation has.

    \b
    Example: dev-sessions status fizz-top
             dev-sessions status fizz-top --json
    """
    what = application.execute(Status(session_id=session_id, detail=as_json))
    click.echo(json_text(to_json(what)) if as_json else what.state)


@click.command("inspect")
@session_argument
@click.pass_obj
def inspect_command(application: Application, session_id: str) -> None:
    """Print the stored record of a session as JSON.

    \b
    Example: dev-sessions inspect fizz-top
    """
    click.echo(json_text(application.execute(Inspect(session_id=session_id))))
