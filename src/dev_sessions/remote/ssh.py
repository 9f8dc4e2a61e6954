"""Run a command line on another machine with OpenSSH, as the user's own ssh configuration says."""

from __future__ import annotations

import contextlib
import os
import re
import select
import shlex
import subprocess
import tempfile
from typing import IO

from dev_sessions.errors import HostUnreachable, InvalidRequest, ProgramMissing, ProtocolError
from dev_sessions.system import paths
from dev_sessions.system.deadline import Deadline
from dev_sessions.system.deferred_signals import deferred_signals
from dev_sessions.system.environment import independent_environment
from dev_sessions.system.private_files import ensure_private_dir, require_owned
from dev_sessions.system.programs import Completed

#: ssh's exit code when the connection itself failed.
TRANSPORT_FAILED = 255
_OPTIONS = (
    "BatchMode=yes",
    "StrictHostKeyChecking=accept-new",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=4",
    "ConnectTimeout=10",
)
#: Maximum bytes of a command's output (far more than the longest conversation) and of its errors.
MAX_OUTPUT, _MAX_ERRORS = 64 * 1024 * 1024, 1024 * 1024
#: Bytes of errors that are passed on: the warnings of a hundred sessions.
_MAX_PASSED_ON = 16 * 1024
#: Seconds between two checks of the errors' size.
_POLL_INTERVAL = 1.0
#: What every shell takes literally in single quotes. In those of fish a backslash is special, in those of tcsh `!` and
#: a newline; other bytes depend on the locale.
_PORTABLE = r"[ \"-&(-\[\]-~]*"
#: Reads a command from standard input up to a NUL, and runs it with the rest. Nothing runs if a login shell's start-up
#: files have read a part of it.
_MARK = "dev-sessions:"
_FROM_STDIN = f'IFS= read -rd "" c && [[ $c == {_MARK}* ]] && eval "${{c#{_MARK}}}"'
#: Adds the PATH of a login shell that is not bash: Homebrew's line stands in ~/.zprofile, which bash does not read.
_LOGIN_PATH = (
    "case $SHELL in */zsh | */fish)"
    ' ds_path=$("$SHELL" -lc "printenv PATH" 2>/dev/null </dev/null | tail -n 1); PATH=${ds_path:-$PATH}:$PATH;; esac; '
)
#: Maximum bytes of a unix socket's path (104 with its NUL on macOS), and of what ssh appends: hash, temporary suffix.
_MAX_SOCKET_PATH, _CONTROL_NAME = 103, 1 + 40 + 17


def require_host(host: str) -> str:
    """Return a host if ssh accepts it as one, and not as an option. Raises InvalidRequest."""
    if not host or host.startswith("-") or not host.isprintable() or " " in host:
        raise InvalidRequest(f"{host!r} is not a valid ssh host: use a name of ~/.ssh/config, HOST or USER@HOST")
    return host


def ssh_argv(host: str, command: str, *, terminal: bool = False) -> list[str]:
    """Return the ssh command line that runs a command in a login shell, over a shared, persistent connection."""
    options = [word for option in (*_OPTIONS, *_sharing()) for word in ("-o", option)]
    return ["ssh", *(["-t"] if terminal else []), *options, require_host(host), f"bash -lc {shlex.quote(command)}"]


def terminal_argv(host: str, command: str) -> list[str]:
    """Return the ssh command line that runs a command on a host in this terminal."""
    return ssh_argv(host, _LOGIN_PATH + command, terminal=True)


class NoAnswer(HostUnreachable):
    """Raised when a command on a host has not ended in time."""


def run(host: str, command: str, stdin: str | None, timeout: float, *, private: bool = False) -> Completed:
    """Run a command on a host; a `private` one is not shown in its list of processes or in that of this machine.

    The user's login shell there, which may be any, gets nothing that it could interpret, and what its start-up files
    print is not part of the output.

    Raises HostUnreachable if the connection fails, NoAnswer if it takes more than `timeout` seconds, ProtocolError if
    too much is printed or the command did not run, and InvalidRequest for a command that no shell could be given.
    """
    ensure_private_dir(paths.ssh_dir())
    require_owned(*paths.ssh_dir().iterdir())  # ssh does not check who owns a control socket
    data = (stdin or "").encode()
    mark = f"{_MARK}{os.urandom(8).hex()}"
    command = f"{_LOGIN_PATH}echo {mark}; {command}"
    if private or not re.fullmatch(_PORTABLE, command):
        data = _encoded(f"{_MARK}{command}") + b"\0" + data
        command = _FROM_STDIN
    # Not a pipe: the shared connection of an older ssh would keep it open.
    with tempfile.TemporaryFile() as errors:
        try:
            code, output = _communicate(ssh_argv(host, command), data, errors, timeout)
        except FileNotFoundError as error:
            raise ProgramMissing("ssh was not found on PATH; install OpenSSH's client") from error
        except TimeoutError as error:
            raise NoAnswer(f"{host} did not answer within {round(timeout, 1):g} s; try again") from error
        except OverflowError as error:
            raise ProtocolError(
                f"A command on {host} printed more than {error} bytes, and was ended; see what it prints:"
                f" ssh {host} bash -lc true"
            ) from error
        errors.seek(0)
        stderr = _end(errors.read(_MAX_ERRORS).strip(), host)
    if code == TRANSPORT_FAILED or code < 0:
        reason = stderr.splitlines()[-1].strip() if stderr else "the connection was lost"
        raise HostUnreachable(f"ssh to {host} failed: {reason}; check the connection with: ssh {host} true")
    _, ran, printed = output.partition(f"{mark}\n".encode())
    if not ran and code == 0:
        raise ProtocolError(
            f"The login shell on {host} ended before the command; see what its start-up files do:"
            f" ssh {host} bash -lc true"
        )
    return Completed(code, printed.decode(errors="replace"), stderr)


