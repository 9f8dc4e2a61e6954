"""`gateway`: let agents in containers drive the sessions of this machine."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from click.core import ParameterSource

from dev_sessions import paths
from dev_sessions.cli.app import make_router, warn
from dev_sessions.cli.complete import files
from dev_sessions.cli.gateway_service import install_command, port_option, status_command, uninstall_command
from dev_sessions.cli.surroundings import when_ended


@click.group("gateway", invoke_without_command=True)
@port_option(0)
@click.option(
    "--socket", metavar="PATH", shell_complete=files, help="Listen on a unix socket of this user's, and on no port."
)
@click.option(
    "--token-file", metavar="PATH", shell_complete=files, help="Answer only who shows the token in this file."
)
@click.option("--allow-host", metavar="NAME", multiple=True, help="A further name that this machine is called by.")
@click.pass_context
def gateway_command(
    context: click.Context, port: int, socket: str | None, token_file: str | None, allow_host: tuple[str, ...]
) -> None:
    """Serve agents in containers, until it is ended.

    They set DEV_SESSIONS_SANDBOX=1, and then every dev-sessions command there uses the sessions of this machine.

    Whoever reaches the gateway runs code as you. Without --token-file every user of this machine does.

    \b
    Example: dev-sessions gateway --port 6767
             dev-sessions gateway --socket ~/.dev-sessions/gateway.sock
    """
    if context.invoked_subcommand is not None:
        if any(context.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in context.params):
            raise click.UsageError(f"options go behind {context.invoked_subcommand}, not before it")
        return
    from dev_sessions.gateway.guard import Guard
    from dev_sessions.gateway.server import Server
    from dev_sessions.gateway.tokens import private_token
    from dev_sessions.private import ensure_private_dir

    ensure_private_dir(paths.state_dir())  # where a user's socket is likely to belong
    guard = Guard(None if token_file is None else private_token(Path(token_file)), allow_host)
    server = Server(port if socket is None else Path(socket).absolute(), make_router, guard)
    when_ended(lambda _: sys.exit(0))
    with server:
        if guard.token is None and socket is None:
            warn(
                "any user of this machine can drive this gateway, and so run code as you: use --token-file or --socket"
            )
        click.echo(f"Gateway listening on {socket or f'port {server.port}'}")
        server.serve_forever()


for command in (install_command, uninstall_command, status_command):
    gateway_command.add_command(command)
