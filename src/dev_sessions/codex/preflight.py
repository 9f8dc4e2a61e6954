"""Codex's login, as far as its files and the environment show it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

_KEYS = ("CODEX_API_KEY", "OPENAI_API_KEY")


def login(codex_home: Path, environ: Mapping[str, str]) -> str | None:
    """Return what Codex logs in with, unverified; None when nothing is found. Raises ValueError for invalid TOML.

    A custom provider needs the environment variable that its `env_key` names, and nothing without an `env_key`.
    """
    provider = _custom_provider(codex_home / "config.toml")
    if provider is not None:
        name, key = provider
        return f"its provider {name}" if key is None or environ.get(key) else None
    if (codex_home / "auth.json").is_file():
        return "its auth.json"
    return next((name for name in _KEYS if environ.get(name)), None)


def _custom_provider(config: Path) -> tuple[str, str | None] | None:
    """Return the name of the custom provider that the configuration selects, and its `env_key`; None without one."""
    try:
        settings = tomllib.loads(config.read_text(encoding="utf-8"))
    except OSError:
        return None
    match settings:
        case {"model_provider": str(name), "model_providers": {**providers}}:
            provider = providers.get(name)
            if isinstance(provider, dict) and provider.get("requires_openai_auth") is not True:
                key = provider.get("env_key")
                return name, key if isinstance(key, str) else None
    return None
