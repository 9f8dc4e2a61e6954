"""`attach`: a person looks into a session, and types along."""

from __future__ import annotations

import os

import click

from dev_sessions.cli.app import Application
from dev_sessions.cli.params import session_argument
from dev_sessions.errors import InvalidRequest, ProgramMissing


@click.command("attach")
@session_argument
@click.pass_obj
def attach_command(application: Application, session_id: str) -> None:
    """Show a session in this terminal, for a person.

    That is tmux for Claude Code, and Codex's own terminal for Codex. Leave it with Ctrl-b d in tmux, with Ctrl-C in
    Codex's terminal: the session stays as it is.

    \b
    Example: dev-sessions attach fizz-top
    """
    if not (os.isatty(0) and os.isatty(1)):
        raise InvalidRequest(f"attach needs a terminal: read {session_id} with dev-sessions logs {session_id}")
    terminal = application.terminal(session_id)
    environment = {**os.environ, **terminal.env}
    try:
        if terminal.path is not None:
            os.chdir(terminal.path)
        os.execvpe(
            terminal.argv[0],
            terminal.argv,
            {name: value for name, value in environment.items() if value is not None},
        )
    except FileNotFoundError as error:
        raise ProgramMissing(
            f"{error.filename or terminal.argv[0]} was not found; put it back or install it"
        ) from error
