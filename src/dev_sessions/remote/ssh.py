"""One command line on another machine, over OpenSSH; the user's own configuration says who and where a host is."""

from __future__ import annotations

import shlex
import subprocess
import tempfile
from typing import IO

from dev_sessions.errors import HostUnreachable, InvalidRequest, ProgramMissing
from dev_sessions.system import paths
from dev_sessions.system.deadline import Deadline
from dev_sessions.system.private_files import ensure_private_dir, require_owned
from dev_sessions.system.process import Completed

#: What ssh exits with when the connection itself failed.
TRANSPORT_FAILED = 255
_OPTIONS = (
    "BatchMode=yes",
    "StrictHostKeyChecking=accept-new",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=4",
    "ConnectTimeout=10",
)
#: Seconds at a time that a program is waited for, and all of them.
_STEP, _FOR_EVER = 60.0, 1e9
#: Bytes of a unix socket's path (macOS has 104), and what ssh puts behind the folder: a hash and a temporary ending.
_LONGEST_PATH, _CONTROL_NAME = 103, 1 + 40 + 17


def require_host(host: str) -> str:
    """A host's name that ssh takes for one. InvalidRequest."""
    if not host or host.startswith("-") or not host.isprintable() or " " in host:
        raise InvalidRequest(f"{host!r} is no host for ssh: use a name of ~/.ssh/config, HOST or USER@HOST")
    return host


def command_line(host: str, command: str, *, terminal: bool = False) -> list[str]:
    """The ssh command line that runs a command in a login shell there, over a connection that is shared and kept."""
    options = [word for option in (*_OPTIONS, *_sharing()) for word in ("-o", option)]
    return ["ssh", *(["-t"] if terminal else []), *options, require_host(host), f"bash -lc {shlex.quote(command)}"]


def run(host: str, command: str, stdin: str | None, timeout: float | None) -> Completed:
    """Run a command there. HostUnreachable when the connection failed, was lost, or did not answer in `timeout` s."""
    ensure_private_dir(paths.ssh_dir())
    require_owned(*paths.ssh_dir().iterdir())  # ssh asks no socket there whose it is
    # Not a pipe: the shared connection of an older ssh holds it open, and we would wait for its end.
    with tempfile.TemporaryFile() as errors:
        try:
            code, output = _ended(command_line(host, command), (stdin or "").encode(), errors, timeout)
        except FileNotFoundError as error:
            raise ProgramMissing("ssh was not found on PATH; install OpenSSH's client") from error
        except subprocess.TimeoutExpired as error:
            raise HostUnreachable(f"{host} did not answer within {timeout:g} s; try again") from error
        errors.seek(0)
        said = errors.read().decode(errors="replace").strip()
    if code == TRANSPORT_FAILED or code < 0:
        reason = said.splitlines()[-1].strip() if said else "the connection was lost"
        raise HostUnreachable(f"ssh to {host} failed: {reason}; see if this works: ssh {host} true")
    return Completed(code, output.decode(errors="replace"), said)


def _ended(argv: list[str], stdin: bytes, stderr: IO[bytes], timeout: float | None) -> tuple[int, bytes]:
    """Run a program to its end, or to where its caller has gone: the exit code and the output. TimeoutExpired."""
    deadline = Deadline.cancellable(_FOR_EVER if timeout is None else timeout)
    # A file, since `communicate` gives to a pipe no more after its first timeout.
    with tempfile.TemporaryFile() as given:
        given.write(stdin)
        given.seek(0)
        # The shared connection that it may leave running is no part of the session in which this command may run.
        env = paths.independent_environment()
        with subprocess.Popen(argv, env=env, stdin=given, stdout=subprocess.PIPE, stderr=stderr) as child:
            try:
                while True:
                    try:
                        output, _ = child.communicate(timeout=min(deadline.poll_timeout(), _STEP))
                        return child.returncode, output
                    except subprocess.TimeoutExpired:
                        if deadline.expired:
                            raise
            except BaseException:
                child.kill()
                raise


def _sharing() -> tuple[str, ...]:
    folder = paths.ssh_dir()
    if len(str(folder).encode()) + _CONTROL_NAME > _LONGEST_PATH:
        return ("ControlMaster=no",)
    return ("ControlMaster=auto", f"ControlPath={folder}/%C", "ControlPersist=60s")
