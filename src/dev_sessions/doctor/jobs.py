"""Check what ends the servers of all sessions: a systemd unit, a logout, or the end of a CI job."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from dev_sessions.claude.tmux import Tmux
from dev_sessions.codex.app_server import AppServer
from dev_sessions.doctor import logind
from dev_sessions.doctor.check import TIMEOUT, Check
from dev_sessions.errors import DevSessionsError
from dev_sessions.system import paths
from dev_sessions.system.process import environment_of
from dev_sessions.system.programs import run

#: The services of a user's own manager, and of logins: they end with the user's last session.
_MANAGERS = ("user@", "ssh", "getty@", "display-manager")

#: What Jenkins documents as the value for a process that is to stay.
_KEEP = "dontKillMe"


def servers() -> Iterator[Check]:
    """Check that neither tmux nor an app-server ends with something that is shorter than its sessions."""
    for name, pid in _running():
        server = f"{name} (process {pid})"
        yield from _unit(server, name, pid)
        yield from _login(server, pid)
        if job := job_of(environment_of(pid)):
            service, keep = job
            text = f"{server} was started by a {service} job, which ends it, with its sessions, when the job ends"
            yield Check("job", "warning", f"{text}; to keep it, start it with {keep} in its environment")
    if job := job_of(os.environ):
        service, keep = job
        text = f"this is a {service} job, which ends every session that it creates when the job ends"
        yield Check("job", "warning", f"{text}; to keep sessions, create them with {keep} in the environment")


def _unit(server: str, name: str, pid: int) -> Iterator[Check]:
    unit = service_of(_cgroup(pid))
    if unit is not None and _kill_mode(unit, pid) in ("control-group", "mixed"):
        text = f"{server} runs in the systemd unit {unit}, which ends it, with its sessions, when it stops"
        yield Check("unit", "warning", f"{text}; set KillMode=process in that unit, or start {name} outside of it")


def _login(server: str, pid: int) -> Iterator[Check]:
    scope, user = login_of(_cgroup(pid)), pwd.getpwuid(os.geteuid()).pw_name
    if scope is not None and logind.ends_processes_of(user, logind.configuration()):
        text = f"{server} runs in the login {scope}, and systemd-logind ends it, with its sessions, when you log out"
        yield Check(
            "login",
            "warning",
            f"{text}; end the sessions, and create them with: loginctl enable-linger, then systemd-run --user --scope"
            f" dev-sessions create (or add {user} to KillExcludeUsers in logind.conf)",
        )


def job_of(environ: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the CI service that ends the processes with this environment at the end of their job, or None.

    With it, the variable that keeps a process. The services find processes by these (GitHub Actions' runner;
    Jenkins: its ProcessTreeKiller, by the cookie in a pipeline, otherwise by BUILD_ID).
    """
    if environ.get("RUNNER_TRACKING_ID", "").startswith("github_"):
        return "GitHub Actions", "RUNNER_TRACKING_ID=0"
    if "JENKINS_URL" in environ or "JENKINS_HOME" in environ:
        name = "JENKINS_NODE_COOKIE" if "JENKINS_NODE_COOKIE" in environ else "BUILD_ID"
        if environ.get(name, _KEEP) != _KEEP:
            return "Jenkins", f"{name}={_KEEP}"
    return None


def _running() -> Iterator[tuple[str, int]]:
    """Yield the running servers with their pids."""
    with contextlib.suppress(DevSessionsError, TimeoutError, ValueError):  # other checks say so
        yield "tmux", int(Tmux(Tmux.current_socket()).output("display-message", "-p", "#{pid}")[0])
    for directory in paths.codex_dirs():
        state = AppServer(directory).state()
        if state is not None and state.pid_here:
            yield "Codex's app-server", state.pid_here


def service_of(cgroup: str) -> str | None:
    """Return the systemd service in the text of /proc/PID/cgroup::

        0::/user.slice/user-1000.slice/user@1000.service/app.slice/nightly.service

    None for a scope, such as that of a login, and for the manager itself.
    """
    for line in cgroup.splitlines():
        _, _, path = line.partition("::") if line.startswith("0::") else line.partition(":name=systemd:")
        unit = os.path.basename(path)
        if unit.endswith(".service") and not unit.startswith(_MANAGERS):
            return unit
    return None


def login_of(cgroup: str) -> str | None:
    """Return the scope of the login in the text of /proc/PID/cgroup::

    0::/user.slice/user-1000.slice/session-3.scope
    """
    match = re.search(r"/user\.slice/user-\d+\.slice/(session-\w+\.scope)", cgroup)
    return match[1] if match else None


def _cgroup(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8")
    except OSError:
        return ""


def _kill_mode(unit: str, pid: int) -> str:
    """Return the KillMode of a unit; "" if it is unknown."""
    managers: list[list[str]] = [["--user"], []]
    for manager in managers if "/user@" in _cgroup(pid) else reversed(managers):
        try:
            done = run(["systemctl", *manager, "show", "--property=LoadState,KillMode", unit], timeout=TIMEOUT)
        except (DevSessionsError, OSError, TimeoutError):
            return ""
        found = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
        if found.get("LoadState") == "loaded":
            return found.get("KillMode", "")
    return ""
