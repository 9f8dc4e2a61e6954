"""Every environment variable that is read, and every place below the home directory that is used."""

from __future__ import annotations

import os
from pathlib import Path

#: Milliseconds that `create` waits for an agent to report that it is ready.
READY_TIMEOUT_MS = "DEV_SESSIONS_TRANSCRIPT_TIMEOUT_MS"
#: "1" inside a container: every command goes through the host's gateway.
SANDBOX = "DEV_SESSIONS_SANDBOX"
#: Where such a container finds the gateway, and the token that it wants, itself or in a file.
GATEWAY_URL = "DEV_SESSIONS_GATEWAY_URL"
GATEWAY_TOKEN = "DEV_SESSIONS_GATEWAY_TOKEN"
GATEWAY_TOKEN_FILE = "DEV_SESSIONS_GATEWAY_TOKEN_FILE"
#: The port that the gateway listens on.
GATEWAY_PORT = "DEV_SESSIONS_GATEWAY_PORT"
#: The command to run on another machine; may hold arguments.
REMOTE_BIN = "DEV_SESSIONS_REMOTE_BIN"
DEFAULT_REMOTE_BIN = "dev-sessions"
#: The container's workspace, and what it is on the host.
CONTAINER_WORKSPACE = "CONTAINER_WORKSPACE"
HOST_PATH = "HOST_PATH"

#: How the folder beside a repository ends in which the worktrees of sessions lie.
WORKTREES_SUFFIX = ".worktrees"

#: What Claude Code (2.1.330) and Codex (0.171) set for their children, and we for a session's. A new, independent agent
#: must not see it: CLAUDE_CODE_CHILD_SESSION alone switches transcripts off, and the ids would make it, for `kill`, a
#: part of the session in which it was created.
NESTED_AGENT_VARIABLES = frozenset(
    {
        "AI_AGENT",
        "CLAUDECODE",
        "CLAUDE_CODE_CHILD_NOTES_DIR",
        "CLAUDE_CODE_CHILD_SESSION",
        "CLAUDE_CODE_ENTRYPOINT",
        "CLAUDE_CODE_EXECPATH",
        "CLAUDE_CODE_MESSAGING_SOCKET",
        "CLAUDE_CODE_MESSAGING_TOKEN",
        "CLAUDE_CODE_SESSION_ATTENDED",
        "CLAUDE_CODE_SESSION_ID",
        "CLAUDE_EFFORT",
        "CLAUDE_PID",
        "CODEX_SESSION_ID",
        "CODEX_THREAD_ID",
        "CODEX_TOOL_CALL_ID",
        "DEV_SESSIONS_CREATED_AT",
        "DEV_SESSIONS_ID",
    }
)


def independent_environment() -> dict[str, str]:
    """Return this process's environment for a program that is no part of the session in which this command may run."""
    return {name: value for name, value in os.environ.items() if name not in NESTED_AGENT_VARIABLES}


def home() -> Path:
    """The user's home directory."""
    return Path.home()


def state_dir() -> Path:
    """`~/.dev-sessions`, where everything of ours lives."""
    return home() / ".dev-sessions"


def store_file() -> Path:
    """The session store."""
    return state_dir() / "sessions.json"


def codex_dir() -> Path:
    """The app-server's socket, state and log. 0700."""
    return state_dir() / "codex"


def legacy_appserver_file() -> Path:
    """Where the original records its app-server; read only."""
    return state_dir() / "codex-appserver.json"


def sender_lock(session_id: str) -> Path:
    """The lock that whoever sends to a session holds from the look at its dialogs to the proof of arrival."""
    return state_dir() / "locks" / f"{session_id}.lock"


def alive_lock(session_id: str) -> Path:
    """The lock that a session's agent holds for as long as it lives, where it is a process of its own."""
    return state_dir() / "locks" / f"{session_id}.alive"


def gateway_port() -> str:
    """The port that the gateway is asked for on this machine, as it was written."""
    return os.environ.get(GATEWAY_PORT) or "6767"


def ssh_dir() -> Path:
    """The sockets of shared ssh connections. 0700."""
    return state_dir() / "ssh"


def remote_bin() -> str:
    """The command to run on another machine."""
    return os.environ.get(REMOTE_BIN) or DEFAULT_REMOTE_BIN


def worktree_lock(name: str) -> Path:
    """The lock of whoever adds a worktree to a repository, or removes one; `name` stands for the repository."""
    return state_dir() / "locks" / f"worktrees-{name}.lock"


def launch_dir() -> Path:
    """Where an agent's environment lies for the moment between `create` and its start. 0700."""
    return state_dir() / "launch"


def gateway_log() -> Path:
    """What the installed gateway prints."""
    return state_dir() / "gateway.log"


def gateway_token_file() -> Path:
    """The token of the installed gateway. 0600."""
    return state_dir() / "gateway-token"


def claude_config_dir() -> Path:
    """Claude's configuration, transcripts and session files."""
    configured = os.environ.get("CLAUDE_CONFIG_DIR")
    return Path(configured).expanduser().absolute() if configured else home() / ".claude"


def codex_home() -> Path:
    """Codex's configuration and conversations."""
    configured = os.environ.get("CODEX_HOME")
    return Path(configured).expanduser().absolute() if configured else home() / ".codex"


def ready_timeout() -> float:
    """Seconds that `create` waits for an agent to report that it is ready."""
    try:
        return max(0.0, int(os.environ.get(READY_TIMEOUT_MS, "")) / 1000)
    except ValueError:
        return 15.0


def gateway_url() -> str:
    """Where a container finds the gateway."""
    return os.environ.get(GATEWAY_URL) or "http://host.docker.internal:6767"


def container_workspace() -> str:
    """The folder of a container that the host shares with it."""
    return os.environ.get(CONTAINER_WORKSPACE) or "/workspace"


def host_path() -> str | None:
    """What the container's workspace is called on the host."""
    return os.environ.get(HOST_PATH) or None


def in_sandbox() -> bool:
    """Whether this is a container whose sessions live on the host."""
    return os.environ.get(SANDBOX) == "1"


def repository_of(worktree: str) -> str:
    """Return the repository beside which a session's worktree lies: `/code/app` of `/code/app.worktrees/fizz-top`."""
    return os.path.dirname(worktree).removesuffix(WORKTREES_SUFFIX)
