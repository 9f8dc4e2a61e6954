"""Agents that were installed by their own installers or by Homebrew: their programs have other names and places."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from dev_sessions.system.deadline import Deadline, poll
from tests.support.agents import pinned, program_bin
from tests.support.claude import lose
from tests.support.cli import AGENTS, ok, record
from tests.support.codex import end_servers
from tests.support.home import Home

pytestmark = pytest.mark.forked


def place(source: Path, target: Path) -> None:
    """Have a program, or a folder with programs, elsewhere as well: a process has the name of the file that it runs."""
    target.parent.mkdir(parents=True)
    copy: Callable[..., object] = os.link if source.stat().st_dev == target.parent.stat().st_dev else shutil.copy2
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, copy_function=copy)
    else:
        copy(source, target)


def native(home: Home, versions: Mapping[str, str]) -> Path:
    """Install the agents as their own installers do, and return the folder of the commands.

    They put links into ~/.local/bin: to a file named after Claude's version, and to a folder of Codex's.
    """
    commands = home.workspace(".local/bin")
    claude = home.path / ".local" / "share" / "claude" / "versions" / versions["claude"]
    place((program_bin("claude", versions["claude"]) / "claude").resolve(), claude)
    (commands / "claude").symlink_to(claude)
    standalone = home.path / ".codex" / "packages" / "standalone"
    place(program_bin("codex", versions["codex"]).parent, standalone / "releases" / f"{versions['codex']}-target")
    (standalone / "current").symlink_to(standalone / "releases" / f"{versions['codex']}-target")
    (commands / "codex").symlink_to(standalone / "current" / "bin" / "codex")
    return commands


def homebrew(home: Home, versions: Mapping[str, str]) -> Path:
    """Install the agents as Homebrew's casks do, and return the folder of the commands.

    Each is a link into the Caskroom, to a file that is named after the system in Codex's case.
    """
    commands, casks = home.workspace("homebrew/bin"), home.path / "homebrew" / "Caskroom"
    for name, cask, file in (("claude", "claude-code", "claude"), ("codex", "codex", "codex-aarch64-apple-darwin")):
        program = casks / cask / versions[name] / file
        place((program_bin(name, versions[name]) / name).resolve(), program)
        (commands / name).symlink_to(os.path.relpath(program, commands))
    return commands


@pytest.mark.parametrize(
    ("install", "agent"),
    [
        *((native, "claude"), (homebrew, "codex")),
        *(pytest.param(*case, marks=pytest.mark.matrix) for case in ((native, "codex"), (homebrew, "claude"))),
    ],
)
def test_the_main_job_however_the_agents_were_installed(
    home: Home, install: Callable[[Home, Mapping[str, str]], Path], agent: str
) -> None:
    """An agent is found, works, is recovered with its conversation and ended with all its processes, however it was
    installed."""
    commands, versions = install(home, pinned()), pinned()
    home.env["PATH"] = os.pathsep.join([str(commands), home.env["PATH"]])
    home.configure_login_shells()
    checks = ok(home.cli("doctor", cwd=home.workspace()))
    assert all(f"{versions[each]} ({commands / each})" in checks for each in AGENTS)
    sid = ok(home.cli("create", "-q", "--cli", agent, cwd=home.workspace())).strip()
    assert ok(home.cli("ask", sid, "say hello")) == "hello\n"
    started = [line for line in home.leftovers().values() if line.startswith(str(commands / agent))]
    assert started, home.leftovers()
    if agent == "claude":
        lose(home, sid, "process")
        assert ok(home.cli("recover", sid, "--yes")) == f"Recovered session {sid}\n"
    else:
        end_servers(home)
    assert ok(home.cli("ask", sid, "run (setsid sleep 1000 > /dev/null 2>&1 &)")).startswith("ran: ")
    assert poll(lambda: "sleep 1000" in home.leftovers().values() or None, Deadline(30), 0.05)
    assert "say hello" in ok(home.cli("ask", sid, "history"))
    assert record(home, sid)["cli"] == agent
    assert ok(home.cli("kill", sid)) == f"Killed session {sid}\n"
    assert home.leftovers() == {}
