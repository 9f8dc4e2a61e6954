"""What Claude Code needs before a session of it can start, as far as its files and the environment tell.

Measured on 2.1.250 to 2.1.330: which of its dialogs stand before a start, and what keeps each away.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dev_sessions.errors import ProgramMissing
from dev_sessions.models import JsonObject
from dev_sessions.system import paths
from dev_sessions.system.process import find_program, run_apart
from dev_sessions.system.version import parse_version, version_text

_CREDENTIALS = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN")
_OTHER_CLOUDS = ("CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX", "CLAUDE_CODE_USE_FOUNDRY")
_OLDEST = (2, 1, 250)
#: Seconds for the program to name its version (measured: 0.01).
_PATIENCE = 5.0
#: `migrationVersion` from which on the answer lies in the settings; that of 2.1.330 is 15.
_MOVED_THE_ANSWER = 11


def require_supported(version: tuple[int, ...]) -> None:
    """ProgramMissing, which names the version that is needed, for a Claude Code that is too old. () is not known."""
    if version and version < _OLDEST:
        found, oldest = version_text(version), version_text(_OLDEST)
        raise ProgramMissing(
            f"Claude Code {found} is too old: {oldest} or newer is needed; install one with: claude update"
        )


def require_supported_program() -> None:
    """ProgramMissing when the Claude Code on PATH is too old, or there is none. One that does not tell its version may
    be a wrapper, and tells it once it runs."""
    program = find_program("claude")
    with contextlib.suppress(TimeoutError):
        require_supported(parse_version(run_apart([program, "--version"], env=os.environ, timeout=_PATIENCE).stdout))


class Configuration:
    """Claude's own files, and the environment that a session would get."""

    def __init__(self, config_dir: Path, environ: Mapping[str, str]) -> None:
        moved = config_dir != paths.home() / ".claude"
        self._state = _read(config_dir / ".claude.json" if moved else paths.home() / ".claude.json")
        self._settings = _read(config_dir / "settings.json")
        self._has_credentials = (config_dir / ".credentials.json").is_file()
        own = self._settings.get("env")
        self._environ: Mapping[str, Any] = {**environ, **(own if isinstance(own, dict) else {})}

    def login(self) -> str | None:
        """By what it is logged in; None when nothing is found. Whether that is still good, only a request tells."""
        for name in (*_CREDENTIALS, *_OTHER_CLOUDS):
            if self._environ.get(name) and not (name == "ANTHROPIC_API_KEY" and self._key_answer() == "rejected"):
                return name
        if self._settings.get("apiKeyHelper"):
            return "apiKeyHelper of its settings"
        if self._has_credentials:
            return "its credentials file"
        return "its account" if self._state.get("oauthAccount") or self._state.get("primaryApiKey") else None

    def questions(self, folder: str) -> list[str]:
        """What it would ask before it starts in a folder, each of which keeps a `create` from succeeding."""
        asked = []
        if self._state.get("hasCompletedOnboarding") is not True:
            asked.append("its first questions")
        if self._environ.get("ANTHROPIC_API_KEY") and self._key_answer() is None:
            asked.append("whether to use ANTHROPIC_API_KEY")
        if not self._trusts(folder):
            asked.append("whether it may trust this folder")
        if not self._may_skip_permissions():
            asked.append("whether it may work without asking for permissions")
        return asked

    def _may_skip_permissions(self) -> bool:
        if self._settings.get("skipDangerousModePermissionPrompt") is True:
            return True
        # Where the answer once lay. It is moved into the settings when a newer version first runs, and not looked at
        # again.
        migrated = self._state.get("migrationVersion")
        moved = isinstance(migrated, int) and migrated >= _MOVED_THE_ANSWER
        return self._state.get("bypassPermissionsModeAccepted") is True and not moved

    def _key_answer(self) -> str | None:
        """What was answered about the API key of the environment, which is known by its end."""
        end = str(self._environ.get("ANTHROPIC_API_KEY", ""))[-20:]
        answers = self._state.get("customApiKeyResponses")
        for answer in ("approved", "rejected"):
            if isinstance(answers, dict) and end in (answers.get(answer) or ()):
                return answer
        return None

    def _trusts(self, folder: str) -> bool:
        projects = self._state.get("projects")
        if self._environ.get("CLAUDE_CODE_SANDBOXED"):
            return True
        return isinstance(projects, dict) and any(
            isinstance(project := projects.get(place), dict) and project.get("hasTrustDialogAccepted") is True
            for place in _spoken_for_by(Path(os.path.realpath(folder)))
        )


def _spoken_for_by(folder: Path) -> Iterator[str]:
    """The folders whose trust counts: upwards, from within a repository to its root, of a worktree the repository's."""
    for place in (folder, *folder.parents):
        yield str(place)
        git = place / ".git"
        if git.exists():
            if git.is_file():
                # gitdir: <repository>/.git/worktrees/<name>
                common, mark, _ = git.read_text().partition(":")[2].strip().partition("/.git/worktrees/")
                if mark:
                    yield common
            return


def _read(path: Path) -> JsonObject:
    """A JSON file of the program; what is not there, or not of that form, says nothing."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
