"""The gateway as a service of systemd's user manager.

Exit codes of systemctl decide; its output is only shown in errors.
"""

from __future__ import annotations

import os
import pwd

from dev_sessions.errors import ProgramMissing, ProtocolError
from dev_sessions.gateway.service_manager import COMMAND_TIMEOUT, ServiceManager, ServiceSpec, printed, require_writable
from dev_sessions.system import paths
from dev_sessions.system.programs import Completed, run

UNIT_NAME = "dev-sessions-gateway.service"


class Systemd(ServiceManager):
    """systemd's user manager."""

    def __init__(self) -> None:
        self.service_file = paths.home() / ".config" / "systemd" / "user" / UNIT_NAME

    def require(self, instead: str) -> None:
        try:
            done = self._systemctl("show", "--property=Version")
            problem = printed(done) if done.code != 0 else None
        except ProgramMissing:
            problem = "systemctl was not found on PATH"
        if problem is not None:
            raise ProgramMissing(
                f"No systemd user manager is running ({problem}), so nothing was installed; "
                f"run the gateway yourself: {instead}"
            )

    def file_content(self, spec: ServiceSpec) -> bytes:
        return unit_file(spec)

    def start(self) -> None:
        self._require("daemon-reload")
        self._require("enable", UNIT_NAME)
        self._require("restart", UNIT_NAME)

    def stop(self) -> None:
        self._require("stop", UNIT_NAME)

    def remove(self) -> None:
        self._require("disable", "--now", UNIT_NAME)
        self.service_file.unlink()
        self._require("daemon-reload")
        # Otherwise a failed unit stays listed after its removal.
        self._systemctl("reset-failed", UNIT_NAME)

    def is_running(self) -> bool:
        try:
            return self._systemctl("is-active", "--quiet", UNIT_NAME).code == 0
        except ProgramMissing:
            return False

    def hints(self) -> tuple[str, ...]:
        lingers = os.path.exists(f"/var/lib/systemd/linger/{pwd.getpwuid(os.getuid()).pw_name}")
        hint = "It ends when you log out, with its sessions; to prevent that: loginctl enable-linger"
        return () if lingers else (hint,)

    def _systemctl(self, *arguments: str) -> Completed:
        return run(["systemctl", "--user", *arguments], timeout=COMMAND_TIMEOUT)

    def _require(self, *arguments: str) -> None:
        done = self._systemctl(*arguments)
        if done.code != 0:
            raise ProtocolError(
                f"systemctl --user {' '.join(arguments)} failed: {printed(done)}; fix that, then try again"
            )


def unit_file(spec: ServiceSpec) -> bytes:
    """Return the user unit, for systemd 244 and newer. Raises InvalidRequest for text that no service file can hold.

    The colon before the command keeps systemd from expanding `$`; `%` is doubled. The command runs through a shell
    because systemd accepts no program whose path contains quotes or backslashes.
    """
    require_writable(spec)
    command = " ".join(map(_quoted, ["-c", 'exec "$0" "$@"', *spec.argv]))
    environment = "".join(f"Environment={_quoted(f'{name}={value}')}\n" for name, value in spec.environment.items())
    log = spec.log.replace("%", "%%")
    return f"""\
[Unit]
Description=dev-sessions gateway

[Service]
ExecStart=:/bin/sh {command}
{environment}\
# `python -m` looks for modules in the directory that it starts in.
WorkingDirectory=/
StandardOutput=append:{log}
StandardError=append:{log}
UMask=0077
Restart=always
RestartSec=5
# The sessions that it started survive when it is stopped, and when one of them runs out of memory.
KillMode=process
OOMPolicy=continue

[Install]
WantedBy=default.target
""".encode()


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'
