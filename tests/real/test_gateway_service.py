"""The gateway as a service: on the real systemd of a user, and on stand-ins that keep a record of their orders."""

from __future__ import annotations

import http.server
import json
import os
import plistlib
import shlex
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dev_sessions.system.deadline import Deadline, poll
from tests.support.cli import ok
from tests.support.home import Home
from tests.support.services import GATEWAY, stand_in, systemd_is_possible, user_systemd

PLIST = "Library/LaunchAgents/com.dev-sessions.gateway.plist"
UNIT = ".config/systemd/user/dev-sessions-gateway.service"
real_systemd = pytest.mark.skipif(
    not systemd_is_possible(), reason="a systemd of one's own needs root, systemd and control groups"
)
#: Runs a command line as on a platform (the first argument), with an interpreter (the second) for the gateway.
_COMMAND_LINE = """\
import functools, sys
from dev_sessions.cli import gateway_service, run
for name in ("install", "uninstall", "status"):
    command = getattr(gateway_service, f"{name}_command")
    command.callback = functools.partial(command.callback, platform=sys.argv[1])
sys.executable = sys.argv[2]
sys.exit(run(["gateway", *sys.argv[3:]]))
"""


@dataclass
class User:
    """A user who installs the gateway: the real one, or a stand-in that records its arguments."""

    home: Home
    platform: str
    path: Path
    env: dict[str, str] = field(default_factory=dict)
    is_real: bool = False

    def gateway(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of `dev-sessions gateway`."""
        interpreter = self.path / "python"
        if not interpreter.exists():
            interpreter.write_text(GATEWAY)
            interpreter.chmod(0o755)
        code = (sys.executable, "-c", _COMMAND_LINE, self.platform, sys.executable if self.is_real else interpreter)
        return self.home.run(*code, *arguments, env={"HOME": str(self.path), **self.env})

    @property
    def service_file(self) -> Path:
        """Return the path of the service file."""
        return self.path / (PLIST if self.platform == "darwin" else UNIT)

    @property
    def log(self) -> Path:
        """Return the path of the gateway's log."""
        return self.path / ".dev-sessions" / "gateway.log"

    def orders(self) -> list[str]:
        """Return the service manager's commands since the last call, without queries."""
        file = self.path / "orders"
        lines = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        questions = ("list", "print", "--user show", "--user is-active")
        return [line for line in lines if not line.startswith(questions)]

    def starts(self) -> list[dict[str, object]]:
        """Return the command line of each start of the gateway."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]


@pytest.fixture(params=["linux", "darwin"])
def user(home: Home, request: pytest.FixtureRequest) -> User:
    """Provide a user with a stand-in for the service manager."""
    stand_in(home, request.param)
    return User(home, request.param, home.path)


#: For what the gateway's first installation does not show of both service managers already.
one_platform = pytest.mark.parametrize(
    "user", ["linux", pytest.param("darwin", marks=pytest.mark.matrix)], indirect=True
)


@pytest.fixture
def port() -> int:
    """Return a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
    return number


@contextmanager
def listening(port: int, answer: bytes) -> Iterator[None]:
    """Run a server that sends the same response to every request."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *arguments: object) -> None:
            """Print nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def mode(path: Path) -> int:
    """Return a file's permissions."""
    return stat.S_IMODE(path.stat().st_mode)


def test_install_status_uninstall(user: User, port: int) -> None:
    """The gateway is installed, answers, is reported as running, and is uninstalled with only its log left."""
    done = user.gateway("install", "--port", str(port))
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0] == f"Gateway daemon installed and started on port {port}"
    if user.platform == "darwin":
        assert user.orders() == [
            f"bootout gui/{os.getuid()}/com.dev-sessions.gateway",
            f"enable gui/{os.getuid()}/com.dev-sessions.gateway",
            f"bootstrap gui/{os.getuid()} {user.service_file}",
        ]
        (disk_access,) = lines[1:]
        assert disk_access.startswith("Full Disk Access ")
        assert str(user.path / "python") in disk_access
        assert done.stderr == ""
    else:
        service = "dev-sessions-gateway.service"
        assert user.orders() == ["--user daemon-reload", f"--user enable {service}", f"--user restart {service}"]
        assert lines[1:] == []
        assert done.stderr == "It ends when you log out, with its sessions; to prevent that: loginctl enable-linger\n"
    (start,) = user.starts()
    assert start["argv"] == [str(user.path / "python"), "-m", "dev_sessions", "gateway", "--port", str(port)]
    assert start["cwd"] == "/"
    assert mode(user.log) == 0o600
    assert ok(user.gateway("status")) == f"Gateway daemon: running (port {port})\n"
    user.orders()
    assert ok(user.gateway("uninstall")) == "Gateway daemon uninstalled\n"
    assert user.orders()[0].split()[0 if user.platform == "darwin" else 1] in ("bootout", "disable")
    assert not user.service_file.exists()
    assert ok(user.gateway("status")) == "Gateway daemon: stopped\n"
    assert {path.name for path in user.log.parent.iterdir()} == {"gateway.log"}


