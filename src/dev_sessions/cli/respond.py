"""`respond`: answer what a session asks."""

from __future__ import annotations

import click

from dev_sessions.cli.app import Application
from dev_sessions.cli.message import STDIN, MessageCommand, read_message
from dev_sessions.cli.mine import require_others
from dev_sessions.cli.params import session_argument
from dev_sessions.operations import Respond


@click.command("respond", cls=MessageCommand)
@session_argument
@click.argument("answers", metavar="[ANSWER]...", nargs=-1)
@click.option("--allow", is_flag=True, help="Grant the requested permission, once.")
@click.option("--deny", is_flag=True, help="Deny the requested permission.")
@click.option("--cancel", is_flag=True, help="Close the dialog without an answer.")
@click.pass_obj
def respond_command(
    application: Application, session_id: str, answers: tuple[str, ...], allow: bool, deny: bool, cancel: bool
) -> None:
    """Answer a question or other dialog of a session.

    When a session asks something, also for a permission, wait and ask exit 3, and last-message shows it with its
    options. An answer is the number of an option, its label, or free text (- reads it from stdin); separate several
    options of one question by commas, and give one answer per question or field of a form. Only the dialog that the
    session shows at that moment is answered.

    --cancel closes it instead. If the agent asked in the middle of a turn, that may interrupt the turn.

    \b
    Example: dev-sessions respond fizz-top 2
             dev-sessions respond fizz-top "neither, use the old one"
             dev-sessions respond fizz-top --allow
             dev-sessions respond fizz-top --cancel
    """
    if sum((bool(answers), allow, deny, cancel)) != 1:
        raise click.UsageError("use either answers, --allow, --deny or --cancel")
    require_others((session_id,), "respond")
    if answers == (STDIN,):
        answers = (read_message(STDIN, None, "answer").strip(),)
    decision = allow if allow or deny else None
    application.execute(Respond(session_id=session_id, answers=answers, allow=decision, cancel=cancel))
    click.echo(f"{'Cancelled the dialog of' if cancel else 'Answered'} {session_id}")
