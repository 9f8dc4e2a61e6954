"""Check what Claude Code needs before a session can start, by its files and the environment.

Measured on 2.1.250 to 2.1.330: the dialogs that it may show before it starts, and what keeps each away.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dev_sessions.errors import ProgramMissing
from dev_sessions.system import paths
from dev_sessions.system.foreign_files import read_regular
from dev_sessions.system.json_object import read_object
from dev_sessions.system.programs import TooMuchOutput, find_program, run_in_own_group
from dev_sessions.system.version import parse_version, version_text

_CREDENTIALS = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN")
_CLOUD_PROVIDERS = ("CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX", "CLAUDE_CODE_USE_FOUNDRY")
_ENTER, _SUBMIT = ("enter", "return"), "chat:submit"
_OLDEST_SUPPORTED = (2, 1, 250)
#: The question that `create --trust` answers.
TRUST_QUESTION = "whether it may trust this folder"
#: Seconds for the program to print its version (measured: 0.01).
_VERSION_TIMEOUT = 5.0
#: The `migrationVersion` from which on the answer is in the settings; 2.1.330 has 15.
_ANSWER_IN_SETTINGS = 11


def require_supported(version: tuple[int, ...]) -> None:
    """Raise ProgramMissing, naming the version that is needed, if a Claude Code is too old. () means not known."""
    if version and version < _OLDEST_SUPPORTED:
        found, oldest = version_text(version), version_text(_OLDEST_SUPPORTED)
        raise ProgramMissing(
            f"Claude Code {found} is too old: {oldest} or newer is needed; install one with: claude update"
        )


def require_supported_program() -> None:
    """Raise ProgramMissing when the Claude Code on PATH is too old or missing.

    One that does not print its version may be a wrapper; its version is checked once it runs.
    """
    program = find_program("claude")
    with contextlib.suppress(TimeoutError, TooMuchOutput):
        require_supported(
            parse_version(run_in_own_group([program, "--version"], env=os.environ, timeout=_VERSION_TIMEOUT).stdout)
        )


def rebound_enter(config_dir: Path) -> Path | None:
    """Return the file that has Enter do something else than submit a message, or None::

        {"bindings": [{"context": "Chat", "bindings": {"enter": "chat:newline", "ctrl+j": "chat:submit"}}]}

    Claude follows changes of the file while it runs (2.1.332).
    """
    file = config_dir / "keybindings.json"
    blocks = read_object(file).get("bindings")
    action: object = _SUBMIT
    for block in blocks if isinstance(blocks, list) else ():
        if isinstance(block, dict) and block.get("context") in ("Global", "Chat"):
            bindings = block.get("bindings")
            for key, bound in bindings.items() if isinstance(bindings, dict) else ():
                if key.lower() in _ENTER:
                    action = bound
    return file if action != _SUBMIT else None


class Configuration:
    """Claude's own files, and the environment that a session would have."""

    def __init__(self, config_dir: Path, environ: Mapping[str, str]) -> None:
        moved = config_dir != paths.home() / ".claude"
        self._state = read_object(config_dir / ".claude.json" if moved else paths.home() / ".claude.json")
        self._settings = read_object(config_dir / "settings.json")
        self._has_credentials = (config_dir / ".credentials.json").is_file()
        own = self._settings.get("env")
        self._environ: Mapping[str, Any] = {**environ, **(own if isinstance(own, dict) else {})}

    def login(self) -> str | None:
        """Return the source of the login, or None. Only a request can tell whether the login is still valid."""
        for name in (*_CREDENTIALS, *_CLOUD_PROVIDERS):
            if self._environ.get(name) and not (name == "ANTHROPIC_API_KEY" and self._key_answer() == "rejected"):
                return name
        if self._settings.get("apiKeyHelper"):
            return "apiKeyHelper of its settings"
        if self._has_credentials:
            return "its credentials file"
        return "its account" if self._state.get("oauthAccount") or self._state.get("primaryApiKey") else None

    def questions(self, folder: str) -> list[str]:
        """Return what Claude would ask before it starts in a folder; any of it makes a `create` fail."""
        asked = []
        if self._state.get("hasCompletedOnboarding") is not True:
            asked.append("its first questions")
        if self._environ.get("ANTHROPIC_API_KEY") and self._key_answer() is None:
            asked.append("whether to use ANTHROPIC_API_KEY")
        if not self._trusts(folder):
            asked.append(TRUST_QUESTION)
        if not self._may_skip_permissions():
            asked.append("whether it may work without asking for permissions")
        return asked

    def _may_skip_permissions(self) -> bool:
        if self._settings.get("skipDangerousModePermissionPrompt") is True:
            return True
        # An older version's answer. A newer one moves it into the settings when it first runs, and then ignores this.
        migrated = self._state.get("migrationVersion")
        moved = isinstance(migrated, int) and migrated >= _ANSWER_IN_SETTINGS
        return self._state.get("bypassPermissionsModeAccepted") is True and not moved

    def _key_answer(self) -> str | None:
        """Return the recorded answer about the API key in the environment, which is identified by its end."""
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
            for place in _trusting_folders(Path(os.path.realpath(folder)))
        )


def _trusting_folders(folder: Path) -> Iterator[str]:
    """Yield the folders whose trust applies: upwards to the repository's root, and for a worktree its repository."""
    for place in (folder, *folder.parents):
        yield str(place)
        git = place / ".git"
        if git.exists():
            if git.is_file():
                # gitdir: <repository>/.git/worktrees/<name>
                with contextlib.suppress(OSError):
                    target = os.fsdecode(read_regular(git)).partition(":")[2].strip()
                    common, mark, _ = target.partition("/.git/worktrees/")
                    if mark:
                        yield common
            return
