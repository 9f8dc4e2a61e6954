"""`gateway install`, `gateway uninstall`, `gateway status`: the gateway as a service of this user."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from dev_sessions.system import paths

_DEFAULT_PORT = 6767


def port_option(minimum: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the --port option, with a minimum of 0 (any free port) or 1."""
    return click.option(
        "--port",
        metavar="N",
        type=click.IntRange(minimum, 65535),
        envvar=paths.GATEWAY_PORT,
        show_envvar=True,
        default=_DEFAULT_PORT,
        show_default=True,
        help="Port on 127.0.0.1.",
    )


@click.command("install")
@port_option(1)
@click.option("--token", is_flag=True, help="Require a token, which is kept in a file.")
def install_command(port: int, token: bool, platform: str = sys.platform) -> None:
    """Install the gateway as a service of this user.

    It runs from now on and after every login. Replaces an installed gateway. Without --token, every user of this
    machine can use it.

    \b
    Example: dev-sessions gateway install --token
             dev-sessions gateway install --port 6800
    """
    from dev_sessions.gateway import service

    installed = service.install(port, token=token, platform=platform)
    click.echo(f"Gateway daemon installed and started on port {installed.port}")
    if installed.token_file is not None:
        click.echo(f"Pass to containers: {service.container_options(installed.token_file)}")
    if installed.needs_disk_access is not None:
        click.echo(
            f"Full Disk Access (System Settings, Privacy & Security) is needed by {installed.needs_disk_access} "
            "for sessions in folders that macOS protects"
        )
    for hint in installed.hints:
        click.echo(hint, err=True)


@click.command("uninstall")
@click.option("--port", expose_value=False, hidden=True, help="Ignored; accepted for compatibility with version 0.4.")
def uninstall_command(platform: str = sys.platform) -> None:
    """Stop the gateway and remove its service. Sessions keep running; the log and the token stay.

    \b
    Example: dev-sessions gateway uninstall
    """
    from dev_sessions.gateway import service

    if not service.uninstall(platform=platform):
        click.echo("Nothing to do: no gateway daemon was installed", err=True)
    click.echo("Gateway daemon uninstalled")


@click.command("status")
@port_option(1)
def status_command(port: int, platform: str = sys.platform) -> None:
    """Show whether the installed gateway is running.

    \b
    Example: dev-sessions gateway status
    """
    from dev_sessions.gateway import service

    state = service.state(port, platform=platform)
    click.echo(f"Gateway daemon: {f'running (port {state.port})' if state.running else 'stopped'}")
    if state.running and not state.answers:
        click.echo(f"It does not answer on port {state.port}; see its log: {paths.gateway_log()}", err=True)
    if state.answers and not state.running:
        click.echo(f"Another gateway, not installed as a service, answers on port {state.port}", err=True)
