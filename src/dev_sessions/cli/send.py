"""`send` and `ask`: give a session work."""

from __future__ import annotations

import click

from dev_sessions.cli.app import Application, warn
from dev_sessions.cli.params import (
    MessageCommand,
    json_option,
    message_arguments,
    quiet_option,
    read_message,
    session_argument,
    timeout_option,
)
from dev_sessions.cli.progress import waiting_for
from dev_sessions.cli.render import json_text
from dev_sessions.errors import WAITING_FOR_INPUT_EXIT_CODE
from dev_sessions.operations import Ask, Send
from dev_sessions.record_json import to_json


@click.command("send", cls=MessageCommand)
@session_argument
@message_arguments
@click.option("--discard-draft", is_flag=True, help="Throw away what somebody has begun to type there.")
@json_option
@click.pass_obj
def send_command(
    application: Application,
    session_id: str,
    message: str | None,
    file: str | None,
    discard_draft: bool,
    as_json: bool,
) -> None:
    """Send a message to a session, once. Returns when it is proved to have arrived.

    Exits 1 when that is not proved. Standard error then says that nothing was typed, or that the message may have
    arrived and how to find out: wait, then logs. Nothing is sent twice. To a session that works the message is queued
    (Claude Code) or taken into the running turn (Codex); to one that asks a question it is the answer, in your own
    words. /name on one line is a command of Claude Code, if it has one of exactly that name; else it is an error.

    --json prints the receipt: state (submitted, queued, steered, answered, command), and turnId where that is known.

    \b
    Example: dev-sessions send fizz-top "run the tests and fix the failures"
             git diff | dev-sessions send fizz-top --file -
             dev-sessions send fizz-top -- "- a message that starts with a dash"
    """
    text = read_message(message, file)
    request = Send(session_id=session_id, message=text, receipt=as_json, discard_draft=discard_draft)
    receipt = application.execute(request)
    click.echo(json_text(to_json(receipt)) if as_json else f"Sent message to {session_id}")


@click.command("ask", cls=MessageCommand)
@session_argument
@message_arguments
@timeout_option
@quiet_option
@click.pass_obj
def ask_command(
    application: Application, session_id: str, message: str | None, file: str | None, timeout: float, quiet: bool
) -> int:
    """Send a message, wait for the reply and print its last text.

    Where the agent took in several messages before it answered, standard error says that the reply answers all of them.

    Exits 1 when the turn failed or was interrupted, 3 (and prints waiting_for_input) when the session asks something
    back, 124 after the timeout. The message has arrived then: go on with wait and last-message, not with another ask.

    On a terminal, standard error shows meanwhile what the session does and for how long; -q leaves that out.

    \b
    Example: dev-sessions ask fizz-top "which tests fail? names only"
             dev-sessions ask fizz-top --timeout 1800 --file task.md
    """
    request = Ask(session_id=session_id, message=read_message(message, file), timeout=timeout)
    with waiting_for(application, (session_id,), quiet=quiet):
        reply = application.execute(request)
    if reply.outcome == "waiting_for_input":
        click.echo(reply.outcome)
        return WAITING_FOR_INPUT_EXIT_CODE
    if reply.messages > 1:
        warn(
            f"{session_id} took in {reply.messages} messages before it answered: the reply answers all of them, and may"
            " say nothing of yours"
        )
    click.echo(reply.text)
    return 0
