"""`gateway`: serve agents in containers over HTTP."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from click.core import ParameterSource

from dev_sessions.cli.app import make_router, warn
from dev_sessions.cli.completers import files
from dev_sessions.cli.gateway_service import install_command, port_option, status_command, uninstall_command
from dev_sessions.cli.signals import on_termination
from dev_sessions.system import paths


@click.group("gateway", invoke_without_command=True)
@port_option(0)
@click.option("--socket", metavar="PATH", shell_complete=files, help="Listen on a unix socket instead of a port.")
@click.option("--token-file", metavar="PATH", shell_complete=files, help="Require the token in this file.")
@click.option("--allow-host", metavar="NAME", multiple=True, help="Accept this host name in requests, too.")
@click.pass_context
def gateway_command(
    context: click.Context, port: int, socket: str | None, token_file: str | None, allow_host: tuple[str, ...]
) -> None:
    """Serve agents in containers over HTTP.

    With DEV_SESSIONS_SANDBOX=1 in a container, every dev-sessions command there uses the sessions of this machine.

    Whoever can reach the gateway can run code as you. Without --token-file or --socket, that is every user of this
    machine.

    \b
    Example: dev-sessions gateway --port 6767
             dev-sessions gateway --socket ~/.dev-sessions/gateway.sock
    """
    if context.invoked_subcommand is not None:
        if any(context.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in context.params):
            raise click.UsageError(f"options go after {context.invoked_subcommand}, not before it")
        return
    from dev_sessions.gateway.access import AccessPolicy
    from dev_sessions.gateway.server import Server
    from dev_sessions.gateway.tokens import private_token
    from dev_sessions.system.private_files import ensure_private_dir

    ensure_private_dir(paths.state_dir())  # the usual place of --socket
    policy = AccessPolicy(None if token_file is None else private_token(Path(token_file)), allow_host)
    server = Server(port if socket is None else Path(socket).absolute(), make_router, policy)
    on_termination(lambda _: sys.exit(0))
    with server:
        if policy.token is None and socket is None:
            warn("every user of this machine can use this gateway and run code as you; use --token-file or --socket")
        click.echo(f"Gateway listening on {socket or f'port {server.port}'}")
        server.serve_forever()


for command in (install_command, uninstall_command, status_command):
    gateway_command.add_command(command)
