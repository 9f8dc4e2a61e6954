"""`doctor`: check the installation."""

from __future__ import annotations

import os
import sys

import click

from dev_sessions.cli.app import warn
from dev_sessions.cli.params import json_option
from dev_sessions.cli.render import hanging, json_text
from dev_sessions.record_json import to_json

_SIGNS = {"ok": "✓", "warning": "!", "broken": "✗"}


@click.command("doctor")
@click.option("--fix", is_flag=True, help="Fix what is safe to fix first, and print what was done.")
@json_option
def doctor_command(fix: bool, as_json: bool) -> int:
    """Check the installation and print how to fix problems.

    Checks programs, logins, sessions, servers, hosts and skills, and changes nothing without --fix. Prints a line for
    each: ✓ ok, ! warning, ✗ broken (exit code 1). Required are Python, the session store and one agent with its login,
    and tmux for Claude Code. In a container, checks the connection to the host.

    --fix removes what killed commands have left and servers that no session uses, closes the state folder to others,
    and updates skills. Sessions, also lost ones, are left alone.

    --json prints an array of objects: name, verdict (ok, warning, broken), text.

    \b
    Example: dev-sessions doctor
             dev-sessions doctor --fix
    """
    from dev_sessions.doctor.run import run_all
    from dev_sessions.system import paths

    folder = paths.as_on_disk(os.curdir)
    done = []
    if fix:
        from dev_sessions.cli.app import make_context
        from dev_sessions.doctor.fix import fix_all

        done = fix_all(make_context(warn), folder)
    checks = [*done, *run_all(folder)]
    if as_json:
        click.echo(json_text(to_json(checks)))
    else:
        width = max(len(check.name) for check in checks)
        columns = os.get_terminal_size().columns if sys.stdout.isatty() else None
        for check in checks:
            click.echo(hanging(f"{_SIGNS[check.verdict]} {check.name.ljust(width)}  ", check.text, columns))
    return int(any(check.verdict == "broken" for check in checks))
