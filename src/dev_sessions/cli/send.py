"""`send` and `ask`: send a message to a session."""

from __future__ import annotations

import click

from dev_sessions.cli.app import Application, warn
from dev_sessions.cli.message import MessageCommand, message_arguments, read_message
from dev_sessions.cli.mine import require_others
from dev_sessions.cli.params import json_option, quiet_option, session_argument, through_limits_option, timeout_option
from dev_sessions.cli.progress import show_next_step, waiting_for
from dev_sessions.cli.render import json_text
from dev_sessions.cli.wait_many import Waited, row_of
from dev_sessions.errors import WAITING_FOR_INPUT_EXIT_CODE, DevSessionsError
from dev_sessions.operations import Ask, Send
from dev_sessions.record_json import to_json
from dev_sessions.system import caller


@click.command("send", cls=MessageCommand)
@session_argument
@message_arguments
@click.option("--discard-draft", is_flag=True, help="Discard a draft in the session's input box.")
@json_option
@click.pass_obj
def send_command(
    application: Application, session_id: str, message: str | None, file: str | None, discard_draft: bool, as_json: bool
) -> None:
    """Send a message and verify that it arrived.

    Exits 1 if that cannot be verified. Standard error then says that nothing was typed, or that the message may have
    arrived and how to find out: wait, then logs. No message is sent twice. If the session is working, the message is
    queued (Claude Code) or added to the running turn (Codex); if it is asking a question, the message is the free-text
    answer. /name on a line of its own runs a command of Claude Code with exactly that name, or is an error.

    --json prints the receipt: state (submitted, queued, steered, answered, command), and turnId if known.

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
@through_limits_option
@json_option
@quiet_option
@click.pass_obj
def ask_command(
    application: Application,
    session_id: str,
    message: str | None,
    file: str | None,
    timeout: float,
    through_limits: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Send a message, wait for the reply and print its last text.

    If the agent read several messages before it replied, a warning says that the reply answers all of them.

    \b
    Exit codes:
      0    the turn has ended (prints the reply)
      1    the turn failed or was interrupted, or another error
      3    the session asks something (prints waiting_for_input)
      124  timeout; the session works on

    After 3 and 124 the message has arrived, so do not ask again: after 3, read the question with last-message, and
    answer it with respond; after 124, wait again. --through-limits is that of wait.

    --json prints an object: id, outcome (completed, waiting_for_input, failed, timed_out, not_found), exitCode, and
    text with messages (how many it answers, if several), or error with reason (see wait).

    On a terminal, progress is shown on standard error.

    \b
    Example: dev-sessions ask fizz-top "which tests fail? names only"
             dev-sessions ask fizz-top --timeout 1800 --file task.md
    """
    text = read_message(message, file)
    return ask(
        application, session_id, text, timeout=timeout, through_limits=through_limits, as_json=as_json, quiet=quiet
    )


def ask(
    application: Application,
    session_id: str,
    text: str,
    *,
    timeout: float,
    through_limits: bool,
    quiet: bool,
    as_json: bool = False,
) -> int:
    """Send a message, wait and print the last text of the reply; return the exit code."""
    require_others((session_id,), "ask")
    request = Ask(
        session_id=session_id,
        message=text,
        timeout=timeout,
        through_limits=through_limits,
        caller=caller.session_id(),
    )
    with waiting_for(application, (session_id,), quiet=quiet):
        if as_json:
            try:
                done = Waited(request, application.execute(request))
            except DevSessionsError as error:
                done = Waited(request, error=error)
            click.echo(json_text(row_of(done)))
            return done.exit_code
        reply = application.execute(request)
    if reply.outcome == "waiting_for_input":
        click.echo(reply.outcome)
        show_next_step(reply.outcome, session_id, quiet=quiet)
        return WAITING_FOR_INPUT_EXIT_CODE
    if reply.messages > 1:
        warn(
            f"{session_id} read {reply.messages} messages before it replied; the reply answers all of them, and may not"
            " mention yours"
        )
    click.echo(reply.text)
    return 0
