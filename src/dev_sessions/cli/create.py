"""`create`: start a session."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import click

from dev_sessions.agent_options import require_allowed
from dev_sessions.cli import completers
from dev_sessions.cli.app import Application
from dev_sessions.cli.params import json_option
from dev_sessions.cli.progress import progress
from dev_sessions.cli.render import json_text
from dev_sessions.errors import InvalidRequest
from dev_sessions.models import Session
from dev_sessions.operations import Create
from dev_sessions.record_json import session_to_json
from dev_sessions.system import caller

#: Shared with `fork`, which creates a session, too.
worktree_option = click.option(
    "--worktree",
    metavar="[BRANCH]",
    is_flag=False,
    flag_value="",
    help="Create a git worktree for the new session, on BRANCH or on a new branch named after the session.",
)
created_by_option = click.option(
    "--created-by", hidden=True, help="Session or agent that creates it.  [default: the caller]"
)
id_only_option = click.option("-q", "--quiet", is_flag=True, help="Print only the id, and show no progress.")
_OPTIONS = (
    click.option(
        "-p",
        "--path",
        metavar="DIR",
        shell_complete=completers.folders,
        help="Working directory.  [default: the current one]",
    ),
    click.option("-d", "--description", metavar="TEXT", help="Description, shown by list."),
    click.option(
        "--cli", type=click.Choice(["claude", "codex"]), default="claude", show_default=True, help="Agent to run."
    ),
    click.option(
        "-m",
        "--mode",
        type=click.Choice(["native", "docker"]),
        default="native",
        show_default=True,
        help="docker: run Claude in a container, with the clauded wrapper.",
    ),
    click.option("--model", metavar="MODEL", help="Model, by the agent's name for it.  [default: the agent's own]"),
    click.option("--host", metavar="HOST", help="Run the session on this ssh host.  [default: this machine]"),
    worktree_option,
    click.option("--trust", is_flag=True, help="Accept the agent's dialog that asks whether to trust the folder."),
    click.option("--id", hidden=True, help="Session id to use."),
    created_by_option,
)


def session_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of `create` for the new session, which are the fields of the operation."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def create(application: Application, options: dict[str, Any], *, quiet: bool) -> Session:
    """Create the session of `session_options`, showing progress."""
    if options["cli"] == "codex" and options["mode"] == "docker":
        raise click.UsageError("Codex has no docker mode: leave out --mode, or use --cli claude")
    args = options.pop("agent_args", ())
    try:
        require_allowed(options["cli"], args)
    except InvalidRequest as error:
        raise click.UsageError(str(error)) from error
    request = Create(**{**options, "args": args, "created_by": options["created_by"] or caller.identity()})
    host = f" on {request.host}" if request.host else ""
    with progress(lambda: f"starting {request.cli}{host}", quiet=quiet):
        return application.execute(request)


def created(session: Session) -> str:
    """Return the line that reports a new session."""
    return f"Created session {session.id}{f' on {session.host}' if session.host else ''}"


def created_worktree(session: Session) -> str:
    """Return the line that reports the worktree of a new session."""
    # A worktree that was kept has the name of its first session.
    made = "Created" if os.path.basename(session.worktree or "") == session.id else "Took over"
    return f"{made} worktree {session.path} on branch {session.worktree_branch}"


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
@session_options
@json_option
@id_only_option
@click.pass_obj
def create_command(application: Application, /, as_json: bool, quiet: bool, **options: Any) -> None:
    """Start a session and print its id.

    Returns when the session accepts messages. The agent runs with all permissions. In a folder that is new to it,
    Claude Code asks whether it may trust that: --trust says yes, as its dialog does, for good. If it shows another
    dialog at its start (to log in), create prints that on standard error, stops the agent and exits 1. A
    worktree is created beside its repository, in REPOSITORY.worktrees/ID; kill removes it if nothing in it would be
    lost, and keeps its branch. One that was kept is taken over by --worktree=BRANCH.

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
    print_created(create(application, options, quiet=quiet), as_json=as_json, quiet=quiet)


def print_created(session: Session, *, as_json: bool, quiet: bool) -> None:
    """Print a new session: its record, its id, or a line about it."""
    if as_json:
        click.echo(json_text({**session_to_json(session), "state": "idle"}))
    elif quiet:
        click.echo(session.id)
    else:
        click.echo(created(session))
        if session.worktree is not None:
            click.echo(created_worktree(session), err=True)
