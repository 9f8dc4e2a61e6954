"""The pid namespace of this process: where a recorded pid is valid, and whether this command runs in a sandbox.

The sandboxes of Claude Code and Codex and every container have a pid namespace of their own. A pid that was recorded
outside names another process there, or none, and what is started in a sandbox ends with the tool call (Claude Code
2.1.332, also with `CLAUDE_CODE_SUBPROCESS_ENV_SCRUB=1`; Codex 0.169). Only Linux has pid namespaces.

The sandboxes of macOS (Seatbelt) have none: in them `ps` and sockets may be denied, and what is started stays in them.
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
from dev_sessions.system.proc_stat import read_stat

#: Where a recorded domain is. `ended`: none of its processes runs any more. `unknown`: an older version recorded none.
Place: TypeAlias = Literal["here", "other namespace", "other machine", "ended", "unknown"]

#: The domain of a process that the user has declared gone.
ENDED = "ended"
ON_LINUX = sys.platform == "linux"
#: The initial namespace of a machine: PROC_PID_INIT_INO of the kernel.
_INITIAL = "pid:[4026531836]"
#: A variable that Claude Code sets for commands in its sandbox. The one of Codex is set outside of its sandbox, too.
_SANDBOX_VARIABLE = "SANDBOX_RUNTIME"
#: What Codex sets in its sandbox on macOS, and only there (by its source).
_CODEX_SEATBELT = ("CODEX_SANDBOX", "seatbelt")
#: Names of the first process in a sandbox, which the kernel truncates to 15 characters.
_SANDBOX_INITS = frozenset({"bwrap", "codex-linux-san"})
#: Init programs of containers, which end with the command that they run.
_CONTAINER_INITS = frozenset({"tini", "docker-init", "dumb-init", "catatonit", "podman-init"})
#: Programs that run one command and end with it.
_WRAPPERS = frozenset(
    {"bwrap", "chrt", "env", "ionice", "nice", "nohup", "nsenter", "setarch", "setpriv", "setsid", "stdbuf", "strace"}
    | {"su", "sudo", "time", "timeout", "unshare", "xargs"}
)
_SHELLS = frozenset({"sh", "ash", "bash", "busybox", "dash", "fish", "ksh", "zsh"})
_CLAUDE_RULE = 'permissions.allow "Bash(dev-sessions:*)" in its settings'
_CODEX_RULE = 'prefix_rule(pattern=["dev-sessions"], decision="allow") in ~/.codex/rules/default.rules'
_GATEWAY = "or use the gateway (README.md, From a sandbox)"


@functools.cache
def domain() -> str | None:
    """Return a unique id of this process's pid namespace: `linux:HOST/MACHINE_ID:BOOT_ID:pid:[NUMBER]`.

    None when it is unknown, as without /proc. The number alone is not unique: it may be reused after a reboot, and is
    the same for the initial namespace of every machine.
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
    # Machines that were cloned from one image may share the machine id, and a home.
    return f"linux:{os.uname().nodename}/{machine}:{boot}:{namespace}"


def place(recorded: str | None) -> Place:
    """Return where a recorded domain is."""
    own = domain()
    if recorded is None:
        return "unknown"
    if recorded == ENDED:
        return "ended"
    if recorded == own:
        return "here"
    remote, local = recorded.split(":", 3), (own or "").split(":", 3)
    if len(remote) != 4 or len(local) != 4:
        return "other machine"
    if remote[2] == local[2]:
        return "here" if remote[3] == local[3] else "other namespace"
    return "ended" if remote[1] == local[1] else "other machine"


def is_elsewhere(pid_domain: str | None) -> bool:
    """Return whether a `pidDomain` of Claude Code, `linux:MACHINE_ID:pid:[NUMBER]`, is of another namespace."""
    if pid_domain is None or not ON_LINUX or (own := domain()) is None:
        return False
    _, machine, _, namespace = own.split(":", 3)
    remote, _, number = pid_domain.removeprefix("linux:").partition(":")
    return number != namespace or bool(remote and machine.partition("/")[2] not in ("", remote))


def machine_of(recorded: str) -> str:
    """Return the host name in a recorded domain, for an error."""
    parts = recorded.split(":", 3)
    return parts[1].partition("/")[0] if len(parts) == 4 else recorded


def contains(pid: int) -> bool:
    """Return whether a process is in this namespace itself, and not in a child namespace, which is visible here too."""
    try:
        return os.readlink(f"/proc/{pid}/ns/pid") == os.readlink("/proc/self/ns/pid")
    except OSError:
        return False


@functools.cache
def sees_own_processes() -> bool:
    """Return whether /proc shows the processes of this namespace.

    A sandbox may have the /proc of the namespace outside (Claude Code's does, 2.1.332).
    """
    if not ON_LINUX:
        return True
    try:
        status = _read("/proc/self/status")
    except OSError:
        return False
    # The pids of this process in the namespace of /proc and in each child down to its own (Linux 4.1 and newer).
    match = re.search(r"^NSpid:(.*)$", status, re.MULTILINE)
    return match is None or len(match[1].split()) == 1


