"""`create`: start a session."""

from __future__ import annotations

import os

import click

from dev_sessions.cli import complete
from dev_sessions.cli.app import Application
from dev_sessions.cli.params import json_option
from dev_sessions.cli.progress import progress
from dev_sessions.cli.render import json_text
from dev_sessions.models import Cli, Mode
from dev_sessions.operations import Create
from dev_sessions.record_json import session_to_json


@click.command("create")
@click.option(
    "-p",
    "--path",
    metavar="DIR",
    shell_complete=complete.folders,
    help="Working directory.  [default: the current one]",
)
@click.option("-d", "--description", metavar="TEXT", help="Description, shown by list.")
@click.option(
    "--cli", type=click.Choice(["claude", "codex"]), default="claude", show_default=True, help="Agent to run."
)
@click.option(
    "-m",
    "--mode",
    type=click.Choice(["native", "docker"]),
    default="native",
    show_default=True,
    help="docker: run Claude in a container, with the clauded wrapper.",
)
@click.option("--model", metavar="MODEL", help="Model, by the agent's name for it.  [default: the agent's own]")
@click.option("--host", metavar="HOST", help="Run the session on this ssh host.  [default: this machine]")
@click.option(
    "--worktree",
    metavar="[BRANCH]",
    is_flag=False,
    flag_value="",
    help="Create a git worktree for the session, on BRANCH or on a new branch named after the session.",
)
@click.option("--trust", is_flag=True, help="Accept the agent's dialog that asks whether to trust the folder.")
@json_option
@click.option("-q", "--quiet", is_flag=True, help="Print only the id, and show no progress.")
@click.option("--id", "session_id", hidden=True, help="Session id to use.")
@click.pass_obj
def create_command(
    application: Application,
    path: str | None,
    description: str | None,
    cli: Cli,
    mode: Mode,
    model: str | None,
    host: str | None,
    worktree: str | None,
    trust: bool,
    as_json: bool,
    quiet: bool,
    session_id: str | None,
) -> None:
    """Start a session and print its id.

    Returns when the session accepts messages. The agent runs with all permissions. In a folder that is new to it,
    Claude Code asks whether it may trust that: --trust says yes, as its dialog does, for good. If it shows another
    dialog at its start (to log in), create prints that on standard error, stops the agent and exits 1. A
    worktree is created beside its repository, in REPOSITORY.worktrees/ID; kill removes it if nothing in it would be
    lost, and keeps its branch. One that was kept is taken over by --worktree=BRANCH.

    \b
    Example: dev-sessions create --description "fix the login"
             sid=$(dev-sessions create -q --cli codex --path ~/project)
             sid=$(dev-sessions create -q --worktree=fix-login)
             sid=$(dev-sessions create -q --host build-box --path /srv/project)
    """
    if cli == "codex" and mode == "docker":
        raise click.UsageError("Codex has no docker mode: leave out --mode, or use --cli claude")
    request = Create(
        path=path,
        host=host,
        cli=cli,
        mode=mode,
        description=description,
        model=model,
        id=session_id,
        worktree=worktree,
        trust=trust,
    )
    with progress(lambda: f"starting {cli}{f' on {host}' if host else ''}", quiet=quiet):
        session = application.execute(request)
    if as_json:
        click.echo(json_text({**session_to_json(session), "state": "idle"}))
    elif quiet:
        click.echo(session.id)
    else:
        click.echo(f"Created session {session.id}{f' on {session.host}' if session.host else ''}")
        if session.worktree is not None:
            # A worktree that was kept has the name of its first session.
            made = "Created" if os.path.basename(session.worktree) == session.id else "Took over"
            click.echo(f"{made} worktree {session.path} on branch {session.worktree_branch}", err=True)
