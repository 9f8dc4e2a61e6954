"""Install, uninstall and check the gateway as a service of this user.

A failed installation is rolled back: the previously installed gateway runs again, or nothing is left but the log.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shlex
import socket
import sys
from pathlib import Path

from dev_sessions.errors import DevSessionsError, InvalidRequest, StartFailed
from dev_sessions.gateway.connection import GatewayFailed, get, is_health
from dev_sessions.gateway.launchd import Launchd
from dev_sessions.gateway.service_manager import ServiceManager, ServiceSpec, port_of, requires_token
from dev_sessions.gateway.systemd import Systemd
from dev_sessions.system import paths
from dev_sessions.system.deadline import Deadline, wait_until
from dev_sessions.system.fast_dataclass import fast_dataclass
from dev_sessions.system.private_files import ensure_private_dir, replace_file, require_owned

#: Variables of the installing user that the gateway and the agents that it starts need to find things. Keys, tokens
#: and proxies (which may hold passwords) are not copied into a file.
INHERITED_VARIABLES = (
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
#: The path at which a container finds its token.
_MOUNTED_TOKEN = "/run/secrets/gateway-token"
#: Seconds for the gateway to start, for one response, and between two polls.
_START_TIMEOUT, _HEALTH_TIMEOUT, _POLL_INTERVAL = 10.0, 2.0, 0.1


@fast_dataclass(frozen=True)
class Installed:
    """An installed gateway: its port, its token's file if it requires one, and hints for the user."""

    port: int
    token_file: Path | None
    hints: tuple[str, ...]
    #: The program that needs Full Disk Access on macOS.
    needs_disk_access: str | None = None


@fast_dataclass(frozen=True)
class ServiceStatus:
    """The state of the gateway: its port, whether the service manager runs it, whether a gateway answers there."""

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
    """Install a gateway on a port of 127.0.0.1 that runs now and after every login; return when it answers.

    With `token` it requires the token in `~/.dev-sessions/gateway-token`, which is created if it does not exist. An
    installed gateway is replaced.
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
        if not wait_until(lambda: is_healthy(port), Deadline(_START_TIMEOUT), _POLL_INTERVAL):
            raise StartFailed(
                f"The gateway does not answer on port {port}, so the installation was rolled back; "
                f"see its log: {paths.gateway_log()}"
            )
    except BaseException:
        _restore(manager, before)
        raise
    hints = manager.hints()
    if before is not None and not token and requires_token(before):
        hints += ("It no longer requires a token; to require one: dev-sessions gateway install --token",)
    return Installed(port, token_file, hints, asked_for(sys.executable) if platform == "darwin" else None)


def asked_for(interpreter: str) -> str:
    """Return what macOS asks Full Disk Access for: a Python that is a framework runs as an application inside it."""
    program = os.path.realpath(interpreter)
    framework = re.match(r".*/Python\.framework/Versions/[^/]+(?=/bin/)", program)
    return f"{framework[0]}/Resources/Python.app" if framework is not None else program


def uninstall(*, platform: str) -> bool:
    """Stop the gateway and remove its service; return False if there is none.

    Its sessions keep running; its token and log stay.
    """
    manager = service_manager(platform)
    if _read(manager.service_file) is not None:
        manager.remove()
    elif manager.is_running():  # somebody has removed its file
        manager.stop()
    else:
        return False
    return True


def state(default_port: int, *, platform: str) -> ServiceStatus:
    """Return the state of the installed gateway, or of one on `default_port` if none is installed."""
    manager = service_manager(platform)
    installed = _read(manager.service_file)
    port = port_of(installed) if installed is not None else None
    return ServiceStatus(port or default_port, manager.is_running(), is_healthy(port or default_port))


def is_healthy(port: int) -> bool:
    """Return whether a gateway answers on a port that it is healthy."""
    try:
        return is_health(*get(f"http://127.0.0.1:{port}", "/health", None, _HEALTH_TIMEOUT))
    except GatewayFailed:
        return False


def _spec(port: int, token_file: Path | None) -> ServiceSpec:
    argv = [sys.executable, "-m", "dev_sessions", "gateway", "--port", str(port)]
    argv += ["--token-file", str(token_file)] if token_file is not None else []
    environment = {name: os.environ[name] for name in INHERITED_VARIABLES if os.environ.get(name)}
    return ServiceSpec(argv, {**environment, "HOME": str(paths.home())}, str(paths.gateway_log()))


def _require_free(port: int) -> None:
    """Raise InvalidRequest if the port cannot be bound; the installed gateway has been stopped by now."""
    with socket.socket() as probe:
        # As servers do, so that a connection that was just closed does not block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            user = " by a gateway that is not installed as a service" if is_healthy(port) else ""
            raise InvalidRequest(
                f"Port {port} cannot be used: {error.strerror}{user}; choose another one with --port or "
                f"{paths.GATEWAY_PORT}"
            ) from error


def _prepare_files(token_file: Path | None) -> None:
    """Create the log and the token, readable by the user alone from the start. An existing token is kept."""
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
    """Restore the previous service file after a failure. An error here must not replace the original one."""
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
