"""Read whether systemd-logind ends the processes of a login when its user logs out (logind.conf(5))."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

#: Where systemd looks for configuration, the most important directory first.
_DIRECTORIES = ("etc", "run", "usr/local/lib", "usr/lib")
_TRUE = frozenset({"1", "yes", "y", "true", "t", "on"})
_FALSE = frozenset({"0", "no", "n", "false", "f", "off"})


def configuration(root: Path = Path("/")) -> list[str]:
    """Return the texts of logind.conf and of its drop-ins, in the order in which they count."""
    directories = [root / directory / "systemd" for directory in _DIRECTORIES]
    main = [found for directory in directories if (found := directory / "logind.conf").is_file()]
    drop_ins: dict[str, Path] = {}
    for directory in reversed(directories):  # a file of the same name replaces one of a less important directory
        drop_ins |= {file.name: file for file in (directory / "logind.conf.d").glob("*.conf")}
    texts = []
    for file in (*main[:1], *(drop_ins[name] for name in sorted(drop_ins))):
        with contextlib.suppress(OSError):
            texts.append(file.read_text(encoding="utf-8", errors="replace"))
    return texts


def ends_processes_of(user: str, texts: Iterable[str]) -> bool:
    """Return whether the processes of a user's login end with it::

    [Login]
    KillUserProcesses=yes
    KillExcludeUsers=root alice
    """
    kills = False
    lists: dict[str, list[str]] = {}
    for key, value in (pair for text in texts for pair in _settings(text)):
        if key == "KillUserProcesses" and value.lower() in _TRUE | _FALSE:
            kills = value.lower() in _TRUE
        elif key in ("KillOnlyUsers", "KillExcludeUsers"):
            # An empty value empties the list; others add to it.
            lists[key] = [*lists.get(key, []), *value.split()] if value else []
    if user in lists.get("KillExcludeUsers", ["root"]):
        return False
    only = lists.get("KillOnlyUsers")
    return user in only if only else kills


def _settings(text: str) -> Iterable[tuple[str, str]]:
    """Yield the settings of the section [Login]."""
    section = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            section = line
        elif section == "[Login]" and "=" in line and line[0] not in "#;":
            key, _, value = line.partition("=")
            yield key.strip(), value.strip()
