"""The commands of `dev-sessions`, with those of groups, and some command lines to run."""

from __future__ import annotations

import click

from dev_sessions.cli import COMMANDS, cli

#: Commands that print help, answers, warnings, refusals and errors, in a home with nothing but a lost session.
SAMPLE_COMMANDS = [
    ["--help"],
    *([name, "--help"] for name in COMMANDS),
    ["list", "--all"],
    ["list", "--all", "--json"],
    ["recover"],
    ["status", "fizz-top"],
    ["wait", "fizz-top", "zed-mid"],
    ["kill", "zed-mid"],
    ["create", "--path", "missing"],
    ["create", "--sideways"],
    ["nothing"],
    ["install-skill", "--claude"],
]


def command_tree() -> dict[str, click.Command]:
    """Return every command by the words that call it, such as `gateway install`."""
    return _below(cli, "")


def _below(group: click.Group, prefix: str) -> dict[str, click.Command]:
    context = click.Context(group)
    found: dict[str, click.Command] = {}
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found[f"{prefix}{name}"] = command
        if isinstance(command, click.Group):
            found.update(_below(command, f"{prefix}{name} "))
    return found
