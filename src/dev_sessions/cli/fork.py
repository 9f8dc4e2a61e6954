"""`fork`: start a session with the conversation of another one."""

from __future__ import annotations

import click

from dev_sessions.cli.app import Application
from dev_sessions.cli.create import created_by_option, id_only_option, print_created, worktree_option
from dev_sessions.cli.params import json_option, session_argument
from dev_sessions.cli.progress import progress
from dev_sessions.operations import Fork
from dev_sessions.system import caller


@click.command("fork")
@session_argument
@click.option("-d", "--description", metavar="TEXT", help="Description, shown by list.  [default: fork of ID]")
@worktree_option
@json_option
@id_only_option
@click.option("--id", "new_id", hidden=True, help="Session id to use.")
@created_by_option
@click.pass_obj
def fork_command(
    application: Application,
    session_id: str,
    description: str | None,
    worktree: str | None,
    as_json: bool,
    quiet: bool,
    new_id: str | None,
    created_by: str | None,
) -> None:
    """Start a session with the conversation of another one.

    Prints the id of the new session.

    The other session is left as it is, and may be working or lost: the fork ends at its last finished turn, and a
    warning says so if it is working. The fork has its agent, model and options. Without --worktree it works in the
    same directory; with it, a new branch starts at the commit that is checked out there.

    \b
    Example: sid=$(dev-sessions fork -q fizz-top)
             dev-sessions fork fizz-top --worktree=other --description "no cache"
    """
    request = Fork(
        session_id=session_id,
        description=description,
        id=new_id,
        worktree=worktree,
        created_by=created_by or caller.identity(),
    )
    with progress(lambda: f"forking {session_id}", quiet=quiet):
        session = application.execute(request)
    print_created(session, as_json=as_json, quiet=quiet)
