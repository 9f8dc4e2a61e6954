"""The pid namespace of this process: whose pids mean something here, and whether it outlives this command.

Claude Code's and Codex's sandboxes and every container have one of their own: a pid that was recorded outside names
another process in there, or none, and what is started in a sandbox ends with the call (Claude Code 2.1.332, with
`CLAUDE_CODE_SUBPROCESS_ENV_SCRUB=1` too; Codex 0.169). Systems other than Linux have a single one.
"""

from __future__ import annotations

import functools
import itertools
import os
import re
import sys
from collections.abc import Iterator
from typing import Literal, TypeAlias

from dev_sessions.errors import InSandbox

#: Where a recorded domain is, seen from here. `ended`: nothing of it runs any more. `untold`: of an older version.
Place: TypeAlias = Literal["here", "other namespace", "other machine", "ended", "untold"]

#: The domain of what its user has declared to be gone.
ENDED = "ended"
ON_LINUX = sys.platform == "linux"
#: PROC_PID_INIT_INO of the kernel: the namespace of the machine itself.
_INITIAL = "pid:[4026531836]"
#: What Claude Code's sandbox tells its commands. That of Codex is told to those outside of its sandbox, too.
_MARKER = "SANDBOX_RUNTIME"
#: Names of the first process in a sandbox, as the kernel cuts them (15 characters).
_SANDBOXES = frozenset({"bwrap", "codex-linux-san"})
#: First processes of containers that end with the command they were given.
_CONTAINER_INITS = frozenset({"tini", "docker-init", "dumb-init", "catatonit", "podman-init"})
#: Programs that run one command, and end with it.
_WRAPPERS = frozenset(
    {"bwrap", "chrt", "env", "ionice", "nice", "nohup", "nsenter", "setarch", "setpriv", "setsid", "stdbuf", "strace"}
    | {"su", "sudo", "time", "timeout", "unshare", "xargs"}
)
_SHELLS = frozenset({"sh", "ash", "bash", "busybox", "dash", "fish", "ksh", "zsh"})
#: How an agent runs a command outside of its sandbox, by a variable that it sets for every command.
_WAYS_OUT = {
    "CLAUDECODE": 'Claude Code: dangerouslyDisableSandbox, with permissions.allow "Bash(dev-sessions:*)"',
    "CODEX_THREAD_ID": 'Codex: prefix_rule(pattern=["dev-sessions"], decision="allow") in ~/.codex/rules/default.rules',
}


@functools.cache
def domain() -> str | None:
    """This process's pid namespace, unlike any other on any machine: `linux:MACHINE:BOOT:pid:[NUMBER]`.

    None when the system does not tell, as without /proc. The same number may be of another namespace after a reboot,
    and is that of the initial one on every machine.
    """
    if not ON_LINUX:
        return sys.platform
    try:
        namespace = os.readlink("/proc/self/ns/pid")
        boot = _read("/proc/sys/kernel/random/boot_id")
    except OSError:
        return None
    try:
        machine = _read("/etc/machine-id")
    except OSError:  # most containers have none
        machine = ""
    # Machines that were made of one image may share the id, and a home.
    return f"linux:{os.uname().nodename}/{machine}:{boot}:{namespace}"


def place(recorded: str | None) -> Place:
    """Where the namespace of a recorded domain is."""
    own = domain()
    if recorded is None:
        return "untold"
    if recorded == ENDED:
        return "ended"
    if recorded == own:
        return "here"
    theirs, ours = recorded.split(":", 3), (own or "").split(":", 3)
    if len(theirs) != 4 or len(ours) != 4:
        return "other machine"
    if theirs[2] == ours[2]:
        return "here" if theirs[3] == ours[3] else "other namespace"
    return "ended" if theirs[1] == ours[1] else "other machine"


def is_elsewhere(claudes: str | None) -> bool:
    """Whether the `pidDomain` of Claude Code, `linux:MACHINE:pid:[NUMBER]`, is of another namespace or machine."""
    if claudes is None or not ON_LINUX or (own := domain()) is None:
        return False
    _, machine, _, namespace = own.split(":", 3)
    theirs, _, number = claudes.removeprefix("linux:").partition(":")
    return number != namespace or bool(theirs and machine.partition("/")[2] not in ("", theirs))


