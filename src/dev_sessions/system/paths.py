"""The environment variables that are read, and the files and directories below the home directory."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from dev_sessions.system import pid_namespace

#: Milliseconds that `create` waits for an agent to report that it is ready.
READY_TIMEOUT_MS = "DEV_SESSIONS_TRANSCRIPT_TIMEOUT_MS"
#: "1" inside a container: every command goes through the host's gateway. (See `uses_gateway`.)
SANDBOX = "DEV_SESSIONS_SANDBOX"
#: The URL of the gateway for such a container, and its token, as a value or in a file.
GATEWAY_URL = "DEV_SESSIONS_GATEWAY_URL"
GATEWAY_TOKEN = "DEV_SESSIONS_GATEWAY_TOKEN"
GATEWAY_TOKEN_FILE = "DEV_SESSIONS_GATEWAY_TOKEN_FILE"
#: The port that the gateway listens on.
GATEWAY_PORT = "DEV_SESSIONS_GATEWAY_PORT"
#: The command to run on another machine; may contain arguments.
REMOTE_BIN = "DEV_SESSIONS_REMOTE_BIN"
DEFAULT_REMOTE_BIN = "dev-sessions"
#: The container's workspace, and its path on the host.
CONTAINER_WORKSPACE = "CONTAINER_WORKSPACE"
HOST_PATH = "HOST_PATH"

#: The suffix of the directory beside a repository that holds the worktrees of sessions.
WORKTREES_SUFFIX = ".worktrees"


def as_on_disk(path: str) -> str:
    """Return the absolute form of a path, spelled as in the directories themselves.

    On a Mac names are found in any case and Unicode form, but the agents' trust and history, git's worktrees and our
    own comparisons go by how the path is spelled. Links are not resolved.
    """
    found = os.sep
    for name in filter(None, os.path.abspath(path).split(os.sep)):
        other = name.swapcase()
        is_found_by_others = other == name or os.path.lexists(os.path.join(found, other))
        found = os.path.join(found, _name_on_disk(found, name) if is_found_by_others else name)
    return found


def _name_on_disk(folder: str, name: str) -> str:
    with contextlib.suppress(OSError):  # it does not exist, or the folder may not be listed
        status = os.lstat(os.path.join(folder, name))
        entries = os.listdir(folder)
        for entry in entries if name not in entries else ():
            with contextlib.suppress(OSError):
                if os.path.samestat(os.lstat(os.path.join(folder, entry)), status):
                    return entry
    return name


def home() -> Path:
    """Return the user's home directory."""
    return Path.home()


def state_dir() -> Path:
    """Return `~/.dev-sessions`, the directory of all state."""
    return home() / ".dev-sessions"


def store_file() -> Path:
    """Return the file of the session store."""
    return state_dir() / "sessions.json"


def codex_dir(codex_home: str | None = None) -> Path:
    """Return the directory of the app-server for a CODEX_HOME: socket, state and log. Mode 0700.

    None: the default one, or the one of a session that an earlier version created.
    """
    if codex_home in (None, str(home() / ".codex")):
        return state_dir() / "codex"
    import zlib

    return state_dir() / f"codex-{zlib.crc32(os.fsencode(str(codex_home))):08x}"


def codex_dirs() -> list[Path]:
    """Return the directories of all app-servers; the default one may not exist."""
    return [codex_dir(), *sorted(found for found in state_dir().glob("codex-*") if found.is_dir())]


def legacy_appserver_file() -> Path:
    """Return the file in which version 0.4 records its app-server; it is only read."""
    return state_dir() / "codex-appserver.json"


def locks_dir() -> Path:
    """Return the directory of the lock files of sessions and repositories."""
    return state_dir() / "locks"


def sender_lock(session_id: str) -> Path:
    """Return the lock file of a session's sender, held from the check of its dialogs to the proof of arrival."""
    return locks_dir() / f"{session_id}.lock"


def wait_lock(waiter: str, target: str) -> Path:
    """Return the lock file that a session's command holds while it waits for another session."""
    return locks_dir() / f"{waiter}.{target}.wait"


def alive_lock(session_id: str) -> Path:
    """Return the lock file that the process of a session's agent holds for life."""
    return locks_dir() / f"{session_id}.alive"


def gateway_port() -> str:
    """Return the port of this machine's gateway, as text and not validated."""
    return os.environ.get(GATEWAY_PORT) or "6767"


def ssh_dir() -> Path:
    """Return the directory of the sockets of shared ssh connections. Mode 0700."""
    return state_dir() / "ssh"


def remote_bin() -> str:
    """Return the command to run on another machine."""
    return os.environ.get(REMOTE_BIN) or DEFAULT_REMOTE_BIN


def worktree_lock(name: str) -> Path:
    """Return the lock file for adding and removing worktrees of a repository, of which `name` is an id."""
    return locks_dir() / f"worktrees-{name}.lock"


def launch_dir() -> Path:
    """Return the directory of launch specs, each with an agent's environment until it has started. Mode 0700."""
    return state_dir() / "launch"


def gateway_log() -> Path:
    """Return the log file of the installed gateway."""
    return state_dir() / "gateway.log"


def gateway_token_file() -> Path:
    """Return the file with the token of the installed gateway. Mode 0600."""
    return state_dir() / "gateway-token"


def claude_config_dir() -> Path:
    """Return the directory of Claude's configuration, transcripts and session files."""
    configured = os.environ.get("CLAUDE_CONFIG_DIR")
    return Path(os.path.expanduser(configured)).absolute() if configured else home() / ".claude"


def codex_home() -> Path:
    """Return the directory of Codex's configuration and conversations."""
    configured = os.environ.get("CODEX_HOME")
    return Path(os.path.expanduser(configured)).absolute() if configured else home() / ".codex"


def ready_timeout() -> float:
    """Return the seconds that `create` waits for an agent to report that it is ready."""
    try:
        return max(0.0, int(os.environ.get(READY_TIMEOUT_MS, "")) / 1000)
    except ValueError:
        return 15.0


def gateway_url() -> str:
    """Return the URL of the gateway for a container."""
    return os.environ.get(GATEWAY_URL) or "http://host.docker.internal:6767"


def container_workspace() -> str:
    """Return the path of the container's workspace, which it shares with the host."""
    return os.environ.get(CONTAINER_WORKSPACE) or "/workspace"


def host_path() -> str | None:
    """Return the path of the container's workspace on the host; None when it is not set."""
    return os.environ.get(HOST_PATH) or None


def uses_gateway() -> bool:
    """Return whether commands go through the host's gateway.

    They do in a container (SANDBOX is 1), and in an agent's sandbox that has the URL of a unix socket.
    """
    chosen = os.environ.get(SANDBOX)
    if chosen:
        return chosen == "1"
    return os.environ.get(GATEWAY_URL, "").startswith("unix://") and pid_namespace.is_sandboxed()


def shares_paths() -> bool:
    """Return whether a path means the same folder on the gateway's host: in an agent's sandbox, not in a container."""
    return not any(os.environ.get(name) for name in (SANDBOX, HOST_PATH, CONTAINER_WORKSPACE))


def repository_of(worktree: str) -> str:
    """Return the repository of a session's worktree: `/code/app` for `/code/app.worktrees/fizz-top`."""
    return os.path.dirname(worktree).removesuffix(WORKTREES_SUFFIX)
