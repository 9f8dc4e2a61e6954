"""The pid namespace of this process, the place of a recorded one, and whether it is a sandbox."""

from __future__ import annotations

import functools
import subprocess
import sys

import pytest

from dev_sessions.errors import InSandbox
from dev_sessions.system import pid_namespace
from tests.support.namespaces import CONTAINER, SANDBOX, have_namespaces

OWN = "linux:box/1d:b007:pid:[4026531836]"
ASK = "from dev_sessions.system import pid_namespace as own; print(own.is_sandboxed(), own.sees_own_processes())"
SHELL = f"{sys.executable} -c '{ASK}'; true"
#: A program that runs us, as make or an agent does.
PROGRAM = "import subprocess, sys; subprocess.run(['sh', '-c', sys.argv[1]])"


@pytest.mark.parametrize(
    ("recorded", "place"),
    [
        (OWN, "here"),
        ("linux:renamed/1d:b007:pid:[4026531836]", "here"),
        ("linux:box/1d:b007:pid:[4026532177]", "other namespace"),
        ("linux:d0c4e4/:b007:pid:[4026532177]", "other namespace"),
        ("linux:box/1d:01d:pid:[4026531836]", "ended"),
        ("linux:box/1d:01d:pid:[4026532177]", "ended"),
        ("ended", "ended"),
        ("linux:login2/1d:01d:pid:[4026531836]", "other machine"),
        ("linux:box/2d:01d:pid:[4026531836]", "other machine"),
        ("darwin", "other machine"),
        ("what is this", "other machine"),
        (None, "unknown"),
    ],
)
def test_where_a_recorded_namespace_is(monkeypatch: pytest.MonkeyPatch, recorded: str | None, place: str) -> None:
    """Only an earlier boot of the same machine has surely ended: cloned machines may share id and home."""
    monkeypatch.setattr(pid_namespace, "domain", lambda: OWN)
    assert pid_namespace.place(recorded) == place


def test_without_a_domain_of_our_own_nothing_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this process's namespace is unknown, no recorded one is considered the same."""
    monkeypatch.setattr(pid_namespace, "domain", lambda: None)
    assert pid_namespace.place(OWN) == "other machine"


@pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")
@pytest.mark.parametrize(
    ("claudes", "elsewhere"),
    [
        ("linux:1d:pid:[4026531836]", False),
        ("linux::pid:[4026531836]", False),
        ("linux:2d:pid:[4026531836]", True),
        ("linux:1d:pid:[4026532177]", True),
        ("linux::pid:[4026532177]", True),
        (None, False),
    ],
)
def test_where_the_namespace_of_a_session_file_is(
    monkeypatch: pytest.MonkeyPatch, claudes: str | None, elsewhere: bool
) -> None:
    """Claude Code records the machine id, if there is one, and the namespace (2.1.250 to 2.1.332)."""
    monkeypatch.setattr(pid_namespace, "domain", lambda: OWN)
    assert pid_namespace.is_elsewhere(claudes) == elsewhere


