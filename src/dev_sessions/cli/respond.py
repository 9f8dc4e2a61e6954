"""`respond` and `interrupt`: what a person at the session's terminal would do."""

from __future__ import annotations

import click

from dev_sessions.cli.app import Application
from dev_sessions.cli.params import MessageCommand, Seconds, session_argument
from dev_sessions.operations import Interrupt, Respond


@click.command("respond", cls=MessageCommand)
@session_argument
@click.argument("answers", metavar="[ANSWER]...", nargs=-1)
@click.option("--allow", is_flag=True, help="Allow what permission is asked for, this once.")
@click.option("--deny", is_flag=True, help="Deny it.")
@click.pass_obj
def respond_command(
    application: Application, session_id: str, answers: tuple[str, ...], allow: bool, deny: bool
) -> None:
    """Answer what a session asks.

    When it asks, wait and ask exit 3; last-message shows the question with its options. An answer is the number of an
    option, its label, or a text of your own; several options, where they may be chosen, are separated by commas.
    Several questions take an answer each. Nothing is pressed but in a dialog that the session shows in that moment.

    \b
    Example: dev-sessions respond fizz-top 2
             dev-sessions respond fizz-top "neither, use the old one"
             dev-sessions respond fizz-top --allow
    """
    if sum((bool(answers), allow, deny)) != 1:
        raise click.UsageError("give either answers, or --allow or --deny")
    decision = None if answers else allow
    application.execute(Respond(session_id=session_id, answers=answers, allow=decision))
    click.echo(f"Answered {session_id}")


@click.command("interrupt")
@session_argument
@click.option(
    "-t",
    "--timeout",
    metavar="SECONDS",
    type=Seconds(),
    default=30.0,
    help="Give up after this many seconds.  [default: 30]",
)
@click.pass_obj
def interrupt_command(application: Application, session_id: str, timeout: float) -> None:
    """End the running turn of a session. Returns when it has ended.

    The session lives on; a goal is paused. Exits 1 when nothing runs.

    \b
    Example: dev-sessions interrupt fizz-top
    """
    application.execute(Interrupt(session_id=session_id, timeout=timeout))
    click.echo(f"Interrupted {session_id}")
