"""The gateway's service files: what launchd and systemd read. Pure.

Both stop the gateway alone and leave what it started: tmux servers, agents and app-servers are its children, and the
sessions in them are not to die when it is installed anew. Neither file holds a secret.
"""

from __future__ import annotations

import plistlib
import re
from collections.abc import Mapping, Sequence

from dev_sessions.dataclass import dataclass
from dev_sessions.errors import InvalidRequest

LAUNCHD_LABEL = "com.dev-sessions.gateway"
SYSTEMD_NAME = "dev-sessions-gateway.service"
#: Also in the file that the original wrote, so that its gateway is found and replaced.
_PORT = re.compile(rb'--port(?:</string>\s*<string>|"? ?=?"?)(\d+)')
#: What XML or systemd does not take as a character, and the surrogates that stand for bytes which are no UTF-8.
_UNWRITABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")


@dataclass(frozen=True)
class Daemon:
    """What is to be kept running: a command, the environment that it has beside the service manager's own, its log."""

    argv: Sequence[str]
    environment: Mapping[str, str]
    log: str


def launchd_plist(daemon: Daemon) -> bytes:
    """The LaunchAgent. InvalidRequest for a text that no service file can hold."""
    _require_writable(daemon)
    return plistlib.dumps(
        {
            "Label": LAUNCHD_LABEL,
            "ProgramArguments": list(daemon.argv),
            "EnvironmentVariables": dict(daemon.environment),
            # `python -m` looks for modules in the directory that it starts in.
            "WorkingDirectory": "/",
            "StandardOutPath": daemon.log,
            "StandardErrorPath": daemon.log,
            "Umask": 0o077,
            "RunAtLoad": True,
            "KeepAlive": True,
            "AbandonProcessGroup": True,
            # Without it launchd slows down the gateway, and with it the agents that it starts.
            "ProcessType": "Interactive",
        },
        sort_keys=False,
    )


def systemd_unit(daemon: Daemon) -> bytes:
    """The user unit, for systemd 244 and newer. InvalidRequest for a text that no service file can hold.

    The colon before a command keeps systemd from expanding `$`. The shell is there because systemd takes no program
    whose path has quotes or backslashes in it.
    """
    _require_writable(daemon)
    command = " ".join(map(_quoted, ["-c", 'exec "$0" "$@"', *daemon.argv]))
    environment = "".join(f"Environment={_quoted(f'{name}={value}')}\n" for name, value in daemon.environment.items())
    log = daemon.log.replace("%", "%%")
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
# The sessions that it started go on when it is stopped, and when one of them runs out of memory.
KillMode=process
OOMPolicy=continue

[Install]
WantedBy=default.target
""".encode()


def port_of(service_file: bytes) -> int | None:
    """The port that a service file names, ours or the original's."""
    found = _PORT.search(service_file)
    return int(found[1]) if found else None


def asks_for_token(service_file: bytes) -> bool:
    """Whether the gateway of a service file of ours takes only requests that hold the token."""
    return b"--token-file" in service_file


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def _require_writable(daemon: Daemon) -> None:
    for text in (*daemon.argv, *daemon.environment.values(), daemon.log):
        if _UNWRITABLE.search(text):
            raise InvalidRequest(
                f"No service file can hold {text!r}: it has control characters, or is not UTF-8 text; change that"
            )
