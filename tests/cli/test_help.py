"""Every command explains itself."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from dev_sessions.cli import COMMANDS, cli
from tests.support.commands import command_tree


@pytest.mark.parametrize("name", command_tree())
def test_every_command_has_help_with_an_example(name: str) -> None:
    """--help of every command works in a fresh interpreter and shows an example."""
    done = subprocess.run(
        [sys.executable, "-m", "dev_sessions", *name.split(), "--help"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"Usage: dev-sessions {name}")
    assert f"dev-sessions {name}" in done.stdout.partition("Example:")[2]


def test_the_table_is_the_tree() -> None:
    """Every command that is listed exists, under its own name."""
    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        assert command.name == name
    assert cli.get_command(context, "none") is None
    assert set(command_tree()) >= set(COMMANDS)


def test_every_option_is_explained() -> None:
    """No option is left without a word on what it does."""
    for name, command in command_tree().items():
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, (name, parameter.name)
