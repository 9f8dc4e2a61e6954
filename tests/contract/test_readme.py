"""The README matches the program."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import click
import pytest

from tests.support.commands import command_tree
from tests.support.demo import RECORDING, Command, record, usage

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = {
    path.name: path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
}
COMMANDS_TABLE = README.partition("## Commands")[2].partition("\n## ")[0].partition("\n| Exit code")[0]


def test_the_demo_runs_the_usage_of_the_readme() -> None:
    """The demo runs the usage that the README shows, with both agents and a follow-up."""
    commands = usage(README)
    lines = " ".join(command.line for command in commands)
    for name in ("create", "send", "wait", "last-message", "ask", "status", "list", "logs", "kill"):
        assert f"dev-sessions {name}" in lines
    assert "--cli codex" in lines
    assert [command.expected for command in commands].count("4217") == 1


def test_what_a_command_must_print_is_taken_from_the_line() -> None:
    """The expected output after a command is not part of the command."""
    text = "<!-- tests/demo runs this block -->\n```bash\n# why\na b   # prints c d\ne\n\n```"
    assert usage(text) == [Command("a b", "c d", "# why"), Command("e", None)]
    with pytest.raises(ValueError, match="no usage block"):
        usage("nothing")


def recorded(image: str) -> list[tuple[str, str]]:
    """Return the commands of a recording, each with its output."""
    commands: list[tuple[str, list[str]]] = []
    for text in ElementTree.fromstring(image).iter("{http://www.w3.org/2000/svg}text"):
        line = "".join(text.itertext())
        match text.get("class"):
            case "command" if line.startswith("$ "):
                commands.append((line.removeprefix("$ "), []))
            case "command":
                commands[-1] = (commands[-1][0] + line, [])
            case "output":
                commands[-1][1].append(line)
    return [(command, "\n".join(output)) for command, output in commands]


def test_the_recording_shows_the_usage_of_the_readme() -> None:
    """The README's recording, which tests/demo --record renews, shows each command of the usage with its output."""
    assert f"]({RECORDING.relative_to(ROOT)})" in README
    shown = recorded(RECORDING.read_text(encoding="utf-8"))
    for command, (line, output) in zip(usage(README), shown, strict=True):
        assert line == command.line
        assert command.expected in (None, output)


def test_a_recording_shows_what_a_terminal_shows(tmp_path: Path) -> None:
    """A recording has what commands print on a terminal, long lines included; a failed demo writes none."""
    file = tmp_path / "demo.svg"
    commands = [Command("test -t 1 && echo '<a terminal>'", "<a terminal>", "# why"), Command(f"echo {'a' * 95}", None)]
    assert record(commands, tmp_path, os.environ, file) == []
    image = file.read_text(encoding="utf-8")
    assert recorded(image) == [(commands[0].line, "<a terminal>"), (commands[1].line, "a" * 95)]
    assert "># why</text>" in image
    file.unlink()
    assert record([Command("echo a", "b")], tmp_path, os.environ, file) == ["echo a: printed 'a', not 'b'"]
    assert not file.exists()


def test_the_recording_shows_nothing_of_the_machine_it_was_made_on() -> None:
    """The recording names no folder but the demo's own, loads nothing and runs no script, so that GitHub shows it."""
    image = RECORDING.read_text(encoding="utf-8")
    shown = " ".join(ElementTree.fromstring(image).itertext()).partition("@keyframes print")[2]
    assert set(re.findall(r"\S*/\S*", shown)) == {"~/project"}
    assert re.findall(r"https?://\S+?(?=\")", image) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"<script|href|url\(|@import|\bon\w+=", image)


def test_every_command_is_described() -> None:
    """The README's table has every command, and no other."""
    table = README.partition("## Commands")[2].partition("\n## ")[0]
    rows = "\n".join(re.findall(r"^\| (`.*?) \|", table, re.M))
    described = set(re.findall(r"`([a-z-]+(?: [a-z][a-z-]*)?)(?: [A-Z-][^`]*)?`", rows))
    assert described == set(command_tree())


