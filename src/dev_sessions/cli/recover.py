"""`recover`: bring lost sessions back."""

from __future__ import annotations

from dataclasses import asdict

import click

from dev_sessions.cli import complete
from dev_sessions.cli.app import Application
from dev_sessions.cli.params import json_option
from dev_sessions.cli.render import json_text
from dev_sessions.operations import Recover


@click.command("recover")
@click.argument("session_ids", metavar="[ID]...", nargs=-1, shell_complete=complete.session_ids)
@click.option("--all", "everything", is_flag=True, help="Every lost session with a conversation; so without any ID.")
@click.option("--yes", is_flag=True, help="Do it. Without this, only say what would be done.")
@click.option("--prune", is_flag=True, help="Forget what has been lost and unused for 30 days, instead.")
@json_option
@click.pass_obj
def recover_command(
    application: Application, session_ids: tuple[str, ...], everything: bool, yes: bool, prune: bool, as_json: bool
) -> int:
    """Bring lost sessions back with their conversations.

    They are lost after a reboot, or when tmux or an agent died. Without --yes it only says what it would do. Claude
    Code is started again. A Codex thread is loaded again, whereupon a goal that is active goes on. What lives is left
    alone, and so is what is not certain to be gone. Exits 1 when one could not be brought back.

    \b
    Example: dev-sessions recover
             dev-sessions recover --all --yes
             dev-sessions recover fizz-top --yes
    """
    if prune and (session_ids or everything):
        raise click.UsageError("--prune chooses by age: it takes no ID and no --all")
    if session_ids and everything:
        raise click.UsageError("name sessions, or use --all")
    if yes and not (session_ids or everything or prune):
        raise click.UsageError("name the sessions to bring back, or use --all")
    report = application.execute(Recover(session_ids=session_ids, everything=everything, yes=yes, prune=prune))
    if as_json:
        click.echo(json_text([asdict(row) for row in report.rows]))
    for row in report.rows:
        if row.error is not None:
            click.echo(row.error, err=True)
        elif as_json:
            continue
        elif row.action is None:
            click.echo(f"{row.id} is alive; left alone")
        elif row.done:
            click.echo(f"{'Forgot' if prune else 'Recovered'} session {row.id}")
        else:
            click.echo(f"{row.id}: would {row.action}")
    for line in report.notes:
        click.echo(line, err=True)
    if not report.rows and not as_json:
        click.echo("No sessions to forget" if prune else "No lost sessions")
    if any(row.action and not row.done and not row.error for row in report.rows):
        how = "add --yes" if session_ids or everything or prune else "dev-sessions recover --all --yes, or name some"
        click.echo(f"Nothing was done yet. To do it: {how}", err=True)
    return 1 if any(row.error for row in report.rows) else 0
