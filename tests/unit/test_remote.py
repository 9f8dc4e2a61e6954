"""Command lines for other machines, and their output."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dev_sessions.errors import InvalidRequest
from dev_sessions.operations import SetGoal
from dev_sessions.remote import relay, ssh
from dev_sessions.remote.command_line import CommandLine, encode
from dev_sessions.remote.relay import Relay
from dev_sessions.system.deadline import cancel_when

words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@given(st.lists(words, max_size=4))
def test_every_argument_arrives_whole(arguments: list[str]) -> None:
    """Arguments arrive unchanged through the login shell and the shell that it starts, whatever they contain."""
    line = ssh.command_line("box", shlex.join(["dev-sessions", *arguments]))[-1]
    bash, option, command = shlex.split(line)
    assert (bash, option) == ("bash", "-lc")
    assert shlex.split(command) == ["dev-sessions", *arguments]


def test_a_home_too_deep_for_a_socket_shares_no_connection(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """If the path of the shared connection is too long for a socket, each command uses its own connection."""
    monkeypatch.setenv("HOME", str(tmp_path / ("x" * 80)))
    assert "ControlMaster=no" in ssh.command_line("box", "true")
    monkeypatch.setenv("HOME", "/home/me")
    assert "ControlPath=/home/me/.dev-sessions/ssh/%C" in ssh.command_line("box", "true")


def test_a_machine_that_takes_its_time_gets_the_message_once_and_whole(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A long message arrives whole, also while the wait for it can be cancelled."""
    program = tmp_path / "ssh"
    program.write_text("#!/bin/sh\nsleep 1.5\nexec cat\n")
    program.chmod(0o700)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    message = "so and so\n" * 20_000
    with cancel_when(lambda: False):
        assert ssh.run("box", "dev-sessions send fizz-top --file -", message, None).stdout == message


def test_an_objective_goes_to_an_older_version_as_that_knows_it() -> None:
    """0.4 gets an objective in its arguments, after --; newer versions get it on standard input."""
    asked = SetGoal(session_id="fizz-top", objective="- work\n- rest", status="paused", token_budget=5)
    arguments = ["goal", "fizz-top", "--json", "--budget", "5", "--", "- work\n- rest"]
    assert encode(asked, full_version=False) == CommandLine(arguments)


@pytest.mark.parametrize("host", ["", "-v", "-oProxyCommand=x", "a b", "a\n", "\x1b[2J"])
def test_a_host_that_is_none_is_refused(host: str) -> None:
    """A host that ssh would take for an option, or a shell for two words, is refused."""
    with pytest.raises(InvalidRequest, match="is not a valid ssh host"):
        Relay(host, "dev-sessions", None, print)


@pytest.mark.parametrize(
    ("version", "compatible", "full"),
    [
        ("0.4.0", True, False),
        ("0.4.12", True, False),
        ("0.5.0", True, True),
        ("0.5.3-rc1", True, True),
        ("0.3.9", False, False),
        ("0.6.0", False, True),
        ("1.0.0", False, True),
        ("", False, False),
        ("what?", False, False),
    ],
)
def test_versions_are_compared(version: str, compatible: bool, full: bool) -> None:
    """0.4 and every 0.5 are compatible; operations that 0.4 lacks exist from 0.5.0 on."""
    assert (relay.is_compatible(version), relay.is_full(version)) == (compatible, full)