@pytest.mark.parametrize("row", re.findall(r"^\| `.*\|$", COMMANDS_TABLE, re.M), ids=lambda row: row[3:30])
def test_the_reference_has_exactly_the_options_of_each_command(row: str) -> None:
    """The README's table names every option of each command, and no other."""
    cell, text = re.split(r"(?<!\\) \| ", row.removeprefix("| "), maxsplit=1)
    names = set(re.findall(r"`([a-z-]+(?: [a-z][a-z-]*)?)(?: [A-Z\[-][^`]*)?`", cell))
    known = set(command_tree())
    assert names <= known
    options = [
        parameter
        for name in names
        for parameter in command_tree()[name].params
        if isinstance(parameter, click.Option) and not parameter.hidden and "--help" not in parameter.opts
    ]
    shown = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", " ".join(re.findall(r"`([^`]*)`", cell + text))))
    for option in options:
        for spellings in (option.opts, option.secondary_opts):
            assert not spellings or shown & set(spellings), (names, spellings)
    own = {spelling for option in options for spelling in (*option.opts, *option.secondary_opts)}
    assert {word for word in shown if word.startswith("--")} <= own


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_option_that_is_named_exists(document: str) -> None:
    """The README and the documents beside it name no option that a command does not have."""
    of_others = {"--dangerously-skip-permissions", "--session-id", "--resume"}  # claude
    of_others |= {"--effort", "--tools", "--append-system-prompt", "--settings", "--mcp-config", "--print"}  # claude
    of_others |= {"--permission-mode", "--name", "--profile", "--enable", "--disable"}  # claude, codex
    of_others |= {"--network", "--user", "--rm", "--init"}  # docker
    of_others |= {"--scope"}  # systemd-run
    of_others |= {"--stdio", "--ssh-host-prefix", "--config"}  # coder and gh
    known = {"--version", "--help", "--live", "--record", "--no-install", "--versions", "--benchmarks", *of_others}
    for command in command_tree().values():
        known |= {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", DOCUMENTS[document]))
    assert named <= known


def test_the_readme_is_short() -> None:
    """The README has at most 300 lines and 2,500 words."""
    assert len(README.splitlines()) <= 300
    assert len(README.split()) <= 2500


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_table_can_be_read_at_a_glance(document: str) -> None:
    """No cell of a table has more than 25 words."""
    for row in re.findall(r"^\|.*\|$", DOCUMENTS[document], re.M):
        for cell in re.split(r"(?<!\\)\|", row):
            assert len(cell.split()) <= 25, cell


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_somewhere(document: str) -> None:
    """Every link within the repository leads to an existing file, and to a heading in it."""
    folder = ROOT if document == "README.md" else ROOT / "docs"
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", DOCUMENTS[document]):
        file, _, heading = target.partition("#")
        text = (folder / file).read_text(encoding="utf-8") if file else DOCUMENTS[document]
        headings = {
            re.sub(r"[^\w -]", "", line).replace(" ", "-").lower() for line in re.findall(r"^#+ (.*)$", text, re.M)
        }
        assert not heading or heading in headings, target


def test_the_recipes_for_ssh_are_what_ssh_reads(tmp_path: Path) -> None:
    """ssh understands every entry of the configuration in docs/machines.md."""
    (text,) = re.findall(r"```sshconfig\n(.*?)```", DOCUMENTS["machines.md"], re.S)
    config = tmp_path / "config"
    config.write_text(text)
    hosts = re.findall(r"^Host (\S+)", text, re.M)
    assert len(hosts) == 4
    for host in hosts:
        name = host.replace("*", "name")
        done = subprocess.run(["ssh", "-G", "-T", "-F", str(config), name], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert re.search(r"^(proxycommand (coder|gh|kubectl) |proxyjump me@gateway)", done.stdout, re.M), host
