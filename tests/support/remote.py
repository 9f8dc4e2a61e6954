"""Another machine: a real sshd on loopback, behind which a second throw-away home is what a login finds."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from dev_sessions.system.deadline import Deadline, poll
from tests.support.home import Home

#: What the host is called in the ssh configuration of the home that reaches it.
NAME = "box"


class Remote:
    """A machine that `home` reaches as `box`. `far` is the home of the user there.

    `bin` comes first in the PATH there, and holds its dev-sessions.
    """

    def __init__(self, home: Home, far: Home) -> None:
        self.far = far
        self._home = home
        self._folder = home.path / "sshd"
        self._folder.mkdir(mode=0o700)
        self.bin = far.path / "bin"
        self.bin.mkdir()
        (self.bin / "dev-sessions").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m dev_sessions "$@"\n')
        (self.bin / "dev-sessions").chmod(0o755)
        others = [place for place in far.env["PATH"].split(os.pathsep) if not (Path(place) / "dev-sessions").exists()]
        far.env["PATH"] = os.pathsep.join([str(self.bin), *others])
        far.configure_login_shells()
        self.port = _free_port()
        self._keys()
        self._login()
        self._server: subprocess.Popen[bytes] | None = None
        self.configure(NAME, self.port)
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def configure(self, name: str, port: int) -> None:
        """Let the home reach a port on loopback by a name, in addition to those configured before."""
        folder = self._home.path / ".ssh"
        folder.mkdir(mode=0o700, exist_ok=True)
        with (folder / "config").open("a") as config:
            config.write(
                f"Host {name}\n  HostName 127.0.0.1\n  Port {port}\n  User {pwd.getpwuid(os.getuid()).pw_name}\n"
                f"  IdentityFile {self._folder}/user\n  IdentitiesOnly yes\n  UserKnownHostsFile {folder}/known_hosts\n"
            )
        # ssh takes the home from the system's list of users. This one is told where ours is.
        ssh = Path(self._home.env["PATH"].split(os.pathsep)[0])
        program = self._home.path / "bin" / "ssh"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {shlex.quote(str(folder / "config"))} "$@"\n')
        program.chmod(0o755)
        if ssh != program.parent:
            self._home.env["PATH"] = f"{program.parent}{os.pathsep}{self._home.env['PATH']}"

    def start(self) -> None:
        """Start the server, and return when it takes connections."""
        sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
        assert sshd is not None
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # where Debian's keeps an empty folder for itself
        command = [sshd, "-D", "-e", "-f", str(self._folder / "sshd_config")]
        with (self._folder / "log").open("ab") as log:
            # The home's mark goes along, so that nothing of it outlives the home.
            self._server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log, env=self._home.env)
        assert poll(self._listens, Deadline(10)), (self._folder / "log").read_text()

    def stop(self) -> None:
        """End every connection and take no more."""
        self.disconnect()
        if self._server is not None:
            self._server.terminate()
            self._server.wait(10)
            self._server = None

    def disconnect(self) -> None:
        """End every connection without notice, as if the network were gone."""
        for pid in self.connections():
            subprocess.run(["kill", "-KILL", str(pid)], check=False)

    def connections(self) -> list[int]:
        """Return the server's processes that serve connections."""
        listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
        rows = [line.split() for line in listed.splitlines()]
        return [int(pid) for pid, parent in rows if self._server is not None and int(parent) == self._server.pid]

    def log(self) -> str:
        """Return the server's log."""
        return (self._folder / "log").read_text()

    def _listens(self) -> bool | None:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return None
        return True

    def _keys(self) -> None:
        for name in ("host", "user"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(self._folder / name)]
            subprocess.run(command, check=True)

    def _login(self) -> None:
        """Write the sshd configuration and the program of a login, which runs the command with the far home's
        environment only."""
        shell = self._folder / "shell"
        settings = " ".join(shlex.quote(f"{name}={value}") for name, value in self.far.env.items())
        shell.write_text(
            f"#!/bin/sh\ncd {shlex.quote(str(self.far.path))}\n"
            f'exec env -i SSH_CONNECTION="$SSH_CONNECTION" {settings} /bin/bash -c "$SSH_ORIGINAL_COMMAND"\n'
        )
        shell.chmod(0o755)
        (self._folder / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1\nPort {self.port}\nHostKey {self._folder}/host\nPidFile none\nUsePAM no\n"
            f"AuthorizedKeysFile {self._folder}/user.pub\nStrictModes no\nPasswordAuthentication no\n"
            f"ForceCommand {shell}\nMaxSessions 100\nMaxStartups 100\n"
            # The user's shell starts first, and bash behind sshd reads ~/.bashrc: not that of who runs the tests.
            f"SetEnv HOME={self.far.path}\n"
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
