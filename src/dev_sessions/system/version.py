"""Version numbers of other programs and of this one."""

from __future__ import annotations

import re


def parse_version(text: str) -> tuple[int, ...]:
    """Return the first version number in a text, for comparing: (0, 169, 0) for `codex-cli 0.169.0`; () for none."""
    match = re.search(r"(?<![0-9])[0-9]{1,9}(?:\.[0-9]{1,9})+(?![0-9])", text)
    return tuple(map(int, match[0].split("."))) if match else ()


def version_text(version: tuple[int, ...]) -> str:
    """Return a version number as it is written: `0.169.0`."""
    return ".".join(map(str, version))
