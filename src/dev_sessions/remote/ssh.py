"""Run a command line on another machine with OpenSSH, as the user's own ssh configuration says."""

from __future__ import annotations

import shlex
import subprocess
import tempfile
from typing import IO

from dev_sessions.errors import HostUnreachable, InvalidRequest, ProgramMissing
from dev_sessions.system import paths
from dev_sessions.system.deadline import Deadline
from dev_sessions.system.environment import independent_environment
from dev_sessions.system.private_files import ensure_private_dir, require_owned
from dev_sessions.system.process import Completed

#: ssh's exit code when the connection itself failed.
TRANSPORT_FAILED = 255
_OPTIONS = (
    "BatchMode=yes",
    "StrictHostKeyChecking=accept-new",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=4",
    "ConnectTimeout=10",
)
#: Maximum seconds of one wait for a program, and of all.
_POLL_TIMEOUT, _NO_TIMEOUT = 60.0, 1e9
#: Maximum bytes of a unix socket's path (104 with its NUL on macOS), and of what ssh appends: hash, temporary suffix.
_MAX_SOCKET_PATH, _CONTROL_NAME = 103, 1 + 40 + 17


def require_host(host: str) -> str:
    """Return a host if ssh accepts it as one, and not as an option. Raises InvalidRequest."""
    if not host or host.startswith("-") or not host.isprintable() or " " in host:
        raise InvalidRequest(f"{host!r} is not a valid ssh host: use a name of ~/.ssh/config, HOST or USER@HOST")
    return host


def command_line(host: str, command: str, *, terminal: bool = False) -> list[str]:
    """Return the ssh command line that runs a command in a login shell, over a shared, persistent connection."""
    options = [word for option in (*_OPTIONS, *_sharing()) for word in ("-o", option)]
    return ["ssh", *(["-t"] if terminal else []), *options, require_host(host), f"bash -lc {shlex.quote(command)}"]


def run(host: str, command: str, stdin: str | None, timeout: float | None) -> Completed:
    """Run a command on a host. Raises HostUnreachable if the connection fails or takes more than `timeout` seconds."""
    ensure_private_dir(paths.ssh_dir())
    require_owned(*paths.ssh_dir().iterdir())  # ssh does not check who owns a control socket
    # Not a pipe: the shared connection of an older ssh would keep it open.
    with tempfile.TemporaryFile() as errors:
        try:
            code, output = _communicate(command_line(host, command), (stdin or "").encode(), errors, timeout)
        except FileNotFoundError as error:
            raise ProgramMissing("ssh was not found on PATH; install OpenSSH's client") from error
        except subprocess.TimeoutExpired as error:
            raise HostUnreachable(f"{host} did not answer within {timeout:g} s; try again") from error
        errors.seek(0)
        stderr = errors.read().decode(errors="replace").strip()
    if code == TRANSPORT_FAILED or code < 0:
        reason = stderr.splitlines()[-1].strip() if stderr else "the connection was lost"
        raise HostUnreachable(f"ssh to {host} failed: {reason}; check the connection with: ssh {host} true")
    return Completed(code, output.decode(errors="replace"), stderr)


def _communicate(argv: list[str], stdin: bytes, stderr: IO[bytes], timeout: float | None) -> tuple[int, bytes]:
    """Run a program and return its exit code and output. Raises TimeoutExpired; cancelled with the caller's wait."""
    deadline = Deadline.cancellable(_NO_TIMEOUT if timeout is None else timeout)
    # A file, since `communicate` writes nothing more to a pipe after its first timeout (Python 3.11).
    with tempfile.TemporaryFile() as given:
        given.write(stdin)
        given.seek(0)
        # If this command runs in a session, the shared connection must not have the session's variables.
        env = independent_environment()
        with subprocess.Popen(argv, env=env, stdin=given, stdout=subprocess.PIPE, stderr=stderr) as child:
            try:
                while True:
                    try:
                        output, _ = child.communicate(timeout=min(deadline.poll_timeout(), _POLL_TIMEOUT))
                        return child.returncode, output
                    except subprocess.TimeoutExpired:
                        if deadline.expired:
                            raise
            except BaseException:
                child.kill()
                raise


def _sharing() -> tuple[str, ...]:
    folder = paths.ssh_dir()
    if len(str(folder).encode()) + _CONTROL_NAME > _MAX_SOCKET_PATH:
        return ("ControlMaster=no",)
    return ("ControlMaster=auto", f"ControlPath={folder}/%C", "ControlPersist=60s")
