"""A running gateway, and a container that uses it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

from dev_sessions.gateway.server import Server
from tests.support.home import Home

HOSTILE = "say \"quotes\" 'single' $(touch /tmp/x) `id` \\ ; | & #{pane_id} %s עברית 👩\u200d👩\u200d👧 --json"


class Gateway:
    """A running gateway of a home's user; containers reach it at `url`."""

    def __init__(self, home: Home, *options: str) -> None:
        self.process = home.popen(sys.executable, "-m", "dev_sessions", "gateway", *options)
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline()
        address = self.line.split()[-1]
        self.url = f"http://127.0.0.1:{address}" if address.isdigit() else f"unix://{address}"

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        """End it: its exit code, the lines of its log, and what it said on stderr."""
        self.process.send_signal(number)
        log, errors = self.process.communicate(timeout=30)
        return self.process.returncode, log, errors


class Container:
    """A home that holds only a workspace shared with the host."""

    def __init__(self, host: Home, url: str, root: Path) -> None:
        self._host = host
        self.home = root / "home"
        self.workspace = root / "workspace"
        self.home.mkdir()
        self.workspace.symlink_to(host.workspace())
        self.env = {
            "HOME": str(self.home),
            "PATH": os.defpath,
            "LANG": "C.UTF-8",
            "DEV_SESSIONS_SANDBOX": "1",
            "DEV_SESSIONS_GATEWAY_URL": url,
            "CONTAINER_WORKSPACE": str(self.workspace),
            "HOST_PATH": str(host.workspace()),
        }

    def cli(self, *args: str, stdin: str = "", cwd: Path | None = None, **env: str) -> CompletedProcess[str]:
        """Run `dev-sessions` in it, as the host's home does."""
        where, environment = cwd or self.workspace, {**self.env, **env}
        if self._host.runner is not None:
            return self._host.runner.run(args, stdin=stdin, cwd=where, timeout=60, env=environment)
        return subprocess.run(
            [sys.executable, "-m", "dev_sessions", *args],
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            cwd=where,
            env=environment,
            timeout=60,
            check=False,
        )


@contextlib.contextmanager
def running_gateway(home: Home, *options: str) -> Iterator[tuple[Gateway, Container]]:
    """Run a gateway, and provide a container that uses it."""
    gateway = Gateway(home, *options)
    with tempfile.TemporaryDirectory(prefix="ds-container-") as root:
        yield gateway, Container(home, gateway.url, Path(root))


@contextlib.contextmanager
def serving(server: Server) -> Iterator[Server]:
    """Run a server."""
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
