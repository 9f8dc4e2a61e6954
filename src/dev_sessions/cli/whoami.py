"""`whoami`: print the id of the session that runs this command."""

from __future__ import annotations

import click

from dev_sessions.errors import InvalidRequest
from dev_sessions.system import caller


@click.command("whoami")
def whoami_command() -> None:
    """Print the id of the session that runs this command.

    Exits 1 outside of any session.

    \b
    Example: dev-sessions whoami
    """
    session_id = caller.session_id()
    if session_id is None:
        raise InvalidRequest("This command does not run in a session of dev-sessions; list them: dev-sessions list")
    click.echo(session_id)