@functools.cache
def is_sandboxed() -> bool:
    """Return whether this command runs in an agent's sandbox, or in any namespace whose processes end with it.

    A namespace ends with its first process. So outside of a sandbox that process was not started to run this command:
    it is not an ancestor of this process (docker exec), or it or another ancestor is not just there to run a command
    (an init, an interactive shell, tmux, an agent). On Linux that has to be proven; without a proof this is a sandbox.
    """
    if not ON_LINUX:
        return _SANDBOX_VARIABLE in os.environ or _CODEX_SEATBELT in os.environ.items()
    namespace = (domain() or "").partition(":pid:")[2]
    if f"pid:{namespace}" == _INITIAL:
        return False
    if not namespace or not sees_own_processes() or _SANDBOX_VARIABLE in os.environ:
        return True
    try:
        if _read("/proc/1/comm") in _SANDBOX_INITS:
            return True
        ancestors = list(_ancestors())
    except (OSError, ValueError, IndexError):
        return True
    if not ancestors or ancestors[-1][0] != 1:
        return os.getpid() == 1
    return all(_runs_a_command(words) for _, words in ancestors)


def require_unsandboxed(what: str) -> None:
    """Raise InSandbox if this command runs in a sandbox; `what` says what was not done."""
    if is_sandboxed():
        raise sandbox_error(what)


def sandbox_error(what: str) -> InSandbox:
    """Return the error for `what` is unknown or was not done in a sandbox."""
    return InSandbox(
        f"{what}: this shell is a sandbox ({sandbox_name() or 'another pid namespace'}), in which the processes of"
        f" sessions are not seen and what is started {'ends with the call' if ON_LINUX else 'stays in it'};"
        f" {sandbox_advice()}"
    )


def sandbox_name() -> str | None:
    """Return whose sandbox this is, as far as it can be told (Claude Code 2.1.332, Codex 0.171)."""
    if _SANDBOX_VARIABLE in os.environ:
        return "Claude Code's"
    try:
        init = _read("/proc/1/comm")
    except OSError:
        init = ""
    in_codex = _CODEX_SEATBELT in os.environ.items() or "CODEX_SANDBOX_NETWORK_DISABLED" in os.environ
    if in_codex or ("CODEX_THREAD_ID" in os.environ and init in _SANDBOX_INITS):
        return "Codex's"
    if os.environ.get("CLAUDE_CODE_SUBPROCESS_ENV_SCRUB") and "CLAUDECODE" in os.environ:
        return "Claude Code's CLAUDE_CODE_SUBPROCESS_ENV_SCRUB"
    return None


def sandbox_advice() -> str:
    """Return what to do in a sandbox, for an error: the shortest way out first."""
    match sandbox_name():
        case "Claude Code's":
            return (
                "repeat the command alone outside of Claude Code's sandbox, with dangerouslyDisableSandbox (allowed by"
                f" {_CLAUDE_RULE}), {_GATEWAY}"
            )
        case "Codex's":
            return (
                "repeat the command alone, without pipe or redirection: it runs outside of Codex's sandbox if its user"
                f" has {_CODEX_RULE}, {_GATEWAY}"
            )
        case None:
            ways = {
                "CLAUDECODE": f"Claude Code: dangerouslyDisableSandbox, with {_CLAUDE_RULE}",
                "CODEX_THREAD_ID": f"Codex: {_CODEX_RULE}",
            }
            own = [way for variable, way in ways.items() if variable in os.environ]
            return f"run the command outside of this sandbox ({'; '.join(own or ways.values())}), {_GATEWAY}"
        case name:
            return f"start Claude Code without {name.split()[-1]}, {_GATEWAY}"


def socket_advice() -> str:
    """Return what lets a sandbox connect to a unix socket, for an error."""
    ways = {
        "Claude Code's": '{"sandbox": {"network": {"allowAllUnixSockets": true}}} in the settings of Claude Code',
        "Codex's": "network_access = true under [sandbox_workspace_write] in Codex's config.toml",
    }
    own = ways.get(sandbox_name() or "")
    return f"its user can allow that: {own or ', or '.join(ways.values())}"


def _ancestors() -> Iterator[tuple[int, list[str]]]:
    """Yield the ancestors of this process in this namespace, nearest first: pid and command line."""
    pid = os.getppid()
    while pid > 0:
        yield pid, _read(f"/proc/{pid}/cmdline").split("\0")
        pid = read_stat(pid).parent


def _runs_a_command(words: list[str]) -> bool:
    """Return whether a command line is there to run one command: `sh -c COMMAND`, `bash SCRIPT`, `timeout 60 COMMAND`.

    A container's init is, too. An interactive shell has only options.
    """
    name = os.path.basename(words[0].lstrip("-"))
    pairs = itertools.pairwise(words)
    arguments = [word for before, word in pairs if word and before not in ("--rcfile", "--init-file")]
    runs_script = any(word[0] not in "+-" or re.fullmatch(r"-[a-z]*c", word) for word in arguments)
    return name in _CONTAINER_INITS or name in _WRAPPERS or (name in _SHELLS and runs_script)


def _read(file: str) -> str:
    with open(file, encoding="utf-8", errors="replace") as stream:
        return stream.read().strip()
