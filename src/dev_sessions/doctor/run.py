"""Run all checks of this machine, or of a container."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

from dev_sessions.doctor import jobs, network, programs, state, tmux
from dev_sessions.doctor.check import Check, CheckFunction, run_checks
from dev_sessions.doctor.programs import Program
from dev_sessions.system import paths
from dev_sessions.system.fast_dataclass import replace

_AGENTS = ("claude", "codex")


def run_all(folder: str) -> list[Check]:
    """Return the results of all checks; `folder` is the working directory of a new session."""
    if paths.uses_gateway():
        in_container: dict[str, CheckFunction] = {
            "python": programs.python,
            "workspace": network.workspace,
            "gateway": network.gateway_of_container,
        }
        return run_checks(in_container)
    found = dict.fromkeys(_AGENTS, Program(None, problem="could not be checked"))

    def find(name: str) -> tuple[Check, ...]:
        found[name] = programs.find(name)
        return ()

    failures = run_checks({name: partial(find, name) for name in _AGENTS})
    claude, codex = (found[name] for name in _AGENTS)
    results = run_checks(
        {
            "python": programs.python,
            "command": programs.command,
            "sandbox": state.sandbox,
            "claude": lambda: programs.claude(claude, folder),
            "tmux": lambda: programs.tmux(needed=claude.path is not None),
            "tmux configuration": lambda: tmux.configuration(needed=claude.path is not None),
            "codex": lambda: programs.codex(codex),
            "unit": jobs.servers,
            "app-server": lambda: state.app_server(codex),
            "store": state.store,
            "lock": state.lock,
            "sessions": state.sessions,
            "worktree": lambda: state.worktrees(folder),
            "launch": state.launch_specs,
            "tmux sessions": state.tmux_sessions,
            "hosts": network.hosts,
            "gateway": network.gateway,
            "skills": lambda: programs.skills(Path(folder)),
        }
    )
    too_old = {name for name in _AGENTS if programs.why_too_old(name, found[name]) is not None}
    return adjust_verdicts([*failures, *results], too_old)


def adjust_verdicts(checks: Sequence[Check], too_old: Collection[str] = ()) -> list[Check]:
    """If one agent works, turn broken checks of the other one into warnings, unless that is in `too_old`."""
    broken = {check.name.split()[0] for check in checks if check.verdict == "broken"}
    if broken.issuperset(_AGENTS):
        return list(checks)
    optional = set(_AGENTS).difference(too_old)
    return [
        replace(check, verdict="warning") if check.verdict == "broken" and check.name.split()[0] in optional else check
        for check in checks
    ]