def machine_of(recorded: str) -> str:
    """The name of a recorded domain's machine, for an error."""
    parts = recorded.split(":", 3)
    return parts[1].partition("/")[0] if len(parts) == 4 else recorded


def is_of(pid: int) -> bool:
    """Whether a process that is seen here is of this namespace itself, and not of one below it."""
    try:
        return os.readlink(f"/proc/{pid}/ns/pid") == os.readlink("/proc/self/ns/pid")
    except OSError:
        return False


@functools.cache
def sees_own_processes() -> bool:
    """Whether /proc shows the processes of this namespace: a sandbox may leave that of the outside (Claude Code's does,
    2.1.332)."""
    if not ON_LINUX:
        return True
    try:
        status = _read("/proc/self/status")
    except OSError:
        return False
    # Our pid in the namespace of /proc, and in each one below that down to ours. Linux 4.1 and newer tell it.
    match = re.search(r"^NSpid:(.*)$", status, re.MULTILINE)
    return match is None or len(match[1].split()) == 1


@functools.cache
def outlasts_command() -> bool:
    """Whether what is started here provably goes on when this command has ended.

    A namespace ends with its first process. So that is not the one that was started to run this command: it is none of
    our ancestors (docker exec), or it or another ancestor is a program of its own (an init, a shell for a person, tmux,
    an agent), and no sandbox.
    """
    if not ON_LINUX:
        return True
    namespace = (domain() or "").partition(":pid:")[2]
    if f"pid:{namespace}" == _INITIAL:
        return True
    if not namespace or not sees_own_processes() or _MARKER in os.environ:
        return False
    try:
        if _read("/proc/1/comm") in _SANDBOXES:
            return False
        ancestors = list(_ancestors())
    except (OSError, ValueError, IndexError):
        return False
    if not ancestors or ancestors[-1][0] != 1:
        return os.getpid() != 1
    return not all(_runs_a_command(words) for _, words in ancestors)


def require_outlasting(what: str) -> None:
    """InSandbox, beginning with `what` was not done, unless what is started here goes on by itself."""
    if not outlasts_command():
        raise in_sandbox(what)


def in_sandbox(what: str) -> InSandbox:
    """The error of what can't be known or done in a sandbox, with the ways out of it."""
    return InSandbox(
        f"{what}: this shell is a sandbox (another pid namespace), in which the processes of sessions are not seen and"
        f" what is started ends with the call; {way_out()}"
    )


def way_out() -> str:
    """What to do in a sandbox, for an error."""
    ways = [text for variable, text in _WAYS_OUT.items() if variable in os.environ] or list(_WAYS_OUT.values())
    return (
        f"run the command outside of this sandbox ({'; '.join(ways)}), or through the gateway (README.md, From a"
        " sandbox)"
    )


def _ancestors() -> Iterator[tuple[int, list[str]]]:
    """Our ancestors in this namespace, nearest first: pid and command line."""
    pid = os.getppid()
    while pid > 0:
        yield pid, _read(f"/proc/{pid}/cmdline").split("\0")
        pid = int(_read(f"/proc/{pid}/stat").rpartition(")")[2].split()[1])


def _runs_a_command(words: list[str]) -> bool:
    """Whether a program is there to run one command: `sh -c COMMAND`, `bash SCRIPT`, `timeout 60 COMMAND`, or a
    container's init before it. A shell for a person has options alone."""
    name = os.path.basename(words[0].lstrip("-"))
    pairs = itertools.pairwise(words)
    arguments = [word for before, word in pairs if word and before not in ("--rcfile", "--init-file")]
    runs_script = any(word[0] not in "+-" or re.fullmatch(r"-[a-z]*c", word) for word in arguments)
    return name in _CONTAINER_INITS or name in _WRAPPERS or (name in _SHELLS and runs_script)


def _read(file: str) -> str:
    with open(file, encoding="utf-8", errors="replace") as stream:
        return stream.read().strip()