def _end(printed: bytes, host: str) -> str:
    """Return what was printed, or its last lines, after one that says how much is left out."""
    if len(printed) <= _MAX_PASSED_ON:
        return printed.decode(errors="replace")
    end = printed[-_MAX_PASSED_ON:]
    end = end.partition(b"\n")[2] or end
    omitted = f"The first {len(printed) - len(end)} bytes of what {host} printed are left out"
    return f"{omitted}:\n{end.decode(errors='replace')}"


def _encoded(command: str) -> bytes:
    try:
        data = os.fsencode(command)
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"{command[error.start : error.end]!r} is not valid text; leave it out") from error
    if b"\0" in data:
        raise InvalidRequest("A NUL cannot be passed to another machine; leave it out")
    return data


def _communicate(argv: list[str], stdin: bytes, stderr: IO[bytes], timeout: float) -> tuple[int, bytes]:
    """Run a program and return its exit code and output; cancelled with the caller's wait.

    Raises TimeoutError, and OverflowError if it prints too much; then it is killed.
    """
    deadline = Deadline.cancellable(timeout)
    # A file, because a pipe would have to be written to while the output is read.
    with tempfile.TemporaryFile() as given:
        given.write(stdin)
        given.seek(0)
        # If this command runs in a session, the shared connection must not have the session's variables.
        env = independent_environment()
        with contextlib.ExitStack() as stack:
            with deferred_signals():
                child = subprocess.Popen(argv, env=env, stdin=given, stdout=subprocess.PIPE, stderr=stderr)
                stack.enter_context(child)
                stack.callback(child.kill)  # unless it has ended
            assert child.stdout is not None
            output = _read(child.stdout.fileno(), stderr, deadline)
            return _wait(child, stderr, deadline), output


def _wait(child: subprocess.Popen[bytes], stderr: IO[bytes], deadline: Deadline) -> int:
    """Return the exit code of a program whose output has ended. Raises TimeoutError, OverflowError (with the limit)."""
    while True:
        try:
            return child.wait(_POLL_INTERVAL)
        except subprocess.TimeoutExpired as error:
            _limit_errors(stderr)
            if deadline.expired:
                raise TimeoutError from error


def _read(descriptor: int, stderr: IO[bytes], deadline: Deadline) -> bytes:
    """Read a program's output to its end. Raises TimeoutError, OverflowError (with the limit)."""
    output = bytearray()
    # select.select accepts no descriptor above 1023.
    readable = select.poll()
    readable.register(descriptor, select.POLLIN)
    while True:
        if readable.poll(min(deadline.poll_timeout(), _POLL_INTERVAL) * 1000):
            part = os.read(descriptor, 65536)
            if not part:
                return bytes(output)
            output += part
        if deadline.expired:
            raise TimeoutError
        if len(output) > MAX_OUTPUT:
            raise OverflowError(MAX_OUTPUT)
        _limit_errors(stderr)


def _limit_errors(stderr: IO[bytes]) -> None:
    """Raise OverflowError if a program has printed too many errors."""
    if os.fstat(stderr.fileno()).st_size > _MAX_ERRORS:
        raise OverflowError(_MAX_ERRORS)


def _sharing() -> tuple[str, ...]:
    folder = str(paths.ssh_dir())
    if len(os.fsencode(folder)) + _CONTROL_NAME > _MAX_SOCKET_PATH or re.search(r"""["'\\$\t\n\r\v\f]""", folder):
        return ("ControlMaster=no",)
    path = f"{folder.replace('%', '%%')}/%C"
    # ssh takes a path with a blank only in quotes.
    return (
        "ControlMaster=auto",
        f'ControlPath="{path}"' if " " in path else f"ControlPath={path}",
        "ControlPersist=60s",
    )
