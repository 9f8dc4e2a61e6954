"""`kill`: end sessions."""

from __future__ import annotations

import click

from dev_sessions.cli import complete
from dev_sessions.cli.app import Application
from dev_sessions.cli.detach import detach
from dev_sessions.cli.params import duration_text
from dev_sessions.operations import Kill, KillMany


@click.command("kill")
@click.argument("session_id", metavar="[ID]", required=False, shell_complete=complete.session_ids)
@click.option("--all", "everything", is_flag=True, help="Every session that lives.")
@click.option("--older-than", metavar="DURATION", callback=duration_text, help="Those not used for 30m, 72h, 7d, …")
@click.pass_obj
def kill_command(application: Application, session_id: str | None, everything: bool, older_than: str | None) -> int:
    """End sessions with everything that was started in them.

    Processes that an agent has detached end, too; sessions that it created do not. A server that it started and that
    others may use by now, such as tmux, is left running, and a line on standard error names it. A session can end
    itself, or all: its own end is the last, and whole.

    A worktree that was made for a session goes with it only when nothing in it would be lost; else a line on standard
    error says where it is. What runs under a name of which the record is lost (doctor finds it) is ended by that name,
    too. Many are ended one after the other; when one fails the rest are ended all the same, and the exit code is 1.

    \b
    Example: dev-sessions kill fizz-top
             dev-sessions kill --older-than 72h
    """
    if sum((session_id is not None, everything, older_than is not None)) != 1:
        raise click.UsageError("name one session, or use either --all or --older-than")
    own = application.running_in()
    if (session_id in own or (session_id is None and own)) and (code := detach()) is not None:
        return code
    bulk = session_id is None
    report = application.execute(KillMany(older_than=older_than) if session_id is None else Kill(session_id=session_id))
    for killed in report.killed:
        click.echo(f"Killed session {killed}")
    for line in report.notes:
        click.echo(line, err=True)
    for error in report.errors:
        click.echo(error, err=True)
    if bulk and report.killed:
        click.echo(f"Killed {len(report.killed)} sessions")
    elif bulk and not report.errors:
        click.echo("No matching sessions to kill")
    return 1 if report.errors else 0
