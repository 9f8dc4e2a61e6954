"""`install-skill`: install the skills for Claude Code and Codex."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

from dev_sessions import skills
from dev_sessions.errors import SkillNotInstalled
from dev_sessions.models import SESSION_TYPES, Cli
from dev_sessions.system import paths


@click.command("install-skill")
@click.option("--global", "everywhere", is_flag=True, help="Install for all your projects.  [default]")
@click.option("--local", is_flag=True, help="Install for the current folder and those below it.")
@click.option("--claude", is_flag=True, help="Install for Claude Code.")
@click.option("--codex", is_flag=True, help="Install for Codex.")
@click.option("--uninstall", is_flag=True, help="Remove the skills from where they would be installed.")
def install_skill_command(everywhere: bool, local: bool, claude: bool, codex: bool, uninstall: bool) -> int:
    """Teach Claude Code and Codex to use dev-sessions.

    Installs three skills, instructions that the agents read when they need them.

    Without --claude and --codex, installs for each agent that has a configuration folder (~/.claude, ~/.codex). Older
    versions of the skills are replaced; a different skill of the same name is left alone (exit 1). In a container, the
    skills are installed in the container.

    Also prints what to add to the agents' settings so that they may run dev-sessions without asking.

    \b
    Example: dev-sessions install-skill
             dev-sessions install-skill --local --codex
             dev-sessions install-skill --uninstall
    """
    if everywhere and local:
        raise click.UsageError("use only one of --global and --local")
    if uninstall:
        asked_for = {"claude": claude, "codex": codex}
        removed = [agent for agent in SESSION_TYPES if asked_for[agent] or not any(asked_for.values())]
        return _uninstall([skills.directory(agent, local=local) for agent in removed])
    agents = _agents(claude, codex)
    places = [skills.directory(agent, local=local) for agent in agents]
    failed = False
    for place in places:
        for name, text in skills.shipped().items():
            try:
                click.echo(f"Installed skill: {name} → {skills.install(name, text, place)}")
            except SkillNotInstalled as error:
                click.echo(str(error), err=True)
                failed = True
    for agent in () if failed else agents:
        if advice := skills.permission_advice(agent):
            click.echo(advice)
    return 1 if failed else 0


def _uninstall(places: Iterable[Path]) -> int:
    results = [skills.uninstall(place) for place in places]
    for removed, left in results:
        for file in removed:
            click.echo(f"Removed skill: {file.parent.name} ({file})")
        for line in left:
            click.echo(line, err=True)
    if not any(removed or left for removed, left in results):
        click.echo("No skills to remove")
    return 1 if any(left for _, left in results) else 0


def _agents(claude: bool, codex: bool) -> list[Cli]:
    """Return the requested agents, or else those that have a configuration folder."""
    homes: dict[Cli, bool] = {"claude": paths.claude_config_dir().is_dir(), "codex": paths.codex_home().is_dir()}
    selected: dict[Cli, bool] = {"claude": claude, "codex": codex} if claude or codex else homes
    if not any(selected.values()):
        click.echo(
            f"Neither {paths.claude_config_dir()} nor {paths.codex_home()} exists; installing for Claude Code", err=True
        )
        return ["claude"]
    return [agent for agent, is_selected in selected.items() if is_selected]
