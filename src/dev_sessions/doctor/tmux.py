"""Check the user's configuration of tmux for settings that break sessions."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator

from dev_sessions.claude.tmux_configuration import TmuxConfiguration, configuration_files, read_configuration
from dev_sessions.doctor.check import TIMEOUT, Check

_NAME = "tmux configuration"
#: A hook that runs one of these, or the short form of one, may end a session.
_KILLS = r"\b(kill-(session|server|window|pane)|kill[wp]|unlink-window|respawn-(pane|window))\b"
#: What a hook after a command prints, whoever gave that command gets as a part of its answer (3.3a to 3.8).
_PRINTS = r"\b(display(-message)?|capture(-pane|p)) ([^;]* )?-\w*p\b|\b(list|show)-\w+"


def configuration(*, needed: bool) -> Iterator[Check]:
    """Check the options and hooks of the running tmux server, or of one that reads the user's files."""
    if not needed or shutil.which("tmux") is None:
        return
    found = read_configuration(TIMEOUT)
    problems = [*_problems(found)]
    yield from problems
    if not problems:
        where = "the running server" if found.is_running else ", ".join(map(str, configuration_files())) or "none"
        yield Check(_NAME, "ok", f"nothing harmful: {where}")


def _problems(found: TmuxConfiguration) -> Iterator[Check]:
    for error in found.errors:
        text = f"{error!r} in {' or '.join(map(str, configuration_files()))}; correct or remove that line"
        yield Check(_NAME, "warning", text)
    if found.values.get("exit-unattached") == "on":
        text = "exit-unattached ends the server, with every session, when nobody is attached"
        yield Check(_NAME, "broken", f"{text}; {_unset('exit-unattached', '-s')}")
    if found.values.get("destroy-unattached", "off") != "off":
        text = "destroy-unattached ends sessions when nobody is attached, those of older versions of dev-sessions, too"
        yield Check(_NAME, "warning", f"{text}; {_unset('destroy-unattached', '-g')}")
    if found.values.get("window-size") == "manual":
        text = f"window-size manual crashes tmux 3.3a with the next new session; {_unset('window-size', '-gw')}"
        yield Check(_NAME, "warning", text)
    for name, value in found.values.items():
        hook, array, _ = name.partition("[")
        if array and not hook.startswith("@") and (kills := re.search(_KILLS, value)):
            text = f"the hook {hook} runs {kills[0]}, which may end sessions; {_unset(hook, '-g', 'set-hook')}"
            yield Check(_NAME, "warning", text)
        elif array and hook.startswith("after-") and (prints := re.search(_PRINTS, value)):
            text = f"what the hook {hook} prints with {prints[0]} becomes a part of tmux's answers to dev-sessions"
            yield Check(_NAME, "warning", f"{text}; {_unset(hook, '-g', 'set-hook')}")


def _unset(name: str, scope: str, command: str = "set-option") -> str:
    return f"remove it from your tmux.conf, and from a running server with: tmux {command} {scope} -u {name}"
