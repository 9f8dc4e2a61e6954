"""`recover`: bring back lost sessions."""

from __future__ import annotations

import click

from dev_sessions.cli import completers
from dev_sessions.cli.app import Application
from dev_sessions.cli.output import error_text
from dev_sessions.cli.params import json_option
from dev_sessions.cli.render import json_text
from dev_sessions.operations import Recover


@click.command("recover")
@click.argument("session_ids", metavar="[ID]...", nargs=-1, shell_complete=completers.session_ids)
@click.option(
    "--all", "everything", is_flag=True, help="Recover all lost sessions with a conversation.  [default without ID]"
)
@click.option("--yes", is_flag=True, help="Recover the sessions instead of only printing what would be done.")
@click.option("--prune", is_flag=True, help="Delete the records of sessions lost and unused for 30 days instead.")
@click.option("--gone", is_flag=True, help="Treat the container or machine that ran the session as removed.")
@json_option
@click.pass_obj
def recover_command(
    application: Application,
    session_ids: tuple[str, ...],
    everything: bool,
    yes: bool,
    prune: bool,
    gone: bool,
    as_json: bool,
) -> int:
    """Recover lost sessions with their conversations.

    A session is lost after a reboot, or if tmux or its agent has died. Without --yes, recover only prints what it would
    do. Claude Code is restarted; a Codex thread is reloaded, and its goal continues if it is active. Sessions that are
    running, or not known to be gone, are left alone; --gone says that the container or machine that ran them was
    removed. Exits 1 if a session could not be recovered.

    \b
    Example: dev-sessions recover
             dev-sessions recover --all --yes
             dev-sessions recover fizz-top --yes
    """
    if prune and (session_ids or everything):
        raise click.UsageError("--prune cannot be combined with an id or --all")
    if session_ids and everything:
        raise click.UsageError("use either ids or --all")
    if gone and not session_ids:
        raise click.UsageError("--gone needs an id")
    if yes and not (session_ids or everything or prune):
        raise click.UsageError("--yes needs an id, --all or --prune")
    report = application.execute(Recover(session_ids=session_ids, yes=yes, prune=prune, gone=gone))
    if as_json:
        click.echo(json_text([vars(row) for row in report.rows]))
    for row in report.rows:
        if row.error is not None:
            click.echo(error_text(row.error), err=True)
        elif as_json:
            continue
        elif row.action is None:
            click.echo(f"{row.id} is running; left alone")
        elif row.done:
            click.echo(f"{'Deleted' if prune else 'Recovered'} session {row.id}")
        else:
            click.echo(f"{row.id}: would {row.action}")
    for line in report.notes:
        click.echo(line, err=True)
    if not report.rows and not as_json:
        click.echo("No sessions to delete" if prune else "No lost sessions")
    if any(row.action and not row.done and not row.error for row in report.rows):
        how = "add --yes" if session_ids or everything or prune else "dev-sessions recover --all --yes, or name some"
        click.echo(f"Nothing was done yet; to recover: {how}", err=True)
    return 1 if any(row.error for row in report.rows) else 0
