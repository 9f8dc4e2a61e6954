"""`list`: list sessions and their states."""

from __future__ import annotations

import os
import sys
import time

import click

from dev_sessions.cli.app import Application
from dev_sessions.cli.mine import is_mine, mine_option, require_caller
from dev_sessions.cli.output import draw, uses_colour
from dev_sessions.cli.params import json_option
from dev_sessions.cli.render import json_text, sessions_at_terminal, sessions_table
from dev_sessions.cli.watch import watch
from dev_sessions.models import Listing
from dev_sessions.operations import List
from dev_sessions.record_json import to_json
from dev_sessions.system import paths


@click.command("list")
@click.option("--all", "everything", is_flag=True, help="Include lost sessions.")
@mine_option
@click.option("--watch", "watching", is_flag=True, help="Refresh the list until Ctrl-C; in a pipe, print it once.")
@json_option
@click.pass_obj
def list_command(application: Application, everything: bool, mine: bool, watching: bool, as_json: bool) -> int:
    """List running sessions.

    On a terminal, each session is a line, in colour if it waits for somebody (unless NO_COLOR is set).

    Includes sessions on other machines. If a machine does not answer, its sessions are listed as last known, with a
    warning. In a sandbox that hides the processes of some sessions, these are listed without a state, and list exits 1.

    \b
    Example: dev-sessions list --json
             dev-sessions list --watch
    """
    if watching and as_json:
        raise click.UsageError("use --watch without --json")
    if mine:
        require_caller()
    if watching:
        watch(application, everything=everything, mine=mine)
        return 0
    listing = application.execute(List(everything=everything, detail=as_json))
    if mine:
        listing = Listing(tuple(row for row in listing.rows if is_mine(row.session)), 0, listing.unseen)
    if as_json:
        click.echo(json_text(to_json(listing.rows)))
    elif not listing.rows:
        click.echo("No active sessions")
    elif sys.stdout.isatty():
        columns = os.get_terminal_size().columns
        home, colour = str(paths.home()), uses_colour()
        lines = sessions_at_terminal(listing.rows, columns, home, time.time(), colour=colour)
        draw(sys.stdout, "\n".join(lines) + "\n")
    else:
        click.echo(sessions_table(listing.rows))
    if listing.lost:
        click.echo(f"{listing.lost} lost, not shown; list them with: dev-sessions list --all", err=True)
    if listing.unseen:
        click.echo(listing.unseen, err=True)
    return 1 if listing.unseen else 0
