"""`create`: start a session."""

from __future__ import annotations

import click

from dev_sessions.agent_options import require_allowed
from dev_sessions.cli import complete
from dev_sessions.cli.app import Application
from dev_sessions.cli.params import json_option
from dev_sessions.cli.progress import progress
from dev_sessions.cli.render import json_text
from dev_sessions.errors import InvalidRequest
from dev_sessions.models import Cli, Mode, Session
from dev_sessions.operations import Create
from dev_sessions.record_json import session_to_json


class CreateCommand(click.Command):
    """A command whose positional arguments are options for the agent, after `--`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given = list(args)
        rest = super().parse_args(ctx, args)
        agent_args = ctx.params.get("agent_args") or ()
        if agent_args and given[: -len(agent_args)][-1:] != ["--"]:
            text = f"Got unexpected extra argument ({agent_args[0]}); options for the agent follow --"
            raise click.UsageError(text, ctx)
        return rest


@click.command("create", cls=CreateCommand)
@click.argument("agent_args", metavar="[-- ARGS...]", nargs=-1, type=click.UNPROCESSED)
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
    as_json: bool,
    quiet: bool,
    session_id: str | None,
    agent_args: tuple[str, ...],
) -> None:
    """Start a session and print its id.

    Returns when the session accepts messages. The agent runs with all permissions. If it shows a dialog at its start
    (to trust the folder, to log in), create prints the dialog on standard error, stops the agent and exits 1. A
    worktree is created beside its repository, in REPOSITORY.worktrees/ID; kill removes it if nothing in it would be
    lost, and keeps its branch.

    ARGS after -- are options for the agent, as on its own command line: any of claude (--effort, --tools,
    --append-system-prompt, --permission-mode, --settings, --mcp-config, ...) but those that dev-sessions sets; of
    codex -c key=value, --profile, --enable and --disable. recover and fork use them again.

    \b
    Example: dev-sessions create --description "fix the login"
             sid=$(dev-sessions create -q --cli codex --path ~/project)
             sid=$(dev-sessions create -q --worktree=fix-login)
             sid=$(dev-sessions create -q --host build-box --path /srv/project)
             sid=$(dev-sessions create -q -- --effort high)
    """
    try:
        require_allowed(cli, agent_args)
    except InvalidRequest as error:
        raise click.UsageError(str(error)) from error
    request = Create(
        path=path,
        host=host,
        cli=cli,
        mode=mode,
        description=description,
        model=model,
        id=session_id,
        worktree=worktree,
        args=agent_args,
    )
    with progress(lambda: f"starting {cli}{f' on {host}' if host else ''}", quiet=quiet):
        session = application.execute(request)
    print_created(session, as_json=as_json, quiet=quiet)


def print_created(session: Session, *, as_json: bool, quiet: bool) -> None:
    """Print a new session: its record, its id, or a line about it."""
    if as_json:
        click.echo(json_text({**session_to_json(session), "state": "idle"}))
    elif quiet:
        click.echo(session.id)
    else:
        click.echo(f"Created session {session.id}{f' on {session.host}' if session.host else ''}")
        if session.worktree is not None:
            click.echo(f"Created worktree {session.path} on branch {session.worktree_branch}", err=True)
