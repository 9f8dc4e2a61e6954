"""Pid namespaces as agents' sandboxes and containers make them: a call in bwrap, and one whose first process stays."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from tests.support.home import Home

#: What a sandbox runs a command with. /proc is its own.
SANDBOX = ("bwrap", "--dev-bind", "/", "/", "--unshare-pid", "--proc", "/proc")
#: What makes a pid namespace whose first process is the command.
CONTAINER = (
    *("unshare", "--pid", "--fork", "--mount-proc", "--kill-child"),
    *(() if os.geteuid() == 0 else ("--map-root-user",)),
)
#: The first process in a container: runs commands that it is told on standard input.
_INIT = """
import json, subprocess, sys
for line in sys.stdin:
    order = json.loads(line)
    done = subprocess.run(order["argv"], capture_output=True, text=True, stdin=subprocess.DEVNULL, env=order["env"])
    print(json.dumps([done.returncode, done.stdout, done.stderr]), flush=True)
"""


def have_namespaces() -> bool:
    """Return whether this system allows both ways of creating pid namespaces."""
    if sys.platform != "linux":
        return False
    with contextlib.suppress(FileNotFoundError):
        made = (subprocess.run([*command, "true"], check=False).returncode for command in (SANDBOX, CONTAINER))
        return all(code == 0 for code in made)
    return False


class Container:
    """A pid namespace that shares a home's files and lives until `end`, with tmux sockets of its own."""

    def __init__(self, home: Home) -> None:
        self._env = {**home.env, "TMUX_TMPDIR": str(home.workspace("tmux-of-container"))}
        self._process = home.popen(*CONTAINER, sys.executable, "-c", _INIT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def run(self, *argv: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run a program in there to its end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"argv": argv, "env": {**self._env, **(env or {})}}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return subprocess.CompletedProcess(argv, *json.loads(self._process.stdout.readline()))

    def cli(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Run `dev-sessions` in there."""
        return self.run(sys.executable, "-m", "dev_sessions", *args)

    def end(self) -> None:
        """End it, with everything in it."""
        self._process.kill()
        self._process.communicate()
