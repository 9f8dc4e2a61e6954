"""The gateway as a service of this user: install, uninstall, and what is known of it.

An installation either serves in the end or is taken back: what was installed before runs again, or nothing is left
but the log.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import shlex
import socket
import sys
from pathlib import Path

from dev_sessions.errors import DevSessionsError, InvalidRequest, StartFailed
from dev_sessions.gateway.launchd import Launchd
from dev_sessions.gateway.service_manager import ServiceManager, ServiceSpec, port_of, requires_token
from dev_sessions.gateway.systemd import Systemd
from dev_sessions.system import paths
from dev_sessions.system.deadline import Deadline, poll
from dev_sessions.system.fast_dataclass import fast_dataclass
from dev_sessions.system.private_files import ensure_private_dir, replace_file, require_owned

#: Variables of the installing user that the gateway, and with it the agents that it starts, cannot do without. They
#: say where things are. Keys, tokens and proxies (which may hold passwords) are not copied into a file.
CARRIED = (
    "HOME",
    "PATH",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TMUX_TMPDIR",
    "CLAUDE_CONFIG_DIR",
    "CODEX_HOME",
    paths.READY_TIMEOUT_MS,
    paths.REMOTE_BIN,
)
#: Where a container finds its token.
_MOUNTED_TOKEN = "/run/secrets/gateway-token"
#: Seconds for the gateway to come up, for one answer of it, between two questions.
_START = 10.0
_HEALTH = 2.0
_POLL_INTERVAL = 0.1


@fast_dataclass(frozen=True)
class Installed:
    """A gateway that serves: its port, the file with its token if it asks for one, and what the user should know."""

    port: int
    token_file: Path | None
    hints: tuple[str, ...]
    #: On macOS the program that has to be allowed to read protected folders.
    needs_disk_access: str | None = None


@fast_dataclass(frozen=True)
class State:
    """What is known of the gateway: the port to look at, whether the service manager runs it, whether it answers."""

    port: int
    running: bool
    answers: bool


def service_manager(platform: str) -> ServiceManager:
    """Return the service manager of a platform, by its name in `sys.platform`. Raises InvalidRequest."""
    if platform == "darwin":
        return Launchd()
    if platform == "linux":
        return Systemd()
    raise InvalidRequest(
        f"The gateway can be a service on Linux and macOS only, not on {platform}; run it yourself:"
        " dev-sessions gateway"
    )


def install(port: int, *, token: bool, platform: str) -> Installed:
    """Have a gateway kept running on a port of 127.0.0.1, now and after every login; returns when it serves.

    With `token` it takes only requests that hold the token of `~/.dev-sessions/gateway-token`, which is made when
    there is none. Installing again replaces what was installed.
    """
    manager = service_manager(platform)
    token_file = paths.gateway_token_file() if token else None
    options = ["--token-file", str(token_file)] if token_file is not None else []
    manager.require(shlex.join(["dev-sessions", "gateway", "--port", str(port), *options]))
    text = manager.file_content(_spec(port, token_file))
    before = _read(manager.service_file)
    try:
        if before is not None or manager.is_running():
            manager.stop()
        _require_free(port)
        _prepare_files(token_file)
        _write(manager.service_file, text)
        manager.start()
        if not poll(lambda: answers(port) or None, Deadline(_START), _POLL_INTERVAL):
            raise StartFailed(
                f"The gateway does not answer on port {port}, so the installation was taken back; "
                f"its log says why: {paths.gateway_log()}"
            )
    except BaseException:
        _restore(manager, before)
        raise
    hints = manager.hints()
    if before is not None and not token and requires_token(before):
        hints += ("It no longer asks for a token; to have it ask: dev-sessions gateway install --token",)
    return Installed(port, token_file, hints, os.path.realpath(sys.executable) if platform == "darwin" else None)


def uninstall(*, platform: str) -> None:
    """Stop the gateway for good. Its sessions go on; its token and its log stay. Nothing installed is fine."""
    manager = service_manager(platform)
    if _read(manager.service_file) is not None:
        manager.remove()


def state(default_port: int, *, platform: str) -> State:
    """Ask the service manager and the gateway itself; about `default_port` when nothing is installed."""
    manager = service_manager(platform)
    installed = _read(manager.service_file)
    port = port_of(installed) if installed is not None else None
    return State(port or default_port, manager.is_running(), answers(port or default_port))


def answers(port: int) -> bool:
    """Whether a gateway says on this port that it is healthy."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_HEALTH)
    try:
        connection.request("GET", "/health")
        reply = connection.getresponse()
        body = json.loads(reply.read())
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()
    return reply.status == 200 and isinstance(body, dict) and body.get("status") == "healthy"


def _spec(port: int, token_file: Path | None) -> ServiceSpec:
    argv = [sys.executable, "-m", "dev_sessions", "gateway", "--port", str(port)]
    argv += ["--token-file", str(token_file)] if token_file is not None else []
    environment = {name: os.environ[name] for name in CARRIED if os.environ.get(name)}
    return ServiceSpec(argv, {**environment, "HOME": str(paths.home())}, str(paths.gateway_log()))


def _require_free(port: int) -> None:
    """InvalidRequest when the port can't be listened on: by now whoever does so is a stranger."""
    with socket.socket() as probe:
        # As servers do: a connection that was closed a moment ago does not keep the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            who = " by a gateway that was started by hand" if answers(port) else ""
            raise InvalidRequest(
                f"Port {port} cannot be used: {error.strerror}{who}; choose another one with --port or "
                f"{paths.GATEWAY_PORT}"
            ) from error


def _prepare_files(token_file: Path | None) -> None:
    """The log and the token, private from the first moment. A token that exists is kept."""
    ensure_private_dir(paths.state_dir())
    require_owned(paths.gateway_log(), paths.gateway_token_file())
    os.close(os.open(paths.gateway_log(), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
    paths.gateway_log().chmod(0o600)
    if token_file is None:
        return
    if _read(token_file):
        token_file.chmod(0o600)
    else:
        replace_file(token_file, f"{secrets.token_urlsafe(32)}\n".encode())


def _restore(manager: ServiceManager, before: bytes | None) -> None:
    """Back to what was installed before. Whatever goes wrong here must not hide what went wrong first."""
    with contextlib.suppress(OSError, DevSessionsError):
        if before is not None:
            _write(manager.service_file, before)
            manager.start()
        elif manager.service_file.exists():
            manager.remove()


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, content)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def container_options(token_file: Path) -> str:
    """Return the options of `docker run`, for a shell, that let a container use the gateway.

    The token is not among them: every user of this machine can read another's arguments.
    """
    options = ["-v", f"{token_file}:{_MOUNTED_TOKEN}:ro", "-e", f"{paths.GATEWAY_TOKEN_FILE}={_MOUNTED_TOKEN}"]
    return shlex.join(options)
