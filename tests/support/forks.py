"""`dev-sessions` without the start of Python: a process that has imported it forks one for each command.

So a command costs some milliseconds instead of a hundred, and hundreds of them can be killed, each at another point.
What a command does is the same: nothing of it is loaded or remembered before.
"""

from __future__ import annotations

import importlib
import itertools
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dev_sessions.cli import COMMANDS, main
from tests.support.home import Home
from tests.support.points import Points

ROOT = Path(__file__).resolve().parents[2]
#: What commands import when they are used.
_IMPORTED = (
    "filelock",
    "dev_sessions.claude.backend",
    "dev_sessions.codex.backend",
    "dev_sessions.json_validation",
    "dev_sessions.doctor.run",
)


@dataclass(frozen=True)
class Ended:
    """A command that has ended: its exit code (minus the signal's number if it was killed), and its points in order."""

    code: int
    stdout: str
    stderr: str
    points: tuple[str, ...]


class ForkServer:
    """The process that forks commands. Several threads may use it at once."""

    def __init__(self) -> None:
        self.scratch = tempfile.TemporaryDirectory()
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        argv = (sys.executable, "-B", "-m", "tests.support.forks")
        # Without a home's mark, so that it is none of the processes that a test finds there.
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, encoding="utf-8", env=dict(os.environ)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()
        self.scratch.cleanup()

    def new_files(self) -> str:
        """Return where the next command's files shall lie, without their endings."""
        return str(Path(self.scratch.name, str(next(self._numbers))))

    def tell(self, order: Mapping[str, Any]) -> str:
        """Give an order and return the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(f"{json.dumps(order)}\n")
            self._process.stdin.flush()
            return self._process.stdout.readline()

    def run(
        self, argv: Sequence[str | Path], *, stdin: str, cwd: Path, timeout: float, env: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Run `dev-sessions` with these arguments to its end, as `subprocess.run` does."""
        files = self.new_files()
        Path(f"{files}.in").write_text(stdin, encoding="utf-8")
        os.mkfifo(f"{files}.end")
        end = os.open(f"{files}.end", os.O_RDONLY | os.O_NONBLOCK)
        words = ["dev-sessions", *map(str, argv)]
        order = {"argv": words, "env": dict(env), "folder": str(cwd), "files": files, "at": None, "constants": {}}
        try:
            pid = int(self.tell({**order, "number": 0, "watch": False}))
            # Readable as soon as the command, which alone has the other end open, is gone.
            if not select.select([end], [], [], timeout)[0]:
                os.kill(pid, signal.SIGKILL)
                self.tell({"wait": pid})
                raise subprocess.TimeoutExpired(words, timeout)
        finally:
            os.close(end)
        code = int(self.tell({"wait": pid}))
        out, err = (Path(f"{files}.{kind}").read_text(encoding="utf-8", errors="replace") for kind in ("out", "err"))
        return subprocess.CompletedProcess(words, code, out, err)


class Forks:
    """The forked commands of one home. `env` is added to its environment."""

    def __init__(self, home: Home, env: Mapping[str, str] | None = None) -> None:
        self._env = {**home.env, **(env or {})}
        self._folder = home.workspace()
        self._server = ForkServer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.__exit__(kind, error, trace)

    def cli(
        self,
        *args: str,
        stdin: str = "",
        env: Mapping[str, str] | None = None,
        at: int | None = None,
        constants: Mapping[str, float] | None = None,
    ) -> Ended:
        """Run a command to its end, or kill it right before its point number `at`."""
        return self.wait(self.start(*args, stdin=stdin, env=env, at=at, constants=constants))

    def start(
        self,
        *args: str,
        stdin: str = "",
        env: Mapping[str, str] | None = None,
        at: int | None = None,
        number: int = signal.SIGKILL,
        constants: Mapping[str, float] | None = None,
    ) -> int:
        """Start a command, which at its point number `at` gets the signal `number`. Returns its process id.

        `constants` gives constants of its modules other values, such as a shorter timeout: by their whole names.
        """
        files = self._server.new_files()
        Path(f"{files}.in").write_text(stdin, encoding="utf-8")
        order = {
            "argv": ["dev-sessions", *args],
            "env": {**self._env, **(env or {})},
            "folder": str(self._folder),
            "files": files,
            "watch": True,
            "at": at,
            "number": number,
            "constants": dict(constants or {}),
        }
        pid = int(self._server.tell(order))
        Path(self._server.scratch.name, str(pid)).with_suffix(".pid").write_text(files)
        return pid

    def wait(self, pid: int) -> Ended:
        """Wait for a command's end."""
        code = int(self._server.tell({"wait": pid}))
        files = Path(self._server.scratch.name, str(pid)).with_suffix(".pid").read_text()
        out, err, points = (
            Path(f"{files}.{kind}").read_text(encoding="utf-8", errors="replace") for kind in ("out", "err", "points")
        )
        return Ended(code, out, err, tuple(points.splitlines()))


def serve() -> None:
    """Fork a process for each order on standard input, and answer with its pid, or with a process's exit code."""
    for name in (*(f"dev_sessions.cli.{module}" for module in COMMANDS.values()), *_IMPORTED):
        importlib.import_module(name)
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            _, status = os.waitpid(order["wait"], 0)
            answer = os.waitstatus_to_exitcode(status)
        else:
            answer = os.fork()
            if answer == 0:
                os._exit(_be(order))
        print(answer, flush=True)


def _be(order: Mapping[str, Any]) -> int:
    """Become the command, from its first line to its exit code."""
    for descriptor, kind, flags in ((0, "in", os.O_RDONLY), (1, "out", os.O_WRONLY), (2, "err", os.O_WRONLY)):
        opened = os.open(f"{order['files']}.{kind}", flags | os.O_CREAT, 0o600)
        os.dup2(opened, descriptor)
        os.close(opened)
    if not order["watch"]:
        os.open(f"{order['files']}.end", os.O_WRONLY)
    os.environ.clear()
    os.environ.update(order["env"])
    os.chdir(order["folder"])
    sys.argv = order["argv"]
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - for as long as the process lives
    for name, value in order["constants"].items():
        module, _, constant = name.rpartition(".")
        found = importlib.import_module(module)
        assert hasattr(found, constant), name
        setattr(found, constant, value)
    points = _watch(order) if order["watch"] else None
    try:
        main()
    except SystemExit as end:
        if points is not None:
            points.reach("the end")
        return end.code if isinstance(end.code, int) else 0
    except BaseException:
        traceback.print_exc()
        return 70
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _watch(order: Mapping[str, Any]) -> Points:
    log = os.open(f"{order['files']}.points", os.O_WRONLY | os.O_CREAT, 0o600)
    points = Points(log, order["at"], order["number"])
    points.watch()
    return points


if __name__ == "__main__":
    serve()
