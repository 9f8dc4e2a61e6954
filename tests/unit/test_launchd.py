"""launchctl's failures, with a stand-in that exits as launchctl(1) and the error numbers of macOS say."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dev_sessions.errors import DevSessionsError, ProgramMissing, ProtocolError
from dev_sessions.gateway import launchd
from dev_sessions.gateway.launchd import Launchd
from dev_sessions.gateway.service import asked_for

#: Loads the service with bootstrap. A file `bootstrap` or `bootout` has one line for each call that fails: its exit
#: code and its text.
LAUNCHCTL = """\
#!/bin/sh
cd "$HOME"
if [ -s "$1" ]; then
    read -r code text <"$1"
    sed -i 1d "$1"
    echo "$text" >&2
    exit "$code"
fi
case $1 in
    bootstrap) [ ! -e loaded ] || { echo 'Bootstrap failed: 5: Input/output error' >&2; exit 5; }; touch loaded ;;
    bootout) [ -e loaded ] || { echo 'Boot-out failed: 3: No such process' >&2; exit 3; }; rm loaded ;;
    list) [ -e loaded ] || { echo 'Could not find service' >&2; exit 113; } ;;
esac
"""
Fail = Callable[[str, str], None]


@pytest.fixture
def fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fail:
    """Provide a function that has the next call of a subcommand fail with a code and a text."""
    program = tmp_path / "bin" / "launchctl"
    program.parent.mkdir()
    program.write_text(LAUNCHCTL)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(launchd, "STOP_TIMEOUT", 0.3)

    def fail(subcommand: str, line: str) -> None:
        with (tmp_path / subcommand).open("a") as lines:
            lines.write(f"{line}\n")

    return fail


@pytest.mark.parametrize(
    "busy",
    [
        "5 Bootstrap failed: 5: Input/output error",
        "36 Bootstrap failed: 36: Operation now in progress",
        "37 Bootstrap failed: 37: Operation already in progress",
    ],
)
def test_a_service_that_is_still_ending_is_waited_for(busy: str, fail: Fail, tmp_path: Path) -> None:
    """The gateway is started although launchd has not finished ending the one before."""
    (tmp_path / "loaded").touch()
    fail("bootstrap", busy)
    Launchd().start()
    assert (tmp_path / "loaded").exists()


@pytest.mark.parametrize(
    ("failure", "advice"),
    [
        ("119 Bootstrap failed: 119: Service is disabled", "allow it in System Settings, Login Items"),
        ("122 Bootstrap failed: 122: Path had bad ownership/permissions", "must be yours and writable for nobody else"),
        ("125 Bootstrap failed: 125: Domain does not support specified action", "fix that"),
        ("109 Bootstrap failed: 109: Invalid property list", "plutil -lint"),
    ],
)
def test_a_service_that_cannot_be_started_says_why(failure: str, advice: str, fail: Fail) -> None:
    """What launchd refuses is an error with its words and what to do about it."""
    fail("bootstrap", failure)
    with pytest.raises(ProtocolError) as caught:
        Launchd().start()
    assert failure.partition(" ")[2] in str(caught.value)
    assert advice in str(caught.value)


def test_what_stays_busy_is_an_error(fail: Fail) -> None:
    """A start that keeps failing ends, with launchd's last words."""
    for _ in range(20):
        fail("bootstrap", "5 Bootstrap failed: 5: Input/output error")
    with pytest.raises(ProtocolError, match="5: Input/output error"):
        Launchd().start()


@pytest.mark.parametrize("failure", ["3 Boot-out failed: 3: No such process", "113 Could not find specified service"])
def test_stopping_what_is_not_loaded_is_fine(failure: str, fail: Fail) -> None:
    """A service that launchd does not know counts as stopped."""
    fail("bootout", failure)
    Launchd().stop()


def test_a_service_that_does_not_end_is_an_error(fail: Fail, tmp_path: Path) -> None:
    """A service that is still there after a bootout is not taken for a stopped one."""
    (tmp_path / "loaded").touch()
    fail("bootout", "1 Boot-out failed: 1: Operation not permitted")
    with pytest.raises(ProtocolError, match="1: Operation not permitted"):
        Launchd().stop()


@pytest.mark.parametrize(
    "failure", ["113 Could not find domain for user gui: 501", "125 Domain does not support specified action"]
)
def test_over_ssh_without_a_login_at_the_screen_it_is_said(failure: str, fail: Fail) -> None:
    """Where the user is not logged in at the screen, nothing is installed, and the error says that and what to run."""
    fail("print", failure)
    with pytest.raises(DevSessionsError) as caught:
        Launchd().require("dev-sessions gateway --port 6767")
    assert "only after a login at the screen, which ssh is not" in str(caught.value)
    assert str(caught.value).endswith("run the gateway yourself: dev-sessions gateway --port 6767")


def test_without_launchctl_it_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without launchctl the error names the command to run instead."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ProgramMissing, match=r"launchctl was not found .*; run the gateway yourself: x$"):
        Launchd().require("x")


@pytest.mark.parametrize(
    ("interpreter", "named"),
    [
        (
            "/opt/homebrew/Cellar/python@3.13/3.13.1/Frameworks/Python.framework/Versions/3.13/bin/python3.13",
            "/opt/homebrew/Cellar/python@3.13/3.13.1/Frameworks/Python.framework/Versions/3.13/Resources/Python.app",
        ),
        ("/nowhere/uv/python/cpython-3.12/bin/python3.12", "/nowhere/uv/python/cpython-3.12/bin/python3.12"),
    ],
)
def test_disk_access_is_for_what_macos_asks_for(interpreter: str, named: str) -> None:
    """The program that needs Full Disk Access is the application of a framework Python, else the interpreter."""
    assert asked_for(interpreter) == named
