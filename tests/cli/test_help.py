"""Every command explains itself."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import click
import pytest

from dev_sessions.cli import COMMANDS, cli
from tests.support.commands import command_tree


@pytest.mark.parametrize("name", command_tree())
def test_every_command_has_help_with_an_example(name: str) -> None:
    """--help of every command works in a fresh interpreter and shows an example."""
    done = cli_run(*name.split(), "--help")
    assert done.stdout.startswith(f"Usage: dev-sessions {name}")
    assert f"dev-sessions {name}" in done.stdout.partition("Example:")[2]
    assert max(map(len, done.stdout.splitlines())) <= 80, "no line breaks on a terminal of 80 columns"


@pytest.mark.parametrize(
    ("group", "heading"), [([], "Start and end sessions:\n"), (["gateway"], "Commands:\n")], ids=["all", "gateway"]
)
def test_each_command_is_described_in_a_line(group: list[str], heading: str) -> None:
    """The list of commands has a whole sentence for each on a terminal of 80 columns."""
    done = cli_run(*group, "--help")
    below = done.stdout.partition(heading)[2].partition("Exit codes:\n")[0]
    listed = [line for line in below.splitlines() if line.startswith("  ")]
    assert sorted(line.split()[0] for line in listed) == sorted(
        name.split()[-1] for name in command_tree() if name.split()[:-1] == group
    )
    assert all(line.endswith(".") and not line.endswith("...") for line in listed), listed


@pytest.mark.parametrize("name", ["run", "ask", "wait"])
def test_what_waits_for_a_turn_lists_its_exit_codes(name: str) -> None:
    """The commands that wait for a turn have a table of their exit codes, which the list of all of them agrees with."""
    own = cli_run(name, "--help").stdout.partition("Exit codes:\n")[2].partition("\n\n")[0]
    listed = re.findall(r"^    (\d+)  ", own, re.M)
    assert listed == ["0", "1", "3", "124"]
    everything = cli_run("--help").stdout.partition("Exit codes:\n")[2]
    assert everything.count("(run, ask, wait)") == 2


def test_the_program_alone_shows_its_help() -> None:
    """Without a command, the help is printed on standard error, and the exit code is 2."""
    done = cli_run()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == cli_run("--help").stdout


@pytest.mark.parametrize("name", [name for name in command_tree() if name != "completion"])
def test_defaults_are_shown(name: str) -> None:
    """The help of an option with a value shows its default, if it has one."""
    nothing = {"--description", "--host", "--worktree", "--file", "--interval", "--older-than", "--socket"}
    nothing |= {"--token-file", "--allow-host"}
    for parameter in command_tree()[name].params:
        if isinstance(parameter, click.Option) and not parameter.is_flag and not parameter.hidden:
            shown = parameter.show_default or "[default: " in (parameter.help or "")
            assert shown or nothing & set(parameter.opts), (name, parameter.opts)


def cli_run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command line in a fresh interpreter, on a terminal of 80 columns."""
    argv = [sys.executable, "-m", "dev_sessions", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "80"})


def test_the_table_is_the_tree() -> None:
    """Every command in the list exists under its name."""
    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        assert command.name == name
    assert cli.get_command(context, "none") is None
    assert set(command_tree()) >= set(COMMANDS)


def test_every_option_is_explained() -> None:
    """Every option has a help text."""
    for name, command in command_tree().items():
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, (name, parameter.name)