def test_the_gateway_has_what_its_agents_need_and_no_secret(user: User, port: int) -> None:
    """The gateway has the installing user's PATH, language and agents' folders; keys are not copied into a file."""
    user.env = {
        "PATH": f"{user.home.env['PATH']}:/opt/a b/%h/$X/é",
        "CLAUDE_CONFIG_DIR": "/c d",
        "CODEX_HOME": "/x",
        "ANTHROPIC_API_KEY": "sk-secret",
        "DEV_SESSIONS_SANDBOX": "",
    }
    assert user.gateway("install", "--port", str(port)).returncode == 0
    (start,) = user.starts()
    env = start["env"]
    assert isinstance(env, dict)
    for name in ("PATH", "CLAUDE_CONFIG_DIR", "CODEX_HOME"):
        assert env[name] == user.env[name]
    for name in ("HOME", "LANG", "TMUX_TMPDIR"):
        assert env[name] == user.home.env[name]
    assert b"secret" not in user.service_file.read_bytes()


@one_platform
def test_installing_again_replaces_what_was_installed(user: User, port: int) -> None:
    """The gateway can be installed again, on the same port or another one, which status then shows."""
    assert user.gateway("install", "--port", str(port)).returncode == 0
    assert user.gateway("install", "--port", str(port)).returncode == 0
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        other = str(probe.getsockname()[1])
    user.env = {"DEV_SESSIONS_GATEWAY_PORT": other}
    assert f"on port {other}\n" in user.gateway("install").stdout
    user.env = {}
    assert ok(user.gateway("status")) == f"Gateway daemon: running (port {other})\n"
    assert len(user.starts()) == 3
    with listening(port, b"the old port is free again"):
        pass
    assert ok(user.gateway("uninstall")) == "Gateway daemon uninstalled\n"


@one_platform
def test_uninstalling_nothing_is_fine(user: User) -> None:
    """Uninstalling without an installed gateway says so and is no error, and version 0.4's --port is accepted."""
    for options in ((), ("--port", "6767")):
        done = user.gateway("uninstall", *options)
        assert (done.returncode, done.stdout) == (0, "Gateway daemon uninstalled\n")
        assert done.stderr == "Nothing to do: no gateway daemon was installed\n"
    assert user.orders() == []


@one_platform
def test_a_gateway_whose_service_file_is_gone_is_stopped(user: User, port: int) -> None:
    """Uninstalling stops the gateway even if somebody has removed its service file."""
    assert user.gateway("install", "--port", str(port)).returncode == 0
    user.service_file.unlink()
    assert ok(user.gateway("uninstall")) == "Gateway daemon uninstalled\n"
    assert ok(user.gateway("status", "--port", str(port))) == "Gateway daemon: stopped\n"


@one_platform
@pytest.mark.parametrize(
    ("answer", "who"),
    [(b"hello", "Address already in use;"), (b'{"status": "healthy"}', "that is not installed as a service;")],
)
def test_a_port_in_use_is_named_and_nothing_is_left(user: User, port: int, answer: bytes, who: str) -> None:
    """A port that is in use is an error that says what to do, and nothing is installed."""
    with listening(port, answer):
        done = user.gateway("install", "--token", "--port", str(port))
    assert (done.returncode, done.stdout) == (1, "")
    assert f"Port {port} cannot be used: Address already in use" in done.stderr
    assert who in done.stderr
    assert "choose another one with --port or DEV_SESSIONS_GATEWAY_PORT" in done.stderr
    assert done.stderr.count("\n") == 1
    assert user.orders() == []
    assert not user.service_file.exists()
    assert not user.log.parent.exists()


@one_platform
def test_a_failed_install_leaves_the_old_gateway_running(user: User, port: int) -> None:
    """If the new port is in use, the installed gateway keeps running."""
    assert user.gateway("install", "--port", str(port)).returncode == 0
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        assert user.gateway("install", "--port", str(stranger.getsockname()[1])).returncode == 1
    assert ok(user.gateway("status")) == f"Gateway daemon: running (port {port})\n"


