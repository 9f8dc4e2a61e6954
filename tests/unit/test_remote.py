"""Command lines for other machines, and their output."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dev_sessions import arguments
from dev_sessions.errors import (
    DevSessionsError,
    HostUnreachable,
    InvalidRequest,
    MayHaveArrived,
    ProtocolError,
    Relayed,
    WaitTimedOut,
)
from dev_sessions.operations import (
    Ask,
    Create,
    Fork,
    Interrupt,
    LastMessage,
    List,
    Operation,
    Respond,
    Send,
    SetGoal,
    Status,
    Wait,
)
from dev_sessions.remote import relay, ssh
from dev_sessions.remote.command_line import CommandLine, decode, encode
from dev_sessions.remote.relay import Relay
from dev_sessions.system.deadline import cancel_when
from dev_sessions.system.programs import Completed
from tests.support.operations import OPERATIONS
from tests.support.signals import signal_at_start

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["cleared", "state", "cli", "role", "text", "id", "status"]), inner, max_size=4
        )
    ),
    max_leaves=6,
)
SHELLS = [shell for shell in ("bash", "dash", "zsh", "fish", "tcsh", "nu") if shutil.which(shell)]
ARGUMENTS = f"{sys.executable} -c 'import json, os, sys; print(json.dumps([sys.argv[1:], sys.stdin.read()]))' "


@pytest.fixture
def ssh_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Provide a function that makes `ssh` run its command here: with a shell, as sshd does, or with a shell script."""

    def install(shell: str) -> None:
        program = tmp_path / "ssh"
        run = f'for last; do :; done; exec {shell} -c "$last"' if shell in SHELLS else shell
        program.write_text(f"#!/bin/sh\n{run}\n")
        program.chmod(0o700)

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return install


@pytest.fixture
def answering(ssh_with: Callable[[str], None], tmp_path: Path) -> Callable[[str], None]:
    """Provide a function that makes a shell script the dev-sessions of the other machine."""

    def install(script: str) -> None:
        ssh_with("bash")
        (tmp_path / ".bash_profile").write_text(f"PATH={tmp_path}:$PATH\n")
        program = tmp_path / "dev-sessions"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o700)

    return install


@pytest.mark.parametrize("shell", SHELLS)
def test_every_text_arrives_whole_through_every_shell(shell: str, ssh_with: Callable[[str], None]) -> None:
    """Arguments of any bytes arrive unchanged, whatever the login shell of the other machine is, and run nothing."""
    ssh_with(shell)
    arguments = [
        "",
        "-x",
        "plain-1.5",
        "a b",
        "".join(map(chr, range(1, 0x300))),
        *map(chr, range(1, 0x80)),
        *(f"{first}{second}x" for first in "\\'\"!`$\n" for second in "\\'\"!`$(\n"),
        "\\'$(touch ran)'\\'",
        "a\ntouch ran",
        "'; touch ran; '",
        "!!:s/a/b",
        os.fsdecode(b"\xff\xfe no UTF-8"),
        "👩\u200d👩\u200d👧 עברית",
    ]
    for private in (False, True):
        done = ssh.run("box", ARGUMENTS + shlex.join(arguments), "the rest\n\0\n", 60, private=private)
        assert (done.code, json.loads(done.stdout)) == (0, [arguments, "the rest\n\0\n"])
    done = ssh.run("box", f"{sys.executable} -c 'import sys; sys.exit(int(sys.argv[1]))' 7", None, 60)
    assert done.code == 7
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    ("shell", "file"),
    [("bash", ".bash_profile"), ("zsh", ".zshenv"), ("zsh", ".zprofile"), ("fish", ".config/fish/config.fish")],
)
def test_what_a_login_shell_prints_is_no_part_of_the_output(
    shell: str, file: str, ssh_with: Callable[[str], None], tmp_path: Path
) -> None:
    """What the start-up files of a login shell print does not stand before the output of a command."""
    if shell not in SHELLS:
        pytest.skip(f"{shell} is not installed")
    ssh_with(shell)
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text("echo Welcome\necho\n")
    assert ssh.run("box", "echo hello", None, 60) == Completed(0, "hello\n", "")


