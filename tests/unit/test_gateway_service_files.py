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
from dev_sessions.gateway.launchd import property_list
from dev_sessions.gateway.service_manager import ServiceSpec, port_of, requires_token
from dev_sessions.gateway.systemd import UNIT_NAME, unit_file

NASTY = "/o d%h%%/$HOME/${X}/\"q\" 'x' \\n\\;#é]]><&amp;--"
SPEC = ServiceSpec(
    (f"{NASTY}/python", "-m", "dev_sessions", "gateway", "--port", "6767", "--token-file", f"{NASTY}/token"),
    {"HOME": NASTY, "PATH": f"/usr/bin:{NASTY}/bin"},
    f"{NASTY}/gateway.log",
)
characters = st.characters(exclude_categories=["Cs", "Cc", "Cn"])
texts = st.text(characters).map(lambda text: f"/{text}")
specs = st.builds(ServiceSpec, st.lists(texts, min_size=1), st.dictionaries(st.just("PATH"), texts), texts)


@given(spec=specs)
def test_a_plist_holds_what_it_is_given(spec: ServiceSpec) -> None:
    """launchd reads exactly the given command, environment and log path, whatever characters they contain."""
    values = plistlib.loads(property_list(spec))
    assert values["ProgramArguments"] == spec.argv
    assert values["EnvironmentVariables"] == spec.environment
    assert values["StandardOutPath"] == values["StandardErrorPath"] == spec.log


def test_a_plist_keeps_the_gateway_running_and_private() -> None:
    """launchd starts it at login and again after a failure, its files are its user's alone, its children live on."""
    values = plistlib.loads(property_list(SPEC))
    assert values["Label"] == "com.dev-sessions.gateway"
    assert (values["RunAtLoad"], values["AbandonProcessGroup"]) == (True, True)
    assert values["KeepAlive"] == {"SuccessfulExit": False}
    assert values["Umask"] == 63


@given(spec=specs)
def test_a_unit_holds_what_it_is_given(spec: ServiceSpec) -> None:
    """systemd reads exactly the given command, environment and log path, whatever characters they contain."""
    settings = [line.partition("=")[::2] for line in unit_file(spec).decode().split("\n")]
    values = {name: value for name, value in settings if name != "Environment"}
    # Inside double quotes systemd and the shell read the same; a doubled % is systemd's own.
    shell, *command = [word.replace("%%", "%") for word in shlex.split(values["ExecStart"])]
    assert (shell, command) == (":/bin/sh", ["-c", 'exec "$0" "$@"', *spec.argv])
    environment = [shlex.split(value.replace("%%", "%")) for name, value in settings if name == "Environment"]
    assert environment == [[f"{name}={value}"] for name, value in spec.environment.items()]
    assert values["StandardOutput"] == f"append:{spec.log.replace('%', '%%')}"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_has_no_complaint(tmp_path: Path) -> None:
    """The real systemd accepts the unit without a warning, also with special characters in its paths."""
    unit = tmp_path / UNIT_NAME
    verify = ["systemd-analyze", "verify", "--user", str(unit)]
    env = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"}
    unit.write_bytes(unit_file(SPEC))
    done = subprocess.run(verify, capture_output=True, text=True, env=env, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    unit.write_bytes(unit_file(SPEC).replace(b"KillMode=process", b"KillMode=nobody"))
    assert "kill mode" in subprocess.run(verify, capture_output=True, text=True, env=env, check=False).stderr


@pytest.mark.parametrize("odd", ["\n", "\0", "\x1b", "\x7f", "\udc80", "\uffff"])
@pytest.mark.parametrize("write", [property_list, unit_file])
def test_what_no_service_file_can_hold_is_refused(odd: str, write: type) -> None:
    """A line break or a byte that is not text in a path is refused, instead of becoming another setting."""
    for spec in (
        ServiceSpec([f"/a{odd}b"], {}, "/log"),
        ServiceSpec(["/a"], {"PATH": f"/a{odd}ExecStart=/b"}, "/log"),
        ServiceSpec(["/a"], {}, f"/l{odd}og"),
    ):
        with pytest.raises(InvalidRequest, match="No service file can hold"):
            write(spec)


@pytest.mark.parametrize(
    ("service_file", "port"),
    [
        (unit_file(SPEC), 6767),
        (property_list(SPEC), 6767),
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
    """The service file shows whether an installed gateway requires a token."""
    plain = ServiceSpec(SPEC.argv[:6], SPEC.environment, SPEC.log)
    for write in (property_list, unit_file):
        assert (requires_token(write(SPEC)), requires_token(write(plain))) == (True, False)