@one_platform
def test_a_gateway_that_does_not_serve_is_taken_back(user: User, port: int) -> None:
    """A gateway that ends at its start is an error that names the log, and is not installed."""
    (user.path / "broken").touch()
    done = user.gateway("install", "--port", str(port))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"The gateway does not answer on port {port}, so the installation was rolled back; see its log: {user.log}\n"
    )
    assert "no gateway today" in user.log.read_text()
    assert not user.service_file.exists()
    assert ok(user.gateway("status")) == "Gateway daemon: stopped\n"


@one_platform
def test_a_token_is_made_once_and_never_shown(user: User, port: int) -> None:
    """--token creates a private token, keeps it the next time, and prints how to pass it to a container."""
    token = user.path / ".dev-sessions" / "gateway-token"

    def install_and_look() -> str:
        done = user.gateway("install", "--port", str(port), "--token")
        assert done.returncode == 0
        secret = token.read_text().strip()
        assert mode(token) == 0o600
        assert len(secret) >= 32
        assert secret not in done.stdout + done.stderr
        assert secret.encode() not in user.service_file.read_bytes()
        options = shlex.split(done.stdout.splitlines()[1].removeprefix("Pass to containers: "))
        inside = "/run/secrets/gateway-token"
        assert options == ["-v", f"{token}:{inside}:ro", "-e", f"DEV_SESSIONS_GATEWAY_TOKEN_FILE={inside}"]
        return secret

    made = install_and_look()
    token.chmod(0o644)
    assert install_and_look() == made
    start = user.starts()[-1]["argv"]
    assert isinstance(start, list)
    assert start[-2:] == ["--token-file", str(token)]
    assert "no longer requires a token" in user.gateway("install", "--port", str(port)).stderr


@one_platform
def test_status_says_when_the_service_and_the_port_disagree(user: User, port: int) -> None:
    """status reports on standard error if the service does not answer, or another gateway does."""
    with listening(port, b'{"status": "healthy"}'):
        done = user.gateway("status", "--port", str(port))
    assert (done.returncode, done.stdout) == (0, "Gateway daemon: stopped\n")
    assert done.stderr == f"Another gateway, not installed as a service, answers on port {port}\n"
    assert user.gateway("install", "--port", str(port)).returncode == 0
    (user.path / "running").write_text(str(os.getpid()))  # the stand-in's note of what runs
    for pid, command in user.home.leftovers().items():
        if "--port" in command:
            os.kill(pid, 15)
    assert poll(lambda: "not answer" in user.gateway("status").stderr or None, Deadline(30), 0.1)
    done = user.gateway("status")
    assert (done.returncode, done.stdout) == (0, f"Gateway daemon: running (port {port})\n")
    assert done.stderr == f"It does not answer on port {port}; see its log: {user.log}\n"
    (user.path / "running").unlink()


def test_the_service_of_the_original_is_replaced(user: User, port: int) -> None:
    """A gateway installed by version 0.4 is recognized with its port, and replaced."""
    user.service_file.parent.mkdir(parents=True)
    argv = ["/usr/bin/node", "/opt/dev-sessions/dist/index.js", "gateway", "--port", str(port)]
    if user.platform == "darwin":
        user.service_file.write_bytes(plistlib.dumps({"ProgramArguments": argv}))
    else:
        user.service_file.write_text(f"[Service]\nExecStart={' '.join(argv)}\n")
    (user.path / "running").write_text(str(2**22 + 1))  # no process has such an id
    done = user.gateway("status")
    assert done.stdout == f"Gateway daemon: running (port {port})\n"
    assert user.gateway("install", "--port", str(port)).returncode == 0
    assert b"index.js" not in user.service_file.read_bytes()


@pytest.mark.parametrize("program", ["missing", "without a bus"])
def test_a_linux_without_a_users_systemd_gets_the_command_instead(home: Home, port: int, program: str) -> None:
    """Without a systemd user manager, install prints the command to run instead, and writes nothing."""
    user = User(home, "linux", home.workspace("nobody"))
    if program == "missing":
        user.env = {"PATH": "/nowhere"}
    else:
        systemctl = home.workspace("bin") / "systemctl"
        systemctl.write_text("#!/bin/sh\necho 'Failed to connect to bus: No medium found' >&2\nexit 1\n")
        systemctl.chmod(0o755)
        user.env = {"PATH": f"{systemctl.parent}{os.pathsep}{home.env['PATH']}"}
    done = user.gateway("install", "--token", "--port", str(port))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("No systemd user manager is running (")
    assert done.stderr.endswith(
        f"so nothing was installed; run the gateway yourself: dev-sessions gateway --port {port}"
        f" --token-file {user.path}/.dev-sessions/gateway-token\n"
    )
    assert ok(user.gateway("status", "--port", str(port))) == "Gateway daemon: stopped\n"
    assert user.gateway("uninstall").stdout == "Gateway daemon uninstalled\n"
    assert {path.name for path in user.path.iterdir()} == {"python"}