@pytest.mark.skipif(not have_namespaces(), reason="no pid namespaces can be made here")
@pytest.mark.parametrize(
    ("argv", "sandboxed"),
    [
        ((*SANDBOX, sys.executable, "-c", ASK), True),
        ((*SANDBOX, "bash", "-c", SHELL), True),
        ((*SANDBOX, sys.executable, "-c", PROGRAM, SHELL), True),
        ((*SANDBOX[:-2], "sh", "-c", SHELL), True),
        ((SANDBOX[0], "--as-pid-1", *SANDBOX[1:], "sh", "-c", SHELL), True),
        ((*CONTAINER, sys.executable, "-c", ASK), True),
        ((*CONTAINER, "sh", "-c", SHELL), True),
        ((*CONTAINER, "bash", "-euo", "pipefail", "-c", SHELL), True),
        ((*CONTAINER, "sh", "-c", f"sh -c '{SHELL.replace(chr(39), chr(34))}'; true"), True),
        ((*CONTAINER, "env", "SANDBOX_RUNTIME=1", sys.executable, "-c", PROGRAM, SHELL), True),
        ((*CONTAINER, "env", "CODEX_SANDBOX_NETWORK_DISABLED=1", sys.executable, "-c", PROGRAM, SHELL), False),
        ((*CONTAINER, "timeout", "50", sys.executable, "-c", ASK), True),
        ((*CONTAINER, "setsid", "--wait", "sh", "-c", SHELL), True),
        ((*CONTAINER, "bash", "/dev/stdin"), True),
        ((*SANDBOX, *CONTAINER, "bash", "/dev/stdin"), True),
        ((SANDBOX[0], "--as-pid-1", *SANDBOX[1:], "timeout", "50", sys.executable, "-c", ASK), True),
        ((*CONTAINER, "sh", "-s"), False),
        ((*CONTAINER, "bash", "--rcfile", "/dev/null"), False),
        ((*CONTAINER, sys.executable, "-c", PROGRAM, SHELL), False),
        ((sys.executable, "-c", ASK), False),
    ],
    ids=lambda value: " ".join(word for word in value if " " not in word)[-60:] if isinstance(value, tuple) else None,
)
def test_what_is_a_sandbox(argv: tuple[str, ...], sandboxed: bool) -> None:
    """A command is sandboxed if its namespace is an agent's sandbox, or was created to run it and so ends with it."""
    done = subprocess.run(argv, input=f"{SHELL}\n", capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == str(sandboxed)


@pytest.mark.skipif(not have_namespaces(), reason="no pid namespaces can be made here")
def test_a_command_that_is_run_in_a_container_later_leaves_it_running() -> None:
    """A container outlives a command of `docker exec`."""
    with subprocess.Popen((*CONTAINER, "sh", "-c", "echo up; exec sleep 1000"), stdout=subprocess.PIPE) as container:
        assert container.stdout is not None
        assert container.stdout.readline() == b"up\n"
        with open(f"/proc/{container.pid}/task/{container.pid}/children", encoding="ascii") as children:
            first = children.read().strip()
        enter = (
            "nsenter",
            "-t",
            first,
            "--pid",
            "--mount",
            *([] if "--map-root-user" not in CONTAINER else ["--user"]),
        )
        done = subprocess.run((*enter, "sh", "-c", SHELL), capture_output=True, text=True, check=True)
        container.kill()
    assert done.stdout == "False True\n"


@pytest.mark.parametrize(
    ("variables", "shown"),
    [
        ((), {"Claude Code: ", "Codex: "}),
        (("CLAUDECODE",), {"Claude Code: "}),
        (("CODEX_THREAD_ID",), {"Codex: "}),
        (("CLAUDECODE", "CODEX_THREAD_ID"), {"Claude Code: ", "Codex: "}),
    ],
)
def test_the_advice_is_that_for_the_agent_that_asks(
    monkeypatch: pytest.MonkeyPatch, variables: tuple[str, ...], shown: set[str]
) -> None:
    """The error in a sandbox has the advice for the agent that runs the command."""
    for name in ("CLAUDECODE", "CODEX_THREAD_ID"):
        monkeypatch.delenv(name, raising=False)
    for name in variables:
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr(pid_namespace, "is_sandboxed", lambda: True)
    with pytest.raises(InSandbox) as caught:
        pid_namespace.require_unsandboxed("Nothing was started")
    text = str(caught.value)
    assert text.startswith("Nothing was started: this shell is a sandbox")
    assert {name for name in ("Claude Code: ", "Codex: ") if name in text} == shown
    assert "\n" not in text


@pytest.mark.parametrize(
    ("variable", "value", "name"),
    [
        ("SANDBOX_RUNTIME", "1", "Claude Code's"),
        ("CODEX_SANDBOX", "seatbelt", "Codex's"),
        # Codex sets it outside of its sandbox, too.
        ("CODEX_SANDBOX_NETWORK_DISABLED", "1", None),
    ],
)
def test_a_sandbox_of_macos_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, name: str | None
) -> None:
    """On macOS, whose sandboxes have no pid namespace, a command in an agent's sandbox says whose it is."""
    for each in ("SANDBOX_RUNTIME", "CODEX_SANDBOX", "CODEX_SANDBOX_NETWORK_DISABLED"):
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv(variable, value)
    monkeypatch.setattr(pid_namespace, "ON_LINUX", False)
    monkeypatch.setattr(pid_namespace, "is_sandboxed", functools.cache(pid_namespace.is_sandboxed.__wrapped__))
    if name is None:
        pid_namespace.require_unsandboxed("Nothing was started")
    else:
        with pytest.raises(InSandbox, match=f"this shell is a sandbox \\({name}\\)"):
            pid_namespace.require_unsandboxed("Nothing was started")
