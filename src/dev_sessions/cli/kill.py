"""`kill`: end sessions."""

from __future__ import annotations

import click

from dev_sessions.cli import complete
from dev_sessions.cli.app import Application
from dev_sessions.cli.mine import mine_option, my_sessions
from dev_sessions.cli.params import Duration
from dev_sessions.cli.signals import detach
from dev_sessions.models import KillReport, Session
from dev_sessions.operations import Kill, KillMany
from dev_sessions.sessions.kill_many import kill_each
from dev_sessions.system import caller


@click.command("kill")
@click.argument("session_id", metavar="[ID]", required=False, shell_complete=complete.session_ids)
@click.option("--all", "everything", is_flag=True, help="Kill all running sessions.")
@mine_option
@click.option(
    "--older-than", metavar="DURATION", type=Duration(), help="Kill sessions unused for this long: 30m, 72h, 7d."
)
@click.option("--gone", is_flag=True, help="The container or machine that ran the session was removed.")
@click.pass_obj
def kill_command(
    application: Application, session_id: str | None, everything: bool, mine: bool, older_than: str | None, gone: bool
) -> int:
    """End sessions and the processes that they started.

    Detached processes end, too; other sessions that a session created keep running; --mine ends those that the calling
    agent created. A server that others may be using,
    such as tmux, is left running and reported on standard error. A session may kill itself; with --all, the caller's
    own session ends last.

    The worktree of a session is removed if nothing in it would be lost; otherwise its path and the reason are printed
    on standard error. An id that only doctor knows, because its record is lost, works as well. With --all or
    --older-than, kill continues after a failure and then exits 1.

    A session of another container or machine is killed only if it is known to be gone; --gone says that it is.

    \b
    Example: dev-sessions kill fizz-top
             dev-sessions kill --older-than 72h
    """
    if sum((session_id is not None, everything, mine, older_than is not None)) != 1:
        raise click.UsageError("use either an id, --all, --mine or --older-than")
    if gone and session_id is None:
        raise click.UsageError("--gone needs an id")
    if mine:
        rows = my_sessions(application)
        return _print(kill_each(KillMany(), rows, lambda session: _kill(application, session)), bulk=True)
    own = application.running_in()
    if (session_id in own or (session_id is None and own)) and (code := detach()) is not None:
        return code
    if session_id is not None:
        return _print(application.execute(Kill(session_id=session_id, gone=gone)), bulk=False)
    if (itself := caller.session_id()) is not None and older_than is None:
        click.echo(f"{itself}, in which this command runs, ends last", err=True)
    return _print(application.execute(KillMany(older_than=older_than, caller=caller.session_id())), bulk=True)


def _kill(application: Application, session: Session) -> tuple[str, ...]:
    return application.execute(Kill(session_id=session.id)).notes


def _print(report: KillReport, *, bulk: bool) -> int:
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
