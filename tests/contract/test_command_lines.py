"""Every command line that is shown to an agent or a person is one that the program takes."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from dev_sessions.cli import COMMANDS, cli
from tests.support.command_lines import PROGRAM, blocks, command_lines, parse

ROOT = Path(__file__).resolve().parents[2]
SKILLS = sorted((ROOT / "skills").glob("*/SKILL.md"))
REFERENCE = ROOT / "skills" / "dev-sessions" / "reference.md"
TEXTS = [*SKILLS, REFERENCE, ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def examples() -> dict[str, str]:
    """Return the examples in each command's help."""
    context = click.Context(cli)
    helps = {name: cli.get_command(context, name) for name in COMMANDS}
    return {name: (command.help or "").partition("Example:")[2] for name, command in helps.items() if command}


@pytest.mark.parametrize("file", TEXTS, ids=lambda file: file.parent.name + "/" + file.name)
def test_every_command_line_of_a_text_is_taken(file: Path) -> None:
    """Every command line in the skills, the README and docs has commands, options and arguments that exist."""
    shown = [arguments for block in blocks(file.read_text(encoding="utf-8")) for arguments in command_lines(block)]
    assert shown
    for arguments in shown:
        parse(arguments)


@pytest.mark.parametrize("file", TEXTS, ids=lambda file: file.parent.name + "/" + file.name)
def test_no_command_line_is_overlooked(file: Path) -> None:
    """Every line of shell that begins with the program's name, or substitutes its output, is found as a command
    line."""
    for block in blocks(file.read_text(encoding="utf-8")):
        calls = re.findall(rf"^(?:\w+=)?(?:\"?\$\()?{PROGRAM}\s|(?:&& |\|\| |\| |; |\$\(){PROGRAM}\s", block, re.M)
        assert len(command_lines(block)) == len(calls), block


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_example_in_a_help_text_is_taken(name: str) -> None:
    """The examples of --help can be typed as they stand, and show the command that they explain."""
    shown = command_lines("\n".join(line.strip() for line in examples()[name].splitlines()))
    assert name in {arguments[0] for arguments in shown}
    for arguments in shown:
        parse(arguments)


def test_the_skill_shows_every_command_that_an_agent_needs() -> None:
    """No command is left out of the skill but those that are for people and for setting up."""
    text = "".join(file.read_text(encoding="utf-8") for file in (REFERENCE.with_name("SKILL.md"), REFERENCE))
    shown = {arguments[0] for block in blocks(text) for arguments in command_lines(block)}
    assert set(COMMANDS) - shown <= {"completion", "gateway", "install-skill", "logs"}
    assert "`logs`" in text


@pytest.mark.parametrize("file", SKILLS, ids=lambda file: file.parent.name)
def test_a_skill_has_the_front_matter_that_both_agents_read(file: Path) -> None:
    """The name is that of the folder, and the description is one short line: every session's model reads it."""
    front_matter = file.read_text(encoding="utf-8").split("---\n")[1]
    fields = dict(line.split(": ", 1) for line in front_matter.splitlines() if ": " in line)
    assert fields["name"] == file.parent.name
    assert 50 < len(fields["description"]) <= 250
    assert " Use when " in fields["description"]
    assert ": " not in fields["description"], "YAML would take it for a key"
    assert fields["allowed-tools"].startswith("Bash(dev-sessions:*)")


def test_the_skill_is_short() -> None:
    """The skill, which an agent reads whole, has at most 6,000 characters."""
    assert len(REFERENCE.with_name("SKILL.md").read_text(encoding="utf-8")) <= 6000


@pytest.mark.parametrize("file", [*SKILLS, REFERENCE], ids=lambda file: file.parent.name + "/" + file.name)
def test_a_skill_shows_only_command_lines_that_permission_rules_allow(file: Path) -> None:
    """No command line of a skill has a substitution, pipe, redirection or another command in it."""
    for block in blocks(file.read_text(encoding="utf-8")):
        for line in re.findall(rf"^.*{PROGRAM} .*$", block, re.M):
            command = re.sub(r'"[^"]*"|\s#.*$', "", line)
            assert not re.search(r"[$`;&|<>()]", command), line


@pytest.mark.parametrize(
    ("shell", "expected"),
    [
        ("dev-sessions list  # all", [["list"]]),
        ('x=$(dev-sessions create -d "a b") && dev-sessions wait $x', [["create", "-d", "a b"], ["wait", "$x"]]),
        ("if ! dev-sessions wait a 2>/dev/null; then dev-sessions logs a >log; fi", [["wait", "a"], ["logs", "a"]]),
        ('test "$(dev-sessions wait a --goal)" = complete', [["wait", "a", "--goal"]]),
        ("cat x | dev-sessions send a --file - \\\n  --json", [["send", "a", "--file", "-", "--json"]]),
        (
            "dev-sessions send a -f - <<'E'\ndev-sessions is \"here\nE\ndev-sessions list",
            [["send", "a", "-f", "-"], ["list"]],
        ),
        ("pip install dev-sessions; ls ~/.dev-sessions", []),
    ],
)
def test_command_lines_are_found_in_shell(shell: str, expected: list[list[str]]) -> None:
    """Substitutions, pipes, conditions, redirections, comments and here-documents are separated from the arguments."""
    assert command_lines(shell) == expected


@pytest.mark.parametrize(
    "line", ["nothing", "list --sideways", "wait --any=3", "kill --older-than soon", "create --cli gpt"]
)
def test_a_command_line_that_is_wrong_is_refused(line: str) -> None:
    """A command line with an unknown command, option, argument or value is refused."""
    with pytest.raises(click.UsageError):
        parse(line.split())
