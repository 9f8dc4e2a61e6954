"""Whether Codex is logged in, as far as its files and the environment tell."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

_KEYS = ("CODEX_API_KEY", "OPENAI_API_KEY")


def login(codex_home: Path, environ: Mapping[str, str]) -> str | None:
    """By what it is logged in; None when nothing is found. Whether that is still good, only a request tells.

    A provider of the user's own needs the variable that its `env_key` names, and none without one. ValueError when the
    configuration is not TOML.
    """
    provider = _own_provider(codex_home / "config.toml")
    if provider is not None:
        name, key = provider
        return f"its provider {name}" if key is None or environ.get(key) else None
    if (codex_home / "auth.json").is_file():
        return "its auth.json"
    return next((name for name in _KEYS if environ.get(name)), None)


def _own_provider(config: Path) -> tuple[str, str | None] | None:
    """The provider that the configuration defines and chooses, and the variable that holds its key."""
    try:
        found = tomllib.loads(config.read_text(encoding="utf-8"))
    except OSError:
        return None
    match found:
        case {"model_provider": str(name), "model_providers": {**providers}}:
            own = providers.get(name)
            if isinstance(own, dict) and own.get("requires_openai_auth") is not True:
                key = own.get("env_key")
                return name, key if isinstance(key, str) else None
    return None
