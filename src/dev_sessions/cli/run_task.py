"""`run`: give a task to a new session and print its reply."""

from __future__ import annotations

from typing import Any

import click

from dev_sessions.cli.app import Application
from dev_sessions.cli.create import create, created, created_worktree, session_options
from dev_sessions.cli.message import MessageCommand, message_arguments, read_message
from dev_sessions.cli.params import quiet_option, through_limits_option, timeout_option
from dev_sessions.cli.send import ask
from dev_sessions.errors import InvalidRequest
from dev_sessions.operations import Kill


@click.command("run", cls=MessageCommand)
@message_arguments
@session_options
@timeout_option
@through_limits_option
@click.option("--kill", is_flag=True, help="End the session once its reply is printed.")
@quiet_option
@click.pass_obj
def run_command(
    application: Application,
    /,
    message: str | None,
    file: str | None,
    timeout: float,
    through_limits: bool,
    kill: bool,
    quiet: bool,
    **options: Any,
) -> int:
    """Give a task to a new session and print its reply.

    It is create and ask in one: it waits, and prints the last text of the reply. The id is printed on standard error,
    and the session is left for further messages. With --kill the session is ended after a reply, and after anything
    else it is left.

    \b
    Exit codes:
      0    the turn has ended (prints the reply)
      1    the turn failed or was interrupted, or another error
      3    the session asks something (prints waiting_for_input)
      124  timeout; the session works on

    After 3, read the question with last-message, and answer it with respond; after 124, wait again.

    Put the task before --worktree: a word after it is taken as the branch.

    \b
    Example: dev-sessions run "which tests fail, and why?"
             dev-sessions run --file brief.md --worktree=parse-dates --timeout 540
             dev-sessions run --cli codex --kill "review the last commit"
    """
    branch = options["worktree"]
    if message is None and file is None and branch:
        raise InvalidRequest(
            f"--worktree took {branch!r} as its branch, and no task is left: write the task before --worktree, or"
            " --worktree=BRANCH"
        )
    text = read_message(message, file)
    session = create(application, options, quiet=quiet)
    click.echo(created(session), err=True)
    if session.worktree is not None:
        click.echo(created_worktree(session), err=True)
    code = ask(application, session.id, text, timeout=timeout, through_limits=through_limits, quiet=quiet)
    if kill and code == 0:
        for note in application.execute(Kill(session_id=session.id)).notes:
            click.echo(note, err=True)
    return code