def test_an_unsupported_system_is_reported(home: Home) -> None:
    """On other systems, install is an error that says so."""
    done = User(home, "freebsd14", home.path).gateway("install")
    assert (done.returncode, done.stdout) == (1, "")
    assert "on Linux and macOS only" in done.stderr


def test_options_before_the_command_are_not_lost_unseen(home: Home) -> None:
    """A port that stands before `install` is refused, not ignored."""
    done = home.cli("gateway", "--port", "7000", "install")
    assert (done.returncode, done.stdout) == (2, "")
    assert "ptions go after install, not before it" in done.stderr


@real_systemd
def test_on_the_real_systemd(home: Home, port: int) -> None:
    """On a user's real systemd, and with special characters in all paths, the gateway serves, restarts when it is
    killed, can be replaced and uninstalled, and what it started goes on."""
    user = User(home, "linux", home.workspace("o d%h $HOME ${X} \"q\" 'x' \\n é"))
    user.env = {"PATH": f"{home.env['PATH']}:{user.path}"}
    with user_systemd(home, user.path):
        done = user.gateway("install", "--token", "--port", str(port))
        assert (done.returncode, done.stdout.splitlines()[0]) == (
            0,
            f"Gateway daemon installed and started on port {port}",
        )
        (start,) = user.starts()
        token = str(user.path / ".dev-sessions" / "gateway-token")
        argv = ["-m", "dev_sessions", "gateway", "--port", str(port), "--token-file", token]
        assert start["argv"] == [str(user.path / "python"), *argv]
        env = start["env"]
        assert isinstance(env, dict)
        assert (env["HOME"], env["PATH"], start["cwd"]) == (str(user.path), user.env["PATH"], "/")
        assert mode(user.log) == 0o600
        assert ok(user.gateway("status")) == f"Gateway daemon: running (port {port})\n"
        pid = home.run("systemctl", "--user", "show", "--value", "--property=MainPID", "dev-sessions-gateway").stdout
        os.kill(int(pid), 9)
        assert poll(lambda: user.gateway("status").stdout == "Gateway daemon: stopped\n" or None, Deadline(30), 0.1)
        assert poll(lambda: len(user.starts()) == 2 or None, Deadline(20), 0.2)
        assert user.gateway("install", "--port", str(port)).returncode == 0
        assert ok(user.gateway("status")) == f"Gateway daemon: running (port {port})\n"
        is_enabled = ("systemctl", "--user", "is-enabled", "dev-sessions-gateway")
        assert ok(home.run(*is_enabled, env={"HOME": str(user.path)})) == "enabled\n"
        assert ok(user.gateway("uninstall")) == "Gateway daemon uninstalled\n"
        assert ok(user.gateway("status")) == "Gateway daemon: stopped\n"
        assert [command for command in home.leftovers().values() if command == "sleep 600"] == ["sleep 600"] * 3


@real_systemd
def test_sessions_of_an_installed_gateway_outlive_it(home: Home, port: int) -> None:
    """A container's sessions, started by the installed gateway, go on when it is installed anew and uninstalled."""
    user = User(home, "linux", home.path, is_real=True)
    settings = home.path / ".claude" / "settings.json"
    needed = {
        name: value
        for name, value in home.env.items()
        if name.startswith(("ANTHROPIC_", "DISABLE_", "CLAUDE_CODE_DISABLE_"))
    }
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "env": needed}))
    with user_systemd(home, home.path):
        assert user.gateway("install", "--token", "--port", str(port)).returncode == 0
        container = {
            "DEV_SESSIONS_SANDBOX": "1",
            "DEV_SESSIONS_GATEWAY_URL": f"http://127.0.0.1:{port}",
            "DEV_SESSIONS_GATEWAY_TOKEN_FILE": str(home.path / ".dev-sessions" / "gateway-token"),
        }
        workspace = home.workspace()
        sids = {
            cli: ok(home.cli("create", "-q", "--cli", cli, "--path", workspace, env=container)).strip()
            for cli in ("claude", "codex")
        }
        for sid in sids.values():
            assert ok(home.cli("ask", sid, "say from the container", env=container)) == "from the container\n"
        assert user.gateway("install", "--token", "--port", str(port)).returncode == 0
        for sid in sids.values():
            assert ok(home.cli("ask", sid, "say still here", env=container)) == "still here\n"
        assert ok(user.gateway("uninstall")) == "Gateway daemon uninstalled\n"
        for sid in sids.values():
            assert ok(home.cli("ask", sid, "say and here", env={})) == "and here\n"
        ok(home.cli("kill", "--all"))