@pytest.mark.parametrize(
    ("shell", "file", "line"),
    [
        ("zsh", ".zprofile", "path=({} $path); echo Welcome"),
        ("fish", ".config/fish/config.fish", "set -gx PATH {} $PATH; echo Welcome"),
    ],
)
def test_a_program_in_the_path_of_the_login_shell_alone_is_found(
    shell: str, file: str, line: str, ssh_with: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program is found if its folder is in PATH only by the start-up files of the user's own login shell."""
    if shell not in SHELLS:
        pytest.skip(f"{shell} is not installed")
    monkeypatch.setenv("SHELL", shutil.which(shell) or "")
    # As at a login, which begins with the system's PATH.
    (tmp_path / ".bash_profile").write_text(f"PATH={shlex.quote(os.environ['PATH'])}\n")
    ssh_with(shell)
    program = tmp_path / "only here" / "the-program"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho found\n")
    program.chmod(0o755)
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(line.format(shlex.quote(str(program.parent))) + "\n")
    assert ssh.run("box", "the-program", None, 60) == Completed(0, "found\n", "")


def test_a_login_shell_that_ends_before_the_command_is_no_success(
    ssh_with: Callable[[str], None], tmp_path: Path
) -> None:
    """A start-up file that ends the shell is reported, not taken for an empty answer."""
    ssh_with("bash")
    (tmp_path / ".bash_profile").write_text("exit 0\n")
    with pytest.raises(ProtocolError, match="ended before the command"):
        ssh.run("box", "echo hello", None, 60)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arguments=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), max_size=40))
def test_any_text_arrives_whole_through_the_oddest_shell(arguments: list[str], ssh_with: Callable[[str], None]) -> None:
    """Arguments of any characters arrive unchanged."""
    ssh_with("tcsh" if "tcsh" in SHELLS else SHELLS[-1])
    done = ssh.run("box", ARGUMENTS + shlex.join(arguments), "", 60)
    assert json.loads(done.stdout) == [arguments, ""]


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_what_no_shell_can_pass_is_refused(text: str, ssh_with: Callable[[str], None]) -> None:
    """A text with a NUL, or with half a surrogate pair, is an error before anything is sent."""
    ssh_with("touch sent")
    with pytest.raises(InvalidRequest, match="leave it out"):
        ssh.run("box", f"dev-sessions kill {shlex.quote(text)}", None, 60)
    assert not Path("sent").exists()


@pytest.mark.parametrize("swallowed", ["head -c 1", "head -n 1", "cat"])
def test_a_command_that_was_read_by_something_else_does_not_run(
    swallowed: str, ssh_with: Callable[[str], None], tmp_path: Path
) -> None:
    """If start-up files of the login shell read standard input, nothing of a command runs, and it is no success."""
    ssh_with(f'{swallowed} >/dev/null; for last; do :; done; exec bash -c "$last"')
    done = ssh.run("box", f"echo {shlex.quote(f'a{chr(10)}touch {tmp_path}/ran')}", "message", 60)
    assert (done.code != 0, done.stdout) == (True, "")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "operation",
    [
        Respond(session_id="fizz-top", answers=("secret",)),
        Create(description="secret"),
        Send(session_id="fizz-top", message="secret"),
        Ask(session_id="fizz-top", message="secret"),
        SetGoal(session_id="fizz-top", objective="secret"),
    ],
)
@pytest.mark.parametrize("version", ["0.4.12", "0.5.0"])
def test_no_text_is_in_a_list_of_processes(
    operation: Operation[Any], version: str, ssh_with: Callable[[str], None], tmp_path: Path
) -> None:
    """Messages, answers, descriptions and objectives are in no argument of ssh, where other users could read them."""
    ssh_with(f'echo "$@" >> {tmp_path}/arguments; cat >> {tmp_path}/stdin; echo {version}')
    with contextlib.suppress(DevSessionsError):
        Relay("box", "dev-sessions", version, print).execute(operation)
    assert "secret" not in (tmp_path / "arguments").read_text()
    # Version 0.4 has no `respond`, and is sent none.
    assert ("secret" in (tmp_path / "stdin").read_text()) == (not isinstance(operation, Respond) or version == "0.5.0")


