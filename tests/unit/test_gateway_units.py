"""The gateway's service files, whatever stands in the paths."""

from __future__ import annotations

import plistlib
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dev_sessions.errors import InvalidRequest
from dev_sessions.gateway.units import SYSTEMD_NAME, Daemon, asks_for_token, launchd_plist, port_of, systemd_unit

NASTY = "/o d%h%%/$HOME/${X}/\"q\" 'x' \\n\\;#é]]><&amp;--"
DAEMON = Daemon(
    (f"{NASTY}/python", "-m", "dev_sessions", "gateway", "--port", "6767", "--token-file", f"{NASTY}/token"),
    {"HOME": NASTY, "PATH": f"/usr/bin:{NASTY}/bin"},
    f"{NASTY}/gateway.log",
)
characters = st.characters(exclude_categories=["Cs", "Cc", "Cn"])
texts = st.text(characters).map(lambda text: f"/{text}")
daemons = st.builds(Daemon, st.lists(texts, min_size=1), st.dictionaries(st.just("PATH"), texts), texts)


@given(daemon=daemons)
def test_a_plist_holds_what_it_is_given(daemon: Daemon) -> None:
    """What launchd reads is the very command, environment and log, whatever is in the paths."""
    told = plistlib.loads(launchd_plist(daemon))
    assert told["ProgramArguments"] == daemon.argv
    assert told["EnvironmentVariables"] == daemon.environment
    assert told["StandardOutPath"] == told["StandardErrorPath"] == daemon.log


def test_a_plist_keeps_the_gateway_running_and_private() -> None:
    """launchd starts it at login and again when it ends, its files are its user's alone, its children live on."""
    told = plistlib.loads(launchd_plist(DAEMON))
    assert told["Label"] == "com.dev-sessions.gateway"
    assert (told["RunAtLoad"], told["KeepAlive"], told["AbandonProcessGroup"]) == (True, True, True)
    assert told["Umask"] == 63


@given(daemon=daemons)
def test_a_unit_holds_what_it_is_given(daemon: Daemon) -> None:
    """What systemd reads is the very command, environment and log, whatever is in the paths."""
    settings = [line.partition("=")[::2] for line in systemd_unit(daemon).decode().split("\n")]
    told = {name: value for name, value in settings if name != "Environment"}
    # Inside double quotes systemd and the shell read the same; a doubled % is systemd's own.
    shell, *command = [word.replace("%%", "%") for word in shlex.split(told["ExecStart"])]
    assert (shell, command) == (":/bin/sh", ["-c", 'exec "$0" "$@"', *daemon.argv])
    environment = [shlex.split(value.replace("%%", "%")) for name, value in settings if name == "Environment"]
    assert environment == [[f"{name}={value}"] for name, value in daemon.environment.items()]
    assert told["StandardOutput"] == f"append:{daemon.log.replace('%', '%%')}"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_has_no_complaint(tmp_path: Path) -> None:
    """The real systemd takes the unit without a word, nasty paths included."""
    unit = tmp_path / SYSTEMD_NAME
    verify = ["systemd-analyze", "verify", "--user", str(unit)]
    env = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"}
    unit.write_bytes(systemd_unit(DAEMON))
    done = subprocess.run(verify, capture_output=True, text=True, env=env, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    unit.write_bytes(systemd_unit(DAEMON).replace(b"KillMode=process", b"KillMode=nobody"))
    assert "kill mode" in subprocess.run(verify, capture_output=True, text=True, env=env, check=False).stderr


@pytest.mark.parametrize("odd", ["\n", "\0", "\x1b", "\x7f", "\udc80", "\uffff"])
@pytest.mark.parametrize("write", [launchd_plist, systemd_unit])
def test_what_no_service_file_can_hold_is_refused(odd: str, write: type) -> None:
    """A line break or a byte that is no text in a path is refused, instead of becoming another setting."""
    for daemon in (
        Daemon([f"/a{odd}b"], {}, "/log"),
        Daemon(["/a"], {"PATH": f"/a{odd}ExecStart=/b"}, "/log"),
        Daemon(["/a"], {}, f"/l{odd}og"),
    ):
        with pytest.raises(InvalidRequest, match="No service file can hold"):
            write(daemon)


@pytest.mark.parametrize(
    ("service_file", "port"),
    [
        (systemd_unit(DAEMON), 6767),
        (launchd_plist(DAEMON), 6767),
        (b"ExecStart=/usr/bin/node /opt/dev-sessions/dist/index.js gateway --port 7001\n", 7001),
        (b"<string>gateway</string>\n    <string>--port</string>\n    <string>7002</string>", 7002),
        (b"ExecStart=/usr/bin/node /opt/dev-sessions/dist/index.js gateway\n", None),
        (b"", None),
    ],
)
def test_the_port_of_a_service_file_is_found(service_file: bytes, port: int | None) -> None:
    """The port is read from what is installed, also from what the original wrote."""
    assert port_of(service_file) == port


def test_a_service_file_says_whether_a_token_is_asked_for() -> None:
    """It can be told whether an installed gateway asks for a token."""
    plain = Daemon(DAEMON.argv[:6], DAEMON.environment, DAEMON.log)
    for write in (launchd_plist, systemd_unit):
        assert (asks_for_token(write(DAEMON)), asks_for_token(write(plain))) == (True, False)
