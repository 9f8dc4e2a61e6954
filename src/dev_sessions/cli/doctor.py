"""`doctor`: what works here, and what to do about the rest."""

from __future__ import annotations

import os
import sys

import click

from dev_sessions.cli.params import json_option
from dev_sessions.cli.render import hanging, json_text
from dev_sessions.records import to_json

_SIGNS = {"ok": "✓", "warning": "!", "broken": "✗"}


@click.command("doctor")
@json_option
def doctor_command(as_json: bool) -> int:
    """Say what works here, and what to do about the rest.

    It looks at programs, logins, sessions, servers, machines and skills. A line each: ✓ fine, ! to be known, ✗ broken:
    then the exit code is 1. Needed are Python, the store, and one agent with its login; with Claude Code tmux, too. In
    a container it looks at the way to the host. Nothing is changed.

    --json prints an array of objects: name, verdict (ok, warning, broken), text.

    \b
    Example: dev-sessions doctor
    """
    from dev_sessions.doctor.examination import examine

    checks = examine(os.getcwd())
    if as_json:
        click.echo(json_text(to_json(checks)))
    else:
        width = max(len(check.name) for check in checks)
        columns = os.get_terminal_size().columns if sys.stdout.isatty() else None
        for check in checks:
            click.echo(hanging(f"{_SIGNS[check.verdict]} {check.name.ljust(width)}  ", check.text, columns))
    return int(any(check.verdict == "broken" for check in checks))
