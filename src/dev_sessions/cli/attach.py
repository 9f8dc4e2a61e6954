"""`attach`: open a session in this terminal."""

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
    """Open a session in this terminal, for a person.

    Claude Code is shown in tmux, Codex in its own terminal interface. Leave with Ctrl-b d in tmux, or with Ctrl-C in
    Codex; the session keeps running.

    \b
    Example: dev-sessions attach fizz-top
    """
    if not (os.isatty(0) and os.isatty(1)):
        raise InvalidRequest(f"attach needs a terminal; to read the session: dev-sessions logs {session_id}")
    terminal = application.terminal(session_id)
    environment = {**os.environ, **terminal.env}
    try:
        if terminal.path is not None:
            os.chdir(terminal.path)
        os.execvpe(
            terminal.argv[0], terminal.argv, {name: value for name, value in environment.items() if value is not None}
        )
    except FileNotFoundError as error:
        raise ProgramMissing(f"{error.filename or terminal.argv[0]} was not found; restore or install it") from error
