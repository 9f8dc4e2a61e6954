"""`kill`: end sessions."""

from __future__ import annotations

import os
import sys
import time

import click

from dev_sessions.cli import completers
from dev_sessions.cli.app import Application
from dev_sessions.cli.mine import mine_option, my_sessions
from dev_sessions.cli.output import error_text
from dev_sessions.cli.params import Duration
from dev_sessions.cli.render import sessions_at_terminal
from dev_sessions.cli.signals import detach
from dev_sessions.errors import DevSessionsError
from dev_sessions.models import KillReport
from dev_sessions.operations import Kill, KillMany, List
from dev_sessions.sessions.kill_each import kill_each
from dev_sessions.system import caller, paths


@click.command("kill")
@click.argument("session_ids", metavar="[ID]...", nargs=-1, shell_complete=completers.session_ids)
@click.option("--all", "everything", is_flag=True, help="Kill all running sessions.")
@mine_option
@click.option(
    "--older-than", metavar="DURATION", type=Duration(), help="Kill sessions unused for this long: 30m, 72h, 7d."
)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option("--gone", is_flag=True, help="Treat the container or machine that ran the session as removed.")
@click.pass_obj
def kill_command(
    application: Application,
    session_ids: tuple[str, ...],
    everything: bool,
    mine: bool,
    older_than: str | None,
    yes: bool,
    gone: bool,
) -> int:
    """End sessions and the processes that they started.

    Detached processes end, too; other sessions that a session created keep running; --mine ends those that the calling
    agent created. A server that others may be using, such as tmux, is left running and reported on standard error. A
    session may kill itself; with --all, the caller's own session ends last.

    The worktree of a session is removed if nothing in it would be lost; otherwise its path and the reason are printed
    on standard error. Ids of sessions whose record is lost, which doctor lists, are accepted, too. With several ids,
    --all or --older-than, kill continues after a failure and then exits 1.

    On a terminal, --all lists the sessions and asks first.

    A session of another container or machine is killed only if it is known to be gone; --gone says that it is.

    \b
    Example: dev-sessions kill fizz-top zed-mid
             dev-sessions kill --older-than 72h
    """
    if sum((bool(session_ids), everything, mine, older_than is not None)) != 1:
        raise click.UsageError("use either ids, --all, --mine or --older-than")
    if gone and not session_ids:
        raise click.UsageError("--gone needs an id")
    if mine:
        sessions = (row.session for row in my_sessions(application))
        report = kill_each(sessions, lambda session: application.execute(Kill(session_id=session.id)).notes)
        return _print(report, bulk=True)
    if everything and not yes and not _confirmed(application):
        return 1
    own = application.running_in()
    if (own if not session_ids else own & {*session_ids}) and (code := detach()) is not None:
        return code
    if len(session_ids) == 1:
        return _print(application.execute(Kill(session_id=session_ids[0], gone=gone)), bulk=False)
    if session_ids:
        # The caller's own session last.
        order = sorted(dict.fromkeys(session_ids), key=lambda session_id: session_id in own)
        return max(_kill_one_of_many(application, session_id, gone=gone) for session_id in order)
    if (itself := caller.session_id()) is not None and older_than is None:
        click.echo(f"{itself}, in which this command runs, ends last", err=True)
    return _print(application.execute(KillMany(older_than=older_than, caller=caller.session_id())), bulk=True)


def _kill_one_of_many(application: Application, session_id: str, *, gone: bool) -> int:
    try:
        return _print(application.execute(Kill(session_id=session_id, gone=gone)), bulk=False)
    except DevSessionsError as error:
        click.echo(error_text(error), err=True)
        return error.exit_code


def _print(report: KillReport, *, bulk: bool) -> int:
    for killed in report.killed:
        click.echo(f"Killed session {killed}")
    for line in (*report.notes, *report.errors):
        click.echo(line, err=True)
    if bulk and report.killed:
        click.echo(f"Killed {len(report.killed)} sessions")
    elif bulk and not report.errors:
        click.echo("No matching sessions to kill")
    return 1 if report.errors else 0


def _confirmed(application: Application) -> bool:
    """List the sessions on a terminal and ask whether to kill them; without a terminal, nobody is asked."""
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        return True
    rows = application.execute(List()).rows
    if not rows:
        return True
    columns = os.get_terminal_size(sys.stderr.fileno()).columns
    click.echo("\n".join(sessions_at_terminal(rows, columns, str(paths.home()), time.time())), err=True)
    what = "this session" if len(rows) == 1 else f"these {len(rows)} sessions"
    if click.confirm(f"Kill {what}?", err=True):
        return True
    click.echo("No session was killed", err=True)
    return False
