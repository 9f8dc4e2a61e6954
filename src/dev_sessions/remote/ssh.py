"""One command line on another machine, over OpenSSH; the user's own configuration says who and where a host is."""

from __future__ import annotations

import shlex
import subprocess
import tempfile

from dev_sessions import paths
from dev_sessions.errors import HostUnreachable, InvalidRequest, ProgramMissing
from dev_sessions.process import Completed
from dev_sessions.store import ensure_private_dir

#: What ssh exits with when the connection itself failed.
TRANSPORT_FAILED = 255
_OPTIONS = (
    "BatchMode=yes",
    "StrictHostKeyChecking=accept-new",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=4",
    "ConnectTimeout=10",
)
#: Bytes of a unix socket's path (macOS has 104), and what ssh puts behind the folder: a hash and a temporary ending.
_LONGEST_PATH, _CONTROL_NAME = 103, 1 + 40 + 17


def require_host(host: str) -> str:
    """A host's name that ssh takes for one. InvalidRequest."""
    if not host or host.startswith("-") or not host.isprintable() or " " in host:
        raise InvalidRequest(f"{host!r} is no host for ssh: use a name of ~/.ssh/config, HOST or USER@HOST")
    return host


def command_line(host: str, command: str) -> list[str]:
    """The ssh command line that runs a command in a login shell there, over a connection that is shared and kept."""
    options = [word for option in (*_OPTIONS, *_sharing()) for word in ("-o", option)]
    return ["ssh", *options, require_host(host), f"bash -lc {shlex.quote(command)}"]


def run(host: str, command: str, stdin: str | None, timeout: float | None) -> Completed:
    """Run a command there. HostUnreachable when the connection failed, was lost, or did not answer in `timeout` s."""
    ensure_private_dir(paths.state_dir())
    ensure_private_dir(paths.ssh_dir())
    # Not a pipe: the shared connection of an older ssh holds it open, and we would wait for its end.
    with tempfile.TemporaryFile() as errors:
        try:
            done = subprocess.run(
                command_line(host, command),
                input=(stdin or "").encode(),
                stdout=subprocess.PIPE,
                stderr=errors,
                timeout=timeout,
                check=False,
            )
        except FileNotFoundError as error:
            raise ProgramMissing("ssh was not found on PATH; install OpenSSH's client") from error
        except subprocess.TimeoutExpired as error:
            raise HostUnreachable(f"{host} did not answer within {timeout:g} s; try again") from error
        errors.seek(0)
        said = errors.read().decode(errors="replace").strip()
    if done.returncode == TRANSPORT_FAILED or done.returncode < 0:
        reason = said.splitlines()[-1].strip() if said else "the connection was lost"
        raise HostUnreachable(f"ssh to {host} failed: {reason}")
    return Completed(done.returncode, done.stdout.decode(errors="replace"), said)


def _sharing() -> tuple[str, ...]:
    folder = paths.ssh_dir()
    if len(str(folder).encode()) + _CONTROL_NAME > _LONGEST_PATH:
        return ("ControlMaster=no",)
    return ("ControlMaster=auto", f"ControlPath={folder}/%C", "ControlPersist=60s")
