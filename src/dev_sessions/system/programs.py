"""Other programs: find them on PATH, run them to their end, and start them to live on.

`subprocess` is imported inside the functions that start a program, so that commands which only read do not load it.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from dev_sessions.errors import ProgramMissing
from dev_sessions.system import pid_namespace
from dev_sessions.system.deadline import Deadline
from dev_sessions.system.environment import independent_environment
from dev_sessions.system.fast_dataclass import fast_dataclass
from dev_sessions.system.process_exit import wait_for_exit

if TYPE_CHECKING:
    import subprocess

#: Seconds for a program to end when it is told to.
_END_TIMEOUT = 3.0
#: Bytes that a program may print, and seconds between two checks of that.
_MAX_OUTPUT, _POLL_INTERVAL = 64 * 1024 * 1024, 0.1
_INSTALL_HINTS = {
    "tmux": "install it with your package manager (apt install tmux, brew install tmux)",
    "claude": "install it with: curl -fsSL https://claude.ai/install.sh | bash"
    " (or npm install -g @anthropic-ai/claude-code)",
    "codex": "install it with: curl -fsSL https://chatgpt.com/codex/install.sh | sh (or npm install -g @openai/codex)",
    "git": "install it with your package manager (apt install git, brew install git)",
    "clauded": "docker mode needs a wrapper of this name on PATH that starts Claude Code in a container; "
    "a shell function is not enough, docs/containers.md shows a script that calls one",
}


@fast_dataclass(frozen=True)
class Completed:
    """A finished program: its exit code and its output."""

    code: int
    stdout: str
    stderr: str


class TooMuchOutput(OSError):
    """Raised when a program printed more than any that works as it should."""


def _decode(printed: bytes) -> str:
    return printed.decode(errors="replace")


def how_to_install(name: str) -> str:
    """Return how to install a program, for an error."""
    return _INSTALL_HINTS.get(name, "install it first")


def _missing(name: str) -> str:
    return f"{name} was not found on PATH; {how_to_install(name)}"


def find_program(name: str) -> str:
    """Return the absolute path of a program on PATH. Raises ProgramMissing, with how to install it."""
    import shutil

    found = shutil.which(name)
    if found is None:
        raise ProgramMissing(_missing(name))
    return os.path.abspath(found)


def run(
    argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 10.0, env: Mapping[str, str] | None = None
) -> Completed:
    """Run a program to its end. Raises ProgramMissing when it can't be started, TimeoutError when it hangs.

    `env` defaults to `independent_environment()`: a server that the program leaves running, as tmux does, is not
    part of the session in which this command may run.
    """
    import subprocess

    try:
        done = subprocess.run(
            argv,
            input=stdin,
            env=independent_environment() if env is None else env,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as error:
        raise ProgramMissing(_missing(argv[0])) from error
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(f"{argv[0]} did not answer within {timeout:g} s") from error
    return Completed(done.returncode, _decode(done.stdout), _decode(done.stderr))


def run_in_own_group(
    argv: Sequence[str], *, env: Mapping[str, str], timeout: float, decode: Callable[[bytes], str] = _decode
) -> Completed:
    """Run a program that starts others (hooks, filters) in a process group of its own, to its own end.

    Background processes of those are not waited for. When it hangs or prints too much, or this process is interrupted,
    the whole process group is ended. `decode` decodes its `stdout`.

    Raises ProgramMissing when it can't be started, TimeoutError when it hangs, TooMuchOutput.
    """
    import subprocess
    import tempfile

    from dev_sessions.system.deferred_signals import deferred_signals

    with contextlib.ExitStack() as stack:
        try:
            stdout, stderr = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(2))
        except FileNotFoundError:  # Codex's read-only sandbox has no folder for them (0.171)
            pid_namespace.require_unsandboxed(f"{argv[0]} was not run, because no temporary file can be written")
            raise
        try:
            with deferred_signals():
                child = subprocess.Popen(
                    argv, env=dict(env), stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, start_new_session=True
                )
                stack.enter_context(_ended_on_error(child))
        except FileNotFoundError as error:
            raise ProgramMissing(_missing(argv[0])) from error
        try:
            code = _wait(child, argv[0], (stdout, stderr), Deadline(timeout))
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"{argv[0]} did not answer within {timeout:g} s") from error
        texts = []
        for stream in (stdout, stderr):
            stream.seek(0)
            # Something in the background may still be printing.
            texts.append(stream.read(min(os.fstat(stream.fileno()).st_size, _MAX_OUTPUT)))
    return Completed(code, decode(texts[0]), _decode(texts[1]))


@contextlib.contextmanager
def _ended_on_error(child: subprocess.Popen[bytes]) -> Iterator[None]:
    """End a program's process group if the block raises."""
    import subprocess

    from dev_sessions.system.deferred_signals import deferred_signals

    try:
        yield
    except BaseException:
        with deferred_signals():  # a second one must not spare a program that ignores the first
            # The pid cannot be reused before the child was waited for.
            for number in (signal.SIGTERM, signal.SIGKILL) if child.returncode is None else ():
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(_END_TIMEOUT)
                    break
        raise


def _wait(child: subprocess.Popen[bytes], name: str, streams: Sequence[IO[bytes]], deadline: Deadline) -> int:
    """Return the exit code of a program. Raises TimeoutExpired, and TooMuchOutput when it has printed too much."""
    import subprocess

    code = None
    while code is None:
        try:
            pause = min(deadline.remaining(), _POLL_INTERVAL)
            code = child.wait(0 if wait_for_exit(child.pid, pause) else pause)
        except subprocess.TimeoutExpired:
            if deadline.expired:
                raise
        if any(os.fstat(stream.fileno()).st_size > _MAX_OUTPUT for stream in streams):
            raise TooMuchOutput(f"{name} printed more than {_MAX_OUTPUT >> 20} MiB, and was ended")
    return code


def spawn_detached(
    argv: Sequence[str], *, env: Mapping[str, str], log: int, cwd: Path, stdin: int | None = None
) -> int:
    """Start a program in a session (and process group) of its own, and return its pid.

    `log` and `stdin` are the file descriptors of its output and input; no input by default.
    """
    import subprocess

    child = subprocess.Popen(
        argv,
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.DEVNULL if stdin is None else stdin,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    # The child outlives this process on purpose. Without this, Popen's destructor warns about it.
    child.returncode = 0
    return child.pid
