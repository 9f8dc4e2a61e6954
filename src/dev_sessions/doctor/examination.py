"""All checks of this machine, or of a container."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from dev_sessions.doctor import network, programs, state
from dev_sessions.doctor.check import Check, Snapshot, look_at_all
from dev_sessions.doctor.programs import Program
from dev_sessions.system import paths

_AGENTS = ("claude", "codex")


def examine(folder: str) -> list[Check]:
    """What every check says; `folder` is where a `create` would work."""
    if paths.in_sandbox():
        looks: dict[str, Snapshot] = {
            "python": programs.python,
            "workspace": network.workspace,
            "gateway": network.gateway_of_container,
        }
        return look_at_all(looks)
    found = dict.fromkeys(_AGENTS, Program(None, problem="could not be looked at"))

    def finds(name: str) -> Snapshot:
        def find() -> tuple[Check, ...]:
            found[name] = programs.find(name)
            return ()

        return find

    troubles = look_at_all({name: finds(name) for name in _AGENTS})
    claude, codex = (found[name] for name in _AGENTS)
    seen = look_at_all(
        {
            "python": programs.python,
            "sandbox": state.sandbox,
            "claude": lambda: programs.claude(claude, folder),
            "tmux": lambda: programs.tmux(needed=claude.path is not None),
            "codex": lambda: programs.codex(codex),
            "app-server": lambda: state.app_server(codex),
            "store": state.store,
            "lock": state.lock,
            "sessions": state.sessions,
            "launch": state.launch_specs,
            "tmux sessions": state.tmux_sessions,
            "hosts": network.hosts,
            "gateway": network.gateway,
            "skills": lambda: programs.skills(Path(folder)),
        }
    )
    return weighed([*troubles, *seen], {name for name in _AGENTS if programs.is_too_old(name, found[name])})


def weighed(checks: Sequence[Check], too_old: Collection[str] = ()) -> list[Check]:
    """One agent is enough: what the other one lacks is only to be known, unless it is installed and `too_old`."""
    lacking = {check.name.split()[0] for check in checks if check.verdict == "broken"}
    if lacking.issuperset(_AGENTS):
        return list(checks)
    excused = set(_AGENTS).difference(too_old)
    return [
        replace(check, verdict="warning") if check.verdict == "broken" and check.name.split()[0] in excused else check
        for check in checks
    ]
