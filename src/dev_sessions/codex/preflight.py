"""Check what Codex needs before a session can start: its version, its folder for sockets, and its login as far as its
files show it."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dev_sessions.agent_options import codex_config, merged
from dev_sessions.codex.client import OLDEST_SUPPORTED, server_name
from dev_sessions.errors import ProgramMissing, StartFailed
from dev_sessions.models import JsonObject
from dev_sessions.system import process
from dev_sessions.system.foreign_files import read_regular
from dev_sessions.system.programs import how_to_install, run
from dev_sessions.system.version import parse_version, version_text

if TYPE_CHECKING:
    from dev_sessions.codex.app_server_state import ServerState

_KEYS = ("CODEX_API_KEY", "OPENAI_API_KEY")
#: Characters of the output of `codex --version` that an error quotes.
_MAX_OUTPUT = 4096


def require_supported(version: tuple[int, ...]) -> None:
    """Raise ProgramMissing for a Codex that is too old."""
    if version < OLDEST_SUPPORTED:
        needed = f"{version_text(OLDEST_SUPPORTED)} or newer is needed"
        raise ProgramMissing(f"Codex {version_text(version)} is too old: {needed}; {how_to_install('codex')}")


def require_supported_program(program: str) -> tuple[int, ...]:
    """Return the version of an installed Codex. Raises StartFailed when it hangs, ProgramMissing when it is too old."""
    try:
        done = run([program, "--version"])
    except TimeoutError as error:
        raise StartFailed(f"{error}; see what hangs with: codex --version") from error
    version = parse_version(done.stdout)
    if not version:
        printed = (done.stderr or done.stdout).strip()[-_MAX_OUTPUT:]
        raise ProgramMissing(f"{program} --version names no version; {how_to_install('codex')}. It printed:\n{printed}")
    require_supported(version)
    return version


def require_environment(
    server: ServerState | None, codex_home: Path, environ: Mapping[str, str], args: Sequence[str] = ()
) -> None:
    """Raise StartFailed if a running app-server has another CODEX_HOME, or not the key that the provider needs.

    Neither can be given to a thread. `args` are the session's own options, which may choose another provider.
    """
    if server is not None and server.codex_home not in ("", str(codex_home)):
        raise StartFailed(
            f"{server_name(server.pid_here)} was started with CODEX_HOME={server.codex_home}, and it is"
            f" {codex_home} here; end the sessions that use it (dev-sessions list), and the next create starts one"
        )
    try:
        settings = _settings(codex_home / "config.toml")
    except ValueError:  # Codex itself says so
        settings = {}
    _, key = _custom_provider(merged(settings, codex_config(args, codex_home))) or ("", None)
    if key is None:
        return
    if not environ.get(key):
        raise StartFailed(f"Codex's provider needs {key}, which is not set here; set it, then create the session again")
    if server is not None and server.variables is not None and key not in server.variables:
        raise StartFailed(
            f"{server_name(server.pid_here)} was started without {key}, which its provider needs now; end its sessions"
            " (dev-sessions list), and the next create starts one that has it"
        )
    started_with = process.environment_of(server.pid_here) if server is not None and server.pid_here else {}
    if started_with.get(key, environ[key]) != environ[key]:
        raise StartFailed(
            f"{server_name(server.pid_here if server else 0)} was started with another {key}, which this session would"
            " use; create it with a CODEX_HOME of its own, or end the sessions of the other one (dev-sessions list)"
        )


def login(codex_home: Path, environ: Mapping[str, str]) -> str | None:
    """Return what Codex logs in with, unverified; None when nothing is found. Raises ValueError for invalid TOML.

    A custom provider needs the environment variable that its `env_key` names, and nothing without an `env_key`.
    """
    provider = _custom_provider(_settings(codex_home / "config.toml"))
    if provider is not None:
        name, key = provider
        return f"its provider {name}" if key is None or environ.get(key) else None
    if (codex_home / "auth.json").is_file():
        return "its auth.json"
    return next((name for name in _KEYS if environ.get(name)), None)


def _settings(config: Path) -> JsonObject:
    """Return the content of config.toml, empty if it cannot be read. Raises ValueError for invalid TOML."""
    import tomllib

    try:
        return tomllib.loads(read_regular(config).decode())
    except OSError:
        return {}
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _custom_provider(settings: JsonObject) -> tuple[str, str | None] | None:
    """Return the name of the custom provider that the configuration selects, and its `env_key`; None without one."""
    match settings:
        case {"model_provider": str(name), "model_providers": {**providers}}:
            provider = providers.get(name)
            if isinstance(provider, dict) and provider.get("requires_openai_auth") is not True:
                key = provider.get("env_key")
                return name, key if isinstance(key, str) else None
    return None


def socket_dir_problem(directory: str) -> str | None:
    """Return why Codex does not use the directory for its sockets; None if it does.

    It has to be a directory of this user with mode 0700, wherever TMPDIR is; otherwise Codex ends with a backtrace and
    "app-server socket directory must be a user-owned directory with mode 0700" (0.171; 0.169 was the first to use it).
    """
    try:
        status = os.lstat(directory)
    except OSError:
        return None
    if status.st_uid != os.geteuid():
        problem = f"belongs to user {status.st_uid}, not to you (user {os.geteuid()})"
        advice = "have that user or root remove it"
    elif not stat.S_ISDIR(status.st_mode):
        problem, advice = "is not a directory", f"remove it: rm {directory}"
    elif stat.S_IMODE(status.st_mode) != 0o700:
        problem, advice = f"has mode {stat.S_IMODE(status.st_mode):04o}", f"chmod 700 {directory}"
    else:
        return None
    return f"Codex does not start because {directory}, where it has its sockets, {problem}; {advice}, and try again"