@pytest.mark.parametrize(
    "operation",
    [
        Respond(session_id="fizz-top", answers=("secret one", "'\n\udcff$(id)")),
        Create(description="secret", args=("--append-system-prompt", "secret")),
        Fork(session_id="fizz-top", description="secret"),
    ],
)
def test_no_text_is_in_a_list_of_processes_of_the_other_machine(
    operation: Operation[Any], ssh_with: Callable[[str], None], tmp_path: Path
) -> None:
    """Answers, descriptions and options for the agent are in no argument of a dev-sessions there, which reads them."""
    ssh_with("bash")
    read = "from dev_sessions import arguments; given = arguments.read(sys.stdin.buffer)"
    show = "json.dump([sys.argv[1:], given, sys.stdin.read()], open('seen', 'w'))"
    program = tmp_path / "far"
    program.write_text(f"#!{sys.executable}\nimport json, sys; {read}; {show}\n")
    program.chmod(0o755)
    with contextlib.suppress(DevSessionsError):  # it prints no result
        Relay("box", str(program), "0.5.0", print).execute(operation)
    line = encode(operation)
    assert json.loads(Path("seen").read_text()) == [[arguments.OPTION], line.arguments, line.stdin or ""]


@pytest.mark.parametrize(
    ("operation", "error"),
    [
        (Wait(session_id="fizz-top", timeout=0.5), WaitTimedOut),
        (Ask(session_id="fizz-top", message="m", timeout=0.5), MayHaveArrived),
        (Interrupt(session_id="fizz-top", timeout=0.5), HostUnreachable),
    ],
)
@pytest.mark.parametrize("hangs", ["exec sleep 60", "yes Warning: on", "exec yes >&2"])
def test_a_machine_that_hangs_ends_no_later_than_the_timeout(
    operation: Operation[Any],
    error: type[Exception],
    hangs: str,
    ssh_with: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A command ends a few seconds after its timeout when the other machine hangs, or prints without end."""
    monkeypatch.setattr(relay, "MARGIN", 0.5)
    monkeypatch.setattr(ssh, "MAX_OUTPUT", 10_000_000)
    ssh_with(hangs)
    began = time.monotonic()
    with pytest.raises(error if "sleep" in hangs else DevSessionsError):
        Relay("box", "dev-sessions", "0.5.0", print).execute(operation)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_ended_while_it_starts_ssh_leaves_none_behind(
    number: signal.Signals, ssh_with: Callable[[str], None]
) -> None:
    """A signal in the moment in which ssh is started ends the command and ssh, and with it what runs there."""
    ssh_with("exec sleep 10")
    with signal_at_start(number) as started, pytest.raises(SystemExit, match=str(number.value)):
        ssh.run("box", "true", None, 60)
    assert [child.returncode is None for child in started] == [False], "waited for"


@pytest.mark.parametrize("prints", ["exec yes >&2", "exec >&-; exec yes >&2"])
def test_errors_without_end_are_cut_short(prints: str, ssh_with: Callable[[str], None]) -> None:
    """A machine that prints errors without end fills no disk, however long the wait, even if its output has ended."""
    ssh_with(prints)
    began = time.monotonic()
    with pytest.raises(DevSessionsError, match="printed more than 1048576 bytes, and was ended"):
        Relay("box", "dev-sessions", "0.5.0", print).execute(Wait(session_id="fizz-top", timeout=12))
    assert time.monotonic() - began < 6


@pytest.mark.parametrize(
    "operation",
    [
        Status(session_id="fizz-top", detail=True),
        LastMessage(session_id="fizz-top"),
        List(),
        Wait(session_id="fizz-top"),
    ],
)
@pytest.mark.parametrize(
    "printed",
    [
        "yes t | head -n 300000",
        "yes [ | head -n 300000",
        "head -c 100000 /dev/zero | tr '\\0' '['",
        "head -c 100000 /dev/zero | tr '\\0' 9",
        "printf 'null\\n\\377'",
        "echo 9",
    ],
)
def test_what_is_no_result_is_an_error_soon(
    operation: Operation[Any], printed: str, answering: Callable[[str], None]
) -> None:
    """Output of any size and depth that is no result is one error, within seconds."""
    answering(printed)
    began = time.monotonic()
    with pytest.raises(ProtocolError, match="is invalid") as raised:
        Relay("box", "dev-sessions", "0.5.0", print).execute(operation)
    assert time.monotonic() - began < 5
    assert len(str(raised.value)) < 500


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("seq -f 'Warning: %.0f' 300", "Warning: 1\n.*\nWarning: 300"),
        ("echo what happened; echo; echo what to do; echo", "what happened\n\nwhat to do"),
        (
            "seq -f 'line %.0f' 50000",
            "The first 5[0-9]{5} bytes .* are left out:\nline 4.*\nline 50000",
        ),
        ("head -c 500000 /dev/zero | tr '\\0' x", "The first 483616 bytes of what box printed are left out:\nx{16384}"),
    ],
)
def test_the_end_of_long_errors_is_shown(printed: str, expected: str, answering: Callable[[str], None]) -> None:
    """An error of the other machine is shown whole, and of one that is too long to read the last lines."""
    answering(f"({printed}) >&2; exit 1")
    with pytest.raises(Relayed) as raised:
        Relay("box", "dev-sessions", "0.5.0", print).execute(Status(session_id="fizz-top"))
    assert re.fullmatch(expected, str(raised.value), re.DOTALL)
    assert len(str(raised.value)) < 17_000


@pytest.mark.parametrize("printed", ["²", "1.²", "9" * 5000, f"1.{'9' * 5000}", "", "a.b", f"0.5.0{'x' * 5000}"])
def test_a_version_that_is_none_is_an_error(printed: str, answering: Callable[[str], None]) -> None:
    """A version that is none is not recorded but reported."""
    answering(f"echo {printed}")
    other = Relay("box", "dev-sessions", None, print)
    with pytest.raises(ProtocolError, match="printed no version"):
        other.query_version()
    assert other.version is None


@given(
    operation=st.one_of(*OPERATIONS.values()),
    banner=st.sampled_from(["", "Welcome\n", "[\n", "{"]),
    text=JSON.map(json.dumps)
    | st.text()
    | st.binary().map(lambda data: data.decode(errors="replace"))
    | st.just("[" * 10_000),
)
def test_any_output_is_a_result_or_an_error(operation: Operation[Any], banner: str, text: str) -> None:
    """Whatever the other machine prints is decoded or refused."""
    with contextlib.suppress(ValueError):
        decode(operation, Completed(0, banner + text, text))


def test_a_home_too_deep_for_a_socket_shares_no_connection(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """If the path of the shared connection is too long for a socket, each command uses its own connection."""
    monkeypatch.setenv("HOME", str(tmp_path / ("x" * 80)))
    assert "ControlMaster=no" in ssh.ssh_argv("box", "true")
    monkeypatch.setenv("HOME", "/home/me")
    assert "ControlPath=/home/me/.dev-sessions/ssh/%C" in ssh.ssh_argv("box", "true")


@pytest.mark.parametrize("name", ["a home", "100%", 'a "home"', "$HOME", "a'b", "ü", "#x", "a=b"])
def test_a_home_of_any_name_is_understood_by_ssh(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """ssh finds the sockets of shared connections in a home of any name, or shares none."""
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setenv("HOME", f"{folder}/{name}")
        argv = ssh.ssh_argv("box", "true")
        done = subprocess.run([argv[0], "-G", *argv[1:]], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    if "ControlMaster=auto" in argv:
        assert f"controlpath {folder}/{name}/.dev-sessions/ssh/" in done.stdout


def test_a_machine_that_takes_its_time_gets_the_message_once_and_whole(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A long message arrives whole, also while the wait for it can be cancelled."""
    program = tmp_path / "ssh"
    program.write_text('#!/bin/sh\nsleep 1.5\nfor last; do :; done; exec sh -c "$last"\n')
    program.chmod(0o700)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    message = "so and so\n" * 20_000
    with cancel_when(lambda: False):
        assert ssh.run("box", "cat", message, 60).stdout == message


def test_an_objective_goes_to_an_older_version_as_that_knows_it() -> None:
    """0.4 gets an objective in its arguments, after --; newer versions get it on standard input."""
    asked = SetGoal(session_id="fizz-top", objective="- work\n- rest", status="paused", token_budget=5)
    arguments = ["goal", "fizz-top", "--json", "--budget", "5", "--", "- work\n- rest"]
    assert encode(asked, full_version=False) == CommandLine(arguments, is_private=True)


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
