"""`logs`: print a conversation."""

from __future__ import annotations

import contextlib
import json

import click

from dev_sessions.cli.app import Application
from dev_sessions.cli.follow import follow
from dev_sessions.cli.params import json_option, session_argument
from dev_sessions.cli.render import json_array, separated
from dev_sessions.models import paragraph
from dev_sessions.operations import Logs
from dev_sessions.record_json import to_json


@click.command("logs")
@session_argument
@click.option("-f", "--follow", "following", is_flag=True, help="Then print each message as it comes, until Ctrl-C.")
@json_option
@click.pass_obj
def logs_command(application: Application, session_id: str, following: bool, as_json: bool) -> None:
    """Print the whole conversation.

    A prompt that nobody typed, such as a scheduled job or the message of another session, is marked with its cause.
    Messages that Claude Code has taken back when it was interrupted, which its model never got, are left out.

    --json prints an array of objects: role (human or assistant), text, and cause if there is one; with --follow, an
    object per line. --follow exits 1 when the session has ended.

    \b
    Example: dev-sessions logs fizz-top | less
             dev-sessions logs fizz-top --follow --json
    """
    if following:
        with contextlib.suppress(KeyboardInterrupt):
            for turn in follow(application, session_id):
                click.echo(json.dumps(to_json(turn), ensure_ascii=False) if as_json else f"{paragraph(turn)}\n")
        return
    turns = application.execute(Logs(session_id=session_id))
    if as_json:
        pieces = json_array(map(to_json, turns))
    else:
        pieces = separated(map(paragraph, turns), "\n\n", empty="No conversation history available")
    for piece in pieces:
        click.echo(piece, nl=False)
    click.echo()
