"""Other programs: find them on PATH, run them to their end, and start them to live on.

`subprocess` is imported inside the functions that start a program, so that commands which only read do not load it.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from dev_sessions.errors import ProgramMissing
from dev_sessions.system import pid_namespace
from dev_sessions.system.environment import independent_environment
from dev_sessions.system.fast_dataclass import fast_dataclass

#: Seconds for a program to end when it is told to.
_END_TIMEOUT = 3.0
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


def _missing(name: str) -> str:
    return f"{name} was not found on PATH; {_INSTALL_HINTS.get(name, 'install it first')}"


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
    return Completed(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


def run_in_own_group(argv: Sequence[str], *, env: Mapping[str, str], timeout: float) -> Completed:
    """Run a program that starts others (hooks, filters) in a process group of its own, to its own end.

    Background processes of those are not waited for. When it hangs, or this process is interrupted, the whole process
    group is ended. Raises ProgramMissing when it can't be started, TimeoutError when it hangs.
    """
    import subprocess
    import tempfile

    with contextlib.ExitStack() as stack:
        try:
            stdout, stderr = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(2))
        except FileNotFoundError:  # Codex's read-only sandbox has no folder for them (0.171)
            pid_namespace.require_outlasting(f"{argv[0]} was not run, because no temporary file can be written")
            raise
        try:
            child = subprocess.Popen(
                argv, env=dict(env), stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, start_new_session=True
            )
        except FileNotFoundError as error:
            raise ProgramMissing(_missing(argv[0])) from error
        try:
            code = child.wait(timeout)
        except BaseException as error:
            # The pid cannot be reused before the child was waited for.
            for number in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(_END_TIMEOUT)
                    break
            if isinstance(error, subprocess.TimeoutExpired):
                raise TimeoutError(f"{argv[0]} did not answer within {timeout:g} s") from error
            raise
        texts = []
        for stream in (stdout, stderr):
            stream.seek(0)
            texts.append(stream.read().decode(errors="replace"))
    return Completed(code, *texts)


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
